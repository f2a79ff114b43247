"""Images that are drawn by hand."""

import numpy as np
import pytest
import torch
from browser.driver import Map, Panel, ring, settled
from playwright.sync_api import expect

from vae.analysis.embedding import embed
from vae.core import gaussian
from vae.data.dataset import Dataset


@pytest.mark.slow
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

    image = page.evaluate("[...elboRoom.panel.selection.drawing.image]")
    x = torch.tensor(image).reshape(1, 1, 8, 8)
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

    panel.button("Best q").click()
    expect(page.locator("table.bound tr")).to_have_count(4)
    bound = panel.bound()
    assert bound["best q"][2] <= bound["encoder's"][2]

    panel.button("Send to Points").click()
    expect(page.get_by_text("Your drawing is on Points.")).to_be_visible()
    tools = page.locator(".live .bar", has=page.get_by_label("thickness"))
    tools.get_by_role("button", name="Clear").click()
    panel.rest()
    assert page.evaluate("elboRoom.panel.drawing.pad.isEmpty")
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
