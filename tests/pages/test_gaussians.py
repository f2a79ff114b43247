"""The Gaussians page without a browser: presets, fields, the walk-through, the variants."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pages.live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae.analysis.embedding import Embedding, embed
from vae.config import ModelConfig, TrainConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.data import catalogue
from vae.lessons import gaussian_pair, kl_steps
from vae.lessons.gaussian_pair import Pair
from vae.runs import checkpoint

NUMBER = re.compile(r"-?\d+\.\d{3}(?!\d)")
PRESETS = ["Two Gaussians", "A posterior and the prior", "Two classes", "Near-singular"]
PRESETS += ["Identical"]


class Plane(LivePanel):
    """The browser's side of the plane."""

    @property
    def _proto(self) -> Any:
        (found,) = (proto for proto in self._protos if '"plane"' in proto.json)
        return found

    @property
    def pair(self) -> Pair:
        data = self.data
        return gaussian_pair.pair(*(data[name][part] for name in "PQ" for part in ("mu", "cov")))

    def drag(self, pair: Pair, **more: Any) -> AppTest:
        """The hand lets go of a pair."""
        mu1, cov1, mu2, cov2 = (values.tolist() for values in pair)
        told = {"P": {"mu": mu1, "cov": cov1}, "Q": {"mu": mu2, "cov": cov2}}
        told |= {"map": "P", "size": 10_000, "seed": 0, "special": False}
        return self.trigger("pair", told | more)


@pytest.fixture
def page(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/gaussians.py").run()


@pytest.fixture
def embedding(checkpoints):
    return checkpoint.open_run(checkpoints / "tiny").load_embedding()


def choose(page: AppTest, preset: str) -> AppTest:
    page.button_group(key="gaussians_preset").set_value(preset).run()
    assert not page.exception
    return page


def go(page: AppTest, place: str) -> AppTest:
    page.segmented_control(key="gaussians_in").set_value(place).run()
    assert not page.exception
    return page


def all_text(page: AppTest) -> str:
    shown = [*page.caption, *page.markdown, *page.warning, *page.error]
    return "\n".join(str(element.value) for element in shown).replace("\\", "")


def tables(page: AppTest) -> str:
    return "\n".join(str(element.proto.body) for element in page.get("html"))


def walked(page: AppTest) -> list[str]:
    """The formulas of the walk-through."""
    return [element.value.strip("$\n") for element in page.latex]


def says_what_the_library_says(page: AppTest, pair: Pair, **options: Any) -> None:
    steps = kl_steps.steps(pair, **options)
    expected = [line for step in steps for line in (step.formula, *step.numbers)]
    assert walked(page) == expected
    text = " ".join(walked(page))
    for way in (pair, pair.swapped):
        parts = gaussian.kl_parts(*way)
        for value in (*parts[:1], *parts[2:], parts.kl):
            assert f"{float(value):.3f}".replace("-0.000", "0.000") in NUMBER.findall(text)


def test_the_page_opens_with_two_gaussians_and_their_derivation(page):
    assert not page.exception
    pair = Plane(page).pair
    torch.testing.assert_close(tuple(pair), tuple(gaussian_pair.tilted(2)))
    says_what_the_library_says(page, pair)
    assert len(page.tabs) == 8


def test_what_the_hand_let_go_of_is_in_the_fields_and_in_the_walk_through(page):
    dragged = gaussian_pair.pair(
        [1.5, -0.25], [[0.3, -0.1], [-0.1, 0.7]], [0, 1], [[2, 0.5], [0.5, 1]]
    )
    Plane(page).drag(dragged, size=1000, seed=4, map="Q")
    assert not page.exception
    assert page.number_input(key="plane_P_μ₁").value == 1.5
    assert page.number_input(key="plane_P_s₁₂").value == -0.1
    assert page.number_input(key="plane_Q_s₂₂").value == 1
    says_what_the_library_says(page, dragged, n_samples=1000, seed=4)
    assert page.button_group(key="gaussians_preset").value in (None, [])
    page.switch_page("pages/points.py").run().switch_page("pages/gaussians.py").run()
    plane = Plane(page)
    torch.testing.assert_close(tuple(plane.pair), tuple(dragged))
    assert (plane.data["size"], plane.data["seed"], plane.data["map"]) == (1000, 4, "Q")
    assert not page.exception


def test_the_hands_own_pair_is_not_sent_back_as_new(page):
    before = Plane(page).data["set"]
    Plane(page).drag(gaussian_pair.near_singular(2))
    assert Plane(page).data["set"] == before
    # As a browser says it that has not yet heard what became of the first.
    page.button_group(key="gaussians_preset").set_value("Two Gaussians")
    Plane(page).drag(gaussian_pair.near_singular(2), map="Q")
    assert Plane(page).data["set"] == before
    page.number_input(key="plane_P_μ₁").set_value(2.0).run()
    assert Plane(page).data["set"] == before + 1


def test_a_typed_number_moves_the_plane(page):
    page.number_input(key="plane_Q_s₁₂").set_value(0.5).run()
    pair = Plane(page).pair
    assert pair.cov2.tolist() == [[1.1, 0.5], [0.5, 1.6]]
    assert torch.equal(pair.cov1, gaussian_pair.tilted(2).cov1)
    says_what_the_library_says(page, pair)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("P_s₁₂", 2.0, "s12 of P (=2) must lie between -0.6364 and 0.6364"),
        ("P_s₁₁", -1.0, "s11 of P (=-1) is a variance and must be above 0"),
        ("Q_s₂₂", 0.0, "s22 of Q (=0) is a variance and must be above 0"),
    ],
)
def test_what_makes_no_gaussian_is_one_sentence_and_the_page_lives(page, field, value, sentence):
    before = Plane(page).pair
    page.number_input(key=f"plane_{field}").set_value(value).run()
    assert not page.exception
    (warning,) = page.warning
    assert sentence in warning.value.replace("\\", "")
    assert "last good pair stays" in warning.value
    assert page.number_input(key=f"plane_{field}").value == value  # to be mended, not lost
    torch.testing.assert_close(tuple(Plane(page).pair), tuple(before))
    says_what_the_library_says(page, before)

    good = {"P_s₁₂": 0.1, "P_s₁₁": 2.0, "Q_s₂₂": 3.0}[field]
    page.number_input(key=f"plane_{field}").set_value(good).run()
    assert not page.warning
    mended = Plane(page).pair
    assert any(not torch.equal(a, b) for a, b in zip(mended, before, strict=True))


