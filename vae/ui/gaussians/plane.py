"""Two Gaussians on a page: the plane in the browser, the fields, and the pair they share.

While something is dragged nothing crosses the wire: Python hears what the hand let go of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
import torch
from streamlit.components.v2 import component

from vae.core import gaussian
from vae.errors import UserError
from vae.figures.gaussians import OTHER_COLOUR, P_COLOUR
from vae.lessons import gaussian_pair, kl_steps
from vae.lessons.gaussian_pair import Pair
from vae.lessons.kl_steps import Loss
from vae.live import source
from vae.live.constants import GAUSSIAN_SAMPLES, GAUSSIAN_SIZES, GAUSSIAN_TERMS
from vae.ui.session import widgets
from vae.ui.text import plain

PLANE, LINE, SPACE = "plane", "line", "k dimensions"  # what a pair lives in: also as written
PRESET = "gaussians_preset"  # the widget that holds it; none once the hand has changed the pair
_SHOWN = "gaussians"
_LARGEST = 1e9  # what a field or the browser may say; beyond it float64 has no digits for the rest

# The look of gaussians.css, for the tables that the server fills.
_STYLE = """<style>
.st-key-gaussians_controls { min-height: 4.4rem; }
table.kl { border-collapse: collapse; width: 100%; table-layout: fixed; margin: 0;
  font-size: .9rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
table.kl :is(th, td) { border: 0; padding: 4px 0; font-weight: 400; text-align: right;
  vertical-align: top; }
table.kl tr > :first-child { text-align: left; white-space: nowrap; }
table.kl tr > :first-child + *, table.kl tr > :last-child { width: 29%; }
table.kl tbody tr { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
table.kl small { display: block; font-size: .77rem; opacity: .62; }
table.kl thead span { font-weight: 650; font-size: 1rem; border-bottom: 2.5px solid; }
table.kl thead b { color: inherit; font-weight: 650; }
table.kl tr.sum td { font-size: 1.9rem; font-weight: 650; line-height: 1.15; padding: 3px 0 7px; }
table.kl caption { caption-side: bottom; text-align: left; font-size: .77rem; opacity: .62; }
</style>"""

_component = component(
    "elbo_room_gaussians", js=source.module("gaussians/streamlit.js"), css=source.css("gaussians")
)


@dataclass
class Shown:
    """What the page shows, kept for as long as the visit lasts.

    Attributes:
        pairs: by what they live in.
        problems: what is wrong with the fields of "P" or "Q"; their pair is the last good one.
        n_set: counts the pairs that were set here and not by the hand on the plane.
        special: whether the hand is held to P diagonal, Q = N(0, I).
        map: whose integrand the plane shows: "P", "Q" or "".
        size, seed: L and the seed of the samples.
        applied: the preset that was last put on the page, with all that it depends on.
        note: what its pair is.
        axes: names of the plane's axes.
        loss: the terms of the point whose posterior P is.
    """

    pairs: dict[str, Pair] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    n_set: int = 0
    special: bool = False
    map: str = "P"
    size: int = 10_000
    seed: int = 0
    applied: tuple[Any, ...] | None = None
    note: str = ""
    axes: tuple[str, ...] = ()
    loss: Loss | None = None

    def put(self, place: str, pair: Pair) -> None:
        """Shows a pair that was not dragged."""
        self.pairs[place] = pair
        self.problems.clear()
        self.n_set += 1

    def changed_by_hand(self) -> None:
        """What stands there is no preset any more."""
        self.applied, self.note, self.loss = None, "", None
        st.session_state[PRESET] = None


def shown() -> Shown:
    """This visit's."""
    return st.session_state.setdefault(_SHOWN, Shown())


def plane() -> None:
    """The plane, where the pair is dragged."""
    now = shown()
    mu1, cov1, mu2, cov2 = (values.tolist() for values in now.pairs[PLANE])
    _component(
        key="gaussians_plane",
        data={
            "part": "plane",
            "P": {"mu": mu1, "cov": cov1},
            "Q": {"mu": mu2, "cov": cov2},
            "set": now.n_set,
            "special": now.special,
            "map": now.map,
            "size": now.size,
            "seed": now.seed,
            "axes": list(now.axes) or ["x₁", "x₂"],
        },
        on_pair_change=_take_pair,
    )


def numbers() -> None:
    """What is counted while the pair is dragged."""
    _component(key="gaussians_numbers", data={"part": "numbers"})


def fields(
    name: str, entries: Mapping[str, float], build: Callable[[dict[str, float]], Pair], place: str
) -> None:
    """Number fields side by side, for one of the two Gaussians.

    Args:
        name: "P" or "Q".
        entries: what the pair now has, by the fields' labels.
        build: the pair that typed entries make; a UserError's message is shown, and the fields are
            left as they are.
        place: what the pair lives in.
    """
    now = shown()
    keys = {label: f"{place}_{name}_{label}" for label in entries}

    def take() -> None:
        typed = {label: st.session_state[key] for label, key in keys.items()}
        try:
            made = build(typed)
        except UserError as error:
            now.problems[name] = str(error)
            return
        now.put(place, made)
        now.special = now.special and made.is_special
        now.changed_by_hand()

    for column, (label, value) in zip(st.columns(len(entries)), entries.items(), strict=True):
        if name in now.problems:  # what was typed stays, to be mended
            value = st.session_state.get(keys[label], value)
        column.number_input(
            f"{name}: {label}",
            -_LARGEST,
            _LARGEST,
            step=0.1,
            format="%.4g",
            on_change=take,
            **widgets.showing(keys[label], value, "value"),
        )


def problems() -> None:
    """One sentence for what was typed and makes no Gaussian."""
    for text in shown().problems.values():
        st.warning(plain(f"Not taken: {text}. The last good pair stays."))


def terms(pair: Pair) -> None:
    """Both KLs, their four terms and what samples say, for a pair that is not in the plane."""
    now = shown()
    ways = (pair, pair.swapped)
    both = [gaussian.kl_parts(*way) for way in ways]
    rows = [
        "<tr class='sum'>" + _cells("<small>nats</small>", *(number(parts.kl) for parts in both)),
        *(
            "<tr>" + _cells(label, *(number(getattr(parts, name)) for parts in both))
            for name, label in GAUSSIAN_TERMS.items()
        ),
    ]
    st.html(
        "<table class='kl'><thead><tr><th></th>"
        f"<th><span style='border-color:{P_COLOUR}'>KL(P, Q)</span>"
        "<small>1 is P, 2 is Q</small></th>"
        f"<th><span style='border-color:{OTHER_COLOUR}'>KL(Q, P)</span>"
        "<small>1 is Q, 2 is P</small></th></tr></thead><tbody>"
        + "".join(rows)
        + "</tbody><caption>The KL is half the sum of its four terms, equation (5); it is not "
        "symmetric, (1).</caption></table>"
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        now.size = st.select_slider(
            "Mean over L draws from P₁", GAUSSIAN_SIZES, now.size, format_func="{:,}".format
        )
        st.button("Resample", on_click=_resample)
    samples = [
        gaussian.sample_kl(*way, now.size, torch.Generator().manual_seed(now.seed)) for way in ways
    ]
    rows = []
    for name, (label, equation) in GAUSSIAN_SAMPLES.items():
        found = [(getattr(s, name), getattr(s, f"{name}_stderr")) for s in samples]
        exact = [
            {
                "kl": parts.kl,
                "quadratic_1": -parts.minus_k,
                "quadratic_2": parts.trace + parts.mahalanobis,
            }[name]
            for parts in both
        ]
        rows.append(
            "<tr>"
            + _cells(
                f"{label}<small>{equation}</small>",
                *(
                    f"{number(mean)} ± {number(error)}<small>exactly {number(value)}</small>"
                    for (mean, error), value in zip(found, exact, strict=True)
                ),
            )
        )
    st.html("<table class='kl'><tbody>" + "".join(rows) + "</tbody></table>")


def style() -> None:
    """How the page's tables look; stands once on it."""
    st.html(_STYLE)


def number(value: torch.Tensor) -> str:
    """As the browser's table writes it."""
    return kl_steps.number(value).replace(r" \times 10^{", "e").replace("}", "").replace("-", "−")


def _cells(label: str, *values: str) -> str:
    return f"<th scope='row'>{label}</th>" + "".join(f"<td>{value}</td>" for value in values)


def _resample() -> None:
    shown().seed += 1


def _take_pair() -> None:
    sent = st.session_state["gaussians_plane"]["pair"]
    now = shown()
    try:
        made = gaussian_pair.pair(*(sent[name][part] for name in "PQ" for part in ("mu", "cov")))
        if made.k != 2:
            return
    except (ValueError, TypeError, KeyError, IndexError):  # not what our own script sends
        return
    if any((a != b).any() for a, b in zip(made, now.pairs[PLANE], strict=True)):
        now.pairs[PLANE] = made
        now.problems.clear()
        now.changed_by_hand()
    elif now.applied is None:  # a browser that was not yet told so still names the preset before
        now.changed_by_hand()
    now.special = sent.get("special") is True
    if sent.get("map") in ("P", "Q", ""):
        now.map = sent["map"]
    if sent.get("size") in GAUSSIAN_SIZES:
        now.size = sent["size"]
    seed = sent.get("seed")
    if isinstance(seed, int) and 0 <= seed < 2**31:
        now.seed = seed
