"""A table, or an array of rows or series, of one's own -> vectors or series.

What becomes of each column is decided by its values alone, and can be looked at before anything is
kept (`plan`). Nothing is filled in: a value that is missing stays missing.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vae.config import MAX_CHANNELS, MAX_FEATURES, SERIES, VECTOR
from vae.data.dataset import Dataset, DatasetError, of_numbers, reason
from vae.data.own import limits
from vae.data.own.csv_labels import LABEL_WORDS
from vae.data.own.files import PathOrFile, amount, check_zip, name_of, open_file, shown
from vae.data.own.labels import as_classes, class_names_of
from vae.data.own.table import read_csv
from vae.features import BINARY, COUNT, POSITIVE, REAL, Feature

if TYPE_CHECKING:
    import pandas as pd

TABLES = (".csv", ".tsv", ".parquet", ".h5ad")
ARRAYS = (".npy", ".npz")
LABEL, LEFT_OUT, ONE_HOT = "label", "left out", "one-hot"
MOST_CATEGORIES = 20
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-", ".", "#n/a", "<na>"}
_INDEX_WORDS = {"", "id", "index", "row", "rownames", "unnamed: 0", "no", "nr", "number"}
_TRUE, _FALSE = {"true", "yes"}, {"false", "no"}
_DECADES = 100.0  # a positive column whose values span so much is read by its logarithm
_MOST_ROWS_HIGH = 8  # an array (N, C, L) of fewer rows C is one of series, not of images
_MOST_TEXT = 0.5  # share of texts above which a column is one of categories


@dataclass(frozen=True)
class Column:
    """One column, and what becomes of it.

    Attributes:
        name: as it stands in the table, made different from those before it.
        becomes: a kind of `vae.features.KINDS`, LABEL, LEFT_OUT or ONE_HOT.
        why: a few words: of what is left out the reason, of a one-hot column its categories.
        n_missing: rows without a value.
        low, mean, high: of its numbers; NaN where it has none.
        values: float64, NaN where missing, (N,); of a one-hot column (N, categories).
        categories: of a one-hot column.
    """

    name: str
    becomes: str
    why: str = ""
    n_missing: int = 0
    low: float = math.nan
    mean: float = math.nan
    high: float = math.nan
    values: np.ndarray = field(default_factory=lambda: np.empty(0), repr=False)
    categories: tuple[str, ...] = ()

    @property
    def features(self) -> list[Feature]:
        """What a model is given of it."""
        if self.becomes in (LABEL, LEFT_OUT):
            return []
        if self.becomes == ONE_HOT:
            return [Feature(f"{self.name} = {category}", BINARY) for category in self.categories]
        return [Feature(self.name, self.becomes)]


@dataclass(frozen=True)
class Plan:
    """What becomes of a table or an array, before it is kept.

    Attributes:
        name: of the file.
        kind: VECTOR or SERIES.
        n_rows: points.
        columns: of a table; none of an array of series.
        labels: one for each point, as text.
        notes: sentences on how it was read.
        series: of series, (N, C, L) as measured.
    """

    name: str
    kind: str
    n_rows: int
    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()
    series: np.ndarray | None = field(default=None, repr=False)

    @property
    def n_missing(self) -> int:
        """Values of the features that are missing."""
        if self.series is not None:
            return int(np.isnan(self.series).sum())
        return sum(column.n_missing for column in self.columns if column.features)

    @property
    def features(self) -> tuple[Feature, ...]:
        """Of a vector's numbers, or of a series' channels."""
        if self.series is not None:
            C = self.series.shape[1]
            return tuple(Feature("x" if C == 1 else f"channel {c + 1}") for c in range(C))
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def said(self) -> str:
        """What is in it, in a sentence or two, for the note that stays with the set."""
        if self.series is not None:
            _, C, L = self.series.shape
            what = f"{self.n_rows:,} series of {L:,} points" + (f" and {C} channels" * (C > 1))
        else:
            what = f"{self.n_rows:,} rows of {len(self.features):,} features"
        parts = [f"{what} from {self.name}."]
        left = [column.name for column in self.columns if column.becomes == LEFT_OUT]
        if left:
            some = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
            parts.append(f"Left out: {some}.")
        if self.n_missing:
            parts.append(f"{self.n_missing:,} values are missing.")
        return " ".join([*parts, *self.notes])


def is_table(source: PathOrFile) -> bool:
    """Whether it is a table by its name, or an array of rows or series by its shape.

    Raises:
        DatasetError: an array that cannot be read.
    """
    suffix = Path(name_of(source)).suffix.lower()
    if suffix in TABLES:
        return True
    if suffix not in ARRAYS or (isinstance(source, str | Path) and not Path(source).is_file()):
        return False
    return bool(_numeric_arrays(source))


def plan(source: PathOrFile, label: str | None = None, leave_out: Sequence[str] = ()) -> Plan:
    """What becomes of each column.

    Args:
        source: a CSV, a Parquet or .h5ad file, or an .npy or .npz of rows or series; a path, or an
            open file with a name.
        label: the column of the labels, "" for none [one with a usual name, if there is one].
        leave_out: columns that are not used.

    Raises:
        DatasetError: it cannot be read, is too large, has no such column or no column that
            varies, or a column cannot be used as it is; the message names it, the row and the
            value.
    """
    name, suffix = name_of(source), Path(name_of(source)).suffix.lower()
    if suffix in ARRAYS:
        arrays = _numeric_arrays(source)
        if not arrays:
            raise DatasetError(f"{name} holds no array of rows (N, features) or series (N, C, L)")
        return _of_array(name, arrays, label, leave_out)
    table, notes = _frame(source, name, suffix)
    return _of_table(name, table, label, leave_out, notes)


def column_names(source: PathOrFile) -> list[str]:
    """The columns of a table, whatever is in them; none of an array.

    Raises:
        DatasetError: it cannot be read, or is too large.
    """
    name = name_of(source)
    suffix = Path(name).suffix.lower()
    return [] if suffix in ARRAYS else list(_frame(source, name, suffix)[0].columns)


def read(source: PathOrFile, label: str | None = None, leave_out: Sequence[str] = ()) -> Dataset:
    """The points of a table or array, as `plan` says; split "all", standardised by the part that
    is not held out.

    Raises:
        DatasetError: as `plan`, or too few rows.
    """
    return dataset_of(plan(source, label, leave_out))


def dataset_of(found: Plan) -> Dataset:
    """The data set of a plan. Raises DatasetError: too few rows."""
    if found.n_rows < limits.MIN_IMAGES:
        raise DatasetError(
            f"{found.name} holds {found.n_rows} rows; at least {limits.MIN_IMAGES}, as one in five "
            "is held out"
        )
    values = found.series
    if values is None:
        parts = [c.values.reshape(found.n_rows, -1) for c in found.columns if c.features]
        values = np.concatenate(parts, 1)
    names = class_names_of(list(found.labels))
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([numbers[label] for label in found.labels])
    data = of_numbers(found.name, "all", found.kind, values, found.features, labels, names)
    return replace(data, note=found.said)


# Tables


def _frame(source: PathOrFile, name: str, suffix: str) -> tuple[pd.DataFrame, list[str]]:
    """The columns of a file, under names that differ, and sentences on how it was read."""
    if suffix in (".csv", ".tsv"):
        return _from_csv(source)
    with ExitStack() as stack:
        try:
            file = open_file(source, stack)
            if (n_bytes := file.seek(0, 2)) > limits.MAX_ARCHIVE_BYTES:
                most = amount(limits.MAX_ARCHIVE_BYTES)
                raise DatasetError(f"{name} has {amount(n_bytes)}; at most {most}")
            file.seek(0)
            found = (_from_parquet if suffix == ".parquet" else _from_h5ad)(file, name)
        except DatasetError:
            raise
        except FileNotFoundError:
            raise DatasetError(f"there is no folder or file {source}") from None
        except Exception as error:  # pyarrow and h5py have errors of their own
            raise DatasetError(f"{name} cannot be read: {shown(reason(error))}") from error
    return _with_names(found, name)


def _from_csv(source: PathOrFile) -> tuple[pd.DataFrame, list[str]]:
    import pandas as pd  # half a second, for whoever has a table

    table = read_csv(source)
    titles, rows = table.rows[0], table.rows[1:]
    _check_width(len(titles), table.name)
    has_titles = not any(_number(cell) is not None for cell in titles if cell)
    notes = [table.note] if table.note else []
    if not has_titles:
        notes.append("Its first row holds numbers, so the columns are called 1, 2 and so on.")
        rows, titles = table.rows, [str(i) for i in range(1, len(titles) + 1)]
    if not rows:
        raise DatasetError(f"{table.name} has a line of titles and no rows")
    frame = pd.DataFrame(rows, columns=pd.RangeIndex(len(titles)), dtype=object)
    return _with_names(frame.set_axis(titles, axis=1), table.name, notes)


def _from_parquet(file: Any, name: str) -> pd.DataFrame:
    import pyarrow.parquet

    told = pyarrow.parquet.ParquetFile(file)
    _check_width(len(told.schema_arrow.names), name)
    n = told.metadata.num_rows
    if n > limits.MAX_IMAGES:
        raise DatasetError(f"{name} has {n:,} rows; at most {limits.MAX_IMAGES:,}")
    _check_numbers(n, len(told.schema_arrow.names), name)
    return told.read().to_pandas().reset_index(drop=False).drop(columns="index", errors="ignore")


def _from_h5ad(file: Any, name: str) -> pd.DataFrame:
    import pandas as pd  # half a second, for whoever has a table

    try:
        import anndata  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DatasetError(
            f"{name} needs the package anndata, which is not installed: pip install anndata"
        ) from None
    found = anndata.read_h5ad(file)
    _check_width(found.n_vars, name)
    _check_numbers(found.n_obs, found.n_vars, name)
    return pd.concat([found.to_df(), found.obs.select_dtypes("category")], axis=1)


def _with_names(
    frame: pd.DataFrame, name: str, notes: list[str] | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The frame under names that can be shown and differ."""
    notes, seen, names = list(notes or []), {}, []
    for i, title in enumerate(map(str, frame.columns), 1):
        title = shown(title.strip()) or f"column {i}"
        seen[title] = seen.get(title, 0) + 1
        names.append(title if seen[title] == 1 else f"{title} ({seen[title]})")
    if twice := [title for title, n in seen.items() if n > 1]:
        notes.append(f"Columns of the same name were numbered: {', '.join(twice[:5])}.")
    _check_numbers(len(frame), len(names), name)
    return frame.set_axis(names, axis=1), notes


