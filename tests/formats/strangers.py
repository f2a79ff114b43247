"""A trained model under names of nobody's library, as people save their own thirty lines."""

from pathlib import Path

from torch import Tensor

from vae.runs import checkpoint

ROOT = Path(__file__).resolve().parents[2]
_LAYERS = {
    **{f"encoder.body.{n}": f"enc{i}" for i, n in enumerate((1, 3, 5), 1)},
    **{"encoder.mu": "to_mu", "encoder.logvar": "to_logvar"},
    **{f"decoder.body.{n}": f"dec{i}" for i, n in enumerate((0, 2, 4, 6), 1)},
}


def state_dict(name: str = "digits-2d") -> dict[str, Tensor]:
    """Of a run that ships: digits-2d is 64-256-256-128-2 and back, GELU."""
    model = checkpoint.open_run(ROOT / "checkpoints" / name).load_model()
    return {
        f"{name}.{kind}": getattr(model.get_submodule(path), kind).detach().clone()
        for path, name in _LAYERS.items()
        for kind in ("weight", "bias")
    }
