"""The Explore page without a browser: its numbers, its controls, its axes."""

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from vae import checkpoint, job
from vae.config import ModelConfig, TrainConfig


@pytest.fixture
def explore(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run()


def numbers(app: AppTest) -> list[float]:
    return [float(metric.value) for metric in app.metric]


def pictures(app: AppTest) -> list[str]:
    return [image.value for image in app.image]


def test_the_points_terms_are_those_of_the_stored_embedding(explore, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    expected = [embedding.recon[17], embedding.kl[17], embedding.neg_elbo[17]]
    assert numbers(explore)[:3] == pytest.approx(expected, abs=0.006)
    worse = int((embedding.neg_elbo > embedding.neg_elbo[17]).sum())
    assert numbers(explore)[3] == worse + 1


def test_choosing_a_point_sets_the_sliders_to_its_mu_and_sigma(explore, checkpoints):
    embedding = checkpoint.open_run(checkpoints / "tiny").load_embedding()
    explore.number_input[0].set_value(17).run()
    values = {slider.label: slider.value for slider in explore.slider}
    expected = {
        "μ₁": embedding.mu[17, 0],
        "σ₁": embedding.sigma[17, 0],
        "μ₂": embedding.mu[17, 1],
        "σ₂": embedding.sigma[17, 1],
    }
    assert values == pytest.approx({k: float(v) for k, v in expected.items()})


def test_a_slider_stays_where_it_was_put(explore):
    explore.slider[0].set_value(1.0).run()
    explore.run()
    assert explore.slider[0].value == 1.0


def test_resampling_names_another_seed(explore):
    assert any("seed 0" in caption.value for caption in explore.caption)
    next(button for button in explore.button if button.label == "Resample").click().run()
    assert any("seed 1" in caption.value for caption in explore.caption)


def test_the_kl_under_the_sliders_is_equation_6(explore):
    for slider, value in zip(explore.slider, (1.0, 0.5, -2.0, 1.0), strict=True):
        slider.set_value(value)
    explore.run()
    by_hand = 0.5 * ((-np.log(0.25) - 1 + 0.25 + 1) + (-np.log(1.0) - 1 + 1 + 4))
    assert any(f"{by_hand:.2f} nats, equation (6)" in caption.value for caption in explore.caption)


@pytest.mark.parametrize("split", ["digits training", "digits all"])
def test_another_split_is_embedded_when_it_is_chosen(split, explore):
    explore.sidebar.selectbox[1].set_value(split).run()
    assert not explore.exception
    assert (
        explore.metric[3].label
        == {
            "digits training": "rank of 1,438",
            "digits all": "rank of 1,797",
        }[split]
    )


@pytest.mark.parametrize("colour", ["recon", "KL", "-ELBO", "label"])
def test_every_colour_draws(colour, explore):
    explore.segmented_control[0].set_value(colour).run()
    assert not explore.exception
    assert explore.session_state["colour"] == colour


@pytest.mark.parametrize("latent_dim", [1, 3, 40])
def test_any_number_of_latent_dimensions_has_a_map(app, latent_dim, checkpoints):
    model_config = ModelConfig((1, 8, 8), latent_dim=latent_dim, hidden=(16,))
    list(job.train(checkpoints / "wide", model_config, TrainConfig("digits", epochs=1), "cpu"))
    app.run()
    assert not app.exception
    assert len(app.slider) == 2 * min(latent_dim, 32)
    if latent_dim > 2:
        axes = next(box for box in app.selectbox if box.label == "Axes")
        axes.set_value("principal components").run()
        assert not app.exception


def test_sprites_can_be_coloured_by_the_factors_they_were_made_from(app, checkpoints):
    model_config = ModelConfig((1, 32, 32), hidden=(16,))
    list(job.train(checkpoints / "s", model_config, TrainConfig("sprites", epochs=1), "cpu"))
    app.run()
    app.segmented_control[0].set_value("x").run()
    assert not app.exception
    assert app.segmented_control[0].value == "x"


def test_the_selection_survives_a_visit_to_another_page(explore):
    explore.number_input[0].set_value(23).run()
    explore.segmented_control[0].set_value("KL").run()
    explore.switch_page("pages/train.py").run()
    explore.switch_page("pages/explore.py").run()
    assert explore.number_input[0].value == 23
    assert explore.segmented_control[0].value == "KL"
