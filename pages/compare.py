"""Compare: what did the change buy?"""

import streamlit as st

from vae.errors import UserError
from vae.formats import AnyRun
from vae.ui import frame, heading, sections
from vae.ui.compare import maps, partner, runs, terms
from vae.ui.text import explained, plain
from vae.ui.view import View, chosen_view, point_picker

frame.require("pages/compare.py")

POINT, CLASSES, DIMENSIONS, CHANGES, PLANE, SETTINGS = SECTIONS = (
    *("This point", "Classes", "Dimensions", "Worst and best"),
    *("Rate and distortion", "Settings"),
)


def main() -> None:
    heading.ask("Which of two models explains the data better?", heading.MAP, heading.WHY)
    view = chosen_view()
    offered = partner.choice(view)
    if offered is None:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        other = partner.picker(offered)
        colour, align, index = controls(view, other)
    try:
        pair = partner.load(view, other)
    except UserError as error:
        st.error(f"{plain(other.name)} cannot be compared: {explained(error)}.")
        section = choose_section((PLANE, SETTINGS))  # what can be said without points
    else:
        terms.headline(pair)
        maps.show(pair, colour, align, index)
        maps.group_line(pair)
        section = choose_section(SECTIONS)
    if section == POINT:
        terms.this_point(pair, index)
    elif section == CLASSES:
        terms.classes(pair)
    elif section == DIMENSIONS:
        terms.dimensions(pair)
    elif section == CHANGES:
        terms.changes(pair, index)
    elif section == PLANE:
        runs.rate_and_distortion(view.run, other)
    else:
        runs.settings(view.run, other)


def choose_section(options: tuple[str, ...]) -> str:
    return sections.choose("Below", "compared", options, label_visibility="collapsed")


def controls(view: View, other: AnyRun) -> tuple[str, str, int]:
    """Colour and place of the points, and the chosen one."""
    st.button(
        "Swap",
        icon=":material/swap_horiz:",
        on_click=partner.swap,
        args=(view.run.name, other.name),
    )
    colour = sections.choose("Colour", "pair_colour", maps.COLOURS)
    align = sections.choose(
        "Second map",
        "align",
        maps.ALIGNMENTS,
        help="The prior is blind to rotations and reflections: an orthogonal Procrustes fit of all "
        "points (Schönemann, 1966) undoes them. Only what is drawn moves.",
    )
    return colour, align, point_picker(view.embedding)


main()
