"""Where to train, and with what precision."""

import time

import torch

from vae.errors import UserError


def choose_device(name: str | None = None) -> torch.device:
    """The named device, or the fastest there is: cuda, then mps, then cpu.

    Raises:
        UserError: the name is unknown, or this machine has no such device.
    """
    n_devices = {
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
        "cpu": 1,
    }
    here = [kind for kind, n in n_devices.items() if n]
    if name is None:
        return torch.device(here[0])
    try:
        device = torch.device(name)
    except RuntimeError:  # not even the name of a device, as "gpu" or "cuda:x"
        device = None
    if device is None or (device.index or 0) >= n_devices.get(device.type, 0):
        raise UserError(
            f"device (={name!r}) is not available here; choose one of: {', '.join(here)}"
        )
    return device


def fastest_precision(device: torch.device, family: str = "mlp") -> str:
    """The faster of config.PRECISIONS for such a network on that device, by a short trial.

    Args:
        device: where it would be trained.
        family: of the network; on a CPU convolutions gain nothing from bfloat16.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if device.type == "mps" or family == "conv":
        return "float32"
    seconds = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = torch.ones(256, 784, dtype=dtype), torch.ones(784, 512, dtype=dtype)
        trials = []
        for _ in range(8):
            started = time.perf_counter()
            torch.matmul(a, b)
            trials.append(time.perf_counter() - started)
        seconds[name] = min(trials)
    # The conversions around the products cost something too.
    return "bfloat16" if seconds["bfloat16"] * 1.6 < seconds["float32"] else "float32"
