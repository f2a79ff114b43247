"""A person's module by its name: here, behind the app's arguments and on the command line."""

import json
import os
import re
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vae import cli, embed, formats
from vae.data import catalogue
from vae.formats import ForeignRun
from vae.formats.user_code.module import Arguments
from vae.runs.checkpoint import CheckpointError

SHAPE = (1, 8, 8)


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
    assert name in catalogue.names()
    assert name in catalogue.names_of_shape(SHAPE)
    assert catalogue.describe(name).is_given
    assert [len(catalogue.load(name, split)) for split in catalogue.SPLITS] == [10, 40, 50]
    values, labels = sys.modules[data].load()
    held_out = catalogue.is_held_out(50)
    loaded = catalogue.load(name)
    np.testing.assert_array_equal(loaded.images[:, 0], np.rint(values[held_out] * 255))
    np.testing.assert_array_equal(loaded.labels, labels[held_out])
    assert loaded.class_names == ("0", "1", "2")
    assert "rounded to one of 256 grey levels" in catalogue.describe(name).note
    assert set(catalogue.load(f"{name}-binarised").images.unique().tolist()) <= {0, 255}
    fingerprint = catalogue.fingerprint(name)
    formats.open_data(f"{data}:load")
    assert catalogue.fingerprint(name) == fingerprint
    sys.modules[data].load = lambda: (values[::-1].copy(), labels)
    formats.open_data(f"{data}:load")
    assert catalogue.fingerprint(name) != fingerprint


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("{}", "must be package.module:factory, as in --model my_models.vae:make_model"),
        ("{}:", "must be package.module:factory"),
        (":make", "must be package.module:factory"),
        ("{}:a b", "must be package.module:factory"),
        ("", "must be package.module:factory"),
        ("nowhere.py:make", "there is no file nowhere.py in "),
        ("{}.py", "there is no file"),
        ("a/b:make", "names no file of Python; as in --model my_vae.py:VAE"),
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
            "needs is made with k; say it: --arg k=...",
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


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ([], {}),
        (["--model", "a:b"], {"model": "a:b"}),
        (["--model=a:b", "--data", "c:d"], {"model": "a:b", "data": "c:d"}),
        (["--data=c:d"], {"data": "c:d"}),
        (
            ["--model", "a.py:B", "--weights", "w.pth", "--arg", "k=2", "--arg=h=[3, 4]"],
            {"model": "a.py:B", "weights": "w.pth", "arguments": (("k", "2"), ("h", "[3, 4]"))},
        ),
    ],
)
def test_the_arguments_of_the_app(arguments, found):
    assert formats.parse_arguments(arguments) == Arguments(**found)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modle", "a:b"], "unknown argument '--modle'; use it as: streamlit run app.py -- --mo"),
        (["a:b"], "unknown argument 'a:b'"),
        (["--model"], "--model lacks its value"),
        (["--model="], "--model lacks its value"),
        (["--model", "--data", "c:d"], "--model lacks its value"),
        (["--model", "a:b", "--model", "a:c"], "--model is given twice"),
        (["--model", "a:b", "--arg", "k"], "--arg (='k') must be NAME=VALUE"),
        (["--weights", "w.pth"], "--weights and --arg go with --model"),
    ],
)
def test_arguments_of_the_app_that_are_wrong(arguments, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        formats.parse_arguments(arguments)


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
    wanted = embed(run.load_model(), catalogue.load(run.train_config.dataset)).means()
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
        (["evaluate"], "give PATH, a checkpoint, or --model FILE.py:CLASS; neither was"),
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
