"""A data folder of the test's, where nothing comes with the app."""

from pathlib import Path

import pytest

from vae.data import dataset


@pytest.fixture
def data_folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("VAE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(dataset, "SHIPPED", tmp_path / "shipped")
    return tmp_path / "data"
