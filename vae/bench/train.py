"""How fast training is: our loop, the textbook's, and the matrix products that both are made of.

The contenders of a network take turns, a fraction of a second each, so that whatever else the
machine does hits all alike; a rate is the median of its rounds, and a ratio the median of the
ratios within a round. Last comes the memory that training MNIST from the command line takes.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae import config
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.errors import UserError
from vae.training import presets
from vae.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 25.0  # for the rounds of one network
_STEPS = 20  # of a contender in one round
# That of Kingma & Welling (2014) as pytorch/examples has it.
TEXTBOOK = ModelConfig((1, 28, 28), latent_dim=20, hidden=(400,), activation="relu")
_TEXTBOOK_BATCH = 128
_COLUMNS = {
    "network": "network",
    "batch": "batch",
    "loop": "loop",
    "rounds": "rounds",
    "images_per_s": "images/s",
    "ms_per_step": "ms/step",
    "times_textbook": "speed / textbook",
    "times_products": "time / products",
}
_WIDTHS = {"network": 20, "loop": 24}

# Runs some steps and returns the images that it trained on per second.
Contender = Callable[[], float]


class TextbookVAE(nn.Module):
    """The VAE of pytorch/examples: images (B, 1, H, W) -> pixels (B, H * W), mu and logvar (B, D).

    Args:
        n_pixels: H * W.
        width: of the one hidden layer on either side.
        latent_dim: D.
    """

    def __init__(self, n_pixels: int, width: int, latent_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(n_pixels, width)
        self.fc21 = nn.Linear(width, latent_dim)
        self.fc22 = nn.Linear(width, latent_dim)
        self.fc3 = nn.Linear(latent_dim, width)
        self.fc4 = nn.Linear(width, n_pixels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoded pixels of one sample per image, and q's parameters."""
        h = F.relu(self.fc1(x.flatten(1)))
        mu, logvar = self.fc21(h), self.fc22(h)
        std = torch.exp(0.5 * logvar)
        z = mu + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


def main(as_json: bool) -> None:
    """Measures on MNIST and prints a row for each network and loop, and one for the memory.

    Args:
        as_json: one JSON object a row instead of the table.

    Raises:
        DatasetError: MNIST is neither on disk nor to be downloaded.
    """
    images = catalogue.load("mnist", "train").images
    if not as_json:
        print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
        print("  ".join(_cell(key, title) for key, title in _COLUMNS.items()), flush=True)
    for row in rows(images):
        _print(row, as_json)
    memory = peak_memory()
    if as_json:
        print(json.dumps(memory), flush=True)
        return
    print(
        f"\npeak resident memory of `python -m vae train --dataset mnist --epochs 1`: "
        f"{memory['peak_mb']:,.0f} MB, {memory['above_torch_mb']:,.0f} MB above a bare "
        f"`import torch`"
    )


def rows(images: Tensor, seconds: float = SECONDS) -> Iterator[dict[str, Any]]:
    """A row, with the keys of the table's columns, for every network and loop.

    Args:
        images: MNIST's training images, uint8, shape (N, 1, 28, 28).
        seconds: for the rounds of each network.
    """
    import torchvision  # half a second to import, and 160 MB; only this row needs it

    batch = _TEXTBOOK_BATCH
    to_tensor = torchvision.transforms.ToTensor()
    mnist = torchvision.datasets.MNIST(str(catalogue.folder()), train=True, transform=to_tensor)
    few = torch.utils.data.Subset(mnist, range(_STEPS * batch))
    yield from _rows(
        "mlp 400, k = 20",
        batch,
        {
            "ours, float32": ours(TEXTBOOK, images, batch),
            "ours, bfloat16": ours(TEXTBOOK, images, batch, "bfloat16"),
            "textbook": textbook(TEXTBOOK, few, batch),
            "products alone": products(TEXTBOOK, batch),
        },
        seconds,
    )
    preset = presets.PRESETS["standard"]
    network = ModelConfig((1, 28, 28), hidden=preset.hidden)
    batch = preset.train["batch_size"]
    yield from _rows(
        f"mlp {'-'.join(map(str, preset.hidden))}",
        batch,
        {
            "ours, float32": ours(network, images, batch),
            "ours, bfloat16": ours(network, images, batch, "bfloat16"),
            "products alone": products(network, batch),
        },
        seconds,
    )
    network, batch = ModelConfig((1, 28, 28), family="conv", hidden=(32, 64)), _TEXTBOOK_BATCH
    contenders = {}
    for precision in config.PRECISIONS:
        for layout in (torch.contiguous_format, torch.channels_last):
            name = f"ours, {precision}{', NHWC' * (layout is torch.channels_last)}"
            contenders[name] = ours(network, images, batch, precision, layout)
    yield from _rows("conv 32-64", batch, contenders, seconds)


def ours(
    network: ModelConfig,
    images: Tensor,
    batch: int,
    precision: str = "float32",
    layout: torch.memory_format = torch.contiguous_format,
) -> Contender:
    """Our loop on the CPU: Adam at 1e-3 from the first step to the last, no warm-up.

    Args:
        network: what to train.
        images: uint8, shape (N, C, H, W); a round reads the first _STEPS batches of them.
        batch: images per step.
        precision: one of `config.PRECISIONS`.
        layout: of the weights of convolutions, which what they compute takes over.
    """
    train_config = TrainConfig(
        "mnist",
        epochs=1_000_000,
        batch_size=batch,
        learning_rate=1e-3,
        schedule="constant",
        kl_warmup=0,
        precision=precision,
    )
    model = VAE(network).to(memory_format=layout)
    trainer = Trainer(model, images[: _STEPS * batch], images[:1], train_config, "cpu")
    return lambda: trainer.train_epoch().images_per_s


