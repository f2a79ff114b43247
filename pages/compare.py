"""Compare: what did the change buy?"""

import html
import zlib

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae import comparison, comparison_figures, figures
from vae.checkpoint import CheckpointError, Run
from vae.comparison import Alignment, Difference
from vae.comparison_figures import PAIR
from vae.datasets import to_unit
from vae.ui import cache, evidence, frame, images, point, projection, state
from vae.ui import comparison as pairs
from vae.ui.comparison import Pair
from vae.ui.frame import View, nats, plain

frame.require("pages/compare.py")

POINT, CLASSES, DIMENSIONS, CHANGES, PLANE, SETTINGS = SECTIONS = (
    *("This point", "Classes", "Dimensions", "Worst and best"),
    *("Rate and distortion", "Settings"),
)
SECTION, COLOUR, ALIGN = "compared", "pair_colour", "align"
LABEL, CHANGE = "label", "difference"
AS_IT_IS, TURNED, SCALED = ALIGNMENTS = ("as it is", "turned", "turned and scaled")
KEYS = ("first_map", "second_map")
NAMES = {"recon": "recon", "kl": "KL", "neg_elbo": "-ELBO", "log_px": "log p(x)", "gap": "gap"}
RESAMPLED = (
    "A paired bootstrap (Efron & Tibshirani, 1993): images are drawn with replacement, each with "
    "both its values. Another seed of training would be another checkpoint; that is not in the "
    "interval."
)
MOST_CHANGES, SIDE, MAP_HEIGHT = 50, 132, 400


def main() -> None:
    view = frame.view()
    offered = pairs.choice(view)
    if offered is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        other = pairs.picker(offered)
        colour, align, index = controls(view, other)
    try:
        pair = pairs.load(view, other)
    except ValueError as error:
        st.error(f"{plain(other.name)} cannot be compared: {plain(str(error))}.")
        without_points(view.run, other)
        return
    headline(pair)
    maps(pair, colour, align, index)
    group(pair)
    section = choose_section(SECTIONS)
    if section == POINT:
        this_point(pair, index)
    elif section == CLASSES:
        classes(pair)
    elif section == DIMENSIONS:
        dimensions(pair)
    elif section == CHANGES:
        changes(pair, index)
    elif section == PLANE:
        rate_and_distortion(view.run, other)
    else:
        settings(view.run, other)


def controls(view: View, other: Run) -> tuple[str, str, int]:
    """Colour and place of the points, and the chosen one."""
    st.button(
        "Swap",
        icon=":material/swap_horiz:",
        on_click=pairs.swap,
        args=(view.run.name, other.name),
    )
    colour = st.segmented_control(
        "Colour", [LABEL, CHANGE], key=COLOUR, default=LABEL, required=True, bind="query-params"
    )
    align = st.segmented_control(
        "Second map",
        ALIGNMENTS,
        key=ALIGN,
        default=AS_IT_IS,
        required=True,
        bind="query-params",
        help="The prior is blind to rotations and reflections: an orthogonal Procrustes fit of all "
        "points (Schönemann, 1966) undoes them. Only what is drawn moves.",
    )
    return colour, align, frame.point_picker(view.embedding)


def without_points(first: Run, second: Run) -> None:
    """What can be said of two runs when one of them shows no points."""
    section = choose_section((PLANE, SETTINGS))
    (rate_and_distortion if section == PLANE else settings)(first, second)


def choose_section(sections: tuple[str, ...]) -> str:
    state.keep_within(SECTION, list(sections))
    return st.segmented_control(
        "Below",
        sections,
        key=SECTION,
        required=True,
        bind="query-params",
        label_visibility="collapsed",
    )


