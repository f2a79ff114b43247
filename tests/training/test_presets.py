import pytest

from vae.config import FAMILIES, ConfigError, ModelConfig, TrainConfig
from vae.training import presets
from vae.training.objectives import check_objective


@pytest.mark.parametrize("name", presets.PRESETS)
@pytest.mark.parametrize("n_train", [1, 1438, 60_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_preset_makes_configs_for_a_data_set_of_any_size(name, n_train, family):
    model, train = presets.preset(name, n_train, family)
    assert ModelConfig((1, 28, 28), **model).family == family
    # "auto" is for whoever trains to settle; small layers have no use for it.
    assert train.pop("precision") == ("auto" if n_train == 60_000 else "float32")
    assert TrainConfig("mnist", **train).epochs >= 1


def test_a_preset_reads_as_many_images_whatever_the_batch():
    for name in presets.PRESETS:
        _, usual = presets.preset(name, 60_000)
        _, other = presets.preset(name, 60_000, batch_size=17)
        assert other == usual | {"batch_size": 17}


def test_a_preset_that_there_is_not_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^preset \(='slow'\) must be one of: quick, "):
        presets.preset("slow", 1438)


@pytest.mark.parametrize("name", presets.PRESETS)
def test_images_share_a_lattice_in_large_batches_of_a_large_data_set_alone(name):
    def batch(n_train: int, objective: str) -> int:
        return presets.preset(name, n_train, objective=objective)[1]["batch_size"]

    assert batch(60_000, "evidence") > batch(60_000, "elbo") == batch(60_000, "best")
    assert batch(1438, "evidence") == batch(1438, "elbo")
    _, train = presets.preset(name, 60_000, objective="evidence")
    train["precision"] = "float32"
    check_objective(
        ModelConfig((1, 28, 28)), TrainConfig("mnist", objective="evidence", **train), 60_000
    )
