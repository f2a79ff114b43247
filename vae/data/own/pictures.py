"""Pictures of a folder or zip as images: turned upright, laid on black, in 8 bits."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

import numpy as np
from PIL import Image

from vae.data.dataset import DatasetError, pixels_of, reason
from vae.data.own import limits
from vae.data.own.contents import Survey, usual_size
from vae.data.own.csv_labels import labels_of_files
from vae.data.own.files import SUFFIXES, Listing, shown
from vae.data.own.labels import counted, labels_of_folders
from vae.data.own.table import Table
from vae.data.own.values import Extent

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")  # none that runs other programs
_FIRST_LOOKED_AT = 16  # pictures
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

    def __init__(self, name: str, kind: str, listing: Listing, table: Table | None) -> None:
        self._entries, self.bad = [], listing.bad
        headers: list[Header] = []
        n_pixels = 0
        for entry in sorted(listing.entries, key=lambda entry: entry.name):
            try:
                with entry.open() as file:
                    header = _header(file)
            except Exception as error:  # whatever Pillow and the zip's own parser meet
                self.bad.append((shown(entry.name), _problem(error)))
                continue
            n_pixels += header.height * header.width
            if n_pixels > limits.MAX_TOTAL_PIXELS:
                raise DatasetError(
                    f"{name} holds more than {limits.MAX_TOTAL_PIXELS / 1e9:.0f} billion pixels; "
                    "take fewer pictures, or smaller ones"
                )
            headers.append(header)
            self._entries.append(entry)
        headers = self._without_dark(headers)
        self._levels = self._levels_of(headers)
        names = [entry.name for entry in self._entries]
        if not names:
            first = f" ({self.bad[0][0]}: {self.bad[0][1]})" if self.bad else ""
            raise DatasetError(
                f"{name} holds no picture that can be used{first}; pictures end in one of: "
                + ", ".join(SUFFIXES)
            )
        # One range for all of a kind: a dark picture among bright ones stays dark.
        self._extents: dict[bool, Extent] = {}
        for extent in (header.extent for header in headers if header.extent):
            known = self._extents.setdefault(extent.is_whole, extent)
            self._extents[extent.is_whole] = known.joined(extent)
        sizes = Counter((header.height, header.width) for header in headers)
        is_grey = all(header.is_grey for header in headers)
        notes = [listing.note, *self._told(headers)]
        if table is None:
            self.labels, note = labels_of_folders(names)
            notes.append(note)
        else:
            self.labels, told = labels_of_files(names, table)
            notes += told
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

    def _without_dark(self, headers: list["Header"]) -> list["Header"]:
        """The headers, without those whose upper 8 bits of 16 would show next to nothing."""
        brightest = max((header.brightest for header in headers if header.brightest), default=255)
        if brightest > 127:
            return headers
        kept = []
        for entry, header in zip(self._entries, headers, strict=True):
            if header.brightest is None:
                kept.append((entry, header))
            else:
                reason = (
                    f"its colours have 16 bits and only values below {256 * (brightest + 1):,} of "
                    "65,535 occur; save it with 8 bits"
                )
                self.bad.append((shown(entry.name), reason))
        self._entries = [entry for entry, _ in kept]
        return [header for _, header in kept]

    def _levels_of(self, headers: list["Header"]) -> Extent | None:
        """The levels of grey pictures with 8 bits that are all next to black, as of masks; or None.

        A few are looked at first: one that is brighter spares the rest.
        """
        rows = [i for i, header in enumerate(headers) if header.is_grey and header.extent is None]
        if len(rows) < len(headers):
            return None
        found = Extent(0.0, 0.0, True, True)
        for row in dict.fromkeys([*rows[:: max(1, len(rows) // _FIRST_LOOKED_AT)], *rows]):
            with suppress(Exception), self._entries[row].open() as file:  # told when it is used
                found = found.joined(_levels(file))
            if not found.is_dark:
                return None
        return found if found.highest else None

    def _told(self, headers: list["Header"]) -> list[str]:
        """Sentences on what is done to some of the pictures."""
        told = [
            extent.told("Grey values of more than 8 bits:" if extent.is_whole else "Float values:")
            for extent in self._extents.values()
        ]
        if self._levels:
            told.append(
                f"No picture is brighter than {self._levels.highest:g} of 255, as of masks and "
                f"indices: {self._levels.told('levels')[:-1]}; to have them as dark as they are, "
                "add a picture that has white in it."
            )
        if n := sum(header.brightest is not None for header in headers):
            told.append(f"Of 16 bits the upper 8 are used, in {n:,} colour pictures.")
        if n := sum(header.has_frames for header in headers):
            told.append(f"The first frame alone is used, of {n:,} files that have several.")
        return told

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
                pixels: np.ndarray | str = _decoded(
                    io.BytesIO(data), image_shape, self._extents, self._levels
                )
            except Exception as error:
                pixels = _problem(error)
            yield i, pixels


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is used.

    Attributes:
        height, width: as they will be seen.
        is_grey: whether it has no colours.
        has_frames: whether it has more than one.
        extent: of its values, where they have more than 8 bits, for which they are decoded.
        brightest: of the upper 8 bits of colours with 16, which is what Pillow decodes.
    """

    height: int
    width: int
    is_grey: bool
    has_frames: bool
    extent: Extent | None
    brightest: int | None