def textbook(network: ModelConfig, dataset: torch.utils.data.Dataset[Any], batch: int) -> Contender:
    """The loop of pytorch/examples' VAE on the same network: one pass over the data is a round.

    Args:
        network: an MLP with one hidden layer.
        dataset: yields (image (1, H, W) in [0, 1], label), as torchvision's sets do.
        batch: images per step.
    """
    (_, H, W), (width,) = network.image_shape, network.hidden
    model = TextbookVAE(H * W, width, network.latent_dim)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True)

    def run() -> float:
        started, n, total = time.perf_counter(), 0, 0.0
        for x, _ in loader:
            optimiser.zero_grad()
            decoded, mu, logvar = model(x)
            bce = F.binary_cross_entropy(decoded, x.flatten(1), reduction="sum")
            loss = bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
            loss.backward()
            total += loss.item()
            optimiser.step()
            n += len(x)
        return n / (time.perf_counter() - started)

    return run


@torch.no_grad()
def products(network: ModelConfig, batch: int) -> Contender:
    """Nothing but the float32 matrix products that a step on an MLP cannot do without.

    For every linear layer of n inputs and m outputs, with B images: the forward product, (B, n) by
    (n, m); the weights' gradient, (m, B) by (B, n); the inputs' gradient, (B, m) by (m, n), which
    alone the layer that reads the image does not need.
    """
    generator = torch.Generator().manual_seed(0)
    operands = []
    for i, layer in enumerate(m for m in VAE(network).modules() if isinstance(m, nn.Linear)):
        m, n = layer.weight.shape
        x = torch.randn(batch, n, generator=generator)
        g = torch.randn(batch, m, generator=generator)
        operands.append((x, layer.weight.detach(), g, i > 0))

    def run() -> float:
        started = time.perf_counter()
        for _ in range(_STEPS):
            for x, weight, _g, _needed in operands:
                torch.matmul(x, weight.t())
            for x, weight, g, needs_input_gradient in reversed(operands):
                torch.matmul(g.t(), x)
                if needs_input_gradient:
                    torch.matmul(g, weight)
        return _STEPS * batch / (time.perf_counter() - started)

    return run


def compare(contenders: dict[str, Contender], seconds: float) -> dict[str, list[float]]:
    """The rate of every contender in every round, in images per second.

    A first round, in which caches fill, is not counted.

    Args:
        contenders: what takes turns, by name.
        seconds: after which no further round begins, the first not excepted; one counts anyhow.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    started, counted = time.perf_counter(), False
    for contender in contenders.values():
        contender()
    while not counted or time.perf_counter() - started < seconds:
        for name, contender in contenders.items():
            rates[name].append(contender())
        counted = True
    return rates


def peak_memory() -> dict[str, Any]:
    """What one epoch on MNIST from the command line takes, in a process of its own.

    Returns:
        Its peak resident memory, that of a process that does nothing but import torch, and their
        difference, in MB.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = ("--dataset", "mnist", "--epochs", "1", "--device", "cpu", "--folder", folder)
        peak = _peak_mb("import vae.cli; assert vae.cli.main(sys.argv[1:]) == 0", "train", *options)
    bare = _peak_mb("import torch")
    return {
        "network": "the preset quick",
        "loop": "python -m vae train",
        "peak_mb": peak,
        "torch_mb": bare,
        "above_torch_mb": peak - bare,
    }


# Of this process alone: ru_maxrss counts what the parent had when it started the child.
_PRINT_PEAK = """
try:
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print("peak", peak)
"""


def _peak_mb(code: str, *arguments: str) -> float:
    finished = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{_PRINT_PEAK}", *arguments],
        cwd=ROOT,
        env={**os.environ, "VAE_DATA": str(catalogue.folder().resolve())},
        capture_output=True,
        text=True,
    )
    if finished.returncode:
        raise UserError(f"`{code}` failed, so its memory is unknown")
    return int(finished.stdout.split()[-1]) / 1e6


def _rows(
    network: str, batch: int, contenders: dict[str, Contender], seconds: float
) -> Iterator[dict[str, Any]]:
    rates = compare(contenders, seconds)
    for loop, found in rates.items():
        row = {"network": network, "batch": batch, "loop": loop, "rounds": len(found)}
        row["images_per_s"] = statistics.median(found)
        row["ms_per_step"] = 1000 * batch / row["images_per_s"]
        row["times_textbook"] = _ratio(found, rates.get("textbook"))
        row["times_products"] = _ratio(rates.get("products alone"), found)
        yield row


def _ratio(above: list[float] | None, below: list[float] | None) -> float | None:
    if above is None or below is None:
        return None
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def _print(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(row), flush=True)
        return
    cells = []
    for key in _COLUMNS:
        if isinstance(value := row[key], float):
            value = f"{value:,.0f}" if key == "images_per_s" else f"{value:.2f}"
        cells.append(_cell(key, "" if value is None else str(value)))
    print("  ".join(cells).rstrip(), flush=True)


def _cell(key: str, text: str) -> str:
    if key in _WIDTHS:
        return f"{text:{_WIDTHS[key]}}"
    return f"{text:>{max(len(_COLUMNS[key]), 8)}}"
