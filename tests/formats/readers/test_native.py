"""Our own weights without their folder."""

import pytest
import safetensors.torch
import torch
from formats.state_dicts import images, opened

from vae.config import ModelConfig
from vae.core.model import VAE


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig((1, 28, 28), hidden=(9, 5)),
        ModelConfig((1, 8, 8), latent_dim=3, hidden=()),
        ModelConfig((3, 32, 32), hidden=(7,), likelihood="gaussian"),
        ModelConfig((1, 28, 28), family="conv", hidden=(4, 6)),
        ModelConfig((1, 8, 8), family="conv", hidden=(4,), likelihood="gaussian"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_our_own_bare_weights(tmp_path, config, suffix):
    model = VAE(config)
    path = tmp_path / f"bare{suffix}"
    if suffix == ".pt":
        torch.save(model.state_dict(), path)
    else:
        safetensors.torch.save_file(model.state_dict(), path)
    run, loaded = opened(path)
    assert run.model_config == config
    assert run.card.format == "ELBO Room"
    x = images(config.image_shape)
    with torch.no_grad():
        for found, wanted in zip(loaded.encode(x), model.encode(x), strict=True):
            assert torch.equal(found, wanted)
