import dataclasses
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vae import config
from vae.config import ConfigError, ModelConfig, TrainConfig

MODEL = {"image_shape": (1, 28, 28)}
TRAIN = {"dataset": "digits", "epochs": 3}

MODELS = [
    ModelConfig((1, 28, 28)),
    ModelConfig((3, 5, 7), 16, "conv", (8, 16), "relu", "gaussian"),
    ModelConfig((1, 1, 1), 1, "mlp", (), "tanh", "continuous-bernoulli"),
]
TRAININGS = [
    TrainConfig("digits", 1),
    TrainConfig("mnist", 20, 256, 1e-4, "constant", 4.0, 0.0, seed=2**63 - 1),
    TrainConfig("sprites", 5, beta=1, learning_rate=1),
    TrainConfig("mnist", 9, free_bits=0.25, binarise="all", max_grad_norm=5, patience=3),
    TrainConfig("mnist", 9, weight_average=0.99, precision="bfloat16", binarise="input"),
]


# (setting, value, what the message must hold besides the setting's name)
BAD_MODEL = [
    ("image_shape", None, "None"),
    ("image_shape", "1x28x28", "'1x28x28'"),
    ("image_shape", (28, 28), "(28, 28)"),
    ("image_shape", (1, 1, 28, 28), "(1, 1, 28, 28)"),
    ("image_shape", (), "()"),
    ("image_shape", (2, 28, 28), "(2, 28, 28)"),
    ("image_shape", (1, 0, 28), "[1] (=0) must be at least 1"),
    ("image_shape", (1, 28, -28), "[2] (=-28) must be at least 1"),
    ("image_shape", (1, 28, 1025), "[2] (=1025) must be at most 1024"),
    ("image_shape", (1, 28.0, 28), "[1] (=28.0) must be a whole number"),
    ("image_shape", (True, 28, 28), "[0] (=True) must be a whole number"),
    ("image_shape", {"C": 1}, "{'C': 1}"),
    ("latent_dim", 0, "(=0) must be at least 1"),
    ("latent_dim", -2, "(=-2) must be at least 1"),
    ("latent_dim", 1025, "(=1025) must be at most 1024"),
    ("latent_dim", True, "(=True) must be a whole number"),
    ("latent_dim", 2.0, "(=2.0) must be a whole number"),
    ("latent_dim", math.nan, "(=nan) must be a whole number"),
    ("latent_dim", "2", "(='2') must be a whole number"),
    ("latent_dim", None, "(=None) must be a whole number"),
    ("family", "cnn", "(='cnn') must be one of: mlp, conv"),
    ("family", None, "(=None) must be one of: mlp, conv"),
    ("family", ["mlp"], "(=['mlp']) must be one of: mlp, conv"),
    ("hidden", 256, "(=256) must be a list"),
    ("hidden", "256,128", "(='256,128') must be a list"),
    ("hidden", None, "(=None) must be a list"),
    ("hidden", (256, 0), "[1] (=0) must be at least 1"),
    ("hidden", (16385,), "[0] (=16385) must be at most 16384"),
    ("hidden", (256, False), "[1] (=False) must be a whole number"),
    ("hidden", (64.5,), "[0] (=64.5) must be a whole number"),
    ("hidden", (8,) * 17, "17 layers; it must have at most 16"),
    ("activation", "swish", "(='swish') must be one of: gelu, relu, silu, tanh"),
    ("activation", 1, "(=1) must be one of"),
    ("likelihood", "Bernoulli", "(='Bernoulli') must be one of: bernoulli,"),
    ("likelihood", {}, "(={}) must be one of"),
]
BAD_TRAIN = [
    ("dataset", "", "(='') must be the name of a data set"),
    ("dataset", None, "(=None) must be the name"),
    ("dataset", 3, "(=3) must be the name"),
    ("epochs", 0, "(=0) must be at least 1"),
    ("epochs", -1, "(=-1) must be at least 1"),
    ("epochs", 1_000_001, "(=1000001) must be at most 1000000"),
    ("epochs", 1.5, "(=1.5) must be a whole number"),
    ("epochs", True, "(=True) must be a whole number"),
    ("batch_size", 0, "(=0) must be at least 1"),
    ("batch_size", -64, "(=-64) must be at least 1"),
    ("batch_size", "64", "(='64') must be a whole number"),
    ("learning_rate", 0, "(=0) must be above 0"),
    ("learning_rate", -0.001, "(=-0.001) must be above 0"),
    ("learning_rate", math.nan, "(=nan) must be finite"),
    ("learning_rate", math.inf, "(=inf) must be finite"),
    ("learning_rate", 1e7, "(=10000000.0) must be above 0 and at most 1000000"),
    ("learning_rate", "fast", "(='fast') must be a number"),
    ("learning_rate", True, "(=True) must be a number"),
    ("learning_rate", None, "(=None) must be a number"),
    ("schedule", "linear", "(='linear') must be one of: one-cycle, cosine, constant"),
    ("beta", -1.0, "(=-1.0) must be from 0 to"),
    ("beta", 2e6, "(=2000000.0) must be from 0 to"),
    ("beta", math.nan, "(=nan) must be finite"),
    ("beta", -math.inf, "(=-inf) must be finite"),
    ("beta", [1.0], "(=[1.0]) must be a number"),
    ("beta", False, "(=False) must be a number"),
    ("kl_warmup", -0.1, "(=-0.1) must be from 0 to 1"),
    ("kl_warmup", 1.01, "(=1.01) must be from 0 to 1"),
    ("kl_warmup", math.nan, "(=nan) must be finite"),
    ("kl_warmup", "0.3", "(='0.3') must be a number"),
    ("free_bits", -0.1, "(=-0.1) must be from 0 to"),
    ("free_bits", math.nan, "(=nan) must be finite"),
    ("free_bits", "1", "(='1') must be a number"),
    ("binarise", "yes", "(='yes') must be one of: off, input, all"),
    ("binarise", True, "(=True) must be one of: off"),
    ("max_grad_norm", -1, "(=-1) must be from 0 to"),
    ("max_grad_norm", math.inf, "(=inf) must be finite"),
    ("weight_average", 1, "must be below 1"),
    ("weight_average", 1.5, "(=1.5) must be from 0 to 1"),
    ("weight_average", -0.5, "(=-0.5) must be from 0 to 1"),
    ("patience", -1, "(=-1) must be at least 0"),
    ("patience", 2.5, "(=2.5) must be a whole number"),
    ("patience", True, "(=True) must be a whole number"),
    ("precision", "float16", "(='float16') must be one of: float32, bfloat16"),
    ("precision", "auto", "(='auto') must be one of: float32, bfloat16"),
    ("seed", -1, "(=-1) must be at least 0"),
    ("seed", 2**63, f"(={2**63}) must be at most"),
    ("seed", 0.5, "(=0.5) must be a whole number"),
    ("seed", None, "(=None) must be a whole number"),
]
BAD = [(ModelConfig, MODEL, *case) for case in BAD_MODEL]
BAD += [(TrainConfig, TRAIN, *case) for case in BAD_TRAIN]


