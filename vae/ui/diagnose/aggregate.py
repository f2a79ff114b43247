"""The aggregate posterior q(z) against the prior."""

import numpy as np
import streamlit as st
import torch

from vae.analysis.aggregate import Holes, Information
from vae.analysis.diagnosis import SATURATED, Measurements
from vae.figures import diagnosis as figures
from vae.ui import charts, images
from vae.ui.diagnose.units import dimension_names
from vae.ui.results import diagnosis
from vae.ui.view import View, chosen_point, under_one_class
from vae.wording import Words

_DIMENSION = "diagnose_dimension"
_HALF = 3.5  # of the plane that is looked at
_HOLES = 12  # that are shown
_SIDE = 84
_NONE = "There is no aggregate posterior: it needs finite posteriors of two points."


def posterior(view: View, measured: Measurements) -> None:
    """q(z) against the prior: where it is missing, and what is decoded there."""
    info, holes = measured.information, measured.holes
    if info is None or holes is None:
        st.caption(_NONE)
        return
    D, names = measured.embedding.latent_dim, dimension_names(measured)
    deepest = holes.deepest(_HOLES)
    left, right = charts.columns()
    with left:
        if D == 1:
            _line(measured, names)
        else:
            _plane(view, measured, names, holes.z[deepest].numpy())
    with right:
        _split(info, view.words)
        _from_holes(view, holes, deepest)


def marginals(view: View, measured: Measurements) -> None:
    """Each dimension of q(z) against the prior, and a test of all together."""
    found, names = measured.marginals, dimension_names(measured)
    if found is None:
        st.caption(_NONE)
        return
    kl, distance = found.kl.numpy(), found.distance.numpy()
    chosen = 0
    if len(names) > 1:
        if st.session_state.get(_DIMENSION) not in range(len(names)):
            st.session_state[_DIMENSION] = int(np.argmax(kl))
        chosen = st.selectbox(
            "Dimension",
            range(len(names)),
            format_func=lambda d: f"{names[d]}: {kl[d]:.3f} nats",
            key=_DIMENSION,
            width=190,
            persist_state="session",
        )
    shares = torch.linspace(0.002, 0.998, 250, dtype=torch.float64)
    left, middle, right = st.columns([1, 1, 0.8], gap="medium")
    with left:
        charts.chart(
            figures.marginal(
                found.edges.numpy(),
                found.mass[chosen].numpy(),
                found.prior_mass.numpy(),
                names[chosen],
            ),
            key="marginal",
            alt="The aggregate posterior of one dimension over the prior",
        )
        st.caption(
            f"KL(q({names[chosen]}), p({names[chosen]})) = {kl[chosen]:.3f} nats; Kolmogorov's "
            f"distance {distance[chosen]:.3f}."
        )
    with middle:
        charts.chart(
            figures.quantiles_against_prior(
                torch.special.ndtri(shares).numpy(),
                found.quantiles(shares).numpy(),
                names,
                chosen,
            ),
            key="quantiles",
            alt="Quantiles of q against those of the prior",
        )
        rest = " The others in grey." if len(names) > 1 else ""
        st.caption(f"Q-Q: on the diagonal q({names[chosen]}) is the prior.{rest}")
    with right:
        test = diagnosis.mmd(view)
        charts.chart(
            figures.mmd_null(test.null.numpy(), test.value, height=330),
            key="mmd",
            alt="MMD² of q(z) and the prior, over its distribution by chance",
        )
        at_least = 1 / (1 + len(test.null))
        p = f"at most {at_least:.3f}" if test.p_value <= at_least else f"{test.p_value:.3f}"
        st.caption(
            f"MMD² = {test.value:.2e}, p {'' if p.startswith('at') else '= '}{p}: 1,000 draws from "
            f"q(z) and from p(z), kernel width {test.bandwidth:.2f}, "
            f"{len(test.null)} permutations. With enough draws any model fails."
        )


