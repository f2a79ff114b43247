import copy
import math

import pytest
import torch
from fuzzing import memory_below
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vae.config import ACTIVATIONS, FAMILIES, LIKELIHOODS, ModelConfig
from vae.core.likelihood import make_likelihood
from vae.core.model import VAE
from vae.errors import UserError

HIDDEN = {"mlp": (8, 6), "conv": (4, 5)}


def make(family: str, image_shape=(1, 9, 6), latent_dim=2, seed=0, **others) -> VAE:
    others = {"hidden": HIDDEN[family], **others}
    config = ModelConfig(image_shape, latent_dim, family, **others)
    return VAE(config, torch.Generator().manual_seed(seed))


def images(B: int, shape=(1, 9, 6)) -> torch.Tensor:
    return torch.rand(B, *shape, generator=torch.Generator().manual_seed(1))


# Shapes


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(
    C=st.sampled_from([1, 3]),
    H=st.integers(1, 33),
    W=st.integers(1, 33),
    family=st.sampled_from(FAMILIES),
    depth=st.integers(1, 4),
)
def test_images_of_any_size_are_decoded_to_exactly_their_size(C, H, W, family, depth):
    model = make(family, (C, H, W), latent_dim=3, hidden=(3, 4, 5, 6)[:depth])
    mu, logvar = model.encode(images(2, (C, H, W)))
    assert mu.shape == logvar.shape == (2, 3)
    assert model.decode(mu).shape == (2, C, H, W)
    assert model.decode_mean(mu).shape == (2, C, H, W)


@pytest.mark.parametrize("side", range(1, 34))
def test_square_images_of_every_side_are_decoded_to_exactly_their_size(side):
    model = make("conv", (1, side, side), hidden=(2, 2, 2))
    assert model.decode(torch.zeros(1, 2)).shape == (1, 1, side, side)


