"""The exported page: one file that asks nobody for anything."""

import base64
import dataclasses
import gzip
import json
import re
import shlex
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import plotly.offline
import pytest
import torch
from torch import nn

from vae import cli
from vae.analysis.embedding import Embedding, embed
from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset, DatasetError
from vae.live import export, pack, show
from vae.live.export import ExportError
from vae.live.recording import ProgramError
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError

ROOT = Path(__file__).resolve().parents[2]
NASTY = "</title></script><img src=x onerror=alert(1)> & $page $$ \u2028 'ä\""


class Elements(HTMLParser):
    """The elements of a page, each with its attributes and the text right inside it."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.all: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[int] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.all.append((tag, dict(attrs)))
        self.texts.append("")
        if tag not in ("meta", "img"):
            self.open.append(len(self.all) - 1)

    def handle_endtag(self, tag):
        assert self.all[self.open.pop()][0] == tag

    def handle_data(self, data):
        if self.open:
            self.texts[self.open[-1]] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [
            (attributes, text)
            for (found, attributes), text in zip(self.all, self.texts, strict=True)
            if found == tag
        ]

    def part(self, name: str) -> bytes:
        (text,) = (text for given, text in self.of("script") if given.get("id") == f"part-{name}")
        return gzip.decompress(base64.b64decode(text, validate=True))

    @property
    def page(self) -> dict:
        def refuse(constant: str):
            raise AssertionError(f"JavaScript cannot read {constant}")

        return json.loads(self.part("page"), parse_constant=refuse)


def arrays_of(data: bytes) -> dict[str, np.ndarray]:
    start = 8 + int.from_bytes(data[4:8], "little")
    return {
        name: np.frombuffer(
            data, given["dtype"], int(np.prod(given["shape"])), start + given["offset"]
        ).reshape(given["shape"])
        for name, given in pack.header_of(data)["arrays"].items()
    }


def dataset_of(n: int = 12, class_names=("a", "b"), image_shape=(1, 4, 4)) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, *image_shape), dtype=torch.uint8, generator=generator)
    labels = torch.arange(n) % len(class_names)
    return Dataset("made up", "test", images, labels, tuple(class_names))


def model_of(latent_dim: int = 2, image_shape=(1, 4, 4), **more) -> VAE:
    return VAE(ModelConfig(image_shape, latent_dim, **{"hidden": (5,), **more}))


@pytest.fixture
def small_plotly(monkeypatch) -> None:
    """Without the 5 MB of plotly.js, where they do not matter."""
    monkeypatch.setattr(plotly.offline, "get_plotlyjs", lambda: "/* plotly */")


@pytest.fixture
def page_of(small_plotly) -> Callable[..., Elements]:
    def made(model: VAE, data: Dataset, name: str = "mine", **more) -> Elements:
        return Elements(export.page(model, embed(model, data), name, data, **more))

    return made


# The file


def test_the_page_of_a_run_holds_its_model_its_points_and_its_images(
    small_plotly, checkpoints, tiny_run
):
    run = tiny_run(checkpoints / "tiny")
    elements = Elements(export.of_run(run).page())
    page, model, points = elements.page, elements.part("model"), elements.part("points")
    assert page["name"] == "tiny"
    assert page["model"] == pack.header_of(model)["id"]
    assert page["points"] == pack.header_of(points)["id"]
    assert model == pack.model_pack(run.load_model(), "digits")
    arrays, stored = arrays_of(points), run.load_embedding()
    np.testing.assert_array_equal(arrays["mu"], stored.mu)
    np.testing.assert_array_equal(arrays["logvar"], stored.logvar)
    np.testing.assert_array_equal(arrays["labels"], stored.labels)
    np.testing.assert_array_equal(arrays["images"], catalogue.load("digits").images)
    assert page["class_names"] == list(stored.class_names)
    assert list(page["figures"]) == ["label", "recon", "KL", "-ELBO"]
    means = stored.means()
    assert f"-ELBO {means['neg_elbo']:.2f} nats per image" in dict(page["card"])["shown images"]


@pytest.mark.parametrize("names", [("a", "b"), (NASTY, "b")])
def test_the_page_ends_well_and_refers_to_nothing_outside_it(names, page_of):
    elements = page_of(model_of(), dataset_of(class_names=names), names[0])
    assert elements.open == []  # every element that was opened is closed
    assert [tag for tag, _ in elements.all if tag in ("img", "link", "iframe", "base")] == []
    for tag, attributes in elements.all:
        assert not {"src", "href", "srcset", "action", "data"} & set(attributes), tag
        assert not any(name.startswith("on") for name in attributes), tag
    styles = [text for _, text in elements.of("style")] + [elements.part("css").decode()]
    assert not re.search(r"url\(|@import", "".join(styles))
    scripts = elements.of("script")
    assert [attributes.get("id") for attributes, _ in scripts] == [
        *(f"part-{name}" for name in ("page", "plotly", "css", "model", "points")),
        None,
    ]
    assert [attributes["type"] for attributes, _ in scripts] == ["text/plain"] * 5 + ["module"]
    module = scripts[-1][1]
    assert not re.search(r"\bimport\s*\(|^import\s|\bfetch\s*\(|XMLHttpRequest", module, re.M)
    assert module.rstrip().endswith("});")


def test_names_stand_in_the_page_as_they_are_and_never_as_markup(page_of):
    elements = page_of(model_of(), dataset_of(class_names=(NASTY, "b")), NASTY)
    assert elements.of("title")[0][1] == f"{NASTY} - ELBO Room"
    assert elements.page["name"] == NASTY
    assert elements.page["class_names"] == [NASTY, "b"]


def test_the_same_model_and_data_make_the_same_file(small_plotly):
    model, data = model_of(), dataset_of()
    pages = [export.page(model, embed(model, data), "mine", data) for _ in range(2)]
    assert pages[0] == pages[1]


def test_digits_fit_into_three_megabytes():
    run = checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")
    text = export.of_run(run).page()
    assert "plotly.js v" in Elements(text).part("plotly").decode()[:200]
    size = len(text.encode())
    assert size < 3_000_000
    foretold = export.rough_size(run.load_model(), run.load_embedding(), catalogue.load("digits"))
    assert foretold == pytest.approx(size, rel=0.2)


@pytest.mark.slow
def test_three_million_weights_and_ten_thousand_images_fit_into_fourteen_megabytes():
    model = model_of(image_shape=(1, 28, 28), hidden=(1024, 640))
    assert 2.8e6 < model.n_parameters < 3.2e6
    generator = np.random.default_rng(0)
    N = 10_000
    images = generator.integers(256, size=(N, 1, 28, 28), dtype=np.uint8)
    images *= generator.random(images.shape) < 0.13  # packs no better than MNIST does
    assert len(gzip.compress(images[:1000].tobytes(), 9)) > 165_000  # t10k-images: 1.65 MB
    terms = {
        name: generator.normal(150, 30, size=N).astype(np.float32)
        for name in ("recon", "recon_stderr", "recon_at_mu")
    }
    latent = {
        name: generator.normal(size=(N, 2)).astype(np.float32)
        for name in ("mu", "logvar", "kl_per_dim")
    }
    labels = generator.integers(10, size=N)
    embedding = Embedding(
        "mnist", "test", 16, 0, tuple("0123456789"), labels=labels, **terms, **latent
    )
    data = Dataset("mnist", "test", torch.from_numpy(images), torch.from_numpy(labels), ())
    size = len(export.page(model, embedding, "big", data).encode())
    assert size < 14_000_000
    assert export.rough_size(model, embedding, data) == pytest.approx(size, rel=0.2)


@pytest.mark.parametrize(("latent_dim", "n_dims"), [(1, 1), (2, 2), (3, 2), (40, 2)])
def test_the_map_shows_the_dimensions_with_the_highest_kl(latent_dim, n_dims, page_of):
    model, data = model_of(latent_dim), dataset_of()
    page = page_of(model, data).page
    kl = embed(model, data).kl_per_dim.mean(0)
    assert page["plane"]["dims"] == sorted(np.argsort(-kl, kind="stable")[:n_dims].tolist())
    assert np.shape(page["plane"]["directions"]) == (2, latent_dim)
    assert len(page["ranges"]) == latent_dim


def test_a_single_point_makes_a_page(page_of):
    assert page_of(model_of(), dataset_of(1)).page["figures"]["KL"]["data"]


def test_a_diverged_point_is_still_json_that_a_browser_reads(small_plotly):
    model, data = model_of(), dataset_of(3)
    embedding = embed(model, data)
    embedding.logvar[:2] = [[400], [-400]]
    for found in Elements(export.page(model, embedding, "mine", data)).page["ranges"]:
        assert 0 < found["sigma"][0] < 1e-5
        assert found["sigma"][1] > 1e5


def test_a_large_model_is_held_in_half_precision_and_says_so(page_of, monkeypatch):
    model, data = model_of(), dataset_of()
    exact = page_of(model, data)
    assert arrays_of(exact.part("model"))["decoder"].dtype == np.float32
    assert "half" not in dict(exact.page["card"])["parameters"]
    monkeypatch.setattr(export, "HALF_ABOVE", model.n_parameters - 1)
    half = page_of(model, data)
    assert arrays_of(half.part("model"))["decoder"].dtype == np.float16
    assert "half precision" in dict(half.page["card"])["parameters"]


def test_the_way_a_drawing_is_prepared_is_that_of_the_training(page_of):
    model, data = model_of(image_shape=(1, 28, 28)), dataset_of(image_shape=(1, 28, 28))
    assert pack.header_of(page_of(model, data).part("model"))["drawing"] == "mnist"
    trained = page_of(model, data, trained_on="sprites")
    assert pack.header_of(trained.part("model"))["drawing"] == "plane"
    assert dict(trained.page["card"])["trained on"] == "sprites"


def test_a_layer_that_the_browser_cannot_run_is_named(page_of):
    model = model_of()
    model.decoder.body.append(nn.Module())
    model.decoder.body[-1].forward = torch.special.bessel_j0
    with pytest.raises(ProgramError, match="Module"):
        page_of(model, dataset_of())


# A run's data


@pytest.fixture
def somewhere(monkeypatch, tmp_path) -> Path:
    """The one file of a data set "mnist" with 8x8 images, which are the digits."""
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    source = dataclasses.replace(catalogue.describe("digits"), files=("file",), n_bytes=1)
    monkeypatch.setitem(catalogue.SOURCES, "mnist", source)
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "file"


@pytest.fixture
def run(checkpoints, tiny_run) -> checkpoint.Run:
    found = tiny_run(checkpoints / "tiny")
    config = json.loads((found.path / "config.json").read_text())
    config["train"]["dataset"] = "mnist"
    (found.path / "config.json").write_text(json.dumps(config))
    return checkpoint.open_run(found.path)


def test_without_the_data_the_map_is_there_without_its_images(small_plotly, run, somewhere):
    elements = Elements(export.of_run(run).page())
    assert set(arrays_of(elements.part("points"))) == {"mu", "logvar", "labels", "eps"}
    somewhere.touch()
    elements = Elements(export.of_run(run).page())
    assert set(arrays_of(elements.part("points"))) == {"mu", "logvar", "labels", "eps", "images"}


def test_images_that_are_not_those_of_the_map_are_left_out(small_plotly, run, somewhere):
    somewhere.touch()
    stored = run.load_embedding()
    rows = {
        name: value[:7] for name, value in vars(stored).items() if isinstance(value, np.ndarray)
    }
    checkpoint.save_embedding(run, dataclasses.replace(stored, **rows))
    arrays = arrays_of(Elements(export.of_run(run).page()).part("points"))
    assert "images" not in arrays
    assert len(arrays["mu"]) == 7


def test_a_map_of_data_that_were_replaced_is_made_anew(small_plotly, run, somewhere):
    somewhere.touch()
    stored = run.load_embedding()
    other = dataclasses.replace(stored, data_fingerprint="of others", mu=stored.mu + 1)
    checkpoint.save_embedding(run, other)
    mu = arrays_of(Elements(export.of_run(run).page()).part("points"))["mu"]
    np.testing.assert_allclose(mu, stored.mu, atol=1e-4)


def test_without_an_embedding_one_is_made_of_the_data(small_plotly, run, somewhere):
    somewhere.touch()
    with_stored = Elements(export.of_run(run).page())
    (run.path / "embedding.safetensors").unlink()
    made = Elements(export.of_run(run).page())
    for name in ("mu", "logvar"):
        arrays = [arrays_of(elements.part("points"))[name] for elements in (with_stored, made)]
        np.testing.assert_allclose(*arrays, atol=1e-4)


def test_without_embedding_and_data_it_says_what_is_missing_and_where(run, somewhere):
    (run.path / "embedding.safetensors").unlink()
    with pytest.raises(ExportError) as error:
        export.of_run(run).page()
    said = str(error.value)
    assert said.startswith(
        f"{run.path} holds no embedding, and the data set 'mnist' is not in {somewhere.parent} "
        "to make one; "
    )


def test_the_command_that_it_names_then_helps_where_the_data_are(
    small_plotly, run, somewhere, monkeypatch, tmp_path
):
    (run.path / "embedding.safetensors").unlink()
    with pytest.raises(ExportError) as error:
        export.of_run(run).page()
    command = shlex.split(re.search(r"`(.+?)`", str(error.value))[1])
    assert command[:3] == ["python", "-m", "vae"]
    monkeypatch.chdir(tmp_path)
    somewhere.touch()
    assert cli.main(command[3:]) == 0
    somewhere.unlink()
    # Either the page is written, or the run can now be exported anywhere.
    assert list(tmp_path.glob("*.html")) or export.of_run(run).page()


def test_a_run_of_an_unknown_data_set_keeps_its_stored_map(small_plotly, run):
    config = json.loads((run.path / "config.json").read_text())
    config["train"]["dataset"] = "no such set"
    (run.path / "config.json").write_text(json.dumps(config))
    run = checkpoint.open_run(run.path)
    assert Elements(export.of_run(run).page()).page["name"] == "tiny"
    (run.path / "embedding.safetensors").unlink()
    with pytest.raises(ExportError, match="no such set"):
        export.of_run(run).page()


# In a notebook


def test_show_takes_a_folder_a_run_and_a_model_with_data(small_plotly, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    of_run = export.of_run(run).page()
    assert show(run) == show(run.path) == show(str(run.path)) == of_run
    model = run.load_model()
    by_name = Elements(show(model, "digits"))
    assert by_name.page["figures"].keys() == Elements(of_run).page["figures"].keys()
    assert arrays_of(by_name.part("points"))["images"].shape == (359, 1, 8, 8)
    given = Elements(show(model, catalogue.load("digits").first(5)))
    assert len(arrays_of(given.part("points"))["mu"]) == 5
    other = Elements(show(run, catalogue.load("digits", "train").first(6)))
    assert other.page["name"] == "tiny"
    assert len(arrays_of(other.part("points"))["mu"]) == 6


def test_a_model_on_its_own_needs_data():
    with pytest.raises(ExportError, match="needs a data set to show: give one"):
        show(model_of())


def test_what_show_cannot_open_is_a_sentence(tmp_path, checkpoints, tiny_run):
    with pytest.raises(CheckpointError, match="nowhere"):
        show(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="nonesuch"):
        show(model_of(), "nonesuch")
    with pytest.raises(ValueError, match="1x4x4"):
        show(tiny_run(checkpoints / "tiny"), dataset_of())


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous-bernoulli", "gaussian"])
def test_a_model_in_training_can_be_shown_and_stays_as_it_was(likelihood, small_plotly):
    model = model_of(likelihood=likelihood).train()
    assert show(model, dataset_of())
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_notebook_shows_the_page_in_a_frame_of_its_own(small_plotly):
    shown = show(model_of(), dataset_of(class_names=(NASTY, "b")))
    elements = Elements(shown._repr_html_())
    assert [tag for tag, _ in elements.all] == ["iframe"]
    attributes = elements.all[0][1]
    assert attributes["srcdoc"] == shown
    assert attributes["sandbox"] == "allow-scripts"  # nothing of the notebook is within its reach


# The file on disk


def test_a_page_is_written_as_utf8_and_its_size_is_told(tmp_path):
    size = export.write(tmp_path / "page.html", "<p>μ</p>")
    assert (tmp_path / "page.html").read_bytes() == "<p>μ</p>".encode()
    assert size == 9
