"""Tables and arrays of one's own: what becomes of each column, and what cannot be used."""

import importlib.util
import io
import math

import numpy as np
import pandas as pd
import pytest

from vae.config import SERIES, VECTOR
from vae.data import catalogue, own
from vae.data.dataset import DatasetError
from vae.data.own.columns import LABEL, LEFT_OUT, ONE_HOT
from vae.features import BINARY, COUNT, POSITIVE, REAL, as_measured

N = 60
RNG = np.random.default_rng(0)


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": np.arange(100, 100 + N),
            "length": RNG.normal(5, 2, N).round(3),
            "income": np.exp(RNG.normal(8, 3, N)).round(2),
            "smokes": RNG.integers(0, 2, N),
            "visits": RNG.poisson(3, N) - RNG.poisson(3, N).min() + 0,
            "change": RNG.integers(-3, 3, N),
            "colour": RNG.choice(["red", "green", "blue"], N),
            "note": [f"remark {i}" for i in range(N)],
            "born": pd.date_range("1990-01-03", periods=N, freq="37D").strftime("%Y-%m-%d"),
            "always": "same",
            "gone": [None] * N,
            "species": RNG.choice(["a", "b"], N),
        }
    )


WANTED = {
    "id": LEFT_OUT,
    "length": REAL,
    "income": POSITIVE,
    "smokes": BINARY,
    "change": REAL,
    "colour": ONE_HOT,
    "note": LEFT_OUT,
    "born": LEFT_OUT,
    "always": LEFT_OUT,
    "gone": LEFT_OUT,
    "species": LABEL,
}


def named(data: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(data)
    file.name = name
    return file


def as_file(frame: pd.DataFrame, form: str) -> io.BytesIO:
    if form == "parquet":
        return named(frame.to_parquet(index=False), "t.parquet")
    separator, decimal, encoding = {
        "comma": (",", ".", "utf-8"),
        "semicolon": (";", ",", "cp1252"),
        "tab": ("\t", ".", "utf-16"),
        "bom": (",", ".", "utf-8-sig"),
    }[form]
    text = frame.to_csv(index=False, sep=separator, decimal=decimal)
    return named(text.encode(encoding), "t.csv")


FORMS = ["comma", "semicolon", "tab", "bom", "parquet"]


@pytest.mark.parametrize("form", FORMS)
def test_each_column_becomes_what_its_values_are(form):
    frame = table()
    found = own.plan(as_file(frame, form), label="species")
    becomes = {column.name: column.becomes for column in found.columns}
    assert {name: becomes[name] for name in WANTED} == WANTED
    assert becomes["visits"] in (COUNT, REAL)  # counts begin at 0 or 1
    assert [f.name for f in found.features][-3:] == [
        "colour = blue",
        "colour = green",
        "colour = red",
    ]
    assert "id" in found.said
    assert found.n_missing == 0


@pytest.mark.parametrize("form", FORMS)
def test_its_values_come_back_and_what_is_missing_is_counted(form):
    frame = table()[["length", "income", "smokes", "species"]]
    frame.loc[::7, "length"] = np.nan
    data = own.columns.read(as_file(frame, form), "species")
    values = as_measured(data.images.flatten(1).numpy(), data.features)
    expected = frame[["length", "income", "smokes"]].to_numpy(dtype=float)
    np.testing.assert_allclose(values, expected, rtol=1e-4)
    assert np.isnan(values).sum() == math.ceil(N / 7)
    assert [data.class_names[i] for i in data.labels] == frame["species"].tolist()


@pytest.mark.usefixtures("data_folder")
def test_a_kept_table_is_a_data_set_like_the_others(tmp_path):
    path = tmp_path / "mine.csv"
    table().to_csv(path, index=False)
    source = own.add_table(own.plan(path, "species"), "mine")
    assert (source.kind, source.n_classes, source.is_own) == (VECTOR, 2, True)
    train, test = (catalogue.load("mine", split) for split in ("train", "test"))
    assert (len(train), len(test)) == (48, 12) == (source.n_train, 12)
    assert train.features == test.features == source.features
    assert "mine" in catalogue.names()
    whole = own.columns.read(path, "species")
    held_out = catalogue.is_held_out(N)
    np.testing.assert_array_equal(test.images, whole.images[held_out])
    with pytest.raises(DatasetError, match="exists already"):
        own.add_table(own.plan(path, "species"), "mine")
    own.remove("mine")
    assert "mine" not in catalogue.names()


def test_a_table_without_titles_numbers_its_columns():
    found = own.plan(named(b"1.5,2\n2.5,9\n3.5,4\n", "t.csv"))
    assert [c.name for c in found.columns] == ["1", "2"]
    assert "called 1, 2" in found.said


def test_columns_of_the_same_name_are_told_apart():
    found = own.plan(named(b"a,a,b\n1.5,2,1\n2.5,9,2\n3.5,4,5\n", "t.csv"))
    assert [c.name for c in found.columns] == ["a", "a (2)", "b"]
    assert "were numbered: a" in found.said


def test_true_and_false_are_1_and_0():
    found = own.plan(named(b"x,y\ntrue,1.5\nfalse,2\ntrue,3\n,4\n", "t.csv"))
    assert found.columns[0].becomes == BINARY
    np.testing.assert_array_equal(found.columns[0].values, [1, 0, 1, np.nan])


def test_a_label_that_measures_is_none_and_that_is_said():
    frame = pd.DataFrame({"x": RNG.normal(size=N), "target": RNG.normal(size=N)})
    found = own.plan(as_file(frame, "comma"))
    assert set(found.labels) == {"unlabelled"}
    assert "different numbers" in found.said


WIDE = ",".join(f"c{i}" for i in range(100_000)).encode() + b"\n" + b",".join([b"1"] * 100_000)


def rows(*lines: str, titles: str = "a,b") -> bytes:
    return "\n".join([titles, *lines]).encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (rows("1,2", "3", "4,5"), "row 3 .* has 1 of 2 columns"),
        (rows("1,2", "3,4", "oops,6", "5,6"), "column 'a', row 3: 'oops' is no number, where 3"),
        (rows("1,2", "3,inf", "4,5"), "column 'b', row 2: the value is infinite"),
        (rows("1,2", "1,2", "1,2"), "no column that a model could learn .a: always 1"),
        (rows("2024-01-02,x", "2024-01-03,x", "2024-02-03,x"), "no column .* dates"),
        (rows(",", ",", titles="a,b"), "no rows|line of titles and no rows|empty"),
        (rows(titles="a,b"), "line of titles and no rows|no rows"),
        (b"", "no rows"),
        (b"\x00\x01\x02\xff" * 50, "no text"),
        (WIDE, "100,000 columns; at most"),
    ],
)
def test_a_table_that_cannot_be_used_is_told_by_column_row_and_value(data, told):
    with pytest.raises(DatasetError, match=told):
        own.plan(named(data, "t.csv"))


