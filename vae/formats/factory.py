"""package.module:factory -> the object that it names or makes; errors in the words of its author.

What is named here is code that the person who starts the program has chosen to run. Nothing that a
file or a visitor brings along ever gets here.
"""

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from vae.formats.tensors import printable

_OURS = Path(__file__).resolve().parent.parent
# What a person's own code may raise; Ctrl-C alone passes.
RAISED = (Exception, SystemExit)


def make(
    spec: str, option: str, is_ready: Callable[[Any], bool], error: type[ValueError]
) -> tuple[Any, Path]:
    """The object of a spec, and the source file that it is from.

    The module is looked for in the current folder, too. What the spec names is called without
    arguments, unless it is what is wanted already.

    Args:
        spec: "package.module:factory"; a dotted path may stand behind the colon.
        option: where it was given, for messages: "--model".
        is_ready: whether an object is what is wanted, so that it is not called.
        error: what to raise.

    Raises:
        error: the spec is malformed, or its module or factory cannot be had; one sentence.
    """
    said = f"{option} (={printable(spec, 100)!r})"
    module_name, colon, path = spec.strip().partition(":")
    parts, names = module_name.split("."), path.split(".")
    if module_name.endswith(".py") or "/" in module_name or os.sep in module_name:
        stem = Path(module_name).stem
        raise error(
            f"{said} names a file; name its module, from the folder that it is in: "
            f"{option} {stem}:{path or 'factory'}"
        )
    if not colon or not all(part.isidentifier() for part in parts + names):
        raise error(
            f"{said} must be package.module:factory, as in {option} my_models.vae:make_model"
        )
    with here_on_path():
        module = _imported(module_name, said, error)
        found: Any = module
        for name in names:
            if not hasattr(found, name):
                raise error(f"{said}: {_missing(module, found, name)}")
            found = getattr(found, name)
        source = Path(getattr(module, "__file__", None) or os.getcwd())
        if inspect.isclass(found) or not is_ready(found):
            found = _called(found, f"{said}: {path}", error)
    return found, source


@contextmanager
def here_on_path() -> Iterator[None]:
    """The current folder is among those that modules are imported from, while this lasts."""
    here = os.getcwd()
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def raised(error: BaseException) -> str:
    """What was raised and at which line of its author's file, for the end of a sentence."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    text = f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
    if isinstance(error, SyntaxError):  # which has no frame of its own, and names its file itself
        place = error.filename, error.lineno
        text = f"{type(error).__name__}: {error.msg}"
    else:
        place = _place(error)
    if place is not None and place[0]:
        text += f" (line {place[1]} of {Path(place[0]).name})"
    return printable(text, 400)


def _place(error: BaseException) -> tuple[str, int | None] | None:
    """The innermost frame that is neither ours nor an installed library's."""
    frames = traceback.extract_tb(error.__traceback__)
    installed = {Path(inspect.__file__).parent.resolve(), _OURS}
    for frame in reversed(frames):
        path = Path(frame.filename)
        if frame.filename.startswith("<") or "site-packages" in path.parts:
            continue
        if not any(path.is_relative_to(folder) for folder in installed):
            return frame.filename, frame.lineno
    return None


def _imported(name: str, said: str, error: type[ValueError]) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name and f"{name}.".startswith(f"{missing.name}."):
            raise error(
                f"{said}: there is no module {missing.name!r} in {os.getcwd()} or among the "
                f"installed packages; start from the folder that holds it{_taken(name)}"
            ) from missing
        raise error(
            f"{said}: importing {name} failed: {raised(missing)}; install what it needs"
        ) from missing
    except RAISED as failed:
        raise error(f"{said}: importing {name} failed: {raised(failed)}") from failed


def _missing(module: ModuleType, owner: Any, name: str) -> str:
    public = [n for n in dir(owner) if not n.startswith("_")]
    near = difflib.get_close_matches(name, public, 3, 0.5)
    own = [
        n for n in public if getattr(getattr(owner, n, None), "__module__", "") == module.__name__
    ]
    place = getattr(module, "__file__", None)
    text = f"{getattr(owner, '__name__', owner)!s} has no {name!r}"
    if owner is module and place:
        text += f" ({place})"
    if near:
        text += f"; did you mean {' or '.join(near)}?"
    elif own or public:
        text += f"; it has {', '.join((own or public)[:6])}"
    return printable(text, 400) + _taken(module.__name__)


def _taken(module_name: str) -> str:
    """Says so where the name of a person's file is that of this library."""
    if module_name.partition(".")[0] != "vae":
        return ""
    return "; the name vae is ELBO Room's own package, so call your file otherwise"


def _called(found: Any, said: str, error: type[ValueError]) -> Any:
    if not callable(found):
        raise error(
            f"{said} is of type {type(found).__name__}, neither what is wanted nor a function that "
            "makes it"
        )
    try:
        inspect.signature(found).bind()
    except TypeError as needs:
        raise error(
            f"{said} is called without arguments, but has a {needs}; name a function without "
            "arguments that makes it"
        ) from needs
    except ValueError:  # what is written in C does not say
        pass
    try:
        return found()
    except RAISED as failed:
        raise error(f"{said}() raised {raised(failed)}") from failed
