"""Names that are something else to whoever shows them carelessly; each holds MARK often."""

from pathlib import Path

import numpy as np
import pytest

from vae.config import ModelConfig, TrainConfig
from vae.data import own
from vae.names import printable
from vae.runs import job

MARK = "zqxq"
CLASSES = (
    "zqxq http://zqxq.example www.zqxq.example a@zqxq.example",
    "zqxq [l](//zqxq.example) ![i](//zqxq.example/i.png)",
    "<a href='//zqxq.xy'>l</a><img src=x onerror=zqxq()>",
    "zqxq :material/home: :red[r] :smile: $zqxq$ `c` **b** ~s~",
    "=zqxq(1) %{x} & &lt;zqxq&gt; -> zqxq",
)
DATA = "www.zqxq.example"  # a data set may be called so
RUNS = (
    "zqxq www.zqxq.example <b>zqxq & [l](x) $zqxq$ :smile:",
    "=zqxq(2) a@zqxq.example `zqxq` *b* ~~s~~",
)
EVERY = sorted((*CLASSES, DATA, *RUNS), key=len, reverse=True)  # one stands in another


def is_text(sentence: str) -> bool:
    """Whether all of it may be shown: no escape sequence, no line end, nothing that turns text."""
    return printable(sentence) == sentence


def make(checkpoints: Path, data: Path) -> None:
    """A data set of those names and classes, and models of it, into two folders."""
    random = np.random.default_rng(0)
    data.mkdir(parents=True, exist_ok=True)
    np.savez(
        data / "a.npz",
        images=random.integers(0, 256, (60, 4, 4), dtype=np.uint8),
        labels=np.array(CLASSES)[np.arange(60) % len(CLASSES)],
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAE_DATA", str(data))
        own.add(data / "a.npz", DATA)
        for i, name in enumerate(RUNS):  # a folder is renamed to what no run of ours is called
            config = ModelConfig((1, 4, 4), hidden=(8,))
            list(job.train(checkpoints / f"made{i}", config, TrainConfig(DATA, epochs=1), "cpu"))
            (checkpoints / f"made{i}").rename(checkpoints / name)
