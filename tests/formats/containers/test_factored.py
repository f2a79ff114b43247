"""Weights in factors are what torch's own modules multiply with."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from vae.formats.containers import tensors

X = torch.linspace(-1, 1, 2 * 6 * 5 * 5, dtype=torch.float64).float().reshape(2, 6, 5, 5)


def network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(6, 4, 3), nn.ConvTranspose2d(4, 4, 3), nn.Flatten(), nn.Linear(100, 7)
    )


def weight_norm(layer: nn.Module) -> None:
    torch.nn.utils.weight_norm(layer)
    with torch.no_grad():
        layer.weight_g.mul_(1.7)


def weight_norm_along_inputs(layer: nn.Module) -> None:
    torch.nn.utils.weight_norm(layer, dim=1)
    with torch.no_grad():
        layer.weight_g.add_(0.2)


def weight_norm_of_all(layer: nn.Module) -> None:
    torch.nn.utils.weight_norm(layer, dim=None)
    with torch.no_grad():
        layer.weight_g.mul_(0.6)


def weight_norm_as_parametrization(layer: nn.Module) -> None:
    parametrizations.weight_norm(layer)
    with torch.no_grad():
        layer.parametrizations.weight.original0.mul_(1.3)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize(
    "factor",
    [
        *(weight_norm, weight_norm_along_inputs, weight_norm_of_all),
        *(weight_norm_as_parametrization, nn.utils.spectral_norm, parametrizations.spectral_norm),
    ],
)
def test_a_weight_in_factors_is_the_one_its_layer_uses(factor, tmp_path: Path) -> None:
    net = network()
    for layer in net:
        if not isinstance(layer, nn.Flatten):
            factor(layer)
    net(X)  # spectral norm looks for its vectors while it trains
    net.eval()
    torch.save(net.state_dict(), tmp_path / "net.pt")

    survey = tensors.survey(tmp_path / "net.pt")
    plain = network().eval()
    plain.load_state_dict(survey.load())

    assert list(survey.shapes) == [n for n in survey.shapes if n.endswith((".weight", ".bias"))]
    assert torch.allclose(plain(X), net(X), atol=1e-5)


def test_what_only_looks_like_a_factor_stays(tmp_path: Path) -> None:
    state = {"a.weight_g": torch.ones(3, 2), "a.weight_v": torch.ones(4, 2), "weight_v": X[0, 0]}
    torch.save(state, tmp_path / "odd.pt")
    assert set(tensors.survey(tmp_path / "odd.pt").shapes) == set(state)
