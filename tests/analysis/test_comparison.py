"""Differences, their intervals, the alignment of two maps, and what settings differ in."""

import dataclasses
import math
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from scipy.linalg import orthogonal_procrustes

from vae.analysis import comparison
from vae.analysis.comparison import ABSENT, Difference
from vae.analysis.embedding import Embedding
from vae.config import ModelConfig, TrainConfig
from vae.figures import comparison as comparison_figures
from vae.inference.evidence import ANNEALED, EXACT, Evidence


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def embedding(N: int = 60, D: int = 2, seed: int = 0, **changes) -> Embedding:
    draw = rng(seed)
    recon = draw.uniform(10, 60, N).astype(np.float32)
    values = {
        "dataset": "made",
        "split": "test",
        "n_samples": 4,
        "seed": 0,
        "class_names": ("a", "b", "c"),
        "mu": draw.normal(size=(N, D)).astype(np.float32),
        "logvar": draw.normal(-3, 0.2, (N, D)).astype(np.float32),
        "kl_per_dim": draw.uniform(0, 4, (N, D)).astype(np.float32),
        "recon": recon,
        "recon_stderr": np.full(N, 0.1, np.float32),
        "recon_at_mu": recon - 1,
        "labels": np.arange(N) % 3,
    }
    return Embedding(**(values | changes))


# The paired bootstrap


def test_the_interval_is_that_of_the_normal_approximation_for_many_points():
    first = rng(1).normal(100, 30, 4000)
    change = rng(2).normal(0.5, 3, 4000)
    found = comparison.paired_bootstrap(first, first + change)
    stderr = change.std(ddof=1) / math.sqrt(4000)
    assert found.n == 4000
    assert found.mean == pytest.approx(change.mean(), abs=1e-9)
    assert found.low == pytest.approx(change.mean() - 1.96 * stderr, abs=0.1 * stderr)
    assert found.high == pytest.approx(change.mean() + 1.96 * stderr, abs=0.1 * stderr)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.1, 0.15])
def test_the_share_is_the_p_value_of_a_paired_t_test_for_many_points(shift):
    first = rng(3).normal(50, 10, 2000)
    noise = rng(4).normal(0, 2, 2000)
    second = first + noise - noise.mean() + shift
    found = comparison.paired_bootstrap(first, second)
    assert found.p_value == pytest.approx(stats.ttest_rel(second, first).pvalue, abs=0.02)


def test_the_interval_holds_the_truth_as_often_as_it_says():
    draw = rng(5)
    held = 0
    for seed in range(300):
        change = draw.exponential(2.0, 80)  # skewed, of mean 2
        found = comparison.paired_bootstrap(np.zeros(80), change, 1000, seed)
        held += found.low <= 2.0 <= found.high
    assert 0.90 <= held / 300 <= 0.98


def test_what_both_find_hard_does_not_blur_the_difference():
    first = rng(6).normal(100, 50, 500)
    found = comparison.paired_bootstrap(first, first - 0.25)
    assert found.mean == pytest.approx(-0.25)
    assert (found.low, found.high) == pytest.approx((-0.25, -0.25))
    assert found.p_value == pytest.approx(1 / 10_001)
    assert found.is_clear


def test_no_difference_at_all_is_no_evidence():
    values = rng(7).normal(size=50)
    found = comparison.paired_bootstrap(values, values)
    assert (found.mean, found.low, found.high, found.p_value) == (0, 0, 0, 1)
    assert not found.is_clear


def test_the_other_way_round_changes_the_sign_alone():
    first, second = rng(8).normal(size=(2, 200))
    one = comparison.paired_bootstrap(first, second, 500)
    other = comparison.paired_bootstrap(second, first, 500)
    assert (other.mean, other.low, other.high) == pytest.approx((-one.mean, -one.high, -one.low))
    assert other.p_value == one.p_value


