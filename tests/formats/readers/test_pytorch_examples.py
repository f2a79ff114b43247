"""Checkpoints of pytorch/examples."""

import pytest
import torch
import torch.nn.functional as F
from formats.state_dicts import close, examples_vae, images, opened

from vae.core.elbo import log_likelihood


@pytest.mark.parametrize(
    ("n_pixels", "shape"), [(784, (1, 28, 28)), (3072, (3, 32, 32)), (30, (1, 1, 30))]
)
def test_pytorch_examples_at_any_size(tmp_path, n_pixels, shape):
    state = examples_vae(n_pixels)
    torch.save(dict(state), tmp_path / "any name.bin")
    run, model = opened(tmp_path / "any name.bin")
    x = images(shape)
    h = F.relu(F.linear(x.flatten(1), *state.of("fc1")))
    mu, logvar = model.encode(x)
    close(mu, F.linear(h, *state.of("fc21")))
    close(logvar, F.linear(h, *state.of("fc22")))
    logits = F.linear(F.relu(F.linear(mu, *state.of("fc3"))), *state.of("fc4"))
    close(model.decode(mu).flatten(1), logits)
    bce = F.binary_cross_entropy(torch.sigmoid(logits), x.flatten(1), reduction="none").sum(1)
    close(-log_likelihood(model, x, mu).float(), bce)
    config = run.model_config
    assert (config.image_shape, config.latent_dim, config.hidden) == (shape, 3, (12,))
    assert config.likelihood == "bernoulli"
    assert model.n_parameters == sum(t.numel() for t in state.values())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module.model."])
@pytest.mark.parametrize("under", [None, "state_dict", "model_state_dict", "anything"])
def test_wrappers_around_a_state_dict_are_taken_off(tmp_path, prefix, under):
    state = {prefix + name: tensor for name, tensor in examples_vae().items()}
    optimiser = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    whole = state if under is None else {"epoch": 3, "optimizer": optimiser, under: state}
    torch.save(whole, tmp_path / "weights.pth")
    run, model = opened(tmp_path / "weights.pth")
    assert run.card.format == "pytorch/examples"
    close(model.encoder.mu.weight, examples_vae()["fc21.weight"])
