"""What the code of a TorchScript program says of its layers: read as text, never run.

The code is Python by its syntax. Its calls are followed from `forward` in the order in which they
would be made, through the modules that they name; what is noted is the layers and activations, and
those of their settings that stand there as numbers.
"""

import ast
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vae.formats.containers.modules import FUNCTIONS, children, kind_of
from vae.formats.containers.stand_ins import StandIn
from vae.formats.containers.surveyed import LayerFacts

_MAX_FILE_BYTES = 200_000
_MAX_BYTES = 1_000_000
_MAX_STEPS = 200_000
_MAX_DEPTH = 40
_OF_TORCH = "__torch__.torch.nn.modules."
_FUNCTIONAL = "__torch__.torch.nn.functional."

Code = dict[str, ast.ClassDef]  # by the whole name of the class

_POOL = {"kernel_size": 1, "stride": 2, "padding": 3}
# What an operation is in torch's layers, and which argument is which setting.
_OPERATIONS: dict[str, tuple[str, dict[str, int]]] = {
    "conv2d": ("Conv2d", {"stride": 3, "padding": 4, "dilation": 5, "groups": 6}),
    "conv_transpose2d": (
        "ConvTranspose2d",
        {"stride": 3, "padding": 4, "output_padding": 5, "groups": 6, "dilation": 7},
    ),
    "_convolution": (
        "Conv2d",
        {"stride": 3, "padding": 4, "dilation": 5, "output_padding": 7, "groups": 8},
    ),
    "linear": ("Linear", {}),
    "addmm": ("Linear", {}),
    "batch_norm": ("BatchNorm2d", {"eps": 7}),
    "layer_norm": ("LayerNorm", {"normalized_shape": 1, "eps": 4}),
    "group_norm": ("GroupNorm", {"num_groups": 1, "eps": 4}),
    "instance_norm": ("InstanceNorm2d", {"eps": 7}),
    "max_pool2d": ("MaxPool2d", _POOL),
    "avg_pool2d": ("AvgPool2d", _POOL),
    "adaptive_avg_pool2d": ("AdaptiveAvgPool2d", {"output_size": 1}),
    "adaptive_max_pool2d": ("AdaptiveMaxPool2d", {"output_size": 1}),
    "upsample_nearest2d": ("Upsample", {"size": 1, "scale_factor": 2}),
    "upsample_bilinear2d": ("Upsample", {"size": 1, "align_corners": 2, "scale_factor": 3}),
    "pixel_shuffle": ("PixelShuffle", {"upscale_factor": 1}),
    "flatten": ("Flatten", {"start_dim": 1, "end_dim": 2}),
    "view": ("Reshape", {"shape": 1}),
    "reshape": ("Reshape", {"shape": 1}),
    "embedding": ("Embedding", {}),
}
_SETTINGS = {
    "LeakyReLU": {"negative_slope": 1},
    "ELU": {"alpha": 1},
    "Softplus": {"beta": 1, "threshold": 2},
    "Hardtanh": {"min_val": 1, "max_val": 2},
}
_TRANSPOSED = 6  # the argument of _convolution that says so


def code_in(archive: zipfile.ZipFile, root: str) -> Code:
    """The classes in the code of a program; without what is too large or no code.

    Args:
        archive: the file.
        root: the folder in it that all is in, with its slash.
    """
    classes: Code = {}
    left = _MAX_BYTES
    head = f"{root}code/"
    for part in archive.infolist():
        name = part.filename
        if not name.startswith(head) or not name.endswith(".py"):
            continue
        if part.file_size > min(_MAX_FILE_BYTES, left):
            continue
        left -= part.file_size
        module = name.removeprefix(head).removesuffix(".py").replace("/", ".")
        try:
            with archive.open(part) as file:
                tree = ast.parse(file.read(part.file_size).decode("utf-8"))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for statement in tree.body:
            if isinstance(statement, ast.ClassDef):
                classes[f"{module}.{statement.name}"] = statement
    return classes


def layers(root: StandIn, code: Code) -> dict[str, LayerFacts]:
    """The layers of a program by path, in the order in which they are run.

    A layer that is run again has its path with "#2" and so on; a function in a module's own code
    has the path of that module and its name.
    """
    walk = _Walk(code)
    try:
        walk.module("", root, None)
    except (_Enough, RecursionError):
        pass  # what was found so far is true nonetheless
    return walk.facts


class _Enough(Exception):
    """The code goes on for longer than a network's does."""


@dataclass(frozen=True)
class _Module:
    """A value in the code that is a module."""

    path: str
    stands: StandIn


