"""The Compare page without a browser: the pair, its sections, and what cannot be compared."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from vae.analysis import comparison
from vae.analysis.embedding import ARRAYS, Embedding, embed
from vae.config import ModelConfig, TrainConfig
from vae.core.model import VAE
from vae.data import catalogue
from vae.data.dataset import Dataset
from vae.inference.evidence import EXACT, Evidence, exact
from vae.runs import checkpoint
from vae.runs.checkpoint import Run
from vae.ui.results import loaded

ROOT = Path(__file__).resolve().parents[2]
SECTIONS = (
    *("This point", "Classes", "Dimensions", "Worst and best"),
    *("Rate and distortion", "Settings"),
)


@pytest.fixture
def shipped(checkpoints, tiny_run) -> Run:
    """tiny, which the sidebar shows, beside a better one: digits-2d."""
    shutil.copytree(ROOT / "checkpoints" / "digits-2d", checkpoints / "zz-digits")
    return tiny_run(checkpoints / "tiny")


@pytest.fixture
def compare(app, shipped) -> AppTest:
    return show(app)


def show(app: AppTest) -> AppTest:
    app.run().switch_page("pages/compare.py").run()
    assert not app.exception
    return app


def embeddings(checkpoints) -> list[Embedding]:
    return [checkpoint.open_run(checkpoints / n).load_embedding() for n in ("tiny", "zz-digits")]


def said(app: AppTest) -> str:
    elements = [*app.error, *app.warning, *app.info, *app.markdown, *app.caption]
    return "\n".join(str(element.value) for element in elements).replace("\\", "")


def picker(app: AppTest):
    return next(found for found in app.selectbox if found.label == "Compared with")


def go_to(app: AppTest, section: str) -> AppTest:
    chooser = next(found for found in app.segmented_control if found.key == "compared")
    chooser.set_value(section).run()
    assert not app.exception
    return app


def table(app: AppTest, *columns: str):
    return next(t.value for t in app.dataframe if set(columns) <= set(t.value.columns))


def traces(app: AppTest, place: int) -> list[dict]:
    return json.loads(app.get("plotly_chart")[place].proto.spec)["data"]


def test_the_headline_is_the_paired_difference_with_its_interval(compare, checkpoints):
    found = comparison.term_differences(*embeddings(checkpoints))
    total = found["neg_elbo"]
    text = said(compare)
    assert total.mean < 0
    assert f"zz-digits costs {-total.mean:.2f} nats less per image than tiny" in text
    assert f"95 % between {-total.high:.2f} and {-total.low:.2f}" in text
    assert "paired over 359 images, 10,000 bootstrap resamples, p < 0.0001" in text
    for name, label in (("recon", "recon"), ("kl", "KL")):
        part = found[name]
        assert f"{label} {part.mean:+.2f} ({part.low:+.2f} to {part.high:+.2f})" in text


def test_every_section_opens(compare):
    for section in SECTIONS:
        go_to(compare, section)
        assert not compare.error
        assert not compare.warning
        assert len(compare.get("plotly_chart")) >= 2


def test_the_terms_of_the_point_are_those_of_both_embeddings(compare, checkpoints):
    compare.number_input[0].set_value(17).run()
    rows = table(compare, "term", "difference").set_index("term")
    first, second = embeddings(checkpoints)
    for name, label in (("recon", "recon"), ("kl", "KL"), ("neg_elbo", "-ELBO")):
        a, b = (float(getattr(e, name)[17]) for e in (first, second))
        assert list(rows.loc[label]) == pytest.approx([a, b, b - a])
    assert "Point 17, label" in said(compare)


def test_the_classes_are_ordered_by_what_they_lost(compare, checkpoints):
    found = comparison.class_differences(*embeddings(checkpoints))
    rows = table(go_to(compare, "Classes"), "low", "high")
    assert rows["points"].sum() == 359
    assert (np.diff(rows["-ELBO"]) <= 0).all()
    for _, row in rows.iterrows():
        own = found[int(row["label"])]["neg_elbo"]
        assert [row["-ELBO"], row["low"], row["high"]] == [own.mean, own.low, own.high]


def test_the_tables_of_changes_begin_with_the_largest(compare, checkpoints):
    first, second = embeddings(checkpoints)
    change = comparison.change(first, second)
    go_to(compare, "Worst and best")
    worse, better = (t.value for t in compare.dataframe)
    assert worse["point"][0] == change.argmax()
    assert better["point"][0] == change.argmin()
    assert (worse["change"] > 0).all()
    assert (better["change"] < 0).all()
    assert worse["change"].to_numpy() == pytest.approx(change[worse["point"]])
    assert worse["x"][0].startswith("data:image/png;base64,")


def test_the_settings_that_differ_are_listed(compare):
    rows = table(go_to(compare, "Settings"), "setting", "first", "second").set_index("setting")
    assert list(rows.loc["epochs"]) == ["training", "2", "200"]
    assert "The same in both:" in said(compare)
    assert "dataset" in said(compare)


def test_the_group_is_lit_in_both_maps_and_has_its_means(compare, checkpoints):
    chosen = [4, 8, 15]
    compare.session_state["group"] = ("digits held-out", [*chosen, 8])  # a lasso may meet one twice
    compare.run()
    first, second = embeddings(checkpoints)
    text = said(compare)
    assert "3 points" in text
    for name, e in (("tiny", first), ("zz-digits", second)):
        assert f"{e.neg_elbo[chosen].mean():.2f} in {name}" in text
    for place in (0, 1):
        shown = traces(compare, place)
        (lit,) = [t for t in shown if t["marker"].get("symbol") is None and "customdata" not in t]
        assert lit["hoverinfo"] == "skip"
        assert {t["marker"]["opacity"] for t in shown if "customdata" in t} == {0.18}
    next(b for b in compare.button if b.label == "Forget these points").click().run()
    assert "3 points" not in said(compare)


def x_of(app: AppTest, place: int) -> list:
    return [t["x"] for t in traces(app, place) if "customdata" in t]


def test_turning_moves_the_second_map_alone_and_says_so(compare, checkpoints):
    before = x_of(compare, 0), x_of(compare, 1)
    align = next(found for found in compare.segmented_control if found.key == "align")
    align.set_value("turned and scaled").run()
    first, second = embeddings(checkpoints)
    moved = comparison.procrustes(first.mu, second.mu, scale=True)
    assert f"{moved.residual:.2f} apart" in said(compare)
    assert f"scaled by {moved.scale:.2f}" in said(compare)
    assert x_of(compare, 0) == before[0]
    assert x_of(compare, 1) != before[1]
    align.set_value("as it is").run()
    assert x_of(compare, 1) == before[1]
    assert "apart" not in said(compare)


def test_the_points_can_be_coloured_by_the_difference(compare):
    colour = next(found for found in compare.segmented_control if found.key == "pair_colour")
    colour.set_value("difference").run()
    assert not compare.exception
    assert "pink where tiny is cheaper" in said(compare)


def test_swap_turns_the_pair_round(compare):
    next(b for b in compare.button if b.label == "Swap").click().run()
    assert not compare.exception
    assert compare.sidebar.selectbox[0].value == "zz-digits"
    assert picker(compare).value == "tiny"
    assert "zz-digits costs" in said(compare)


def test_the_second_run_is_in_the_link_and_outlives_the_page(compare, checkpoints, tiny_run):
    tiny_run(checkpoints / "another")
    picker(compare.run()).set_value("another").run()
    assert compare.query_params["other"] == "another"
    assert "cannot be told apart" in said(compare)  # the same weights
    compare.switch_page("pages/points.py").run().switch_page("pages/compare.py").run()
    assert picker(compare).value == "another"


def test_a_link_names_the_second_run(app, shipped, checkpoints, tiny_run):
    tiny_run(checkpoints / "another")
    app.query_params["run"] = "tiny"
    app.query_params["other"] = "another"
    assert picker(show(app)).value == "another"


def test_another_run_in_the_sidebar_is_never_held_against_itself(compare):
    compare.sidebar.selectbox[0].set_value("zz-digits").run()
    assert not compare.exception
    assert picker(compare).options == ["tiny"]
    assert not compare.warning


def test_what_is_known_of_log_px_stands_beside_the_terms(compare, checkpoints):
    drawn = np.random.default_rng(0).uniform(-60, -20, (2, 359))
    for name, log_px in zip(("tiny", "zz-digits"), drawn, strict=True):
        made = Evidence("digits", "test", EXACT, 0, 0, log_px, 0 * log_px, log_px - 2)
        checkpoint.save_evidence(checkpoint.open_run(checkpoints / name), made)
    compare.run()
    assert f"log p(x) {(drawn[1] - drawn[0]).mean():+.2f}" in said(compare)
    rows = table(compare, "term", "difference").set_index("term")
    assert list(rows.loc["log p(x)"])[:2] == pytest.approx(drawn[:, 0].tolist())
    assert rows.loc["gap", "difference"] == pytest.approx(0)


def test_more_than_two_dimensions_are_shown_by_principal_components(compare, checkpoints):
    model_config = ModelConfig((1, 8, 8), latent_dim=5, hidden=(8,))
    wide = checkpoint.create(checkpoints / "wide", model_config, TrainConfig("digits", epochs=1))
    checkpoint.save_model(wide, VAE(model_config, torch.Generator().manual_seed(0)))
    line_config = ModelConfig((1, 8, 8), latent_dim=1, hidden=(8,))
    line = checkpoint.create(checkpoints / "line", line_config, TrainConfig("digits", epochs=1))
    checkpoint.save_model(line, VAE(line_config, torch.Generator().manual_seed(0)))
    for name in ("wide", "line"):
        picker(compare.run()).set_value(name).run()
        assert ("principal components" in said(compare)) == (name == "wide")
        align = next(found for found in compare.segmented_control if found.key == "align")
        align.set_value("turned").run()
        for section in SECTIONS:
            go_to(compare, section)
            assert not compare.error
        align.set_value("as it is").run()


# What cannot be compared


def test_a_single_run_says_what_to_do(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "tiny")
    show(app)
    assert "tiny is the only checkpoint there is" in said(app)
    assert not app.error


def test_no_run_at_all_says_what_to_do(app, checkpoints):
    assert "Train" in said(show(app))


def test_runs_of_other_data_are_left_out_with_the_reason(app, checkpoints, tiny_run):
    tiny_run(checkpoints / "aa-tiny")
    shutil.copytree(ROOT / "checkpoints" / "sprites-2d", checkpoints / "sprites-2d")
    show(app)
    assert "only checkpoint of digits, 8 × 8 pixels" in said(app)
    assert "sprites-2d (images of 32 × 32)" in said(app)


def test_an_unknown_run_in_the_link_is_one_sentence(app, shipped):
    app.query_params["run"] = "tiny"
    app.query_params["other"] = "no-such-run"
    show(app)
    assert [w.value.replace("\\", "") for w in app.warning] == [
        "There is no checkpoint named no-such-run that can be opened; showing zz-digits."
    ]
    assert "zz-digits costs" in said(app)


def test_a_run_of_other_data_in_the_link_says_of_what_it_is(app, shipped, checkpoints):
    shutil.copytree(ROOT / "checkpoints" / "sprites-2d", checkpoints / "sprites-2d")
    app.query_params["run"] = "tiny"
    app.query_params["other"] = "sprites-2d"
    show(app)
    assert "sprites-2d cannot be held against tiny: it is of images of 32 × 32" in said(app)
    assert "zz-digits costs" in said(app)


@pytest.mark.parametrize("file", ["embedding.safetensors", "model.safetensors"])
def test_a_damaged_second_run_is_one_sentence_and_the_rest_lives(file, compare, checkpoints):
    path = checkpoints / "zz-digits" / file
    data = bytearray(path.read_bytes())
    if file.startswith("model"):
        data[-4:] = np.float32(np.nan).tobytes()  # the header still fits
        data[-64:] = b"\xff" * 64
    else:
        data = data[: len(data) // 2]
    path.write_bytes(bytes(data))
    compare.run()
    assert not compare.exception
    assert len(compare.error) == 1
    assert "zz-digits cannot be compared" in said(compare)
    assert picker(compare).value == "zz-digits"
    assert compare.get("plotly_chart")  # rate and distortion
    go_to(compare, "Settings")
    assert table(compare, "setting", "first", "second") is not None


def test_a_map_of_other_points_is_one_sentence(compare, checkpoints, monkeypatch):
    monkeypatch.setattr(loaded, "at_hand", lambda *_: (None, "they are gone"))
    run = checkpoint.open_run(checkpoints / "zz-digits")
    stored = run.load_embedding()
    rows = {name: getattr(stored, name)[:300] for name in ARRAYS}
    short = Embedding(
        **{**vars(stored), **rows, "factors": {n: v[:300] for n, v in stored.factors.items()}}
    )
    checkpoint.save_embedding(run, short)
    compare.run()
    assert not compare.exception
    assert "the second map has 300 points, the first 359" in said(compare)
    assert len(compare.error) == 1


def test_the_second_run_needs_the_images_if_its_map_is_not_stored(app, checkpoints, no_data):
    made = Dataset(
        "mnist",
        "test",
        torch.randint(256, (30, 1, 28, 28), dtype=torch.uint8),
        torch.arange(30) % 10,
        tuple("0123456789"),
    )
    for name in ("one", "two"):
        config = ModelConfig((1, 28, 28), hidden=(4,))
        run = checkpoint.create(checkpoints / name, config, TrainConfig("mnist", epochs=1))
        model = VAE(config, torch.Generator().manual_seed(0))
        checkpoint.save_model(run, model)
        if name == "one":
            checkpoint.save_embedding(run, embed(model, made, n_samples=2))
    show(app)
    assert len(app.error) == 1
    assert "two has no stored map of this data" in said(app)
    assert "MNIST is not in" in said(app)


def test_terms_of_different_likelihoods_are_said_not_to_be_on_one_scale(compare, checkpoints):
    config = ModelConfig((1, 8, 8), hidden=(8,), likelihood="gaussian")
    run = checkpoint.create(checkpoints / "gauss", config, TrainConfig("digits", epochs=1))
    checkpoint.save_model(run, VAE(config, torch.Generator().manual_seed(0)))
    picker(compare.run()).set_value("gauss").run()
    assert not compare.exception
    assert "tiny and gauss measure recon on two scales" in said(compare)
    assert "p(x|z) is bernoulli in tiny and gaussian in gauss" in said(compare)
    assert "nats less per image" not in said(compare)


def test_terms_that_are_not_finite_are_one_sentence(compare, checkpoints, monkeypatch):
    real = loaded.embedding

    def some_lost(run, *of_data):
        found = real(run, *of_data)
        if run.name != "zz-digits":
            return found
        recon = found.recon.copy()
        recon[:3] = np.inf
        return dataclasses.replace(found, recon=recon)

    monkeypatch.setattr(loaded, "embedding", some_lost)
    compare.run()
    assert not compare.exception
    assert "3 points of zz-digits have terms that are not finite" in said(compare)


def test_of_two_objectives_it_is_told_what_the_bound_cost(app, checkpoints, tiny_run):
    runs = [
        tiny_run(checkpoints / name, **settings)
        for name, settings in (("a", {}), ("b", {"objective": "evidence", "lattice_points": 64}))
    ]
    page = show(app)
    assert "differ in what was maximised alone: elbo and evidence" in said(page)
    for run in runs:
        checkpoint.save_evidence(run, exact(run.load_model(), catalogue.load("digits")))
    page.run()
    assert "Trained by the bound, the network explains an image in" in said(page)
    page.switch_page("pages/inference.py").run()
    page.segmented_control(key="section").set_value("The whole set").run()
    assert "Trained by the bound, the network explains an image in" in said(page)
