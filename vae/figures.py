"""Numpy in, plotly Figure out. One colour means one thing in every figure.

Colours are fixed here and legible on light and dark; backgrounds, grids and fonts are left to the
page's theme.
"""

import base64
import html
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.colors
import plotly.graph_objects as go

from vae.embedding import Embedding
from vae.film import SIDE, Frame

# Petroff's ten colours, safe for colour-blind eyes (Petroff, 2021: Accessible color sequences).
CLASS_COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
Q_COLOUR = "#00a383"  # q(z|x) and whatever the hand has chosen
_HALO = "rgba(255, 255, 255, 0.75)"
PRIOR_COLOUR = "#8a9199"  # p(z)
TRAIN_COLOUR, TEST_COLOUR = "#94a4a2", "#3f90da"
# One scale for nats: plasma without its ends, which vanish on a dark or on a white page.
NATS = [
    [i / 8, plotly.colors.sample_colorscale("Plasma", 0.12 + 0.78 * i / 8)[0]] for i in range(9)
]
# Plotly's own selection dims what is not chosen; a map must stay readable with one point chosen.
_UNSELECTED = {"marker": {"opacity": 0.45}}


MOST_WITHOUT_WEBGL = 4000  # points: each is an element of the page then

TERMS = {"recon": "recon", "KL": "kl", "-ELBO": "neg_elbo"}  # as pages write them: in code


def term(embedding: Embedding, name: str) -> np.ndarray:
    """A value per point: a key of TERMS, or a known factor's name."""
    if name in TERMS:
        return getattr(embedding, TERMS[name])
    return embedding.factors[name]


def latent_map(
    embedding: Embedding,
    positions: np.ndarray,
    colour: str,
    axis_titles: tuple[str, str],
    prior_centre: np.ndarray | None,
    ellipses: Sequence[np.ndarray] = (),
    selected: int | None = None,
    height: int = 700,
    webgl: bool = True,
) -> go.Figure:
    """The data set in the latent plane, under the prior's rings at 1, 2 and 3 sigma.

    Args:
        embedding: the points' terms and labels.
        positions: where they stand on the map, shape (N, 2).
        colour: "label", or a name that `term` knows.
        axis_titles: of x and y.
        prior_centre: where z = 0 stands, shape (2,); None where no place but a point's own means
            anything: there are no rings then, and no numbers on the axes.
        ellipses: closed lines of q(z|x), each (n, 2).
        selected: the chosen point.
        height: in pixels.
        webgl: False for a browser without it: SVG points, and at most MOST_WITHOUT_WEBGL of them.
    """
    figure = go.Figure()
    every = 1 if webgl else len(positions) // MOST_WITHOUT_WEBGL + 1
    size = float(np.clip(13 - 2.1 * np.log10(len(positions)), 3, 9))
    if colour == "label":
        for label, name in enumerate(embedding.class_names):
            rows = np.flatnonzero(embedding.labels == label)[::every]
            if len(rows):
                _add_points(
                    figure,
                    embedding,
                    positions,
                    rows,
                    webgl,
                    name=html.escape(name, quote=False),
                    marker={"color": class_colour(label), "size": size},
                )
    else:
        values = term(embedding, colour)
        low, high = np.percentile(values, (1, 99))  # a few extremes must not flatten the rest
        unit = "" if colour in embedding.factors else "<br>nats"
        marker = {
            "color": values[::every],
            "colorscale": NATS,
            "cmin": low,
            "cmax": high,
            "size": size,
            "colorbar": {
                "title": {"text": html.escape(colour) + unit},
                "thickness": 12,
                "outlinewidth": 0,
            },
        }
        rows = np.arange(0, len(positions), every)
        _add_points(figure, embedding, positions, rows, webgl, marker=marker, showlegend=False)

    for radius in (1, 2, 3) if prior_centre is not None else ():
        (x0, y0), (x1, y1) = prior_centre - radius, prior_centre + radius
        figure.add_shape(
            type="circle",
            layer="below",
            **{"x0": x0, "y0": y0, "x1": x1, "y1": y1},
            line={"color": PRIOR_COLOUR, "width": 1, "dash": "dot"},
        )
        figure.add_annotation(
            x=prior_centre[0],
            y=y1,
            text=f"{radius}σ",
            showarrow=False,
            yshift=8,
            font={"color": PRIOR_COLOUR, "size": 11},
        )
    for line in ellipses:
        _add_mark(figure, line, mode="lines")
    if selected is not None:
        _add_ring(figure, positions[selected])
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": {"text": axis_titles[0]}, "zeroline": False, "showgrid": False},
        yaxis={
            "title": {"text": axis_titles[1]},
            "zeroline": False,
            "showgrid": False,
            "scaleanchor": "x",
        },
        legend={
            **{"itemsizing": "constant", "title": {"text": ""}},
            **{"x": 1, "xanchor": "right", "y": 0.95, "yanchor": "top"},
            "bgcolor": "rgba(128,128,128,0.06)",
        },
        dragmode="pan",
        hovermode="closest",
        # Another layout is another map: a zoom into the last one would miss it.
        uirevision="map" if prior_centre is not None else f"map {axis_titles[0]}",
        # The live panel paints the decoded manifold underneath.
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        modebar={"bgcolor": "rgba(0, 0, 0, 0)", "color": PRIOR_COLOUR, "activecolor": Q_COLOUR},
    )
    if prior_centre is None:
        figure.update_xaxes(showticklabels=False, ticks="")
        figure.update_yaxes(showticklabels=False, ticks="")
    return figure