def test_a_bad_covariance_can_be_mended_by_another_field(page):
    page.number_input(key="plane_P_s₁₂").set_value(2.0).run()
    page.number_input(key="plane_P_s₁₁").set_value(10.0).run()
    assert not page.warning
    assert Plane(page).pair.cov1.tolist() == [[10, 2], [2, 0.45]]


def test_a_drag_ends_a_complaint(page):
    page.number_input(key="plane_P_s₁₂").set_value(2.0).run()
    Plane(page).drag(gaussian_pair.near_singular(2))
    assert not page.warning
    assert page.number_input(key="plane_P_s₁₂").value == pytest.approx(0.4998)


@pytest.mark.parametrize(
    "told",
    [
        None,
        "x",
        [1, 2],
        {},
        {
            "P": {"mu": [0, 0], "cov": [[1, 2], [2, 1]]},
            "Q": {"mu": [0, 0], "cov": [[1, 0], [0, 1]]},
        },
        {"P": {"mu": [0], "cov": [[1]]}, "Q": {"mu": [0], "cov": [[1]]}},
        {"P": {"mu": [None, 0], "cov": [[1, 0], [0, 1]]}, "Q": {}},
    ],
)
def test_nonsense_from_the_browser_is_ignored(page, told):
    before = Plane(page).pair
    Plane(page).trigger("pair", told)
    assert not page.exception
    torch.testing.assert_close(tuple(Plane(page).pair), tuple(before))


# Presets


def test_a_posterior_and_the_prior_shows_equation_6_and_the_loss(page, embedding):
    choose(page, "A posterior and the prior")
    page.number_input(key="pick_point").set_value(7).run()
    plane = Plane(page)
    expected = gaussian_pair.posterior_and_prior(embedding, 7, (0, 1))
    torch.testing.assert_close(tuple(plane.pair), tuple(expected))
    assert plane.data["special"] is True
    assert plane.data["axes"] == ["z₁", "z₂"]
    loss = kl_steps.Loss(7, float(embedding.recon[7]), float(embedding.kl[7]))
    says_what_the_library_says(page, expected, loss=loss)
    assert f"{embedding.kl[7]:.3f}" in walked(page)[-1]
    assert f"{embedding.neg_elbo[7]:.3f}" in walked(page)[-1]
    assert "q(z|x) of point 7" in all_text(page)
    page.switch_page("pages/points.py").run()
    assert page.number_input(key="pick_point").value == 7


def test_two_classes_are_their_aggregate_posteriors(page, embedding):
    choose(page, "Two classes")
    page.selectbox(key="gaussians_second_class").set_value(8).run()
    assert not page.exception
    expected = gaussian_pair.two_classes(embedding, 0, 8, (0, 1))
    torch.testing.assert_close(tuple(Plane(page).pair), tuple(expected))
    assert "class 0, Q class 8" in all_text(page)


@pytest.mark.parametrize(
    ("preset", "make"),
    [("Near-singular", gaussian_pair.near_singular), ("Identical", gaussian_pair.identical)],
)
def test_the_other_presets_need_no_model(page, preset, make):
    choose(page, preset)
    torch.testing.assert_close(tuple(Plane(page).pair), tuple(make(2)))
    says_what_the_library_says(page, make(2))


@pytest.mark.parametrize("preset", PRESETS)
def test_without_any_checkpoint_the_page_lives(app, checkpoints, preset):
    page = app.run().switch_page("pages/gaussians.py").run()
    choose(page, preset)
    needs_one = preset in ("A posterior and the prior", "Two classes")
    assert ("No checkpoint can be opened" in all_text(page)) == needs_one
    assert len(walked(page)) > 8
    assert not page.error


