"""The Traverse page without a browser: its three parts, any k, other libraries' files, no data."""

import base64
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from vae.analysis import traversal
from vae.core.model import VAE
from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]
PARTS = ["Dimensions", "Between points", "Arithmetic"]
KINDS = ["prior", "point", "posterior", "data"]


@pytest.fixture
def page(app, checkpoints) -> AppTest:
    shutil.copytree(ROOT / "checkpoints" / "digits-2d", checkpoints / "digits-2d")
    return opened(app)


@pytest.fixture
def run(page, checkpoints) -> checkpoint.Run:
    return checkpoint.open_run(checkpoints / "digits-2d")


def opened(app: AppTest) -> AppTest:
    app.run().switch_page("pages/traverse.py").run()
    no_trouble(app)
    return app


def no_trouble(page: AppTest) -> None:
    assert not page.exception
    assert not page.error
    # Another program's weights that nobody trained are warned of.
    known = "Do not trust the numbers", "was not checked"
    assert all(any(words in box.value for words in known) for box in page.warning)


def choose(page: AppTest, part: str) -> None:
    page.segmented_control(key="part").set_value(part).run()
    no_trouble(page)


def html_of(page: AppTest, kind: str) -> str:
    """The page's own HTML of that class."""
    (found,) = [e.proto.body for e in page.get("html") if f'<div class="{kind}' in e.proto.body]
    return found


def cells(page: AppTest) -> np.ndarray:
    """The pictures of the rows, as they were sent, uint8, (n, H, W) or (n, H, W, 3)."""
    sources = re.findall(r'<img class="cell[^>]*base64,([^"]+)"', html_of(page, "walks"))
    return np.stack([picture(source) for source in sources])


def picture(source: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source))))


def as_sent(images: torch.Tensor) -> np.ndarray:
    """Decoded grey images (..., 1, H, W) as uint8, (n, H, W)."""
    return np.rint(images.flatten(0, -4)[:, 0].numpy() * 255).astype(np.uint8)


def names(page: AppTest) -> list[str]:
    return re.findall(r'<div class="name[^"]*"><b>([^<]+)</b>', html_of(page, "walks"))


def captions(page: AppTest) -> str:
    return " ".join(caption.value for caption in page.caption)


def test_the_rows_are_what_the_library_decodes_by_kl(page, run):
    embedding, model = run.load_embedding(), run.load_model()
    order, kl = traversal.by_kl(embedding)
    for kind in KINDS:
        page.segmented_control(key="values").set_value(kind).run()
        no_trouble(page)
        walk = traversal.traverse(embedding, kind, 7)
        wanted = traversal.decode(model, walk.latents(order.tolist()))
        # One step of a byte: rounding differs with the size of the batch.
        assert np.abs(cells(page).astype(int) - as_sent(wanted).astype(int)).max() <= 1
        assert names(page) == [f"z{'₁₂'[d]}" for d in order]
        text = html_of(page, "walks")
        assert all(f"{kl[d]:.2f} nats" in text for d in order)
        assert text.count(" mark") == 2
        assert len(page.get("download_button")) == 2


def test_columns_rows_and_the_animation_can_be_chosen(page):
    assert html_of(page, "walks").count("image/gif") == 2
    page.selectbox(key="columns_2").set_value(15).run()
    page.number_input(key="rows_2").set_value(1).run()
    page.toggle(key="moving").set_value(False).run()
    no_trouble(page)
    assert len(cells(page)) == 15
    assert "image/gif" not in html_of(page, "walks")
    assert "1 of 2 dimensions" in captions(page)


def test_the_way_between_points_meets_them_and_more_can_be_added(page, run):
    choose(page, "Between points")
    embedding, model = run.load_embedding(), run.load_model()
    assert names(page) == ["x", "straight", "spherical"]
    page.text_input(key="walk_stops").set_value("3, 50; 7").run()
    no_trouble(page)
    assert page.session_state["point"] == 3
    mu = torch.from_numpy(embedding.mu[[3, 50, 7]])
    ways = [traversal.chain(mu, 6, way) for way in traversal.WAYS]
    wanted = as_sent(traversal.decode(model, torch.stack(ways))).astype(int)
    assert np.abs(cells(page)[3:] - wanted).max() <= 1
    page.button(key="nearest").click().run()
    page.button(key="random").click().run()
    no_trouble(page)
    stops = [int(stop) for stop in page.text_input(key="walk_stops").value.split(",")]
    assert stops[:3] == [3, 50, 7]
    assert stops[3] == traversal.nearest_of_another_class(embedding, 7, [3, 50])
    assert len(stops) == 5
    page.button(key="drop").click().run()
    assert page.text_input(key="walk_stops").value == ", ".join(map(str, stops[:4]))
    page.switch_page("pages/points.py").run()
    page.switch_page("pages/traverse.py").run()
    assert page.session_state["traverse_chain"][1] == stops[1:4]


def test_points_that_cannot_be_say_why_and_the_way_stays(page):
    choose(page, "Between points")
    before = page.text_input(key="walk_stops").value
    for text, said in {
        "3, x": "is not the number of a point",
        "3, 359": "the last is 358",
        "3": "1 points were given",
        ", ".join(map(str, range(9))): "from 2 to 8",
        "-1, 4": "'-1' is not the number",
    }.items():
        page.text_input(key="walk_stops").set_value(text).run()
        assert not page.exception
        assert said in page.warning[0].value.replace("\\", "")
        assert page.text_input(key="walk_stops").value == before


