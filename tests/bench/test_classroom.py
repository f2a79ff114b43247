"""The classroom benchmark: visitors who speak the browser's protocol notice what goes wrong."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from vae.analysis import answers
from vae.bench import classroom, live
from vae.bench.classroom import _Texts, _wrong
from vae.live import class_pages
from vae.runs import checkpoint

RUN = "digits-2d"


@pytest.fixture(scope="module")
def embedding():
    return checkpoint.open_run(live.ROOT / "checkpoints" / RUN).load_embedding()


def texts(embedding, index: int, **changed: str) -> _Texts:
    values = {
        "recon": embedding.recon[index],
        "KL": embedding.kl[index],
        "-ELBO": embedding.neg_elbo[index],
    }
    metrics = {f"{name}, nats": f"{value:.2f}" for name, value in values.items()} | changed
    return _Texts(metrics=list(metrics.items()))


def test_the_terms_of_the_own_point_are_no_problem(embedding):
    assert _wrong("points", 3, embedding, texts(embedding, 3)) == []
    told = _Texts(sentences=["Hover to decode.", answers.where(embedding, 3)])
    assert _wrong("explore", 3, embedding, told) == []


def test_another_visitors_point_an_error_and_a_missing_number_are_noticed(embedding):
    other = int(np.argmax(abs(embedding.recon - embedding.recon[3])))
    assert len(_wrong("points", 3, embedding, texts(embedding, other))) >= 2
    told = _Texts(sentences=[answers.where(embedding, other)])
    assert _wrong("explore", 3, embedding, told) == [
        "explore: the sentence of point 3 is not there"
    ]
    missing = texts(embedding, 3, **{"KL, nats": ""})
    assert any("KL of point 3" in problem for problem in _wrong("points", 3, embedding, missing))
    broken = texts(embedding, 3)
    broken.errors.append("it failed")
    assert _wrong("train", 3, embedding, broken) == ["train: it failed"]


@pytest.mark.slow
def test_a_few_visitors_get_their_own_answers(tmp_path, monkeypatch):
    monkeypatch.setattr(classroom, "_THINKS_S", (0.0, 0.1))
    for name in classroom._RUNS:
        shutil.copytree(live.ROOT / "checkpoints" / name, tmp_path / name)
    # In a thread: the browser tests leave their own event loop running in this one.
    with (
        live.serve_process(live.ROOT / "app.py", tmp_path) as (url, pid),
        ThreadPoolExecutor(1) as pool,
    ):
        given = class_pages.add("<p>a page</p>" * 999, "", "digits-2d", root=tmp_path)
        row = pool.submit(classroom.measure, [(url, pid)], 3, 8.0, True, given, 5).result()
    assert row["cancelled_s"] > 0
    assert 0 < row["phone_median_s"] <= row["phone_p95_s"]
    assert row["problems"] == 0, row["first_problem"]
    assert row["visitors"] == 3
    assert row["pages"] >= 3
    assert 0 < row["median_s"] <= row["p95_s"]
