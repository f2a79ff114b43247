"""The figures of the diagnosis: units, the aggregate posterior, calibration. Numpy in, Figure out.

Colours as in `vae.figures.theme`: q has its accent, the prior its neutral.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vae.figures import theme
from vae.figures.theme import (
    BARE,
    CLASS_COLOURS,
    DECADES,
    PRIOR_COLOUR,
    PRIOR_LINE,
    Q_COLOUR,
    SELECTED_LINE,
    THRESHOLD_LINE,
    bars,
    binned,
    legend_above,
    plain_layout,
)
from vae.wording import IMAGES, Words

HOLE_COLOUR = CLASS_COLOURS[6]
MOST_BARS = 64  # dimensions that are drawn; the costliest
_RATIO_CLIP = 3.0  # nats: beyond, a colour does not change
# From "the prior alone" over nothing to "q alone"; nothing is transparent, so the page shows.
_RATIO = [
    [0.0, "rgba(231, 99, 0, 0.8)"],
    [0.3, "rgba(231, 99, 0, 0.35)"],
    [0.5, "rgba(138, 145, 153, 0.03)"],
    [0.7, "rgba(0, 163, 131, 0.35)"],
    [1.0, "rgba(0, 163, 131, 0.85)"],
]


def kl_of_units(
    kl: np.ndarray,
    quantiles: np.ndarray,
    variance: np.ndarray,
    names: Sequence[str],
    threshold: float,
    height: int = 400,
) -> go.Figure:
    """Mean KL of each dimension with its spread over the points, and Var_x[mu]; costliest first.

    Args:
        kl: mean over the points, shape (D,), nats.
        quantiles: the 5th, 50th and 95th percentile, (3, D).
        variance: Var_x[mu], (D,).
        names: of the dimensions.
        threshold: drawn across; a dimension above it counts as active.
        height: in pixels.
    """
    order = np.argsort(-kl, kind="stable")[:MOST_BARS]
    x = [names[d] for d in order]
    figure = go.Figure()
    for values, name, colour, symbol in (
        (kl, "mean KL, nats", Q_COLOUR, "circle"),
        (variance, "Var<sub>x</sub>[μ]", CLASS_COLOURS[0], "diamond"),
    ):
        shown = np.maximum(values[order], 1e-9)  # a logarithmic axis has no 0
        spread = None
        if values is kl:
            low, high = np.maximum(quantiles[0, order], 1e-9), quantiles[2, order]
            spread = {
                "type": "data",
                "symmetric": False,
                "array": np.maximum(high - shown, 0),
                "arrayminus": np.maximum(shown - low, 0),
                "thickness": 1.5,
                "width": 3,
            }
        figure.add_scatter(
            x=x,
            y=shown,
            mode="markers",
            name=name,
            error_y=spread,
            marker={"color": colour, "size": 10, "symbol": symbol},
            hovertemplate="%{x}: %{y:.4g}<extra>" + name + "</extra>",
        )
    figure.add_hline(y=threshold, line=THRESHOLD_LINE)
    top = max(float(quantiles[2].max()), float(variance.max()), threshold, 1e-3)
    low = min(float(np.maximum(kl, 1e-9).min()), float(np.maximum(variance, 1e-9).min()), threshold)
    figure.update_yaxes(range=[np.log10(max(low, 1e-5)) - 0.3, np.log10(top) + 0.2], **DECADES)
    return legend_above(plain_layout(figure, height, "", "nats, or variance"))


def active_against_threshold(
    kl: np.ndarray, variance: np.ndarray, threshold: float, height: int = 400
) -> go.Figure:
    """How many dimensions count as active, by where the line is drawn."""
    places = np.geomspace(1e-4, 10, 400)
    figure = go.Figure()
    for values, name, colour, dash in (
        (kl, "by mean KL", Q_COLOUR, "solid"),
        (variance, "by Var<sub>x</sub>[μ]", CLASS_COLOURS[0], "dot"),
    ):
        figure.add_scatter(
            x=places,
            y=(values[:, None] > places).sum(0),
            name=name,
            mode="lines",
            line={"color": colour, "width": 2.4, "shape": "hv", "dash": dash},
            hovertemplate="above %{x:.2g}: %{y}<extra>" + name + "</extra>",
        )
    figure.add_vline(x=threshold, line=THRESHOLD_LINE)
    figure.update_xaxes(**DECADES)
    D = len(kl)
    figure.update_yaxes(range=[-0.04 * D, 1.06 * D], dtick=max(1, round(D / 8)))
    return legend_above(
        plain_layout(figure, height, "threshold, nats or variance", "active dimensions")
    )


def ratio_map(
    log_ratio: np.ndarray,
    half: float,
    axis_titles: tuple[str, str],
    positions: np.ndarray,
    holes: np.ndarray,
    height: int = 520,
) -> go.Figure:
    """log q(z) - log p(z) over a plane, under the prior's rings, with numbered holes.

    Args:
        log_ratio: in the middles of n x n cells of [-half, half]^2, first axis first, nats.
        half: half the side of the square.
        axis_titles: of both axes.
        positions: mu of the points, (N, 2); a few thousand are drawn.
        holes: where the numbered holes are, (m, 2).
        height: in pixels.
    """
    n = len(log_ratio)
    middles = (np.arange(n) + 0.5) / n * 2 * half - half
    shown = np.clip(log_ratio, -_RATIO_CLIP, _RATIO_CLIP)
    # Further out the prior has no mass to speak of, and any posterior is infinitely more.
    shown[np.hypot(middles[:, None], middles[None]) > half] = np.nan
    figure = go.Figure(
        go.Heatmap(
            x=middles,
            y=middles,
            z=shown.T.astype(np.float32),
            colorscale=_RATIO,
            zmin=-_RATIO_CLIP,
            zmax=_RATIO_CLIP,
            zsmooth="best",
            colorbar={
                "title": {"text": "log q(z) - log p(z)<br>nats"},
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": [-_RATIO_CLIP, -1.5, 0, 1.5, _RATIO_CLIP],
                "ticktext": ["≤ -3", "-1.5", "0", "1.5", "≥ 3"],
            },
            hovertemplate="(%{x:.2f}, %{y:.2f}): %{z:.2f} nats<extra></extra>",
        )
    )
    every = len(positions) // 3000 + 1
    figure.add_scattergl(
        x=positions[::every, 0],
        y=positions[::every, 1],
        mode="markers",
        marker={"size": 2.5, "color": PRIOR_COLOUR, "opacity": 0.55},
        hoverinfo="skip",
        showlegend=False,
    )
    theme.add_rings(figure, width=1.2)
    if len(holes):
        figure.add_scatter(
            x=holes[:, 0],
            y=holes[:, 1],
            mode="markers+text",
            text=[str(i + 1) for i in range(len(holes))],
            textfont={"color": "white", "size": 12},
            marker={"size": 21, "color": "#3b3f45", "line": {"color": "white", "width": 1.2}},
            hovertemplate="hole %{text}: (%{x:.2f}, %{y:.2f})<extra></extra>",
            showlegend=False,
        )
    figure.update_xaxes(range=[-half, half], **BARE)
    figure.update_yaxes(range=[-half, half], **BARE)
    return plain_layout(figure, height, *axis_titles, showlegend=False).update_layout(
        yaxis={"scaleanchor": "x"}, dragmode="pan"
    )


def split_of_kl(
    mutual: float, marginal: float, ceiling: float, height: int = 120, words: Words = IMAGES
) -> go.Figure:
    """The mean KL as one bar: I(x; z) and KL(q(z), p(z)), in nats; log N marked."""
    figure = go.Figure()
    for name, value, colour in (
        ("I(x; z)", mutual, Q_COLOUR),
        ("KL(q(z), p(z))", marginal, PRIOR_COLOUR),
    ):
        figure.add_bar(
            x=[max(value, 0.0)],
            y=[""],
            orientation="h",
            name=name,
            marker={"color": colour, "line": {"width": 0}},
            text=[f"{name} {value:.2f}"],
            textposition="inside",
            textangle=0,
            insidetextanchor="middle",
            textfont={"color": "white", "size": 13},
            hovertemplate=name + ": %{x:.3f} nats<extra></extra>",
        )
    figure.add_vline(
        x=ceiling,
        line={"color": HOLE_COLOUR, "width": 1.5, "dash": "dash"},
        annotation={
            "text": f"log N {ceiling:.2f}",
            "font": {"color": HOLE_COLOUR},
            "showarrow": False,
            "xanchor": "right",
            "yanchor": "bottom",
            "y": 1,
        },
    )
    figure.update_xaxes(range=[0, 1.04 * max(ceiling, mutual + max(marginal, 0), 0.1)])
    figure = plain_layout(figure, height, f"nats per {words.point}", "", showlegend=False)
    return figure.update_layout(
        barmode="stack", bargap=0.2, margin={"t": 24}, uniformtext={"minsize": 11, "mode": "hide"}
    )


def marginal(
    edges: np.ndarray, mass: np.ndarray, prior_mass: np.ndarray, name: str, height: int = 330
) -> go.Figure:
    """q(z_d) of one dimension over the prior's density.

    Args:
        edges: between the cells, shape (G - 1,).
        mass, prior_mass: of the cells, (G,); the first and the last have no end.
        name: of the dimension.
        height: in pixels.
    """
    middles, widths = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    figure = go.Figure()
    figure.add_scatter(
        x=middles,
        y=prior_mass[1:-1] / widths,
        name="prior p(z)",
        mode="lines",
        line={"color": PRIOR_COLOUR, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=middles,
        y=mass[1:-1] / widths,
        name=f"q({name})",
        mode="lines",
        fill="tozeroy",
        fillcolor="rgba(0, 163, 131, 0.2)",
        line=SELECTED_LINE,
        hovertemplate="%{x:.2f}: %{y:.3f}<extra></extra>",
    )
    return legend_above(plain_layout(figure, height, name, "density"))


def quantiles_against_prior(
    prior: np.ndarray, q: np.ndarray, names: Sequence[str], highlighted: int, height: int = 330
) -> go.Figure:
    """Q-Q: the quantiles of each q(z_d) against the prior's; on the diagonal they are the same.

    Args:
        prior: standard normal quantiles, shape (n,).
        q: those of each dimension, (D, n).
        names: of the dimensions.
        highlighted: the one in q's colour; the others stay in the background.
        height: in pixels.
    """
    figure = go.Figure()
    _add_diagonal(figure, float(prior[0]), float(prior[-1]), name="prior")
    order = [d for d in range(min(len(q), MOST_BARS)) if d != highlighted] + [highlighted]
    for d in order:
        chosen = d == highlighted
        figure.add_scatter(
            x=prior,
            y=q[d],
            mode="lines",
            name=names[d],
            opacity=1 if chosen else 0.35,
            line={"color": Q_COLOUR if chosen else PRIOR_COLOUR, "width": 2.6 if chosen else 1.2},
            hovertemplate="prior %{x:.2f}: %{y:.2f}<extra>" + names[d] + "</extra>",
        )
    return plain_layout(
        figure, height, "quantile of the prior", "quantile of q", showlegend=False
    ).update_layout(hovermode="closest")


def mmd_null(null: np.ndarray, value: float, height: int = 250) -> go.Figure:
    """What MMD^2 is where both samples are from one distribution, and what it is here."""
    counts, edges = binned(null, 40)
    figure = go.Figure(bars(counts, edges, "%{x:.2e}: %{y} permutations"))
    figure.add_vline(x=value, line={"color": Q_COLOUR, "width": 2.5})
    return plain_layout(figure, height, "MMD²", "permutations", showlegend=False)


def reliability(
    predicted: np.ndarray,
    observed: np.ndarray,
    count: np.ndarray,
    height: int = 430,
    words: Words = IMAGES,
) -> go.Figure:
    """Mean pixel against the mean that the model gave it; below, how many pixels are in each bin.

    Args:
        predicted, observed: of each bin, shape (n,); NaN in an empty one.
        count: pixels in the bin, (n,).
        height: in pixels.
    """
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.76, 0.24], vertical_spacing=0.04
    )
    _add_diagonal(figure, 0, 1, name="as it says", row=1, col=1)
    full = count > 0
    figure.add_scatter(
        x=predicted[full],
        y=observed[full],
        mode="lines+markers",
        name=words.numbers,
        line=SELECTED_LINE,
        marker={"size": 8},
        hovertemplate="said %{x:.3f}, was %{y:.3f}<extra></extra>",
        row=1,
        col=1,
    )
    n = len(count)
    figure.add_bar(
        x=(np.arange(n) + 0.5) / n,
        y=count,
        width=0.9 / n,
        marker={"color": PRIOR_COLOUR, "line": {"width": 0}},
        hovertemplate=f"%{{y:,}} {words.numbers}<extra></extra>",
        row=2,
        col=1,
    )
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title={"text": f"mean {words.number}"}, range=[-0.02, 1.02], row=1, col=1)
    figure.update_yaxes(type="log", title={"text": words.numbers}, dtick=2, row=2, col=1)
    figure.update_xaxes(title={"text": "E[x|z], as the model says"}, row=2, col=1)
    return figure.update_layout(
        height=height, showlegend=False, margin={"l": 8, "r": 8, "t": 8, "b": 8}
    )


def residuals(
    edges: np.ndarray, density: np.ndarray, height: int = 430, words: Words = IMAGES
) -> go.Figure:
    """Standardised residuals over the N(0, 1) that they should be."""
    middles = (edges[:-1] + edges[1:]) / 2
    marker = {"color": Q_COLOUR, "opacity": 0.55, "line": {"width": 0}}
    named = {"name": words.numbers, "marker": marker}
    figure = go.Figure(bars(density, edges, "%{x:.2f}: %{y:.3f}", **named))
    figure.add_scatter(
        x=middles,
        y=theme.normal_density(middles),
        mode="lines",
        name="N(0, 1)",
        line={"color": PRIOR_COLOUR, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
    figure = plain_layout(figure, height, "(x - E[x|z]) / s", "density")
    return legend_above(figure).update_layout(bargap=0)


def coverage(
    nominal: np.ndarray, covered: np.ndarray, height: int = 430, words: Words = IMAGES
) -> go.Figure:
    """The share of pixels that central intervals of the likelihood hold, against what they say."""
    figure = go.Figure()
    _add_diagonal(figure, 0, 1)
    figure.add_scatter(
        x=nominal,
        y=covered,
        mode="lines+markers",
        line=SELECTED_LINE,
        hovertemplate="of %{x:.0%}: %{y:.1%}<extra></extra>",
    )
    return (
        plain_layout(
            figure, height, "interval should hold", f"{words.numbers} inside", showlegend=False
        )
        .update_xaxes(tickformat=".0%")
        .update_yaxes(tickformat=".0%")
    )


def two_maps(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    class_names: Sequence[str],
    height: int = 500,
) -> go.Figure:
    """The same points on several maps side by side, coloured by label.

    Args:
        maps: by title, (n, 1) or more; the first two columns are drawn.
        labels: of the points, (n,).
        class_names: the name of each label.
        height: in pixels.
    """
    figure = make_subplots(
        rows=1, cols=len(maps), subplot_titles=list(maps), horizontal_spacing=0.06
    )
    for column, places in enumerate(maps.values(), 1):
        up = places[:, 1] if places.shape[1] > 1 else np.zeros(len(places))
        for label, name, rows in theme.by_class(labels, class_names):
            figure.add_scattergl(
                x=places[rows, 0],
                y=up[rows],
                mode="markers",
                name=name,
                legendgroup=str(label),
                showlegend=column == 1,
                marker={"size": 4, "color": theme.class_colour(label)},
                hoverinfo="name",
                row=1,
                col=column,
            )
    figure.update_xaxes(showticklabels=False, **BARE)
    figure.update_yaxes(showticklabels=False, **BARE)
    return figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 32, "b": 8},
        legend={"itemsizing": "constant"},
    )


def costs(
    values: np.ndarray,
    z: np.ndarray,
    line: float,
    name: str,
    height: int = 260,
    words: Words = IMAGES,
) -> go.Figure:
    """A term over the points, on a logarithmic axis; a line marks where outliers begin.

    Args:
        values: shape (N,), nats of each point.
        z: their modified z-scores, (N,).
        line: from which score on a point counts as an outlier.
        name: of the term.
        height: in pixels.
    """
    counts, edges = binned(values, min(80, max(10, round(len(values) ** 0.5))))
    figure = go.Figure(bars(counts, edges, "%{x:.1f} nats: %{y} points"))
    spread = z.max() - z.min()
    if spread > 0:
        a, b = int(z.argmin()), int(z.argmax())
        scale = (float(values[b]) - float(values[a])) / spread
        figure.add_vline(
            x=float(values[a]) + scale * (line - float(z[a])),
            line={"color": HOLE_COLOUR, "width": 1.5, "dash": "dash"},
        )
    figure.update_yaxes(**DECADES)
    title = f"{name}, nats per {words.point}"
    return plain_layout(figure, height, title, "points", showlegend=False)


def _add_diagonal(figure: go.Figure, low: float, high: float, **options: object) -> None:
    """Where what is and what should be are the same."""
    ends = [low, high]
    figure.add_scatter(x=ends, y=ends, mode="lines", line=PRIOR_LINE, hoverinfo="skip", **options)