def _check_width(n: int, name: str) -> None:
    if n > MAX_FEATURES:
        raise DatasetError(
            f"{name} has {n:,} columns; at most {MAX_FEATURES:,}: choose some of them"
        )


def _check_numbers(n_rows: int, n_columns: int, name: str) -> None:
    if 4 * n_rows * n_columns > limits.MAX_KEPT_BYTES:
        raise DatasetError(
            f"{name}: {n_rows:,} rows of {n_columns:,} columns are "
            f"{amount(4 * n_rows * n_columns)}; at most {amount(limits.MAX_KEPT_BYTES)}"
        )


def _of_table(
    name: str,
    table: pd.DataFrame,
    label: str | None,
    leave_out: Sequence[str],
    notes: list[str],
) -> Plan:
    names = list(table.columns)
    for asked in filter(None, (label, *leave_out)):
        if asked not in names:
            some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
            raise DatasetError(f"{name} has no column {shown(asked)!r}; it has {some}")
    if label is None:
        usual = [n for n in names if n.lower() in LABEL_WORDS and n not in leave_out]
        label = usual[0] if usual else ""
    columns, labels = [], [""] * len(table)
    for i, title in enumerate(names):
        if title in leave_out:
            columns.append(Column(title, LEFT_OUT, "as you said"))
        elif title == label:
            labels = [_text(value) for value in table.iloc[:, i]]
            columns.append(Column(title, LABEL, f"{len(set(labels) - {''}):,} classes"))
        else:
            columns.append(_column(title, table.iloc[:, i], name))
    classes, told = as_classes(labels, f"The column {label}" if label else "The rows")
    if told and label:
        notes = [*notes, told]
    found = Plan(name, VECTOR, len(table), tuple(columns), tuple(classes), tuple(notes))
    _check_width(len(found.features), name)
    if not found.features:
        why = "; ".join(f"{c.name}: {c.why}" for c in columns[:4])
        raise DatasetError(f"{name} has no column that a model could learn ({why[:300]})")
    return found


