"""What a pair costs: in the mean, for a point, a class, a latent dimension, and where it changed
most.
"""

import zlib

import numpy as np
import pandas as pd
import streamlit as st
import torch

from vae.analysis import comparison
from vae.data.dataset import to_unit
from vae.figures import comparison as figures
from vae.ui import charts, images, objectives, point, tables
from vae.ui.compare import partner
from vae.ui.compare.partner import Pair
from vae.ui.results import evidence
from vae.ui.text import nats, plain

_NAMES = {"recon": "recon", "kl": "KL", "neg_elbo": "-ELBO", "log_px": "log p(x)", "gap": "gap"}
_RESAMPLED = (
    "A paired bootstrap (Efron & Tibshirani, 1993): images are drawn with replacement, each with "
    "both its values. Another seed of training would be another checkpoint; that is not in the "
    "interval."
)
_MOST_CHANGES, _SIDE = 50, 132


def headline(pair: Pair) -> None:
    """The mean difference in -ELBO, and how sure it is."""
    found = partner.differences(pair)
    total = found["neg_elbo"]
    first, second = map(plain, pair.names)
    words = pair.words
    about, chance = words.said(_RESAMPLED), words.said(total.p_text)
    over = f"paired over {total.n:,} {words.points}, {total.n_resamples:,} bootstrap resamples"
    likelihoods = [view.run.model_config.likelihood for view in pair.views]
    if likelihoods[0] != likelihoods[1]:
        st.markdown(f"##### {first} and {second} measure recon on two scales", help=about)
        st.caption(
            f"p(x|z) is {likelihoods[0]} in {first} and {likelihoods[1]} in {second}, so neither "
            f"recon nor -ELBO can be compared. KL of {second} less that of {first}: "
            f"{found['kl'].interval_text} nats per {words.point}, {over}, "
            f"{words.said(found['kl'].p_text)}."
        )
        return
    cheaper, dearer = (second, first) if total.mean < 0 else (first, second)
    if total.is_clear:
        low, high = sorted((abs(total.low), abs(total.high)))
        title = f"{cheaper} costs {nats(abs(total.mean))} nats less per {words.point} than {dearer}"
        sure = f"95 % between {nats(low)} and {nats(high)}"
    else:
        title = f"In mean -ELBO {first} and {second} cannot be told apart"
        sure = f"{second} less {first}: {total.interval_text}"
    st.markdown(f"##### {title}", help=about)
    parts = [f"{_NAMES[name]} {found[name].interval_text}" for name in found if name != "neg_elbo"]
    st.caption(
        f"{sure}, {over}, {chance}. {partner.given(pair)}{second} less {first}, nats per "
        f"{words.point}: "
        f"{'; '.join(parts)}."
    )
    _objectives(pair)


def _objectives(pair: Pair) -> None:
    """What the bound cost, where the two differ in what was maximised and in nothing else."""
    by = objectives.of_one_network(pair.first.run, pair.second.run)
    if by and by[0] != by[1]:
        st.markdown(
            objectives.what_the_bound_cost(list(pair.views))
            or f"They differ in what was maximised alone: {by[0]} and {by[1]}. Where log p(x) of "
            "both is known, as Points computes it, it is told here what the bound cost."
        )


@torch.no_grad()
def this_point(pair: Pair, index: int) -> None:
    """The chosen image, what both make of it, and what it costs in both."""
    embedding, kind = pair.first.embedding, pair.words.kind
    left, right = st.columns([1, 1.25], gap="medium")
    with left:
        label = embedding.class_names[embedding.labels[index]]
        st.markdown(f"##### Point {index:,}, label {plain(label)}")
        columns = st.columns(3, gap="small")
        if pair.first.images is not None:
            x = to_unit(pair.first.images.images[index]).numpy()
            with columns[0]:
                images.show(
                    images.enlarged(pair.first.pictures(x), _SIDE),
                    f"the {kind} x",
                    "x",
                    width=_SIDE,
                )
        for column, view in zip(columns[1:], pair.views, strict=True):
            decoded = (
                view.given(index).decode_mean(torch.from_numpy(view.embedding.mu[index])).numpy()
            )
            with column:
                images.show(
                    images.enlarged(view.pictures(decoded), _SIDE),
                    "the decoded mean",
                    plain(view.run.name),
                    width=_SIDE,
                )
        if pair.first.images is None:
            point.missing_image(pair.first)
        else:
            st.caption(f"The {kind}, and E[x|z = μ] of both.")
    with right:
        _terms_of_point(pair, index)
    change = partner.change(pair)
    charts.chart(
        figures.change_histogram(
            change, pair.names, selected=float(change[index]), words=pair.words
        ),
        key="change_histogram",
        alt="How many points cost how much more or less in the second run",
    )
    first, second = map(plain, pair.names)
    st.caption(
        f"-ELBO of {second} less that of {first}, this point marked: {first} is cheaper for "
        f"{(change > 0).mean():.0%} of the {pair.words.points}."
    )


