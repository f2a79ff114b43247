"""A person's object with encode and decode, as a VAE."""

import math
import os
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import distributions, nn

from vae import as_vae, embed, formats
from vae.core.elbo import log_likelihood
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.inference import evidence
from vae.live import show
from vae.live.export import ExportError
from vae.live.program import compile_module
from vae.runs.checkpoint import CheckpointError

SHAPE = (1, 8, 8)
ROOT = Path(__file__).resolve().parents[3]


class Examples(nn.Module):
    """The VAE of pytorch/examples, as its source has it."""

    def __init__(self, hidden: int = 12, k: int = 3, n_pixels: int = 64) -> None:
        super().__init__()
        self.fc1, self.fc21 = nn.Linear(n_pixels, hidden), nn.Linear(hidden, k)
        self.fc22, self.fc3 = nn.Linear(hidden, k), nn.Linear(k, hidden)
        self.fc4 = nn.Linear(hidden, n_pixels)

    def encode(self, x):
        h = F.relu(self.fc1(x))
        return self.fc21(h), self.fc22(h)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))


class LinearGaussian:
    """x = W z + b + noise of variance s^2, and its exact posterior, in plain tensors."""

    image_shape = SHAPE
    likelihood = "gaussian"

    def __init__(self, k: int = 2, logvar_x: float = -1.0) -> None:
        generator = torch.Generator().manual_seed(0)
        self.logvar_x = logvar_x
        self.W = torch.linalg.qr(torch.randn(64, k, generator=generator))[0] * torch.arange(
            1, k + 1
        )
        self.b = torch.rand(64, generator=generator)

    def encode(self, x):
        # The columns of W are orthogonal, so that the posterior's covariance is diagonal.
        precision = 1 + self.W.square().sum(0) / math.exp(self.logvar_x)
        mu = (x.flatten(1) - self.b) @ self.W / math.exp(self.logvar_x) / precision
        return mu, -precision.log().expand_as(mu)

    def decode(self, z):
        return z @ self.W.T + self.b


def made(**methods) -> object:
    """An object with these methods, of linear parts unless they say otherwise."""
    torch.manual_seed(0)
    w, v = torch.randn(64, 3) / 8, torch.randn(3, 64)
    usual = {
        "encode": lambda x: ((h := x.reshape(len(x), -1) @ w), h - 5),
        "decode": lambda z: z @ v,
    }
    return types.SimpleNamespace(**(usual | methods))


def digits(n: int = 40) -> Dataset:
    return catalogue.load("digits").first(n)


