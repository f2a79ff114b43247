"""What crosses to the browser as bytes (pack) and as plain values beside them (panel)."""

import base64
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from vae.analysis import axes
from vae.analysis.embedding import Embedding, embed
from vae.config import LIKELIHOODS, ModelConfig
from vae.core import gaussian
from vae.core.model import VAE
from vae.data.dataset import Dataset
from vae.live import pack, panel
from vae.live.constants import MOST_SAMPLES
from vae.live.recording import NonFiniteWeights, UnsupportedLayer


def read(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays by the format that pack.py's docstring states, bytes as they lie."""
    assert data[:4] == b"ELBO"
    (length,) = struct.unpack("<I", data[4:8])
    header = json.loads(data[8 : 8 + length].decode())
    arrays = {}
    for name, entry in header["arrays"].items():
        dtype = np.dtype(entry["dtype"]).newbyteorder("<")
        count, start = int(np.prod(entry["shape"])), 8 + length + entry["offset"]
        arrays[name] = np.frombuffer(data, dtype, count, start).reshape(entry["shape"])
    return header, arrays


def model_of(likelihood: str = "bernoulli", latent_dim: int = 2, **more) -> VAE:
    return VAE(ModelConfig((1, 4, 5), latent_dim, hidden=(6,), likelihood=likelihood, **more))


def embedding_of(mu: np.ndarray, logvar: np.ndarray, seed: int = 0) -> Embedding:
    N, D = mu.shape
    values = np.zeros(N, dtype=np.float32)
    return Embedding(
        dataset="made up",
        split="test",
        n_samples=16,
        seed=seed,
        class_names=("a", "b"),
        mu=mu.astype(np.float32),
        logvar=logvar.astype(np.float32),
        kl_per_dim=np.zeros((N, D), dtype=np.float32),
        recon=values,
        recon_stderr=values,
        recon_at_mu=values,
        labels=np.arange(N) % 2,
    )


# The format

ARRAYS = {
    "floats": np.array([[1.5, -2.25, 1e-30], [np.inf, -0.0, 3e38]], dtype=np.float32),
    "halves": np.array([1.5, 65504, 6e-8], dtype=np.float16),
    "bytes": np.arange(13, dtype=np.uint8).reshape(13, 1, 1),
    "whole": np.array([-(2**31), 7, 2**31 - 1], dtype=np.int32),
    "nothing": np.empty((0, 3), dtype=np.float32),
}


def test_every_array_comes_back_as_it_was():
    header, arrays = read(pack.pack({"a": 1, "ä": ["π", None]}, ARRAYS))
    assert (header["a"], header["ä"]) == (1, ["π", None])
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(arrays[name], array)


def test_every_array_begins_at_a_multiple_of_8_whatever_stands_before_it():
    for length in range(9):
        data = pack.pack({"text": "x" * length}, ARRAYS)
        start = 8 + struct.unpack("<I", data[4:8])[0]
        assert start % 8 == 0
        offsets = [entry["offset"] for entry in pack.header_of(data)["arrays"].values()]
        assert [offset % 8 for offset in offsets] == [0] * len(ARRAYS)


def test_bytes_are_little_endian_and_in_row_order_whatever_the_array_is():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = pack.pack({}, {"a": array})
    assert plain.endswith(struct.pack("<6f", *range(6)))
    assert pack.pack({}, {"a": array.astype(">f4")}) == plain
    assert pack.pack({}, {"a": np.asfortranarray(array)}) == plain
    assert pack.pack({}, {"a": np.repeat(array, 2, axis=1)[:, ::2]}) == plain


def test_the_header_can_be_read_alone():
    data = pack.pack({"latent_dim": 3}, ARRAYS)
    assert pack.header_of(data) == read(data)[0]


def test_the_id_names_the_content():
    array = np.arange(6, dtype=np.float32)
    header = {"a": 1}
    first = pack.header_of(pack.pack(header, {"x": array}))["id"]
    assert pack.header_of(pack.pack({"a": 1}, {"x": array.copy()}))["id"] == first
    changed = array.copy()
    changed[5] = 5.000001
    others = [
        pack.pack({"a": 2}, {"x": array}),
        pack.pack({}, {"x": array}),
        pack.pack(header, {"y": array}),
        pack.pack(header, {"x": changed}),
        pack.pack(header, {"x": array.reshape(2, 3)}),
        pack.pack(header, {"x": array.view(np.int32)}),
    ]
    ids = {first, *(pack.header_of(other)["id"] for other in others)}
    assert len(ids) == len(others) + 1
    assert header == {"a": 1}  # the caller's own is left alone


def test_an_id_that_is_given_is_kept():
    assert pack.header_of(pack.pack({"id": "mine"}, ARRAYS))["id"] == "mine"


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        pack.pack({"a": float("nan")}, {})


# A model


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_models_pack_says_all_that_its_terms_need(likelihood):
    model = model_of(likelihood, latent_dim=3)
    if likelihood == "gaussian":
        nn.init.constant_(model.likelihood.logvar_x, -1.25)
    header, arrays = read(pack.model_pack(model, "sprites"))
    assert header["latent_dim"] == 3
    assert header["image_shape"] == [1, 4, 5]
    assert header["likelihood"] == likelihood
    assert header["logvar_x"] == (-1.25 if likelihood == "gaussian" else 0.0)
    for name, outputs in (("decoder", [[1, 4, 5]]), ("encoder", [[3], [3]])):
        assert header[name]["output_shapes"] == outputs
        assert arrays[name].dtype == np.float32
        assert arrays[name].shape == (header[name]["floats"],)
    assert sum(map(len, arrays.values())) >= model.n_parameters - (likelihood == "gaussian")


@pytest.mark.parametrize(
    ("dataset", "image_shape", "way"),
    [
        ("digits", (1, 8, 8), "digits"),
        ("mnist", (1, 28, 28), "mnist"),
        ("fashion-mnist", (1, 28, 28), "mnist"),
        ("somebody's", (1, 28, 28), "mnist"),
        ("sprites", (1, 32, 32), "plane"),
        ("somebody's", (1, 9, 7), "plane"),
    ],
)
def test_a_drawing_is_prepared_as_the_images_of_its_data_set_were(dataset, image_shape, way):
    model = VAE(ModelConfig(image_shape, hidden=()))
    assert pack.header_of(pack.model_pack(model, dataset))["drawing"] == way


class Foreign(nn.Module):
    """A layer that no rule knows."""

    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_an_encoder_that_the_browser_cannot_run_is_left_out_alone():
    model = model_of()
    whole = read(pack.model_pack(model, "digits"))
    model.encoder.body.append(Foreign())
    header, arrays = read(pack.model_pack(model, "digits"))
    assert header["encoder"] is None
    assert list(arrays) == ["decoder"]
    assert header["decoder"] == whole[0]["decoder"]
    np.testing.assert_array_equal(arrays["decoder"], whole[1]["decoder"])


def test_a_decoder_that_the_browser_cannot_run_is_named():
    model = model_of()
    model.decoder.body.append(Foreign())
    with pytest.raises(UnsupportedLayer, match="Foreign"):
        pack.model_pack(model, "digits")


@pytest.mark.parametrize(
    "name", ["decoder.body.0.weight", "encoder.mu.bias", "likelihood.logvar_x"]
)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(name, value):
    model = model_of("gaussian")
    model.get_parameter(name).data.fill_(value)
    with pytest.raises(NonFiniteWeights, match=name.rpartition(".")[2]):
        pack.model_pack(model, "digits")


def test_half_precision_is_used_for_the_part_that_it_can_hold():
    model = model_of()
    exact = read(pack.model_pack(model, "digits"))[1]
    halves = read(pack.model_pack(model, "digits", half=True))[1]
    for name in ("decoder", "encoder"):
        assert halves[name].dtype == np.float16
        np.testing.assert_allclose(halves[name], exact[name], rtol=2**-11, atol=2**-24)
    with torch.no_grad():
        model.decoder.body[0].weight[0, 0] = 65520  # the first that float16 rounds to infinity
    mixed = read(pack.model_pack(model, "digits", half=True))[1]
    assert (mixed["decoder"].dtype, mixed["encoder"].dtype) == (np.float32, np.float16)
    assert 65520 in mixed["decoder"]


def test_making_a_pack_leaves_the_model_as_it_was():
    model = model_of().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pack.model_pack(model, "digits", half=True)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


# Points


def test_a_points_pack_holds_mu_logvar_and_what_is_asked_for():
    images = torch.arange(3 * 20, dtype=torch.uint8).reshape(3, 1, 4, 5)
    data = Dataset("made up", "test", images, torch.tensor([0, 1, 0]), ("a", "b"))
    embedding = embed(model_of(), data)
    _, arrays = read(pack.points_pack(embedding))
    assert list(arrays) == ["mu", "logvar"]
    np.testing.assert_array_equal(arrays["mu"], embedding.mu)
    np.testing.assert_array_equal(arrays["logvar"], embedding.logvar)
    labels = embedding.labels.astype(np.int32)
    _, arrays = read(pack.points_pack(embedding, images.numpy(), labels=labels))
    np.testing.assert_array_equal(arrays["images"], images.numpy())
    np.testing.assert_array_equal(arrays["labels"], [0, 1, 0])


# What stands beside the packs


@pytest.mark.parametrize("scale", [0.0, 1e-4, 1.0, 30.0])
def test_the_sliders_cover_every_point(scale):
    generator = np.random.default_rng(0)
    mu, logvar = scale * generator.normal(size=(2, 500, 3))
    embedding = embedding_of(mu, logvar)
    sigma = panel.sigma_of(embedding)
    covered = panel.ranges(embedding)
    assert len(covered) == 3
    for d, found in enumerate(covered):
        assert found["mu"][0] <= embedding.mu[:, d].min()
        assert found["mu"][1] >= embedding.mu[:, d].max()
        assert found["mu"][0] <= -3  # the prior is reached too
        assert found["mu"][1] >= 3
        assert 0 < found["sigma"][0] <= sigma[:, d].min()
        assert found["sigma"][1] >= max(1, sigma[:, d].max())


@pytest.mark.parametrize("logvar", [-1e4, -300.0, 0.0, 88.0, 300.0, 1e4])
def test_a_diverged_sigma_is_told_as_one_that_a_slider_can_hold(logvar):
    embedding = embedding_of(np.zeros((2, 2)), np.full((2, 2), logvar))
    told = {"ranges": panel.ranges(embedding), "point": panel.point(embedding, 1, "k")}
    text = json.dumps(told, allow_nan=False)
    low, high = json.loads(text)["ranges"][0]["sigma"]
    assert 0 < low <= told["point"]["sigma"][0] <= high < float("inf")


def test_a_points_noise_is_that_behind_its_stored_terms():
    D, seed = 5, 3
    embedding = embedding_of(np.zeros((4, D)), np.zeros((4, D)), seed)
    told = panel.point(embedding, 2, "k")
    noise = np.frombuffer(base64.b64decode(told["eps"]), "<f4").reshape(MOST_SAMPLES, D)
    stored = gaussian.noise_of_points(range(4), embedding.n_samples, D, seed)[:, 2]
    np.testing.assert_array_equal(noise[: embedding.n_samples], stored)


def test_a_point_is_told_with_its_q_its_label_and_its_image():
    generator = np.random.default_rng(1)
    embedding = embedding_of(*generator.normal(size=(2, 4, 2)))
    image = generator.integers(256, size=(1, 4, 5), dtype=np.uint8)
    told = panel.point(embedding, 3, "run", image)
    assert told["id"] == {"run": "run", "data": "made up", "split": "test", "index": 3}
    assert told["label"] == "b"
    assert told["mu"] == pytest.approx(embedding.mu[3])
    assert told["sigma"] == pytest.approx(np.exp(embedding.logvar[3] / 2))
    assert base64.b64decode(told["x"]) == image.tobytes()
    assert panel.point(embedding, 3, "run")["x"] is None
    json.dumps(told, allow_nan=False)


def test_with_many_dimensions_the_noise_stays_at_home():
    assert "eps" in panel.point(embedding_of(*np.zeros((2, 1, 64))), 0, "k")
    assert "eps" not in panel.point(embedding_of(*np.zeros((2, 1, 65))), 0, "k")


def test_the_plane_names_its_dimensions_unless_they_are_mixed():
    chosen = axes.dimensions(3, (2, 0))
    assert panel.plane(chosen) == {
        "origin": [0, 0, 0],
        "directions": [[0, 0, 1], [1, 0, 0]],
        "dims": [2, 0],
    }
    mixed = replace(chosen, directions=np.array([[0.6, 0.8, 0], [0.8, -0.6, 0]]))
    assert panel.plane(mixed)["dims"] is None
    assert panel.plane(axes.Layout("t-SNE", np.zeros((4, 2)))) is None