def classes(pair: Pair) -> None:
    """Which classes gained, which lost."""
    found = partner.class_differences(pair)
    names = pair.first.embedding.class_names
    order = sorted(found, key=lambda label: -found[label]["neg_elbo"].mean)
    left, right = st.columns([1, 1.25], gap="medium")
    with left:
        charts.chart(
            figures.class_differences(
                [names[label] for label in order],
                [found[label]["neg_elbo"] for label in order],
                pair.names,
                words=pair.words,
            ),
            key="class_figure",
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
                        _NAMES[name]: [found[label][name].mean for label in order]
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
            f"Nats per {pair.words.point}: mean -ELBO of both, the differences Δ, and the 95 % "
            f"interval of Δ -ELBO. {_which_is_which(pair)}"
        )


def dimensions(pair: Pair) -> None:
    """How both use their latent dimensions."""
    ranked = tuple(comparison.kl_by_rank(view.embedding) for view in pair.views)
    values = comparison.correlations(*(view.embedding.mu for view in pair.views))
    left, right = st.columns([1.25, 1], gap="medium")
    with left:
        charts.chart(
            figures.kl_by_rank(ranked, pair.names, words=pair.words),
            key="kl_by_rank",
            alt="Mean KL of each latent dimension of both runs, by rank, in nats",
        )
        totals = [
            f"{plain(n)} {nats(float(r[1].sum()))}" for n, r in zip(pair.names, ranked, strict=True)
        ]
        st.caption(
            "Mean KL of each latent dimension, most first: a dimension's number means nothing in "
            f"another model. Together: {', '.join(totals)} nats per {pair.words.point}."
        )
    with right:
        charts.chart(
            figures.correlations(values, tuple(order for order, _ in ranked), pair.names),
            key="correlations",
            alt="How the dimensions of both runs correlate over the points",
        )
        st.caption("|correlation| of μ over the points: which dimension found what the other had.")


def changes(pair: Pair, index: int) -> None:
    """The points that lost most and those that gained most."""
    change = partner.change(pair)
    worse, better = comparison.largest_changes(change, _MOST_CHANGES)
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
                _table_of_changes(pair, change, rows, index)
            else:
                st.caption("None.")
    st.caption(f"Nats per {pair.words.point}; a row chooses the point. {_which_is_which(pair)}")


def _terms_of_point(pair: Pair, index: int) -> None:
    rows: dict[str, list[float]] = {}
    for name in comparison.TERMS:
        rows[_NAMES[name]] = [float(getattr(v.embedding, name)[index]) for v in pair.views]
    known = [e for view in pair.views if (e := evidence.found(view)) is not None]
    if len(known) == 2:
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


def _table_of_changes(pair: Pair, change: np.ndarray, rows: np.ndarray, index: int) -> None:
    embeddings = pair.first.embedding, pair.second.embedding

    def number(label: str, width: int, form: str = "%+.1f") -> object:
        return st.column_config.NumberColumn(label, format=form, width=width)

    tables.points(
        pair.first,
        rows,
        {
            "change": change[rows],
            "recon": comparison.change(*embeddings, "recon")[rows],
            "KL": comparison.change(*embeddings, "kl")[rows],
            "first": embeddings[0].neg_elbo[rows],
            "second": embeddings[1].neg_elbo[rows],
        },
        # A selection is a place in the table: another pair makes another table.
        key=f"changes-{zlib.crc32(rows.tobytes())}",
        column_config={
            "change": number("Δ -ELBO", 72),
            "recon": number("Δ recon", 72),
            "KL": number("Δ KL", 64),
            "first": number("first", 64, "%.1f"),
            "second": number("second", 64, "%.1f"),
        },
        chosen=index,
        height=420,
        row_height=40,
    )


def _which_is_which(pair: Pair) -> str:
    first, second = map(plain, pair.names)
    return f"First: {first}; second: {second}; Δ: second less first."
