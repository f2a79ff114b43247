"""Made tables for the layouts that read rows of numbers, scaled as their authors would have."""

import dataclasses
from functools import cache

import numpy as np
import torch
from torch import Tensor
from wild.networks import Recipe

from vae.config import VECTOR
from vae.data.dataset import Dataset, of_numbers
from vae.features import Feature, as_measured

_ROWS, _FACTORS, _NOISE = 1000, 4, 0.3
STANDARDISED, UNIT, SIGNED = "table standardised", "table unit", "table signed"


@cache
def table(n: int, split: str) -> Dataset:
    """Rows of n columns that four factors explain, each with a mean and a scale of its own."""
    rng = np.random.default_rng(n)
    z = rng.normal(size=(_ROWS, _FACTORS))
    x = np.tanh(z @ rng.normal(size=(_FACTORS, n))) + 0.5 * z @ rng.normal(size=(_FACTORS, n))
    x += _NOISE * rng.normal(size=x.shape)
    x = rng.normal(0, 10, n) + x * np.exp(rng.normal(0, 2, n))
    features = tuple(Feature(f"x{i}") for i in range(n))
    labels = (z[:, 0] > 0).astype(int)
    return of_numbers(f"table-{n}", split, VECTOR, x, features, labels, ("low", "high"))


def as_author_reads(n: int, how: str, split: str) -> Dataset:
    """The same in the units of an author: standardised, or each column to [0, 1] or [-1, 1]."""
    data = table(n, split)
    if how == STANDARDISED:
        return data
    values = torch.from_numpy(as_measured(data.images.flatten(1).numpy(), data.features))
    low, high = (torch.tensor([getattr(f, k) for f in data.features]) for k in ("low", "high"))
    x = (values - low) / (high - low)
    x = 2 * x - 1 if how == SIGNED else x
    return dataclasses.replace(data, images=x.float().reshape(data.images.shape))


def share(x: Tensor, mean: Tensor) -> float:
    """Squared error in units of each column's variance, the same in all linear units."""
    return ((mean - x).square() / x.var(0)).flatten(1).sum(1).mean().item()


def _mlp(body: str, heads: str, decoder: str, n: int, how: str, **more: object) -> Recipe:
    mu, _, second = heads.partition(" ")
    output = {STANDARDISED: "linear", UNIT: "sigmoid", SIGNED: "tanh"}[how]
    gain = {STANDARDISED: 3.0, UNIT: 60.0, SIGNED: 15.0}[how]
    values = {"shape": (1, 1, n), "dataset": how, "output": output, "loss": "mse", "gain": gain}
    return Recipe(body, mu, second, decoder, **(values | more))


def _steps(prefix: str, *numbers: int, ends: str = "relu", last: bool = True) -> str:
    words = [f"{prefix}{i}" for i in numbers]
    return f" {ends} ".join(words) + (f" {ends}" if last else "")


_TWO = _steps("encoder.", 0, 2), _steps("decoder.", 0, 2, 4, last=False)
_ONE = "encoder.0 relu encoder.2", "decoder.0 relu decoder.2"
_BN = "encoder.0 encoder.1 relu encoder.3 encoder.4 relu"
_BN_BACK = "decoder.0 decoder.1 relu decoder.3 decoder.4 relu decoder.6"

RECIPES = {
    37: _mlp(
        _steps("encoder.fc", 1, 2, 3, 4, 5),
        "encoder.fc_mu encoder.fc_log_var",
        _steps("decoder.fc", 1, 2, 3, 4, 5) + " decoder.fc_out",
        29,
        UNIT,
    ),
    45: _mlp(_BN, "fc_mu fc_var", _BN_BACK, 30, STANDARDISED),
    57: _mlp("fc1 relu fc2 relu", "mu logvar", "fc3 relu fc4 relu fc5", 20, STANDARDISED),
    58: _mlp(_TWO[0], "mu logvar", _TWO[1], 55, STANDARDISED),
    96: _mlp("encoder.0 relu", "latent_mean latent_logvar", _ONE[1], 20, UNIT),
    97: _mlp(_TWO[0], "mu logvar", _TWO[1], 132, STANDARDISED),
    98: _mlp("encoder.0 relu", "encoder.2", _ONE[1], 11, STANDARDISED, fused="chunked"),
    101: _mlp(
        " ".join(f"encoder.{i}.0 relu encoder.{i}.2" for i in range(4)),
        "fc_mu fc_var",
        " ".join(f"decoder.{i}.0 relu decoder.{i}.2" for i in range(4)) + " final_layer.0",
        200,
        UNIT,
    ),
    103: _mlp("encoder.0 relu", "encoder.2", _ONE[1], 5, UNIT, fused="chunked"),
    111: _mlp(_TWO[0], "mu logvar", _TWO[1], 934, STANDARDISED),
    113: _mlp("encoder.0 relu", "encoder.2", _ONE[1], 40, STANDARDISED, fused="chunked"),
    127: _mlp("fc1 relu", "fc2_mu fc2_logvar", "fc3 relu fc4", 4, UNIT),
    136: _mlp(_TWO[0], "fc_mu fc_logvar", _TWO[1], 496, UNIT, output="linear"),
    137: _mlp(_TWO[0], "mu_layer logvar_layer", _TWO[1], 97, STANDARDISED),
    143: _mlp(_TWO[0], "mu logvar", _TWO[1], 404, STANDARDISED),
    160: _mlp(
        "enc.fc1 leaky2 enc.fc3 leaky2",
        "enc.fc5_mu enc.fc5_logvar",
        "dec.fc1 relu dec.fc2 relu dec.fc3",
        199,
        SIGNED,
    ),
}
