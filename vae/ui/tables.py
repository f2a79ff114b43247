"""Tables as files to download: the columns that `python -m vae terms` writes."""

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
