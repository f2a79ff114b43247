"""The graph of an ONNX file: what leads from which tensor to which, and parts of it as files.

An ONNX file is a protocol buffer (onnx.proto): messages of numbered fields. It is read, and the
parts are written, here, so that nothing besides onnxruntime is needed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeGuard

from vae.errors import UserError
from vae.formats.wording import printable

MAX_NODES = 5_000
MAX_ENDS = 100  # inputs, or outputs; each is followed through all nodes

# Fields of the messages, by onnx.proto.
_GRAPH = 7  # of the model
_NODE, _INITIALISER, _INPUT, _OUTPUT, _SPARSE = 1, 5, 11, 12, 15  # of a graph
_READS, _GIVES, _OP, _ATTRIBUTE = 1, 2, 4, 5  # of a node
_SUBGRAPHS = (6, 11)  # of an attribute
_TENSOR_NAME = 8
_NAME, _TYPE = 1, 2  # of an input or output
_TENSOR_TYPE, _ELEMENT, _SHAPE = 1, 1, 2
_DIM, _DIM_VALUE, _DIM_NAME = 1, 1, 2
_DRAWS = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli")


@dataclass(frozen=True)
class Node:
    """One operation: its name in ONNX, the tensors that it reads and gives, and its bytes."""

    op: str
    reads: tuple[str, ...]
    gives: tuple[str, ...]
    data: bytes


@dataclass(frozen=True)
class Value:
    """An input or output of the graph: its name, its sizes where they are numbers, and its type."""

    name: str
    sizes: tuple[int | None, ...]
    element: int


class Graph:
    """The main graph of a file.

    Args:
        data: the whole file.

    Attributes:
        nodes: in order.
        inputs, outputs: without the weights.

    Raises:
        UserError: it is damaged, has too many nodes, or branches.
    """

    def __init__(self, data: bytes) -> None:
        self._model = list(fields(memoryview(data)))
        graph = next((part for n, part in self._model if n == _GRAPH), None)
        if not isinstance(graph, memoryview):
            raise UserError("it holds no network")
        self._fields = list(fields(graph))
        self.nodes = [_node(part) for n, part in self._fields if n == _NODE and _is_bytes(part)]
        if len(self.nodes) > MAX_NODES:
            raise UserError(f"it has {len(self.nodes):,} operations; at most {MAX_NODES:,} are cut")
        weights = {_tensor_name(part) for n, part in self._fields if n == _INITIALISER}
        values = {
            kind: [_value(part) for n, part in self._fields if n == kind and _is_bytes(part)]
            for kind in (_INPUT, _OUTPUT)
        }
        self.inputs = [value for value in values[_INPUT] if value.name not in weights]
        self.outputs = values[_OUTPUT]
        if len(self.inputs) > MAX_ENDS or len(self.outputs) > MAX_ENDS:
            raise UserError(
                f"it has {len(self.inputs):,} inputs and {len(self.outputs):,} outputs; at most "
                f"{MAX_ENDS} of each are followed"
            )
        self._made_by = {name: node for node in self.nodes for name in node.gives if name}

    def node_of(self, name: str) -> Node | None:
        """The operation that gives a tensor; None of an input or a weight."""
        return self._made_by.get(name)

    def noise(self) -> list[str]:
        """The tensors that are drawn."""
        return [name for node in self.nodes if node.op in _DRAWS for name in node.gives]

    def before(self, name: str, upto: Iterable[str] = ()) -> set[str]:
        """The tensors that lead to one, itself included, back to those of `upto`."""
        stop, found, pending = set(upto), set(), [name]
        while pending:
            here = pending.pop()
            if here in found or not here:
                continue
            found.add(here)
            node = self._made_by.get(here)
            if node is not None and here not in stop:
                pending += node.reads
        return found

    def part(self, inputs: Sequence[Value], outputs: Sequence[str]) -> bytes:
        """What leads from some tensors to others, as a file."""
        names = {value.name for value in inputs}
        needed = {name for output in outputs for name in self.before(output, names)} - names
        nodes = [node.data for node in self.nodes if needed & set(node.gives)]
        weights = [
            bytes(part)
            for n, part in self._fields
            if n == _INITIALISER and _is_bytes(part) and _tensor_name(part) in needed
        ]
        sparse = [part for n, part in self._fields if n == _SPARSE and _is_bytes(part)]
        element = inputs[0].element
        graph = b"".join(
            [
                *(_field(_NODE, node) for node in nodes),
                _field(2, b"part"),
                *(_field(_INITIALISER, weight) for weight in weights),
                *(_field(_SPARSE, bytes(part)) for part in sparse),
                *(_field(_INPUT, _declared(value)) for value in inputs),
                *(_field(_OUTPUT, _declared(Value(name, (), element))) for name in outputs),
            ]
        )
        rest = (
            _number(n, part) if isinstance(part, int) else _field(n, bytes(part))
            for n, part in self._model
            if n != _GRAPH
        )
        return b"".join([*rest, _field(_GRAPH, graph)])


def _node(data: memoryview) -> Node:
    reads, gives, op = [], [], ""
    for n, part in fields(data):
        if not _is_bytes(part):
            continue
        if n == _READS:
            reads.append(_text(part))
        elif n == _GIVES:
            gives.append(_text(part))
        elif n == _OP:
            op = _text(part)
        elif n == _ATTRIBUTE and any(m in _SUBGRAPHS for m, _ in fields(part)):
            raise UserError(f"the operation {printable(op) or 'of a node'} has branches")
    return Node(op, tuple(reads), tuple(gives), bytes(data))


def _value(data: memoryview) -> Value:
    name, sizes, element = "", [], 1
    for n, part in fields(data):
        if n == _NAME and _is_bytes(part):
            name = _text(part)
        elif n == _TYPE and _is_bytes(part):
            tensor = _inside(part, _TENSOR_TYPE)
            element = next((m for k, m in tensor if k == _ELEMENT and isinstance(m, int)), 1)
            shape = next((m for k, m in tensor if k == _SHAPE and _is_bytes(m)), None)
            for k, dim in fields(shape) if shape is not None else ():
                if k == _DIM and _is_bytes(dim):
                    size = [m for j, m in fields(dim) if j == _DIM_VALUE and isinstance(m, int)]
                    sizes.append(size[0] if size and 0 < size[0] < 2**31 else None)
    return Value(name, tuple(sizes), element)


def _declared(value: Value) -> bytes:
    dims = b"".join(
        _field(_DIM, _number(_DIM_VALUE, size) if size else _field(_DIM_NAME, f"n{i}".encode()))
        for i, size in enumerate(value.sizes)
    )
    tensor = _number(_ELEMENT, value.element) + (_field(_SHAPE, dims) if value.sizes else b"")
    return _field(_NAME, value.name.encode()) + _field(_TYPE, _field(_TENSOR_TYPE, tensor))


def _inside(data: memoryview, number: int) -> list[tuple[int, int | memoryview]]:
    found = (part for n, part in fields(data) if n == number and _is_bytes(part))
    return next((list(fields(part)) for part in found), [])


def _tensor_name(data: int | memoryview) -> str:
    found = fields(data) if _is_bytes(data) else ()
    return next((_text(part) for n, part in found if n == _TENSOR_NAME and _is_bytes(part)), "")


def _text(data: memoryview) -> str:
    return bytes(data).decode("utf-8", "replace")


# --- protocol buffers ---


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The fields of a message: number, and an integer or bytes. Raises UserError if damaged."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
            if at > end:
                raise UserError("it is cut short")
            yield number, 0
        elif wire == 2:
            length, at = _varint(data, at)
            if length > end - at:
                raise UserError("it is cut short")
            yield number, data[at : at + length]
            at += length
        else:
            raise UserError(f"a part of it is of the unknown kind {wire}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise UserError("it is cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise UserError("a number in it has no end")


def _is_bytes(part: int | memoryview) -> TypeGuard[memoryview]:
    return isinstance(part, memoryview)


def _field(number: int, data: bytes) -> bytes:
    return _varint_of(number << 3 | 2) + _varint_of(len(data)) + data


def _number(number: int, value: int) -> bytes:
    return _varint_of(number << 3) + _varint_of(value)


def _varint_of(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