@pytest.mark.parametrize(("cls", "usual", "setting", "value", "told"), BAD)
def test_an_unusable_value_is_told_with_its_setting(cls, usual, setting, value, told):
    for make in (lambda values: cls(**values), cls.from_dict):
        with pytest.raises(ConfigError) as raised:
            make({**usual, setting: value})
        assert str(raised.value).startswith(setting)
        assert told in str(raised.value)


def test_there_is_a_bad_value_for_every_setting():
    for cls, cases in ((ModelConfig, BAD_MODEL), (TrainConfig, BAD_TRAIN)):
        assert {case[0] for case in cases} == {field.name for field in dataclasses.fields(cls)}


def test_a_convolutional_model_needs_a_stage_and_a_linear_one_none():
    with pytest.raises(ConfigError, match=r"^hidden \(=\(\)\) .* family 'conv'"):
        ModelConfig((1, 28, 28), family="conv", hidden=())
    assert ModelConfig((1, 28, 28), family="mlp", hidden=()).hidden == ()


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (ModelConfig, {"image_shape": (3, 1024, 1), "latent_dim": 1024}),
        (ModelConfig, {**MODEL, "hidden": (1, 16384, *[2] * 14)}),
        (TrainConfig, {**TRAIN, "epochs": 1_000_000, "batch_size": 1, "seed": 0}),
        (TrainConfig, {**TRAIN, "kl_warmup": 0, "learning_rate": 1e6, "beta": 0}),
        (TrainConfig, {**TRAIN, "weight_average": 0.999999, "max_grad_norm": 0, "free_bits": 0}),
        (TrainConfig, {**TRAIN, "kl_warmup": 1, "batch_size": 1_000_000, "seed": 2**63 - 1}),
    ],
)
def test_the_ends_of_every_range_are_allowed(cls, values):
    made = cls(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize("made", MODELS + TRAININGS)
def test_a_config_survives_json(made):
    again = type(made).from_dict(json.loads(json.dumps(made.to_dict())))
    assert again == made
    assert type(again) is type(made)
    assert hash(again) == hash(made)  # lists have become tuples, so it can key a cache


@pytest.mark.parametrize("made", [MODELS[0], TRAININGS[0]])
def test_a_config_cannot_be_changed(made):
    for field in dataclasses.fields(made):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, field.name, getattr(made, field.name))


