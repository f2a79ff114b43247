"""State dicts of other libraries that tests make, and what a model of them must do."""

import json
import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F

from vae import formats
from vae.core.model import VAE
from vae.formats import ForeignRun
from vae.live.program import compile_module


class Weights(dict):
    """A state dict of random numbers, layer by layer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def layer(self, name: str, *shape: int, transposed: bool = False) -> None:
        """Weight of that shape and a bias for each output."""
        scale = math.prod(shape[1:]) ** -0.5
        self[f"{name}.weight"] = torch.randn(shape, generator=self.generator) * scale
        n_outputs = shape[1] if transposed else shape[0]
        self[f"{name}.bias"] = torch.randn(n_outputs, generator=self.generator) * 0.1

    def norm(self, name: str, n: int) -> None:
        """A batch norm that has seen data."""
        for part in ("weight", "running_var"):
            self[f"{name}.{part}"] = torch.rand(n, generator=self.generator) + 0.5
        for part in ("bias", "running_mean"):
            self[f"{name}.{part}"] = torch.randn(n, generator=self.generator) * 0.3
        self[f"{name}.num_batches_tracked"] = torch.tensor(17)

    def of(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        return self[f"{name}.weight"], self[f"{name}.bias"]

    def normed(self, x: torch.Tensor, name: str) -> torch.Tensor:
        running = (self[f"{name}.running_mean"], self[f"{name}.running_var"])
        return F.batch_norm(x, *running, *self.of(name))


def opened(path: Path) -> tuple[ForeignRun, VAE]:
    run = formats.open_run(path)
    assert isinstance(run, ForeignRun)
    model = run.load_model()
    assert not model.training
    return run, model


def images(shape: tuple[int, int, int], n: int = 3) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def close(found: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def runs_in_the_browser(model: VAE) -> None:
    compile_module(model.decoder, (model.config.latent_dim,))
    compile_module(model.encoder, model.config.image_shape)


def examples_vae(n_pixels: int = 784, hidden: int = 12, k: int = 3) -> Weights:
    state = Weights()
    for name, shape in {
        "fc1": (hidden, n_pixels),
        "fc21": (k, hidden),
        "fc22": (k, hidden),
        "fc3": (hidden, k),
        "fc4": (n_pixels, hidden),
    }.items():
        state.layer(name, *shape)
    return state


def pythae(folder: Path, state: Weights, **config) -> Path:
    folder.mkdir()
    torch.save({"model_state_dict": dict(state)}, folder / "model.pt")
    if config:
        (folder / "model_config.json").write_text(json.dumps(config))
    return folder


def pythae_mlp(n_pixels: int = 784, hidden: int = 10, k: int = 2) -> Weights:
    state = Weights()
    state.layer("encoder.layers.0.0", hidden, n_pixels)
    state.layer("encoder.embedding", k, hidden)
    state.layer("encoder.log_var", k, hidden)
    state.layer("decoder.layers.0.0", hidden, k)
    state.layer("decoder.layers.1.0", n_pixels, hidden)
    return state


VAE_28 = {"name": "VAEConfig", "input_dim": [1, 28, 28], "latent_dim": 2}


def lightning(widths=(4, 5, 6, 7, 8), k: int = 3, colour=(0.0, -0.15, -0.25)) -> Weights:
    state = Weights()
    n_in = 3
    for i, n_out in enumerate(widths):
        state.layer(f"encoder.{i}.0", n_out, n_in, 3, 3)
        state.norm(f"encoder.{i}.1", n_out)
        n_in = n_out
    # What the running mean tends to, for images of that mean colour.
    weight, bias = state.of("encoder.0.0")
    state["encoder.0.1.running_mean"] = weight.sum((2, 3)) @ torch.tensor(colour) + bias
    state.layer("fc_mu", k, 4 * widths[-1])
    state.layer("fc_var", k, 4 * widths[-1])
    state.layer("decoder_input", 4 * widths[-1], k)
    back = widths[::-1]
    for i, (n_in, n_out) in enumerate(pairwise(back)):
        state.layer(f"decoder.{i}.0", n_in, n_out, 3, 3, transposed=True)
        state.norm(f"decoder.{i}.1", n_out)
    state.layer("final_layer.0", back[-1], back[-1], 3, 3, transposed=True)
    state.norm("final_layer.1", back[-1])
    state.layer("final_layer.3", 3, back[-1], 3, 3)
    return state


def save_lightning(path: Path, state: Weights, **more) -> Path:
    torch.save(
        {
            "epoch": 9,
            "global_step": 1234,
            "pytorch-lightning_version": "1.5.6",
            "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
            "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}}],
            "lr_schedulers": [{"gamma": 0.95}],
            **more,
        },
        path,
    )
    return path
