"""log p(x) and the gap on Points: offered, computed behind the page, stored, shown."""

import io
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import pytest
import streamlit as st
import torch
from streamlit.testing.v1 import AppTest

from vae.config import ModelConfig
from vae.core.model import VAE
from vae.data.dataset import DatasetError
from vae.errors import UserError
from vae.inference import evidence as library
from vae.inference.evidence import ANNEALED, EXACT, IMPORTANCE_WEIGHTED, Evidence
from vae.runs import checkpoint, files
from vae.runs.checkpoint import CheckpointError
from vae.ui.results import loaded
from vae.ui.results.store import RESULTS

FILE = "log-px-digits-test.safetensors"
COLUMNS = {"log p(x)", "gap"}


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.01)


def button(app: AppTest, label: str):
    return next((found for found in app.button if label in found.label), None)


def press(app: AppTest, label: str) -> AppTest:
    button(app, label).click().run()
    assert not app.exception
    return app


def orders(app: AppTest) -> list[str]:
    return [option.content for option in app.segmented_control[0].proto.options]


def said(app: AppTest) -> str:
    elements = [*app.error, *app.warning, *app.caption]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


def progress_of(app: AppTest) -> str:
    """What the progress bar says; nothing if there is none."""
    return "".join(element.proto.text for element in app.get("progress"))


def stored(checkpoints) -> Evidence | None:
    return checkpoint.open_run(checkpoints / "tiny").load_evidence("digits", "test")


def put(checkpoints, n: int = 359, method: str = EXACT) -> Evidence:
    """Stores made-up values, so that a test of the page need not wait for true ones."""
    log_px, gap = np.random.default_rng(1).uniform([[-50], [0]], [[-10], [9]], (2, n))
    elbo = np.full(n, np.nan) if method == ANNEALED else log_px - gap
    made = Evidence("digits", "test", method, 0 if method == EXACT else 16, 0, log_px, gap, elbo)
    checkpoint.save_evidence(checkpoint.open_run(checkpoints / "tiny"), made)
    return made


class Held:
    """Stands in for the computation: reports, and goes on until it is let go."""

    def __init__(self, result: Callable[..., Evidence]) -> None:
        self.result, self.let_go, self.n_calls = result, threading.Event(), 0

    def __call__(self, model, dataset, *arguments, progress) -> Evidence:
        self.n_calls += 1
        while not self.let_go.wait(0.005):
            progress(100, len(dataset))
        return self.result(model, dataset, *arguments)


@pytest.fixture
def held(monkeypatch) -> Iterator[Held]:
    work = Held(library.exact)
    monkeypatch.setattr(library, "exact", work)
    yield work
    work.let_go.set()


def test_without_log_px_the_table_has_none_and_the_page_offers_it(points):
    assert not COLUMNS & set(points.dataframe[0].value)
    assert not COLUMNS & set(orders(points))
    assert button(points, "Compute log p(x) of all 359 points")
    assert "exact, by quadrature" in said(points)
    assert button(points, "Cancel") is None


def test_the_button_computes_it_and_the_columns_come(points, checkpoints, embedding):
    press(points, "Compute log p(x)")
    until(lambda: RESULTS.is_idle)
    points.run()
    assert not points.exception
    found = stored(checkpoints)
    assert found.method == EXACT
    table = points.dataframe[0].value
    assert table["log p(x)"].to_numpy() == pytest.approx(found.log_px[table["point"]])
    assert table["gap"].to_numpy() == pytest.approx(found.gap[table["point"]])
    # Equation (8), but for the sampling error of the table's own ELBO.
    rest = (table["log p(x)"] + table["-ELBO"] - table["gap"]).to_numpy()
    assert (np.abs(rest) < 6 * embedding.recon_stderr[table["point"]] + 1e-3).all()
    assert "log p(x): exact, by quadrature" in said(points)
    assert button(points, "Compute log p(x)") is None


def test_while_it_runs_the_page_says_how_far_it_is(points, held):
    press(points, "Compute log p(x)")
    until(lambda: any(task.done == 100 for task in RESULTS._tasks.values()))
    points.run()
    assert "log p(x) of 100 of 359 points" in progress_of(points)
    assert "left" in progress_of(points)
    assert button(points, "Compute") is None
    assert not COLUMNS & set(points.dataframe[0].value)


