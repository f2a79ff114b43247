"""The figures of a training: what is drawn, and that it stays put from epoch to epoch."""

import io

import numpy as np
import pytest
from PIL import Image

from vae.figures import training as figures
from vae.training.film import SIDE, Frame

EPOCHS = (0, 1, 5)


def frames() -> list[Frame]:
    png = io.BytesIO()
    Image.fromarray(np.zeros((SIDE * 8, SIDE * 8), np.uint8)).save(png, "png")
    rng = np.random.default_rng(0)
    return [
        Frame(epoch, rng.normal(size=(50, 2)).astype(np.float32), png.getvalue())
        for epoch in EPOCHS
    ]


def film(reach: float = 1.0, in_plane: bool = True):
    kept = frames()
    positions = [reach * frame.mu for frame in kept]
    labels = np.arange(50) % 3
    lattice = np.linspace(-2.6, 2.6, SIDE) if in_plane else None
    figure = figures.film(kept, positions, labels, "abc", ("z₁", "z₂"), lattice)
    return positions, labels, figure


def rows(split: str, neg_elbos: list[float]) -> list[dict]:
    return [
        {"epoch": i + 1, "split": split, "recon": n - 3, "kl": 3.0 + i, "neg_elbo": n + i}
        for i, n in enumerate(neg_elbos)
    ]


def test_the_slider_has_a_step_for_each_frame_and_stands_at_the_last():
    _, _, figure = film()
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == [str(epoch) for epoch in EPOCHS]
    assert [frame.name for frame in figure.frames] == [str(epoch) for epoch in EPOCHS]
    assert slider.active == len(EPOCHS) - 1


def test_a_frame_has_every_point_under_its_class():
    positions, labels, figure = film()
    for frame, at in zip(figure.frames, positions, strict=True):
        for label, trace in enumerate(frame.data[:-1]):
            np.testing.assert_allclose(trace.x, at[labels == label, 0], atol=5e-4)
            np.testing.assert_allclose(trace.y, at[labels == label, 1], atol=5e-4)
    assert [trace.name for trace in figure.data[:-1]] == ["a", "b", "c"]


@pytest.mark.parametrize(("reach", "side"), [(0.1, 4), (1, 4), (2, 6), (9, 30), (300, 700)])
def test_the_axes_hold_nearly_all_points(reach, side):
    positions, _, figure = film(reach)
    low, high = figure.layout.xaxis.range
    assert figure.layout.yaxis.range == (low, high)
    assert low == -high
    assert high <= side or side == 700
    assert np.mean(np.abs(np.concatenate(positions)) <= high) > 0.97


def test_the_lattice_lies_where_its_points_are():
    _, _, figure = film()
    picture = figure.data[-1]
    cell = 8 * picture.dx  # an image of the sheet is 8 pixels wide
    first_cell = picture.x0 - picture.dx / 2 + cell / 2
    last_cell = first_cell + (SIDE - 1) * cell
    assert (first_cell, last_cell) == (pytest.approx(-2.6), pytest.approx(2.6))
    # The first row of the picture is the uppermost, and shows the largest z2.
    top, bottom = figure.layout.yaxis2.range[::-1]
    assert top < bottom
    names = dict(zip(figure.layout.yaxis2.tickvals, figure.layout.yaxis2.ticktext, strict=True))
    assert (names[-2], names[2]) == ("2", "−2")


def test_no_axes_are_claimed_for_draws_from_the_prior():
    _, _, figure = film(in_plane=False)
    assert not figure.layout.xaxis2.visible
    assert not figure.layout.yaxis2.visible


def test_one_run_shows_both_splits_and_several_the_held_out_ones():
    history = rows("train", [9, 8]) + rows("test", [9, 8.5])
    alone = figures.training_curves({"run": history}, "-ELBO")
    assert [trace.name for trace in alone.data] == ["train", "held-out"]
    both = figures.training_curves({"a": history, "<b>": history}, "-ELBO", log=True)
    assert [trace.name for trace in both.data] == ["a", "&lt;b&gt;"]
    assert both.layout.xaxis.type == both.layout.yaxis.type == "log"


def test_the_plane_goes_from_epoch_to_epoch_and_marks_the_last():
    history = rows("train", [30, 20, 10]) + rows("test", [30, 20, 10])
    (path,) = figures.rate_distortion({"run": history}).data
    assert list(path.x) == [3, 4, 5]
    assert list(path.y) == [27, 17, 7]
    assert path.marker.size[-1] > max(path.marker.size[:-1])


def test_lines_of_the_plane_join_equal_sums():
    figure = figures.rate_distortion({"run": rows("test", [30, 20, 10])})
    assert figure.layout.shapes
    for line in figure.layout.shapes:
        assert line.x0 + line.y0 == pytest.approx(line.x1 + line.y1)


def test_a_run_without_an_epoch_is_an_empty_plane():
    assert not figures.rate_distortion({"run": []}).data
