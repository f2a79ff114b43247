"""Whatever a run folder's files hold, opening it works or raises a CheckpointError.

Each attack draws the bytes of one file of an otherwise good run. `pytest -m slow` draws many more.
"""

import copy
import json
import struct
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from fuzzing import damaged, fuzz
from hypothesis import strategies as st

from vae.config import ModelConfig, TrainConfig
from vae.runs import checkpoint
from vae.runs.checkpoint import CheckpointError
from vae.runs.status import read_status

FILES = (
    "config.json",
    "model.safetensors",
    "embedding.safetensors",
    "metrics.jsonl",
    "status.json",
)
HUGE = [2**31, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30, 10**400]


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("fuzz") / "run")


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
        for attack in (mutated_header, wrong_length, invented_header)
    ],
]


def said(error: CheckpointError) -> None:
    """A refusal is one line that any terminal can print, and not a copy of the file."""
    assert str(error).isprintable()
    assert len(str(error)) < 1000


def use_everything(run: checkpoint.Run) -> None:
    """Opens the folder as the pages and the command line do, and uses what was found."""
    runs, broken = checkpoint.list_runs(run.path.parent)
    assert len(runs) + len(broken) == 1
    status = read_status(run.path)
    assert status.seconds_left is None or isinstance(status.seconds_left, float)
    assert f"{status.state} {status.step:,} {status.seconds:.1f} {status.message:>9}"
    try:
        opened = checkpoint.open_run(run.path)
    except CheckpointError as error:
        said(error)
        opened = run  # somebody may have opened it before the damage
    assert ModelConfig.from_dict(opened.model_config.to_dict()) == opened.model_config
    assert TrainConfig.from_dict(opened.train_config.to_dict()) == opened.train_config
    try:
        model = opened.load_model().given(0)
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        with torch.no_grad():
            mu, _ = model.encode(torch.zeros(1, *opened.model_config.image_shape))
            model.decode_mean(mu)
    except CheckpointError as error:
        said(error)
    try:
        for row in opened.load_metrics():
            assert row["split"] in ("train", "test")
            assert all(f"{row[k]:.2f}" for k in checkpoint.METRIC_NAMES if k != "split")
    except CheckpointError as error:
        said(error)
    try:
        embedding = opened.load_embedding()
        if embedding is not None:
            table = embedding.table()
            assert {len(column) for column in table.values()} == {len(embedding)}
            assert embedding.mu.shape == (len(embedding), opened.model_config.latent_dim)
            assert np.isfinite(embedding.recon).all()
    except CheckpointError as error:
        said(error)


def attack_with(run: checkpoint.Run, name: str, attack: Attack, n: int, **options) -> None:
    path = run.path / name
    whole = path.read_bytes()

    def open_damaged(draw: Callable) -> None:
        path.write_bytes(attack(draw, whole))
        use_everything(run)

    try:
        fuzz(open_damaged, n, **options)
    finally:
        path.write_bytes(whole)


each_attack = pytest.mark.parametrize(
    ("name", "attack"), ATTACKS, ids=[f"{attack.__name__}-{name}" for name, attack in ATTACKS]
)


@each_attack
def test_a_damaged_run_is_used_or_refused(run, name, attack):
    attack_with(run, name, attack, n=40, derandomize=True)


@pytest.mark.slow
@each_attack
def test_a_damaged_run_is_used_or_refused_many_times(run, name, attack):
    attack_with(run, name, attack, n=2500)


def test_the_undamaged_run_is_used(run):
    assert checkpoint.open_run(run.path).load_embedding() is not None
    use_everything(run)