def _header(file: IO[bytes]) -> Header:
    """What a picture says of itself; pixels are decoded only where they have more than 8 bits."""
    with Image.open(file, formats=_FORMATS) as picture:
        is_grey = _is_grey(_checked(picture))
        has_frames = picture.format != "MPO" and getattr(picture, "is_animated", False)
        is_deep = any(";16" in str(tile.args) for tile in picture.tile)
        extent = brightest = None
        if picture.mode.startswith(("I", "F")):
            extent = _extent(np.asarray(picture))
        elif is_deep or (picture.format == "PNG" and _has_exif_behind(file)):
            picture.load()
            if is_deep:
                bands = [band for band in picture.getbands() if band.lower() != "a"]
                brightest = max(int(np.asarray(picture.getchannel(band)).max()) for band in bands)
        W, H = picture.size
        # Pillow turns a TIFF itself, and its size says so before.
        exif = Image.Image.getexif(picture)  # a PNG's own decodes it where it has none
        if picture.format != "TIFF" and exif.get(_ORIENTATION) in (5, 6, 7, 8):
            H, W = W, H
        return Header(H, W, is_grey, has_frames, extent, brightest)


def _has_exif_behind(file: IO[bytes]) -> bool:
    """Whether a PNG has its EXIF, or a text that may hold it, behind its pixels."""
    at = file.tell()
    file.seek(8)
    found, is_behind = False, False
    with suppress(OSError, EOFError, ValueError):  # cut short: told when it is decoded
        while not found and len(begin := file.read(8)) == 8:
            kind = begin[4:]
            is_behind = is_behind or kind == b"IDAT"
            found = is_behind and kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
            file.seek(int.from_bytes(begin[:4], "big") + 4, os.SEEK_CUR)
    file.seek(at)
    return found


def _extent(values: np.ndarray) -> Extent:
    lowest, highest = float(values.min()), float(values.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        raise _Refused("some of its values are NaN or infinite")
    return Extent(lowest, highest, values.dtype.kind != "f")


def _levels(file: IO[bytes]) -> Extent:
    """Of a grey picture with 8 bits."""
    with Image.open(file, formats=_FORMATS) as picture:
        _checked(picture).load()
        return Extent(0.0, float(np.asarray(_on_black(picture)).max()), True, True)


def _decoded(
    file: IO[bytes],
    image_shape: tuple[int, int, int],
    extents: dict[bool, Extent],
    levels: Extent | None,
) -> np.ndarray:
    """One picture as uint8 (C, H, W).

    Args:
        file: the picture.
        image_shape: wanted.
        extents: of whole numbers and of floats in the whole set.
        levels: of the whole set, if all of it is next to black.
    """
    with Image.open(file, formats=_FORMATS) as picture:
        _checked(picture).load()
        orientation = picture.getexif().get(_ORIENTATION)
        if picture.mode.startswith(("I", "F")):
            values = extents[picture.mode != "F"].stretched(np.asarray(picture))
            flat = Image.fromarray(values)
        else:
            flat = _on_black(picture)
            if levels is not None:
                flat = Image.fromarray(levels.stretched(np.asarray(flat.convert("L"))))
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
