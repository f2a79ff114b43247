"""A pair of ONNX files gives the numbers of the network that it was made of, and nothing else.

The files are written by the onnx package; what they should compute stands beside them in numpy.
Both packages are extras: without them the tests that need them are skipped.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import damaged, fuzz
from hostile_names import is_text
from hypothesis import strategies as st

from vae import cli, embed, formats
from vae.data import catalogue
from vae.formats.readers import onnx_pair
from vae.live import export
from vae.live.program import compile_module
from vae.live.recording import ProgramError
from vae.runs.checkpoint import CheckpointError

D, PIXELS, WIDTH = 3, 64, 5


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def weights() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"w": (PIXELS, WIDTH), "mu": (WIDTH, D), "logvar": (WIDTH, D), "out": (D, PIXELS)}
    return {
        name: (generator.normal(size=shape) / shape[0] ** 0.5).astype(np.float32)
        for name, shape in shapes.items()
    }


@pytest.fixture
def write(onnx, weights, tmp_path):
    """write() puts encoder.onnx and decoder.onnx into a folder; options spoil them."""
    helper, kinds = onnx.helper, onnx.TensorProto

    def model(name, nodes, constants, x, outputs, dtype, domain=""):
        np_type = {kinds.FLOAT: np.float32, kinds.DOUBLE: np.float64, kinds.INT64: np.int64}[dtype]
        graph = helper.make_graph(
            [helper.make_node(*node, domain=domain) for node in nodes],
            name,
            [helper.make_tensor_value_info("x", dtype, x)],
            [helper.make_tensor_value_info(o, dtype, None) for o in outputs],
            [onnx.numpy_helper.from_array(weights[c].astype(np_type), c) for c in constants],
        )
        opsets = [helper.make_opsetid("", 17)] + [helper.make_opsetid(d, 1) for d in [domain] if d]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def made(
        batch="N",
        x=(1, 8, 8),
        sigmoid=True,
        dtype=None,
        outputs=("mu", "logvar"),
        metadata=(),
        domain="",
    ) -> Path:
        dtype = dtype or kinds.FLOAT
        body = [("Flatten", ["x"], ["flat"]), ("MatMul", ["flat", "w"], ["a"])]
        body += [("Tanh", ["a"], ["h"])]
        body += [("MatMul", ["h", o.removesuffix("_")], [f"{o}_"]) for o in ("mu", "logvar")]
        body += [("Identity", [f"{o}_"], [o]) for o in ("mu", "logvar")]
        encoder = model("e", body, ("w", "mu", "logvar"), (batch, *x), outputs, dtype, domain)
        for node in encoder.graph.node:  # a weight and a result cannot share a name
            for i, name in enumerate(node.input):
                if name in ("mu", "logvar"):
                    node.input[i] = f"w_{name}"
        for tensor in encoder.graph.initializer:
            if tensor.name in ("mu", "logvar"):
                tensor.name = f"w_{tensor.name}"
        end = [("Sigmoid", ["l"], ["image"])] if sigmoid else [("Identity", ["l"], ["image"])]
        decoder = model(
            "d", [("MatMul", ["x", "out"], ["l"]), *end], ("out",), (batch, D), ("image",), dtype
        )
        for key, value in metadata:
            entry = decoder.metadata_props.add()
            entry.key, entry.value = key, value
        folder = tmp_path / "pair"
        folder.mkdir(exist_ok=True)
        (folder / onnx_pair.ENCODER).write_bytes(encoder.SerializeToString())
        (folder / onnx_pair.DECODER).write_bytes(decoder.SerializeToString())
        return folder

    return made


def images(n: int = 7) -> torch.Tensor:
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def computed(weights, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    h = np.tanh(x.reshape(len(x), -1) @ weights["w"])
    mu = h @ weights["mu"]
    return mu, h @ weights["logvar"], mu @ weights["out"]


def close(found: torch.Tensor, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch", ["N", 1, 4])
@pytest.mark.parametrize("sigmoid", [True, False])
def test_a_pair_gives_the_numbers_of_its_network(write, weights, batch, sigmoid):
    run = formats.open_run(write(batch, sigmoid=sigmoid))
    model, x = run.load_model(), images()
    wanted_mu, wanted_logvar, logits = computed(weights, x.numpy())
    mu, logvar = model.encode(x)
    close(mu, wanted_mu)
    close(logvar, wanted_logvar)
    close(model.decode(mu).flatten(1), logits)
    config = run.model_config
    assert (config.image_shape, config.latent_dim, config.likelihood) == ((1, 8, 8), D, "bernoulli")
    assert ("means" if sigmoid else "logits") in run.card.likelihood
    assert (run.name, run.card.format, model.n_parameters) == ("pair", "ONNX", 0)


def test_precision_shape_order_and_likelihood_may_be_others(write, onnx, weights):
    said = [("likelihood", "gaussian"), ("logvar_x", "-2"), ("image_shape", "1x4x16")]
    folder = write(x=(PIXELS,), dtype=onnx.TensorProto.DOUBLE, outputs=("logvar", "mu"))
    model = formats.open_run(folder).load_model()
    assert model.config.image_shape == (1, 8, 8)  # a square, where only pixels are counted
    close(model.encode(images())[0], computed(weights, images().numpy())[0])
    model = formats.open_run(write(x=(PIXELS,), sigmoid=False, metadata=said)).load_model()
    assert (model.config.image_shape, model.config.likelihood) == ((1, 4, 16), "gaussian")
    assert float(model.likelihood.logvar_x) == pytest.approx(-2)


def test_either_file_names_the_pair_and_the_list_has_it(write, capsys, monkeypatch):
    folder = write()
    for path in (folder / "encoder.onnx", folder / "decoder.onnx"):
        assert formats.open_run(path).model_config == formats.open_run(folder).model_config
    runs, broken = formats.list_runs(folder.parent)
    assert ([run.name for run in runs], broken) == (["pair"], {})
    before = runs[0].fingerprint()
    shutil.copy(folder / "decoder.onnx", folder / "spare")
    write(metadata=[("author", "somebody")])
    assert formats.open_run(folder).fingerprint() != before
    assert cli.main(["evaluate", str(folder), "--dataset", "digits", "--limit", "9"]) == 0
    found = embed(formats.open_run(folder).load_model(), catalogue.load("digits").first(9))
    assert f"{found.means()['kl']:.4f}" in capsys.readouterr().out


def test_what_needs_a_gradient_or_a_browser_says_so(write):
    model = formats.open_run(write()).load_model()
    z = torch.zeros(2, D, requires_grad=True)
    with pytest.raises(ValueError, match="gradient of decode, which this model does not give"):
        model.decode(z).sum().backward()
    with pytest.raises(ProgramError, match="run by onnxruntime, which has no browser version"):
        compile_module(model.decoder, (D,))
    with pytest.raises(ProgramError, match="onnxruntime"):
        export.show(model, catalogue.load("digits").first(5))


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        formats.open_run(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_in_other_files_are_refused(write, onnx, tmp_path):
    folder = write()
    (tmp_path / "secret").write_bytes(bytes(4 * PIXELS * D))
    model = onnx.load(folder / "decoder.onnx")
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../secret"
    whole = model.SerializeToString()
    (folder / "decoder.onnx").write_bytes(whole)
    assert "keeps weights in another file" in refused(folder)
    # In a branch of an If inside the network, too.
    outer = onnx.helper.make_node("If", ["x"], ["image"], then_branch=model.graph)
    del outer.attribute[1:]
    nested = onnx.load(folder / "encoder.onnx")
    nested.graph.node.append(outer)
    (folder / "decoder.onnx").write_bytes(nested.SerializeToString())
    assert "keeps weights in another file" in refused(folder)


def test_loops_custom_operations_and_other_types_are_refused(write, onnx):
    folder = write()
    model = onnx.load(folder / "decoder.onnx")
    model.graph.node.append(onnx.helper.make_node("Loop", ["x"], ["y"]))
    (folder / "decoder.onnx").write_bytes(model.SerializeToString())
    assert "holds the operation Loop; it may never end" in refused(folder)
    message = refused(write(domain="my.ops"))
    assert "encoder.onnx cannot be loaded" in message
    assert "my.ops" in message or "not a registered" in message
    assert "3 outputs" not in refused(write(outputs=("mu",)))
    assert "1 input and 2 outputs" in refused(write(outputs=("mu",)))


def test_damage_anywhere_is_one_sentence(write):
    folder = write()
    whole = (folder / "encoder.onnx").read_bytes()
    for end in range(0, len(whole), max(1, len(whole) // 40)):
        (folder / "encoder.onnx").write_bytes(whole[:end])
        assert str(folder) in refused(folder)
    generator = np.random.default_rng(1)
    said = []
    for _ in range(12):
        changed = bytearray(whole)
        for place in generator.integers(0, len(whole), 4):
            changed[place] = generator.integers(256)
        (folder / "encoder.onnx").write_bytes(bytes(changed))
        try:
            formats.open_run(folder)
        except CheckpointError as error:
            said.append(str(error))
    assert said
    assert not any("\n" in message for message in said)


@pytest.mark.slow
def test_a_damaged_pair_is_used_or_refused_many_times(write):
    folder = write()
    whole = {name: (folder / name).read_bytes() for name in (onnx_pair.ENCODER, onnx_pair.DECODER)}

    def open_damaged(draw: Callable) -> None:
        for name, content in whole.items():
            changed = draw(st.booleans())
            (folder / name).write_bytes(damaged(draw, content) if changed else content)
        sentence = ""
        try:
            run = formats.open_run(folder)
            model = run.load_model()
            with torch.no_grad():
                mu, logvar = model.encode(torch.zeros(1, *run.model_config.image_shape))
                model.decode_mean(mu)
            assert mu.shape == logvar.shape == (1, run.model_config.latent_dim)
        except CheckpointError as error:
            sentence = str(error)
        assert is_text(sentence)

    fuzz(open_damaged, 300)


def test_half_a_pair_is_told_what_is_missing(tmp_path):
    (tmp_path / "encoder.onnx").write_bytes(b"x")
    for path in (tmp_path, tmp_path / "encoder.onnx"):
        assert "there is no decoder.onnx beside it" in refused(path)


@pytest.mark.parametrize(
    "data", [b"", b"\x00", b"not a network at all", b"\x08" * 99, b"\xff" * 99]
)
def test_what_is_no_onnx_file_is_refused_before_it_is_loaded(tmp_path, data):
    with pytest.raises(CheckpointError, match="damaged or no ONNX file"):
        onnx_pair._check(tmp_path / "encoder.onnx", data)


def test_nesting_without_end_is_refused(tmp_path):
    data = b""
    for _ in range(40):  # a graph, in an attribute, in a node, in a graph
        for key in (b"\x32", b"\x2a", b"\x0a"):
            data = key + _length(len(data)) + data
    with pytest.raises(CheckpointError, match="nested more than"):
        onnx_pair._check(tmp_path / "encoder.onnx", b"\x3a" + _length(len(data)) + data)


def _length(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def test_without_onnxruntime_the_sentence_says_how_to_get_it(tmp_path, monkeypatch):
    for name in (onnx_pair.ENCODER, onnx_pair.DECODER):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "pip install onnxruntime" in refused(tmp_path)
    _, broken = formats.list_runs(tmp_path.parent)
    assert "pip install onnxruntime" in broken[tmp_path.name]


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_decoder_alone_is_opened_with_the_moments_of_its_posterior(onnx, tmp_path, channels_last):
    helper, kinds = onnx.helper, onnx.TensorProto
    W = np.random.default_rng(0).normal(size=(2, 3 * 64)).astype(np.float32)
    shape = [-1, 8, 8, 3] if channels_last else [-1, 3, 8, 8]
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["z", "W"], ["l"]),
            helper.make_node("Sigmoid", ["l"], ["flat"]),
            helper.make_node("Reshape", ["flat", "shape"], ["image"]),
        ],
        "d",
        [helper.make_tensor_value_info("z", kinds.FLOAT, ("N", 2))],
        [helper.make_tensor_value_info("image", kinds.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(W, "W"),
            onnx.numpy_helper.from_array(np.array(shape), "shape"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    file = tmp_path / "generator.onnx"
    file.write_bytes(
        helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    )
    run = formats.open_run(file)
    assert "no encoder" in run.card.no_encoder
    model, z = run.load_model(), torch.tensor([[1.0, -0.5], [-0.3, 0.8]])
    assert model.config.image_shape == (3, 8, 8)
    wanted = 1 / (1 + np.exp(-(z.numpy() @ W)))
    wanted = wanted.reshape(2, *shape[1:])
    wanted = wanted.transpose(0, 3, 1, 2) if channels_last else wanted
    close(model.decode_mean(z), wanted)
    mu, _ = model.encode(model.decode_mean(z))
    np.testing.assert_allclose(mu.numpy(), z.numpy(), atol=0.2)  # the posterior lies where it was


def test_an_encoder_alone_is_refused_with_what_it_lacks(write):
    folder = write()
    (folder / onnx_pair.DECODER).unlink()
    with pytest.raises(CheckpointError, match=r"decoder\.onnx"):
        formats.open_run(folder)