@pytest.mark.parametrize("family", FAMILIES)
def test_decode_accepts_any_leading_dimensions(family):
    model = make(family)
    z = torch.randn(4, 5, 2, generator=torch.Generator().manual_seed(0))
    out = model.decode(z)
    assert out.shape == (4, 5, 1, 9, 6)
    for s in range(4):
        torch.testing.assert_close(out[s], model.decode(z[s]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.decode(z[0, 0]), out[0, 0], rtol=1e-5, atol=1e-6)
    assert model.decode(z[None]).shape == (1, 4, 5, 1, 9, 6)
    assert model.decode(z[:0]).shape == (0, 5, 1, 9, 6)


@pytest.mark.parametrize("shape", [(1, 6, 9), (3, 9, 6), (1, 9, 7), (1, 54), (54,), (1, 1, 9, 6)])
@pytest.mark.parametrize("family", FAMILIES)
def test_images_of_another_shape_are_refused_with_both_sizes(family, shape):
    given_size = "x".join(map(str, shape))
    with pytest.raises(ValueError, match=rf"^the images are {given_size}, but .* reads 1x9x6 "):
        make(family).encode(torch.zeros(4, *shape))


@pytest.mark.parametrize("D", [1, 3])
def test_a_latent_vector_of_another_dimension_is_refused_with_both(D):
    with pytest.raises(ValueError, match=f"^z has {D} dimensions, but this model has 2$"):
        make("mlp").decode(torch.zeros(4, D))


# What is computed


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_decode_mean_is_the_likelihoods_mean_as_pixels(family, likelihood):
    model = make(family, likelihood=likelihood)
    for parameter in model.decoder.parameters():
        parameter.data.mul_(5)
    z = 5 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    pixels = model.decode_mean(z)
    expected = make_likelihood(likelihood).mean(model.decode(z))
    assert (expected < 0).any() == (likelihood == "gaussian")
    torch.testing.assert_close(pixels, expected.clip(0, 1))


def test_a_linear_vae_is_two_matrices():
    model = make("mlp", hidden=())
    x, z = images(4), torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == 3  # mu, logvar and the decoder
    mu, logvar = model.encode(x)
    flat = x.reshape(4, 54)
    torch.testing.assert_close(mu, flat @ model.encoder.mu.weight.T + model.encoder.mu.bias)
    torch.testing.assert_close(
        logvar, flat @ model.encoder.logvar.weight.T + model.encoder.logvar.bias
    )
    decoder = next(m for m in model.decoder.modules() if isinstance(m, nn.Linear))
    torch.testing.assert_close(
        model.decode(z), (z @ decoder.weight.T + decoder.bias).reshape(4, 1, 9, 6)
    )


def test_hidden_layers_are_mirrored_and_activated():
    model = make("mlp", hidden=(8, 6), activation="tanh")
    encoder, decoder = ([type(m) for m in part.body] for part in (model.encoder, model.decoder))
    assert encoder == [nn.Flatten, nn.Linear, nn.Tanh, nn.Linear, nn.Tanh]
    assert decoder == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear, nn.Unflatten]
    shapes = [tuple(p.shape) for p in model.parameters() if p.ndim == 2]
    assert shapes == [(8, 54), (6, 8), (2, 6), (2, 6), (6, 2), (8, 6), (54, 8)]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_activation_makes_a_model_of_its_own(family):
    x, by_name = images(3), {}
    for name in ACTIVATIONS:
        by_name[name] = make(family, activation=name).encode(x)[0]
        kind = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh}[name]
        assert any(isinstance(m, kind) for m in make(family, activation=name).modules())
    values = torch.stack(list(by_name.values()))
    assert (torch.pdist(values.flatten(1)) > 1e-4).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_sampled_and_nothing_hangs_on_the_mode(family):
    model, x = make(family), images(3)
    training = model.train().encode(x)
    evaluating = model.eval().encode(x)
    assert all(torch.equal(a, b) for a, b in zip(training, evaluating, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_is_encoded_without_regard_to_its_companions(family):
    model, x = make(family), images(5)
    together = model.encode(x)
    for i in range(5):
        for alone, whole in zip(model.encode(x[i : i + 1]), together, strict=True):
            torch.testing.assert_close(alone[0], whole[i], rtol=1e-5, atol=1e-6)


def test_n_parameters_and_device_are_those_of_the_weights():
    model = make("mlp", hidden=(8,), likelihood="gaussian")
    # 54-8, twice 8-2, 2-8, 8-54, each with its biases, and the pixels' variance.
    assert model.n_parameters == 55 * 8 + 2 * 9 * 2 + 3 * 8 + 9 * 54 + 1
    assert model.device == torch.device("cpu")
    with torch.device("meta"):
        assert make("mlp").device.type == "meta"


# Initial weights


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_depend_on_the_generator_alone(family):
    torch.manual_seed(1)
    first = make(family, seed=3).state_dict()
    torch.manual_seed(2)
    again = make(family, seed=3).state_dict()
    other = make(family, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_without_a_generator_the_seed_is_zero():
    config = ModelConfig((1, 9, 6))
    ours, seeded = VAE(config), VAE(config, torch.Generator().manual_seed(0))
    pairs = zip(ours.parameters(), seeded.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_weights_have_the_distribution_of_pytorchs_default(family):
    model = make(family, (3, 16, 16), latent_dim=16, hidden=(32, 64), seed=5)
    torch.manual_seed(6)
    n_layers = 0
    for layer in model.modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            continue
        n_layers += 1
        fan_in, _ = nn.init._calculate_fan_in_and_fan_out(layer.weight)
        bound = 1 / math.sqrt(fan_in)  # uniform within: the documentation of the three layers
        default = copy.deepcopy(layer)
        default.reset_parameters()
        for name in ("weight", "bias"):
            ours, theirs = getattr(layer, name), getattr(default, name)
            n = ours.numel()
            assert max(ours.abs().max(), theirs.abs().max()) <= bound
            for values in (ours, theirs):
                # The variance of a uniform is bound^2 / 3, and its fourth moment bound^4 / 5.
                error = math.sqrt((1 / 5 - 1 / 9) / n) * bound**2
                assert abs(values.square().mean().item() - bound**2 / 3) < 5 * error
                assert abs(values.mean().item()) < 5 * bound / math.sqrt(3 * n)
    assert n_layers == 7


@pytest.mark.parametrize("n_classes", [0, 10])
def test_the_footprint_counts_what_every_layer_gives_of_one_image(n_classes):
    mlp = VAE(ModelConfig((1, 4, 4), hidden=(8,), latent_dim=3, n_classes=n_classes))
    # Flat image, layer and activation, two heads; layer and activation, image, in its shape.
    assert mlp.footprint == 1 + (16 + n_classes + 8 + 8 + 3 + 3) + (8 + 8 + 16 + 16)
    conv = VAE(ModelConfig((1, 4, 4), family="conv", hidden=(5,), n_classes=n_classes))
    assert conv.footprint == 1 + (20 + 20 + 20 + 2 + 2) + (20 + 20 + 20 + 16)
    assert conv.given(0).footprint == conv.footprint


def test_the_footprint_is_known_before_anything_is_allocated():
    with torch.device("meta"):
        model = VAE(ModelConfig((1, 1024, 1024), family="conv", hidden=(16384,)))
    with memory_below(20):
        assert model.footprint > 2**33
        with pytest.raises(UserError, match="so take fewer or narrower layers"):
            model.check_footprint()


def test_looking_at_the_footprint_leaves_batch_norm_as_it_was():
    body = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4))
    model = VAE(ModelConfig((1, 4, 4), hidden=(8,)))
    model.encoder.body = body
    model.encoder.mu, model.encoder.logvar = nn.Linear(4, 2), nn.Linear(4, 2)
    before = {name: value.clone() for name, value in model.train().state_dict().items()}
    assert model.footprint > 1
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
