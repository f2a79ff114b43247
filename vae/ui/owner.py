"""What the owner of a server has written down: `.streamlit/elbo.toml`, beside Streamlit's own file.

    [limits]
    most_queued = 20        # a field of `policy.Policy`

    [roles]
    read_only = false
    owner = ["teacher@example.org"]

An environment variable wins over it. What cannot be used is said, at the start and on every page,
and is then as if it had not been written.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).resolve().parents[2] / ".streamlit" / "elbo.toml"
LIMITS, ROLES = TABLES = "limits", "roles"
_MOST_BYTES = 100_000


def table(name: str) -> dict[str, Any]:
    """What stands in that table of the file, unchecked; nothing where there is none."""
    found = _read(*_stamp())[0].get(name)
    return found if isinstance(found, dict) else {}


def is_damaged() -> bool:
    """Whether there is a file that cannot be read."""
    return _read(*_stamp())[1] != ""


def problems() -> list[str]:
    """What is wrong with the file as a whole, in sentences."""
    tables, damage = _read(*_stamp())
    if damage:
        return [damage]
    said = [
        f"{FILE.name} has {key[:40]!r} outside its tables {' and '.join(f'[{t}]' for t in TABLES)}"
        for key in tables
        if key not in TABLES
    ]
    return said + [
        f"{name} in {FILE.name} must be a table, as in [{name}]"
        for name in TABLES
        if not isinstance(tables.get(name, {}), dict)
    ]


def _stamp() -> tuple[Path, int, int]:
    try:
        found = FILE.stat()
    except OSError:
        return FILE, 0, -1
    return FILE, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=4)
def _read(path: Path, changed_ns: int, n_bytes: int) -> tuple[dict[str, Any], str]:
    """The file's tables, and why it cannot be read, as a sentence."""
    if n_bytes < 0:
        return {}, ""
    try:
        if n_bytes > _MOST_BYTES:
            raise ValueError(f"it has {n_bytes:,} bytes, and {_MOST_BYTES:,} are read")
        return tomllib.loads(path.read_text("utf-8")), ""
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)[:200]
        return {}, (
            f"{path.name} cannot be read ({why}): the default limits hold, and until it is mended "
            "nobody but its owner's own computer changes anything here"
        )
