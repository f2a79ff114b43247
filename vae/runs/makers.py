"""Who made a run or a data set: a digest in a hidden file, in the run's folder or beside the data.

What has none was made at the command line, or came with ELBO Room.
"""

from contextlib import suppress
from pathlib import Path

from vae.runs import files
from vae.runs.files import CheckpointError

_MAKER = ".maker"
_MOST_BYTES = 200


def mark(path: Path, maker: str) -> None:
    """Notes who made it; where that cannot be written it is nobody's.

    Args:
        path: the run's folder, or the data set's file.
        maker: who; nothing by which they could be impersonated.
    """
    with suppress(CheckpointError):
        files.write_atomic(_place(path), maker.encode())


def maker_of(path: Path) -> str | None:
    """Who made it; None if that is not known."""
    try:
        return files.read_text(_place(path), _MOST_BYTES).strip() or None
    except (CheckpointError, OSError):
        return None


def forget(path: Path) -> None:
    """Takes the note away of a data set that is gone: the next of that name may be another's."""
    with suppress(OSError):
        _place(path).unlink(missing_ok=True)


def _place(path: Path) -> Path:
    return path / _MAKER if path.is_dir() else path.with_name(f".{path.stem}{_MAKER}")