def test_to_dict_names_every_setting_with_a_value_json_can_hold():
    assert ModelConfig((1, 8, 8)).to_dict() == {
        "image_shape": (1, 8, 8),
        "latent_dim": 2,
        "family": "mlp",
        "hidden": (256, 256, 128),
        "activation": "gelu",
        "likelihood": "bernoulli",
    }
    assert TrainConfig("digits", 7).to_dict() == {
        "dataset": "digits",
        "epochs": 7,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "schedule": "one-cycle",
        "beta": 1.0,
        "kl_warmup": 0.3,
        "free_bits": 0.0,
        "binarise": "off",
        "max_grad_norm": 0.0,
        "weight_average": 0.0,
        "patience": 0,
        "precision": "float32",
        "seed": 0,
    }


@pytest.mark.parametrize("values", [None, [], "model", 3, [["image_shape", [1, 8, 8]]]])
@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_from_dict_wants_an_object(cls, values):
    with pytest.raises(ConfigError, match=rf"^{cls.__name__} must be a JSON object, not "):
        cls.from_dict(values)


def test_an_unknown_setting_is_told():
    with pytest.raises(ConfigError, match=r"^ModelConfig has no setting 'latent_dims'$"):
        ModelConfig.from_dict({**MODEL, "latent_dims": 2})
    with pytest.raises(ConfigError, match=r"^TrainConfig has no setting 'lr'$"):
        TrainConfig.from_dict({**TRAIN, "lr": 2})
    with pytest.raises(ConfigError, match=r"^TrainConfig has no setting "):
        TrainConfig.from_dict({**TRAIN, "lr": 2, 5: 2, None: 1})


@pytest.mark.parametrize(
    ("cls", "values", "missing"),
    [
        (ModelConfig, {}, "image_shape"),
        (TrainConfig, {"epochs": 3}, "dataset"),
        (TrainConfig, {"dataset": "digits"}, "epochs"),
    ],
)
def test_a_missing_setting_is_told(cls, values, missing):
    with pytest.raises(ConfigError, match=rf"^{cls.__name__} lacks the setting '{missing}'$"):
        cls.from_dict(values)


def nested(depth: int) -> list:
    values = []
    for _ in range(depth):
        values = [values]
    return values


