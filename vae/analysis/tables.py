"""The terms of every point as a file: what `python -m vae terms` and the downloads write."""

import io

import pandas as pd

from vae.analysis.embedding import Embedding
from vae.inference.evidence import Evidence
from vae.names import cell


def as_csv(embedding: Embedding, evidence: Evidence | None = None) -> bytes:
    """One row per point, as CSV; with log p(x) and the gap where they are given.

    No name of a class or column is a formula to a spreadsheet that opens it.
    """
    table = _table(embedding, evidence).rename(columns=cell)
    words = table.select_dtypes(include=["object", "string"]).columns
    return (
        table.assign(**{name: table[name].map(cell) for name in words}).to_csv(index=False).encode()
    )


def as_parquet(embedding: Embedding, evidence: Evidence | None = None) -> bytes:
    """One row per point, as Parquet; with log p(x) and the gap where they are given."""
    buffer = io.BytesIO()
    _table(embedding, evidence).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _table(embedding: Embedding, evidence: Evidence | None) -> pd.DataFrame:
    return pd.DataFrame(embedding.table() | (evidence.table() if evidence else {}))