def kl_against_recon(
    embedding: Embedding, rows: np.ndarray, selected: int | None, height: int = 330
) -> go.Figure:
    """Both terms of each of the given points, with lines of equal -ELBO running across."""
    figure = go.Figure()
    positions = np.stack([embedding.recon, embedding.kl], axis=1)
    for label, name in enumerate(embedding.class_names):
        of_class = rows[embedding.labels[rows] == label]
        if len(of_class):
            _add_points(
                figure,
                embedding,
                positions,
                of_class,
                True,
                name=html.escape(name, quote=False),
                marker={"color": class_colour(label), "size": 5},
            )
    if selected is not None:
        _add_ring(figure, positions[selected])
    return plain_layout(
        figure, height, "recon, nats per image", "KL, nats per image", showlegend=False
    ).update_layout(dragmode="pan", hovermode="closest", uirevision="terms")


def histogram(
    values: np.ndarray, name: str, selected: float | None = None, height: int = 150
) -> go.Figure:
    """The distribution of one term over points, in nats per image, the chosen point marked."""
    counts, edges = np.histogram(values, bins=min(60, max(8, round(len(values) ** 0.5))))
    figure = go.Figure(bars(counts, edges, "%{x:.1f} nats: %{y} points"))
    if selected is not None:
        figure.add_vline(x=selected, line={"color": Q_COLOUR, "width": 2})
    return plain_layout(figure, height, f"{name}, nats per image", "points", showlegend=False)


def bars(counts: np.ndarray, edges: np.ndarray, hover: str, **options: object) -> go.Bar:
    """A histogram's bars without gaps between them.

    Args:
        counts: shape (n,).
        edges: of the bins, shape (n + 1,).
        hover: what is said of a bar, as a template of Plotly's.
        options: more of `go.Bar`.
    """
    usual = {"marker": {"color": PRIOR_COLOUR, "line": {"width": 0}}}
    return go.Bar(
        x=(edges[:-1] + edges[1:]) / 2,
        y=counts,
        width=np.diff(edges),
        hovertemplate=f"{hover}<extra></extra>",
        **(usual | options),
    )


def class_colour(label: int) -> str:
    """The colour that a class has everywhere."""
    return CLASS_COLOURS[label % len(CLASS_COLOURS)]


def kl_bars(kl_per_dim: np.ndarray, height: int | None = None) -> go.Figure:
    """KL of each latent dimension, (D,), in nats: equation (6), term by term."""
    names = [f"z<sub>{d + 1}</sub>" for d in range(len(kl_per_dim))]
    figure = go.Figure(
        go.Bar(
            x=kl_per_dim,
            y=names,
            orientation="h",
            marker={"color": Q_COLOUR},
            texttemplate="%{x:.2f}" if len(names) <= 12 else None,
            hovertemplate="%{y}: %{x:.3f} nats<extra></extra>",
        )
    )
    figure = plain_layout(figure, height or 60 + 24 * len(names), "KL, nats", "", showlegend=False)
    return figure.update_layout(bargap=0.25, yaxis={"autorange": "reversed"})


def pixel_map(values: np.ndarray, side: int) -> go.Figure:
    """What each pixel adds to the reconstruction term, (H, W), in nats; `side` pixels square."""
    figure = go.Figure(
        go.Heatmap(
            z=values[::-1],
            colorscale=NATS,
            hovertemplate="%{z:.2f} nats<extra></extra>",
            colorbar={
                **{"orientation": "h", "thickness": 6, "outlinewidth": 0, "nticks": 4},
                **{"len": 1, "xpad": 0, "ypad": 0, "y": -0.05, "yanchor": "top"},
                **{"tickfont": {"size": 10}, "ticklabeloverflow": "hide past div"},
                "title": {"text": "nats per pixel", "side": "bottom", "font": {"size": 12}},
            },
        )
    )
    below = 46  # room for the colour bar, where the pictures beside it have their captions
    figure.update_layout(
        width=side,
        height=side + below,
        margin={"l": 0, "r": 0, "t": 0, "b": below, "autoexpand": False},
    )
    return figure.update_xaxes(visible=False).update_yaxes(visible=False)