def test_a_seed_gives_the_same_numbers_and_another_seed_others():
    first, second = rng(9).normal(size=(2, 100))
    one, again, other = (comparison.paired_bootstrap(first, second, 400, s) for s in (3, 3, 4))
    assert one == again
    assert one != other


def test_the_pieces_do_not_change_the_numbers(monkeypatch):
    first, second = rng(10).normal(size=(2, 137))
    whole = comparison.paired_bootstrap(first, second, 300)
    monkeypatch.setattr(comparison, "_DRAWS_AT_ONCE", 1000)
    assert comparison.paired_bootstrap(first, second, 300) == whole


def test_ten_thousand_points_take_a_bounded_memory():
    first, second = rng(11).normal(size=(2, 10_000))
    tracemalloc.start()
    comparison.paired_bootstrap(first, second, 1000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 60e6  # the draws of all resamples at once would take twice that


def test_a_single_point_has_a_difference_and_no_interval():
    found = comparison.paired_bootstrap(np.array([3.0]), np.array([5.0]))
    assert found.mean == 2
    assert math.isnan(found.low)
    assert math.isnan(found.p_value)
    assert not found.is_clear


@pytest.mark.parametrize(
    ("first", "second", "options", "told"),
    [
        ([], [], {}, "no points"),
        ([1.0], [1.0, 2.0], {}, "first (1,) and second (2,)"),
        ([[1.0]], [[1.0]], {}, "one value per point"),
        ([1.0, math.nan], [1.0, 2.0], {}, "1 of 2 points"),
        ([1.0, 2.0], [1.0, math.inf], {}, "not finite"),
        ([1.0, 2.0], [1.0, 2.0], {"n_resamples": 0}, "n_resamples (=0)"),
        ([1.0, 2.0], [1.0, 2.0], {"level": 1.0}, "level (=1.0)"),
    ],
)
def test_what_cannot_be_resampled_is_refused(first, second, options, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        comparison.paired_bootstrap(np.array(first), np.array(second), **options)
    assert told in str(caught.value)


def test_the_terms_add_up_and_share_their_resamples():
    first, second = embedding(seed=0), embedding(seed=1)
    found = comparison.term_differences(first, second, n_resamples=500)
    assert found["recon"].mean + found["kl"].mean == pytest.approx(found["neg_elbo"].mean, abs=1e-5)
    alone = comparison.paired_bootstrap(first.kl, second.kl, 500)
    assert found["kl"].low == pytest.approx(alone.low)


def test_the_classes_are_the_means_over_their_own_points():
    first, second = embedding(seed=0), embedding(seed=1)
    found = comparison.class_differences(first, second, n_resamples=200)
    assert set(found) == {0, 1, 2}
    for label, terms in found.items():
        own = first.labels == label
        change = second.neg_elbo[own].astype(float) - first.neg_elbo[own]
        assert terms["neg_elbo"].mean == pytest.approx(change.mean())
        assert terms["neg_elbo"].n == own.sum()
        assert terms["neg_elbo"].low < change.mean() < terms["neg_elbo"].high


def test_chosen_points_are_compared_alone():
    first, second = embedding(seed=0), embedding(seed=1)
    found = comparison.term_differences(first, second, rows=[4, 9], n_resamples=50)
    assert found["kl"].mean == pytest.approx(float((second.kl - first.kl)[[4, 9]].mean()), abs=1e-5)
    assert found["kl"].n == 2


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"N": 59}, "59 points, the first 60"),
        ({"labels": np.zeros(60, dtype=np.int64)}, "40 labels differ"),
        ({"split": "train"}, "split 'train'"),
        ({"dataset": "another"}, "another"),
    ],
)
def test_other_points_are_no_pair(changes, told):
    with pytest.raises(ValueError, match=told):
        comparison.term_differences(embedding(), embedding(**changes))


def evidence(log_px: np.ndarray, gap: np.ndarray, method: str = EXACT) -> Evidence:
    nothing = np.zeros_like(log_px)
    return Evidence("made", "test", method, 0, 0, log_px, nothing, log_px - gap)