def test_a_broken_model_costs_its_two_presets_alone(page, checkpoints):
    (checkpoints / "tiny" / "model.safetensors").write_bytes(b"no weights")
    for preset in PRESETS[1:]:
        choose(page, preset)
        assert len(walked(page)) > 8


def untrained(path: Path, latent_dim: int) -> Embedding:
    """Puts a run of that many latent dimensions there; its embedding."""
    config = ModelConfig((1, 8, 8), latent_dim=latent_dim, hidden=(16,))
    model = VAE(config, torch.Generator().manual_seed(0))
    run = checkpoint.create(path, config, TrainConfig("digits", epochs=1))
    checkpoint.save_model(run, model)
    found = embed(model, catalogue.load("digits", "test"))
    checkpoint.save_embedding(run, found)
    return found


@pytest.mark.parametrize("place", ["plane", "line", "k dimensions"])
@pytest.mark.parametrize("latent_dim", [1, 5, 20])
def test_a_model_of_any_size_is_looked_at_in_any_variant(app, checkpoints, latent_dim, place):
    embedding = untrained(checkpoints / "other", latent_dim)
    page = go(app.run().switch_page("pages/gaussians.py").run(), place)
    choose(page, "Two classes")
    choose(page, "A posterior and the prior")
    k = min(latent_dim, {"plane": 2, "line": 1}.get(place, 16))
    chosen = gaussian_pair.telling_dimensions(embedding, k)
    expected = gaussian_pair.posterior_and_prior(embedding, 0, chosen)
    if place == "plane":
        expected = expected.with_dimensions(2)
        torch.testing.assert_close(tuple(Plane(page).pair), tuple(expected))
    else:
        total = gaussian.kl_between(*expected)
        assert f"{float(total):.3f}" in tables(page)
    assert ("Marginals" in all_text(page)) == (k < latent_dim)
    assert "only some" in all_text(page) or k == latent_dim


# Variants


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(("place", "k"), [("line", 1), ("k dimensions", None)])
def test_every_preset_in_every_variant(page, preset, place, k):
    go(page, place)
    choose(page, preset)
    k = k or (2 if preset in ("A posterior and the prior", "Two classes") else 4)
    assert f"−{k}.000" in tables(page)
    assert len(walked(page)) > 8


def test_the_line_shows_the_terms_of_the_library(page):
    go(page, "line")
    for key, value in (("P_μ", 1.0), ("P_σ", 0.5), ("Q_μ", 0.0), ("Q_σ", 2.0)):
        page.number_input(key=f"line_{key}").set_value(value).run()
    pair = gaussian_pair.pair([1], [[0.25]], [0], [[4]])
    says_what_the_library_says(page, pair)
    for way in (pair, pair.swapped):
        parts = gaussian.kl_parts(*way)
        sample = gaussian.sample_kl(*way, 10_000, torch.Generator().manual_seed(0))
        values = [*parts, parts.kl, parts.trace + parts.mahalanobis, *sample]
        for value in values:
            assert f"{float(value):.3f}".replace("-", "−") in tables(page)
    before = tables(page)
    next(b for b in page.button if b.label == "Resample").click().run()
    assert tables(page) != before


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_a_width_that_is_none_is_one_sentence(page, sigma):
    go(page, "line")
    before = tables(page)
    page.number_input(key="line_P_σ").set_value(sigma).run()
    (warning,) = page.warning
    assert f"of P (={sigma:g}) must be above 0" in warning.value.replace("\\", "")
    assert tables(page) == before


def test_k_dimensions_keep_what_both_have(page):
    go(page, "k dimensions")
    page.number_input(key="gaussians_k").set_value(6).run()
    assert "−6.000" in tables(page)
    assert len(page.dataframe[0].value) == 6
    says_what_the_library_says(page, gaussian_pair.tilted(6))


def test_a_diagonal_pair_is_split_by_dimension(page):
    go(page, "k dimensions")
    assert not page.get("plotly_chart")
    choose(page, "A posterior and the prior")
    assert len(page.get("plotly_chart")) == 1


def test_the_tables_hold_means_and_covariances(page):
    go(page, "k dimensions")
    pair = gaussian_pair.tilted(4)
    for table, mu, cov in zip(
        page.dataframe, (pair.mu1, pair.mu2), (pair.cov1, pair.cov2), strict=True
    ):
        values: pd.DataFrame = table.value
        np.testing.assert_allclose(values["μ"], mu)
        np.testing.assert_allclose(values.iloc[:, 2:].astype(float), cov)


def test_each_variant_keeps_a_pair_of_its_own(page):
    dragged = gaussian_pair.near_singular(2)
    Plane(page).drag(dragged)
    go(page, "line")
    go(page, "plane")
    torch.testing.assert_close(tuple(Plane(page).pair), tuple(dragged))