def _column(title: str, cells: pd.Series, name: str) -> Column:
    """What becomes of a column. Raises DatasetError: texts among numbers, infinities."""
    import pandas as pd  # half a second, for whoever has a table

    if pd.api.types.is_datetime64_any_dtype(cells):
        return Column(title, LEFT_OUT, "dates")
    if pd.api.types.is_numeric_dtype(cells):
        return _of_numbers(title, cells.to_numpy(np.float64, na_value=np.nan), name)
    texts = [_text(cell) for cell in cells]
    given = [text for text in texts if text]
    if not given:
        return Column(title, LEFT_OUT, "empty", len(texts))
    lower = {text.lower() for text in given}
    if lower <= _TRUE | _FALSE and len(lower) > 1:
        values = np.array([math.nan if not t else float(t.lower() in _TRUE) for t in texts])
        return _of_numbers(title, values, name)
    numbers = [_number(text) if text else math.nan for text in texts]
    odd = [i for i, number in enumerate(numbers) if number is None]
    if not odd:
        return _of_numbers(title, np.array(numbers, dtype=np.float64), name)
    if len(odd) < _MOST_TEXT * len(given):
        row, n = odd[0], len(given) - len(odd)
        raise DatasetError(
            f"{name}, column {title!r}, row {row + 1:,}: {shown(texts[row])!r} is no number, where "
            f"{n:,} others are; mend it, leave the cell empty, or leave the column out"
        )
    if _are_dates(given):
        return Column(title, LEFT_OUT, "dates", texts.count(""))
    found = sorted(set(given))
    missing = texts.count("")
    if len(found) == 1:
        return Column(title, LEFT_OUT, f"always {shown(found[0])!r}", missing)
    if len(found) > MOST_CATEGORIES:
        return Column(title, LEFT_OUT, f"{len(found):,} different texts", missing)
    values = np.array([[float(text == c) for c in found] for text in texts])
    values[[not text for text in texts]] = math.nan
    categories = tuple(map(shown, found))
    said = ", ".join(categories[:6]) + (", ..." if len(found) > 6 else "")
    return Column(title, ONE_HOT, said, missing, values=values, categories=categories)


