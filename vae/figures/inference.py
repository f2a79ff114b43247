"""The figures of Inference: q(z|x) and p(z|x), the gap, Monte Carlo."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from vae.figures.theme import (
    BARE,
    CLASS_COLOURS,
    DECADES,
    NATS,
    NO_HOVER,
    PRIOR_COLOUR,
    Q_COLOUR,
    RECON_COLOUR,
    SELECTED_LINE,
    bars,
    binned,
    legend_above,
    plain_layout,
)
from vae.wording import IMAGES, Words

TRUTH_COLOUR = "#a457d6"  # p(z|x) and log p(x), which q and the bound are held against
_TRUTH = "164, 87, 214"
_BAND = "rgba(0, 163, 131, 0.18)"
SCORE_COLOUR, BASELINE_COLOUR = CLASS_COLOURS[6], CLASS_COLOURS[1]  # beside pathwise in q's colour
_MOST_DOTS = 1500  # of a cloud


class Window(NamedTuple):
    """What of the latent line or plane is looked at: its corners, each (D,)."""

    low: np.ndarray
    high: np.ndarray


def window(centres: np.ndarray, reach: np.ndarray) -> Window:
    """The smallest square that holds every centre, (n, D), with its reach, (n, D), around it."""
    low, high = (centres - reach).min(0), (centres + reach).max(0)
    middle, half = (low + high) / 2, 1.08 * (high - low).max() / 2
    return Window(middle - half, middle + half)


def neighbourhood(
    log_density: np.ndarray,
    shown: Window,
    ellipses: Mapping[str, Sequence[np.ndarray]],
    positions: np.ndarray,
    axis_titles: tuple[str, str],
    height: int = 540,
) -> go.Figure:
    """p(z|x) of one point as filled contours, and what is held against it.

    A contour of p(z|x) is the edge of the smallest region with that share of its mass.

    Args:
        log_density: log p(z|x) in the middles of the window's cells, shape (n, n), z1 first.
        shown: the window.
        ellipses: by name, closed lines (m, 2); the first in q's colour, the others dashed.
        positions: of the data set on the map, (N, 2).
        axis_titles: of z1 and z2.
        height: in pixels.
    """
    figure = go.Figure()
    _add_other_points(figure, positions, shown)
    _add_contours(figure, log_density, shown)
    for number, (name, lines) in enumerate(ellipses.items()):
        width, dash = (2.4, "solid") if number == 0 else (2, "dash")
        _add_lines(figure, name, lines, {"color": Q_COLOUR, "width": width, "dash": dash})
    angle = np.linspace(0, 2 * np.pi, 181)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [radius * circle for radius in (1, 2, 3)]
    _add_lines(figure, "prior p(z)", rings, {"color": PRIOR_COLOUR, "width": 1.2, "dash": "dot"})
    figure.update_xaxes(range=[shown.low[0], shown.high[0]], **BARE)
    figure.update_yaxes(range=[shown.low[1], shown.high[1]], **BARE)
    return legend_above(plain_layout(figure, height, *axis_titles)).update_layout(
        yaxis={"scaleanchor": "x"}, dragmode="pan"
    )


def _add_other_points(figure: go.Figure, positions: np.ndarray, shown: Window) -> None:
    # The chart is wider than its window, and can be dragged.
    more = shown.high - shown.low
    near = np.flatnonzero(((positions > shown.low - more) & (positions < shown.high + more)).all(1))
    near = near[:: len(near) // 6000 + 1]
    figure.add_scattergl(
        x=positions[near, 0],
        y=positions[near, 1],
        customdata=near.astype(np.int32),
        mode="markers",
        marker={"size": 4, "color": PRIOR_COLOUR, "opacity": 0.25},
        name="other points",
        hovertemplate="point %{customdata}<extra></extra>",
    )


def _add_contours(figure: go.Figure, log_density: np.ndarray, shown: Window) -> None:
    n = len(log_density)
    x, y = (
        np.linspace(shown.low[d], shown.high[d], n, endpoint=False)
        + (shown.high[d] - shown.low[d]) / n / 2
        for d in range(2)
    )
    outside = 1 - mass_above(log_density)
    figure.add_contour(
        x=x,
        y=y,
        z=outside.T.astype(np.float32),
        contours={"start": 0.01, "end": 0.91, "size": 0.1, "coloring": "fill", "showlines": True},
        line={"width": 0.6, "color": f"rgba({_TRUTH}, 0.9)"},
        # Below the first contour nothing is painted; from there on it gets denser.
        colorscale=[
            [0, f"rgba({_TRUTH}, 0)"],
            [0.01, f"rgba({_TRUTH}, 0.14)"],
            [1, f"rgba({_TRUTH}, 0.95)"],
        ],
        zmin=0,
        zmax=1,
        showscale=False,
        name="p(z|x)",
        showlegend=True,
        hovertemplate="z = (%{x:.3f}, %{y:.3f})<extra>p(z|x)</extra>",
    )


def _add_lines(
    figure: go.Figure, name: str, lines: Sequence[np.ndarray], style: Mapping[str, object]
) -> None:
    """Lines (m, 2) under one name in the legend."""
    for i, line in enumerate(lines):
        figure.add_scatter(
            x=line[:, 0],
            y=line[:, 1],
            mode="lines",
            name=name,
            legendgroup=name,
            showlegend=i == 0,
            hoverinfo="skip",
            line=dict(style),
        )


def line_neighbourhood(
    log_density: np.ndarray, shown: Window, gaussians: Mapping[str, tuple[float, float]]
) -> go.Figure:
    """The same over a latent line: densities of z.

    Args:
        log_density: log p(z|x) in the middles of the window's cells, shape (n,).
        shown: the window.
        gaussians: mean and sigma by name; the first in q's colour, the others dashed.
    """
    n = len(log_density)
    low, high = float(shown.low[0]), float(shown.high[0])
    z = low + (np.arange(n) + 0.5) / n * (high - low)
    figure = go.Figure()
    figure.add_scatter(
        x=z,
        y=np.exp(log_density),
        name="p(z|x)",
        fill="tozeroy",
        fillcolor=f"rgba({_TRUTH}, 0.3)",
        line={"color": TRUTH_COLOUR, "width": 2},
        hovertemplate="z = %{x:.3f}: %{y:.3f}<extra>p(z|x)</extra>",
    )
    curves = [*gaussians.items(), ("prior p(z)", (0.0, 1.0))]
    for number, (name, (mean, sigma)) in enumerate(curves):
        is_prior = number == len(curves) - 1
        figure.add_scatter(
            x=z,
            y=np.exp(-(((z - mean) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi)),
            name=name,
            mode="lines",
            line={
                "color": PRIOR_COLOUR if is_prior else Q_COLOUR,
                "width": 2,
                "dash": "dot" if is_prior else "solid" if number == 0 else "dash",
            },
            hoverinfo="skip",
        )
    return legend_above(plain_layout(figure, 560, "z₁", "density"))


def mass_above(log_density: np.ndarray) -> np.ndarray:
    """For each cell the share of the whole mass that lies in denser ones, in [0, 1].

    1 everywhere where no density is finite, as that of a broken model may be.
    """
    if not np.isfinite(log_density.max()):
        return np.ones_like(log_density)
    density = np.exp(log_density - log_density.max()).ravel()
    order = np.argsort(-density, kind="stable")
    above = np.empty_like(density)
    above[order] = np.cumsum(density[order]) - density[order]
    return (above / max(density.sum(), 1e-300)).reshape(log_density.shape)


def equation_8(
    recon: float,
    kl: float,
    log_px: float,
    parts: Mapping[str, float],
    height: int = 250,
    words: Words = IMAGES,
) -> go.Figure:
    """Two bars of one length: recon + KL = -ELBO, and -log p(x) + gap; their ends enlarged below.

    Args:
        recon, kl: the terms of the loss, in nats.
        log_px: log p(x).
        parts: the gap, or what it is made of, by name.
        height: in pixels.
    """
    figure = make_subplots(rows=2, cols=1, row_heights=[0.5, 0.5], vertical_spacing=0.34)
    total, truth = recon + kl, -log_px
    upper = {"recon": (recon, RECON_COLOUR), "KL(q, p(z))": (kl, Q_COLOUR)}
    shades = (1.0, 0.45)
    lower = {"-log p(x)": (truth, TRUTH_COLOUR)} | {
        name: (value, f"rgba(231, 99, 0, {shade})")
        for (name, value), shade in zip(parts.items(), shades, strict=False)
    }
    gap = max(sum(parts.values()), 1e-6)
    low, high = truth - 0.25 * gap, max(total, truth + gap) + 0.25 * gap
    for row in (1, 2):
        for bar, pieces in (("-ELBO", upper), ("-log p(x) + gap", lower)):
            start = 0.0
            for name, (value, colour) in pieces.items():
                begin = max(start, low) if row == 2 else start
                # A density above 1 costs less than nothing: its bar goes to the left.
                width = value if row == 1 else max(start + value - begin, 0.0)
                figure.add_bar(
                    x=[width],
                    base=[begin],
                    y=[bar],
                    orientation="h",
                    marker={"color": colour, "line": {"width": 0}},
                    name=name,
                    text=[f"{name} {value:.2f}"] if start >= low or row == 1 else None,
                    textfont={"color": "white", "size": 12},
                    textposition="inside",
                    insidetextanchor="middle",
                    hovertemplate=f"{name}: {value:.3f} nats<extra></extra>",
                    constraintext="inside",
                    showlegend=False,
                    row=row,
                    col=1,
                )
                start += value
    unit = {"text": f"nats per {words.point}"}
    figure.update_xaxes(range=[low, high], row=2, col=1, title=unit)
    figure.update_xaxes(rangemode="tozero", row=1, col=1)
    figure.update_yaxes(autorange="reversed")
    return figure.update_layout(
        height=height,
        barmode="overlay",
        bargap=0.14,
        uniformtext={"minsize": 10, "mode": "hide"},
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
    )


def bound_against_samples(
    sizes: Sequence[int],
    bounds: np.ndarray,
    errors: np.ndarray,
    elbo: float,
    log_px: float | None,
    height: int = 330,
) -> go.Figure:
    """The importance-weighted bound climbing with K, with a band of two standard errors.

    Args:
        sizes: the K.
        bounds, errors: each (len(sizes),), in nats.
        elbo: where it starts from.
        log_px: where it ends; None where that is not known.
        height: in pixels.
    """
    figure = go.Figure()
    K = np.asarray(sizes)
    _add_band(figure, K, bounds, 2 * np.nan_to_num(errors), _BAND, **NO_HOVER)
    figure.add_scatter(
        x=K,
        y=bounds,
        mode="lines+markers",
        name="bound of K samples, ± 2 standard errors",
        line=SELECTED_LINE,
        marker={"size": 5},
        hovertemplate="K = %{x}: %{y:.3f} nats<extra></extra>",
    )
    add_level(figure, elbo, "ELBO", Q_COLOUR)
    if log_px is not None:
        add_level(figure, log_px, "log p(x)", TRUTH_COLOUR)
    figure.update_xaxes(**DECADES)
    return legend_above(plain_layout(figure, height, "K, importance samples", "nats"))


def running(
    mean: np.ndarray,
    spread: float,
    level: float,
    name: str,
    level_name: str,
    height: int = 330,
) -> go.Figure:
    """A Monte Carlo estimate as its draws arrive, in the envelope that 1 / sqrt(L) promises.

    Args:
        mean: of the first 1, 2, ..., L draws, shape (L,), in nats.
        spread: the standard deviation of one draw.
        level: what it should come to.
        name, level_name: what these are.
        height: in pixels.
    """
    L = len(mean)
    kept = np.unique(np.geomspace(1, L, min(L, 600)).astype(int))
    figure = go.Figure()
    envelope = 2 * spread / np.sqrt(kept)
    grey = "rgba(138, 145, 153, 0.2)"
    _add_band(figure, kept, level, envelope, grey, name="± 2 s / √L", hoverinfo="skip")
    add_level(figure, level, level_name, TRUTH_COLOUR)
    figure.add_scatter(
        x=kept,
        y=mean[kept - 1],
        mode="lines",
        name=name,
        line=SELECTED_LINE,
        hovertemplate="%{x} draws: %{y:.3f} nats<extra></extra>",
    )
    figure.update_xaxes(**DECADES)
    # The first draws may be anywhere; the picture is of where they settle.
    half = 2.4 * spread or 1.0
    figure.update_yaxes(range=[level - half, level + half])
    return legend_above(plain_layout(figure, height, "L, draws", "nats"))


def gradient_clouds(
    clouds: Mapping[str, np.ndarray], axis_titles: tuple[str, ...], height: int = 380
) -> go.Figure:
    """What single draws say of the gradient: all on one scale, and the tightest alone on its own.

    Args:
        clouds: by estimator, (L, 1) or (L, 2) components; the tightest last.
        axis_titles: of the components.
        height: in pixels.
    """
    figure = make_subplots(rows=1, cols=2, horizontal_spacing=0.09)
    colours = (SCORE_COLOUR, BASELINE_COLOUR, Q_COLOUR)
    *_, last = clouds
    for (name, cloud), colour in zip(clouds.items(), colours, strict=True):
        dots = cloud[:_MOST_DOTS]
        across = dots[:, 0]
        # A single component is spread upwards by its draw's number alone.
        up = dots[:, 1] if cloud.shape[1] > 1 else np.linspace(-1, 1, len(dots))
        mean = cloud.mean(0)
        for column in (1, 2) if name == last else (1,):
            figure.add_scattergl(
                x=across,
                y=up,
                mode="markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                marker={"size": 4, "color": colour, "opacity": 0.5},
                hovertemplate="(%{x:.3g}, %{y:.3g})<extra>" + name + "</extra>",
                row=1,
                col=column,
            )
            figure.add_scattergl(
                x=[mean[0]],
                y=[mean[1] if cloud.shape[1] > 1 else 0],
                mode="markers",
                marker={
                    **{"symbol": "cross-thin-open", "size": 15},
                    **{"color": TRUTH_COLOUR, "line": {"width": 3}},
                },
                name="mean",
                legendgroup="mean",
                showlegend=name == last and column == 1,
                hovertemplate="mean (%{x:.3f}, %{y:.3f})<extra>" + name + "</extra>",
                row=1,
                col=column,
            )
    for column, shown in ((1, np.concatenate(list(clouds.values()))), (2, clouds[last])):
        for axis, d in (("xaxis", 0), ("yaxis", 1)):
            if d < shown.shape[1]:
                low, high = np.percentile(shown[:, d], (1, 99))
                pad = 0.1 * (high - low) or 1.0
                number = "" if column == 1 else "2"
                figure.layout[f"{axis}{number}"].range = [low - pad, high + pad]
    for column in (1, 2):
        figure.update_xaxes(title={"text": axis_titles[0]}, row=1, col=column)
    figure.update_yaxes(title={"text": axis_titles[1]}, row=1, col=1)
    return legend_above(
        figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 30, "b": 8})
    )


def variance_against_draws(
    variances: Mapping[str, float], most: int, height: int = 300
) -> go.Figure:
    """The variance of the average of L draws: lines of slope -1, whose distance is the ratio.

    Args:
        variances: of one draw, by estimator; the tightest last.
        most: the largest L.
        height: in pixels.
    """
    figure = go.Figure()
    L = np.unique(np.geomspace(1, max(most, 2), 30).astype(int))
    colours = (SCORE_COLOUR, BASELINE_COLOUR, Q_COLOUR)
    for (name, value), colour in zip(variances.items(), colours, strict=True):
        figure.add_scatter(
            x=L,
            y=value / L,
            mode="lines",
            name=name,
            line={"color": colour, "width": 2.4},
            hovertemplate="%{x} draws: %{y:.3g}<extra>" + name + "</extra>",
        )
    figure.update_xaxes(**DECADES)
    figure.update_yaxes(type="log", exponentformat="power")
    return legend_above(plain_layout(figure, height, "L, draws", "variance, nats²"))


def gap_against_kl(
    kl: np.ndarray,
    gap: np.ndarray,
    neg_elbo: np.ndarray,
    selected: int,
    height: int = 330,
    words: Words = IMAGES,
) -> go.Figure:
    """Each point's gap beside its KL to the prior, coloured by its -ELBO; all in nats."""
    low, high = np.percentile(neg_elbo, (1, 99))
    figure = go.Figure(
        go.Scattergl(
            x=kl,
            y=gap,
            customdata=np.arange(len(kl), dtype=np.int32),
            mode="markers",
            marker={
                **{"size": 4, "color": neg_elbo, "colorscale": NATS},
                **{"cmin": low, "cmax": high},
                "colorbar": {
                    "title": {"text": "-ELBO<br>nats"},
                    **{"thickness": 10, "outlinewidth": 0},
                },
            },
            hovertemplate="point %{customdata}: gap %{y:.2f}, KL %{x:.2f} nats<extra></extra>",
        )
    )
    figure.add_scattergl(
        x=[kl[selected]],
        y=[gap[selected]],
        mode="markers",
        marker={
            **{"symbol": "circle-open", "size": 15},
            **{"color": Q_COLOUR, "line": {"width": 2.5}},
        },
        **NO_HOVER,
    )
    # Gaps span four decades; a linear axis would show the worst few alone.
    figure.update_yaxes(type="log", exponentformat="power")
    x, y = (f"{name}, nats per {words.point}" for name in ("KL(q, p(z))", "gap"))
    return plain_layout(figure, height, x, y, showlegend=False).update_layout(
        dragmode="pan", hovermode="closest", uirevision="gaps"
    )


