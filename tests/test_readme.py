"""What the documents say of the code is so."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("document", ["vae/README.md", ".github/CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(document):
    named = re.findall(r"`([\w.]+/[\w./]*|\w+\.(?:py|md|txt|toml))`", (ROOT / document).read_text())
    paths = [path for path in named if "NAME" not in path]
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_the_map_of_the_code_names_every_room():
    text = (ROOT / "vae/README.md").read_text()
    rooms = [path.parent.name for path in (ROOT / "vae").glob("*/__init__.py")]
    assert len(rooms) > 10
    assert not [room for room in rooms if f"`vae/{room}/`" not in text]
