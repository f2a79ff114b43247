"""Files of people's own models, opened without their code: the same numbers as their classes."""

import dataclasses

import pytest
import torch
from formats.hostile_files import refusal
from torch import nn

from tests.formats.readers.people import MODELS, DecoderFirst, Fused, Pooled, Wide
from tests.formats.readers.residual_people import RESIDUAL
from vae import formats
from vae.formats.card import CHOSEN, FILE
from vae.live.program import compile_module

ALL = MODELS | RESIDUAL


@pytest.fixture
def made(tmp_path):
    def make(kind):
        """The module with running statistics of its own, and the file of its state dict."""
        torch.manual_seed(0)
        module = kind().eval()
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.running_mean, 0, 0.3)
                nn.init.uniform_(layer.running_var, 0.5, 2)
                nn.init.normal_(layer.weight, 1, 0.2)
                nn.init.normal_(layer.bias, 0, 0.2)
        torch.save(module.state_dict(), tmp_path / "mine.pt")
        return module, tmp_path / "mine.pt"

    return make


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_model_gives_what_its_class_gives(made, kind):
    module, path = made(kind)
    run = formats.open_run(path)
    if ALL[kind]:
        run = run.read_with(ALL[kind])
    model = run.load_model()
    n = run.model_config.n_classes
    assert n == getattr(kind, "n_classes", 0)
    x = torch.rand(3, *run.model_config.image_shape)
    z = torch.randn(3, run.model_config.latent_dim)
    labels = torch.tensor([0, 2, 1])
    label = [nn.functional.one_hot(labels, n).float()] if n else []
    given = model.given(labels)
    with torch.no_grad():
        mu, logvar = given.encode(x)
        images = given.likelihood.mean(given.decode(z))
        wanted_mu, wanted_logvar = module.encode(x, *label)
        wanted = module.decode(z, *label)
    torch.testing.assert_close(mu, wanted_mu, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logvar, wanted_logvar, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(images, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_the_browser_can_run_it(made, kind):
    run = formats.open_run(made(kind)[1])
    model = run.load_model().given(0)
    compile_module(model.decoder, (run.model_config.latent_dim,))
    compile_module(model.encoder, run.model_config.image_shape)


def test_a_choice_is_taken_and_said(made):
    run = formats.open_run(made(Wide)[1])
    assert {fact.name for fact in run.facts} >= {"hidden activation", "second head", "input"}
    for fact in run.facts:
        assert fact.value in fact.values
    other = run.read_with({"second head": "sigma"})
    fact = next(fact for fact in other.facts if fact.name == "second head")
    assert (fact.value, fact.known) == ("sigma", CHOSEN)
    x = torch.rand(2, 1, 28, 28)
    with torch.no_grad():
        plain, sigma = run.load_model().encode(x)[1], other.load_model().encode(x)[1]
    torch.testing.assert_close(sigma, plain.square().log())
    assert dataclasses.asdict(other.read_with({}).card) == dataclasses.asdict(run.card)


class _Both(nn.Module):
    """A class's encode and decode in one forward, for a trace."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        mu, logvar = self.module.encode(x)
        return self.module.decode(mu), mu, logvar


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("kind", [Wide, Fused, Pooled, DecoderFirst], ids=lambda k: k.__name__)
def test_what_a_program_says_of_its_layers_is_taken(tmp_path, kind):
    torch.manual_seed(0)
    module = kind().eval()
    x = torch.rand(2, 1, 28, 28)
    torch.jit.trace(_Both(module), x).save(str(tmp_path / "traced.pt"))
    run = formats.open_run(tmp_path / "traced.pt")
    facts = {fact.name: fact for fact in run.facts}
    for name in ("hidden activation", "output"):
        assert facts[name].known == FILE
        assert facts[name].values == (facts[name].value,)
    with torch.no_grad():
        mu, logvar = run.load_model().encode(x)
        torch.testing.assert_close((mu, logvar), tuple(module.encode(x)), rtol=1e-5, atol=1e-5)


def _layout(text):
    """A state dict's shapes out of "name 3x4, name 5"."""
    pairs = [part.split() for part in text.split(", ")]
    return {name: torch.zeros([int(n) for n in shape.split("x")]) for name, shape in pairs}


_MLP = (
    "enc.0.weight 300x784, mu.weight 8x300, logvar.weight 8x300, dec.0.weight 300x8, "
    "dec.2.weight 784x300"
)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("discriminator.0.weight 300x784, discriminator.2.weight 1x300", ()),
        ("D.0.weight 300x784, D.2.weight 300x300, D.4.weight 1x300", ()),
        ("classifier.weight 10x8", ()),
        ("fc_class.0.weight 300x300, fc_class.2.weight 10x300", ()),
        ("x_logvar.weight 784x300, log_scale 1", ()),
        ("ema.enc.0.weight 300x784, ema.mu.weight 8x300", ()),
        ("dec_k.0.weight 300x8, dec_k.2.weight 784x300", ()),
        ("loss.window 1x1x11x11", ()),
        ("gate.weight 300x8", ("gate",)),
        ("dec.1.running_mean 31, dec.1.running_var 31", ("dec.1",)),
        ("pseudo_inputs 500x784", ("pseudo_inputs",)),
    ],
)
def test_weights_that_the_model_may_use_are_not_left_out_unsaid(tmp_path, text, missing):
    torch.save(_layout(f"{_MLP}, {text}"), tmp_path / "vae.pt")
    run = formats.open_run(tmp_path / "vae.pt")
    assert run.card.missing == missing
    assert run.model_config.latent_dim == 8


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("lstm.weight_ih_l0 128x9, lstm.weight_hh_l0 128x32, mu.weight 5x32", "LSTM that reads 9"),
        ("enc.0.weight 32x1x4x4, vq._embedding.weight 512x32", "codebook of 512 vectors of 32"),
        (
            "enc.fc1.weight 64x260, enc.fc2.weight 10x64, dec.fc1.weight 64x10, "
            "dec.fc2.weight 260x64",
            "autoencoder with k = 10 and without a variance",
        ),
        (
            "main.0.weight 100x64x4x4, main.3.weight 64x32x4x4, main.6.weight 32x3x4x4",
            "generator alone",
        ),
        (
            "conv1.weight 8x1x3x3, conv2.weight 16x8x3x3, fc1.weight 64x256, fc2.weight 10x64",
            "classifier",
        ),
        (
            "enc.0.weight 8x1x3x3, enc.1.conv1.weight 8x8x3x3, enc.1.shortcut.weight 8x8x1x1",
            "residual blocks",
        ),
        ("state.0.exp_avg 4x4, state.0.exp_avg_sq 4x4", "optimiser's state"),
        ("encode.weight 40x784, alpha.weight 5x40, decode.weight 784x5", "Dirichlet"),
        ("enc.0.weight 8x1x5, enc.0.bias 8, dec.0.weight 8x1x5", "convolutions along 1 axis"),
        (
            "conv1.weight 16x1x3x3, conv2.weight 4x16x3x3, t_conv1.weight 4x16x2x2, "
            "t_conv2.weight 16x1x2x2, t_conv2.bias 1",
            "a code of 4 channels and without a variance",
        ),
        (
            "fc1.weight 512x784, fc2.weight 256x512, fc3.weight 200x256, fc4.weight 256x200, "
            "fc5.weight 512x256, fc6.weight 784x512",
            "or a VAE with a categorical q",
        ),
        (f"{_MLP}, flows.0.u 1x8, flows.0.w 1x8, flows.0.b 1", "a flow behind q"),
        (f"{_MLP}, after.0.u 1x8, after.0.w 1x8, after.0.b 1", "a flow behind q"),
        (
            "e1.weight 256x784, mu1.weight 16x256, lv1.weight 16x256, e2.weight 128x256, "
            "mu2.weight 8x128, lv2.weight 8x128, p1.weight 128x8, pmu1.weight 16x128, "
            "plv1.weight 16x128, d1.weight 256x16, d2.weight 784x256",
            "more than one latent vector",
        ),
        (
            "e1.weight 256x784, mu1.weight 8x256, logvar1.weight 8x256, e2.weight 128x256, "
            "mu2.weight 8x128, logvar2.weight 8x128, p1.weight 128x8, p_mu1.weight 8x128, "
            "p_logvar1.weight 8x128, d1.weight 256x8, d2.weight 784x256",
            "more than one latent vector",
        ),
        (
            "down1.weight 16x1x4x4, down1.bias 16, down2.weight 32x16x4x4, down2.bias 32, "
            "fc_mu.weight 16x1568, fc_logvar.weight 16x1568, fc.weight 1568x16, "
            "up1.weight 32x16x4x4, up1.bias 16, up2.weight 32x1x4x4, up2.bias 1",
            "a U-Net: up2 reads the channels of down1",
        ),
    ],
)
def test_what_is_no_gaussian_vae_is_refused_by_its_kind(tmp_path, text, reason):
    torch.save(_layout(text), tmp_path / "other.pt")
    assert reason in refusal(tmp_path / "other.pt")
