"""A person's own code as a model: the same numbers as the library's own readers and closed forms.

What the modules should compute is written out in torch.distributions, or is read from the same
weights by a reader of their file.
"""

import json
import math
import os
import re
import sys
import textwrap
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import distributions, nn

from vae import as_vae, cli, datasets, embed, evidence, formats
from vae.checkpoint import CheckpointError
from vae.datasets import Dataset, DatasetError
from vae.elbo import log_likelihood
from vae.formats import ForeignRun, module
from vae.live import show
from vae.live.export import ExportError
from vae.live.program import compile_module
from vae.model import VAE

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch):
    """What a process remembers is forgotten after each test."""
    monkeypatch.setattr(datasets, "_GIVEN", {})
    monkeypatch.setattr(module, "_opened", {})


@pytest.fixture
def code(tmp_path, monkeypatch) -> Callable[..., str]:
    """code(text) writes a module into the current folder, an empty one, and returns its name."""
    monkeypatch.chdir(tmp_path)
    names = []

    def write(text: str, name: str | None = None) -> str:
        name = name or f"module_{tmp_path.name.replace('-', '_')}_{len(names)}"
        names.append(name)
        Path(f"{name}.py").write_text(textwrap.dedent(text))
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


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
    return datasets.load("digits").first(n)


def images(n: int = 5, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(3))


def refused(model: object, data: Dataset | None = None) -> str:
    with pytest.raises(CheckpointError) as caught:
        as_vae(model, data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# The numbers.


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
    x = datasets.to_unit(data.images)
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


# The shapes.


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
        page = show(tmp_path / "weights.pt", datasets.load("sprites").first(9))
        assert "weights.pt" in page
        assert show(formats.open_run(tmp_path / "weights.pt")).startswith("<!doctype html>")
    with pytest.raises(ExportError, match="needs a data set"):
        show(conv)


# What is refused.


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


# A module by its name.

MODEL = """
import torch
made = []
class Model:
    image_shape = (1, 8, 8)
    def __init__(self):
        made.append(self)
    def encode(self, x):
        return x.flatten(1)[:, 20:22], x.flatten(1)[:, 30:32] - 4
    def decode(self, z):
        return (z[:, :1] * 5).expand(-1, 64)
def make():
    return Model()
ready = Model()
class outer:
    class inner:
        make = staticmethod(make)
"""
DATA = """
import numpy as np
def load():
    return np.random.default_rng(0).random((50, 8, 8)), np.arange(50) % 3
"""


@pytest.mark.parametrize("factory", ["make", "Model", "ready", "outer.inner.make"])
def test_a_factory_a_class_an_object_and_a_path_to_one(code, factory):
    name = code(MODEL)
    before = list(sys.path)
    run = formats.open_module(f"{name}:{factory}")
    assert sys.path == before
    assert isinstance(run, ForeignRun)
    assert (run.name, run.path) == (f"{name}.{factory}", Path.cwd() / f"{name}.py")
    assert (run.load_embedding(), run.load_metrics()) == (None, [])
    assert len(run.fingerprint()) == 64
    assert run.usual_dataset() == "digits"
    assert (run.card.model, run.model_config.latent_dim) == ("Model", 2)


def test_it_is_made_once_in_a_process(code):
    name = code(MODEL)
    first, again = (formats.open_module(f"{name}:make") for _ in range(2))
    assert first is again
    assert first.load_model() is again.load_model()
    assert len(sys.modules[name].made) == 2  # one is `ready`


def test_its_data_are_its_data_set(code):
    model, data = code(MODEL), code(DATA)
    run = formats.open_module(f"{model}:make", f"{data}:load")
    name = run.train_config.dataset
    assert name == run.train_config.held_out_dataset == run.usual_dataset() == f"{data}.load"[-40:]
    assert name in datasets.names()
    assert name in datasets.names_of_shape(SHAPE)
    assert datasets.describe(name).is_given
    assert [len(datasets.load(name, split)) for split in datasets.SPLITS] == [10, 40, 50]
    values, labels = sys.modules[data].load()
    held_out = datasets.is_held_out(50)
    loaded = datasets.load(name)
    np.testing.assert_array_equal(loaded.images[:, 0], np.rint(values[held_out] * 255))
    np.testing.assert_array_equal(loaded.labels, labels[held_out])
    assert loaded.class_names == ("0", "1", "2")
    assert "rounded to one of 256 grey levels" in datasets.describe(name).note
    assert set(datasets.load(f"{name}-binarised").images.unique().tolist()) <= {0, 255}
    stamp = datasets.stamp(name)
    formats.open_data(f"{data}:load")
    assert datasets.stamp(name) != stamp


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", "must be package.module:factory, as in --model my_models.vae:make_model"),
        ("{}:", "must be package.module:factory"),
        (":make", "must be package.module:factory"),
        ("{}:a b", "must be package.module:factory"),
        ("", "must be package.module:factory"),
        ("{}.py:make", "names a file; name its module, from the folder that it is in: --model "),
        ("a/b:make", "names a file; name its module"),
        ("nowhere_at_all:make", "there is no module 'nowhere_at_all' in "),
        ("{}.sub:make", "there is no module '"),
        (
            "vae.nothing:make",
            "the name vae is ELBO Room's own package, so call your file otherwise",
        ),
        ("vae:make", "so call your file otherwise"),
        ("{}:maek", "has no 'maek'"),
        ("{}:maek", "did you mean make"),
        ("{}:Model.nothing", "Model has no 'nothing'; it has decode, encode, image_shape"),
        ("{}:number", "number is of type int, neither what is wanted nor a function"),
        (
            "{}:needs",
            "needs is called without arguments, but has a missing a required argument: 'k'",
        ),
        ("{}:fails", "fails() raised ZeroDivisionError: division by zero (line 5 of "),
        ("{}:leaves", "leaves() raised SystemExit: 7 (line 7 of "),
        ("{}:nothing", "is a NoneType without encode and decode"),
    ],
)
def test_a_spec_that_leads_nowhere_is_told_why(code, spec, said):
    name = code(
        """
        number = 3
        def needs(k): pass
        def fails():
            1 / 0
        def leaves():
            raise SystemExit(7)
        def nothing(): pass
        def make(): pass
        class Model:
            image_shape = encode = decode = 1
        """
    )
    with pytest.raises(CheckpointError) as caught:
        formats.open_module(spec.format(name))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import lightning_that_is_not_here", "failed: ModuleNotFoundError: No module named 'li"),
        ("import torch\nraise SystemExit('licence')", "SystemExit: licence (line 2 of "),
        ("def make(:\n    pass", "failed: SyntaxError: invalid syntax (line 1 of "),
        ("import torch\n\ntorch.ones(2) @ torch.ones(3)", "(line 3 of "),
        ("raise Exception", "failed: Exception (line 1 of "),
    ],
)
def test_a_module_that_cannot_be_imported_is_told_where(code, text, said):
    name = code(text)
    with pytest.raises(CheckpointError, match=f"importing {name} failed") as caught:
        formats.open_module(f"{name}:make")
    assert said in str(caught.value)
    Path(f"{name}.py").write_text(MODEL)  # mended, it opens without a new start
    os.utime(f"{name}.py", (1, 1))
    assert formats.open_module(f"{name}:make").model_config.latent_dim == 2


