"""What is typed into the fields and the matrices of a pair."""

import pandas as pd
import streamlit as st
import torch

from vae.analysis.axes import subscript
from vae.core import gaussian
from vae.errors import UserError
from vae.lessons.gaussian_pair import Pair
from vae.ui.gaussians.plane import SPACE, Shown


def in_the_plane(
    pair: Pair, name: str, x: float, y: float, s11: float, s12: float, s22: float
) -> Pair:
    """The pair with one of the two replaced. Raises UserError with a sentence."""
    cov = gaussian.covariance_2d(s11, s12, s22, name)
    return _replaced(pair, name, torch.tensor([x, y], dtype=torch.float64), cov)


def on_a_line(pair: Pair, name: str, mu: float, sigma: float) -> Pair:
    """The pair with one of the two replaced. Raises UserError with a sentence."""
    if sigma <= 0:
        raise UserError(f"σ of {name} (={sigma:g}) must be above 0")
    cov = torch.tensor([[sigma]], dtype=torch.float64).square()
    return _replaced(pair, name, torch.tensor([mu], dtype=torch.float64), cov)


def _replaced(pair: Pair, name: str, mu: torch.Tensor, cov: torch.Tensor) -> Pair:
    return pair._replace(mu1=mu, cov1=cov) if name == "P" else pair._replace(mu2=mu, cov2=cov)


def matrix_editor(now: Shown, pair: Pair, name: str, mu: torch.Tensor, cov: torch.Tensor) -> None:
    """A table of numbers that can be typed into; what makes no Gaussian is named, and stays."""
    names = [f"{i + 1}" for i in range(len(mu))]
    table = pd.DataFrame(cov.numpy(), columns=[f"s{subscript(i)}" for i in range(len(mu))])
    table.insert(0, "μ", mu.numpy())
    table.insert(0, name, names)
    key = f"gaussians_matrix_{name}_{now.n_set}"  # another pair is another table

    def take() -> None:
        new_mu, new_cov = mu.clone(), cov.clone()
        for row, changes in st.session_state[key]["edited_rows"].items():
            for column, value in changes.items():
                place = list(table.columns).index(column) - 2
                if value is None:
                    continue
                if place < 0:
                    new_mu[int(row)] = value
                else:
                    new_cov[int(row), place] = new_cov[place, int(row)] = value
        try:
            gaussian.cholesky(new_cov, f"the covariance of {name}")
        except UserError as error:
            least = float(torch.linalg.eigvalsh(new_cov)[0])
            now.problems[name] = f"{error}; its least eigenvalue (={least:.3g}) must be above 0"
            return
        now.put(SPACE, _replaced(pair, name, new_mu, new_cov))
        now.changed_by_hand()

    st.data_editor(
        table,
        key=key,
        hide_index=True,
        on_change=take,
        disabled=[name],
        column_config={
            name: st.column_config.TextColumn(width=40),
            **{
                column: st.column_config.NumberColumn(format="%.4g", width="small")
                for column in table.columns[1:]
            },
        },
    )
