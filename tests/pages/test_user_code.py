"""`streamlit run app.py -- --model package.module:factory --data package.module:factory`."""

import itertools
import sys

import pytest
import torch
from pages.answers import stated_terms
from streamlit.testing.v1 import AppTest

from vae.data import catalogue

_numbers = itertools.count()

CODE = """
import numpy as np
import torch

class Linear:
    image_shape = (1, 6, 5)

    def encode(self, x):
        flat = x.flatten(1)
        return flat[:, :3] * 2 - 1, torch.full((len(x), 3), -2.0)

    def decode(self, z):
        return torch.sigmoid(z.repeat(1, 10)).reshape(-1, 1, 6, 5)

class Numpy(Linear):
    # Nothing here has a gradient.

    def encode(self, x):
        flat = x.numpy().reshape(len(x), -1)
        return flat[:, :2] * 2 - 1, 0 * flat[:, :2] - 2

    def decode(self, z):
        return 1 / (1 + np.exp(-np.tile(z.numpy(), 15)))

def images():
    x = torch.rand(50, 6, 5, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(50) % 2

def broken():
    raise RuntimeError("the weights are at home")
"""


@pytest.fixture
def start(app, checkpoints, tiny_run, monkeypatch, tmp_path):
    """start(*arguments) opens the app as that command line would; {} is a module's name."""
    tiny_run(checkpoints / "tiny")
    name = f"given_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(catalogue, "_GIVEN", {})  # what is given here is gone for other tests

    def opened(*arguments: str) -> AppTest:
        argv = ["app.py", *(argument.format(name) for argument in arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        return app.run()

    opened.module = name
    yield opened
    sys.modules.pop(name, None)


def said(app: AppTest) -> str:
    shown = [*app.error, *app.warning, *app.caption, *app.markdown]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def test_every_page_opens_on_it(start):
    app = start("--model", "{}:Linear", "--data", "{}:images")
    assert not app.exception
    assert not app.error
    run, data = (box.value for box in app.sidebar.selectbox[:2])
    assert run.startswith(start.module)
    assert "images" in data
    for page in ("points", "traverse", "inference", "gaussians", "diagnose", "compare", "train"):
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception, page


def test_a_model_without_gradients_opens_on_every_page_too(start):
    app = start("--model", "{}:Numpy", "--data", "{}:images")
    assert not app.error
    for page in ("points", "traverse", "inference", "gaussians", "diagnose", "compare", "train"):
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception, page
        if page == "inference":
            assert "gradient" in said(app)


def test_its_terms_are_those_of_its_own_encode(start):
    app = start("--model", "{}:Linear", "--data", "{}:images")
    given = sys.modules[start.module]
    data = app.sidebar.selectbox[1].value.rpartition(" ")[0]
    x = catalogue.load(data, "test").images[:1].float() / 255
    mu, logvar = given.Linear().encode(x)
    q = torch.distributions.Normal(mu, (logvar / 2).exp())
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()
    assert stated_terms(app)[1] == pytest.approx(float(kl), abs=0.006)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--model", "{}:broken"), "the weights are at home"),
        (("--model", "{}:nothing"), "has no 'nothing'"),
        (("--model", "no_such_module_here:make"), "no_such_module_here"),
        (("--model", "without-a-colon"), "without-a-colon"),
        (("--model",), "--model lacks its value"),
        (("--modle", "a:b"), "unknown argument '--modle'"),
        (("--data", "{}:broken"), "the weights are at home"),
    ],
)
def test_what_cannot_be_used_is_a_sentence_and_the_rest_is_there(start, arguments, sentence):
    app = start(*arguments)
    assert not app.exception
    assert sentence in said(app)
    assert app.sidebar.selectbox[0].value == "tiny"
    assert stated_terms(app)


def test_data_alone_are_one_more_set_that_no_other_process_can_train_on(start):
    app = start("--data", "{}:images")
    assert not app.exception
    assert any("images" in option for option in app.sidebar.selectbox[1].options)
    app.switch_page("pages/train.py").run()
    assert not any("images" in option for option in app.selectbox(key="train_data").options)
