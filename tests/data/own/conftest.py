"""Data of one's own are kept in a folder of the test's."""

import pytest


@pytest.fixture(autouse=True)
def data_folder(data_folder):
    return data_folder
