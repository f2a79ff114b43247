"""The figures of a training: its curves, its way through the rate-distortion plane, its film."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from vae.figures import theme
from vae.figures.theme import BARE, PRIOR_COLOUR, Q_COLOUR, TERMS, class_colour, plain_layout
from vae.wording import IMAGES, Words

if TYPE_CHECKING:
    from vae.training.film import Frame

_TRAIN_COLOUR, _TEST_COLOUR = "#94a4a2", "#3f90da"


def training_curves(
    runs: Mapping[str, Sequence[dict]], name: str, log: bool = False, height: int = 190
) -> go.Figure:
    """One term over the epochs, in nats per point.

    The first tenth of the epochs may leave a linear picture at the top: training starts so far
    from where it ends that the rest would be a flat line.

    Args:
        runs: the rows of metrics.jsonl by the name of their run. A single run shows its training
            points beside the held-out ones; of several only the latter are drawn.
        name: a key of TERMS.
        log: both axes logarithmic.
        height: in pixels.
    """
    figure = go.Figure()
    alone = len(runs) == 1
    late = []
    for number, (run, rows) in enumerate(runs.items()):
        last = max((row["epoch"] for row in rows), default=0)
        late += [row[TERMS[name]] for row in rows if row["epoch"] > last / 10]
        splits = [("train", "train", _TRAIN_COLOUR)] if alone else []
        colour = _TEST_COLOUR if alone else class_colour(number)
        for split, label, its_colour in [*splits, ("test", "held-out" if alone else run, colour)]:
            of_split = [row for row in rows if row["split"] == split]
            label = theme.escaped(label)
            figure.add_scatter(
                x=[row["epoch"] for row in of_split],
                y=[row[TERMS[name]] for row in of_split],
                name=label,
                mode="lines" if len(of_split) > 1 else "markers",
                line={"color": its_colour, "width": 2},
                hovertemplate="epoch %{x}: %{y:.2f} nats<extra>" + label + "</extra>",
            )
    figure = plain_layout(figure, height, "epoch", f"{name}, nats")
    figure.update_layout(
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.02, "yanchor": "bottom"},
        margin={"t": 28},
        uirevision="curves",
    )
    if log:
        return figure.update_xaxes(type="log").update_yaxes(type="log")
    span = (min(late), max(late)) if late else (0.0, 1.0)
    margin = 0.06 * (span[1] - span[0]) or 1.0
    figure.update_xaxes(rangemode="tozero")
    return figure.update_yaxes(range=[span[0] - margin, span[1] + margin])


def rate_distortion(
    runs: Mapping[str, Sequence[dict]], height: int = 420, words: Words = IMAGES
) -> go.Figure:
    """Recon against KL of the held-out points, epoch by epoch: each run's way through the plane.

    The KL is the rate and recon the distortion (Alemi et al., 2018); along a dotted line their sum,
    -ELBO, is the same. As in `training_curves` the first tenth of the epochs may lie outside.

    Args:
        runs: the rows of metrics.jsonl by the name of their run.
        height: in pixels.
        words: for what their data are.
    """
    figure = go.Figure()
    late = []
    for number, (run, rows) in enumerate(runs.items()):
        held_out = [row for row in rows if row["split"] == "test"]
        if not held_out:
            continue
        colour = _TEST_COLOUR if len(runs) == 1 else class_colour(number)
        late += [row for row in held_out if row["epoch"] > held_out[-1]["epoch"] / 10]
        label = theme.escaped(run)
        figure.add_scatter(
            x=[row["kl"] for row in held_out],
            y=[row["recon"] for row in held_out],
            customdata=[(row["epoch"], row["neg_elbo"]) for row in held_out],
            name=label,
            mode="lines+markers",
            line={"color": colour, "width": 1.5},
            # The last epoch is where the run is: it stands out.
            marker={"color": colour, "size": [4] * (len(held_out) - 1) + [12]},
            hovertemplate="epoch %{customdata[0]}: recon %{y:.2f} + KL %{x:.2f} = "
            "-ELBO %{customdata[1]:.2f} nats<extra>" + label + "</extra>",
        )
    if late:
        (x0, x1), (y0, y1) = (
            (min(values), max(values))
            for values in ([row["kl"] for row in late], [row["recon"] for row in late])
        )
        pad_x, pad_y = 0.08 * (x1 - x0) or 0.5, 0.08 * (y1 - y0) or 0.5
        x0, x1, y0, y1 = x0 - pad_x, x1 + pad_x, y0 - pad_y, y1 + pad_y
        for total in np.linspace(x0 + y0, x1 + y1, 9)[1:-1].round(0 if y1 - y0 > 8 else 2):
            figure.add_shape(
                type="line",
                **{"x0": x0, "y0": total - x0, "x1": x1, "y1": total - x1},
                line={"color": PRIOR_COLOUR, "width": 1, "dash": "dot"},
                layer="below",
            )
        figure.update_xaxes(range=[x0, x1]).update_yaxes(range=[y0, y1])
    x, y = (f"{term}, nats per {words.point}" for term in ("KL (rate)", "recon (distortion)"))
    figure = plain_layout(figure, height, x, y)
    return figure.update_layout(
        showlegend=len(runs) > 1, hovermode="closest", uirevision="rate-distortion"
    )


# --- the film -------------------------------------------------------------------------------------


def film(
    frames: Sequence[Frame],
    positions: Sequence[np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    axis_titles: tuple[str, str],
    lattice: np.ndarray | None,
    height: int = 520,
) -> go.Figure:
    """The kept epochs of a training, one at a time: the map, and what the lattice decoded to.

    A slider under the pictures goes from epoch to epoch, and a button plays them. The axes are the
    same in all of them, so that two epochs can be compared.

    Args:
        frames: by epoch; at least one. The last is shown first.
        positions: where the points of each frame stand on the map, each (F, 2).
        labels: of the points, shape (F,).
        class_names: the name of each label.
        axis_titles: of the map.
        lattice: z1 of the lattice's columns, which is z2 of its rows from the lowest on, shape
            (n,), even and symmetric; None where the lattice is no plane.
        height: in pixels.
    """
    sheet = _Sheet(frames[-1].sheet, lattice)
    classes = list(theme.by_class(labels, class_names))

    def traces(frame: Frame, at: np.ndarray) -> list[go.Scattergl | go.Image]:
        at = at.round(3)
        points = [go.Scattergl(x=at[rows, 0], y=at[rows, 1]) for _, _, rows in classes]
        source = "data:image/png;base64," + base64.b64encode(frame.sheet).decode()
        return [*points, go.Image(source=source, xaxis="x2", yaxis="y2")]

    *points, picture = traces(frames[-1], positions[-1])
    for trace, (label, name, _) in zip(points, classes, strict=True):
        trace.update(
            mode="markers",
            name=name,
            marker={"color": class_colour(label), "size": 5},
            hovertemplate="%{x:.2f}, %{y:.2f}",
        )
    picture.update(sheet.place, hoverinfo="skip")
    figure = go.Figure([*points, picture])
    figure.frames = [
        go.Frame(data=traces(frame, at), name=str(frame.epoch))
        for frame, at in zip(frames, positions, strict=True)
    ]
    theme.add_rings(figure)
    reach = film_reach(positions)
    axis = {"range": [-reach, reach], "constrain": "domain", **BARE}
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="closest",
        dragmode="pan",
        legend={
            **{"itemsizing": "constant", "orientation": "h"},
            **{"x": 0, "y": 1.02, "yanchor": "bottom"},
        },
        xaxis={"domain": [0, 0.49], "title": {"text": axis_titles[0]}, **axis},
        yaxis={"scaleanchor": "x", "title": {"text": axis_titles[1]}, **axis},
        xaxis2=sheet.x_axis,
        yaxis2=sheet.y_axis,
        sliders=[_epoch_slider(frames)],
        updatemenus=[_PLAY_AND_PAUSE],
    )


def film_reach(positions: Sequence[np.ndarray]) -> float:
    """Half the side of the film's map: it holds nearly all points of a usual frame, and is one of
    a few values, so that a film that grows seldom changes its axes.
    """
    # While the KL weighs little some means fly far; they must not shrink the rest of the film.
    far = float(np.median([np.percentile(np.abs(at), 99.5) for at in positions]))
    return next((reach for reach in (4, 5, 6, 8, 10, 15, 20, 30, 50, 100) if far < reach), far)


class _Sheet:
    """Where the film's sheet of decoded images stands, and the axes beside it.

    Plotly draws a picture from its first row on along the y axis, whatever the sign of dy: so the
    axis runs downwards, and its ticks are labelled with the other sign.
    """

    def __init__(self, png: bytes, lattice: np.ndarray | None) -> None:
        width, height = _png_size(png)
        self.place = {"x0": 0.5, "dx": 1.0, "y0": 0.5, "dy": 1.0}
        across, down = [0, width], [height, 0]
        ticks: list[int] = []
        in_plane = lattice is not None
        if in_plane:
            # The cells are centred on the lattice's points, the pixels on their coordinates.
            half = float(lattice[-1]) * len(lattice) / (len(lattice) - 1)
            dx, dy = 2 * half / width, 2 * half / height
            self.place = {"x0": -half + dx / 2, "dx": dx, "y0": -half + dy / 2, "dy": dy}
            across, down = [-half, half], [half, -half]
            ticks = list(range(-int(half), int(half) + 1))
        shared = {"constrain": "domain", "visible": in_plane, **BARE}
        self.x_axis = {"domain": [0.53, 1], "range": across, "title": {"text": "z₁"}, **shared}
        self.y_axis = {
            **{"range": down, "scaleanchor": "x2", "anchor": "x2", "title": {"text": "z₂"}},
            **{"tickvals": ticks, "ticktext": [f"{-tick}".replace("-", "−") for tick in ticks]},
            **shared,
        }


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _animation(frames: list[str | None] | None, duration: int, redraw: bool, **more: bool) -> dict:
    """What a button or a step of the slider does: shows those frames."""
    at_once = {"mode": "immediate", "transition": {"duration": 0}}
    how = {**at_once, "frame": {"duration": duration, "redraw": redraw}, **more}
    return {"method": "animate", "args": [frames, how]}


def _epoch_slider(frames: Sequence[Frame]) -> dict[str, object]:
    epochs = [str(frame.epoch) for frame in frames]
    return {
        "active": len(frames) - 1,
        "currentvalue": {"prefix": "epoch ", "xanchor": "left"},
        "pad": {"l": 84, "t": 34},
        **{"len": 1, "ticklen": 3},
        **{"bgcolor": PRIOR_COLOUR, "borderwidth": 0, "activebgcolor": Q_COLOUR},
        "steps": [{"label": epoch, **_animation([epoch], 0, redraw=True)} for epoch in epochs],
    }


_PLAY_AND_PAUSE = {
    **{"type": "buttons", "direction": "left", "showactive": False},
    **{"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 58}},
    **{"bordercolor": PRIOR_COLOUR, "bgcolor": "rgba(0, 0, 0, 0)"},
    "buttons": [
        {"label": "▶", **_animation(None, 220, redraw=True, fromcurrent=False)},
        {"label": "❚❚", **_animation([None], 0, redraw=False)},
    ],
}
