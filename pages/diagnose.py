"""Diagnose: is this checkpoint healthy?"""

import streamlit as st

from vae.analysis.diagnosis import (
    BROKEN,
    COLLAPSED,
    DOUBTFUL,
    HEALTHY,
    INACTIVE,
    NOTE,
    Diagnosis,
    Measurements,
)
from vae.errors import UserError
from vae.ui import frame, heading, sections
from vae.ui.diagnose import aggregate, outliers, pixels, units
from vae.ui.results import diagnosis
from vae.ui.text import nats, plain, sentence
from vae.ui.view import chosen_view
from vae.wording import Words

frame.require("pages/diagnose.py")

CHECKS = {
    "Units": units.show,
    "Aggregate posterior": aggregate.posterior,
    "Marginals": aggregate.marginals,
    "Calibration": pixels.calibration,
    "Neighbours": pixels.neighbours,
    "Outliers": outliers.show,
}
ICONS = {
    HEALTHY: ":green[:material/check_circle:]",
    DOUBTFUL: ":orange[:material/error:]",
    BROKEN: ":red[:material/cancel:]",
    COLLAPSED: ":red[:material/cancel:]",
}


def main() -> None:
    heading.ask("Is this model healthy?", heading.MAP, heading.COMPARE)
    view = chosen_view()
    measured, found = diagnosis.measured(view)
    verdict(found)
    if view.n_classes:
        st.caption(f"q(z|x, y) and p(x|z, y), given {plain(view.condition_text)}.")
    numbers(measured, view.words)
    show = CHECKS[sections.choose("Look at", "check", tuple(CHECKS))]
    try:
        show(view, measured)
    except UserError as error:
        st.warning(sentence(error))


def verdict(found: Diagnosis) -> None:
    """What is wrong, if anything, and what to try."""
    serious = [f for f in found.findings if f.severity != NOTE]
    notes = [f for f in found.findings if f.severity == NOTE]
    parts = [plain(found.summary)] if found.summary else []
    for finding in serious:
        parts.append(f"**{plain(finding.sentence)}** {plain(finding.advice)}".rstrip())
    st.markdown(f"##### {ICONS[found.verdict]} {found.verdict}")
    st.markdown(" ".join(parts))
    if notes:
        st.caption(" ".join(plain(f"{note.sentence} {note.advice}").rstrip() for note in notes))


def numbers(measured: Measurements, words: Words) -> None:
    """The figures that the verdict rests on."""
    info, holes = measured.information, measured.holes
    columns = st.columns(6, gap="small", vertical_alignment="bottom")
    D = measured.embedding.latent_dim
    columns[0].metric(
        "dimensions in use",
        f"{D - int(measured.unused.sum())} of {D}",
        help=f"Var_x\\[μ\\] and mean KL both above {INACTIVE:g}",
    )
    columns[1].metric("mean KL, nats", nats(float(measured.units.kl.sum())))
    columns[2].metric(
        "I(x; z), nats",
        nats(max(info.mutual, 0.0)) if info else "n/a",
        help=f"± {info.mutual_stderr:.2f}; at most log N = {info.ceiling:.2f}" if info else None,
    )
    columns[3].metric(
        "KL(q(z), p(z)), nats",
        nats(max(info.marginal, 0.0)) if info else "n/a",
        help=f"± {info.marginal_stderr:.2f}" if info else None,
    )
    columns[4].metric(
        "prior in holes",
        f"{holes.share:.0%}" if holes else "n/a",
        help=f"draws from p(z) that are further than {holes.threshold:.2f} from every μ; "
        "5% where q(z) is the prior"
        if holes
        else None,
    )
    found = measured.calibration
    columns[5].metric(
        "calibration error",
        f"{found.error:.1%}" if found else "n/a",
        help=f"of {words.number} values" if found else f"needs the {words.points}",
    )


main()