def _of_numbers(title: str, values: np.ndarray, name: str) -> Column:
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise DatasetError(
            f"{name}, column {title!r}, row {row + 1:,}: the value is infinite; give a number, "
            "leave the cell empty, or leave the column out"
        )
    there = values[~np.isnan(values)]
    missing = len(values) - len(there)
    if not len(there):
        return Column(title, LEFT_OUT, "empty", missing)
    low, mean, high = float(there.min()), float(there.mean()), float(there.max())
    if low == high:
        return Column(title, LEFT_OUT, f"always {low:g}", missing)
    is_whole = bool((there == np.rint(there)).all())
    counted = is_whole and len(there) == len(values) and bool((np.diff(values) == 1).all())
    if counted or (title.lower() in _INDEX_WORDS and len(np.unique(there)) == len(values)):
        return Column(title, LEFT_OUT, "numbers of the rows")
    kind = REAL
    if is_whole and low == 0 and high == 1:
        kind = BINARY
    elif is_whole and 0 <= low <= 1:
        kind = COUNT
    elif low > 0 and high / low > _DECADES:
        kind = POSITIVE
    why = "whole numbers, some below 0" if is_whole and low < 0 else ""
    return Column(title, kind, why, missing, low, mean, high, values)


def _text(cell: Any) -> str:
    text = str(cell).strip()
    return "" if text.lower() in _MISSING else text


def _number(text: str) -> float | None:
    """A number as people write it, with a point or a comma; None if it is none."""
    for form in (text, text.replace(",", ".") if text.count(",") == 1 else text):
        try:
            return float(form)
        except ValueError:
            continue
    return None


def _are_dates(texts: list[str]) -> bool:
    import pandas as pd  # half a second, for whoever has a table

    some = texts[:200]
    if not any(ch.isdigit() for ch in some[0]):
        return False
    try:
        return bool(
            pd.to_datetime(pd.Series(some), errors="coerce", format="mixed").notna().mean() > 0.9
        )
    except (ValueError, TypeError, OverflowError):
        return False


# Arrays