def test_ctrl_c_passes(code):
    name = code("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        formats.open_module(f"{name}:make")


# Data.


def given(data: object) -> tuple[Dataset, str]:
    """The whole set that a factory's data become, and the note."""
    sys.modules["data_given"] = types.ModuleType("data_given")
    sys.modules["data_given"].load = lambda: data
    try:
        name = formats.open_data("data_given:load")
    finally:
        del sys.modules["data_given"]
    return datasets.load(name, "all"), datasets.describe(name).note


class MapStyle(torch.utils.data.Dataset):
    classes = ("cat", "dog")

    def __init__(self, n: int = 12) -> None:
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        return torch.full((3, 4, 5), i / self.n), i % 2


BYTES = np.arange(12 * 20, dtype=np.uint8).reshape(12, 4, 5)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        (BYTES, (1, 4, 5)),
        (BYTES[:, None], (1, 4, 5)),
        (BYTES[..., None], (1, 4, 5)),
        (np.stack([BYTES] * 3, 1), (3, 4, 5)),
        (np.stack([BYTES] * 3, 3), (3, 4, 5)),
        (BYTES[:, :, :4].reshape(12, 16), (1, 4, 4)),
        (torch.from_numpy(BYTES) / 255, (1, 4, 5)),
        (torch.from_numpy(BYTES).double() / 255, (1, 4, 5)),
        (BYTES.astype(np.int64), (1, 4, 5)),
        (list(BYTES), (1, 4, 5)),
        ((BYTES, ["a", "b"] * 6), (1, 4, 5)),
        ({"test": BYTES[:6], "train": BYTES[6:]}, (1, 4, 5)),
        ({"test": (BYTES[:6], [1.0, 2.5] * 3), "train": (BYTES[6:], [2.5] * 6)}, (1, 4, 5)),
        (MapStyle(), (3, 4, 5)),
        (torch.utils.data.DataLoader(MapStyle(), 5), (3, 4, 5)),
        (torch.utils.data.TensorDataset(torch.from_numpy(BYTES)), (1, 4, 5)),
        ([{"image": image, "label": 3} for image in BYTES], (1, 4, 5)),
    ],
)
def test_data_of_every_form_become_bytes(data, shape):
    found, _ = given(data)
    assert (found.images.dtype, found.image_shape, len(found)) == (torch.uint8, shape, 12)
    if shape == (1, 4, 5):
        rows = {image.tobytes() for image in found.images.numpy()}
        assert rows == {image.tobytes() for image in BYTES}


