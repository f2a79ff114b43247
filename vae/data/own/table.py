"""A CSV as people have them -> rows of cells: any usual encoding and separator."""

import csv
import io
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass

from vae.data.dataset import DatasetError, reason
from vae.data.own import limits
from vae.data.own.files import PathOrFile, amount, name_of, open_file, shown
from vae.names import composed

_SEPARATORS = "\t|;,"  # the comma last: decimal commas stand between the others
_SAMPLE = 200  # rows by which the separator is told


@dataclass(frozen=True)
class Table:
    """The rows of a CSV, all of one width, with their line of titles if they have one.

    Attributes:
        name: of the file.
        rows: at least one, of at least one cell each; cells are stripped.
        note: a sentence on how it was read; mostly empty.
    """

    name: str
    rows: list[list[str]]
    note: str = ""


def read_csv(source: PathOrFile) -> Table:
    """The rows of a CSV.

    Raises:
        DatasetError: it is no text, too large, empty, or its rows have several widths.
    """
    name = name_of(source)
    with ExitStack() as stack:
        try:
            data = open_file(source, stack).read(limits.MAX_CSV_BYTES + 1)
        except OSError as error:
            raise DatasetError(f"{name} cannot be read: {error.strerror}") from error
    if len(data) > limits.MAX_CSV_BYTES:
        raise DatasetError(f"{name} has more than {amount(limits.MAX_CSV_BYTES)}")
    text, note = _decoded(data, name)
    if text.lower().startswith("sep=") and len(text) > 4:  # Excel's own line
        separator, text = text[4], text.partition("\n")[2]
    else:
        separator = ""
    try:
        rows = _rows(text, separator or _separator(text))
    except csv.Error as error:
        raise DatasetError(f"{name} is not a CSV: {shown(reason(error))}") from error
    rows, told = _of_one_width(rows, name)
    return Table(name, rows, " ".join(filter(None, (note, told))))


def _decoded(data: bytes, name: str) -> tuple[str, str]:
    """Its text, with ends of lines as \\n, and a sentence if the encoding is a guess."""
    note, encodings = "", ("utf-8-sig", "cp1252")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    elif data[:1] and data[1:2] == b"\0":
        encodings = ("utf-16-le",)
    elif data[:1] == b"\0":
        encodings = ("utf-16-be",)
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding == "cp1252":
            note = f"{name} is not in UTF-8; it was read as Windows-1252."
        if not any(c < " " and c not in "\t\n\r\f" for c in text):
            return composed(text).replace("\r\n", "\n").replace("\r", "\n"), note
    raise DatasetError(f"{name} is not a CSV: it is no text; save it as CSV in UTF-8")


def _rows(text: str, separator: str, most: int | None = None) -> list[list[str]]:
    rows = []
    for row in csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True):
        rows.append([cell.strip() for cell in row])
        if len(rows) == most:
            break
    return rows


def _separator(text: str) -> str:
    """What stands between cells: it parts every row into as many, more than one."""
    best, most = ",", 0
    for separator in _SEPARATORS:
        try:
            sample = _rows(text, separator, _SAMPLE)
        except csv.Error:  # a row of many columns is one endless cell to a wrong separator
            continue
        widths = Counter(len(row) for row in sample if any(row))
        if widths and min(widths) > 1:
            return separator
        parted = sum(n for width, n in widths.items() if width > 1)
        if parted > most:
            best, most = separator, parted
    return best


def _of_one_width(rows: list[list[str]], name: str) -> tuple[list[list[str]], str]:
    """The rows without blank lines at the ends and empty columns at the right, and a sentence
    where the titles did not fit them."""
    filled = [i for i, row in enumerate(rows) if any(row)]
    if not filled:
        raise DatasetError(f"{name} has no rows")
    rows = rows[filled[0] : filled[-1] + 1]
    width = max(_width(row) for row in rows[1:] or rows)
    if width > 1:
        rows = [row for row in rows if any(row)]
    if len(rows) > limits.MAX_IMAGES + 1:
        raise DatasetError(f"{name} has {len(rows):,} rows; at most {limits.MAX_IMAGES:,}")
    told, titles = "", rows[0]
    if len(titles) == width - 1 > 0:
        titles = ["", *titles]  # R writes no title over the names of rows
    elif _width(titles) > width:
        told = f"The first row of {name} has {_width(titles)} cells and the others {width}."
    rows = [titles, *rows[1:]]
    for number, row in enumerate(rows, 1):
        if len(row) < width and width > 1:
            raise DatasetError(
                f"{name}: row {number:,} of the file ({shown(','.join(row))!r}) has {len(row)} of "
                f"{width} columns; give every row as many"
            )
    # A blank line in a single column is an image without a label, not one row fewer.
    return [row[:width] or [""] for row in rows], told


def _width(row: list[str]) -> int:
    """Its cells up to the last one that is not empty."""
    return max((i + 1 for i, cell in enumerate(row) if cell), default=0)