def headline(pair: Pair) -> None:
    """The mean difference in -ELBO, and how sure it is."""
    found = pairs.differences(pair)
    total = found["neg_elbo"]
    first, second = map(plain, pair.names)
    over = f"paired over {total.n:,} images, {total.n_resamples:,} bootstrap resamples"
    likelihoods = [view.run.model_config.likelihood for view in pair.views]
    if likelihoods[0] != likelihoods[1]:
        st.markdown(f"##### {first} and {second} measure recon on two scales", help=RESAMPLED)
        st.caption(
            f"p(x|z) is {likelihoods[0]} in {first} and {likelihoods[1]} in {second}, so neither "
            f"recon nor -ELBO can be compared. KL of {second} less that of {first}: "
            f"{signed(found['kl'])} nats per image, {over}, {p_value(found['kl'])}."
        )
        return
    cheaper, dearer = (second, first) if total.mean < 0 else (first, second)
    if total.is_clear:
        low, high = sorted((abs(total.low), abs(total.high)))
        title = f"{cheaper} costs {nats(abs(total.mean))} nats less per image than {dearer}"
        sure = f"95 % between {nats(low)} and {nats(high)}"
    else:
        title = f"In mean -ELBO {first} and {second} cannot be told apart"
        sure = f"{second} less {first}: {signed(total)}"
    st.markdown(f"##### {title}", help=RESAMPLED)
    parts = [f"{NAMES[name]} {signed(found[name])}" for name in found if name != "neg_elbo"]
    st.caption(
        f"{sure}, {over}, {p_value(total)}. {second} less {first}, nats per image: "
        f"{'; '.join(parts)}."
    )


def signed(difference: Difference) -> str:
    """A difference with its interval."""
    if not np.isfinite(difference.low):
        return f"{difference.mean:+.2f}"
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def p_value(difference: Difference) -> str:
    """How often chance alone would do as much."""
    if not np.isfinite(difference.p_value):
        return "a single image"
    least = 1 / (difference.n_resamples + 1)
    if difference.p_value <= least:
        return f"p < {1 / difference.n_resamples:.4g}"
    return f"p = {difference.p_value:.2g}"


def maps(pair: Pair, colour: str, align: str, index: int) -> None:
    """Both maps; what is chosen in one is chosen in the other."""
    planes = [projection.plane(view.embedding) for view in pair.views]
    positions = [axes.of(view.embedding.mu) for axes, view in zip(planes, pair.views, strict=True)]
    centres = [axes.prior_centre for axes in planes]
    titles = [axes.titles for axes in planes]
    moved = None
    if align != AS_IT_IS:
        moved = comparison.procrustes(*positions, scale=align == SCALED)
        positions[1], centres[1] = moved.of(positions[1]), moved.of(centres[1][None])[0]
        titles[1] = tuple(f"as {title} of {plain_name(pair, 0)}" for title in titles[0])
    reaches = list(map(comparison_figures.reach_of, positions, centres))
    if moved:
        reaches = [max(reaches)] * 2
    change = pairs.change(pair) if colour == CHANGE else None
    chosen = sorted(set(state.group(len(pair.first.embedding))))
    columns = st.columns(2, gap="small")
    for i, (column, view, key) in enumerate(zip(columns, pair.views, KEYS, strict=True)):
        with column:
            name_of_run(view.run.name, PAIR[i], nats(view.embedding.means()["neg_elbo"]))
            st.plotly_chart(
                comparison_figures.linked_map(
                    view.embedding,
                    positions[i],
                    change,
                    titles[i],
                    centres[i],
                    reaches[i],
                    selected=index,
                    group=chosen,
                    ring_scale=moved.scale if moved and i == 1 else 1.0,
                    showlegend=i == 1,
                    height=MAP_HEIGHT,
                    webgl=not st.session_state.get(state.WITHOUT_WEBGL, False),
                ),
                key=key,
                on_select=lambda key=key: state.point_from_chart(key),
                selection_mode=("points", "lasso"),
                config={"scrollZoom": True, "displaylogo": False},
                alt=f"The latent map of {view.run.name}",
            )
    st.caption(" ".join([what_is_shown(pair, colour), what_moved(pair, moved)]).strip())


def plain_name(pair: Pair, i: int) -> str:
    return html.escape(pair.names[i], quote=False)


def name_of_run(name: str, colour: str, neg_elbo: str) -> None:
    """A map's title, with the colour that the run has in the figures below."""
    st.html(
        "<div style='display:flex;align-items:baseline;gap:.5rem;font-weight:600'>"
        f"<span style='width:.7rem;height:.7rem;border-radius:50%;background:{colour}'></span>"
        f"{html.escape(name)}<span style='font-weight:400;opacity:.65'>"
        f"mean -ELBO {neg_elbo} nats</span></div>"
    )


def what_is_shown(pair: Pair, colour: str) -> str:
    first, second = map(plain, pair.names)
    text = "One point is one image in both maps: click it, or lasso a group, in either."
    if colour == CHANGE:
        text += f" Colour: -ELBO of {second} less that of {first}, pink where {first} is cheaper."
    if max(view.embedding.latent_dim for view in pair.views) > 2:
        text += " More than two dimensions are shown by the principal components of μ."
    return text


