"""The Points page without a browser: order, filter, summary."""

import io

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from vae import checkpoint, tables
from vae.embedding import Embedding


@pytest.fixture
def points(app, checkpoints, tiny_run) -> AppTest:
    tiny_run(checkpoints / "tiny")
    return app.run().switch_page("pages/points.py").run()


@pytest.fixture
def embedding(points, checkpoints) -> Embedding:
    return checkpoint.open_run(checkpoints / "tiny").load_embedding()


def test_the_costliest_points_come_first(points, embedding):
    table = points.dataframe[0].value
    assert list(table["point"]) == list(np.argsort(-embedding.neg_elbo, kind="stable")[:100])
    assert table["-ELBO"].to_numpy() == pytest.approx(embedding.neg_elbo[table["point"]])
    assert table["x"].iloc[0].startswith("data:image/png;base64,")


@pytest.mark.parametrize("order", ["recon", "KL", "KL share", "index"])
def test_the_order_is_the_one_asked_for(order, points):
    points.segmented_control[0].set_value(order).run()
    table = points.dataframe[0].value
    values = table["point" if order == "index" else order].to_numpy()
    steps = np.diff(values)
    assert (steps >= 0).all() if order == "index" else (steps <= 0).all()


def test_only_the_chosen_classes_are_listed(points):
    points.multiselect[0].set_value(["3", "7"]).run()
    assert set(points.dataframe[0].value["label"]) == {"3", "7"}


def test_the_pages_of_the_table_hold_every_point_once(points, embedding):
    seen = []
    for page in range(1, 5):
        points.number_input(key="table_page").set_value(page).run()
        seen += list(points.dataframe[0].value["point"])
    assert sorted(seen) == list(range(len(embedding)))


def test_a_filter_that_leaves_fewer_pages_shows_the_last_of_them(points):
    points.number_input(key="table_page").set_value(4).run()
    points.multiselect[0].set_value(["3"]).run()
    assert not points.exception
    assert len(points.dataframe[0].value) > 0


def test_the_class_summary_is_the_mean_of_the_points(points, embedding):
    summary = points.dataframe[1].value
    frame = pd.DataFrame(embedding.table())
    expected = frame.groupby("label")["neg_elbo"].mean()
    assert summary["-ELBO"].to_dict() == pytest.approx(expected.to_dict())
    assert summary["points"].sum() == len(embedding)


def test_a_lasso_group_can_be_listed_alone(points):
    points.session_state["group"] = ("digits held-out", [4, 8, 15])
    points.run()
    points.toggle[0].set_value(True).run()
    assert set(points.dataframe[0].value["point"]) == {4, 8, 15}
    points.sidebar.selectbox[1].set_value("digits training").run()  # other points, other indices
    assert not points.toggle


def test_the_downloads_hold_what_the_command_line_writes(points, embedding):
    csv = pd.read_csv(io.BytesIO(tables.as_csv(embedding)))
    parquet = pd.read_parquet(io.BytesIO(tables.as_parquet(embedding)))
    assert list(csv.columns) == list(parquet.columns) == list(embedding.table())
    assert csv["neg_elbo"].to_numpy() == pytest.approx(embedding.neg_elbo)
    assert parquet["neg_elbo"].to_numpy() == pytest.approx(embedding.neg_elbo)
