"""What is in a folder or file of images, and what is done to them."""

from collections import Counter
from dataclasses import dataclass

_KEPT_SIDE = 64  # images of one size that are no larger stay as they are
_USUAL_SIDE = 32  # others become as large


@dataclass(frozen=True)
class Survey:
    """What is in a folder or file, before any of it is used.

    Attributes:
        name: of the folder or file.
        kind: "folder", "zip", "npz" or "npy".
        n_images: that look usable; a picture that is cut short shows only when it is decoded.
        classes: images of each class, by name.
        sizes: images of each (height, width), the most frequent first, at most 5.
        n_sizes: different sizes in all.
        is_grey: whether all are.
        n_bytes: of the images, packed as they are.
        image_shape: (C, H, W) that they get unless another one is asked for.
        notes: sentences on how the file was understood.
        bad: (name, reason) of what cannot be used, at most limits.MAX_LISTED.
        n_bad: how many cannot be used in all.
        n_other: files that are no pictures, left alone.
    """

    name: str
    kind: str
    n_images: int
    classes: dict[str, int]
    sizes: dict[tuple[int, int], int]
    n_sizes: int
    is_grey: bool
    n_bytes: int
    image_shape: tuple[int, int, int]
    notes: tuple[str, ...]
    bad: tuple[tuple[str, str], ...] = ()
    n_bad: int = 0
    n_other: int = 0

    def treatment(self, image_shape: tuple[int, int, int] | None = None) -> str:
        """What `read` does to the images, in a sentence or two."""
        C, H, W = image_shape or self.image_shape
        done = [] if self.kind in ("npz", "npy") else ["turned as EXIF says", "laid on black"]
        if self.is_grey != (C == 1):
            done.append("made grey" if C == 1 else "given three equal channels")
        if set(self.sizes) == {(H, W)}:
            done.append(f"kept at {H} x {W}")
        else:
            kept = self.n_sizes == 1 and _have_one_ratio(next(iter(self.sizes)), (H, W))
            how = "resized" if kept else "stretched or shrunk, the ratio of the sides not kept,"
            done.append(f"{how} to {H} x {W} by Pillow's bilinear filter")
        colour = "grey" if C == 1 else "colour"
        said = f"{', '.join(done)}; {colour}, values 0 to 255."
        return " ".join([said[0].upper() + said[1:], *self.notes])


def usual_size(sizes: Counter[tuple[int, int]]) -> tuple[int, int]:
    """The (height, width) that images get unless another one is asked for."""
    if len(sizes) > 1:
        return _USUAL_SIDE, _USUAL_SIDE
    ((H, W),) = sizes
    if max(H, W) <= _KEPT_SIDE:
        return H, W
    scale = _USUAL_SIDE / max(H, W)
    return max(1, round(H * scale)), max(1, round(W * scale))


def _have_one_ratio(a: tuple[int, int], b: tuple[int, int]) -> bool:
    """Whether a can become b without one side being stretched more than rounding asks for."""
    scale = max(b) / max(a)
    return all(abs(x * scale - y) <= 0.5 for x, y in zip(a, b, strict=True))