def gap_histogram(
    gap: np.ndarray, selected: float, height: int = 200, words: Words = IMAGES
) -> go.Figure:
    """How many points have which gap, in nats of each, on a logarithmic axis; one is marked."""
    logs = np.log10(np.maximum(gap, 1e-4))
    counts, edges = binned(logs, 60)
    middles = 10 ** ((edges[:-1] + edges[1:]) / 2)
    figure = go.Figure(
        bars(counts, edges, "%{customdata:.3g} nats: %{y} points", customdata=middles)
    )
    figure.add_vline(x=float(np.log10(max(selected, 1e-4))), line=SELECTED_LINE)
    decades = np.arange(np.floor(edges[0]), np.ceil(edges[-1]) + 1)
    figure.update_xaxes(tickvals=decades, ticktext=[f"{10.0**d:g}" for d in decades])
    title = f"gap, nats per {words.point}"
    return plain_layout(figure, height, title, "points", showlegend=False)


def _add_band(
    figure: go.Figure,
    x: np.ndarray,
    middle: np.ndarray | float,
    reach: np.ndarray,
    colour: str,
    **options: object,
) -> None:
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([middle + reach, (middle - reach)[::-1]]),
        fill="toself",
        fillcolor=colour,
        line={"width": 0},
        **options,
    )


def add_level(figure: go.Figure, level: float, name: str, colour: str) -> None:
    """A dashed line across the figure at a value in nats, with its name."""
    figure.add_hline(
        y=level,
        line={"color": colour, "width": 1.5, "dash": "dash"},
        annotation={
            "text": f"{name} {level:.2f}",
            "font": {"color": colour},
            "showarrow": False,
            "xanchor": "right",
            "yanchor": "bottom",
        },
    )
