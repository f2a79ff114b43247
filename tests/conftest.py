"""What several test files share."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pytest

# Four workers on two cores: neither they nor the processes they start take more than one each.
# PyTorch reads it once, when it is imported, for all threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# What pages have computed is computed in the test's own process, but for the tests of the others.
os.environ.setdefault("VAE_MOST_COMPUTING", "0")


from vae import cli
from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue, dataset
from vae.formats import gate
from vae.runs import checkpoint, job

ROOT = Path(__file__).resolve().parent.parent

if sys.platform == "win32":  # a test of what Windows lacks is skipped there
    os.geteuid = lambda: 0  # as for root, a folder's mode keeps nobody out
    for name in ("fork", "mkfifo"):
        setattr(os, name, lambda *_, name=name: pytest.skip(f"Windows has no {name}"))


# The rooms with the longest files first, so that all workers end with short ones, and together.
LONGEST_FIRST = ("wild", "browser", "containers", "bench", "training", "runs", "pages", "cli")


@pytest.fixture(scope="module", autouse=True)
def given_data() -> Iterator[None]:
    """Data sets that the tests of a file give are not there for those of another."""
    before = dict(catalogue._GIVEN)
    yield
    catalogue._GIVEN.clear()
    catalogue._GIVEN.update(before)


@pytest.fixture(autouse=True)
def hasty_gate(request, monkeypatch) -> None:
    """What no reading explains is searched for 4 s, not 25; how well it is found is for wild."""
    if request.path.parent.name != "wild":
        monkeypatch.setattr(gate, "SECONDS", 4.0)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    kinds: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("few"):
            kinds.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for kind in kinds.values():
        marker = kind[0].get_closest_marker("few")
        every = max(1, len(kind) // marker.args[0])
        for i, item in enumerate(kind):
            if i % every or i // every >= marker.args[0]:
                item.add_marker("slow")

    def place(item: pytest.Item) -> int:
        room = item.path.parent.name
        return LONGEST_FIRST.index(room) if room in LONGEST_FIRST else len(LONGEST_FIRST)

    items.sort(key=place)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Callable[..., checkpoint.Run]:
    """tiny_run(path) puts a run folder there: digits, one hidden layer of 16, two epochs.

    Settings of the model and of the training can differ, as in tiny_run(path, latent_dim=3,
    beta=100.0); each kind is trained once.
    """
    originals: dict[tuple, Path] = {}
    of_model = {field.name for field in fields(ModelConfig)}

    def copy(path: Path, **settings) -> checkpoint.Run:
        kind = tuple(sorted(settings.items()))
        if kind not in originals:
            originals[kind] = tmp_path_factory.mktemp("original") / "tiny"
            model = {"image_shape": (1, 8, 8), "hidden": (16,)}
            training = {"dataset": "digits", "epochs": 2}
            for name, value in settings.items():
                (model if name in of_model else training)[name] = value
            configs = ModelConfig(**model), TrainConfig(**training)
            for _ in job.train(originals[kind], *configs, "cpu"):
                pass
        return checkpoint.open_run(shutil.copytree(originals[kind], path))

    return copy


@pytest.fixture
def checkpoints(tmp_path, monkeypatch) -> Path:
    """An empty folder that VAE_CHECKPOINTS names, here and in the processes that a test starts."""
    path = tmp_path / "checkpoints"
    path.mkdir()
    monkeypatch.setenv("VAE_CHECKPOINTS", str(path))
    return path


@pytest.fixture
def no_data(tmp_path, monkeypatch) -> Path:
    """The empty folder that VAE_DATA names, where no images come with the app either."""
    path = tmp_path / "no_data"
    monkeypatch.setenv("VAE_DATA", str(path))
    monkeypatch.setattr(dataset, "SHIPPED", path)
    return path


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess]:
    """python("-m", "vae", "list") runs a fresh interpreter in the repository; output is text."""

    def run(*arguments: str | Path, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, **options)

    return run


@pytest.fixture
def vae(capsys):
    """vae("list") runs a command in this process: (exit code, stdout, stderr)."""

    def run(*arguments) -> tuple[int, str, str]:
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse ends like this
            code = error.code
        return code, *capsys.readouterr()

    return run
