"""Layouts: neighbours stay neighbours, whatever the points are like."""

import numpy as np
import pytest
from sklearn.manifold import TSNE, trustworthiness

from vae.analysis import layout as module
from vae.analysis.layout import FEWEST_POINTS, KINDS, T_SNE, UMAP_LIKE, layout


def clusters(n: int = 240, D: int = 6, groups: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Points of well separated Gaussians, and which one each is of."""
    generator = np.random.default_rng(7)
    of = np.arange(n) % groups
    centres = 12 * np.eye(groups, D)
    return (centres[of] + generator.standard_normal((n, D))).astype(np.float32), of


@pytest.fixture(scope="module", params=KINDS)
def laid_out(request) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    points, of = clusters()
    return points, of, layout(points, request.param, most_fitted=160)


def test_neighbours_stay_near(laid_out):
    points, _, positions = laid_out
    assert positions.shape == (len(points), 2)
    assert positions.dtype == np.float32
    assert trustworthiness(points, positions, n_neighbors=5) > 0.9


def test_points_that_were_not_fitted_stand_among_their_cluster(laid_out):
    points, of, positions = laid_out
    generator = np.random.default_rng(0)
    fitted = np.zeros(len(points), dtype=bool)
    fitted[generator.choice(len(points), 160, replace=False)] = True  # as `layout` draws them
    centres = np.stack([positions[fitted & (of == k)].mean(0) for k in range(4)])
    distances = np.linalg.norm(positions[~fitted, None] - centres, axis=2)
    assert (distances.argmin(1) == of[~fitted]).all()


@pytest.mark.slow
def test_it_is_as_good_as_scikit_learns_own_run():
    points, _ = clusters(200)
    ours = trustworthiness(points, layout(points), n_neighbors=10)
    whole = TSNE(random_state=0).fit_transform(points)
    assert ours > trustworthiness(points, whole, n_neighbors=10) - 0.01


def test_umap_like_draws_groups_together():
    """Against t-SNE: a group is small beside the gap to the next (Böhm et al., 2022)."""

    def tightness(kind: str) -> float:
        positions = layout(points, kind)
        centres = np.stack([positions[of == k].mean(0) for k in range(4)])
        within = np.linalg.norm(positions - centres[of], axis=1).mean()
        between = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(4, 1)]
        return float(within / between.mean())

    points, of = clusters(120)
    assert tightness(UMAP_LIKE) < 0.7 * tightness(T_SNE)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_layout_and_another_draws_other_points():
    points, _ = clusters(60)
    first, again, other = (layout(points, most_fitted=40, seed=seed) for seed in (3, 3, 4))
    assert (first == again).all()
    assert (first != other).any()


def test_neither_scale_nor_origin_matters():
    points, _ = clusters(80)
    moved = layout(1024 * points - 512, T_SNE)
    assert trustworthiness(points, moved, n_neighbors=5) > 0.9


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((50, 3)),
        np.repeat(np.eye(3), 20, axis=0),
        np.arange(40.0)[:, None] * np.ones(4),  # on a line
        np.random.default_rng(0).standard_normal((40, 1)),
        np.random.default_rng(0).standard_normal((FEWEST_POINTS, 3)),
        np.random.default_rng(0).standard_normal((12, 40)),
        1e308 * np.random.default_rng(0).uniform(-1, 1, (40, 3)),
        1e-300 * np.random.default_rng(0).standard_normal((40, 3)),
        np.vstack([np.random.default_rng(0).standard_normal((40, 3)), [[1e30, 0, 0]]]),
    ],
    ids=["one place", "three places", "a line", "D = 1", "few", "D > N", "huge", "tiny", "outlier"],
)
@pytest.mark.parametrize("kind", [T_SNE, pytest.param(UMAP_LIKE, marks=pytest.mark.slow)])
def test_degenerate_points_have_a_layout_all_the_same(kind, points):
    positions = layout(points, kind)
    assert positions.shape == (len(points), 2)
    assert np.isfinite(positions).all()


def test_points_in_one_place_that_were_not_fitted_are_placed():
    assert np.isfinite(layout(np.ones((60, 3)), most_fitted=FEWEST_POINTS)).all()


def test_progress_counts_the_legs_and_may_end_the_work():
    points, _ = clusters(60)
    told = []
    layout(points, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]

    class Enough(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise Enough

    with pytest.raises(Enough):
        layout(points, progress=stop)


def test_no_more_points_are_fitted_than_allowed(monkeypatch):
    seen = []
    fit = module._fit
    monkeypatch.setattr(module, "_fit", lambda p, *rest: seen.append(len(p)) or fit(p, *rest))
    assert len(layout(clusters(100)[0], most_fitted=64)) == 100
    assert seen == [64]


@pytest.mark.parametrize(
    ("points", "kind", "said"),
    [
        (np.zeros((9, 3)), "PCA", "the layout 'PCA' is not known; choose one of t-SNE, UMAP-like"),
        (np.zeros((3, 5)), T_SNE, "at least 4 points, and there are 3"),
        (np.zeros((0, 5)), T_SNE, "at least 4 points, and there are 0"),
        (np.zeros((9, 0)), T_SNE, r"shape \(9, 0\)"),
        (np.zeros(9), T_SNE, r"shape \(9,\)"),
        (np.array([[0.0, np.nan]] + [[1.0, np.inf]] + [[0, 1.0]] * 9), T_SNE, "2 of 11 points"),
    ],
)
def test_what_has_no_layout_is_a_sentence(points, kind, said):
    with pytest.raises(ValueError, match=said):
        layout(points, kind)
