"""package.module:factory -> the object that it names or makes; errors in the words of its author.

What is named here is code that the person who starts the program has chosen to run. Nothing that a
file or a visitor brings along ever gets here.
"""

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from vae.formats.wording import printable

_OURS = Path(__file__).resolve().parents[2]
# What a person's own code may raise; Ctrl-C alone passes.
RAISED = (Exception, SystemExit)
# Modules of a person's own that no other process can import by their names, as it lacks the folder.
MODULES: set[ModuleType] = set()


def make(
    spec: str,
    option: str,
    is_ready: Callable[[Any], bool],
    error: type[ValueError],
    arguments: Mapping[str, str] | None = None,
) -> tuple[Any, Path]:
    """The object of a spec, and the source file that it is from.

    The module is looked for in the current folder, too. What the spec names is called, unless it
    is what is wanted already.

    Args:
        spec: "package.module:factory" or "my_file.py:factory"; a dotted path may stand behind the
            colon.
        option: where it was given, for messages: "--model".
        is_ready: whether an object is what is wanted, so that it is not called.
        error: what to raise.
        arguments: that it is called with, by name; literals of Python, or else texts.

    Raises:
        error: the spec is malformed, or its module or factory cannot be had; one sentence.
    """
    said = f"{option} (={printable(spec, 100)!r})"
    module_name, colon, path = spec.strip().rpartition(":")
    parts, names = module_name.split("."), path.split(".")
    is_file = module_name.endswith(".py") or (path.endswith(".py") and not module_name)
    if is_file and not all(name.isidentifier() for name in names):
        raise error(f"{said} names a file; say what in it makes the model: {option} FILE.py:CLASS")
    if not is_file and ("/" in spec or os.sep in spec):
        raise error(f"{said} names no file of Python; as in {option} my_vae.py:VAE")
    if not is_file and (not colon or not all(part.isidentifier() for part in parts + names)):
        raise error(
            f"{said} must be package.module:factory, as in {option} my_models.vae:make_model, or "
            f"a file, as in {option} my_vae.py:VAE"
        )
    with _noted(), here_on_path():
        if is_file:
            module = _of_file(Path(module_name), said, error)
        else:
            module = _imported(module_name, said, error)
        found: Any = module
        for name in names:
            if not hasattr(found, name):
                raise error(f"{said}: {_missing(module, found, name)}")
            found = getattr(found, name)
        source = Path(getattr(module, "__file__", None) or os.getcwd())
        if inspect.isclass(found) or not is_ready(found):
            found = _called(found, f"{said}: {path}", error, arguments or {})
        elif arguments:
            raise error(f"{said} is an object already, so it takes no --arg; name its class")
    return found, source


def _of_file(path: Path, said: str, error: type[ValueError]) -> ModuleType:
    """A file as a module, under a name that no other module has."""
    if not path.is_file():
        raise error(f"{said}: there is no file {printable(str(path), 200)} in {os.getcwd()}")
    path = path.resolve()
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    made = importlib.util.spec_from_file_location(name, path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module  # which dataclasses and pickle look it up by
    folder = str(path.parent)
    sys.path.insert(0, folder)  # its neighbours
    try:
        made.loader.exec_module(module)
    except RAISED as failed:
        del sys.modules[name]
        raise error(f"{said}: importing {path.name} failed: {raised(failed)}") from failed
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    return module


@contextmanager
def _noted() -> Iterator[None]:
    """What is imported while this lasts is among MODULES, if it cannot be imported afterwards."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        # What is found elsewhere than by a folder is no code of a person's.
        is_file = getattr(getattr(module, "__spec__", None), "has_location", False)
        if is_file and PathFinder.find_spec(name.partition(".")[0]) is None:
            MODULES.add(module)


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


def _called(found: Any, said: str, error: type[ValueError], arguments: Mapping[str, str]) -> Any:
    if not callable(found):
        raise error(
            f"{said} is of type {type(found).__name__}, neither what is wanted nor a function that "
            "makes it"
        )
    values = {name: _literal(value) for name, value in arguments.items()}
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):  # what is written in C does not say
        signature = None
    if signature is not None:
        try:
            signature.bind(**values)
        except TypeError as needs:
            raise error(f"{said} {_arguments_of(signature, values)}") from needs
    try:
        return found(**values)
    except RAISED as failed:
        given = ", ".join(f"{name}={value!r}" for name, value in values.items())
        raise error(f"{said}({printable(given, 100)}) raised {raised(failed)}") from failed


def _arguments_of(signature: inspect.Signature, values: Mapping[str, Any]) -> str:
    """What it needs and was not given, or was given and has no place for; ends a sentence."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {n: p for n, p in signature.parameters.items() if p.kind in kinds}
    lacking = [n for n, p in named.items() if p.default is p.empty and n not in values]
    if lacking:
        asked = " ".join(f"--arg {name}=..." for name in lacking)
        return f"is made with {', '.join(lacking)}; say it: {asked}"
    unknown = [name for name in values if name not in named]
    if unknown:
        return f"has no argument {', '.join(unknown)}; it has {', '.join(named) or 'none'}"
    return "cannot be called by names alone; name a function that makes it"


def _literal(value: str) -> Any:
    """As Python reads it; "conv" without quotation marks is a text."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value
