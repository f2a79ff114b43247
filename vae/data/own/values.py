"""Which range the values of images were meant in, and how they become 0 to 255."""

from dataclasses import dataclass

import numpy as np

# Resizing overshoots, and rounding leaves -1e-9: what lies this far out does not move a range.
_OVERSHOOT = 0.05
_DARKEST_BYTES = 32  # bytes that are all below it are levels of another scale


@dataclass(frozen=True)
class Extent:
    """The lowest and highest value of a whole set of images, and their kind.

    Attributes:
        lowest, highest: finite.
        is_whole: whether all are integers by their type.
        is_bytes: whether all are unsigned with 8 bits.
    """

    lowest: float
    highest: float
    is_whole: bool
    is_bytes: bool = False

    def joined(self, other: "Extent") -> "Extent":
        """That of both sets."""
        return Extent(
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            self.is_whole and other.is_whole,
            self.is_bytes and other.is_bytes,
        )

    @property
    def is_dark(self) -> bool:
        """Whether the values are bytes that would all be next to black."""
        return self.is_bytes and self.highest < _DARKEST_BYTES

    def meant(self) -> tuple[float, float]:
        """The range that becomes 0 to 255: a usual one that the values fill by more than half,
        else what occurs. Equal ends: all values are equal."""
        lowest, highest = self.lowest, self.highest
        if self.is_bytes and not self.is_dark:
            return 0.0, 255.0
        if not self.is_whole or highest <= 1:
            if lowest >= 0 and highest <= 1:
                return 0.0, 1.0
            if _fills(self, -1, 1) and lowest < -0.5:
                return -1.0, 1.0
            if _fills(self, 0, 1):
                return 0.0, 1.0
        if _fills(self, 0, 255):
            return 0.0, 255.0
        if self.is_whole and _fills(self, 0, 65535):
            return 0.0, 65535.0
        return min(lowest, 0.0), highest

    def stretched(self, values: np.ndarray) -> np.ndarray:
        """Values of any shape as uint8, the range that was meant as 0 to 255."""
        low, high = self.meant()
        if self.is_whole and (low, high) == (0, 255):
            return np.clip(values, 0, 255).astype(np.uint8)
        unit = (values.astype(np.float64) - low) / (high - low or 1)
        return np.rint(np.clip(unit, 0, 1) * 255).astype(np.uint8)

    def told(self, what: str = "Values") -> str:
        """A sentence on what is done; empty where values stay or fill their type."""
        low, high = self.meant()
        beyond = self.lowest < low or self.highest > high
        cut = f"; what lies beyond, from {self.lowest:g} to {self.highest:g}, is cut"
        usual = (low, high) in ((0, 255), (0, 65535))
        if usual and not beyond:
            return ""
        return f"{what} {low:g} to {high:g} become 0 to 255{cut if beyond else ''}."


def _fills(extent: Extent, low: float, high: float) -> bool:
    """Whether values lie in a range, but for a little, and reach its upper half."""
    margin = 0 if extent.is_whole else _OVERSHOOT * (high - low)
    inside = low - margin <= extent.lowest and extent.highest <= high + margin
    return inside and extent.highest > (low + high) / 2
