"""Both maps of a pair, side by side: what is chosen in one is chosen in the other."""

import html

import streamlit as st

from vae.analysis import comparison
from vae.figures import comparison as figures
from vae.figures.theme import escaped
from vae.ui import charts, projection
from vae.ui.compare import partner
from vae.ui.compare.partner import Pair
from vae.ui.session import selection
from vae.ui.text import nats, plain

AS_IT_IS, TURNED, SCALED = ALIGNMENTS = ("as it is", "turned", "turned and scaled")
LABEL, CHANGE = COLOURS = ("label", "difference")
_KEYS = ("first_map", "second_map")
_HEIGHT = 400


def show(pair: Pair, colour: str, align: str, index: int) -> None:
    """Both maps; what is chosen in one is chosen in the other."""
    planes = [projection.plane(view.embedding) for view in pair.views]
    positions = [axes.of(view.embedding.mu) for axes, view in zip(planes, pair.views, strict=True)]
    centres = [axes.prior_centre for axes in planes]
    titles = [axes.titles for axes in planes]
    moved = None
    if align != AS_IT_IS:
        moved = comparison.procrustes(*positions, scale=align == SCALED)
        positions[1], centres[1] = moved.of(positions[1]), moved.of(centres[1][None])[0]
        name = escaped(pair.names[0])
        x, y = (f"as {title} of {name}" for title in titles[0])
        titles[1] = x, y
    reaches = list(map(figures.reach_of, positions, centres))
    if moved:
        reaches = [max(reaches)] * 2
    change = partner.change(pair) if colour == CHANGE else None
    chosen = _group(pair)
    columns = st.columns(2, gap="small")
    for i, (column, view, key) in enumerate(zip(columns, pair.views, _KEYS, strict=True)):
        with column:
            _title(view.run.name, figures.PAIR[i], view.embedding.means()["neg_elbo"])
            charts.points_chart(
                figures.linked_map(
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
                    height=_HEIGHT,
                ),
                key=key,
                alt=f"The latent map of {view.run.name}",
            )
    text = _caption(pair, colour)
    if moved:
        text += (
            f" {plain(pair.names[1])} is drawn {moved.text}; the same {pair.words.kind} then "
            f"lies {moved.residual:.2f} apart (root mean square)."
        )
    st.caption(text)


def group_line(pair: Pair) -> None:
    """What a lasso caught, in both."""
    chosen = _group(pair)
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
        f"**{len(chosen):,} points**, mean -ELBO {costs}: {found['neg_elbo'].interval_text}, "
        f"recon {found['recon'].mean:+.2f}, KL {found['kl'].mean:+.2f} nats"
    )
    button.button(
        "Forget these points",
        on_click=lambda: st.session_state.pop(selection.GROUP, None),
        width="stretch",
    )


def _group(pair: Pair) -> list[int]:
    return sorted(set(selection.group(len(pair.first.embedding))))


def _title(name: str, colour: str, neg_elbo: float) -> None:
    """A map's title, with the colour that the run has in the figures below."""
    st.html(
        "<div style='display:flex;align-items:baseline;gap:.5rem;font-weight:600'>"
        f"<span style='width:.7rem;height:.7rem;border-radius:50%;background:{colour}'></span>"
        f"{html.escape(name)}<span style='font-weight:400;opacity:.65'>"
        f"mean -ELBO {nats(neg_elbo)} nats</span></div>"
    )


def _caption(pair: Pair, colour: str) -> str:
    first, second = map(plain, pair.names)
    text = (
        f"One point is one {pair.words.kind} in both maps: click it, or lasso a group, in either."
    )
    if colour == CHANGE:
        text += f" Colour: -ELBO of {second} less that of {first}, pink where {first} is cheaper."
    if max(view.embedding.latent_dim for view in pair.views) > 2:
        text += " More than two dimensions are shown by the principal components of μ."
    return text
