"""Tours over the map, from stop to stop."""

import numpy as np
import pytest
import torch
from browser.driver import EMPTY, Map, Panel, Wire, middle, settled
from playwright.sync_api import Page, expect

from vae.core import gaussian
from vae.core.elbo import log_likelihood
from vae.core.model import VAE

# Notes what the table says of "yours", and the q that it is said of.
RECORD = """() => {
    const { bound } = elboRoom.panel;
    const fill = bound.fill.bind(bound);
    bound.said = [];
    bound.fill = (lines) => {
        const { mu, sigma, eps, S, x } = bound.own;
        const [{ recon, kl }] = lines;
        bound.said.push({ recon, kl, mu: [...mu], sigma: [...sigma], x: [...x],
                          eps: [...eps.slice(0, S * mu.length)] });
        fill(lines);
    };
}"""


def numbers_are_of_one_q(page: Page, model: VAE) -> None:
    """What was said in motion is what the library says of that q over the same noise."""
    said = page.evaluate("elboRoom.panel.bound.said")
    assert len({tuple(one["mu"]) for one in said}) > 2
    for one in said[:: max(1, len(said) // 5)]:
        mu, sigma, x = (torch.tensor(one[name]) for name in ("mu", "sigma", "x"))
        z = mu + sigma * torch.tensor(one["eps"]).reshape(-1, 2)
        with torch.no_grad():
            log_px = log_likelihood(model, x.reshape(1, 1, 8, 8), z[:, None])
        assert one["recon"] == pytest.approx(-float(log_px.mean()), abs=2e-3)
        kl = gaussian.kl_to_standard_normal(mu, 2 * sigma.log()).sum()
        assert one["kl"] == pytest.approx(float(kl), abs=1e-3)


def test_a_tour_without_stops_goes_through_data_points(new_page, embedding):
    page = new_page("/?run=digits-2d&point=100", kept=True)
    Map(page)
    panel = Panel(page)
    before = panel.canvas("mean")
    panel.button("▶ Tour").click()
    page.wait_for_function(
        "before => elboRoom.panel.machine.mean.canvas.toDataURL() !== before", arg=before
    )
    stops = np.array(page.evaluate("elboRoom.panel.tour.way.stops.map((z) => [...z])"))
    away = np.linalg.norm(stops[:, None] - embedding.mu[None], axis=-1).min(1)
    assert len(stops) > 2
    assert away.max() < 1e-6
    tour = page.locator(".live .tour")
    tour.get_by_role("button", name="Clear").click()
    expect(panel.button("▶ Tour")).to_be_visible()
    expect(tour.get_by_role("button", name="Clear")).to_be_hidden()


@pytest.mark.slow
def test_a_tour_goes_from_stop_to_stop_until_it_is_paused(new_page, model):
    page = new_page("/?run=digits-2d&point=100", kept=True)
    plot, panel, wire = Map(page), Panel(page), Wire.of[page]
    ends = np.array([EMPTY, (1.5, 1.0)])
    for number, end in enumerate(ends, 1):
        page.mouse.click(*plot.at(*end))
        panel.button("+ Stop").click()
        stop = page.locator(".elbo-map").get_by_text(str(number), exact=True)
        assert middle(stop) == pytest.approx(plot.at(*end), abs=1)
    way = page.locator(".elbo-map polyline:not(.elbo-curve)")
    straight = way.get_attribute("points")
    settled(page)

    n_sent = len(wire.sent)
    page.evaluate(RECORD)
    panel.button("▶ Tour").click()
    expect(panel.button("❚❚ Pause")).to_be_visible()
    seen = []
    for _ in range(4):
        before = panel.canvas("mean")
        page.wait_for_function(
            "before => elboRoom.panel.machine.mean.canvas.toDataURL() !== before", arg=before
        )
        seen.append(panel.q["mu"])
    assert len(wire.sent) == n_sent
    page.keyboard.press("Escape")
    expect(panel.button("▶ Tour")).to_be_visible()
    panel.text_in_link("mu=")
    assert len({tuple(mu) for mu in seen}) == 4
    numbers_are_of_one_q(page, model)
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

    page.emulate_media(reduced_motion="reduce")  # then it goes by itself no more
    for end in ends:
        panel.button("▶ Tour").click()
        assert panel.q["mu"] == pytest.approx(end, abs=0.02)
    page.emulate_media(reduced_motion="no-preference")