def what_moved(pair: Pair, moved: Alignment | None) -> str:
    """What was done to the second map."""
    if moved is None:
        return ""
    how = [f"turned by {moved.degrees:.0f}°"]
    if moved.reflects:
        how.insert(0, "mirrored")
    if moved.scale != 1:
        how.append(f"scaled by {moved.scale:.2f}")
    return (
        f"{plain(pair.names[1])} is drawn {', '.join(how)}; the same image then lies "
        f"{moved.residual:.2f} apart (root mean square)."
    )


def group(pair: Pair) -> None:
    """What a lasso caught, in both."""
    chosen = sorted(set(state.group(len(pair.first.embedding))))
    if not chosen:
        return
    embeddings = (view.embedding for view in pair.views)
    found = comparison.term_differences(*embeddings, rows=chosen, n_resamples=2000)
    costs = " and ".join(
        f"{nats(float(view.embedding.neg_elbo[chosen].mean()))} in {plain(view.run.name)}"
        for view in pair.views
    )
    text, button = st.columns([5.6, 1], vertical_alignment="center", gap="small")
    text.markdown(
        f"**{len(chosen):,} points**, mean -ELBO {costs}: {signed(found['neg_elbo'])}, "
        f"recon {found['recon'].mean:+.2f}, KL {found['kl'].mean:+.2f} nats"
    )
    button.button(
        "Forget these points",
        on_click=lambda: st.session_state.pop(state.GROUP, None),
        width="stretch",
    )


@torch.no_grad()
def this_point(pair: Pair, index: int) -> None:
    """The chosen image, what both make of it, and what it costs in both."""
    embedding = pair.first.embedding
    left, right = st.columns([1, 1.25], gap="medium")
    with left:
        label = embedding.class_names[embedding.labels[index]]
        st.markdown(f"##### Point {index:,}, label {plain(label)}")
        columns = st.columns(3, gap="small")
        if pair.first.images is not None:
            x = to_unit(pair.first.images.images[index]).numpy()
            with columns[0]:
                images.show(images.enlarged(x, SIDE), "x", width=SIDE)
        for column, view in zip(columns[1:], pair.views, strict=True):
            decoded = view.model.decode_mean(torch.from_numpy(view.embedding.mu[index])).numpy()
            with column:
                images.show(images.enlarged(decoded, SIDE), plain(view.run.name), width=SIDE)
        if pair.first.images is None:
            point.missing_image(pair.first)
        else:
            st.caption("The image, and E[x|z = μ] of both.")
    with right:
        terms_of_point(pair, index)
    change = pairs.change(pair)
    st.plotly_chart(
        comparison_figures.change_histogram(change, pair.names, selected=float(change[index])),
        key="change_histogram",
        config={"displayModeBar": False},
        alt="How many points cost how much more or less in the second run",
    )
    first, second = map(plain, pair.names)
    st.caption(
        f"-ELBO of {second} less that of {first}, this point marked: {first} is cheaper for "
        f"{(change > 0).mean():.0%} of the images."
    )


def terms_of_point(pair: Pair, index: int) -> None:
    rows: dict[str, list[float]] = {}
    for name in comparison.TERMS:
        rows[NAMES[name]] = [float(getattr(v.embedding, name)[index]) for v in pair.views]
    known = [evidence.found(view) for view in pair.views]
    if all(e is not None for e in known):
        rows["log p(x)"] = [float(e.log_px[index]) for e in known]
        if np.isfinite(gaps := [float(e.gap[index]) for e in known]).all():
            rows["gap"] = gaps
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(
            [
                {"term": name, "first": a, "second": b, "difference": b - a}
                for name, (a, b) in rows.items()
            ]
        ),
        key="terms_of_point",
        hide_index=True,
        column_config={
            "term": "nats",
            "first": number(pair.names[0], format="%.2f"),
            "second": number(pair.names[1], format="%.2f"),
            "difference": number("second - first", format="%+.2f"),
        },
    )
    ranks = [view.embedding.rank(index) for view in pair.views]
    errors = [float(view.embedding.recon_stderr[index]) for view in pair.views]
    n = len(pair.first.embedding)
    st.caption(
        f"Rank by -ELBO {ranks[0]:,} and {ranks[1]:,} of {n:,}; the draws behind recon leave a "
        f"standard error of {nats(errors[0])} and {nats(errors[1])} nats."
    )


