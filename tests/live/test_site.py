"""A folder of pages for a static host."""

import base64
import io
import re
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from live.test_export import Elements, dataset_of, model_of, small_plotly  # noqa: F401
from PIL import Image

from vae.analysis.embedding import embed
from vae.live import site
from vae.live.export import ExportError, Shown

NASTY = "<b>a #1 & 50%?</b>"
pytestmark = pytest.mark.usefixtures("small_plotly")


def shown(name: str = "mine", **more) -> Shown:
    model, data = model_of(**more), dataset_of(image_shape=more.get("image_shape", (1, 4, 4)))
    return Shown(name, model, embed(model, data), data, "digits")


def index_of(folder) -> Elements:
    return Elements((folder / "index.html").read_text(encoding="utf-8"))


def test_the_index_links_to_every_page_and_asks_nobody_else(tmp_path):
    names = ["one", "two.v2"]
    entries = [site.write_page(tmp_path, shown(name))[0] for name in names]
    site.write_index(tmp_path, entries)
    index = index_of(tmp_path)
    links = [attributes["href"] for attributes, _ in index.of("a")]
    assert links == ["one.html", "two.v2.html"]
    for name in names:
        assert (
            Elements((tmp_path / f"{name}.html").read_text(encoding="utf-8")).page["name"] == name
        )
    assert all(a["src"].startswith("data:") for a, _ in index.of("img"))
    assert not index.of("script") + index.of("link")
    assert (tmp_path / ".nojekyll").exists()
    site.check(tmp_path)  # it may be written again


def test_a_name_is_text_and_its_link_leads_to_its_page(tmp_path):
    safe = NASTY.replace("/", "")
    site.write_index(tmp_path, [site.write_page(tmp_path, shown(safe))[0]])
    index = index_of(tmp_path)
    assert index.of("h2")[0][1] == safe
    assert not index.of("b")
    link = index.of("a")[0][0]["href"]
    assert not re.search(r"[#?]", link)
    assert (tmp_path / unquote(link)).exists()


@pytest.mark.parametrize("more", [{}, {"latent_dim": 1}, {"latent_dim": 5}, {"n_classes": 3}])
def test_its_picture_is_what_the_model_decodes_to(more):
    of = shown(**more)
    picture = np.asarray(Image.open(io.BytesIO(site._picture(of))))
    assert picture.shape == (32, 32)
    z = torch.zeros(1, of.embedding.latent_dim)
    by_kl = np.argsort(-of.embedding.kl_per_dim.mean(0))
    places = torch.distributions.Normal(0, 1).icdf(torch.linspace(0.04, 0.96, 8))
    z[0, int(by_kl[0])] = places[2]
    if of.embedding.latent_dim > 1:
        z[0, int(by_kl[1])] = -places[3]
    model = of.model.given(3 % 3) if more.get("n_classes") else of.model
    with torch.no_grad():
        decoded = 255 * model.decode_mean(z)[0, 0].numpy()
    assert np.abs(picture[12:16, 8:12] - decoded).max() <= 0.6


def test_a_picture_in_colour_is_one():
    picture = Image.open(io.BytesIO(site._picture(shown(image_shape=(3, 4, 4)))))
    assert (picture.mode, picture.size) == ("RGB", (32, 32))


def test_another_index_is_not_overwritten(tmp_path):
    (tmp_path / "index.html").write_text("<h1>a course</h1>")
    with pytest.raises(ExportError, match="not one that was written here"):
        site.check(tmp_path)


@pytest.mark.parametrize("name", ["index", "Index"])
def test_no_page_takes_the_indexs_place(name, tmp_path):
    with pytest.raises(ExportError, match="index's place"):
        site.write_page(tmp_path, shown(name))
    assert not list(tmp_path.iterdir())


def test_the_pictures_bytes_are_a_png():
    entry = site._entry(shown())
    (packed,) = re.findall(r'src="data:image/png;base64,([^"]+)"', entry)
    assert base64.b64decode(packed).startswith(b"\x89PNG")