@dataclass
class _Walk:
    code: Code
    facts: dict[str, LayerFacts] = field(default_factory=dict)
    steps: int = 0
    depth: int = 0

    def module(self, path: str, stands: StandIn, method: str | None) -> None:
        """Follows a method of a module; without one `forward`, or else all that it has."""
        class_ = self.code.get(stands.name)
        if class_ is None:
            return
        methods = {s.name: s for s in class_.body if isinstance(s, ast.FunctionDef)}
        first = "forward" if method is None else method
        chosen = [methods[first]] if first in methods else []
        if not chosen and method is None:
            chosen = list(methods.values())
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise _Enough
        own = _Module(path, stands)
        for function in chosen:  # whose own word for self is its first argument
            self._body(function.body, own, {arg.arg: own for arg in function.args.args[:1]})
        self.depth -= 1

    def _body(self, body: list[ast.stmt], own: _Module, names: dict[str, Any]) -> None:
        for statement in body:
            self._count()
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    names[name] = self._value(value, own, names)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    names[name] = self._value(value, own, names)
                case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                    for target, value in zip(targets, values, strict=False):
                        found = self._value(value, own, names)
                        if isinstance(target, ast.Name):
                            names[target.id] = found
                case ast.If(test=test, body=inner, orelse=other):
                    self._value(test, own, names)
                    self._body(inner, own, names)
                    self._body(other, own, names)
                case ast.For(body=inner) | ast.While(body=inner):
                    self._body(inner, own, names)
                case ast.Assign(value=value) | ast.Expr(value=value):
                    self._value(value, own, names)
                case ast.Return(value=ast.expr() as value):
                    self._value(value, own, names)

    def _value(self, node: ast.expr, own: _Module, names: dict[str, Any]) -> Any:
        """What an expression is, as far as it is a module, a function or plain; else None."""
        self._count()
        match node:
            case ast.Name(id=name):
                return names.get(name, name)
            case ast.Attribute(value=inner, attr=name):
                return _attribute(self._value(inner, own, names), name)
            case ast.Call(func=ast.Name(id="getattr"), args=[inner, ast.Constant(value=name)]):
                return _attribute(self._value(inner, own, names), str(name))
            case ast.Call(func=ast.Attribute(value=inner, attr=method), args=args):
                target = self._value(inner, own, names)
                values = [self._value(arg, own, names) for arg in args]
                if isinstance(target, _Module):
                    self.module(target.path, target.stands, method)
                elif isinstance(target, str):
                    self._called(f"{target}.{method}", values, own)
                return None
            case ast.Call(func=function, args=args):
                called = self._value(function, own, names)
                values = [self._value(arg, own, names) for arg in args]
                if isinstance(called, str):
                    self._called(called, values, own)
                return values[-1] if called in ("unchecked_cast", "annotate") and values else None
            case ast.List() | ast.Tuple() | ast.Constant() | ast.UnaryOp():
                for inner in getattr(node, "elts", ()):
                    self._value(inner, own, names)
                return _Plain(_literal(node))
        for inner in _inside(node):
            self._value(inner, own, names)
        return None

    def _called(self, name: str, values: list[Any], own: _Module) -> None:
        """Notes a call of torch's."""
        if not name.startswith(("torch.", _FUNCTIONAL)):
            return
        operation = name.rpartition(".")[2]
        kind = FUNCTIONS.get(operation)
        if kind is not None:
            places = _SETTINGS.get(kind, {})
        elif operation in _OPERATIONS:
            kind, places = _OPERATIONS[operation]
        else:
            return
        plain = [value.value if isinstance(value, _Plain) else None for value in values]
        if operation == "_convolution" and plain[_TRANSPOSED : _TRANSPOSED + 1] == [True]:
            kind = "ConvTranspose2d"
        settings = {
            setting: _settled(setting, plain[at])
            for setting, at in places.items()
            if at < len(plain) and plain[at] is not None
        }
        path = own.path
        if own.stands.name.startswith(_OF_TORCH):
            kind = kind_of(own.stands)
            class_ = self.code.get(own.stands.name)
            settings = {} if class_ is None else _finals(class_) | settings
        else:
            path = f"{path}.{operation}" if path else operation
        n, first = 1, path
        while path in self.facts:
            n += 1
            path = f"{first}#{n}"
            self._count()
        self.facts[path] = LayerFacts(kind, settings)

    def _count(self) -> None:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise _Enough


@dataclass(frozen=True)
class _Plain:
    """A value that stands in the code."""

    value: Any


def _attribute(of: Any, name: str) -> Any:
    if isinstance(of, _Module):
        inner = children(of.stands).get(name)
        return None if inner is None else _Module(f"{of.path}.{name}" if of.path else name, inner)
    return f"{of}.{name}" if isinstance(of, str) and len(of) < 1000 else None


def _inside(node: ast.expr) -> Iterator[ast.expr]:
    return (inner for inner in ast.iter_child_nodes(node) if isinstance(inner, ast.expr))


def _literal(node: ast.expr) -> Any:
    """A number, a text, or a list of those as a tuple; None for anything else."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        return None
    if isinstance(value, list | tuple):
        return tuple(value) if all(isinstance(v, bool | int | float) for v in value) else None
    return value if isinstance(value, bool | int | float | str) else None


def _settled(setting: str, value: Any) -> Any:
    """The sizes of a reshape are said without the batch."""
    return value[1:] if setting == "shape" and isinstance(value, tuple) else value


def _finals(class_: ast.ClassDef) -> dict[str, Any]:
    """The constants of a scripted class: `stride : Final[Tuple[int, int]] = (2, 2)`."""
    found = {}
    for statement in class_.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                plain = _literal(value)
                if plain is not None:
                    found[name] = plain
    return found