def test_the_sum_of_groups_is_the_librarys(page, run):
    choose(page, "Arithmetic")
    embedding, model = run.load_embedding(), run.load_model()
    page.selectbox(key="group_A").set_value("class 3").run()
    page.selectbox(key="group_B").set_value("class 0").run()
    page.slider(key="strength").set_value(0.5).run()
    no_trouble(page)
    of = [np.flatnonzero(embedding.labels == label) for label in (3, 0)]
    found = traversal.arithmetic(embedding.mu, *of, [0])
    wanted = traversal.decode(model, found.path(torch.linspace(-1, 2, 7).double()))
    assert np.abs(cells(page).astype(int) - as_sent(wanted)).max() <= 1
    shown = re.findall(r'base64,([^"]+)"', html_of(page, "sum"))
    at = as_sent(traversal.decode(model, found.path(torch.tensor([0.5]))))[0].astype(int)
    assert np.abs(picture(shown[-1]) - at).max() <= 1
    text = captions(page)
    assert f"of 1, {len(of[0])} and {len(of[1])} points" in text
    assert f"d′ = {found.separation:.2f}" in text
    page.selectbox(key="group_A").set_value("class 0").run()
    no_trouble(page)
    assert "nothing is added" in captions(page)


def test_a_lasso_of_explore_can_be_a_group(page, run):
    page.session_state["group"] = (page.session_state["data"], [4, 5, 6])
    choose(page, "Arithmetic")
    page.selectbox(key="group_C").set_value("explore").run()
    no_trouble(page)
    assert "of 3, " in captions(page)
    assert page.selectbox(key="group_C").options[1] == "Explore's lasso, 3"


def test_one_dimension(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "line", latent_dim=1)
    page = opened(app)
    assert names(page) == ["z₁"]
    choose(page, "Between points")
    assert "one dimension has no circles" in captions(page)
    pictures = cells(page)
    n = (len(pictures) - 2) // 2
    np.testing.assert_array_equal(pictures[2 : 2 + n], pictures[2 + n :])
    choose(page, "Arithmetic")


def test_sixteen_dimensions_most_of_them_collapsed(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "wide", latent_dim=16, likelihood="gaussian", beta=100.0, epochs=2)
    page = opened(app)
    embedding = checkpoint.open_run(checkpoints / "wide").load_embedding()
    _, kl = traversal.by_kl(embedding)
    assert len(names(page)) == 12
    page.number_input(key="rows_16").set_value(16).run()
    no_trouble(page)
    assert len(names(page)) == 16
    assert html_of(page, "walks").count('class="name faded"') == (kl < 0.01).sum() > 0
    page.segmented_control(key="values").set_value("posterior").run()
    no_trouble(page)
    for part in PARTS[1:]:
        choose(page, part)


def test_without_the_images_only_they_are_missing(app, checkpoints, no_data):
    shutil.copytree(ROOT / "checkpoints" / "mnist-10d", checkpoints / "mnist-10d")
    page = opened(app)
    assert len(names(page)) == 10
    assert "image of this point is not at hand" not in captions(page)
    page.segmented_control(key="values").set_value("data").run()
    no_trouble(page)
    assert "image of this point is not at hand" in captions(page)
    choose(page, "Between points")
    assert names(page) == ["straight", "spherical"]
    assert "image of this point is not at hand" in captions(page)
    choose(page, "Arithmetic")


@pytest.mark.parametrize(("n_pixels", "shape"), [(64, (8, 8)), (3072, (32, 32, 3))])
def test_another_librarys_file_grey_and_colour(app, checkpoints, n_pixels, shape):
    generator = torch.Generator().manual_seed(0)
    sizes = {"fc1": (12, n_pixels), "fc21": (3, 12), "fc22": (3, 12), "fc3": (12, 3)}
    sizes["fc4"] = (n_pixels, 12)
    state = {}
    for name, (n_out, n_in) in sizes.items():
        state[f"{name}.weight"] = torch.randn(n_out, n_in, generator=generator) / n_in**0.5
        state[f"{name}.bias"] = torch.zeros(n_out)
    torch.save(state, checkpoints / "theirs.pth")
    page = opened(app)
    if shape == (32, 32, 3):  # which no known data set has
        page.button(key="data_prior").click().run()
    assert len(names(page)) == 3
    assert cells(page).shape[1:] == shape
    assert "image/gif" in html_of(page, "walks")
    for part in PARTS[1:]:
        choose(page, part)


def test_pixels_that_are_no_numbers_are_told_in_a_sentence(app, checkpoints, tiny_run, monkeypatch):
    tiny_run(checkpoints / "broken")

    def no_numbers(self: VAE, z: torch.Tensor) -> torch.Tensor:
        return torch.full((*z.shape[:-1], *self.config.image_shape), torch.nan)

    monkeypatch.setattr(VAE, "decode_mean", no_numbers)
    app.run().switch_page("pages/traverse.py").run()
    for part in PARTS:
        app.segmented_control(key="part").set_value(part).run()
        assert not app.exception
        assert "not finite" in app.warning[0].value