def classes(pair: Pair) -> None:
    """Which classes gained, which lost."""
    found = pairs.class_differences(pair)
    names = pair.first.embedding.class_names
    order = sorted(found, key=lambda label: -found[label]["neg_elbo"].mean)
    left, right = st.columns([1, 1.25], gap="medium")
    with left:
        st.plotly_chart(
            comparison_figures.class_differences(
                [names[label] for label in order],
                [found[label]["neg_elbo"] for label in order],
                pair.names,
            ),
            key="class_figure",
            config={"displayModeBar": False},
            alt="The mean difference in -ELBO of each class with its 95 % interval, in nats",
        )
        st.caption("Mean difference and its 95 % interval, class by class; grey: zero is in it.")
    with right:
        labels = pair.first.embedding.labels
        st.dataframe(
            pd.DataFrame(
                {
                    "label": [names[label] for label in order],
                    "points": [found[label]["neg_elbo"].n for label in order],
                    **{
                        f"{i} -ELBO": [
                            float(view.embedding.neg_elbo[labels == label].mean())
                            for label in order
                        ]
                        for i, view in zip(("first", "second"), pair.views, strict=True)
                    },
                    **{
                        NAMES[name]: [found[label][name].mean for label in order]
                        for name in ("neg_elbo", "recon", "kl")
                    },
                    "low": [found[label]["neg_elbo"].low for label in order],
                    "high": [found[label]["neg_elbo"].high for label in order],
                }
            ),
            key="class_table",
            hide_index=True,
            column_config={
                **{
                    f"{i} -ELBO": st.column_config.NumberColumn(f"{i}", format="%.2f")
                    for i in ("first", "second")
                },
                **{
                    name: st.column_config.NumberColumn(f"Δ {name}", format="%+.2f")
                    for name in ("-ELBO", "recon", "KL")
                },
                "low": st.column_config.NumberColumn("from", format="%+.2f"),
                "high": st.column_config.NumberColumn("to", format="%+.2f"),
            },
        )
        st.caption(
            "Nats per image: mean -ELBO of both, the differences Δ, and the 95 % interval of Δ "
            f"-ELBO. {which_is_which(pair)}"
        )


def dimensions(pair: Pair) -> None:
    """How both use their latent dimensions."""
    ranked = tuple(comparison.kl_by_rank(view.embedding) for view in pair.views)
    values = comparison.correlations(*(view.embedding.mu for view in pair.views))
    left, right = st.columns([1.25, 1], gap="medium")
    with left:
        st.plotly_chart(
            comparison_figures.kl_by_rank(ranked, pair.names),
            key="kl_by_rank",
            config={"displayModeBar": False},
            alt="Mean KL of each latent dimension of both runs, by rank, in nats",
        )
        totals = [
            f"{plain(n)} {nats(float(r[1].sum()))}" for n, r in zip(pair.names, ranked, strict=True)
        ]
        st.caption(
            "Mean KL of each latent dimension, most first: a dimension's number means nothing in "
            f"another model. Together: {', '.join(totals)} nats per image."
        )
    with right:
        st.plotly_chart(
            comparison_figures.correlations(
                values, tuple(order for order, _ in ranked), pair.names
            ),
            key="correlations",
            config={"displayModeBar": False},
            alt="How the dimensions of both runs correlate over the points",
        )
        st.caption("|correlation| of μ over the points: which dimension found what the other had.")


def changes(pair: Pair, index: int) -> None:
    """The points that lost most and those that gained most."""
    change = pairs.change(pair)
    worse, better = comparison.largest_changes(change, MOST_CHANGES)
    second = plain(pair.names[1])
    for column, rows, title in zip(
        st.columns(2, gap="medium"),
        (worse, better),
        (f"Costlier in {second}", f"Cheaper in {second}"),
        strict=True,
    ):
        with column:
            st.markdown(f"##### {title}")
            if len(rows):
                table_of_changes(pair, change, rows, index)
            else:
                st.caption("None.")
    st.caption(f"Nats per image; a row chooses the point. {which_is_which(pair)}")


def which_is_which(pair: Pair) -> str:
    first, second = map(plain, pair.names)
    return f"First: {first}; second: {second}; Δ: second less first."