def test_it_goes_on_while_other_pages_are_looked_at_and_others_see_it(points, held, checkpoints):
    press(points, "Compute log p(x)")
    points.switch_page("pages/explore.py").run()
    points.switch_page("pages/points.py").run()
    assert "log p(x)" in progress_of(points)
    other = AppTest.from_file(points._script_path, default_timeout=120)
    other.run().switch_page("pages/points.py").run()
    assert "log p(x)" in progress_of(other)
    held.let_go.set()
    until(lambda: RESULTS.is_idle)
    for visitor in (points, other):
        visitor.run()
        assert set(visitor.dataframe[0].value) >= COLUMNS
        assert not progress_of(visitor)
    assert held.n_calls == 1


def test_cancel_brings_the_button_back_and_stores_nothing(points, held, checkpoints):
    press(points, "Compute log p(x)")
    press(points, "Cancel")
    points.run()
    assert button(points, "Compute log p(x)")
    assert not progress_of(points)
    until(lambda: RESULTS.is_idle)
    assert not (checkpoints / "tiny" / FILE).exists()
    press(points, "Compute log p(x)")
    held.let_go.set()
    until(lambda: RESULTS.is_idle)
    assert set(points.run().dataframe[0].value) >= COLUMNS


def test_what_cannot_be_computed_is_a_sentence_and_the_button(points, monkeypatch):
    def fail(*arguments, **options):
        raise UserError("log p(x|z) is finite at none of the 9,216 latent points")

    monkeypatch.setattr(library, "exact", fail)
    press(points, "Compute log p(x)")
    until(lambda: RESULTS.is_idle)
    points.run()
    assert "could not be computed: log p(x|z) is finite at none of the 9,216" in said(points)
    assert button(points, "Compute log p(x)")


def test_weights_that_are_replaced_meanwhile_get_no_log_px_of_the_old(points, held, checkpoints):
    press(points, "Compute log p(x)")
    until(lambda: held.n_calls == 1)
    run = checkpoint.open_run(checkpoints / "tiny")
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3
    checkpoint.save_model(run, model)
    held.let_go.set()
    until(lambda: RESULTS.is_idle)
    assert not (checkpoints / "tiny" / FILE).exists()
    points.run()
    assert not points.exception
    assert button(points, "Compute log p(x)")


def test_a_second_visit_has_it_from_the_disk(points, checkpoints):
    made = put(checkpoints)
    points.run()
    table = points.dataframe[0].value
    assert table["log p(x)"].to_numpy() == pytest.approx(made.log_px[table["point"]])
    newer = put(checkpoints, method=IMPORTANCE_WEIGHTED)
    assert newer.how in said(points.run())


def test_the_least_likely_and_the_widest_gap_come_first(points, checkpoints):
    put(checkpoints)
    points.run()
    for order, sign in (("log p(x)", 1), ("gap", -1)):
        points.segmented_control[0].set_value(order).run()
        assert (sign * np.diff(points.dataframe[0].value[order]) >= 0).all()


def test_the_class_summary_has_their_means(points, checkpoints, embedding):
    made = put(checkpoints)
    summary = points.run().dataframe[1].value
    frame = pd.DataFrame({"label": embedding.labels.astype(str), "gap": made.gap})
    frame["log p(x)"] = made.log_px
    expected = frame.groupby("label").mean()
    for name in COLUMNS:
        assert summary[name].to_dict() == pytest.approx(expected[name].to_dict())


def test_the_downloads_have_them_too(points, checkpoints, monkeypatch):
    made, given = put(checkpoints), []
    download_button = st.download_button

    def take(label, data, **options):
        given.append(data())
        return download_button(label, b"", **options)

    monkeypatch.setattr(st, "download_button", take)
    points.run()
    csv, parquet = pd.read_csv(io.BytesIO(given[0])), pd.read_parquet(io.BytesIO(given[1]))
    for table in (csv, parquet):
        assert table["log_px"].to_numpy() == pytest.approx(made.log_px)
        assert table["gap"].to_numpy() == pytest.approx(made.gap)


def test_what_was_annealed_has_no_gap(points, checkpoints):
    made = put(checkpoints, method=ANNEALED)
    points.run()
    assert not points.exception
    assert "log p(x)" in points.dataframe[0].value
    assert "gap" not in points.dataframe[0].value
    assert "gap" not in orders(points)
    assert made.how in said(points)


