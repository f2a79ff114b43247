"""Settings for a purpose: quick, standard, best."""

from dataclasses import dataclass
from typing import Any

from vae.config import BEST, ELBO, EVIDENCE, IMAGE, MIXED, VECTOR, check_choice


@dataclass(frozen=True)
class Preset:
    """Settings for a purpose, of which every one can still be changed.

    Attributes:
        summary: what it costs.
        note: what it is, what it costs and what it reaches.
        hidden, conv: layers for the families "mlp" and "conv".
        n_images: training images read in all, each epoch anew, of a large data set.
        n_steps: steps in all for a small one.
        lattice_points: of the objectives that integrate; 16 batches for a small data set.
        fewer: how many times fewer images these objectives read: their epochs take longer.
        evidence_images: read by the objective evidence of a large data set, in batches of
            `_EVIDENCE`: what a lattice costs is shared by the images of a batch.
        train: other settings of TrainConfig.
    """

    summary: str
    note: str
    hidden: tuple[int, ...]
    conv: tuple[int, ...]
    n_images: int
    n_steps: int
    lattice_points: int
    fewer: float
    evidence_images: int
    train: dict[str, Any]


PRESETS = {
    "quick": Preset(
        "40 s",
        "MLP 512-256-128 and 18 passes over MNIST: 40 s on two cores, a held-out -ELBO of 137.4 "
        "nats. Small data sets: 4,500 steps.",
        hidden=(512, 256, 128),
        conv=(32, 64),
        n_images=1_080_000,
        n_steps=4500,
        lattice_points=2048,
        fewer=2.0,
        evidence_images=1_200_000,
        train={"batch_size": 256, "learning_rate": 2e-3, "max_grad_norm": 1000.0},
    ),
    "standard": Preset(
        "3 min",
        "MLP 1024-512-256 and 60 passes over MNIST: 3 minutes on two cores, 132.8 nats. Small data "
        "sets: 9,000 steps.",
        hidden=(1024, 512, 256),
        conv=(32, 64),
        n_images=3_600_000,
        n_steps=9000,
        lattice_points=4096,
        fewer=2.5,
        evidence_images=3_720_000,
        train={"batch_size": 512, "learning_rate": 2e-3, "max_grad_norm": 1000.0},
    ),
    "best": Preset(
        "18 min",
        "The same network and 320 passes over MNIST, the encoder reading pixels drawn as 0 or 1: "
        "18 minutes on two cores, 129.2 nats. Small data sets: 18,000 steps.",
        hidden=(1024, 512, 256),
        conv=(32, 64, 128),
        n_images=19_200_000,
        n_steps=18000,
        lattice_points=8192,
        fewer=3.0,
        evidence_images=12_000_000,
        train={
            "batch_size": 512,
            "learning_rate": 2e-3,
            "binarise": "input",
            "max_grad_norm": 1000.0,
        },
    ),
}
# Below so many training images a data set is small: it is read many times over, in small batches.
_SMALL = 20_000
_SMALL_BATCH = 64
# The encoder of layers gets little: `refit` gives such a decoder a better one.
_EVIDENCE: dict[str, Any] = {"batch_size": 2048, "learning_rate": 4e-3, "elbo_share": 0.1}
_TABLE_HIDDEN = (32,)  # for a hundred rows or a few more, which larger networks learn by heart


def preset(
    name: str,
    n_train: int,
    family: str = "mlp",
    batch_size: int | None = None,
    objective: str = ELBO,
    kind: str = IMAGE,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a preset for a data set of that size: for ModelConfig, and for TrainConfig.

    Args:
        name: a key of PRESETS.
        n_train: training images.
        family: of the network.
        batch_size: another one than the preset's; as many images are read.
        objective: what is to be maximised.
        kind: what one point is, of `config.DATA_KINDS`.

    Raises:
        ConfigError: no such preset.
    """
    check_choice("preset", name, tuple(PRESETS))
    found, small = PRESETS[name], is_small(n_train)
    settings, n_images = found.train, found.n_images
    if small:
        settings = settings | {"batch_size": _SMALL_BATCH}
        n_images = found.n_steps * _SMALL_BATCH
    if objective == EVIDENCE and not small:
        settings, n_images = settings | _EVIDENCE, found.evidence_images
    elif objective in (EVIDENCE, BEST):
        n_images = round(n_images / found.fewer)
    hidden = found.conv if family == "conv" else (256, 256, 128) if small else found.hidden
    model: dict[str, Any] = {"family": family, "hidden": hidden}
    if kind != IMAGE:
        model["likelihood"] = MIXED if kind == VECTOR else "gaussian"
        if kind == VECTOR and small:
            model["hidden"] = _TABLE_HIDDEN
    train = settings | {
        "lattice_points": 16 * _SMALL_BATCH if small else found.lattice_points,
        "batch_size": settings["batch_size"] if batch_size is None else batch_size,
        "epochs": max(1, min(1000, round(n_images / n_train))),
        # Small layers spend longer on the conversions than they save.
        "precision": "float32" if small else "auto",
    }
    if kind != IMAGE:
        train.pop("binarise", None)
    return model, train


def is_small(n_train: int) -> bool:
    """Whether presets count steps for a data set of so many training images, and not passes."""
    return n_train < _SMALL
