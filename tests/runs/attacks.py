"""What may stand in a file of a run folder, drawn: each attack makes the bytes of one file."""

import copy
import json
import struct
from collections.abc import Callable, Iterator

from fuzzing import damaged
from hypothesis import strategies as st

FILES = (
    "config.json",
    "model.safetensors",
    "embedding.safetensors",
    "metrics.jsonl",
    "status.json",
    "log-px-digits-test.safetensors",
    "history/epoch-000001.safetensors",
    "history/epoch-000001.png",
)
HUGE = [2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400]

# Values, as JSON can hold them.

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.integers(),
    st.sampled_from([sign * n for n in HUGE for sign in (1, -1)]),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["", "\ud800", "\n", "\0", "\x1b[31m", "x" * 5000, "conv", "gaussian", "F16"]),
)
values = st.one_of(
    scalars,
    st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=8,
    ),
    st.lists(st.integers(1, 16384), max_size=17),
    st.just([16384] * 16),
)


def slots(tree) -> Iterator[tuple]:
    """(container, key) of every value in a tree of dicts and lists."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from slots(value)


def mutate(draw, tree):
    """One to three values of a tree replaced, taken away or put under another name."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        places = list(slots(tree))
        if not places:
            break
        container, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "swap"]))
        if how == "remove":
            del container[key]
        elif how == "rename" and isinstance(container, dict):
            container[draw(st.text(max_size=10))] = container.pop(key)
        elif how == "swap":
            other, other_key = draw(st.sampled_from(places))
            container[key] = copy.deepcopy(other[other_key])
        else:
            container[key] = copy.deepcopy(draw(values))
    return tree


def random_bytes(draw, _) -> bytes:
    return draw(st.binary(max_size=3000))


def random_json(draw, _) -> bytes:
    return json.dumps(draw(values)).encode()


def mutated_json(draw, data: bytes) -> bytes:
    return json.dumps(mutate(draw, json.loads(data))).encode()


def mutated_json_lines(draw, data: bytes) -> bytes:
    rows = mutate(draw, [json.loads(line) for line in data.splitlines()])
    return "\n".join(json.dumps(row) for row in rows).encode()


def read_header(data: bytes) -> tuple[int, dict]:
    """A safetensors header's length and what it says, sorted: it is stored in a random order."""
    length = int.from_bytes(data[:8], "little")
    return length, json.loads(json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True))


def mutated_header(draw, data: bytes) -> bytes:
    """A safetensors file whose header is whole and of the length it says, but says other things."""
    length, header = read_header(data)
    header.setdefault("__metadata__", {"format": "pt"})
    encoded = json.dumps(mutate(draw, header)).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data[8 + length :]


def wrong_length(draw, data: bytes) -> bytes:
    length = draw(st.sampled_from(HUGE[:5]) | st.integers(0, 200_000_000))
    return struct.pack("<Q", min(length, 2**64 - 1)) + data[8:]


@st.composite
def tensors(draw) -> dict:
    """Header entries of one kind of file or another, sound or not."""
    dtype = draw(
        st.sampled_from(["F32", "F64", "I64", "BF16", "F8_E4M3", "F4", "C64", "BOOL", "?"])
    )
    shape = draw(st.lists(st.sampled_from([0, 1, 2, 359, *HUGE[:5]]), max_size=5))
    ends = draw(st.tuples(*[st.sampled_from([0, 1, 4, 8, 64, *HUGE[:5]])] * 2))
    return {"dtype": dtype, "shape": shape, "data_offsets": list(ends)}


def invented_header(draw, data: bytes) -> bytes:
    names = st.sampled_from(list(read_header(data)[1]))
    header = json.dumps(draw(st.dictionaries(names | st.text(), tensors(), max_size=4))).encode()
    return struct.pack("<Q", len(header)) + header + draw(st.binary(max_size=64))


EXTREMES = [3.4e38, -3.4e38, 1e30, -1e30, 1e20, 1e-40, 1e5, -1e5, 0.0, float("nan"), float("inf")]


def extreme_numbers(draw, data: bytes) -> bytes:
    """A whole file in whose numbers some are what float32 can just hold, or a whole row of them."""
    start = 8 + read_header(data)[0]
    changed, n = bytearray(data), (len(data) - start) // 4
    for _ in range(draw(st.integers(1, 3))):
        at, length = draw(st.integers(0, max(0, n - 1))), draw(st.sampled_from([1, 1, 2, 360, n]))
        length = min(length, n - at)
        values = struct.pack("<f", draw(st.sampled_from(EXTREMES))) * length
        changed[start + 4 * at : start + 4 * (at + length)] = values
    return bytes(changed)


Attack = Callable[[Callable, bytes], bytes]
ATTACKS: list[tuple[str, Attack]] = [
    *[(name, random_bytes) for name in FILES],
    *[(name, damaged) for name in FILES],
    *[(name, random_json) for name in FILES if "json" in name],
    ("config.json", mutated_json),
    ("status.json", mutated_json),
    ("metrics.jsonl", mutated_json_lines),
    *[
        (name, attack)
        for name in FILES
        if name.endswith(".safetensors")
        for attack in (mutated_header, wrong_length, invented_header, extreme_numbers)
    ],
]