def training_curves(
    runs: Mapping[str, Sequence[dict]], name: str, log: bool = False, height: int = 190
) -> go.Figure:
    """One term over the epochs, in nats per image.

    The first tenth of the epochs may leave a linear picture at the top: training starts so far
    from where it ends that the rest would be a flat line.

    Args:
        runs: the rows of metrics.jsonl by the name of their run. A single run shows its training
            images beside the held-out ones; of several only the latter are drawn.
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
        splits = [("train", "train", TRAIN_COLOUR)] if alone else []
        colour = TEST_COLOUR if alone else class_colour(number)
        for split, label, its_colour in [*splits, ("test", "held-out" if alone else run, colour)]:
            of_split = [row for row in rows if row["split"] == split]
            label = html.escape(label, quote=False)
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


def rate_distortion(runs: Mapping[str, Sequence[dict]], height: int = 420) -> go.Figure:
    """Recon against KL of the held-out images, epoch by epoch: each run's way through the plane.

    The KL is the rate and recon the distortion (Alemi et al., 2018); along a dotted line their sum,
    -ELBO, is the same. As in `training_curves` the first tenth of the epochs may lie outside.

    Args:
        runs: the rows of metrics.jsonl by the name of their run.
        height: in pixels.
    """
    figure = go.Figure()
    late = []
    for number, (run, rows) in enumerate(runs.items()):
        held_out = [row for row in rows if row["split"] == "test"]
        if not held_out:
            continue
        colour = TEST_COLOUR if len(runs) == 1 else class_colour(number)
        late += [row for row in held_out if row["epoch"] > held_out[-1]["epoch"] / 10]
        label = html.escape(run, quote=False)
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
    figure = plain_layout(
        figure, height, "KL (rate), nats per image", "recon (distortion), nats per image"
    )
    return figure.update_layout(
        showlegend=len(runs) > 1, hovermode="closest", uirevision="rate-distortion"
    )


def film(
    frames: Sequence[Frame],
    positions: Sequence[np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    axis_titles: tuple[str, str],
    lattice_span: float | None,
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
        lattice_span: z1 and z2 of the lattice run from minus this to this; None where the lattice
            is no plane.
        height: in pixels.
    """
    width, tall = _png_size(frames[-1].sheet)
    reach = film_reach(positions)
    # Plotly draws a picture from its first row on along the y axis, whatever the sign of dy: so the
    # axis runs downwards, and its ticks are labelled with the other sign.
    place = {"x0": 0.5, "dx": 1.0, "y0": 0.5, "dy": 1.0}
    across, down = [0, width], [tall, 0]
    ticks: list[int] = []
    in_plane = lattice_span is not None
    if in_plane:
        # The sheet's cells are centred on the lattice's points, its pixels on their coordinates.
        half = lattice_span * SIDE / (SIDE - 1)
        dx, dy = 2 * half / width, 2 * half / tall
        place = {"x0": -half + dx / 2, "dx": dx, "y0": -half + dy / 2, "dy": dy}
        across, down = [-half, half], [half, -half]
        ticks = list(range(-int(half), int(half) + 1))
    shown = [label for label in range(len(class_names)) if (labels == label).any()]

    def pictures(frame: Frame, at: np.ndarray) -> list[go.Scattergl | go.Image]:
        at = at.round(3)
        points = [{"x": at[labels == k, 0], "y": at[labels == k, 1]} for k in shown]
        source = "data:image/png;base64," + base64.b64encode(frame.sheet).decode()
        return [*map(go.Scattergl, points), go.Image(source=source, xaxis="x2", yaxis="y2")]

    *points, picture = pictures(frames[-1], positions[-1])
    for trace, label in zip(points, shown, strict=True):
        trace.update(
            mode="markers",
            name=html.escape(class_names[label], quote=False),
            marker={"color": class_colour(label), "size": 5},
            hovertemplate="%{x:.2f}, %{y:.2f}",
        )
    picture.update(**place, hoverinfo="skip")
    figure = go.Figure([*points, picture])
    figure.frames = [
        go.Frame(data=pictures(frame, at), name=str(frame.epoch))
        for frame, at in zip(frames, positions, strict=True)
    ]
    for radius in (1, 2, 3):
        figure.add_shape(
            type="circle",
            **{"x0": -radius, "y0": -radius, "x1": radius, "y1": radius},
            line={"color": PRIOR_COLOUR, "width": 1, "dash": "dot"},
        )
    at_once = {"mode": "immediate", "transition": {"duration": 0}}
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        paper_bgcolor="rgba(0, 0, 0, 0)",
        plot_bgcolor="rgba(0, 0, 0, 0)",
        hovermode="closest",
        dragmode="pan",
        legend={
            "itemsizing": "constant",
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "yanchor": "bottom",
        },
        xaxis={
            **{"domain": [0, 0.49], "range": [-reach, reach], "constrain": "domain"},
            **{"title": {"text": axis_titles[0]}, "zeroline": False, "showgrid": False},
        },
        yaxis={
            **{"range": [-reach, reach], "scaleanchor": "x", "constrain": "domain"},
            **{"title": {"text": axis_titles[1]}, "zeroline": False, "showgrid": False},
        },
        xaxis2={
            **{"domain": [0.53, 1], "range": across, "constrain": "domain"},
            **{"visible": in_plane, "title": {"text": "z₁"}, "zeroline": False, "showgrid": False},
        },
        yaxis2={
            **{"range": down, "scaleanchor": "x2", "constrain": "domain"},
            **{"anchor": "x2", "visible": in_plane, "title": {"text": "z₂"}},
            **{"tickvals": ticks, "ticktext": [f"{-tick}".replace("-", "−") for tick in ticks]},
            **{"zeroline": False, "showgrid": False},
        },
        sliders=[
            {
                "active": len(frames) - 1,
                "currentvalue": {"prefix": "epoch ", "xanchor": "left"},
                "pad": {"l": 84, "t": 34},
                "len": 1,
                "ticklen": 3,
                **{"bgcolor": PRIOR_COLOUR, "borderwidth": 0, "activebgcolor": Q_COLOUR},
                "steps": [
                    {
                        "label": str(frame.epoch),
                        "method": "animate",
                        "args": [
                            [str(frame.epoch)],
                            at_once | {"frame": {"duration": 0, "redraw": True}},
                        ],
                    }
                    for frame in frames
                ],
            }
        ],
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                **{"x": 0, "xanchor": "left", "y": 0, "yanchor": "top", "pad": {"t": 58}},
                **{"bordercolor": PRIOR_COLOUR, "bgcolor": "rgba(0, 0, 0, 0)"},
                "buttons": [
                    {
                        "label": "▶",
                        "method": "animate",
                        "args": [
                            None,
                            at_once
                            | {"frame": {"duration": 220, "redraw": True}, "fromcurrent": False},
                        ],
                    },
                    {
                        "label": "❚❚",
                        "method": "animate",
                        "args": [
                            [None],
                            at_once | {"frame": {"duration": 0, "redraw": False}},
                        ],
                    },
                ],
            }
        ],
    )


