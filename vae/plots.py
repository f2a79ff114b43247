"""Vectors and series as small pictures, so that they stand wherever an image would.

White on black, on the standardised axis from -3 to 3: a series is a line, a vector has a bar for
each of its features, in the order of its columns.
"""

import numpy as np

from vae.config import IMAGE, SERIES, ForeignModel, ModelConfig
from vae.features import on_axis

_HEIGHT, _WIDTH = 48, 96  # pixels
_REACH = 3.0  # the standardised axis goes so far each way
_THICK = 0.05  # of a line, each way, on that axis
_ZERO = 0.3  # the grey of the axis' middle


def picture_shape(config: ModelConfig | ForeignModel) -> tuple[int, int, int]:
    """(C, H, W) of what `pictures` makes of one point."""
    return config.image_shape if config.kind == IMAGE else (1, _HEIGHT, _WIDTH)


def pictures(x: np.ndarray, config: ModelConfig | ForeignModel) -> np.ndarray:
    """Points as pictures.

    Args:
        x: as a model reads or decodes them, shape (..., C, H, W); NaN where a number is missing.
        config: of the model.

    Returns:
        Images as they are; of vectors and series float32 in [0, 1], (..., *picture_shape).
    """
    if config.kind == IMAGE:
        return x
    *batch, C, _, n = x.shape
    values = on_axis(x.reshape(-1, C, n).astype(np.float64), config.features, config.kind)
    values = np.clip(values, -_REACH, _REACH)
    lows, highs = (_line if config.kind == SERIES else _bars)(values)  # (N, C, W)
    # How much of each pixel lies between them, from the top row downwards.
    edges = np.linspace(_REACH, -_REACH, _HEIGHT + 1)
    top, bottom = edges[:-1, None], edges[1:, None]
    inside = np.minimum(top, highs[:, :, None]) - np.maximum(bottom, lows[:, :, None])
    covered = np.nan_to_num(inside / (top - bottom)).clip(0, 1).max(1)  # (N, H, W)
    middle = (_HEIGHT - 1) // 2
    covered[:, middle : middle + 2] = np.maximum(covered[:, middle : middle + 2], _ZERO)
    return covered.astype(np.float32).reshape(*batch, *picture_shape(config))


def _line(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range that each channel's line has in every column, values (N, C, L)."""
    n = values.shape[-1]
    # Each column shows some steps of the line, ends included; several where it is long.
    steps = max(1, -(-n // _WIDTH))
    at = np.linspace(0, n - 1, _WIDTH * steps + 1)
    left = np.floor(at).astype(int)
    share = at - left
    right = np.minimum(left + 1, n - 1)
    drawn = values[..., left] * (1 - share) + values[..., right] * share
    parts = np.stack([drawn[..., i : i + _WIDTH * steps : steps] for i in range(steps)])
    parts = np.concatenate([parts, drawn[None, ..., steps::steps]])
    return parts.min(0) - _THICK, parts.max(0) + _THICK


def _bars(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The range of the bar in every column, values (N, 1, F)."""
    n = values.shape[-1]
    if n <= _WIDTH:
        of = np.arange(_WIDTH) * n // _WIDTH
        chosen = values[..., of]
        # A gap between bars that are wide enough for one.
        gap = np.append(of[1:] != of[:-1], True) if 3 * n <= _WIDTH else np.zeros(_WIDTH, bool)
        chosen = np.where(gap, np.nan, chosen)
        return np.minimum(chosen, 0), np.maximum(chosen, 0)
    starts = np.arange(_WIDTH) * n // _WIDTH
    filled = np.nan_to_num(values)
    lows = np.minimum.reduceat(filled, starts, axis=-1)
    return np.minimum(lows, 0), np.maximum(np.maximum.reduceat(filled, starts, axis=-1), 0)