def _numeric_arrays(source: PathOrFile) -> dict[str, np.ndarray]:
    """The arrays of a file, if one of them is of rows of features or of series; else none."""
    name = name_of(source)
    with ExitStack() as stack:
        try:
            file = open_file(source, stack)
            if Path(name).suffix.lower() == ".npy":
                found = {"": _npy(source, file)}
            else:
                check_zip(file, name)
                found = {}
                with zipfile.ZipFile(file) as archive:
                    if sum(i.file_size for i in archive.infolist()) > 2 * limits.MAX_KEPT_BYTES:
                        return {}
                    for member in archive.infolist():
                        with archive.open(member) as part:
                            array = np.lib.format.read_array(part, allow_pickle=False)
                        found[member.filename.removesuffix(".npy")] = array
        except (OSError, ValueError, zipfile.BadZipFile, EOFError, DatasetError):
            return {}  # the reader of images says what is wrong with it
    if not any(_may_be_numbers(array) for array in found.values()):
        return {}
    return found


def _npy(source: PathOrFile, file: Any) -> np.ndarray:
    """The array of a file, on disk where that is one: most of it may never be looked at."""
    if isinstance(source, str | Path):
        return np.lib.format.open_memmap(source, mode="r")
    return np.lib.format.read_array(file, allow_pickle=False)


def _may_be_numbers(array: np.ndarray) -> bool:
    """Rows of features, or series: nothing that could be images."""
    if not np.issubdtype(array.dtype, np.number) or array.dtype == np.uint8 or array.ndim < 2:
        return False
    if array.ndim == 2:
        n = array.shape[1]
        is_square = any(math.isqrt(n // c) ** 2 * c == n and n >= 64 for c in (1, 3) if n % c == 0)
        return array.shape[0] > 1 and n > 1 and not is_square
    return array.ndim == 3 and array.shape[1] < _MOST_ROWS_HIGH and array.shape[2] > array.shape[1]


def _of_array(
    name: str, arrays: dict[str, np.ndarray], label: str | None, leave_out: Sequence[str]
) -> Plan:
    import pandas as pd  # half a second, for whoever has a table

    rows = {key: array for key, array in arrays.items() if _may_be_numbers(array)}
    if len(rows) > 1:
        told = ", ".join(f"{shown(key)} {array.shape}" for key, array in list(rows.items())[:5])
        raise DatasetError(f"{name} holds several arrays that may be the data: {told}; keep one")
    ((key, data),) = rows.items()
    N = len(data)
    if N > limits.MAX_IMAGES:
        raise DatasetError(f"{name} has {N:,} rows; at most {limits.MAX_IMAGES:,}")
    _check_numbers(N, int(np.prod(data.shape[1:])), name)
    others = {k: a for k, a in arrays.items() if k != key and a.ndim == 1 and len(a) == N}
    usual = [
        k for k in others if k.lower() in LABEL_WORDS or k.lower() in ("y", "target", "labels")
    ]
    chosen = label if label in others else (usual[0] if usual and label is None else None)
    if label and label not in others:
        held = ", ".join(map(shown, others)) or "none"
        raise DatasetError(f"{name} has no labels {shown(label)!r} of {N:,} values; it has: {held}")
    labels = [_text(value) for value in others[chosen]] if chosen else [""] * N
    if data.ndim == 2:
        names = next((a for k, a in arrays.items() if a.ndim == 1 and len(a) == data.shape[1]
                      and a.dtype.kind in "US"), None)  # fmt: skip
        titles = [f"x{i + 1}" for i in range(data.shape[1])] if names is None else names.astype(str)
        _check_width(len(titles), name)
        frame = pd.DataFrame(np.asarray(data, dtype=np.float64), columns=pd.Index(titles))
        frame, notes = _with_names(frame, name)
        found = _of_table(name, frame, "", leave_out, notes)
    else:
        values = np.asarray(data, dtype=np.float64)
        if np.isinf(values).any():
            row = int(np.argwhere(np.isinf(values))[0][0])
            raise DatasetError(f"{name}, series {row:,}: a value is infinite; give numbers")
        _check_width(values.shape[2], name)
        if values.shape[1] > MAX_CHANNELS:
            raise DatasetError(f"{name}: {values.shape[1]} channels; at most {MAX_CHANNELS}")
        if np.nanmax(values) == np.nanmin(values):
            raise DatasetError(f"{name}: all values are {np.nanmin(values):g}: nothing to learn")
        found = Plan(name, SERIES, N, (), (), (), values)
    classes, told = as_classes(labels, f"The labels {chosen}" if chosen else "The rows")
    notes = (*found.notes, told) if told and chosen else found.notes
    return Plan(name, found.kind, N, found.columns, tuple(classes), notes, found.series)