def film_reach(positions: Sequence[np.ndarray]) -> float:
    """Half the side of the film's map: it holds nearly all points of a usual frame, and is one of
    a few values, so that a film that grows seldom changes its axes.
    """
    # While the KL weighs little some means fly far; they must not shrink the rest of the film.
    far = float(np.median([np.percentile(np.abs(at), 99.5) for at in positions]))
    return next((reach for reach in (4, 5, 6, 8, 10, 15, 20, 30, 50, 100) if far < reach), far)


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG, from its header."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _add_points(
    figure: go.Figure,
    embedding: Embedding,
    positions: np.ndarray,
    rows: np.ndarray,
    webgl: bool,
    **options: object,
) -> None:
    names = np.array(
        [html.escape(name, quote=False) for name in embedding.class_names], dtype=object
    )
    (figure.add_scattergl if webgl else figure.add_scatter)(
        x=positions[rows, 0],
        y=positions[rows, 1],
        mode="markers",
        # One number per point keeps 70,000 points light; what else hover shows is plotted anyway.
        customdata=rows.astype(np.int32),
        text=None if "name" in options else names[embedding.labels[rows]],
        hovertemplate="point %{customdata}<extra>"
        + ("%{fullData.name}" if "name" in options else "%{text}")
        + "</extra>",
        unselected=_UNSELECTED,
        **options,
    )


def _add_ring(figure: go.Figure, position: np.ndarray) -> None:
    _add_mark(figure, position[None], mode="markers")


def _add_mark(figure: go.Figure, line: np.ndarray, mode: str) -> None:
    """Something in q's colour over the points, (n, 2), with a halo to stand out from them."""
    for colour, width in ((_HALO, 5), (Q_COLOUR, 2.5)):
        # WebGL lies over SVG: an ordinary trace would vanish beneath a dense cloud of points.
        figure.add_scattergl(
            x=line[:, 0],
            y=line[:, 1],
            mode=mode,
            line={"color": colour, "width": width},
            marker={
                **{"symbol": "circle-open", "size": 16, "color": colour},
                "line": {"width": width},
            },
            hoverinfo="skip",
            showlegend=False,
        )


def plain_layout(
    figure: go.Figure, height: int, x_title: str, y_title: str, showlegend: bool = True
) -> go.Figure:
    """What plain charts share: small margins and the axes' titles."""
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        xaxis={"title": {"text": x_title}},
        yaxis={"title": {"text": y_title}},
        showlegend=showlegend,
    )