def images(n: int = 5, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def refused(model: object, data: Dataset | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        as_vae(model, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def foreign_file() -> Path | None:
    """The file that pytorch/examples itself wrote: beside the data, or beside the repository."""
    places = [ROOT.parent / "shared" / "foreign"]
    if data := os.environ.get("VAE_DATA"):
        places.insert(0, Path(data).parent / "foreign")
    files = (place / "pytorch_examples" / "mnist_vae.pt" for place in places)
    return next((file for file in files if file.is_file()), None)


@pytest.mark.skipif(foreign_file() is None, reason="no folder of other libraries' checkpoints here")
def test_the_class_of_pytorch_examples_gives_what_the_reader_of_its_file_gives():
    state = torch.load(foreign_file(), weights_only=True)
    hidden, n_pixels = state["fc1.weight"].shape
    theirs = Examples(hidden, len(state["fc21.weight"]), n_pixels)
    theirs.load_state_dict(state)
    run, read = formats.of_object(theirs), formats.open_run(foreign_file()).load_model()
    model, x = run.load_model(), images(9, (1, 28, 28))
    eps = torch.zeros(9, model.config.latent_dim)
    for found, wanted in zip(model.encode(x), read.encode(x), strict=True):
        assert torch.equal(found, wanted)
    assert torch.equal(model.decode(eps), read.decode(eps))
    assert model.n_parameters == read.n_parameters
    assert run.model_config.image_shape == (1, 28, 28)


def test_terms_are_those_of_a_reader_of_the_same_weights(tmp_path):
    theirs = Examples()
    torch.save(theirs.state_dict(), tmp_path / "weights.pt")
    read = formats.open_run(tmp_path / "weights.pt").load_model()
    found, wanted = (embed(model, digits()) for model in (as_vae(theirs, digits()), read))
    for name in ("mu", "logvar", "kl_per_dim", "recon", "recon_at_mu"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-5)


def test_a_linear_gaussian_object_has_the_terms_of_its_closed_forms():
    theirs = LinearGaussian()
    model, data = as_vae(theirs), digits()
    found = embed(model, data, n_samples=4)
    x = catalogue.to_unit(data.images)
    mu, logvar = theirs.encode(x)
    q = distributions.Normal(mu, (logvar / 2).exp())
    prior = distributions.Normal(torch.zeros_like(mu), 1.0)
    kl = distributions.kl_divergence(q, prior)
    np.testing.assert_allclose(found.kl_per_dim, kl.numpy(), rtol=1e-4, atol=1e-5)
    p = distributions.Normal(theirs.decode(mu), math.exp(-0.5))
    recon = -p.log_prob(x.flatten(1)).sum(1)
    np.testing.assert_allclose(found.recon_at_mu, recon.numpy(), rtol=1e-5)
    # log p(x) of a linear Gaussian model is that of one normal distribution; its q is exact.
    covariance = theirs.W @ theirs.W.T + math.exp(-1) * torch.eye(64)
    log_px = distributions.MultivariateNormal(theirs.b, covariance).log_prob(x.flatten(1))
    exact = evidence.exact(model, data)
    np.testing.assert_allclose(exact.log_px, log_px.numpy(), atol=2e-2)
    annealed = evidence.annealed(model, data.first(3), 60)
    np.testing.assert_allclose(annealed.log_px, log_px[:3].numpy(), atol=1.0)


def test_logits_before_a_final_sigmoid_are_exact_where_means_have_lost_them():
    wide = torch.linspace(-60, 60, 64)
    sigmoids = {
        "torch.sigmoid": lambda z: torch.sigmoid(wide + 0 * z[:, :1]),
        "method": lambda z: (wide + 0 * z[:, :1]).sigmoid().view(-1, 1, 8, 8),
        "layer": lambda z: nn.Unflatten(1, SHAPE)(nn.Sigmoid()(wide + 0 * z[:, :1])),
        "special": lambda z: torch.special.expit(wide + 0 * z[:, :1]).reshape(-1, 8, 8),
    }
    for name, decode in sigmoids.items():
        model = as_vae(made(decode=decode))
        assert torch.equal(model.decode(torch.zeros(2, 3))[1].flatten(), wide), name
    others = {
        "by hand": lambda z: 1 / (1 + torch.exp(-(wide + 0 * z[:, :1]))),
        "changed": lambda z: torch.sigmoid(wide + 0 * z[:, :1]).mul_(1.0),
        "turned": lambda z: torch.sigmoid(wide.reshape(8, 8).T + 0 * z[:, :1, None]).mT,
    }
    for name, decode in others.items():
        model = as_vae(made(decode=decode))
        logits = model.decode(torch.zeros(2, 3))[1].flatten()
        near = wide.abs() < 10  # where float32 still tells means from 0 and 1
        torch.testing.assert_close(logits[near], wide[near], rtol=1e-2, atol=1e-2), name
        assert torch.isfinite(logits).all()
        torch.testing.assert_close(torch.sigmoid(logits), torch.sigmoid(wide), rtol=1e-4, atol=1e-6)


def test_bernoulli_means_cost_what_binary_cross_entropy_says():
    theirs = made(decode=lambda z: ((z @ torch.ones(3, 64)).sin() + 1) / 2)
    model, x = as_vae(theirs), images()
    assert model.config.likelihood == "bernoulli"
    z = images(5, (3,))
    wanted = F.binary_cross_entropy(theirs.decode(z), x.flatten(1), reduction="none").sum(1)
    torch.testing.assert_close(-log_likelihood(model, x, z).float(), wanted)


@pytest.mark.parametrize("name", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_a_likelihood_that_is_said_is_used_on_the_raw_output(name):
    theirs, x, z = made(likelihood=name), images(), images(5, (3,))
    run = formats.of_object(theirs)
    raw = theirs.decode(z)
    p = {
        "bernoulli": distributions.Bernoulli(logits=raw, validate_args=False),
        "continuous-bernoulli": distributions.ContinuousBernoulli(logits=raw),
        "gaussian": distributions.Normal(raw, 1.0),
    }[name]
    wanted = p.log_prob(x.flatten(1)).sum(1)
    found = log_likelihood(run.load_model(), x, z).float()
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)
    assert run.model_config.likelihood == name
    if name == "gaussian":
        assert "model.logvar_x = log s^2 says otherwise" in run.card.notes[-1]


def test_the_card_says_what_was_assumed_and_how_to_say_otherwise():
    run = formats.of_object(made())
    assert "Bernoulli, logits: decode's values were from" in run.card.likelihood
    assert 'model.likelihood = "gaussian" says otherwise' in run.card.likelihood
    assert "1x8x8 was found by trying" in run.card.notes[0]
    near = formats.of_object(made(decode=lambda z: 0.5 + 0.55 * z[:, :1].sin().expand(-1, 64)))
    assert "lie so near [0, 1] that they may be means" in near.card.notes[-1]
    sigma = formats.of_object(made(encode=lambda x: (x.flatten(1)[:, :3], 1 + x.flatten(1)[:, :3])))
    assert "if encode returns sigma or the variance, return its log" in " ".join(sigma.card.notes)
    odd = formats.of_object(made(likelihood=lambda z: z))
    assert "likelihood is a function, no name, and was not read" in odd.card.notes[1]
    assert odd.card.sentence().endswith("implied beta not known")
    assert odd.card.to_dict()["factors"] == {"recon": None, "KL": None}


def test_every_layout_that_is_promised_is_read():
    w = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
    readers = {
        "images": lambda x: (x[:, 0, 0, :2], x[:, 0, 1, :2]),
        "flat": lambda x: (x @ w, x @ w),
        "in place": lambda x: (x.sub_(0.5).flatten(1) @ w, x.flatten(1) @ w),
        "numpy": lambda x: (x.flatten(1).numpy() @ w.numpy(), x.flatten(1).numpy() @ w.numpy()),
        "list": lambda x: list((x.flatten(1) @ w).split(1, 1)),
    }
    for name, encode in readers.items():
        for shape in ((-1, 1, 8, 8), (-1, 8, 8), (-1, 64), (-1, 8, 8, 1)):
            theirs = made(
                encode=encode,
                decode=lambda z, shape=shape: (z[:, :1].expand(-1, 64) - 3).reshape(shape),
                image_shape=(8, 8),
            )
            model, x = as_vae(theirs), images()
            before = x.clone()
            mu, logvar = model.encode(x)
            assert torch.equal(x, before), name
            assert mu.shape == logvar.shape == (5, model.config.latent_dim)
            z = images(6, (2, model.config.latent_dim))
            assert model.decode(z).shape == (6, 2, *SHAPE)
            assert torch.equal(model.decode(z)[..., 0, 0, 0], z[..., 0] - 3)


def test_colour_images_and_their_shape_come_from_the_data():
    data = Dataset(
        "c", "test", torch.arange(96, dtype=torch.uint8).reshape(2, 3, 4, 4), *[None] * 2
    )
    theirs = made(
        encode=lambda x: (x.mean((2, 3)), x.amax((2, 3))),
        decode=lambda z: z[:, :, None, None].expand(-1, 3, 4, 4),
    )
    run = formats.of_object(theirs, data)
    assert run.model_config.image_shape == (3, 4, 4)
    assert "was found by trying" not in " ".join(run.card.notes)
    assert run.train_config.dataset == ""
    with pytest.raises(CheckpointError, match="reads images of 3x4x4"):
        run.usual_dataset()


def test_double_precision_and_dropout_are_taken_care_of():
    theirs = nn.Module()
    theirs.net = nn.Sequential(nn.Linear(64, 4), nn.Dropout(0.5)).double()
    theirs.encode = lambda x: theirs.net(x).chunk(2, 1)
    theirs.decode = lambda z: z.double() @ torch.ones(2, 64, dtype=torch.double) - 9
    model = as_vae(theirs)
    assert not theirs.net.training
    assert {v.dtype for v in model.encode(images())} == {torch.float32}
    holder = made(parts=[nn.Linear(64, 4)])
    holder.encode = lambda x: holder.parts[0](x).chunk(2, 1)
    holder.decode = lambda z: z[:, :1].expand(-1, 64) * 9
    assert as_vae(holder).n_parameters == 64 * 4 + 4


def test_inference_mode_and_attributes_that_fail_do_no_harm():
    class Odd(Examples):
        @property
        def likelihood(self):
            raise RuntimeError("not fitted yet")

    model = as_vae(Odd())
    z = torch.zeros(2, 3)
    with torch.inference_mode():
        found = model.decode(z)
    torch.testing.assert_close(found, model.decode(z), rtol=1e-4, atol=1e-5)


def test_a_model_without_parameters_has_a_device_and_none_to_train():
    model = as_vae(made())
    assert (model.n_parameters, str(model.device)) == (0, "cpu")
    assert as_vae(model) is model


def test_a_module_runs_in_the_browser_with_its_sigmoid_taken_off(tmp_path):
    program = compile_module(as_vae(Examples()).decoder, (3,))
    assert [op["op"] for op in program.ops] == ["linear", "activation", "linear"]
    assert program.output_shapes == (SHAPE,)
    conv = nn.Module()
    conv.up = nn.Sequential(
        nn.Linear(2, 16), nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 1, 4, 4), nn.Sigmoid()
    )
    conv.down = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.SiLU(), nn.Flatten(), nn.Linear(16, 4))
    conv.encode = lambda x: conv.down(x).chunk(2, 1)
    conv.decode = lambda z: conv.up(z)
    model = as_vae(conv)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plotly.offline.get_plotlyjs", lambda: "")
        assert "srcdoc" in show(Examples(), digits())._repr_html_()
        assert "resized" not in show(model, digits())
        torch.save(Examples().state_dict(), tmp_path / "weights.pt")
        page = show(tmp_path / "weights.pt", catalogue.load("sprites").first(9))
        assert "weights.pt" in page
        assert show(formats.open_run(tmp_path / "weights.pt")).startswith("<!doctype html>")
    with pytest.raises(ExportError, match="needs a data set"):
        show(conv)


class WithSize(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.norm = nn.Linear(64, 4), nn.BatchNorm1d(4, track_running_stats=False)

    def encode(self, x):
        return self.norm(self.net(x)).chunk(2, 1)

    def decode(self, z):
        return z[:, :1].expand(-1, 64)


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"encode": None}, "without encode; it has decode, encode"),
        ({"encode": 3, "decode": 4}, "without encode and decode"),
        ({"encode": lambda x: x.flatten(1)}, "one array of shape 8x64; if mu and logvar"),
        ({"encode": lambda x: (x.flatten(1),) * 3}, "it returned 3 values"),
        ({"encode": lambda x: {"mu": x}}, "it returned dict"),
        ({"encode": lambda x: None}, "it returned NoneType"),
        ({"encode": lambda x: ("mu", "logvar")}, "it returned a str in it"),
        (
            {"encode": lambda x: distributions.Normal(x.flatten(1), 1.0)},
            "it returned a Normal distribution; return q.mean, 2 * q.stddev.log()",
        ),
        ({"encode": lambda x: (x.flatten(1), x.flatten(1)[:, :1])}, "mu 8x64 and logvar 8x1"),
        ({"encode": lambda x: (x[:, None, :], x[:, None, :])}, "returned mu 8x1x"),
        ({"encode": lambda x: (x.flatten(1).log(),) * 2}, "a mu with 64 of 512 values NaN or inf"),
        ({"encode": lambda x: (torch.randn(len(x), 2),) * 2}, "returned another mu for the same"),
        ({"encode": lambda x: _raise(SystemExit(3))}, "encode raised SystemExit: 3 (line"),
        ({"encode": lambda x: _raise(KeyError("fc1"))}, "encode raised KeyError: 'fc1' (line"),
        ({"encode": lambda x: x @ torch.ones(9, 1)}, "shapes cannot be multiplied"),
        ({"encode": lambda x: (x.flatten(1).repeat(1, 20),) * 2}, "1,280 latent dimensions"),
        ({"encode": lambda x: (x.flatten(1)[:, : len(x)],) * 2}, "8 latent dimensions for 8"),
        ({"decode": lambda z: z}, "given 8x1x8x8 or 8x64, decode returned 8x3 for z 8x3"),
        ({"decode": lambda z: (z, z)}, "decode returned a tuple; it must return one tensor"),
        ({"decode": lambda z: torch.randn(len(z), 64)}, "returned another image for the same z"),
        ({"decode": lambda z: z[:, :1].expand(-1, 64) / 0}, "decode returned NaN or infinite"),
        (
            {"decode": lambda z: _raise(RuntimeError("no\nway"))},
            "decode raised RuntimeError: no (l",
        ),
        ({"decode": lambda z: (z - z.mean(0))[:, :1].expand(-1, 64)}, "decode returns for one"),
        ({"image_shape": (8,)}, "an image_shape that cannot be used"),
        ({"image_shape": "28"}, "an image_shape that cannot be used"),
        ({"image_shape": (2, 8, 8)}, "with 1 or 3 channels"),
        ({"image_shape": (1, 9, 9)}, "shapes cannot be multiplied"),
        ({"likelihood": "poisson"}, "a likelihood (='poisson') that is none of: bernoulli"),
        ({"likelihood": "gaussian", "logvar_x": "big"}, "a logvar_x (='big')"),
        ({"likelihood": "gaussian", "logvar_x": torch.zeros(2)}, "that is not one number"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_sentence(methods, said):
    assert said in refused(made(**({"image_shape": SHAPE} | methods)))


def test_batch_norm_that_goes_on_learning_is_found():
    assert "given 8x64, encode, given one image, raised ValueError: Expected more" in refused(
        WithSize()
    )


def test_no_shape_of_any_known_data_set_says_how_to_name_one():
    message = refused(made(encode=lambda x: x.reshape(len(x), 7, 9)))
    assert "given 8x1x28x28 or 8x784, encode raised RuntimeError" in message
    assert "say what it reads: model.image_shape = (C, H, W)" in message


def test_what_fails_later_is_a_sentence_too():
    problem = []

    def decode(z):
        return _raise(problem[0]) if problem else z[:, :1].expand(-1, 64) * 9

    model = as_vae(made(decode=decode, image_shape=SHAPE))
    problem.append(RuntimeError("worn out"))
    with pytest.raises(ValueError, match="decode raised RuntimeError: worn out"):
        model.decode(torch.zeros(1, 3))


def test_trying_an_object_moves_nobodys_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    theirs = made()
    torch.manual_seed(5)
    as_vae(made(encode=lambda x: (theirs.encode(x)[0] + 0 * torch.rand(1), x.flatten(1)[:, :3])))
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected)
    with pytest.raises(CheckpointError):
        as_vae(made(encode=lambda x: (torch.rand(len(x), 2),) * 2))


def test_of_a_vae_of_ours_nothing_is_guessed():
    from vae.config import ModelConfig

    ours = VAE(ModelConfig(SHAPE, hidden=(4,), likelihood="gaussian"))
    run = formats.of_object(ours)
    assert run.load_model() is ours
    assert run.card.likelihood == "gaussian, as its config says"
