"""The Inference page without a browser: the sum, the sections, the derivation, bad input."""

import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from vae.core.elbo import log_likelihood
from vae.data import catalogue
from vae.data.dataset import to_unit
from vae.inference import gap
from vae.inference.density import Lattice
from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def page(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/inference.py").run()


@pytest.fixture
def run(page, checkpoints) -> checkpoint.Run:
    return checkpoint.open_run(checkpoints / "tiny")


def no_trouble(page: AppTest) -> None:
    assert not page.exception
    assert not page.error
    assert not page.warning


def metrics(page: AppTest) -> dict[str, float]:
    return {m.label: float(m.value.replace(",", "")) for m in page.metric}


def numbers_of(page: AppTest) -> str:
    return " ".join(element.value for element in page.latex)


def test_the_sum_on_the_page_is_the_librarys_and_closes(page, run):
    no_trouble(page)
    model = run.load_model().requires_grad_(False)
    x = to_unit(catalogue.load("digits").images[0])
    found = gap.infer(model, x, 0, lattice=Lattice(model))
    shown = metrics(page)
    assert shown["log p(x), nats"] == pytest.approx(found.log_px, abs=0.006)
    assert shown["ELBO, nats"] == pytest.approx(found.elbo, abs=0.006)
    assert shown["gap, nats"] == pytest.approx(found.gap, abs=0.006)
    assert shown["left over"] == pytest.approx(found.residual, abs=6e-4)
    parts = shown["ELBO, nats"] + shown["gap, nats"] + shown["left over"]
    assert parts == pytest.approx(shown["log p(x), nats"], abs=0.02)


def test_the_gap_is_split_once_the_best_gaussian_is_found(page):
    (caption,) = (c.value for c in page.caption if "amortisation" in c.value)
    parts = [float(value) for value in re.findall(r"(\d+\.\d\d) ", caption)]
    assert sum(parts[:2]) == pytest.approx(metrics(page)["gap, nats"], abs=0.011)


def test_another_point_has_other_numbers_and_the_choice_is_shared(page):
    before = metrics(page)
    page.number_input[0].set_value(7).run()
    no_trouble(page)
    assert metrics(page) != before
    page.switch_page("pages/points.py").run()
    assert page.number_input[0].value == 7


def test_every_number_of_the_walk_through_is_the_librarys(page, run):
    model = run.load_model().requires_grad_(False)
    x = to_unit(catalogue.load("digits").images[0])
    lattice = Lattice(model)
    found = gap.infer(model, x, 0, lattice=lattice)
    split = gap.split_gap(model, x, 0, found, lattice)
    text = numbers_of(page)
    for value in (
        *(found.log_px, found.elbo, found.gap, found.kl, found.residual),
        *found.kl_per_dim.tolist(),
        *(split.amortisation, split.approximation),
        float(log_likelihood(model, x[None], found.mu[None])),
        float(found.weighted(10_000)[0]),
    ):
        assert f"{value:.3f}" in text, value


def test_each_section_opens(page):
    for section, words in {
        "Monte Carlo": "closed form",
        "Gradients": "same mean",
        "Importance weights": "log p(x)",
    }.items():
        page.segmented_control(key="section").set_value(section).run()
        no_trouble(page)
        assert words in " ".join(caption.value for caption in page.caption)


def test_a_step_of_the_derivation_opens_the_section_that_shows_it(page):
    assert page.segmented_control(key="section").value == "Importance weights"
    page.button(key="show_Gradients").click().run()
    assert page.segmented_control(key="section").value == "Gradients"
    no_trouble(page)


def test_more_draws_and_another_seed_change_the_estimates(page):
    page.segmented_control(key="section").set_value("Monte Carlo").run()
    few = [c.value for c in page.caption if c.value.startswith("1,000 draws with seed 0")]
    assert len(few) == 2
    page.select_slider(key="inference_L_draws").set_value(3000).run()
    assert any(c.value.startswith("3,000 draws with seed 0") for c in page.caption)
    next(b for b in page.button if b.label == "Draw again").click().run()
    assert any(c.value.startswith("3,000 draws with seed 1") for c in page.caption)
    no_trouble(page)


def test_annealing_is_told_when_asked_for(page, monkeypatch):
    from vae.inference import annealing

    def quick(model, x, generator, progress=None):
        if progress:
            progress(1, 1)
        return annealing.Annealed(*(torch.tensor([v]) for v in (-12.5, 0.25, 9.0, 0.65)))

    monkeypatch.setattr(annealing, "annealed_log_px", quick)
    next(b for b in page.button if b.label == "Anneal from the prior").click().run()
    no_trouble(page)
    assert any("log p(x) = -12.50 ± 0.25 nats" in c.value for c in page.caption)


def test_the_whole_set_is_offered_computed_and_kept(page, run):
    page.segmented_control(key="section").set_value("The whole set").run()
    no_trouble(page)
    button = next(b for b in page.button if "Compute log p(x)" in b.label)
    button.click().run()
    for _ in range(600):  # in a thread that lets every other go first
        if run.load_evidence("digits", "test") is not None:
            break
        time.sleep(0.2)
    page.run()
    page.run()
    no_trouble(page)
    found = run.load_evidence("digits", "test")
    assert any(f"mean gap {found.gap.mean():.2f}" in c.value for c in page.caption)
    worst = page.dataframe[0].value
    assert worst["point"].iloc[0] == int(np.argmax(found.gap))


def test_where_images_are_not_at_hand_the_rest_lives(app, checkpoints, no_data):
    shutil.copytree(ROOT / "checkpoints" / "mnist-2d", checkpoints / "mnist-2d")
    app.run().switch_page("pages/inference.py").run()
    assert not app.exception
    assert any("not at hand" in caption.value for caption in app.caption)
    assert app.number_input[0].value == 33  # where the app opens


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_other_numbers_of_dimensions(app, checkpoints, latent_dim, tiny_run):
    tiny_run(checkpoints / "other", latent_dim=latent_dim)
    app.run().switch_page("pages/inference.py").run()
    no_trouble(app)
    shown = " ".join(caption.value for caption in app.caption)
    sections = app.segmented_control(key="section").options
    if latent_dim == 1:
        assert "integrated on" in shown
        assert "Importance weights" in sections
    else:
        assert "With k = 3 latent dimensions p(z|x) cannot be integrated" in shown
        assert "Importance weights" not in sections
    assert metrics(app)["gap, nats"] > -0.1


def test_a_decoder_that_is_finite_nowhere_is_one_sentence(app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    model = run.load_model()
    with torch.no_grad():
        model.decoder.body[-2].bias.fill_(3e38)
        model.decoder.body[-2].weight.fill_(3e38)
    checkpoint.save_model(run, model)
    (run.path / checkpoint.EMBEDDING).unlink()
    app.run().switch_page("pages/inference.py").run()
    assert not app.exception
    told = " ".join(w.value for w in [*app.warning, *app.error])
    assert "finite" in told or "Nothing can be inferred" in told