def test_what_is_known_of_data_is_kept():
    found, _ = given(MapStyle())
    assert found.class_names == ("cat", "dog")
    brightness = {int(i): round(i / 12 * 255) for i in range(12)}
    for image, label in zip(found.images, found.labels, strict=True):
        (i,) = [i for i, value in brightness.items() if value == int(image[0, 0, 0])]
        assert int(label) == i % 2
    found, _ = given((BYTES, ["b", "a"] * 6))
    assert found.class_names == ("a", "b")
    found, _ = given({"test": (BYTES[:6], [1.0, 2.5] * 3), "train": (BYTES[6:], [2.5] * 6)})
    assert (found.class_names, found.labels.tolist()) == (("1", "2.5"), [1] * 6 + [0, 1] * 3)
    sprites = datasets.load("sprites").first(20)
    found, _ = given(sprites)
    assert found.class_names == sprites.class_names
    assert sorted(found.factors["x"].tolist()) == sorted(sprites.factors["x"].tolist())
    found, note = given((BYTES > 128, torch.randn(12)))
    assert set(found.images.unique().tolist()) == {0, 255}
    found, note = given((np.minimum(BYTES, 1), np.arange(12)))
    assert set(found.images.unique().tolist()) == {0, 255}
    assert "Values 0 and 1 become 0 and 255." in note


def test_held_out_images_alone_are_no_training_set():
    given_name = "data_given.load"
    sys.modules["data_given"] = types.ModuleType("data_given")
    sys.modules["data_given"].load = lambda: {"test": BYTES}
    assert formats.open_data("data_given:load") == given_name
    del sys.modules["data_given"]
    assert len(datasets.load(given_name, "test")) == 12
    with pytest.raises(DatasetError, match="has no training images"):
        datasets.load(given_name, "train")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "a NoneType is no set of images; give images (N, C, H, W)"),
        ("photographs/", "a str is no set of images"),
        (BYTES[:5], "5 images; at least 10"),
        (BYTES[:0], "there are no images in it"),
        ([], "0 images; from 1 to 100,000 are read"),
        (BYTES / 255 * 2 - 1, "values from -1 to 0.87451; give pixels in [0, 1], or bytes"),
        (BYTES.astype(int) + 99, "whole values from 99 to 338; pixels go from 0 to 255"),
        (np.full((12, 4, 4), np.nan), "values that are NaN or infinite"),
        (np.array(["a"] * 12), "values of type <U1 are no pixels"),
        (np.zeros((12, 2, 4, 4)), "values of shape 12x2x4x4 are no images"),
        ((BYTES, [1, 2]), "2 labels for 12 images; give one per image"),
        ((BYTES, np.zeros((12, 10))), "labels of shape 12x10; give one per image, (12,)"),
        ((BYTES, 3), "labels of type int"),
        ([BYTES[0]] * 11 + [BYTES[0, :2]], "item 11 is 2x5, item 0 is 4x5"),
        ([{"pixels": 1}] * 12, "item 0 has no 'image', but: pixels"),
        ({"train": BYTES}, 'a dict must have the keys "train" and "test", or "test" alone'),
        ({"test": BYTES, "val": BYTES}, "it has: test, val"),
        ({"test": BYTES, "train": BYTES[:, :3]}, "must have one shape: train 1x3x5, test 1x4x5"),
        (MapStyle(100_001), "100,001 images; from 1 to 100,000 are read"),
        (np.broadcast_to(np.uint8(9), (12, 5000, 5000)), "300 MB of images; at most 200 MB"),
    ],
)
def test_data_that_cannot_be_used_are_told_in_one_sentence(data, said):
    with pytest.raises(DatasetError) as caught:
        given(data)
    assert said in str(caught.value)
    assert str(caught.value).startswith("--data (='data_given:load'): ")
    assert "\n" not in str(caught.value)


