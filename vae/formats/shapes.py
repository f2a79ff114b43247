"""Image shapes that a file does not say: guessed from the number of pixels, and said so."""

import math


def of_pixels(n: int) -> tuple[int, int, int]:
    """(C, H, W) of a flattened image: a grey square, else a coloured one, else one row.

    784 is 1x28x28, 3,072 is 3x32x32, 100 is 1x10x10 and 30 is 1x1x30.
    """
    for channels in (1, 3):
        side = math.isqrt(n // channels)
        if channels * side * side == n:
            return channels, side, side
    return 1, 1, n


def text(shape: tuple[int, ...]) -> str:
    """As people write it: 1x28x28."""
    return "x".join(map(str, shape))