def _line(measured: Measurements, names: list[str]) -> None:
    found = measured.marginals
    assert found is not None  # it comes with the information
    charts.chart(
        figures.marginal(
            found.edges.numpy(), found.mass[0].numpy(), found.prior_mass.numpy(), names[0], 480
        ),
        key="line",
        alt="The aggregate posterior over the prior",
    )
    st.caption("q(z), the mean of all posteriors, over the prior p(z).")


def _plane(view: View, measured: Measurements, names: list[str], at: np.ndarray) -> None:
    dimensions = (0, 1) if len(names) == 2 else _two_of(measured, names)
    log_ratio = diagnosis.plane(view, dimensions, _HALF)
    pair = list(dimensions)
    charts.map_chart(
        figures.ratio_map(
            log_ratio,
            _HALF,
            (names[pair[0]], names[pair[1]]),
            measured.embedding.mu[:, pair],
            at[:, pair],
            height=520 if len(names) == 2 else 405,
        ),
        key="ratio",
        alt="log q(z) - log p(z) over the latent plane, with holes numbered",
    )
    of_two = "" if len(names) == 2 else f" The marginals of two of {len(names)} dimensions."
    st.caption(
        "Green: more posteriors than prior; orange: prior without data. The rings: p(z) at 1, 2 "
        f"and 3 σ; the dots: μ; the numbers: holes.{of_two}"
    )


def _two_of(measured: Measurements, names: list[str]) -> tuple[int, int]:
    """The two dimensions of the picture: at first those with most KL."""
    by_kl = np.argsort(-measured.units.kl, kind="stable")
    chosen = []
    with st.container(horizontal=True, gap="small"):
        for place, side in enumerate("xy"):
            key = f"{_DIMENSION}_{side}"
            if st.session_state.get(key) not in range(len(names)):
                st.session_state[key] = int(by_kl[place])
            chosen.append(
                st.selectbox(
                    f"{side} axis",
                    range(len(names)),
                    format_func=names.__getitem__,
                    key=key,
                    width=90,
                    persist_state="session",
                )
            )
    return chosen[0], chosen[1]


def _split(info: Information, words: Words) -> None:
    charts.chart(
        figures.split_of_kl(info.mutual, info.marginal, info.ceiling, words=words),
        key="split",
        alt="Mean KL as the sum of I(x; z) and KL(q(z), p(z)), in nats",
    )
    near = (
        " I is at its ceiling: KL(q(z), p(z)) says more of N than of the model."
        if info.mutual > info.ceiling - SATURATED
        else ""
    )
    st.caption(
        f"Mean KL {float(info.kl.mean()):.2f} = I(x; z) {info.mutual:.2f} ± "
        f"{info.mutual_stderr:.2f} + KL(q(z), p(z)) {info.marginal:.2f} ± "
        f"{info.marginal_stderr:.2f} nats, left over {abs(info.left_over):.2f} "
        f"(Hoffman & Johnson, 2016).{near}"
    )


@torch.no_grad()
def _from_holes(view: View, holes: Holes, deepest: torch.Tensor) -> None:
    """What is decoded where the prior has mass and no data lies."""
    st.markdown("###### Decoded from the holes")
    if not len(deepest):
        st.caption(
            f"None of {len(holes.z):,} draws from the prior, in 90 % of its mass, met a hole."
        )
        return
    index = chosen_point(view.embedding)
    decoded = view.given(index).decode_mean(holes.z[deepest].float()).numpy()
    columns = st.columns(6, gap="small")
    for i, image in enumerate(decoded):
        with columns[i % 6]:
            ratio = float(holes.log_ratio[deepest[i]])
            images.show(
                images.enlarged(view.pictures(image), _SIDE),
                "decoded from a hole",
                f"{i + 1}: {ratio:.1f}",
                width="stretch",
            )
    st.caption(
        f"{under_one_class(view, index)}E[x|z], and log q(z) - log p(z) in nats. A hole: further "
        f"than {holes.threshold:.2g} from every μ, as 1 in 20 draws from q(z) is from the others'. "
        f"{holes.share:.0%} ± {holes.share_stderr:.0%} of {len(holes.z):,} draws from p(z) are; "
        "5% would be, were q(z) the prior."
    )
