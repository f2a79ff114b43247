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


SETTINGS = [
    (cls, usual, name, setting)
    for cls, usual in ((ModelConfig, MODEL), (TrainConfig, TRAIN))
    for name, setting in config.settings(cls).items()
]


def unusable(setting: config.Setting) -> list[tuple[object, str]]:
    """Values that a setting of that kind cannot have, and what the message says of each."""
    low, high = setting.minimum, setting.maximum
    number = "must be a whole number" if setting.kind is int else "must be a number"
    if setting.kind is str:
        if not setting.choices:
            return [(value, "must be a name") for value in ("", None, 3)]
        said = f"must be one of: {', '.join(setting.choices)}"
        return [(v, said) for v in ("", "Nonesuch", None, 3, True, {}, [setting.choices[0]])]
    if setting.kind is tuple:
        lists = [(v, "must be a list") for v in (256, "256,128", None, {})]
        return [
            *lists,
            ((8, low - 1), f"[1] (={low - 1}) must be at least {low}"),
            ((high + 1,), f"[0] (={high + 1}) must be at most {high}"),
            ((8, False), "[1] (=False) must be a whole number"),
            ((64.5,), "[0] (=64.5) must be a whole number"),
            ((8,) * 17, "17 layers; it must have at most 16"),
        ]
    words = [(v, number) for v in (True, "2", None, [1.0])]
    if setting.kind is int:
        words += [(v, number) for v in (2.5, 2.0, math.nan)]
        return [*words, (low - 1, f"must be at least {low}"), (high + 1, f"must be at most {high}")]
    words += [(v, "must be finite") for v in (math.nan, math.inf, -math.inf)]
    ends = [low] * setting.above + [high] * setting.below
    return words + [(v, f"must be {setting.range}") for v in (low - 0.001, high * 2, *ends)]


BAD = [(*case[:3], *bad) for case in SETTINGS for bad in unusable(case[3])]
BAD += [
    (ModelConfig, MODEL, "image_shape", value, said)
    for value, said in [
        *((v, "must be a list") for v in (None, "1x28x28", {"C": 1})),
        *((v, f"(={v})") for v in ((28, 28), (1, 1, 28, 28), (), (2, 28, 28))),
        ((1, 0, 28), "[1] (=0) must be at least 1"),
        ((1, 28, 1025), "[2] (=1025) must be at most 1024"),
        ((1, 28.0, 28), "[1] (=28.0) must be a whole number"),
        ((True, 28, 28), "[0] (=True) must be a whole number"),
    ]
]


@pytest.mark.parametrize(("cls", "usual", "setting", "value", "told"), BAD)
def test_an_unusable_value_is_told_with_its_setting(cls, usual, setting, value, told):
    for make in (lambda values: cls(**values), cls.from_dict):
        with pytest.raises(ConfigError) as raised:
            make({**usual, setting: value})
        assert str(raised.value).startswith(setting)
        assert told in str(raised.value)


def test_the_ranges_are_far_above_any_use_and_no_further():
    found = {name: (s.minimum, s.maximum) for *_, name, s in SETTINGS if s.kind is not str}
    million = {"epochs": 1, "batch_size": 1, "learning_rate": 0, "beta": 0, "free_bits": 0}
    assert found == {name: (low, 1_000_000) for name, low in million.items()} | {
        "latent_dim": (1, 1024),
        "importance_samples": (1, 1024),
        "lattice_points": (16, 2**22),
        "elbo_share": (0, 1),
        "hidden": (1, 16384),
        "kl_warmup": (0, 1),
        "max_grad_norm": (0, 1e9),
        "weight_average": (0, 1),
        "patience": (0, 1_000_000),
        "seed": (0, 2**63 - 1),
    }


def test_every_field_but_what_the_data_say_is_a_setting_with_a_place_and_a_text():
    names = {field.name for cls in (ModelConfig, TrainConfig) for field in dataclasses.fields(cls)}
    assert {case[2] for case in SETTINGS} == names - {
        "image_shape",
        "n_classes",
        "kind",
        "features",
        "encoder",
    }  # of the data, or made of the decoder
    for *_, setting in SETTINGS:
        assert setting.label
        assert setting.help.endswith(".")
        assert setting.group in config.GROUPS
        assert setting.text.startswith(setting.help)


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
        "n_classes": 0,
    }
    assert TrainConfig("digits", 7).to_dict() == {
        "dataset": "digits",
        "epochs": 7,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "schedule": "one-cycle",
        "objective": "elbo",
        "importance_samples": 5,
        "lattice_points": 8192,
        "elbo_share": 0.25,
        "beta": 1.0,
        "kl_warmup": 0.3,
        "free_bits": 0.0,
        "binarise": "off",
        "max_grad_norm": 0.0,
        "weight_average": 0.0,
        "patience": 0,
        "precision": "float32",
        "seed": 0,
        "condition": "none",
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


def test_binarised_training_is_held_against_drawn_images():
    held_out = [TrainConfig("mnist", 1, binarise=b).held_out_dataset for b in config.BINARISE]
    assert held_out == ["mnist", "mnist", "mnist-binarised"]


def test_free_bits_and_importance_weights_exclude_each_other():
    with pytest.raises(ConfigError, match=r"free_bits \(=0.5\) must be 0 with the objective iwae"):
        TrainConfig("digits", 1, free_bits=0.5, objective="iwae")
    TrainConfig("digits", 1, free_bits=0.5, objective="iwae", importance_samples=1)
    assert TrainConfig("digits", 1, objective="iwae", importance_samples=7).n_draws == 7
    assert TrainConfig("digits", 1, importance_samples=7).n_draws == 1


def test_an_objective_that_integrates_excludes_what_has_no_meaning_in_it():
    for objective in ("evidence", "best"):
        for more, said in (
            ({"free_bits": 0.5}, r"free_bits \(=0.5\) must be 0"),
            ({"beta": 4.0}, r"beta \(=4\) must be 1"),
            ({"condition": "label"}, r"condition \(=label\) must be none"),
            ({"epochs": 1}, r"epochs \(=1\) must be at least 2"),
        ):
            with pytest.raises(ConfigError, match=f"{said} with the objective {objective}"):
                TrainConfig(**{"dataset": "digits", "epochs": 4, "objective": objective} | more)


@pytest.mark.parametrize(
    ("epochs", "share", "evidence"), [(2, 0.01, 1), (2, 0.99, 1), (10, 0.25, 8), (100, 0.3, 70)]
)
def test_each_objective_has_an_epoch_at_least(epochs, share, evidence):
    train = TrainConfig("digits", epochs, objective="best", elbo_share=share, batch_size=100)
    assert train.evidence_epochs == evidence
    # 1,000 images are 10 steps an epoch.
    expected = evidence * 10 * 8192 + (epochs - evidence) * 1000
    assert train.n_decodes(1000) == expected
    assert TrainConfig("digits", epochs, objective="iwae").n_decodes(1000) == 5 * epochs * 1000


def test_a_training_says_which_objective_made_which_part():
    for objective, said in (
        ("elbo", "by the ELBO"),
        ("iwae", "by the importance-weighted bound, K = 5"),
        ("evidence", "decoder by log p(x) over a lattice of 8,192 points for 8 epochs, then the "
         "encoder alone by the ELBO for 2"),
        ("best", "decoder by log p(x) over a lattice of 8,192 points for 8 epochs, then both by "
         "the ELBO for 2"),
    ):  # fmt: skip
        assert TrainConfig("digits", 10, objective=objective).made_by == said
    assert TrainConfig("digits", 10, beta=4.0).made_by == "by the bound with β = 4"
