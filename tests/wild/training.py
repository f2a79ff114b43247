"""Trains an author's class on real images, and keeps what it says of two hundred others."""

import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from wild import tables
from wild.networks import Author

from vae.data import catalogue
from vae.data.dataset import Dataset, to_unit

N_TEST = 200
EPS = 1e-6  # pixels this near to 0 and 1 are taken as so far from them, in the cross-entropy


@dataclass(frozen=True)
class Length:
    """How long to train.

    Attributes:
        n_images: seen in each epoch, fewer where they are large.
        epochs: at most so many; it ends before where one has lowered the loss by less than 2 %.
        batch: images a step.
        lr: of Adam.
        patient: it does not end before.
    """

    n_images: int = 8_000
    epochs: int = 4
    batch: int = 100
    lr: float = 1e-3
    patient: bool = False


@cache
def data(name: str, shape: tuple[int, int, int], split: str, n: int) -> Dataset:
    """The first n images of a data set, resized to a shape; a table in its author's units."""
    if name.startswith("table"):
        return tables.as_author_reads(shape[2], name, split)
    return catalogue.load(name, split).first(n).resized(shape)


def train(author: Author, length: Length, seed: int = 0) -> None:
    """Adam on the sum over pixels plus beta times the KL; the network ends in eval mode."""
    recipe = author.recipe
    n_pixels = recipe.shape[0] * recipe.shape[1] * recipe.shape[2]
    n = min(length.n_images, recipe.n_images, max(1500, 10_000 * 1024 // n_pixels))
    images = data(recipe.dataset, recipe.shape, "train", n)
    x_all, y_all = to_unit(images.images), images.labels
    torch.manual_seed(seed)
    optimiser = torch.optim.Adam(author.net.parameters(), lr=length.lr, fused=True)
    author.net.train()
    before = math.inf
    is_table = recipe.dataset.startswith("table")  # of 800 rows
    for _ in range(length.epochs * (25 if is_table else 1)):
        losses = []
        for rows in torch.randperm(len(x_all)).split(length.batch):
            if len(rows) < 2:
                continue  # a batch norm needs two
            y = y_all[rows] if recipe.n_classes else None
            loss = _loss(author, x_all[rows], y)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(author.net.parameters(), 2000.0)
            optimiser.step()
            losses.append(loss.item())
        mean = sum(losses) / len(losses)
        if mean > 0.98 * before and not (length.patient or is_table):
            break
        before = mean
    author.net.eval()


def _loss(author: Author, x: Tensor, y: Tensor | None) -> Tensor:
    recipe = author.recipe
    mu, logvar = author.q(x, y)
    logvar = logvar.clamp(-20, 10)
    z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
    out = author.decode(z, y)
    if recipe.loss == "mse":
        target = x if recipe.output.startswith("sigmoid") else author.read(x)
        return (recipe.gain * (out - target).square().flatten(1).sum(1) + recipe.beta * kl).mean()
    if recipe.output == "logits":
        nll = F.binary_cross_entropy_with_logits(out, x, reduction="none")
    else:
        nll = F.binary_cross_entropy(out, x, reduction="none")
    return (nll.flatten(1).sum(1) + recipe.beta * kl).mean()


@torch.no_grad()
def expected(author: Author) -> tuple[dict[str, float], dict[str, Tensor]]:
    """KL and reconstruction at mu in nats per image on the test images, and the arrays behind."""
    recipe = author.recipe
    images = data(recipe.dataset, recipe.shape, "test", N_TEST)
    x = to_unit(images.images)
    y = images.labels if recipe.n_classes else None
    mu, logvar = author.q(x, y)
    mean = author.mean(mu, y)
    values = terms(x, mu, logvar, mean)
    if recipe.dataset.startswith("table"):
        values = {"kl": values["kl"], "squared": tables.share(x, mean)}
    arrays = {"mu": mu.contiguous(), "mean": mean.half().contiguous()}
    return values, arrays


def terms(x: Tensor, mu: Tensor, logvar: Tensor, mean: Tensor) -> dict[str, float]:
    """Means over images of the KL, of the cross-entropy of the mean, and of its squared error."""
    kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(1)
    inside = mean.clamp(EPS, 1 - EPS)
    nll = -(torch.xlogy(x, inside) + torch.xlogy(1 - x, 1 - inside)).flatten(1).sum(1)
    squared = (mean - x).square().flatten(1).sum(1)
    return {"kl": kl.mean().item(), "nll": nll.mean().item(), "squared": squared.mean().item()}


@torch.no_grad()
def constant(author: Author) -> float:
    """The squared error of the mean training image on the test images."""
    recipe = author.recipe
    x = to_unit(data(recipe.dataset, recipe.shape, "test", N_TEST).images)
    return (x - x.mean(0)).square().flatten(1).sum(1).mean().item()
