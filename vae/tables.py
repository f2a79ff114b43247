"""The terms of every point as a file: what `python -m vae terms` and the downloads write."""

import io

import pandas as pd

from vae.embedding import Embedding


def as_csv(embedding: Embedding) -> bytes:
    """One row per point, as CSV."""
    return pd.DataFrame(embedding.table()).to_csv(index=False).encode()


def as_parquet(embedding: Embedding) -> bytes:
    """One row per point, as Parquet."""
    buffer = io.BytesIO()
    pd.DataFrame(embedding.table()).to_parquet(buffer, index=False)
    return buffer.getvalue()
