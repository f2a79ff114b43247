"""ONNX files of trained networks, and of those in the list that are no image model."""

import itertools
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from wild.networks import Author

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"


class _Called(nn.Module):
    """A function with the modules that it uses."""

    def __init__(self, author: Author, does: str, last: bool = False) -> None:
        super().__init__()
        self.net, self.author, self.does, self.last = author.net, author, does, last

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        out = getattr(self.author, self.does)(x)
        return out.permute(0, 2, 3, 1) if self.last else out


def save_pair(author: Author, folder: Path) -> Path:
    """encoder.onnx with mu and logvar, decoder.onnx with images in [0, 1]."""
    folder.mkdir()
    x, z = torch.rand(1, *author.recipe.shape), torch.zeros(1, _latent(author))
    _export(_Called(author, "q"), (x,), folder / ENCODER, ["x"], ["mu", "logvar"])
    _export(_Called(author, "mean"), (z,), folder / DECODER, ["z"], ["image"])
    return folder


def save_decoder(author: Author, folder: Path, last: bool) -> Path:
    """decoder.onnx alone; with its channels last where told."""
    folder.mkdir()
    z = torch.zeros(1, _latent(author))
    _export(_Called(author, "mean", last), (z,), folder / DECODER, ["z"], ["image"])
    return folder


def save_curve(folder: Path) -> Path:
    """A decoder of 700 numbers that are no image."""
    folder.mkdir()
    widths, parts = (2, 32, 64, 128), []
    for n_in, n_out in itertools.pairwise(widths):
        parts += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.Tanh()]
    net = nn.Sequential(*parts, nn.Linear(128, 700)).eval()
    _export(net, (torch.zeros(1, 2),), folder / DECODER, ["z"], ["x_recon"])
    return folder


def save_code(folder: Path) -> Path:
    """A joint source-channel code: an encoder that gives one output, and no variance."""
    folder.mkdir()
    conv = [nn.Conv2d(1, 8, 3, 2, 1), nn.GELU(), nn.Conv2d(8, 16, 3, 2, 1), nn.GELU()]
    encoder = nn.Sequential(*conv, nn.Flatten(), nn.Linear(784, 128)).eval()
    up = [nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.GELU(), nn.ConvTranspose2d(8, 1, 4, 2, 1)]
    start = [nn.Linear(128, 784), nn.GELU(), nn.Unflatten(1, (16, 7, 7))]
    decoder = nn.Sequential(*start, *up, nn.Sigmoid()).eval()
    x = (torch.zeros(1, 1, 28, 28),)
    _export(encoder, x, folder / ENCODER, ["image"], ["symbols"])
    _export(decoder, (torch.zeros(1, 128),), folder / DECODER, ["symbols"], ["recon"])
    return folder


class _Sequence(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.mu, self.log_var = nn.LSTM(28, 16), nn.Linear(16, 5), nn.Linear(16, 5)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, _ = self.lstm(torch.cat([x.reshape(31, 1, 25), y], 2))
        mu, log_var = self.mu(h[-1]), self.log_var(h[-1])
        return mu + log_var, mu, log_var


class _SequenceBack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(10, 25)

    def forward(self, z: Tensor, zeta: Tensor) -> Tensor:
        return self.fc(torch.cat([z, zeta], 1)).reshape(1, 5, 5)


def save_sequence(folder: Path) -> Path:
    """A recurrent pair with two inputs each."""
    folder.mkdir()
    x, z = (torch.zeros(31, 1, 5, 5), torch.zeros(31, 1, 3)), (torch.zeros(1, 5),) * 2
    _export(_Sequence().eval(), x, folder / ENCODER, ["x", "y"], ["z", "mu", "log_var"])
    _export(_SequenceBack().eval(), z, folder / DECODER, ["z", "zeta"], ["x_n"])
    return folder


def _latent(author: Author) -> int:
    with torch.no_grad():
        x = torch.zeros(1, *author.recipe.shape)
        y = torch.zeros(1, dtype=torch.int64) if author.recipe.n_classes else None
        return author.q(x, y)[0].shape[1]


def _export(
    net: nn.Module, inputs: tuple[Tensor, ...], path: Path, names: list[str], outputs: list[str]
) -> None:
    axes = {name: {0: "batch"} for name in names + outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the older of torch's two exporters needs no more packages
        torch.onnx.export(
            net,
            inputs,
            str(path),
            dynamo=False,
            input_names=names,
            output_names=outputs,
            dynamic_axes={} if len(names) > 1 else axes,
        )
