"""The Diagnose page without a browser: the verdict, every check, what is missing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from vae.analysis import measures
from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ["Units", "Aggregate posterior", "Marginals", "Calibration", "Neighbours", "Outliers"]


@pytest.fixture
def page(app, checkpoints) -> AppTest:
    shutil.copytree(ROOT / "checkpoints" / "digits-2d", checkpoints / "digits-2d")
    return app.run().switch_page("pages/diagnose.py").run()


def no_trouble(page: AppTest) -> None:
    assert not page.exception
    assert not page.error
    assert not page.warning


def headline(page: AppTest) -> str:
    return page.main.markdown[0].value


def metrics(page: AppTest) -> dict[str, str]:
    return {m.label: m.value for m in page.metric}


def open_check(page: AppTest, check: str) -> str:
    page.segmented_control(key="check").set_value(check).run()
    no_trouble(page)
    return " ".join(caption.value for caption in page.caption)


def test_what_ships_is_healthy_and_its_figures_are_the_librarys(page, checkpoints):
    no_trouble(page)
    assert "Healthy" in headline(page)
    embedding = checkpoint.open_run(checkpoints / "digits-2d").load_embedding()
    shown = metrics(page)
    assert shown["dimensions in use"] == "2 of 2"
    assert float(shown["mean KL, nats"]) == pytest.approx(embedding.kl.mean(), abs=0.006)
    parts = float(shown["I(x; z), nats"]) + float(shown["KL(q(z), p(z)), nats"])
    assert parts == pytest.approx(embedding.kl.mean(), abs=0.15)


def test_a_beta_of_100_is_called_collapsed_and_what_to_try(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "collapsed", epochs=3, beta=100.0)
    app.run().switch_page("pages/diagnose.py").run()
    no_trouble(app)
    assert "Collapsed" in headline(app)
    text = app.main.markdown[1].value
    assert "none of the latent dimensions is used" in text
    assert "lower beta than 100" in text
    assert metrics(app)["dimensions in use"] == "0 of 2"
    for check in CHECKS:
        open_check(app, check)


def test_each_check_opens(page):
    for check, words in {
        "Units": "None is below the line.",
        "Aggregate posterior": "Hoffman & Johnson",
        "Marginals": "Kolmogorov's distance",
        "Calibration": "what it said",
        "Neighbours": "Trustworthiness",
        "Outliers": "of 359 points lie beyond the line",
    }.items():
        assert words in open_check(page, check)


def test_the_answer_moves_with_the_threshold(page, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "digits-2d").load_embedding()
    found = measures.units(embedding.mu, embedding.kl_per_dim)
    assert metrics(page)["by mean KL > 0.01 nats"] == "2 of 2"
    page.select_slider(key="active_above").set_value(1.0).run()
    no_trouble(page)
    shown = metrics(page)
    assert shown["by mean KL > 1 nats"] == f"{found.active_by_kl(1.0).sum()} of 2"
    assert shown["by Var[μ] > 1"] == f"{found.active_by_variance(1.0).sum()} of 2"
    page.select_slider(key="active_above").set_value(5.0).run()
    assert any(c.value == "Below the line: z₁, z₂." for c in page.caption)


def test_the_costliest_points_come_first(page, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "digits-2d").load_embedding()
    open_check(page, "Outliers")
    assert page.dataframe[0].value["point"].iloc[0] == int(np.argmax(embedding.neg_elbo))
    page.segmented_control(key="diagnose_order").set_value("KL").run()
    no_trouble(page)
    assert page.dataframe[0].value["point"].iloc[0] == int(np.argmax(embedding.kl))


@pytest.mark.parametrize("latent_dim", [1, 3])
def test_other_numbers_of_dimensions(app, checkpoints, latent_dim, tiny_run):
    tiny_run(checkpoints / "other", latent_dim=latent_dim)
    app.run().switch_page("pages/diagnose.py").run()
    for check in CHECKS:
        open_check(app, check)
        if latent_dim == 3 and check == "Aggregate posterior":
            app.selectbox(key="diagnose_dimension_x").set_value(2).run()
            no_trouble(app)


def test_a_normal_likelihood_has_residuals(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "normal", likelihood="gaussian")
    app.run().switch_page("pages/diagnose.py").run()
    assert "deviation" in open_check(app, "Calibration")


def test_where_images_are_not_at_hand_the_rest_lives(app, checkpoints, no_data):
    shutil.copytree(ROOT / "checkpoints" / "mnist-10d", checkpoints / "mnist-10d")
    app.run().switch_page("pages/diagnose.py").run()
    no_trouble(app)
    assert "Healthy" in headline(app)
    assert metrics(app)["calibration error"] == "n/a"
    for check in CHECKS:
        text = open_check(app, check)
        if check in ("Calibration", "Neighbours"):
            assert "not at hand" in text


def test_weights_that_diverged_are_text(app, checkpoints, tiny_run):
    run = tiny_run(checkpoints / "tiny")
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias.fill_(float("inf"))
    checkpoint.save_model(run, model)
    (run.path / checkpoint.EMBEDDING).unlink()
    app.run().switch_page("pages/diagnose.py").run()
    assert not app.exception
    text = " ".join(e.value for e in [*app.main.markdown, *app.error])
    assert "not finite" in text or "finite" in text


def test_with_no_checkpoint_there_is_a_way_to_one(app, checkpoints):
    app.run().switch_page("pages/diagnose.py").run()
    assert not app.exception
    assert any("This server has no checkpoint" in info.value for info in app.info)


@pytest.mark.parametrize("objective", ["elbo", "evidence"])
def test_of_curves_of_two_objectives_no_verdict_is_made(app, checkpoints, tiny_run, objective):
    tiny_run(checkpoints / "tiny", objective=objective, lattice_points=64, epochs=4)
    app.run().switch_page("pages/diagnose.py").run()
    no_trouble(app)
    said = " ".join(str(e.value) for e in (*app.main.markdown, *app.main.caption))
    assert ("still improving at its end" in said) == (objective == "elbo")