@pytest.mark.parametrize("order", ["gap", "log p(x)", "nonsense"])
def test_a_link_to_an_order_that_is_not_there_opens(order, app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    app.query_params["order"] = order
    app.run().switch_page("pages/points.py")
    app.query_params["order"] = order
    app.run()
    assert not app.exception
    assert app.segmented_control[0].value == "-ELBO"


def test_an_order_that_is_gone_falls_back(points, checkpoints, tiny_run):
    put(checkpoints)
    tiny_run(checkpoints / "without")
    points.run().segmented_control[0].set_value("gap").run()
    points.sidebar.selectbox[0].set_value("without").run()
    assert not points.exception
    assert points.segmented_control[0].value == "-ELBO"
    steps = np.diff(points.dataframe[0].value["-ELBO"])
    assert (steps <= 0).all()


def test_the_order_stays_when_the_columns_come(points, checkpoints):
    points.segmented_control[0].set_value("KL").run()
    put(checkpoints)
    points.run()
    assert "gap" in orders(points)
    assert points.segmented_control[0].value == "KL"
    assert (np.diff(points.dataframe[0].value["KL"]) <= 0).all()


def test_log_px_of_other_weights_is_offered_anew(points, checkpoints):
    put(checkpoints)
    run = checkpoint.open_run(checkpoints / "tiny")
    model = run.load_model()
    with torch.no_grad():
        model.encoder.mu.bias += 1e-3
    checkpoint.save_model(run, model)
    points.run()
    assert button(points, "Compute log p(x)")


def test_log_px_of_another_number_of_points_counts_for_nothing(points, checkpoints):
    put(checkpoints, n=80)
    points.run()
    assert not points.exception
    assert button(points, "Compute log p(x)")
    assert not COLUMNS & set(points.dataframe[0].value)


def test_a_damaged_file_is_told_and_computed_anew(points, checkpoints):
    (checkpoints / "tiny" / FILE).write_bytes(b"nothing")
    points.run()
    assert FILE in said(points)
    assert points.metric  # the rest of the page is there
    press(points, "Compute log p(x)")
    until(lambda: RESULTS.is_idle)
    points.run()
    assert FILE not in said(points)
    assert set(points.dataframe[0].value) >= COLUMNS
    assert len(stored(checkpoints)) == 359


@pytest.mark.parametrize("damaged", [False, True])
def test_where_it_cannot_be_written_it_is_kept_and_that_is_said(
    damaged, points, checkpoints, monkeypatch
):
    def refuse(path, data):
        raise CheckpointError(f"cannot write {path}: Read-only file system")

    monkeypatch.setattr(files, "write_atomic", refuse)
    if damaged:
        (checkpoints / "tiny" / FILE).write_bytes(b"nothing")
        points.run()
    press(points, "Compute log p(x)")
    until(lambda: RESULTS.is_idle)
    for _ in range(2):
        points.run()
        assert set(points.dataframe[0].value) >= COLUMNS
        assert "Read-only file system" in said(points)
        assert "until the server ends" in said(points)
    assert (checkpoints / "tiny" / FILE).exists() is damaged


def test_without_the_images_it_says_why_it_cannot_be_computed(points, monkeypatch):
    def nothing_there(*_):
        raise DatasetError("digits is not here")

    monkeypatch.setattr(loaded, "dataset", nothing_there)
    points.run()
    assert "log p(x) needs the images, and they are not at hand: digits is not here" in said(points)
    assert button(points, "Compute log p(x)") is None


def test_log_px_that_is_stored_is_shown_without_the_images(points, checkpoints, monkeypatch):
    def nothing_there(*_):
        raise DatasetError("digits is not here")

    put(checkpoints)
    monkeypatch.setattr(loaded, "dataset", nothing_there)
    assert set(points.run().dataframe[0].value) >= COLUMNS


def test_more_than_two_dimensions_are_estimated(points, checkpoints, monkeypatch):
    monkeypatch.setattr("vae.ui.results.evidence.USUAL_SAMPLES", 8)
    tiny = checkpoint.open_run(checkpoints / "tiny")
    config = ModelConfig((1, 8, 8), latent_dim=3, hidden=(4,))
    run = checkpoint.create(checkpoints / "wide", config, tiny.train_config)
    checkpoint.save_model(run, VAE(config, torch.Generator().manual_seed(0)))
    points.run().sidebar.selectbox[0].set_value("wide").run()
    assert "importance-weighted, K = 8" in said(points)
    press(points, "Compute log p(x)")
    until(lambda: RESULTS.is_idle)
    points.run()
    assert "log p(x): importance-weighted, K = 8" in said(points)
    assert run.load_evidence("digits", "test").n_samples == 8