def table_of_changes(pair: Pair, change: np.ndarray, rows: np.ndarray, index: int) -> None:
    embeddings = [view.embedding for view in pair.views]
    names = embeddings[0].class_names
    columns = {
        "point": rows,
        "label": [names[label] for label in embeddings[0].labels[rows]],
        "change": change[rows],
        "recon": comparison.change(*embeddings, "recon")[rows],
        "KL": comparison.change(*embeddings, "kl")[rows],
        "first": embeddings[0].neg_elbo[rows],
        "second": embeddings[1].neg_elbo[rows],
    }
    if pair.first.images is not None:
        pictures = [images.data_url(pair.first.images.images[i].numpy()) for i in rows]
        columns = {"x": pictures, **columns}
    # A selection is a place in the table: another pair makes another table.
    key = f"changes-{zlib.crc32(rows.tobytes())}"

    chosen = np.flatnonzero(rows == index).tolist()
    number = st.column_config.NumberColumn
    st.dataframe(
        pd.DataFrame(columns),
        key=key,
        hide_index=True,
        height=420,
        row_height=40,
        on_select=lambda: state.point_from_table(key, rows),
        selection_mode="single-row",
        selection_default={"selection": {"rows": chosen}} if chosen else None,
        column_config={
            "x": st.column_config.ImageColumn("x", width=52),
            "change": number("Δ -ELBO", format="%+.1f", width=72),
            "recon": number("Δ recon", format="%+.1f", width=72),
            "KL": number("Δ KL", format="%+.1f", width=64),
            "first": number("first", format="%.1f", width=64),
            "second": number("second", format="%.1f", width=64),
        },
    )


def rate_and_distortion(first: Run, second: Run) -> None:
    """Both trainings' ways through the plane of KL and recon."""
    histories = {}
    for run in (first, second):
        try:
            histories[run.name] = cache.metrics(run)
        except CheckpointError as error:
            st.error(plain(str(error)))
    if not any(row["split"] == "test" for rows in histories.values() for row in rows):
        st.caption("Neither has kept the metrics of its training.")
        return
    st.plotly_chart(
        figures.rate_distortion(histories),
        key="rate_distortion",
        config={"displayModeBar": False},
        alt="Recon against KL of the held-out images, epoch by epoch, of both runs",
    )
    data = [f"{plain(run.train_config.held_out_dataset)}" for run in (first, second)]
    st.caption(
        "Held-out images, epoch by epoch; the large dot is the end. Along a dotted line -ELBO is "
        "the same."
        + (f" Not the same images: {data[0]} and {data[1]}." if data[0] != data[1] else "")
    )


def settings(first: Run, second: Run) -> None:
    """In which settings the two differ."""
    rows, same = [], []
    for part, configs in (
        ("model", (first.model_config, second.model_config)),
        ("training", (first.train_config, second.train_config)),
    ):
        changed, shared = comparison.settings_diff(*configs)
        rows += [
            {"of": part, "setting": s.name, "first": told(s.first), "second": told(s.second)}
            for s in changed
        ]
        same += shared
    if not rows:
        st.caption("Both have the same settings throughout.")
    spent = [what_it_took(run) for run in (first, second)]
    for name in spent[0] | spent[1]:
        values = {
            place: of.get(name, "") for place, of in zip(("first", "second"), spent, strict=True)
        }
        rows.append({"of": "result", "setting": name, **values})
    if rows:
        st.dataframe(
            pd.DataFrame(rows),
            key="settings",
            hide_index=True,
            width="content",
            height="content",
            column_config={"of": "", "setting": "", "first": first.name, "second": second.name},
        )
    if same:
        st.caption(f"The same in both: {', '.join(map(plain, same))}.")


def what_it_took(run: Run) -> dict[str, str]:
    """What the settings led to, as far as the run can be read."""
    found = {}
    try:
        found["parameters"] = f"{cache.model(run).n_parameters:,}"
        held_out = [row for row in cache.metrics(run) if row["split"] == "test"]
    except CheckpointError:
        return found  # the page has said so
    if held_out:
        found["epochs trained"] = f"{held_out[-1]['epoch']:,}"
        found["minutes of training"] = f"{sum(row['seconds'] for row in held_out) / 60:.1f}"
    return found


def told(value: object) -> str:
    """A setting as a table shows it."""
    if isinstance(value, tuple | list):
        return "-".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


main()