def test_a_column_that_is_left_out_may_hold_anything():
    found = own.plan(named(rows("1,2", "3,4", "oops,6", "5,8"), "t.csv"), leave_out=["a"])
    assert [f.name for f in found.features] == ["b"]


def test_an_unknown_column_is_told_with_those_there_are():
    for arguments in ({"label": "c"}, {"leave_out": ["c"]}):
        with pytest.raises(DatasetError, match="no column 'c'; it has a, b"):
            own.plan(named(rows("1,2", "3,4"), "t.csv"), **arguments)


def test_few_rows_and_damaged_files_are_told():
    with pytest.raises(DatasetError, match="holds 2 rows; at least 10"):
        own.columns.read(named(rows("1,2", "3,4"), "t.csv"))
    with pytest.raises(DatasetError, match=r"t\.parquet cannot be read"):
        own.plan(named(b"PAR1 but not really", "t.parquet"))
    with pytest.raises(DatasetError, match=r"anndata|cannot be read"):
        own.plan(named(b"not one", "t.h5ad"))


def test_whole_numbers_below_0_are_no_counts_and_that_is_said():
    column = own.plan(named(rows("0,1", "-3,2", "4,3", "2,9"), "t.csv"), label="").columns[0]
    assert (column.becomes, column.why) == (REAL, "whole numbers, some below 0")


# Arrays


def saved(**arrays: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return named(file.getvalue(), "a.npz")


def test_an_array_of_rows_is_one_of_vectors_with_its_labels():
    x = RNG.normal(size=(N, 7)).astype(np.float32)
    y = np.arange(N) % 3
    file = saved(x=x, y=y)
    assert own.is_table(file)
    data = own.columns.read(file)
    assert (data.kind, data.image_shape) == (VECTOR, (1, 1, 7))
    np.testing.assert_array_equal(data.labels, y)
    values = as_measured(data.images.flatten(1).numpy(), data.features)
    np.testing.assert_allclose(values, x, atol=1e-4)


@pytest.mark.parametrize("C", [1, 3])
def test_an_array_of_few_rows_is_one_of_series(C, tmp_path):
    x = RNG.normal(3, 2, size=(N, C, 50))
    np.save(tmp_path / "s.npy", x)
    assert own.is_table(tmp_path / "s.npy")
    data = own.columns.read(tmp_path / "s.npy")
    assert (data.kind, data.image_shape, len(data.features)) == (SERIES, (C, 1, 50), C)
    np.testing.assert_allclose(
        as_measured(data.images[:, :, 0].numpy(), data.features), x, atol=1e-4
    )


@pytest.mark.parametrize(
    "images", [np.zeros((20, 8, 8)), np.zeros((20, 64)), np.zeros((20, 3, 9, 9), np.uint8)]
)
def test_arrays_of_images_stay_images(images):
    assert not own.is_table(saved(images=images))


def test_arrays_that_cannot_be_used_are_told():
    with pytest.raises(DatasetError, match="several arrays"):
        own.plan(saved(a=np.ones((20, 5)), b=np.ones((20, 5))))
    bad = np.ones((20, 1, 30))
    bad[3, 0, 2] = np.inf
    with pytest.raises(DatasetError, match="series 3: a value is infinite"):
        own.plan(saved(a=bad))
    with pytest.raises(DatasetError, match="nothing to learn"):
        own.plan(saved(a=np.ones((20, 1, 30))))


@pytest.mark.filterwarnings("ignore")  # what anndata says of pandas is its own
@pytest.mark.skipif(importlib.util.find_spec("anndata") is None, reason="anndata is an extra")
def test_expression_counts_are_counts(tmp_path):
    import anndata

    counts = RNG.poisson(2, (N, 6)).astype(np.float32)
    kinds = pd.Categorical(RNG.choice(["T", "B"], N))
    anndata.settings.allow_write_nullable_strings = True
    told = pd.DataFrame({"class": kinds}, index=[f"cell {i}" for i in range(N)])
    anndata.AnnData(counts, obs=told).write_h5ad(tmp_path / "cells.h5ad")
    found = own.plan(tmp_path / "cells.h5ad")
    assert {f.kind for f in found.features} == {COUNT}
    assert set(found.labels) == {"T", "B"}
