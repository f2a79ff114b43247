"""What surrounds every page: the cold deep link, the checkpoint picker, the model card."""

import html
import threading
from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.navigation.page import Page

from vae import wording
from vae.config import IMAGE
from vae.data import catalogue
from vae.data.dataset import DatasetError
from vae.errors import UserError
from vae.formats import AnyRun, ForeignRun
from vae.runs.checkpoint import CheckpointError, Run
from vae.ui import collector, data_choice, exported, reading, roles, stage, upload, webgl
from vae.ui.results import loaded, readings
from vae.ui.results.store import RESULTS
from vae.ui.session import checkpoints, link, opening, selection, widgets
from vae.ui.session.selection import CLASS, DATA, OWN, RUN
from vae.ui.text import capitalised, explained, nats, plain

_FRAMED = "_framed"
_WARM_AFTER_S = 5.0  # when a cold browser is done with the first page
_MOST_BUTTONS = 12  # classes that are offered side by side
_DATA_OF = "_data_of"  # the checkpoint that the data were last chosen for

_STYLE = """<style>
.stMainBlockContainer { padding-left: 2.5rem; padding-right: 2.5rem; }
/* What only carries bytes to and from the browser must leave no gap behind. */
[class*="st-key-pack_"], .st-key-webgl { position: absolute; }
/* A picture is never wider than its column. */
.stColumn :is(.stElementContainer:has(> .stImage), .stImage, .stImage *) { max-width: 100%; }
.stImage img { height: auto; }
/* A label that is too long for its column is wrapped, not cut. */
[data-testid="stMetricLabel"] * { white-space: normal !important; overflow: visible; }
.st-key-heading h2 { font-size: 1.4rem; padding: 0 0 1.1rem; line-height: 1.3; }
.st-key-heading p { opacity: .8; }
/* Streamlit's greys, and white on the dark theme's primary colour, are too faint to read. */
[data-testid="stCaptionContainer"] { color: inherit; opacity: .76; }
.st-key-card summary { opacity: .8 !important; }
[data-testid^="stBaseButton-primary"] { background-color: #006e58; border-color: #006e58; }
p.group { margin: .35rem 0 0; font-size: .82rem; opacity: .65; }
/* Explore's map, its caption and what stands above them fill the window, whatever its size. */
div:has(> .st-key-window) { height: max(400px, 100vh - 266px) !important; flex: none !important; }
.st-key-window { height: 100% !important; overflow: hidden; padding: 0; }
/* On a phone the map is square, and what it decodes to stays above it. */
@media (max-width: 640px) {
  .stMainBlockContainer { padding-left: 1rem; padding-right: 1rem; }
  div:has(> .st-key-window) { height: 100vw !important; }
  .st-key-explore .stColumn, .st-key-explore .stColumn > .stVerticalBlock { display: contents; }
  .st-key-explore .stColumn > .stVerticalBlock > div:has(.st-key-live) {
    order: -1; position: sticky; top: 3.75rem; z-index: 4; max-height: 43vh; overflow-y: auto;
  }
}
dl.card { display: grid; grid-template-columns: auto 1fr; gap: .3rem .9rem; margin: 0;
  padding: 0; font-size: .87rem; line-height: 1.3; }
dl.card dt { opacity: .65; }
dl.card dd { margin: 0; text-align: right; font-variant-numeric: tabular-nums; }
</style>"""


# Streamlit enters every change of the query into the browser's history. Here a page that is visited
# is one entry, which always says what is chosen on it.
_ONE_ENTRY_A_PAGE = """<script>
if (!history.elboRoom) {
  const push = history.pushState;
  history.pushState = function (state, title, url) {
    const samePage = new URL(url ?? "", location.href).pathname === location.pathname;
    (samePage ? history.replaceState : push).call(history, state, title, url);
  };
  history.elboRoom = true;
}
</script>"""


def require(page: str) -> None:
    """The first line of every page: sees to it that the frame is around it.

    A cold server answers a deep link by running the page's file alone, as the folder is named
    pages/. Once a script has declared its navigation, the server begins with app.py.
    """
    if not st.session_state.pop(_FRAMED, False):  # set by app.py in this very run
        st.navigation(["app.py", page], position="hidden")
        st.rerun()