@pytest.mark.parametrize(
    ("cls", "usual", "values"),
    [
        (ModelConfig, MODEL, {"image_shape": [1] * 100_000}),
        (ModelConfig, MODEL, {"image_shape": "x" * 100_000}),
        (ModelConfig, MODEL, {"latent_dim": 10**4000}),
        (ModelConfig, MODEL, {"latent_dim": 10**5000}),  # more digits than Python will print
        (ModelConfig, MODEL, {"hidden": ["x" * 100_000]}),
        (ModelConfig, MODEL, {"hidden": nested(100_000)}),
        (ModelConfig, MODEL, {"family": "x" * 100_000}),
        (ModelConfig, MODEL, {"x" * 100_000: 1}),
        (TrainConfig, TRAIN, {"kl_warmup": 10**4000}),
        (TrainConfig, TRAIN, {"kl_warmup": 10**5000}),
        (TrainConfig, TRAIN, {"beta": -(10**4000)}),
        (TrainConfig, TRAIN, {"dataset": ["x"] * 100_000}),
    ],
)
def test_a_message_stays_a_sentence_whatever_the_value(cls, usual, values):
    with pytest.raises(ConfigError) as raised:
        cls.from_dict({**usual, **values})
    assert len(str(raised.value)) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
WORDS = [*config.FAMILIES, *config.ACTIVATIONS, *config.LIKELIHOODS, *config.SCHEDULES]
NEARLY = st.one_of(
    st.integers(-2, 30),
    st.floats(-1, 2),
    st.sampled_from(WORDS),
    st.lists(st.integers(-1, 40), max_size=5),
)


def near_misses(cls: type) -> st.SearchStrategy:
    """Usable values of every setting, mixed, of which one or two may have been spoilt."""
    examples = MODELS if cls is ModelConfig else TRAININGS
    names = [field.name for field in dataclasses.fields(cls)]
    usable = {n: st.sampled_from([getattr(made, n) for made in examples]) for n in names}
    spoilt = st.dictionaries(st.sampled_from(names), NEARLY | JSON, max_size=2)
    return st.builds(lambda a, b: {**a, **b}, st.fixed_dictionaries(usable), spoilt)


@pytest.mark.parametrize("cls", [ModelConfig, TrainConfig])
def test_from_dict_raises_nothing_but_config_error(cls):
    made = []

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(JSON | near_misses(cls))
    def try_values(values):
        try:
            config = cls.from_dict(values)
        except ConfigError:
            pass
        else:
            assert cls.from_dict(json.loads(json.dumps(config.to_dict()))) == config
            made.append(config)

    try_values()
    assert len(set(made)) > 20  # usable settings are reached too


@pytest.mark.parametrize("name", config.PRESETS)
@pytest.mark.parametrize("n_train", [1, 1438, 60_000])
@pytest.mark.parametrize("family", config.FAMILIES)
def test_a_preset_makes_configs_for_a_data_set_of_any_size(name, n_train, family):
    model, train = config.preset(name, n_train, family)
    assert ModelConfig((1, 28, 28), **model).family == family
    # "auto" is for whoever trains to settle; small layers have no use for it.
    assert train.pop("precision") == ("auto" if n_train == 60_000 else "float32")
    assert TrainConfig("mnist", **train).epochs >= 1


def test_a_preset_reads_as_many_images_whatever_the_batch():
    for name in config.PRESETS:
        _, usual = config.preset(name, 60_000)
        _, other = config.preset(name, 60_000, batch_size=17)
        assert other == usual | {"batch_size": 17}


def test_a_preset_that_there_is_not_is_told_with_those_there_are():
    with pytest.raises(ConfigError, match=r"^preset \(='slow'\) must be one of: quick, "):
        config.preset("slow", 1438)


def test_binarised_training_is_held_against_drawn_images():
    held_out = [TrainConfig("mnist", 1, binarise=b).held_out_dataset for b in config.BINARISE]
    assert held_out == ["mnist", "mnist", "mnist-binarised"]
