"""Pictures of a folder or zip as images: turned upright, laid on black, in 8 bits."""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np
from PIL import Image

from vae.data.dataset import DatasetError, pixels_of, reason
from vae.data.own import limits
from vae.data.own.contents import Survey, usual_size
from vae.data.own.files import SUFFIXES, Listing, shown
from vae.data.own.labels import counted, labels_of_files, labels_of_folders

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs other programs
_ORIENTATION = 0x0112  # EXIF's tag, and what makes each of its values upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Pictures:
    """The pictures of a folder or zip, by name."""

    def __init__(
        self, name: str, kind: str, listing: Listing, rows: list[list[str]] | None
    ) -> None:
        sizes: Counter[tuple[int, int]] = Counter()
        self._entries, self.bad = [], listing.bad
        is_grey, n_pixels, notes = True, 0, [listing.note]
        for entry in sorted(listing.entries, key=lambda entry: entry.name):
            try:
                with entry.open() as file:
                    H, W, grey = _header(file)
            except Exception as error:  # whatever Pillow and the zip's own parser meet
                self.bad.append((shown(entry.name), _problem(error)))
                continue
            n_pixels += H * W
            if n_pixels > limits.MAX_TOTAL_PIXELS:
                raise DatasetError(
                    f"{name} holds more than {limits.MAX_TOTAL_PIXELS / 1e9:.0f} billion pixels; "
                    "take fewer pictures, or smaller ones"
                )
            sizes[H, W] += 1
            is_grey = is_grey and grey
            self._entries.append(entry)
        names = [entry.name for entry in self._entries]
        if not names:
            first = f" ({self.bad[0][0]}: {self.bad[0][1]})" if self.bad else ""
            raise DatasetError(
                f"{name} holds no picture that can be used{first}; pictures end in one of: "
                + ", ".join(SUFFIXES)
            )
        if rows is None:
            self.labels = labels_of_folders(names)
        else:
            self.labels, note = labels_of_files(names, rows)
            notes.append(note)
        self.survey = Survey(
            name=name,
            kind=kind,
            n_images=len(names),
            classes=counted(self.labels),
            sizes=dict(sizes.most_common(5)),
            n_sizes=len(sizes),
            is_grey=is_grey,
            n_bytes=sum(entry.n_bytes for entry in self._entries),
            bad=tuple(self.bad[: limits.MAX_LISTED]),
            n_bad=len(self.bad),
            n_other=listing.n_other,
            image_shape=(1 if is_grey else 3, *usual_size(sizes)),
            notes=tuple(filter(None, notes)),
        )

    def name(self, row: int) -> str:
        """What an image is called in a message."""
        return shown(self._entries[row].name)

    def images(
        self, image_shape: tuple[int, int, int], rows: Iterable[int]
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        """(row, uint8 (C, H, W) or what is wrong with it) of those rows."""
        for i in rows:
            try:
                # Whole in memory: Pillow goes to and fro, which in a zip means unpacking again.
                with self._entries[i].open() as file:
                    data = file.read(limits.MAX_PICTURE_BYTES + 1)
                pixels: np.ndarray | str = _decoded(io.BytesIO(data), image_shape)
            except Exception as error:
                pixels = _problem(error)
            yield i, pixels


def _header(file: IO[bytes]) -> tuple[int, int, bool]:
    """Height and width as they will be seen, and whether it is grey; no pixel is decoded."""
    with Image.open(file, formats=_FORMATS) as picture:
        W, H = _checked(picture).size
        is_grey = _is_grey(picture)
        # The EXIF of a PNG may stand behind its pixels.
        if picture.format != "PNG" and picture.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
            return W, H, is_grey
        return H, W, is_grey


def _decoded(file: IO[bytes], image_shape: tuple[int, int, int]) -> np.ndarray:
    """One picture as uint8 (C, H, W)."""
    with Image.open(file, formats=_FORMATS) as picture:
        _checked(picture).load()
        orientation = picture.getexif().get(_ORIENTATION)
        flat = _on_black(_in_8_bits(picture))
        if orientation in _TURNS:
            flat = flat.transpose(_TURNS[orientation])
        return pixels_of(flat, image_shape)


class _Refused(ValueError):
    """A file is not used; the message is the reason as it is told."""


def _checked(picture: Image.Image) -> Image.Image:
    W, H = picture.size
    if W * H > limits.MAX_PIXELS:
        raise _Refused(f"{W:,} x {H:,} pixels; at most {limits.MAX_PIXELS / 1e6:.0f} million")
    return picture


def _is_grey(picture: Image.Image) -> bool:
    if picture.mode == "P" and picture.palette is not None:
        colours = np.frombuffer(bytes(picture.palette.palette), dtype=np.uint8)
        step = len(picture.palette.mode)
        colours = colours[: len(colours) // step * step].reshape(-1, step)[:, :3]
        return bool((colours == colours[:, :1]).all())
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")


def _in_8_bits(picture: Image.Image) -> Image.Image:
    """A decoded picture whose channels have more than 8 bits with 8 of them, else itself."""
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture)
    lowest, highest = values.min(), values.max()
    if picture.mode == "F":
        if not (np.isfinite(lowest) and np.isfinite(highest)) or lowest < 0 or highest > 255:
            raise _Refused(f"its values are {lowest:g} to {highest:g}, neither 0 to 1 nor 0 to 255")
        values = np.rint(values * (255 if highest <= 1 else 1))
    elif lowest < 0 or highest > 65535:
        raise _Refused(f"its values are {lowest} to {highest}; at most 16 bits")
    else:
        values = (values.astype(np.uint32) + 128) // 257  # 65535 becomes 255
    return Image.fromarray(values.astype(np.uint8))


def _on_black(picture: Image.Image) -> Image.Image:
    """A picture of mode L or RGB: what is transparent shows black."""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        was_grey = _is_grey(picture)
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        black.alpha_composite(picture)
        return black.convert("L" if was_grey else "RGB")
    if picture.mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if _is_grey(picture) else "RGB")


def _problem(error: Exception) -> str:
    """Why one picture cannot be used."""
    if isinstance(error, _Refused):
        return str(error)
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture, whatever its name says"
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {limits.MAX_PIXELS / 1e6:.0f} million pixels"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return f"damaged or cut short ({shown(reason(error))})"