def test_log_px_and_the_gap_are_compared_where_both_are_known():
    log_px, gap = rng(12).uniform(-90, -80, (2, 40)), rng(13).uniform(0, 5, (2, 40))
    first, second = (evidence(log_px[i], gap[i]) for i in range(2))
    found = comparison.evidence_differences(first, second, 200)
    assert found["log_px"].mean == pytest.approx((log_px[1] - log_px[0]).mean())
    assert found["gap"].mean == pytest.approx((gap[1] - gap[0]).mean())
    annealed = evidence(log_px[1], np.full(40, np.nan), ANNEALED)
    assert set(comparison.evidence_differences(first, annealed, 200)) == {"log_px"}


# Points and dimensions


def test_regressions_rise_most_first_and_improvements_fall_most_first():
    change = np.array([0.0, 5.0, -2.0, 1.0, -7.0, 0.0])
    worse, better = comparison.largest_changes(change, 10)
    assert worse.tolist() == [1, 3]
    assert better.tolist() == [4, 2]
    assert [part.tolist() for part in comparison.largest_changes(change, 1)] == [[1], [4]]
    assert [len(part) for part in comparison.largest_changes(np.zeros(3), 5)] == [0, 0]


def test_dimensions_are_ranked_by_their_mean_kl():
    kl = np.tile(np.array([0.1, 3.0, 0.0, 1.0], np.float32), (60, 1))
    order, means = comparison.kl_by_rank(embedding(D=4, kl_per_dim=kl))
    assert order.tolist() == [1, 3, 0, 2]
    assert means == pytest.approx([3, 1, 0.1, 0])


def test_correlations_are_numpys():
    a, b = rng(14).normal(size=(50, 3)), rng(15).normal(size=(50, 2))
    b[:, 0] += 2 * a[:, 1]
    expected = np.corrcoef(a, b, rowvar=False)[:3, 3:]
    assert comparison.correlations(a, b) == pytest.approx(expected)
    b[:, 1] = 4.25  # constant
    found = comparison.correlations(a, b)
    assert found[:, 1].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="49"):
        comparison.correlations(a, b[:49])


# Procrustes


def orthogonal(D: int, seed: int, determinant: int) -> np.ndarray:
    Q, _ = np.linalg.qr(rng(seed).normal(size=(D, D)))
    Q[:, 0] *= determinant * np.sign(np.linalg.det(Q))
    return Q


@pytest.mark.parametrize("determinant", [1, -1])
@pytest.mark.parametrize("D", [1, 2, 5])
def test_a_rotation_or_reflection_is_found_again(D, determinant):
    b = rng(16).normal(size=(70, D))
    Q = orthogonal(D, 17, determinant)
    a = (b - 3) @ Q + 1.5
    found = comparison.procrustes(a, b)
    assert found.rotation == pytest.approx(Q)
    assert found.of(b) == pytest.approx(a)
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert found.scale == 1
    assert found.reflects == (determinant < 0)


def test_a_scale_is_found_again_only_if_asked_for():
    b = rng(18).normal(size=(40, 2))
    a = 2.5 * b @ orthogonal(2, 19, -1)
    scaled = comparison.procrustes(a, b, scale=True)
    assert scaled.scale == pytest.approx(2.5)
    assert scaled.of(b) == pytest.approx(a)
    rigid = comparison.procrustes(a, b)
    assert rigid.scale == 1
    assert rigid.residual > 0.5


def test_it_is_scipys_and_no_angle_does_better():
    a, b = rng(20).normal(size=(2, 80, 2))
    b += 0.6 * a @ orthogonal(2, 21, 1)
    found = comparison.procrustes(a, b)
    centred = a - a.mean(0), b - b.mean(0)
    expected, _ = orthogonal_procrustes(centred[1], centred[0])
    assert found.rotation == pytest.approx(expected)
    for t in np.linspace(0, 2 * np.pi, 721):
        turn = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
        for other in (turn, np.diag([-1.0, 1.0]) @ turn):
            distance = np.sqrt(np.square(centred[0] - centred[1] @ other).sum(1).mean())
            assert distance >= found.residual - 1e-12


