"""Which column of a CSV holds the labels, and which row belongs to which image."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence

from vae.data.dataset import DatasetError
from vae.data.own.files import SUFFIXES, shown
from vae.data.own.labels import as_classes
from vae.data.own.table import Table

LABEL_WORDS = (
    *("label", "labels", "class", "classes", "class_name", "class_id", "target", "targets"),
    *("category", "species", "variety", "diagnosis", "cell_type", "y"),
)
_FILE_WORDS = (
    *("file", "filename", "file_name", "image", "path", "picture", "image_id", "id", "name"),
)
_TITLES = {*LABEL_WORDS, *_FILE_WORDS, "index"}
_DEEPEST = 8  # folders above a file that a row may name


def labels_of_files(names: list[str], table: Table) -> tuple[list[str], list[str]]:
    """The labels that a CSV gives to pictures, by their names, and sentences on it.

    A row may name a picture by the end of its path, and without its suffix.

    Raises:
        DatasetError: there is no column of files beside one of labels; a row fits several
            pictures; two rows give one picture different labels.
    """
    rows, titles = table.rows, None
    if len(rows[0]) < 2:
        raise DatasetError(
            f"{table.name} must have two columns for pictures, file and label, with a comma, "
            "semicolon or tab between them"
        )
    places = _places(names)
    column = _file_column(rows, places)
    if not _found(rows[0][column], places) and _has_titles(rows):
        titles, rows = rows[0], rows[1:]
    chosen, notes = _label_column(rows, titles, [column])
    given: dict[int, str] = {}
    n_strange = 0
    for row in rows:
        key, label = row[column], row[chosen]
        found = _found(key, places)
        if len(found) > 1:
            both = " and ".join(repr(shown(names[i])) for i in found[:2])
            raise DatasetError(
                f"{table.name}: {shown(key)!r} may be {len(found)} pictures, such as {both}; write "
                "their folders before their names"
            )
        n_strange += not found
        for i in found:
            if given.setdefault(i, label) != label:
                raise DatasetError(
                    f"{table.name} gives {shown(names[i])!r} two labels, {shown(given[i])!r} and "
                    f"{shown(label)!r}; keep one row"
                )
    if not given:
        raise DatasetError(
            f"{table.name} names none of the pictures: its first file is "
            f"{shown(table.rows[0][0])!r}, the first picture is {shown(names[0])!r}"
        )
    if len(given) < len(names):
        notes.append(f"The CSV has labels for {len(given):,} of {len(names):,} pictures.")
    if n_strange:
        notes.append(f"{n_strange:,} of its rows name no picture.")
    labels, note = as_classes([given.get(i, "") for i in range(len(names))], table.name)
    return labels, [table.note, *notes, note]


def labels_in_order(table: Table, N: int) -> tuple[list[str], list[str]]:
    """The labels that a CSV gives to N images, row by row, and sentences on it.

    Raises:
        DatasetError: there are more or fewer than N of them, with the line of titles if there
            seems to be one.
    """
    rows, titles, notes = table.rows, None, []
    if _has_titles(rows):
        titles, rows = rows[0], rows[1:]
    if len(rows) != N:
        below = f" below its line of titles ({shown(','.join(titles))!r})" if titles else ""
        advice = ""
        if titles and len(rows) == N - 1:
            advice = "; if that line is a label, put a line of titles above it"
        elif not titles and len(rows) == N + 1:
            advice = "; if the first row is a line of titles, call the column 'label'"
        raise DatasetError(
            f"{table.name} has {len(rows):,} rows{below} for {N:,} images; expected as many{advice}"
        )
    numbering = _numbering(rows, titles)[:1] if len(rows[0]) > 1 else []
    for c in numbering:
        counts = [int(row[c]) for row in rows]
        if counts != sorted(counts):
            rows = [row for _, row in sorted(zip(counts, rows, strict=True))]
            notes.append(f"Its rows were put in the order of {_called(titles, c)}.")
    chosen, told = _label_column(rows, titles, numbering)
    labels, note = as_classes([row[chosen] for row in rows], table.name)
    return labels, [table.note, *notes, *told, note]


def _has_titles(rows: list[list[str]]) -> bool:
    """Whether the first row looks like a line of titles, column by column: a usual title, a word
    over numbers, or a word that does not come again over words that all do."""
    first, rest = rows[0], rows[1:]
    for c, title in enumerate(first):
        below = Counter(row[c] for row in rest)
        if not title or title in below or _is_number(title):
            continue
        if title.lower() in _TITLES or (below and all(_is_number(x) for x in below if x)):
            return True
        if c == len(first) - 1 and below and min(below.values()) > 1:
            return True
    return False


def _label_column(
    rows: list[list[str]], titles: list[str] | None, taken: Sequence[int]
) -> tuple[int, list[str]]:
    """The column of labels, and a sentence where others might be it."""
    free = [c for c in range(len(rows[0])) if c not in taken] or [len(rows[0]) - 1]
    free = [c for c in free if c not in _numbering(rows, titles)] or free
    called = {titles[c].lower(): c for c in reversed(free)} if titles else {}
    chosen = next((called[word] for word in LABEL_WORDS if word in called), free[-1])
    others = [_called(titles, c) for c in free if c != chosen]
    if not others:
        return chosen, []
    return chosen, [f"Labels from {_called(titles, chosen)}; not used: {', '.join(others[:4])}."]


def _numbering(rows: list[list[str]], titles: list[str] | None) -> list[int]:
    """The columns that only count the rows."""
    is_label = [title.lower() in LABEL_WORDS for title in titles or [""] * len(rows[0])]
    return [c for c in range(len(rows[0])) if not is_label[c] and _numbers(rows, c)]


def _called(titles: list[str] | None, column: int) -> str:
    title = titles[column] if titles else ""
    return repr(shown(title)) if title else f"column {column + 1}"


def _numbers(rows: list[list[str]], column: int) -> list[int]:
    """The numbers of a column that counts the rows, from 0 or 1, in any order; else none."""
    cells = [row[column] for row in rows]
    if not all(cell.isascii() and cell.isdecimal() and len(cell) < 10 for cell in cells):
        return []
    numbers = [int(cell) for cell in cells]
    first = min(numbers)
    is_count = first in (0, 1) and set(numbers) == set(range(first, first + len(numbers)))
    return numbers if is_count else []


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _places(names: list[str]) -> dict[str, list[int]]:
    """The pictures by their paths, which begin with a slash here, and by the ends of those; each
    with and without the suffix."""
    places: dict[str, list[int]] = defaultdict(list)
    for i, name in enumerate(names):
        parts = name.split("/")
        ends = ["/".join(parts[-n:]) for n in range(1, min(len(parts), _DEEPEST) + 1)]
        for end in (f"/{name}", *ends):
            places[end].append(i)
            if (stem := os.path.splitext(end)[0]) != end:
                places[stem].append(i)
    return places


def _found(key: str, places: dict[str, list[int]]) -> list[int]:
    """The pictures that a row may mean: by the whole path, else by the end of it, else by what is
    left of a row's path below folders of its own."""
    parts = [part for part in key.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts:
        return []
    whole = "/".join(parts)
    ends = ["/".join(parts[-n:]) for n in range(min(len(parts), _DEEPEST), 0, -1)]
    for place in (f"/{whole}", whole, *(f"/{end}" for end in ends)):
        if place in places:
            return places[place]
    return []


def _file_column(rows: list[list[str]], places: dict[str, list[int]]) -> int:
    """The column that names the most pictures; of several, one with suffixes, then one that is
    called so."""

    def score(c: int) -> tuple[int, int, bool]:
        cells = [row[c] for row in rows]
        met = {i for cell in cells for i in _found(cell, places)}
        with_suffix = sum(cell.lower().endswith(SUFFIXES) for cell in cells)
        return len(met), with_suffix, cells[0].lower() in _FILE_WORDS

    return max(range(len(rows[0])), key=score)
