"""What sentences call a point of the data and its numbers: an image and its pixels, or others."""

import re
from typing import NamedTuple

from vae.config import IMAGE, SERIES, VECTOR

_NOUN = re.compile(r"\b(?:(?P<an>an) )?(?:(?P<i>image)|pixel)(?P<s>s?)\b", re.IGNORECASE)


class Words(NamedTuple):
    """The nouns of one kind of data.

    Attributes:
        kind: what x is: image, series or vector.
        point: what is counted, and what a cost is of: nats per image, nats per point.
        number: what a point consists of.
    """

    kind: str
    point: str
    number: str

    @property
    def points(self) -> str:
        """Several of them."""
        return f"{self.point}s"

    @property
    def numbers(self) -> str:
        """Several of them."""
        return f"{self.number}s"

    @property
    def a_point(self) -> str:
        """One of them, whichever."""
        return f"an {self.point}" if self.point[0] in "aeiou" else f"a {self.point}"

    def said(self, text: str) -> str:
        """A text that was written of images, in these words; a person's own names must not be in
        it, as they would be changed as well.
        """
        if self == IMAGES:
            return text

        def noun(found: re.Match[str]) -> str:
            an, word = found["an"] or "", self.point if found["i"] else self.number
            text = f"{an[:1]} {word}" if an else word
            return (text[0].upper() + text[1:] if found[0][0].isupper() else text) + found["s"]

        return _NOUN.sub(noun, text)


IMAGES = Words(IMAGE, "image", "pixel")
_OTHERS = {SERIES: Words(SERIES, "point", "step"), VECTOR: Words(VECTOR, "point", "feature")}
_MIXED = Words("point", "point", "number")


def of(*kinds: str) -> Words:
    """The words for data of these `config.DATA_KINDS`; of none for images."""
    if set(kinds) <= {IMAGE}:
        return IMAGES
    return _OTHERS.get(kinds[0], _MIXED) if len(set(kinds)) == 1 else _MIXED


def size(kind: str, shape: tuple[int, int, int], by: str = " × ") -> str:
    """What points of a shape are, in words: "images of 28 × 28", "vectors of 13 features".

    Args:
        kind: of `config.DATA_KINDS`.
        shape: as `ModelConfig.image_shape`.
        by: between height and width.
    """
    C, H, W = shape
    if kind == IMAGE:
        return f"images of {H}{by}{W}"
    if kind == VECTOR:
        return f"vectors of {W:,} features"
    return f"series of {W:,} steps" + (f" in {C} channels" if C > 1 else "")
