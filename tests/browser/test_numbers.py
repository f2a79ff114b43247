"""One point has one number, wherever it is read."""

import csv
import io

import pytest
from browser.driver import Panel, settled, stated_on
from playwright.sync_api import expect

POINT = 100
NAMES = ("recon", "KL", "neg_ELBO")


@pytest.mark.slow
def test_the_terms_of_a_point_agree_on_the_pages_and_the_command_line(
    new_page, server, embedding, vae
):
    path = server.checkpoints / "digits-2d"
    _, written, _ = vae("terms", path)
    row = next(row for row in csv.DictReader(io.StringIO(written)) if row["index"] == str(POINT))
    terms = [float(row[name]) for name in NAMES]
    same = pytest.approx(terms, abs=0.006)

    page = new_page(f"/?run=digits-2d&point={POINT}")
    assert Panel(page).bound()["encoder's"] == same
    assert stated_on(page) == same
    page.get_by_role("link", name="Points", exact=True).click()
    expect(page.get_by_test_id("stMetricValue")).to_have_count(4)
    settled(page)
    shown = page.get_by_test_id("stMetricValue").all_inner_texts()[:3]
    assert [float(value) for value in shown] == same

    # Inference takes 4,096 draws where the tables take 16, and says so.
    error = embedding.recon_stderr[POINT]
    page.get_by_role("link", name="Inference", exact=True).click()
    bound = page.get_by_test_id("stMetric").filter(has_text="ELBO, nats")
    expect(bound).to_be_visible()
    settled(page)
    elbo = float(bound.get_by_test_id("stMetricValue").inner_text())
    assert abs(elbo + terms[2]) < 4 * error + 0.006


def test_a_checkpoint_has_one_cost(new_page, server, vae):
    _, listed, _ = vae("list", "--folder", server.checkpoints)
    page = new_page("/?run=digits-2d")
    card = page.locator("dl.card")
    expect(card).to_be_visible()
    text = card.inner_text()
    cost = text.partition("held-out -ELBO")[2].split()[0]
    assert cost in listed
