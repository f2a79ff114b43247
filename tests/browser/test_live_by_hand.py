"""What a hand does with the live panel."""

import base64
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser.conftest import ROOT, Map, Panel, Server, Wire, dragged, middle, settled
from PIL import Image
from playwright.sync_api import Page, expect
from sklearn.decomposition import PCA

from vae import checkpoint, datasets, gaussian
from vae.config import ModelConfig, TrainConfig
from vae.datasets import Dataset
from vae.embedding import Embedding, embed
from vae.live import pack, source
from vae.model import VAE

EMPTY = (-2.0, 2.5)  # a place on the map of the digits with no point near it
NASTY = "<img src=x onerror=globalThis.hit=1>"  # a folder's name can have no slash
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
NO_WEBGL = """
    const made = HTMLCanvasElement.prototype.getContext;
    HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
        return kind.includes("webgl") ? null : made.call(this, kind, ...more);
    };
"""


@pytest.fixture(scope="module")
def run() -> checkpoint.Run:
    return checkpoint.open_run(ROOT / "checkpoints" / "digits-2d")


def decoded(model: VAE, z: list[float]) -> np.ndarray:
    """What a canvas should show of a latent point: (H, W) from 0 to 255."""
    with torch.no_grad():
        return 255 * model.decode_mean(torch.tensor(z, dtype=torch.float32))[0].numpy()


def is_of(embedding: Embedding, index: int) -> dict[str, object]:
    """The q of a data point, to compare a panel's with."""
    return {
        "mu": pytest.approx(embedding.mu[index].tolist(), abs=1e-6),
        "sigma": pytest.approx(embedding.sigma[index].tolist(), rel=1e-5),
    }


def count_redraws(plot: Map) -> Callable[[], int]:
    plot.plot.evaluate(
        "plot => { plot.redrawn = 0; plot.on('plotly_afterplot', () => plot.redrawn++) }"
    )
    return lambda: plot.plot.evaluate("plot => plot.redrawn")


# --- sliders -----------------------------------------------------------------------------------


def test_a_slider_decodes_while_it_is_held_and_tells_the_server_when_it_is_let_go(new_page, model):
    wires = []
    page = new_page("/?run=digits-2d&point=3", before=lambda page: wires.append(Wire(page)))
    plot, panel, (wire,) = Map(page), Panel(page), wires
    redraws = count_redraws(plot)
    assert "mu=" not in page.url
    before, first = panel.q, panel.canvas("mean")
    n_sent, n_received = len(wire.sent), len(wire.received)
    seen = {(first, panel.canvas("samples"))}
    with dragged(page, panel.thumb("μ₁"), (12, 0)):
        for further in (24, 36):
            panel.rest()
            seen.add((panel.canvas("mean"), panel.canvas("samples")))
            x, y = panel.thumb("μ₁")
            page.mouse.move(x + further - 12, y, steps=4)
        panel.rest()
        held, shown = panel.q, panel.image("canvas.mean")
        seen.add((panel.canvas("mean"), panel.canvas("samples")))
        page.wait_for_timeout(300)  # longer than any message would wait
        assert (len(wire.sent), len(wire.received)) == (n_sent, n_received)
    assert len({mean for mean, _ in seen}) == len({samples for _, samples in seen}) == 4
    assert held["mu"][0] > before["mu"][0] + 0.5
    assert (held["mu"][1], held["sigma"]) == (before["mu"][1], before["sigma"])
    assert np.abs(shown - decoded(model, held["mu"])).max() <= 1

    panel.text_in_link("mu=")
    assert len(wire.sent) > n_sent
    assert len(wire.received) > n_received
    assert panel.q == held
    assert f"sigma={held['sigma'][0]:.5g}" in page.url
    assert redraws() == 0


def test_sigma_widens_the_samples_the_kl_and_the_ellipse_and_leaves_the_mean(new_page):
    page = new_page("/?run=digits-2d&point=3")
    plot, panel = Map(page), Panel(page)

    def widths() -> list[float]:
        ellipses = page.locator(".elbo-map ellipse[stroke='#00a383']").all()
        return [ellipse.evaluate("e => e.getBoundingClientRect().width") for ellipse in ellipses]

    (left, _), (right, _) = plot.at(0, 0), plot.at(1, 0)
    before, mean, samples = panel.q, panel.canvas("mean"), panel.canvas("samples")
    (kl, other_kl), _ = panel.kl()
    with dragged(page, panel.thumb("σ₁"), (25, 0)):
        panel.rest()
        q = panel.q
        assert q["sigma"][0] > 1.5 * before["sigma"][0]
        assert (q["mu"], q["sigma"][1]) == (before["mu"], before["sigma"][1])
        assert panel.canvas("mean") == mean
        assert panel.canvas("samples") != samples
        assert panel.kl()[0] != [kl, other_kl]
        assert panel.kl()[0][1] == other_kl
        sigma = q["sigma"][0] * (right - left)
        assert widths() == pytest.approx([2 * sigma, 4 * sigma], rel=0.02)


def test_keys_fields_and_a_double_click_set_a_slider(new_page, embedding):
    page = new_page("/?run=digits-2d&point=3")
    Map(page)
    panel = Panel(page)
    before = panel.q
    for name, key, place in (("μ₂", "mu", 1), ("σ₁", "sigma", 0)):
        slider = panel.slider(name)
        slider.press("ArrowRight")
        right = panel.q[key][place]
        assert right > before[key][place]
        slider.press("PageDown")
        assert panel.q[key][place] < before[key][place]
        slider.press("PageUp")
        slider.press("ArrowLeft")
        assert panel.q[key][place] == pytest.approx(before[key][place])
        slider.press("ArrowUp")
        assert panel.q[key][place] == pytest.approx(right)
        slider.dblclick(position={"x": 12, "y": 8})
        assert panel.q == is_of(embedding, 3)

    field = panel.field("μ₁")
    field.fill("-1.25")
    assert panel.q["mu"][0] == -1.25  # at once, before Enter
    field.press("Enter")
    panel.text_in_link("mu=-1.25")
    assert panel.slider("μ₁").evaluate("range => Number(range.value)") == -1.25
    for name, nonsense in (("σ₁", "0"), ("σ₁", "-1"), ("σ₂", ""), ("μ₁", "")):
        field, q = panel.field(name), panel.q
        field.fill(nonsense)
        expect(field).to_have_attribute("aria-invalid", "true")
        assert panel.q == q
        field.press("Tab")
        expect(field).to_have_attribute("aria-invalid", "false")
        assert float(field.input_value()) > (0 if name[0] == "σ" else -2)
        assert panel.q == q


