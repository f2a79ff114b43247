"""What two runs are without any point: the way of their trainings, and their settings."""

import pandas as pd
import streamlit as st

from vae import wording
from vae.analysis import comparison
from vae.figures import training as figures
from vae.formats import AnyRun
from vae.runs.checkpoint import CheckpointError
from vae.ui import charts
from vae.ui.results import loaded
from vae.ui.text import explained, plain


def rate_and_distortion(first: AnyRun, second: AnyRun) -> None:
    """Both trainings' ways through the plane of KL and recon."""
    words = wording.of(first.model_config.kind, second.model_config.kind)
    histories = {}
    for run in (first, second):
        try:
            histories[run.name] = loaded.metrics(run)
        except CheckpointError as error:
            st.error(explained(error))
    if not any(row["split"] == "test" for rows in histories.values() for row in rows):
        st.caption("Neither has kept the metrics of its training.")
        return
    charts.chart(
        figures.rate_distortion(histories, words=words),
        key="rate_distortion",
        alt=f"Recon against KL of the held-out {words.points}, epoch by epoch, of both runs",
    )
    data = [f"{plain(run.train_config.held_out_dataset)}" for run in (first, second)]
    st.caption(
        f"Held-out {words.points}, epoch by epoch; the large dot is the end. Along a dotted line "
        "-ELBO is the same."
        + (f" Not the same {words.points}: {data[0]} and {data[1]}." if data[0] != data[1] else "")
    )


def settings(first: AnyRun, second: AnyRun) -> None:
    """In which settings the two differ."""
    rows, same = [], []
    for part, configs in (
        ("model", (first.model_config, second.model_config)),
        ("training", (first.train_config, second.train_config)),
    ):
        changed, shared = comparison.settings_diff(*configs)
        rows += [
            {"of": part, "setting": s.name, **dict(zip(("first", "second"), s.texts, strict=True))}
            for s in changed
        ]
        same += shared
    if not rows:
        st.caption("Both have the same settings throughout.")
    spent = [_outcome(run) for run in (first, second)]
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


def _outcome(run: AnyRun) -> dict[str, str]:
    """What the settings led to, as far as the run can be read."""
    found = {}
    try:
        found["parameters"] = f"{loaded.model(run).n_parameters:,}"
        held_out = [row for row in loaded.metrics(run) if row["split"] == "test"]
    except CheckpointError:
        return found  # the page has said so
    if held_out:
        found["epochs trained"] = f"{held_out[-1]['epoch']:,}"
        found["minutes of training"] = f"{sum(row['seconds'] for row in held_out) / 60:.1f}"
    return found
