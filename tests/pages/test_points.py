"""The Points page without a browser: order, filter, summary."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
import torch
from pages.live_panel import LivePanel
from streamlit.testing.v1 import AppTest

from vae.analysis import tables
from vae.analysis.embedding import Embedding, embed
from vae.data.dataset import Dataset
from vae.runs import checkpoint


def test_the_costliest_points_come_first(points, embedding):
    table = points.dataframe[0].value
    assert list(table["point"]) == list(np.argsort(-embedding.neg_elbo, kind="stable")[:100])
    assert table["-ELBO"].to_numpy() == pytest.approx(embedding.neg_elbo[table["point"]])
    assert table["x"].iloc[0].startswith("data:image/png;base64,")


def test_the_order_is_the_one_asked_for(points):
    for order in ("recon", "KL", "KL share", "index"):
        points.segmented_control[0].set_value(order).run()
        table = points.dataframe[0].value
        steps = np.diff(table["point" if order == "index" else order].to_numpy())
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
    expected = frame.groupby("label")["neg_ELBO"].mean()
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
    assert csv["neg_ELBO"].to_numpy() == pytest.approx(embedding.neg_elbo)
    assert parquet["neg_ELBO"].to_numpy() == pytest.approx(embedding.neg_elbo)


# Drawings


def draw(app: AppTest, *images: bytes) -> AppTest:
    """Sends drawings from Explore's panel and goes to Points."""
    app.switch_page("pages/explore.py").run()
    panel = LivePanel(app)
    for image in images:
        panel.trigger("drawn", base64.b64encode(image).decode())
        assert not app.exception
    return app.switch_page("pages/points.py").run()


def drawings(app: AppTest) -> pd.DataFrame | None:
    tables = [found.value for found in app.dataframe]
    return next((t for t in tables if "label" in t and "your point 1" in set(t["label"])), None)


def random_images(n: int) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(n, 1, 8, 8), dtype=np.uint8)


def test_without_a_drawing_there_is_no_table_of_them(points):
    assert drawings(points) is None


def test_drawings_stand_on_the_page_with_their_terms(points, embedding, checkpoints):
    images = random_images(2)
    table = drawings(draw(points, *(image.tobytes() for image in images)))
    assert list(table["label"]) == ["your point 1", "your point 2"]
    assert table["x"].str.startswith("data:image/png;base64,").all()
    labels = torch.zeros(2, dtype=torch.int64)
    data = Dataset("drawn", "all", torch.from_numpy(images), labels, ("yours",))
    expected = embed(checkpoint.open_run(checkpoints / "tiny").load_model(), data)
    for column, values in (
        ("recon", expected.recon),
        ("KL", expected.kl),
        ("-ELBO", expected.neg_elbo),
        ("KL share", expected.kl / expected.neg_elbo),
    ):
        assert table[column].to_numpy() == pytest.approx(values, rel=1e-5), column
    rank = [1 + int((embedding.neg_elbo > cost).sum()) for cost in expected.neg_elbo]
    assert list(table.filter(like="rank").iloc[:, 0]) == rank


def test_a_drawing_keeps_its_terms_when_another_joins_it(points):
    first, second = (image.tobytes() for image in random_images(2))
    alone = drawings(draw(points, first)).iloc[0]
    both = drawings(draw(points, second)).iloc[0]
    pd.testing.assert_series_equal(alone, both)


def test_a_drawing_of_another_size_is_ignored(points):
    assert drawings(draw(points, *(bytes(n) for n in (0, 63, 65, 784)))) is None


def test_a_drawing_that_is_none_is_ignored(points):
    points.switch_page("pages/explore.py").run()
    for value in ("not base64!", "", None, 3, ["AAAA"], {"x": 1}):
        LivePanel(points).trigger("drawn", value)
        assert not points.exception
    points.switch_page("pages/points.py").run()
    assert drawings(points) is None


def test_drawings_can_be_forgotten(points):
    draw(points, random_images(1).tobytes())
    next(b for b in points.button if b.label == "Forget your drawings").click().run()
    assert not points.exception
    assert drawings(points) is None


def test_a_stored_map_may_say_that_it_is_of_anything(points, checkpoints, embedding):
    run = checkpoint.open_run(checkpoints / "tiny")
    for name in ("a\0b", "a" * 5000, "../..", "a/b"):
        checkpoint.save_embedding(run, Embedding(**(vars(embedding) | {"dataset": name})))
        points.run()
        assert not points.exception
        assert points.metric
