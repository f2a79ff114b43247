"""What a hand does with the sliders, fields and buttons of the live panel."""

import re

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, Wire, count_redraws, decoded, dragged, is_of, middle
from playwright.sync_api import Page, expect

from vae.core import gaussian


def test_a_slider_decodes_while_it_is_held_and_tells_the_server_when_it_is_let_go(new_page, model):
    page = new_page("/?run=digits-2d&point=3", kept=True)
    plot, panel, wire = Map(page), Panel(page), Wire.of[page]
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


def test_keys_fields_a_double_click_and_the_mouse_set_a_slider(new_page, embedding):
    page = new_page("/?run=digits-2d&point=3", kept=True)
    plot, panel = Map(page), Panel(page)
    panel.button("Encoder's q").click()
    panel.rest()
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

    panel.button("Encoder's q").click()
    panel.rest()
    sigma_widens_the_samples_the_kl_and_the_ellipse_and_leaves_the_mean(page, plot, panel)


def sigma_widens_the_samples_the_kl_and_the_ellipse_and_leaves_the_mean(
    page: Page, plot: Map, panel: Panel
) -> None:
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


def test_kl_is_that_of_equation_6(new_page):
    page = new_page("/?run=digits-2d&point=3", kept=True)
    panel = Panel(page)
    for name, value in (("μ₁", "-2.5"), ("σ₁", "0.04"), ("σ₂", "1.3"), ("μ₁", "1.9"), ("σ₁", "2")):
        panel.field(name).fill(value)
        panel.rest()
        mu, sigma = (torch.tensor(panel.q[key], dtype=torch.float64) for key in ("mu", "sigma"))
        kl = gaussian.kl_to_standard_normal(mu[None], 2 * sigma.log()[None])[0]
        each, total = panel.kl()
        assert each == pytest.approx(kl.tolist(), abs=0.0051)
        assert total == pytest.approx(kl.sum().item(), abs=0.0051)


def test_the_bound_says_what_the_hand_has_spoilt_and_the_search_mends_it(new_page, embedding):
    page = new_page("/?run=digits-2d&point=100", kept=True)
    plot, panel = Map(page), Panel(page)
    start, end = middle(panel.handle("mu")), plot.at(1.5, 1.5)
    with dragged(page, start, (end[0] - start[0], end[1] - start[1])):
        bound = panel.bound()
        assert bound["yours"][2] > bound["encoder's"][2] + 5
    panel.text_in_link("mu=")
    panel.button("Best q").click()
    expect(page.locator("table.bound tr")).to_have_count(4)
    page.wait_for_function(
        """(({best, selection}) => best.q?.mu.every((mu, d) => mu === selection.q.mu[d]))(
            elboRoom.panel)"""
    )
    bound = panel.bound()
    assert bound["best q"][2] <= bound["encoder's"][2]
    assert bound["yours"] == bound["best q"]
    expect(panel.button("Best q")).to_be_enabled()
    panel.button("Encoder's q").click()
    assert panel.q == is_of(embedding, 100)
    bound = panel.bound()
    assert bound["yours"] == bound["encoder's"]


def test_other_noise_other_numbers_of_samples_and_smooth_pixels(new_page):
    page = new_page("/?run=digits-2d&point=100", kept=True)
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