def test_no_other_scale_does_better():
    a, b = rng(22).normal(size=(2, 30, 3))
    found = comparison.procrustes(a, b, scale=True)
    centred_a, turned = a - a.mean(0), (b - b.mean(0)) @ found.rotation
    for factor in (0.9, 0.99, 1.01, 1.1):
        other = centred_a - factor * found.scale * turned
        assert np.sqrt(np.square(other).sum(1).mean()) > found.residual


@pytest.mark.parametrize("angle", [-170, -30, 0, 45, 179])
def test_the_angle_of_a_turn_is_told(angle):
    t = np.radians(angle)
    turn = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    b = rng(23).normal(size=(20, 2))
    assert comparison.procrustes(b @ turn, b).degrees == pytest.approx(angle, abs=1e-6)
    mirrored = comparison.procrustes(b @ np.diag([-1.0, 1.0]) @ turn, b)
    assert mirrored.reflects
    assert mirrored.degrees == pytest.approx(angle, abs=1e-6)
    with pytest.raises(ValueError, match="no single angle"):
        _ = comparison.procrustes(np.eye(3), np.eye(3)).degrees


def test_places_that_leave_it_open_are_moved_all_the_same():
    b = rng(24).normal(size=(9, 2))
    for scale in (False, True):
        for a, moved in ((np.ones((9, 2)), b), (b, np.ones((9, 2)))):
            found = comparison.procrustes(a, moved, scale)
            assert found.scale == 1
            assert found.rotation @ found.rotation.T == pytest.approx(np.eye(2))
    line = np.stack([b[:, 0], np.zeros(9)], axis=1)  # a latent space of one dimension
    assert comparison.procrustes(line, -line).of(-line) == pytest.approx(line)


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (np.ones((3, 2)), np.ones((4, 2)), r"a \(3, 2\) and b \(4, 2\)"),
        (np.ones((3, 2)), np.ones((3, 3)), r"b \(3, 3\)"),
        (np.ones(3), np.ones(3), r"points \(N, D\)"),
        (np.ones((0, 2)), np.ones((0, 2)), "N >= 1"),
        (np.full((3, 2), np.nan), np.ones((3, 2)), "finite"),
    ],
)
def test_what_cannot_be_aligned_is_refused(a, b, told):
    with pytest.raises(ValueError, match=told):
        comparison.procrustes(a, b)


# Settings


def test_settings_that_differ_are_told_with_both_values():
    first = TrainConfig("digits", epochs=5)
    second = dataclasses.replace(first, epochs=9, beta=4.0)
    changed, same = comparison.settings_diff(first, second)
    assert {s.name: (s.first, s.second) for s in changed} == {"epochs": (5, 9), "beta": (1.0, 4.0)}
    assert set(same) == {f.name for f in dataclasses.fields(TrainConfig)} - {"epochs", "beta"}
    config = ModelConfig((1, 8, 8))
    assert comparison.settings_diff(config, config)[0] == []


def test_settings_of_any_object_are_compared_by_name():
    first = SimpleNamespace(k=2, likelihood="bernoulli", _hidden=1, own=True)
    second = {"k": 2, "likelihood": "gaussian", "optimiser": {"name": "adam", "beta": 0.9}}
    changed, same = comparison.settings_diff(first, second)
    assert {s.name: (s.first, s.second) for s in changed} == {
        "likelihood": ("bernoulli", "gaussian"),
        "own": (True, ABSENT),
        "optimiser.name": (ABSENT, "adam"),
        "optimiser.beta": (ABSENT, 0.9),
    }
    assert same == ["k"]
    assert comparison.settings(3) == {}


# Figures


def difference(mean: float, low: float, high: float) -> Difference:
    return Difference(10, mean, low, high, 0.5, 0.95, 100)