def test_kl_is_that_of_equation_6(new_page):
    page = new_page("/?run=digits-2d&point=3&mu=-2.5,0.75&sigma=0.04,1.3")
    panel = Panel(page)
    for name, value in (("", ""), ("μ₁", "1.9"), ("σ₂", "0.5"), ("σ₁", "2")):
        if name:
            panel.field(name).fill(value)
        panel.rest()
        mu, sigma = (torch.tensor(panel.q[key], dtype=torch.float64) for key in ("mu", "sigma"))
        kl = gaussian.kl_to_standard_normal(mu[None], 2 * sigma.log()[None])[0]
        each, total = panel.kl()
        assert each == pytest.approx(kl.tolist(), abs=0.0051)
        assert total == pytest.approx(kl.sum().item(), abs=0.0051)


# --- the map -----------------------------------------------------------------------------------


def test_hovering_decodes_what_the_axes_say_also_after_a_zoom_and_a_pan(new_page, model):
    page = new_page("/?run=digits-2d")
    plot, panel = Map(page), Panel(page)
    thumb = page.locator(".elbo-thumb")
    expect(thumb).to_be_hidden()

    def hover_decodes(x: float, y: float) -> None:
        page.mouse.move(x - 9, y + 9)
        page.mouse.move(x, y)
        expect(thumb).to_be_visible()
        panel.rest()
        z = plot.z(x, y)
        said = re.findall(r"-?\d+\.\d+", thumb.inner_text().replace("−", "-"))
        # Two decimals, and up to a pixel between what the mouse and the pointer event say.
        assert [float(number) for number in said] == pytest.approx(z, abs=0.012)
        assert np.abs(panel.image(".elbo-thumb canvas") - decoded(model, z)).max() <= 1.5

    centre = plot.at(0, 0)
    q = panel.q
    for dx, dy in ((-180, -140), (150, 120), (-7, 60)):
        hover_decodes(centre[0] + dx, centre[1] + dy)
    page.mouse.move(*middle(page.locator("canvas.mean")))
    expect(thumb).to_be_hidden()

    whole = plot.ranges()
    page.mouse.move(centre[0] + 60, centre[1] - 90)
    for _ in range(3):
        page.mouse.wheel(0, -300)
    plot.rest()
    zoomed = plot.ranges()
    assert zoomed[1] - zoomed[0] < 0.9 * (whole[1] - whole[0])
    hover_decodes(centre[0] - 100, centre[1] + 77)

    with dragged(page, (centre[0] - 100, centre[1] + 77), (83, -61)):
        pass
    plot.rest()
    panned = plot.ranges()
    assert panned[1] - panned[0] == pytest.approx(zoomed[1] - zoomed[0])
    assert panned[0] < zoomed[0]
    hover_decodes(centre[0] + 33, centre[1] - 21)
    assert panel.q == q  # a pan is no click


