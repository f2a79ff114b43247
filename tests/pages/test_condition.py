"""The pages on a model with a condition, under own labels and under one class."""

import numpy as np
import pytest
from pages.answers import captions, stated_terms
from streamlit.testing.v1 import AppTest

from vae.analysis.embedding import embed
from vae.config import ModelConfig, TrainConfig
from vae.data import catalogue
from vae.runs import job
from vae.runs.checkpoint import open_run

PAGES = (
    *("explore", "points", "inference", "diagnose", "traverse"),
    *("compare", "gaussians", "train", "learn"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two small conditional runs in one folder."""
    folder = tmp_path_factory.mktemp("conditional")
    for name, seed in (("c1", 0), ("c2", 1)):
        train = TrainConfig("digits", 8, 64, condition="label", seed=seed)
        list(job.train(folder / name, ModelConfig((1, 8, 8), hidden=(32,)), train, "cpu"))
    return folder


@pytest.fixture
def conditional(app, trained, monkeypatch) -> AppTest:
    monkeypatch.setenv("VAE_CHECKPOINTS", str(trained))
    return app


def text(app: AppTest) -> str:
    shown = [*app.caption, *app.markdown, *app.error, *app.warning]
    return "\n".join(element.value for element in shown).replace("\\", "")


def picker(app: AppTest):
    return next(group for group in app.sidebar.get("button_group") if group.label == "Given class")


@pytest.mark.few(9)
@pytest.mark.parametrize("chosen", ["own", "3"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_works(conditional, page, chosen):
    conditional.query_params["class"] = chosen
    conditional.run().switch_page(f"pages/{page}.py").run()
    assert not conditional.exception
    assert not conditional.error
    assert not conditional.warning
    assert conditional.query_params["class"] in (chosen, [chosen])


def test_the_terms_are_those_of_the_class(conditional, trained):
    model, digits = open_run(trained / "c1").load_model(), catalogue.load("digits")
    conditional.run()
    conditional.number_input[0].set_value(17).run()
    for chosen in ("own label", 3):
        if chosen == 3:
            picker(conditional).set_value("3").run()
        found = embed(model, digits, condition=chosen)
        expected = [found.recon[17], found.kl[17], found.neg_elbo[17]]
        assert stated_terms(conditional) == pytest.approx(expected, abs=0.006)
    assert conditional.query_params["class"] in ("3", ["3"])
    assert "Given class 3" in captions(conditional)


def test_log_px_of_a_point_is_that_of_its_label(conditional, trained):
    model, digits = open_run(trained / "c1").load_model(), catalogue.load("digits")
    from vae.inference import evidence

    few = digits.first(6)
    for chosen, condition in (("own", "own label"), ("7", 7)):
        conditional.query_params["class"] = chosen
        conditional.query_params["point"] = "5"
        conditional.run().switch_page("pages/inference.py").run()
        shown = float(conditional.metric[0].value)
        exact = evidence.exact(model, few, condition=condition)
        assert shown == pytest.approx(float(exact.log_px[5]), abs=0.006)


def test_no_class_is_asked_for_where_there_is_no_condition(explore):
    groups = explore.sidebar.get("button_group")
    assert not [group for group in groups if group.label == "Given class"]
    explore.query_params["class"] = "3"
    explore.run()
    assert not explore.exception


def test_a_class_of_a_link_that_there_is_not(conditional):
    conditional.query_params["class"] = "12"
    conditional.run()
    assert not conditional.exception
    assert conditional.query_params["class"] in ("own", ["own"])


def test_the_two_of_compare_are_under_the_same_class(conditional, trained):
    digits = catalogue.load("digits")
    conditional.query_params["class"] = "4"
    conditional.run().switch_page("pages/compare.py").run()
    c1, c2 = (embed(open_run(trained / n).load_model(), digits, condition=4) for n in ("c1", "c2"))
    difference = float(np.mean(c2.neg_elbo - c1.neg_elbo))
    assert f"{abs(difference):.2f}" in text(conditional)