def open_frame(groups: Mapping[str, Sequence[Page]]) -> None:
    """The first line of app.py, after the pages are declared."""
    stage.follow()
    st.session_state[_FRAMED] = True
    st.html(_STYLE + stage.style())
    selection.restore(opening.query)
    with st.sidebar.container(gap="xxsmall"):
        st.html(_ONE_ENTRY_A_PAGE + roles.cookie_script(), unsafe_allow_javascript=True)
        webgl.ask()
        for group, pages in groups.items():
            st.html(f"<p class='group'>{group}</p>")
            for page in pages:
                st.page_link(page, width="stretch")
        stage.offer([page for pages in groups.values() for page in pages], exported.given())


def close_frame() -> None:
    """The last line of app.py."""
    with st.sidebar:
        roles.offer_login()
    selection.publish()
    collector.collect()
    _warm()


@st.cache_resource(show_spinner=False)
def _warm() -> None:
    """Once the first page is there, the process begins that will compute what a page waits for."""
    timer = threading.Timer(_WARM_AFTER_S, RESULTS.warm)
    timer.daemon = True
    timer.start()


def sidebar() -> None:
    """The checkpoint picker and the card of the chosen model."""
    runs, broken = checkpoints.found()
    names = [run.name for run in runs]
    _choose_run(names)
    if problem := checkpoints.problem():
        st.error(f"{explained(problem)}. Mend it, and start the app again.")
    for problem in roles.all_problems():
        st.warning(f"{plain(capitalised(problem))}.")
    told = st.container()
    with st.sidebar:
        if names:
            ill = loaded.ill_healths(runs)
            titles = {run.name: _with_data_and_health(run, ill.get(run.path, "")) for run in runs}
            chosen = st.selectbox("Checkpoint", names, **widgets.widget(RUN, words=titles))
            run = runs[names.index(chosen)]
            if what := loaded.ill_health(run):
                _lead_to_diagnose(what)
            upload.offer()
            if st.session_state.get(_DATA_OF, run.name) != run.name and not link.asked(DATA):
                # Chosen for another checkpoint: kept where this one reads them as they are.
                selection.keep_within(DATA, data_choice.options(run, resized=False))
            st.session_state[_DATA_OF] = run.name
            options = data_choice.options(run)
            selection.keep_within(DATA, options)
            if asked := link.missed(DATA, shown := st.session_state[DATA]):
                told.warning(
                    f"There are no data here named {asked} that {plain(run.name)} can be shown; "
                    f"showing {plain(data_choice.said(shown))}."
                )
            said = {option: data_choice.said(option) for option in options}
            st.selectbox("Data", options, **widgets.widget(DATA, words=said))
            _data_note(run)
            _class_picker(run, told)
            _model_card(run)
        else:
            upload.offer()
        for name, reason in broken.items():
            st.caption(f":material/error: **{plain(name)}** cannot be opened: {explained(reason)}")
        if others := loaded.left_out():
            why = "\n".join(f"{name}: {reason}" for name, reason in others.items())
            st.caption(f"Left out: {plain(', '.join(others))}.", help=plain(why))


def _choose_run(names: list[str]) -> None:
    """Keeps to the runs that there are; says so where the chosen one is not or no longer there."""
    chosen = st.session_state.get(RUN)
    if chosen is not None and chosen not in names:
        link.asks(RUN, chosen)
    if not names:
        link.looked_up(RUN, is_there=False, shown=chosen)
    elif chosen in names:
        link.looked_up(RUN, is_there=True, shown=chosen)
    else:
        selection.keep_within(RUN, names, otherwise=opening.query().get(RUN))
    if asked := link.missed(RUN, st.session_state.get(RUN)):
        instead = f"; showing {plain(st.session_state[RUN])}." if names else "."
        st.warning(f"There is no checkpoint named {asked} that can be opened{instead}")


def _with_data_and_health(run: AnyRun, ill_health: str) -> str:
    data, k = run.train_config.held_out_dataset, run.model_config.latent_dim
    parts = [run.name, f"{data + ', ' if data else ''}k = {k}", ill_health]
    return " · ".join(filter(None, parts))