def linked(change=None, group=(), prior_centre=(0.0, 0.0), **options):
    made = embedding()
    centre = np.array(prior_centre)
    return comparison_figures.linked_map(
        made, made.mu, change, ("x", "y"), centre, 4.0, selected=3, group=group, **options
    )


def test_a_linked_map_keeps_the_points_own_indices():
    for figure in (linked(), linked(change=rng(25).normal(size=60)), linked(group=[1, 2, 3])):
        indices = [t.customdata for t in figure.data if t.customdata is not None]
        assert sorted(np.concatenate(indices)) == list(range(60))


def test_a_group_is_lit_and_the_others_fade():
    figure = linked(group=[1, 4, 5])
    base = [trace for trace in figure.data if trace.customdata is not None]
    assert {trace.marker.opacity for trace in base} == {0.18}
    lit = next(t for t in figure.data if len(t.x) == 3)
    assert np.asarray(lit.x) == pytest.approx(embedding().mu[[1, 4, 5], 0])
    assert lit.hoverinfo == "skip"
    assert {trace.marker.opacity for trace in linked().data if trace.customdata is not None} == {1}


def test_the_colours_of_a_change_are_the_same_on_both_sides_of_zero():
    change = rng(26).normal(3, 5, 60)
    marker = linked(change=change).data[0].marker
    assert marker.cmin == -marker.cmax
    assert np.asarray(marker.color) == pytest.approx(change)


def test_the_rings_grow_with_the_map():
    plain, scaled = linked(), linked(ring_scale=2.0)
    for one, other in zip(plain.layout.shapes, scaled.layout.shapes, strict=True):
        assert other.x1 - other.x0 == pytest.approx(2 * (one.x1 - one.x0))


def test_a_map_reaches_the_rings_and_nearly_all_points():
    near, centre = rng(30).normal(size=(1000, 2)), np.array([1.0, -2.0])
    far = np.concatenate([near, [[400.0, 0.0]]])
    assert comparison_figures.reach_of(near * 0.1 + centre, centre) == 3.4
    assert comparison_figures.reach_of(far + centre, centre) < 5
    assert comparison_figures.reach_of(near * 10 + centre, centre) > 20
    figure = linked(prior_centre=centre)
    assert list(figure.layout.yaxis.range) == [-6, 2]


def test_a_class_has_the_colour_of_the_cheaper_run_and_none_where_that_is_open():
    differences = [difference(-2, -3, -1), difference(0.1, -1, 1), difference(4, 3, 5)]
    figure = comparison_figures.class_differences("abc", differences, ("one", "<two>"))
    first, second = comparison_figures.PAIR
    assert list(figure.data[0].marker.color) == [second, comparison_figures.PRIOR_COLOUR, first]
    assert "&lt;two&gt;" in figure.layout.xaxis.title.text


def test_the_bars_and_the_correlations_hold_every_dimension():
    ranked = tuple(comparison.kl_by_rank(embedding(D=D)) for D in (2, 5))
    bars = comparison_figures.kl_by_rank(ranked, ("one", "two"))
    assert [len(trace.x) for trace in bars.data] == [2, 5]
    values = rng(27).uniform(-1, 1, (2, 5))
    figure = comparison_figures.correlations(values, tuple(o for o, _ in ranked), ("one", "two"))
    assert np.asarray(figure.data[0].z).shape == (2, 5)
    assert figure.data[0].y[0] == f"z<sub>{ranked[0][0][0] + 1}</sub>"


def test_no_bar_of_the_changes_lies_on_both_sides_of_zero():
    for change in (rng(28).normal(2, 3, 500), rng(29).uniform(-9, -8, 50), np.zeros(5)):
        bars = comparison_figures.change_histogram(change, ("one", "two"), selected=0.0).data[0]
        left, right = bars.x - bars.width / 2, bars.x + bars.width / 2
        assert not ((left < -1e-9) & (right > 1e-9)).any()
