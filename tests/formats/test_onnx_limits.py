"""What an ONNX graph may take: memory and time, of a process that is not ours."""

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

from vae import formats
from vae.formats.readers import onnx_child, onnx_process
from vae.runs.checkpoint import CheckpointError

FAR = 9 * 10**8  # numbers, of four bytes each


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture
def decoder(onnx, tmp_path):
    """decoder(nodes, constants) is the file of z (B, 2) -> images, after some more nodes on "e"."""
    helper, kinds = onnx.helper, onnx.TensorProto

    def made(nodes=(), constants=None) -> Path:
        W = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
        given = {"W": W, "shape": np.array([-1, 1, 8, 8]), "none": np.zeros(1, np.float32)}
        body = [("MatMul", ["z", "W"], "l"), *nodes]
        body += [("Add", ["l", "e" if nodes else "none"], "s"), ("Reshape", ["s", "shape"], "r")]
        body += [("Sigmoid", ["r"], "image")]
        graph = helper.make_graph(
            [helper.make_node(op, reads, [gives]) for op, reads, gives in body],
            "decoder",
            [helper.make_tensor_value_info("z", kinds.FLOAT, ("N", 2))],
            [helper.make_tensor_value_info("image", kinds.FLOAT, ("N", 1, 8, 8))],
            [onnx.numpy_helper.from_array(v, k) for k, v in (given | (constants or {})).items()],
        )
        opsets = [helper.make_opsetid("", 17)]
        path = tmp_path / "decoder.onnx"
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        path.write_bytes(model.SerializeToString())
        return path

    return made


def constants(**values) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in values.items()}


SUM = [("ReduceSum", ["big"], "e")]
GREEDY = {
    "ConstantOfShape": ([("ConstantOfShape", ["n"], "big"), *SUM], constants(n=[FAR])),
    "Expand": (
        [("ReduceSum", ["z"], "one"), ("Expand", ["one", "n"], "big"), *SUM],
        constants(n=[FAR]),
    ),
    "Tile": (
        [("ReduceSum", ["z"], "one"), ("Tile", ["one", "n"], "big"), *SUM],
        constants(n=[1, FAR]),
    ),
    "Range": (
        [("Range", ["from", "to", "by"], "big"), *SUM],
        constants(**{"from": np.float32(0), "to": np.float32(FAR), "by": np.float32(1)}),
    ),
}


@pytest.mark.parametrize("kind", GREEDY)
def test_a_small_graph_that_asks_for_much_memory_is_refused(decoder, kind):
    with pytest.raises(CheckpointError, match="more than 2,000 MB") as caught:
        formats.open_run(decoder(*GREEDY[kind])).load_model()
    assert "\n" not in str(caught.value)


def test_a_graph_that_takes_long_is_ended(decoder, monkeypatch):
    monkeypatch.setattr(onnx_child, "MOST_SECONDS", 2.0)
    n = 3000  # 200 products of 54 billion each
    nodes = [("ConstantOfShape", ["n"], "zero"), ("ReduceSum", ["z"], "one")]
    nodes += [("Add", ["zero", "one"], "m0")]
    nodes += [("MatMul", [f"m{i}", f"m{i}"], f"m{i + 1}") for i in range(200)]
    nodes += [("ReduceSum", ["m200"], "e")]
    with pytest.raises(CheckpointError, match="not done after 2 s"):
        formats.open_run(decoder(nodes, constants(n=[n, n])))


def test_a_graph_of_too_many_outputs_is_not_followed(onnx, decoder):
    path = decoder()
    model = onnx.load(path)
    for i in range(101):
        value = onnx.helper.make_tensor_value_info(f"o{i}", onnx.TensorProto.FLOAT, None)
        model.graph.output.append(value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(CheckpointError, match="1 inputs and 102 outputs; at most 100"):
        formats.open_run(path)


def test_a_network_whose_process_has_ended_begins_another(decoder):
    network, z = onnx_process.Network(decoder().read_bytes()), np.ones((3, 2), np.float32)
    before = network.run(z)[0]
    process = network._process
    assert process is not None
    process.kill()
    process.wait()
    assert (network.run(z)[0] == before).all()


def test_at_most_so_many_processes_live(decoder, monkeypatch):
    monkeypatch.setattr(onnx_process, "MOST_PROCESSES", 2)
    data = decoder().read_bytes()
    kept = [onnx_process.Network(data) for _ in range(4)]
    z = np.ones((1, 2), np.float32)
    answers = [network.run(z)[0] for network in kept]
    assert all((answer == answers[0]).all() for answer in answers)
    processes = [network._process for network in kept if network._process is not None]
    assert len(processes) == 2
    del kept
    assert all(process.poll() is not None for process in processes)


def test_a_network_can_be_sent_and_not_copied(decoder):
    network = onnx_process.Network(decoder().read_bytes())
    z = np.ones((2, 2), np.float32)
    other = pickle.loads(pickle.dumps(network))
    assert other.inputs == network.inputs
    assert other._process is None
    assert (other.run(z)[0] == network.run(z)[0]).all()
    with pytest.raises(TypeError, match="no browser version"):
        copy.deepcopy(network)