def test_an_error_inside_a_persons_data_set_is_told_where():
    class Broken(MapStyle):
        def __getitem__(self, i):
            return [][i]

    with pytest.raises(DatasetError, match=r"raised IndexError: list index out of range \(line"):
        given(Broken())


def test_given_data_need_a_name_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("VAE_DATA", str(tmp_path))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "data_given.load.safetensors").touch()
    with pytest.raises(DatasetError, match="a data set named 'data_given"):
        given(BYTES)
    few = datasets.load("digits").first(3)
    with pytest.raises(DatasetError, match="must be 1 to 40 letters"):
        datasets.give("mnist", few)
    with pytest.raises(DatasetError, match="must be uint8"):
        datasets.give("floats", Dataset("", "test", few.images / 255, few.labels, ("a",)))
    with pytest.raises(DatasetError, match="from 0 to 0"):
        datasets.give("labels", Dataset("", "test", few.images, few.labels + 1, ("a",)))


# What stands behind `streamlit run app.py --`.


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], (None, None)),
        (["--model", "a:b"], ("a:b", None)),
        (["--model=a:b", "--data", "c:d"], ("a:b", "c:d")),
        (["--data=c:d"], (None, "c:d")),
    ],
)
def test_the_arguments_of_the_app(arguments, found):
    assert formats.parse_arguments(arguments) == found


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modle", "a:b"], "unknown argument '--modle'; use it as: streamlit run app.py -- --mo"),
        (["a:b"], "unknown argument 'a:b'"),
        (["--model"], "--model lacks its value"),
        (["--model="], "--model lacks its value"),
        (["--model", "--data", "c:d"], "--model lacks its value"),
        (["--model", "a:b", "--model", "a:c"], "--model is given twice"),
    ],
)
def test_arguments_of_the_app_that_are_wrong(arguments, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        formats.parse_arguments(arguments)


# On the command line.


@pytest.fixture
def command(capsys):
    def run(*arguments) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


def test_evaluate_terms_and_export_take_a_module(code, command, tmp_path):
    model, data = f"{code(MODEL)}:make", f"{code(DATA)}:load"
    result, out, _ = command("evaluate", "--model", model, "--data", data, "--json")
    found, run = json.loads(out), formats.open_module(model, data)
    assert (result, found["n"]) == (0, 10)
    wanted = embed(run.load_model(), datasets.load(run.train_config.dataset)).means()
    assert found["neg_elbo"] == pytest.approx(wanted["neg_elbo"])
    assert found["card"]["format"] == "your own module"
    result, out, _ = command("evaluate", "--model", model, "--dataset", "digits", "--limit", "7")
    assert result == 0
    assert 'model.likelihood = "gaussian" says otherwise' in out
    result, out, _ = command("terms", "--model", model, "--limit", "4")
    assert (result, len(out.splitlines())) == (0, 5)
    result, out, _ = command("export", "--model", model, "--data", data)
    assert result == 0
    assert (tmp_path / f"{run.name}.html").is_file()


def test_the_command_line_wants_a_checkpoint_or_a_module(code, command, tmp_path):
    spec = f"{code(MODEL)}:make"
    for arguments, said in [
        (["evaluate"], "give PATH, a checkpoint, or --model package.module:factory; neither was"),
        (["terms", tmp_path, "--model", spec], "both were given"),
        (["export"], "give CHECKPOINT"),
        (["evaluate", "--model", spec, "--data", spec, "--dataset", "digits"], "cannot go with"),
        (["evaluate", "--model", "nowhere_at_all:make"], "there is no module"),
        (["evaluate", "--model", spec, "--data", "nowhere_at_all:load"], "there is no module"),
    ]:
        result, out, err = command(*arguments)
        assert (result, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1


def test_what_needs_a_gradient_of_a_module_in_numpy_is_one_sentence(code, command):
    name = code(
        MODEL.replace("(z[:, :1] * 5).expand(-1, 64)", "(z[:, :1] * 5).expand(-1, 64).numpy()")
    )
    run = formats.open_module(f"{name}:make")
    assert "decode gives no gradients" in " ".join(run.card.notes)
    options = ("--model", f"{name}:make", "--limit", "3")
    assert command("evaluate", *options, "--importance-samples", "9")[0] == 0
    result, _, err = command("evaluate", *options, "--ais", "5")
    assert result == 2
    assert "gradient of decode, which this model does not give" in err


def test_of_a_vae_of_ours_nothing_is_guessed():
    from vae.config import ModelConfig

    ours = VAE(ModelConfig(SHAPE, hidden=(4,), likelihood="gaussian"))
    run = formats.of_object(ours)
    assert run.load_model() is ours
    assert run.card.likelihood == "gaussian, as its config says"