def test_a_click_in_empty_space_takes_mu_there(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    sigma = panel.q["sigma"]
    place = plot.at(*EMPTY)
    page.mouse.click(*place)
    panel.text_in_link("mu=")
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    assert panel.q["sigma"] == sigma
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    assert middle(panel.handle("mu")) == pytest.approx(place, abs=1)
    assert f"mu={panel.q['mu'][0]:.5g},{panel.q['mu'][1]:.5g}" in page.url.replace("%2C", ",")


def test_a_field_that_was_typed_into_follows_the_next_click(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    panel.field("μ₁").fill("0.4")
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=-")
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    shown = [float(panel.field(name).input_value()) for name in ("μ₁", "μ₂")]
    assert shown == pytest.approx(EMPTY, abs=0.01)


def test_a_click_on_a_point_gives_its_q_and_both_bounds_are_the_stored_terms(
    new_page, model, embedding
):
    page = new_page("/?run=digits-2d&point=3")
    plot, panel = Map(page), Panel(page)
    index = 100
    plot.click(index)
    assert panel.q == is_of(embedding, index)  # before the server has answered
    panel.text_in_link(f"point={index}")
    expect(page.get_by_text(f"Point {index}, label 2")).to_be_visible()
    assert panel.q == is_of(embedding, index)
    assert np.abs(panel.image("canvas.mean") - decoded(model, embedding.mu[index])).max() <= 1
    image = datasets.load("digits").images[index, 0].numpy()
    assert (panel.image("canvas.given") == image).all()
    stored = [getattr(embedding, name)[index] for name in ("recon", "kl", "neg_elbo")]
    assert panel.bound() == {
        name: pytest.approx(stored, abs=0.011) for name in ("yours", "encoder's")
    }


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_the_hand_does_around_a_click_does_not_undo_the_choice(when, new_page, embedding):
    page = new_page("/?run=digits-2d&point=3")
    plot, panel = Map(page), Panel(page)
    place = plot.place(100)
    if when == "before":
        panel.field("μ₁").fill("0.4")  # it is told of when the field is left, by the click
    page.mouse.click(*place)
    if when == "after":
        panel.button("Resample").click()
    page.wait_for_timeout(600)  # all messages are on their way
    settled(page)
    panel.text_in_link("point=100")
    assert panel.q == is_of(embedding, 100)
    terms = [getattr(embedding, name)[100] for name in ("recon", "kl", "neg_elbo")]
    shown = page.get_by_test_id("stMetricValue").all_inner_texts()[:3]
    assert [float(text) for text in shown] == pytest.approx(terms, abs=0.006)
    assert ("eps=1" in page.url) == (when == "after")
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()


@pytest.mark.parametrize("name", ["mu", "sigma x", "sigma y"])
def test_a_handle_moves_its_own_part_of_q_and_pans_nothing(name, new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    ranges, before = plot.ranges(), panel.q
    redraws = count_redraws(plot)
    start = middle(panel.handle(name))
    by = {"mu": (70, -40), "sigma x": (40, 5), "sigma y": (5, -40)}[name]
    with dragged(page, start, by):
        panel.rest()
        q = panel.q
        at = middle(panel.handle(name))
    if name == "mu":
        assert q["mu"] == pytest.approx(plot.z(start[0] + 70, start[1] - 40), abs=0.02)
        assert q["sigma"] == before["sigma"]
        assert at == pytest.approx((start[0] + 70, start[1] - 40), abs=1)
    else:
        moved, other = (0, 1) if name == "sigma x" else (1, 0)
        assert q["mu"] == before["mu"]
        assert q["sigma"][other] == before["sigma"][other]
        assert abs(at[moved] - start[moved]) > 25
        # Twice as far from mu is twice the sigma.
        mu = middle(panel.handle("mu"))[moved]
        times = (start[moved] + by[moved] - mu) / (start[moved] - mu)
        assert q["sigma"][moved] == pytest.approx(times * before["sigma"][moved], rel=0.06)
    panel.text_in_link("mu=")

    keys = {"mu": ("ArrowRight", "ArrowLeft"), "sigma x": ("ArrowRight", "ArrowLeft")}
    there, back = keys.get(name, ("ArrowUp", "ArrowDown"))
    part, place = ("mu", 0) if name == "mu" else ("sigma", int(name == "sigma y"))
    panel.handle(name).press(there)
    assert panel.q[part][place] > q[part][place] + 1e-3
    panel.handle(name).press(back)
    panel.handle(name).press(back)
    assert panel.q[part][place] < q[part][place] - 1e-3
    settled(page)
    assert plot.ranges() == ranges
    assert redraws() == 0


def test_following_takes_mu_along_until_a_click(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    follow = panel.button("Follow")
    follow.click()
    expect(follow).to_have_attribute("aria-pressed", "true")
    for z in ((0.5, 0.8), EMPTY):
        page.mouse.move(*plot.at(*z))
        panel.rest()
        assert panel.q["mu"] == pytest.approx(z, abs=0.01)
    page.mouse.click(*plot.at(*EMPTY))
    expect(follow).to_have_attribute("aria-pressed", "false")
    page.mouse.move(*plot.at(1, -1))
    panel.rest()
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.01)
    page.wait_for_function("() => !location.search.includes('follow')")  # once the server knows


def test_the_manifold_is_painted_under_the_points_where_the_axes_are(new_page, model):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    manifold = page.locator(".elbo-manifold")

    def pixels() -> np.ndarray:
        """(H, W, 4), from 0 to 255; nothing before it is painted."""
        url = manifold.evaluate("canvas => canvas.width ? canvas.toDataURL() : ''")
        png = base64.b64decode(url.partition(",")[2])
        return np.array(Image.open(io.BytesIO(png)).convert("RGBA")) if png else np.empty((0, 0, 4))

    def is_of_the_axes() -> None:
        """Each tile of the lattice shows the decode of its own middle."""
        painted = pixels()
        low_x, high_x, low_y, high_y = plot.ranges()
        scale = painted.shape[1] / (high_x - low_x)
        step = 2 ** np.ceil(np.log2(38 / scale))
        found = []
        for i in range(int(low_x // step) + 1, int(high_x // step)):
            for j in range(int(low_y // step) + 1, int(high_y // step)):
                left, top = (i * step - low_x) * scale, (high_y - (j + 1) * step) * scale
                side = step * scale
                tile = painted[round(top) : round(top + side), round(left) : round(left + side)]
                at = ((np.arange(8) + 0.5) * side * 0.88 / 8 + 0.06 * side).astype(int)
                shown = tile[at][:, at]
                if (shown[..., 3] < 255).any():
                    continue  # the legend's place
                wanted = decoded(model, [(i + 0.5) * step, (j + 0.5) * step])
                found.append(np.abs(shown[..., 0] - wanted).mean() < 8)  # at edges one may be off
        assert len(found) > 40
        assert np.mean(found) > 0.95

    assert pixels().size == 0
    panel.button("Manifold").click()
    panel.rest()
    whole = pixels()
    assert (whole[..., 3] == 255).mean() > 0.5
    is_of_the_axes()
    assert plot.plot.evaluate(
        """plot => {
            const [below, points] = [plot.querySelector(".elbo-manifold"),
                                     plot.querySelector(".gl-container")];
            const {DOCUMENT_POSITION_FOLLOWING: later} = Node;
            return Boolean(below.compareDocumentPosition(points) & later);
        }"""
    )
    page.mouse.move(*plot.at(0.5, 0.5))
    page.mouse.wheel(0, -400)
    plot.rest()
    panel.rest()
    assert not np.array_equal(pixels(), whole)
    is_of_the_axes()
    panel.button("Manifold").click()
    panel.rest()
    assert pixels()[..., 3].sum() == 0


def test_four_dimensions_are_decoded_on_a_plane_of_principal_components(new_page, server):
    model = VAE(ModelConfig((1, 8, 8), latent_dim=4, hidden=(16,)))
    with torch.no_grad():
        for values in model.parameters():
            values *= 2  # pictures that can be told apart
    made = checkpoint.create(server.checkpoints / "four", model.config, TrainConfig("digits", 1))
    checkpoint.save_model(made, model)
    embedding = embed(model, datasets.load("digits"))
    checkpoint.save_embedding(made, embedding)
    plane = PCA(2, svd_solver="covariance_eigh").fit(embedding.mu)

    page = new_page("/?run=four&point=5&axes=principal+components")
    plot, panel = Map(page), Panel(page)
    expect(page.locator(".live summary")).to_have_text("The other 2 dimensions")
    mu = np.array(panel.q["mu"])
    (at,) = plane.transform(mu[None])
    left, top = middle(panel.handle("mu"))
    assert (left, top) == pytest.approx(plot.at(*at), abs=1)
    for name in ("sigma x", "sigma y"):
        expect(panel.handle(name)).to_be_hidden()  # no axis of the map is a dimension

    page.mouse.move(left + 130, top - 90, steps=2)
    panel.rest()
    by = np.array(plot.z(left + 130, top - 90)) - at
    z = mu + by @ plane.components_  # what the map does not show stays as in q
    shown = panel.image(".elbo-thumb canvas")
    assert np.abs(shown - decoded(model, mu)).max() > 5
    assert np.abs(shown - decoded(model, z)).max() <= 1.5
    with dragged(page, (left, top), (130, -90)):
        panel.rest()
        assert panel.q["mu"] == pytest.approx(z, abs=0.02)

    page = new_page("/?run=four&point=5&axis_x=z4&axis_y=z2")
    plot, panel = Map(page), Panel(page)
    expect(page.locator(".live .name").first).to_have_text("z₄")
    before = panel.q
    with dragged(page, middle(panel.handle("sigma x")), (40, 0)):
        panel.rest()
        sigma = panel.q["sigma"]
    assert sigma[3] > before["sigma"][3] + 0.01
    assert (panel.q["mu"], sigma[:3]) == (before["mu"], before["sigma"][:3])
    page.locator(".live summary").click()
    panel.field("μ₁").fill("2")
    assert panel.q["mu"] == [2, *before["mu"][1:]]


# --- the bound ---------------------------------------------------------------------------------


def test_the_bound_says_what_the_hand_has_spoilt_and_the_search_mends_it(new_page, embedding):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    start, end = middle(panel.handle("mu")), plot.at(1.5, 1.5)
    with dragged(page, start, (end[0] - start[0], end[1] - start[1])):
        bound = panel.bound()
        assert bound["yours"][2] > bound["encoder's"][2] + 5
    panel.text_in_link("mu=")
    panel.button("Best q").click()
    expect(page.locator("table.bound tr")).to_have_count(4)
    page.wait_for_function(
        """() => elboRoom.panel.best?.mu.every((mu, d) => mu === elboRoom.panel.q.mu[d])"""
    )
    bound = panel.bound()
    assert bound["best q"][2] <= bound["encoder's"][2] + 0.05
    assert bound["yours"] == bound["best q"]
    expect(panel.button("Best q")).to_be_enabled()
    panel.button("Encoder's q").click()
    assert panel.q == is_of(embedding, 100)
    bound = panel.bound()
    assert bound["yours"] == bound["encoder's"]


def test_other_noise_other_numbers_of_samples_and_smooth_pixels(new_page):
    page = new_page("/?run=digits-2d&point=100")
    Map(page)
    panel = Panel(page)
    expect(page.get_by_text("seed 0")).to_be_visible()
    mean, samples, before = panel.canvas("mean"), panel.canvas("samples"), panel.bound()
    panel.button("Resample").click()
    expect(page.get_by_text("seed 1")).to_be_visible()
    panel.text_in_link("eps=1")
    assert panel.canvas("samples") != samples
    assert panel.canvas("mean") == mean
    assert panel.bound()["yours"][0] != before["yours"][0]
    assert panel.bound()["yours"][1] == before["yours"][1]

    count = panel.slider("number of samples")
    for key, n in (("Home", 1), ("End", 64)):
        count.press(key)
        panel.rest()
        expect(page.locator("output", has_text=re.compile(f"^{n}$"))).to_be_visible()
        columns = 1 if n == 1 else 16
        shown = panel.image("canvas.samples", -(-n // columns), 16 if n == 64 else 8)
        assert shown.shape[0] * min(columns, shown.shape[1]) == n
        assert ("±" in page.locator("table.bound").inner_text()) == (n > 1)
    panel.text_in_link("samples=64")

    def colours() -> int:
        return page.locator("canvas.mean").evaluate(
            """canvas => new Set(new Uint32Array(canvas.getContext("2d").getImageData(
                   0, 0, canvas.width, canvas.height).data.buffer)).size"""
        )

    assert colours() <= 64  # 8 x 8 squares
    panel.button("Smooth").click()
    panel.rest()
    expect(panel.button("Smooth")).to_have_attribute("aria-pressed", "true")
    assert colours() > 64
    panel.button("Smooth").click()
    panel.rest()
    assert panel.canvas("mean") == mean


# --- the tour ----------------------------------------------------------------------------------


def test_a_tour_goes_from_stop_to_stop_until_it_is_paused(new_page):
    wires = []
    page = new_page("/?run=digits-2d&point=100", before=lambda page: wires.append(Wire(page)))
    plot, panel, (wire,) = Map(page), Panel(page), wires
    ends = np.array([EMPTY, (1.5, 1.0)])
    for number, end in enumerate(ends, 1):
        page.mouse.click(*plot.at(*end))
        panel.button("+ Stop").click()
        stop = page.locator(".elbo-map").get_by_text(str(number), exact=True)
        assert middle(stop) == pytest.approx(plot.at(*end), abs=1)
    way = page.locator(".elbo-map polyline")
    straight = way.get_attribute("points")
    settled(page)

    n_sent = len(wire.sent)
    panel.button("▶ Tour").click()
    expect(panel.button("❚❚ Pause")).to_be_visible()
    seen = []
    for _ in range(4):
        before = panel.canvas("mean")
        page.wait_for_function(
            "before => elboRoom.panel.mean.canvas.toDataURL() !== before", arg=before
        )
        seen.append(panel.q["mu"])
    assert len(wire.sent) == n_sent
    panel.button("❚❚ Pause").click()
    panel.text_in_link("mu=")
    assert len({tuple(mu) for mu in seen}) == 4
    direction = (ends[1] - ends[0]) / np.linalg.norm(ends[1] - ends[0])
    for mu in seen:
        along = (np.array(mu) - ends[0]) @ direction
        assert -0.02 < along < np.linalg.norm(ends[1] - ends[0]) + 0.02
        assert np.linalg.norm(np.array(mu) - ends[0] - along * direction) < 0.02
    q = panel.q
    page.wait_for_timeout(200)
    assert panel.q == q

    panel.button("Spherical").click()
    expect(panel.button("Spherical")).to_have_attribute("aria-pressed", "true")
    panel.rest()
    assert way.get_attribute("points") != straight
    panel.button("Loop").click()
    expect(panel.button("Loop")).to_have_attribute("aria-pressed", "false")
    panel.slider("speed of the tour").press("End")
    panel.button("▶ Tour").click()
    expect(panel.button("▶ Tour")).to_be_visible()  # without a loop it ends at the last stop
    assert panel.q["mu"] == pytest.approx(ends[1], abs=0.02)


def test_a_tour_without_stops_goes_through_data_points(new_page, embedding):
    page = new_page("/?run=digits-2d&point=100")
    Map(page)
    panel = Panel(page)
    before = panel.canvas("mean")
    panel.button("▶ Tour").click()
    page.wait_for_function(
        "before => elboRoom.panel.mean.canvas.toDataURL() !== before", arg=before
    )
    stops = np.array(page.evaluate("elboRoom.panel.tour.stops.map((z) => [...z])"))
    away = np.linalg.norm(stops[:, None] - embedding.mu[None], axis=-1).min(1)
    assert len(stops) > 2
    assert away.max() < 1e-6
    tour = page.locator(".live .tour")
    tour.get_by_role("button", name="Clear").click()
    expect(panel.button("▶ Tour")).to_be_visible()
    expect(tour.get_by_role("button", name="Clear")).to_be_hidden()


# --- drawing -----------------------------------------------------------------------------------


def ring(page: Page) -> list[tuple[float, float]]:
    """A zero on the pad, taller than it is wide."""
    box = page.locator("canvas.pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    turns = np.linspace(0, 2 * np.pi, 25)
    return [
        (x + 0.17 * box["width"] * np.sin(a), y - 0.27 * box["height"] * np.cos(a)) for a in turns
    ]


def test_a_drawing_is_read_by_the_encoder_and_can_be_sent_to_points(new_page, model, embedding):
    page = new_page("/?run=digits-2d&point=100")
    Map(page)
    panel = Panel(page)
    own = panel.q
    panel.button("Draw").click()
    expect(page.get_by_text("Your drawing")).to_be_visible()
    panel.button("Send to Points").click()
    expect(page.get_by_text("Draw something first.")).to_be_visible()
    start, *path = ring(page)
    page.mouse.move(*start)
    page.mouse.down()
    for place in path[:12]:
        page.mouse.move(*place)
    panel.rest()
    half = panel.q
    assert half != own  # while it is drawn
    for place in path[12:]:
        page.mouse.move(*place)
    page.mouse.up()
    panel.rest()

    x = torch.tensor(page.evaluate("[...elboRoom.panel.drawn]")).reshape(1, 1, 8, 8)
    assert x[0, 0, 0].max() > 0  # as in the data, a digit is as high as its image
    assert x[0, 0, 7].max() > 0
    assert x[0, 0, :, 0].max() == x[0, 0, :, 7].max() == 0
    assert np.abs(panel.image("canvas.pad-view") - 255 * x[0, 0].numpy()).max() <= 1
    with torch.no_grad():
        mu, logvar = model.encode(x)
    q = panel.q
    assert q != half
    assert q["mu"] == pytest.approx(mu[0].tolist(), abs=1e-4)
    assert q["sigma"] == pytest.approx((logvar[0] / 2).exp().tolist(), rel=1e-4)
    bound = panel.bound()
    assert bound["yours"] == bound["encoder's"]
    assert bound["yours"][1] == pytest.approx(
        gaussian.kl_to_standard_normal(mu, logvar).sum().item(), abs=0.006
    )
    nearest = np.linalg.norm(embedding.mu - np.array(q["mu"]), axis=1).argsort()[:5]
    assert 0 in embedding.labels[nearest]  # it stands with the zeros

    panel.button("Send to Points").click()
    expect(page.get_by_text("Your drawing is on Points.")).to_be_visible()
    tools = page.locator(".live .bar", has=page.get_by_label("thickness"))
    tools.get_by_role("button", name="Clear").click()
    panel.rest()
    assert page.evaluate("elboRoom.panel.pad.empty")
    assert page.locator("table.bound tr").count() == 0
    panel.button("Draw").click()
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    assert panel.q == own

    page.wait_for_timeout(300)  # the panel tells the server of the q that it went back to
    settled(page)
    page.get_by_role("link", name="Points").click()
    cells = page.get_by_role("gridcell", include_hidden=True)
    expect(cells.filter(has_text="your point 1")).to_have_count(1)
    sent = (255 * x).round().to(torch.uint8)
    yours = embed(model, Dataset("yours", "all", sent, torch.zeros(1, dtype=torch.int64), ("",)))
    texts = cells.all_text_contents()
    at = texts.index("your point 1")
    terms = [yours.recon[0], yours.kl[0], yours.neg_elbo[0]]
    assert [float(text) for text in texts[at + 1 : at + 4]] == pytest.approx(terms, abs=1e-3)
    rank = 1 + (embedding.neg_elbo > yours.neg_elbo[0]).sum()
    assert texts[at + 5] == str(rank)


def test_the_best_q_of_a_drawing_is_found_too(new_page):
    page = new_page("/?run=digits-2d&point=100")
    Map(page)
    panel = Panel(page)
    panel.button("Draw").click()
    start, *path = ring(page)
    page.mouse.move(*start)
    page.mouse.down()
    for place in path:
        page.mouse.move(*place)
    page.mouse.up()
    panel.button("Best q").click()
    expect(page.locator("table.bound tr")).to_have_count(4)
    bound = panel.bound()
    assert bound["best q"][2] <= bound["encoder's"][2] + 0.05


# --- pages, links, themes ----------------------------------------------------------------------


def test_a_page_that_is_chosen_in_the_same_breath_as_a_change_is_shown(new_page):
    page = new_page("/?run=digits-2d&point=100")
    for _ in range(3):
        change = Panel(page).button("Manifold")
        settled(page)
        # As a browser that was busy for a moment hands on what the hand did meanwhile.
        pressed = (change, page.get_by_role("link", name="Points"))
        page.evaluate(
            """(pressed) => pressed.forEach((one) => {
                one.dispatchEvent(new PointerEvent("pointerdown", {bubbles: true, composed: true}));
                one.click();
            })""",
            [one.element_handle() for one in pressed],
        )
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        settled(page)
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        page.get_by_role("link", name="Explore").first.click()


def test_what_the_hand_set_outlives_other_pages_and_is_in_the_link(new_page):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.field("σ₂").fill("0.75")
    panel.field("σ₂").press("Enter")
    panel.button("Resample").click()
    panel.slider("number of samples").press("ArrowRight")
    panel.text_in_link("samples=17")
    panel.text_in_link("eps=1")
    q = panel.q
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    page.get_by_role("link", name="Explore").first.click()
    panel = Panel(page)
    assert panel.q == q
    settled(page)
    in_link = {
        "mu": pytest.approx(q["mu"], abs=1e-3),
        "sigma": pytest.approx(q["sigma"], abs=1e-3),
    }
    for link in (page.url, page.url.split("/", 3)[3]):
        if link == page.url:
            page.reload()
        else:
            page = new_page("/" + link)
        panel = Panel(page)
        assert panel.q == in_link
        expect(page.get_by_text("Point 100, label 2")).to_be_visible()
        expect(page.get_by_text("seed 1")).to_be_visible()
        assert page.evaluate("elboRoom.panel.S") == 17


def test_a_link_with_nonsense_opens_with_the_encoders_q(new_page, server, embedding):
    page = new_page("/?run=digits-2d&point=7&mu=nan,abc&sigma=-1&eps=x&samples=999&follow=2")
    for nonsense in (
        "",  # what the tab was opened with
        "mu=1,2,3&sigma=1,1,1&eps=-4&samples=0",  # of a model with three dimensions
        "mu=inf,0&sigma=1,1&samples=1e9&eps=99999999999999999999",
        "mu=0.5,0.5",
    ):
        if nonsense:
            page.goto(f"{server.url}/?run=digits-2d&point=7&{nonsense}")
        expect(page.get_by_text("Point 7, label")).to_be_visible()
        assert Panel(page).q == is_of(embedding, 7)
        assert page.evaluate("[elboRoom.panel.seed, elboRoom.panel.S]") == [0, 16]


def test_another_theme_changes_nothing_that_was_set(new_page):
    page = new_page("/?run=digits-2d&point=100", color_scheme="light")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    q = panel.q

    def brightness() -> list[float]:
        """Of the text in the panel, of that under the pointer and of its background."""
        return page.evaluate(
            """() => {
                const thumb = getComputedStyle(document.querySelector(".elbo-thumb"));
                return [getComputedStyle(elboRoom.panel.element).color, thumb.color,
                        thumb.backgroundColor].map((colour) => colour.match(/[\\d.]+/g)
                    .slice(0, 3).reduce((sum, value) => sum + value / 765, 0));
            }"""
        )

    inks = brightness()
    assert max(inks[:2]) < 0.3
    assert inks[2] > 0.9
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(
        """() => getComputedStyle(document.querySelector(".elbo-thumb")).color
                 === getComputedStyle(elboRoom.panel.element).color
              && getComputedStyle(document.querySelector(".stApp")).colorScheme !== "light" """
    )
    plot, panel = Map(page), Panel(page)
    inks = brightness()
    assert min(inks[:2]) > 0.7
    assert inks[2] < 0.2
    assert panel.q == q
    page.mouse.move(*plot.at(1, -1))
    expect(page.locator(".elbo-thumb")).to_be_visible()
    with dragged(page, middle(panel.handle("mu")), (60, 60)):
        panel.rest()
        assert panel.q != q


def test_after_a_rerun_the_chart_is_still_held_by_the_hand(new_page, model, embedding):
    page = new_page("/?run=digits-2d&point=100")
    plot, panel = Map(page), Panel(page)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    q = panel.q

    def is_alive() -> None:
        plot, panel = Map(page), Panel(page)
        place = plot.at(0.3, -0.2)
        page.mouse.move(*place)
        expect(page.locator(".elbo-thumb")).to_be_visible()
        panel.rest()
        shown = panel.image(".elbo-thumb canvas")
        assert np.abs(shown - decoded(model, plot.z(*place))).max() <= 1.5
        assert middle(panel.handle("mu")) == pytest.approx(plot.at(*panel.q["mu"]), abs=1)
        expect(page.locator(".elbo-map")).to_have_count(1)

    page.get_by_text("KL", exact=True).first.click()
    panel.text_in_link("colour=KL")
    expect(plot.plot.locator(".infolayer .colorbar")).to_be_visible()
    is_alive()
    assert panel.q == q
    assert "mu=" in page.url

    number = page.get_by_label("Point, 0 to 358")
    number.fill("41")
    number.press("Enter")
    expect(page.get_by_text("Point 41, label")).to_be_visible()
    is_alive()
    assert panel.q == is_of(embedding, 41)
    with dragged(page, middle(panel.handle("mu")), (60, 60)):
        panel.rest()
    assert panel.q["mu"] != pytest.approx(embedding.mu[41], abs=0.1)


def test_the_weights_cross_the_wire_once(new_page, run):
    wires = []
    page = new_page("/?run=digits-2d&point=100", before=lambda page: wires.append(Wire(page)))
    plot, panel, (wire,) = Map(page), Panel(page), wires
    weights = len(pack.model_pack(run.load_model(), "digits"))
    assert weights < sum(wire.received) < 2 * weights

    def received_by(act: Callable[[], object]) -> int:
        before = len(wire.received)
        act()
        settled(page)
        return sum(wire.received[before:])

    def click() -> None:
        page.mouse.click(*plot.at(*EMPTY))
        panel.text_in_link("mu=")

    def another_point() -> None:
        plot.click(100)
        panel.text_in_link("point=100")

    def another_colour() -> None:
        page.get_by_text("KL", exact=True).first.click()
        panel.text_in_link("colour=KL")

    # Streamlit sends a component's own text with every run, and with another colour the map.
    own = len(source.module().encode()) + len(source.css().encode())
    assert received_by(click) < own + weights / 50
    assert received_by(lambda: panel.button("Resample").click()) < own + weights / 50
    assert received_by(another_point) < own + weights / 10
    # The map of another colour may come with a run for what the hand did before.
    assert received_by(another_colour) < 2 * own + weights / 10

    def there_and_back() -> None:
        page.get_by_role("link", name="Points").click()
        expect(page.get_by_text("Costliest first by")).to_be_visible()
        settled(page)
        page.get_by_role("link", name="Explore").first.click()
        Panel(page)

    assert received_by(there_and_back) < own + weights / 2


# --- other screens and browsers ----------------------------------------------------------------


class Finger:
    """Touches the screen."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._devtools = page.context.new_cdp_session(page)

    def down(self, x: float, y: float) -> None:
        self._send("touchStart", (x, y))

    def move(self, x: float, y: float) -> None:
        self._send("touchMove", (x, y))

    def up(self) -> None:
        self._send("touchEnd")

    def _send(self, kind: str, *places: tuple[float, float]) -> None:
        self._devtools.send(
            "Input.dispatchTouchEvent",
            {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in places]},
        )

    def drag(self, path: list[tuple[float, float]]) -> None:
        self.down(*path[0])
        for place in path[1:]:
            self.move(*place)
        # A touch is told of once per frame.
        self._page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )


def test_on_a_phone_a_finger_does_what_a_mouse_does(new_page, model):
    page = new_page("/?run=digits-2d&point=100", **PHONE)
    plot, panel, finger = Map(page), Panel(page), Finger(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    plot.plot.scroll_into_view_if_needed()
    page.touchscreen.tap(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    assert panel.q["mu"] == pytest.approx(EMPTY, abs=0.02)
    ranges = plot.ranges()
    x, y = middle(panel.handle("mu"))
    finger.drag([(x, y), (x + 20, y + 10), (x + 40, y + 30)])
    panel.rest()
    assert middle(panel.handle("mu")) == pytest.approx((x + 40, y + 30), abs=1)
    finger.up()
    assert panel.q["mu"] == pytest.approx(plot.z(x + 40, y + 30), abs=0.02)
    assert plot.ranges() == ranges

    for name, key in (("μ₁", "mu"), ("σ₂", "sigma")):
        panel.slider(name).scroll_into_view_if_needed()
        before, mean = panel.q, panel.canvas("samples")
        x, y = panel.thumb(name)
        finger.drag([(x, y), (x + 8, y), (x + 16, y), (x + 24, y)])
        panel.rest()
        assert panel.q[key] != before[key]
        assert panel.canvas("samples") != mean
        finger.up()

    panel.button("Draw").tap()
    page.locator("canvas.pad").scroll_into_view_if_needed()
    finger.drag(ring(page))
    finger.up()
    panel.rest()
    x = torch.tensor(page.evaluate("[...elboRoom.panel.drawn]")).reshape(1, 1, 8, 8)
    assert x.sum() > 3
    with torch.no_grad():
        mu, _ = model.encode(x)
    assert panel.q["mu"] == pytest.approx(mu[0].tolist(), abs=1e-4)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_without_webgl_the_map_is_made_of_elements_and_the_panel_works(new_page, model, embedding):
    page = new_page("/?run=digits-2d&point=3", before=lambda page: page.add_init_script(NO_WEBGL))
    expect(page.locator(".st-key-map .scatterlayer .point")).to_have_count(len(embedding))
    expect(page.get_by_text("WebGL is not supported")).to_have_count(0)
    plot, panel = Map(page), Panel(page)
    plot.click(100)
    expect(page.get_by_text("Point 100, label 2")).to_be_visible()
    panel.text_in_link("point=100")
    assert panel.q == is_of(embedding, 100)
    page.mouse.click(*plot.at(*EMPTY))
    panel.text_in_link("mu=")
    assert np.abs(panel.image("canvas.mean") - decoded(model, panel.q["mu"])).max() <= 1


# --- what cannot be run ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faulty(tmp_path_factory, tiny_run) -> Iterator[Server]:
    """A server that knows two models that no browser can run; see serve_with_faults.py."""
    checkpoints = tmp_path_factory.mktemp("faulty")
    for activation in ("tanh", "silu"):
        config = tiny_run(checkpoints / activation).path / "config.json"
        written = json.loads(config.read_text())
        written["model"]["activation"] = activation
        config.write_text(json.dumps(written))
    running = Server(checkpoints, python=[str(Path(__file__).parent / "serve_with_faults.py")])
    yield running
    running.stop()


def test_a_layer_that_no_browser_runs_is_named_and_the_server_decodes(browser, faulty):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{faulty.url}/?run=tanh")
    said = page.get_by_text(re.compile(r"layer body\.\d+ \(LogSigmoid\) has no browser version"))
    expect(said).to_be_visible()
    expect(page.locator(".live")).to_have_count(0)
    Map(page)
    settled(page)
    picture = page.get_by_test_id("stImage").filter(has_text="decoded at z = μ").locator("img")
    before = picture.screenshot()
    slider = page.get_by_test_id("stSlider").first.get_by_role("slider")
    for _ in range(40):
        slider.press("ArrowRight")
    page.wait_for_timeout(300)
    settled(page)
    assert picture.screenshot() != before
    page.get_by_role("button", name="Resample").click()
    expect(page.get_by_text("seed 1")).to_be_visible()
    page.context.close()


def test_weights_that_do_not_fit_are_one_sentence_and_the_page_lives(browser, faulty):
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    failures = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(f"{faulty.url}/?run=silu&point=5")
    problem = page.locator(".live .problem")
    expect(problem).to_contain_text("The network's program and its weights disagree")
    assert problem.inner_text().count(".") == 1
    expect(page.locator("canvas.mean")).to_be_hidden()
    expect(page.get_by_test_id("stMetricValue")).to_have_count(4)
    plot = Map(page)
    page.mouse.move(*plot.at(0, 0))
    expect(page.locator(".elbo-thumb")).to_be_hidden()
    settled(page)
    page.get_by_label("Point, 0 to").fill("6")
    page.get_by_label("Point, 0 to").press("Enter")
    expect(page.get_by_text("Point 6 as the tables state it")).to_be_visible()
    expect(problem).to_be_visible()
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 6, label")).to_be_visible()
    assert not failures
    page.context.close()


def test_names_are_never_markup(new_page, server, run):
    copied = server.checkpoints / NASTY
    shutil.copytree(run.path, copied)
    own = checkpoint.open_run(copied)
    names = tuple(f"{NASTY}{label}" for label in range(10))
    checkpoint.save_embedding(
        own, Embedding(**{**vars(own.load_embedding()), "class_names": names})
    )
    page = new_page("/?point=100&run=" + NASTY.replace("=", "%3D").replace(" ", "%20"))
    expect(page.get_by_label("Checkpoint")).to_have_value(NASTY)
    plot, panel = Map(page), Panel(page)
    expect(page.get_by_text(f"Point 100, label {NASTY}2")).to_be_visible()
    expect(plot.plot.locator(".legendtext").first).to_have_text(f"{NASTY}0")
    page.mouse.move(*plot.place(3), steps=3)  # q's handle covers the chosen point
    expect(plot.plot.locator(".hoverlayer .hovertext")).to_contain_text(NASTY)
    panel.button("Draw").click()
    panel.button("Draw").click()
    page.get_by_role("link", name="Points").click()
    expect(page.get_by_text("Point 100, label")).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    assert page.evaluate("globalThis.hit") is None
    shutil.rmtree(copied)


# --- the module alone --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def blank(browser) -> Iterator[Page]:
    """A page without anything, with the module in the variable `live`."""
    page = browser.new_page()
    page.evaluate(
        """async (text) => {
            const url = URL.createObjectURL(new Blob([text], {type: "text/javascript"}));
            globalThis.live = await import(url);
        }""",
        source.module(),
    )
    yield page
    page.close()


def test_a_damaged_pack_is_refused_in_a_sentence(blank, model):
    whole = pack.model_pack(model, "digits")
    assert blank.evaluate("bytes => live.keep(new Uint8Array(bytes)) ?? 'kept'", list(whole))
    header = 8 + int.from_bytes(whole[4:8], "little")
    cuts = {cut: whole[:cut] for cut in (0, 3, 7, 8, 100, header, header + 1000, len(whole) - 8)}
    kind = whole.replace(b'"float32"', b'"float31"', 1)
    damaged = [*cuts.values(), b"PK" + whole[2:], whole[:4] + b"\xff" * 4 + whole[8:], kind]
    for data in damaged:
        said = blank.evaluate(
            """bytes => {
                try { live.keep(new Uint8Array(bytes)); return "kept"; }
                catch (error) { return error instanceof Error ? error.message : "no Error"; }
            }""",
            list(data[: header + 2000]) if len(data) > header + 2000 else list(data),
        )
        assert re.fullmatch(r"The model's data [^.]*; reload the page\.", said), data[:12]


def test_a_program_that_its_weights_do_not_fit_stops_the_panel_with_a_sentence(blank, model):
    data = pack.model_pack(model, "digits")
    header = pack.header_of(data)
    del header["id"]
    entry = header.pop("arrays")["decoder"]
    n = entry["shape"][0]
    start = 8 + int.from_bytes(data[4:8], "little")
    weights = np.frombuffer(data[start:], "<f4", n).copy()
    nan = weights.copy()
    nan[5] = np.nan
    for wrong in (weights[:-1], nan):
        header["encoder"] = None
        text = pack.pack(header, {"decoder": wrong})
        said = blank.evaluate(
            """(data) => {
                live.keep(Uint8Array.from(atob(data.pack), (c) => c.charCodeAt(0)));
                const place = document.body.appendChild(document.createElement("div"));
                const sent = [];
                const panel = new live.Panel(place, {
                    findPlot: () => null, can: () => true, send: (...what) => sent.push(what)});
                panel.setData(data.told);
                const said = place.querySelector(".problem").textContent;
                panel.destroy();
                place.remove();
                return [said, sent];
            }""",
            {
                "pack": base64.b64encode(text).decode(),
                "told": {"model": pack.header_of(text)["id"], "points": None},
            },
        )
        sentence, sent = said
        assert re.fullmatch(r"The network's program and its weights disagree: [^.]*\.", sentence)
        assert sent == [["problem", sentence]]


def prepared(blank: Page, ink: np.ndarray, kind: str, H: int, W: int) -> np.ndarray:
    values = blank.evaluate(
        "([ink, side, kind, H, W]) => [...live.prepare(Float32Array.from(ink), side, kind, H, W)]",
        [ink.reshape(-1).tolist(), ink.shape[0], kind, H, W],
    )
    return np.array(values).reshape(H, W)


@pytest.mark.parametrize("drawn", ["a one", "an L in a corner", "a wide bar", "a dot"])
def test_a_drawing_is_prepared_as_mnist_was(blank, drawn):
    ink = np.zeros((224, 224), np.float32)
    place = {
        "a one": np.s_[30:170, 100:118],
        "an L in a corner": np.s_[0:90, 0:15],
        "a wide bar": np.s_[150:170, 10:215],
        "a dot": np.s_[200:212, 5:17],
    }[drawn]
    ink[place] = 1
    if drawn == "an L in a corner":
        ink[75:90, 0:60] = 1
    image = prepared(blank, ink, "mnist", 28, 28)
    assert image.min() >= 0
    assert image.max() <= 1
    rows, columns = np.nonzero(image > 0.5)
    sides = [np.ptp(rows) + 1, np.ptp(columns) + 1]
    assert max(sides) in (19, 20)
    # Anti-aliased, the box may touch one more row and column.
    rows, columns = np.nonzero(image > 1e-6)
    assert max(np.ptp(rows) + 1, np.ptp(columns) + 1) <= 21
    y, x = np.mgrid[:28, :28] + 0.5
    centre = np.array([(image * y).sum(), (image * x).sum()]) / image.sum()
    assert np.abs(centre - 14).max() < 0.5
    assert image.sum() == pytest.approx(
        ink.sum() * (20 / max(ink.any(1).sum(), ink.any(0).sum())) ** 2, rel=0.01
    )


def test_a_drawing_fills_the_height_of_digits_and_stays_in_place_on_a_plane(blank):
    ink = np.zeros((224, 224), np.float32)
    ink[60:120, 20:50] = 1  # twice as high as wide
    image = prepared(blank, ink, "digits", 8, 8)
    assert (image > 0).any(1).all()
    assert (image > 0).any(0).tolist() == [False, False, True, True, True, True, False, False]
    assert set(np.unique(image * 16)) <= set(range(17))  # counts in 4 x 4 blocks
    image = prepared(blank, ink, "plane", 32, 32)
    y, x = np.mgrid[:32, :32] + 0.5
    assert (image * y).sum() / image.sum() == pytest.approx(90 / 7, abs=0.01)
    assert (image * x).sum() / image.sum() == pytest.approx(35 / 7, abs=0.01)
    for kind, side in (("mnist", 28), ("digits", 8), ("plane", 32)):
        assert not prepared(blank, np.zeros((224, 224)), kind, side, side).any()


def test_between_two_latent_points(blank):
    def between(a: list[float], b: list[float], t: float, spherical: bool) -> np.ndarray:
        return np.array(
            blank.evaluate("([a, b, t, s]) => [...live.between(a, b, t, s)]", [a, b, t, spherical])
        )

    a, b = [3.0, 0.0, 0.0], [0.0, 0.0, 3.0]
    for spherical in (False, True):
        assert between(a, b, 0, spherical) == pytest.approx(a)
        assert between(a, b, 1, spherical) == pytest.approx(b)
    assert between(a, b, 0.5, False) == pytest.approx([1.5, 0, 1.5])
    for t in (0.1, 0.5, 0.8):
        assert np.linalg.norm(between(a, b, t, True)) == pytest.approx(3)
    assert between(a, b, 0.5, True) == pytest.approx([4.5**0.5, 0, 4.5**0.5])
    assert np.linalg.norm(between(a, [0, 1, 0], 0.25, True)) == pytest.approx(2.5)
    # No great circle is singled out here: the way is straight, and never NaN.
    for end in ([0, 0, 0], [-3, 0, 0], a):
        assert between(a, end, 0.5, True) == pytest.approx((np.array(a) + end) / 2)


def test_noise_is_normal_and_belongs_to_its_seed(blank):
    draws = [blank.evaluate("([s, n]) => [...live.noise(s, n)]", [s, 4001]) for s in (1, 2, 1)]
    assert draws[0] == draws[2]
    assert draws[0][:64] == blank.evaluate("[...live.noise(1, 64)]")
    assert np.corrcoef(draws[0], draws[1])[0, 1] == pytest.approx(0, abs=0.06)
    assert np.mean(draws[0]) == pytest.approx(0, abs=0.06)
    assert np.std(draws[0]) == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(draws[0]) < 1.959964) == pytest.approx(0.95, abs=0.015)