def _lead_to_diagnose(what: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.badge(capitalised(what), icon=":material/error:", color="red")
        st.page_link("pages/diagnose.py", label="Why?", icon=":material/stethoscope:")


def _class_picker(run: AnyRun, told: DeltaGenerator) -> None:
    """What a model with a condition is given; nothing for another."""
    n = run.model_config.n_classes
    if not n:
        link.looked_up(CLASS, is_there=False, shown=run.name)
        if link.missed(CLASS, run.name):
            told.warning(f"The link names a class; {plain(run.name)} is given none.")
        st.session_state.pop(CLASS, None)
        return
    name = selection.data()[0]
    try:
        has_labels = 1 < catalogue.describe(name).n_classes <= n
    except DatasetError:  # the page says what is missing
        has_labels = True
    options = [OWN] * has_labels + [str(label) for label in range(n)]
    selection.keep_within(CLASS, options)
    if asked := link.missed(CLASS, st.session_state[CLASS]):
        told.warning(f"{plain(run.name)} has no class {asked}; its classes are 0 to {n - 1}.")
    names = loaded.class_names(run, name)

    said = {o: "own label" if o == OWN else plain(names[int(o)]) for o in options}
    more = widgets.widget(CLASS, words=said)
    more["help"] = "What encoder and decoder are told: q(z|x, y), p(x|z, y)."
    if n <= _MOST_BUTTONS:
        st.pills("Given class", options, required=True, **more)
    else:
        st.selectbox("Given class", options, **more)


def _data_note(run: AnyRun) -> None:
    """Says so where the chosen data are not the model's own, or not of its size."""
    name = selection.data()[0]
    trained_on, shape = run.train_config, run.model_config.image_shape
    if data_choice.is_of_prior(name):
        points = wording.of(run.model_config.kind).points
        st.caption(f"Drawn by the model itself: the costs say nothing of real {points}.")
        return
    notes = []
    if trained_on.held_out_dataset and name not in (
        trained_on.dataset,
        trained_on.held_out_dataset,
    ):
        notes.append(f"not what {run.name} was trained on")
    try:
        source = catalogue.describe(name)
    except DatasetError:  # the page says what is missing
        return
    found = source.image_shape
    if source.kind != IMAGE:
        if name not in (trained_on.dataset, trained_on.held_out_dataset):
            notes.append("standardised as the model's training data were")
    elif found != shape:
        C, H, W = shape
        colour = "" if found[0] == C else ", grey" if C == 1 else ", colour"
        notes.append(f"resized to {H} x {W}{colour}")
    if not catalogue.names_for(run.model_config) and not trained_on.dataset:
        C, H, W = shape
        kind = run.model_config.kind
        size = f"images of {C} x {H} x {W}" if kind == IMAGE else wording.size(kind, shape)
        notes.insert(0, f"no known data set has {size}; your own can be added on Train")
    if notes:
        said = "; ".join(notes)
        st.caption(f"{plain(capitalised(said))}.")


def _model_card(listed: AnyRun) -> None:
    place = st.empty()
    try:
        run, verdict = readings.settled(listed, *selection.data(), place)
    except UserError as error:
        st.error(explained(error))
        return
    rows = run.card.facts() if isinstance(run, ForeignRun) else _settings(run)
    try:
        rows["parameters"] = f"{loaded.model(run).n_parameters:,}"
        terms = None if isinstance(run, ForeignRun) else loaded.held_out_terms(run)
        if n := run.model_config.n_classes:
            rows["condition"] = f"a label of {n} classes"
    except CheckpointError as error:
        st.error(explained(error))
        return
    if terms:
        rows |= {
            "held-out recon": f"{nats(terms.recon)} nats",
            "held-out KL": f"{nats(terms.kl)} nats",
            "held-out -ELBO": f"{nats(terms.neg_elbo)} nats",
        }
    with st.expander("The model", expanded=True, key="card", type="compact"):
        st.html(
            "<dl class='card'>"
            + "".join(
                f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
                for name, value in rows.items()
            )
            + "</dl>"
        )
    if isinstance(run, ForeignRun):
        reading.facts(run, verdict)


def _settings(run: Run) -> dict[str, str]:
    """Of a run of ours, as label -> text."""
    config, train = run.model_config, run.train_config
    rows = {
        "trained on": train.dataset,
        "latent": f"k = {config.latent_dim}",
        "p(x|z)": config.likelihood,
        "network": config.network,
    }
    return rows if train.beta == 1 else rows | {"β": f"{train.beta:g}"}
