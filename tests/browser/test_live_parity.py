"""program.js, run by Chromium, gives what torch gives."""

import base64
import copy
import math
import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from playwright.sync_api import Page
from torch import Tensor, nn

from vae.checkpoint import open_run
from vae.config import ACTIVATIONS, FAMILIES, LIKELIHOODS, ModelConfig
from vae.datasets import describe, load, to_unit
from vae.gaussian import kl_to_standard_normal
from vae.likelihood import make_likelihood
from vae.live import program
from vae.live.program import Program, compile_module
from vae.model import VAE

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(program.__file__).with_name("program.js").read_text(encoding="utf-8")
INPUTS = 200
MEAN_IMAGE, MU_LOGVAR, NATS = 1e-5, 1e-4, 1e-3  # how far apart the two may be

HARNESS = """
async source => {
    const blob = new Blob([source], {type: "text/javascript"});
    window.live = await import(URL.createObjectURL(blob));
    window.floats = text =>
        new Float32Array(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
    window.text = values => {
        const bytes = new Uint8Array(Float64Array.from(values).buffer);
        let binary = "";
        for (let i = 0; i < bytes.length; i += 4096) {
            binary += String.fromCharCode(...bytes.subarray(i, i + 4096));
        }
        return btoa(binary);
    };
    // All outputs for all inputs, a few inputs at a time.
    window.outputs = (header, weights, input, batch) => {
        const runner = new live.Runner(header, weights, batch);
        const size = header.sizes[0];
        const whole = header.outputs.map(
            register => new Float32Array(input.length / size * header.sizes[register]));
        for (let at = 0; at < input.length / size; at += batch) {
            const count = Math.min(batch, input.length / size - at);
            runner.run(input.subarray(at * size, (at + count) * size), count).forEach(
                (values, i) => whole[i].set(values, at * header.sizes[header.outputs[i]]));
        }
        return whole;
    };
}
"""


@pytest.fixture(scope="module")
def page(browser) -> Iterator[Page]:
    context = browser.new_context()
    page = context.new_page()
    page.evaluate(HARNESS, SOURCE)
    yield page
    context.close()


def text(values: Tensor | np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def numbers(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float64)


def run(page: Page, program: Program, x: Tensor) -> list[Tensor]:
    """The program's outputs in the browser, the same whether run one by one or three at a time."""
    alone, together = (
        page.evaluate(
            """([header, weights, input, batch]) =>
                outputs(header, floats(weights), floats(input), batch).map(text)""",
            [program.header(), text(program.weights), text(x), batch],
        )
        for batch in (1, 3)
    )
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(numbers(one), numbers(other), rtol=1e-6, atol=1e-6)
    return [
        numbers(output).reshape(len(x), *shape)
        for output, shape in zip(together, program.output_shapes, strict=True)
    ]


def mean_images(page: Page, kind: str, raw: Tensor) -> Tensor:
    pixels = page.evaluate(
        """([kind, raw, size]) => {
            raw = floats(raw);
            const all = new Float32Array(raw.length), one = new Float32Array(size);
            for (let at = 0; at < raw.length; at += size) {
                all.set(live.meanImage(kind, raw, at, one), at);
            }
            return text(all);
        }""",
        [kind, text(raw), raw[0].numel()],
    )
    return numbers(pixels).reshape(raw.shape)


def log_likelihoods(page: Page, kind: str, x: Tensor, raw: Tensor, logvar_x: float = 0.0):
    """The sums for each image, and -log p of each pixel summed over the images."""
    sums, per_pixel = page.evaluate(
        """([kind, x, raw, size, logvarX]) => {
            [x, raw] = [floats(x), floats(raw)];
            const sums = [], perPixel = new Float32Array(size);
            for (let at = 0; at < raw.length; at += size) {
                const image = x.subarray(at, at + size);
                const sum = live.logLikelihood(kind, image, raw, at, logvarX);
                const again = live.logLikelihood(kind, image, raw, at, logvarX, perPixel);
                if (sum !== again) throw new Error("perPixel changes the sum");
                sums.push(sum);
            }
            return [text(sums), text(perPixel)];
        }""",
        [kind, text(x), text(raw), raw[0].numel(), logvar_x],
    )
    return numbers(sums), numbers(per_pixel).reshape(raw.shape[1:])


def kl_of(page: Page, mu: Tensor, sigma: Tensor) -> Tensor:
    values = page.evaluate(
        """([mu, sigma]) => text(live.klPerDim(mu, sigma, new Float64Array(mu.length)))""",
        [mu.flatten().tolist(), sigma.flatten().tolist()],
    )
    return numbers(values).reshape(mu.shape)


def close(actual: Tensor, expected: Tensor, bound: float) -> None:
    torch.testing.assert_close(actual, expected.double(), rtol=0, atol=bound)


@torch.no_grad()
def decoders_agree(
    page: Page, decoder: nn.Module, z: Tensor, x: Tensor | None = None, kinds=LIKELIHOODS
) -> None:
    """Mean images and reconstruction terms; x is a target for each z.

    Terms of 10,000 nats are beyond 1e-3 for torch itself in float32, so the bound holds against
    torch in double; against float32, torch's own distance from that comes on top.
    """
    expected = decoder.eval()(z)
    exact = copy.deepcopy(decoder).double()(z.double())
    (raw,) = run(page, compile_module(decoder, tuple(z.shape[1:])), z)
    if x is None:
        x = torch.rand(expected.shape, generator=torch.Generator().manual_seed(0))
    for kind in kinds:
        likelihood = make_likelihood(kind)
        expected_image = likelihood.mean(expected).clamp(0, 1)
        close(mean_images(page, kind, raw), expected_image, MEAN_IMAGE)
        terms = likelihood.log_prob(x, expected).double()
        terms_exact = likelihood.double().log_prob(x.double(), exact)
        logvar_x = float(getattr(likelihood, "logvar_x", 0.0))
        sums, per_pixel = log_likelihoods(page, kind, x, raw, logvar_x)
        # Pixels are added up in double: how torch adds is not what is compared.
        close_in_nats(sums, terms.flatten(1).sum(1), terms_exact.flatten(1).sum(1))
        torch.testing.assert_close(per_pixel, -terms_exact.sum(0), rtol=1e-5, atol=NATS)


@torch.no_grad()
def encoders_agree(page: Page, encoder: nn.Module, x: Tensor) -> None:
    mu, logvar = encoder.eval()(x)
    exact_mu, exact_logvar = copy.deepcopy(encoder).double()(x.double())
    browser_mu, browser_logvar = run(page, compile_module(encoder, tuple(x.shape[1:])), x)
    close(browser_mu, mu, MU_LOGVAR)
    close(browser_logvar, logvar, MU_LOGVAR)
    kl = kl_of(page, browser_mu, torch.exp(browser_logvar / 2)).sum(1)
    expected = kl_to_standard_normal(mu.double(), logvar.double()).sum(1)
    close_in_nats(kl, expected, kl_to_standard_normal(exact_mu, exact_logvar).sum(1))


def close_in_nats(actual: Tensor, expected: Tensor, exact: Tensor) -> None:
    close(actual, exact, NATS)
    assert ((actual - expected).abs() <= NATS + (expected - exact).abs()).all()


# Networks of every kind. Each function makes one of random size from z of random length.


class Also(nn.Module):
    """A network with a function of torch after it."""

    def __init__(self, body: nn.Module, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.function = body, function

    def forward(self, z):
        return self.function(self.body(z))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, h):
        return h + self.body(h)


def image_of(rng: random.Random, channels: int, D: int, least: int = 3) -> tuple[nn.Module, int]:
    """z -> a small image; the second result is its height."""
    H, W = rng.randint(least, 9), rng.randint(least, 9)
    return nn.Sequential(
        nn.Linear(D, channels * H * W), nn.Tanh(), nn.Unflatten(1, (channels, H, W))
    ), H


def pair(rng: random.Random, low: int, high: int) -> tuple[int, int]:
    return rng.randint(low, high), rng.randint(low, high)


def linear(rng, D):
    sizes = [D, rng.randint(1, 70), rng.randint(1, 70), rng.randint(2, 200)]
    layers = [nn.Linear(n, m, bias=rng.random() < 0.7) for n, m in pairwise(sizes)]
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.Tanh(), layers[2])


def linear_on_rows(rng, D):
    T, n = rng.randint(2, 5), rng.randint(2, 9)
    return nn.Sequential(
        nn.Linear(D, T * n), nn.Unflatten(1, (T, n)), nn.Linear(n, rng.randint(1, 9))
    )


def conv(rng, D):
    groups = rng.choice([1, 1, 2, 3])
    channels, outputs = groups * rng.randint(1, 5), groups * rng.randint(1, 6)
    image, _ = image_of(rng, channels, D, least=5)
    return image.append(
        nn.Conv2d(
            channels,
            outputs,
            pair(rng, 1, 3),
            stride=pair(rng, 1, 3),
            padding=pair(rng, 0, 3),
            dilation=pair(rng, 1, 2),
            groups=groups,
            bias=rng.random() < 0.7,
        )
    )


def conv_by_name(rng, D):
    channels = rng.randint(1, 4)
    image, _ = image_of(rng, channels, D, least=5)
    for padding in ("same", "valid"):
        dilation, kernel = rng.choice([((1, 2), (3, 2)), ((2, 2), (2, 3)), ((1, 1), (1, 3))])
        image.append(nn.Conv2d(channels, channels, kernel, padding=padding, dilation=dilation))
    return image


def conv_transpose(rng, D):
    groups = rng.choice([1, 1, 2, 3])
    channels, outputs = groups * rng.randint(1, 5), groups * rng.randint(1, 4)
    image, _ = image_of(rng, channels, D)
    stride, dilation = pair(rng, 1, 3), pair(rng, 1, 2)
    more = [rng.randrange(max(s, d)) for s, d in zip(stride, dilation, strict=True)]
    return image.append(
        nn.ConvTranspose2d(
            channels,
            outputs,
            pair(rng, 1, 4),
            stride=stride,
            padding=pair(rng, 0, 1),
            output_padding=more,
            dilation=dilation,
            groups=groups,
            bias=rng.random() < 0.7,
        )
    )


def trained(norm: nn.Module, generator: torch.Generator) -> nn.Module:
    """As training leaves a normalisation: with weights and statistics of its own."""
    for values in norm.state_dict().values():
        if values.is_floating_point():
            values.uniform_(0.3, 2.0, generator=generator)
    return norm


def batch_norm_1d(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    n = rng.randint(2, 40)
    return nn.Sequential(
        trained(nn.BatchNorm1d(D), generator),
        nn.Linear(D, n, bias=rng.random() < 0.5),
        trained(nn.BatchNorm1d(n), generator),
        nn.ReLU(),
        trained(nn.BatchNorm1d(n, affine=False), generator),
    )


def batch_norm_2d(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    C = rng.randint(2, 5)
    image, _ = image_of(rng, C, D)
    return image.extend(
        [
            trained(nn.BatchNorm2d(C), generator),
            nn.Conv2d(C, 2 * C, 3, padding=1, bias=False),
            trained(nn.BatchNorm2d(2 * C), generator),
            nn.ConvTranspose2d(2 * C, 2 * C, 3, groups=2),
            trained(nn.BatchNorm2d(2 * C), generator),
            nn.ReLU(inplace=True),
            trained(nn.BatchNorm2d(2 * C, affine=False), generator),
        ]
    )


def layer_norm(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    C, H, W = rng.randint(1, 4), rng.randint(2, 6), rng.randint(2, 6)
    return nn.Sequential(
        nn.Linear(D, C * H * W),
        trained(nn.LayerNorm(C * H * W), generator),
        nn.Unflatten(1, (C, H, W)),
        nn.LayerNorm((H, W), elementwise_affine=False),
        trained(nn.LayerNorm(W, eps=0.1), generator),
        trained(nn.LayerNorm((C, H, W), bias=False), generator),
    )


def group_norm(rng, D):
    generator = torch.Generator().manual_seed(rng.randrange(1000))
    groups = rng.randint(1, 3)
    image, _ = image_of(rng, groups * 2, D)
    return image.extend(
        [
            trained(nn.GroupNorm(groups, groups * 2), generator),
            nn.GroupNorm(groups, groups * 2, affine=False, eps=0.01),
        ]
    )


def activation(rng, D):
    kinds = [
        *(nn.ReLU(), nn.LeakyReLU(rng.random()), nn.ELU(rng.random() + 0.5), nn.GELU(), nn.SiLU()),
        *(nn.GELU("tanh"), nn.Tanh(), nn.Sigmoid(), nn.Softplus(rng.random() + 0.5, 3.0)),
        *(nn.Hardtanh(-0.3, 0.4), nn.ReLU6()),
    ]
    n = rng.randint(20, 40)
    layers = []
    for kind in rng.sample(kinds, 6):
        layers += [kind, nn.Linear(n, n)]
    return nn.Sequential(nn.Linear(D, n), *layers)


def upsample(rng, D):
    C = rng.randint(1, 3)
    image, _ = image_of(rng, C, D, least=2)
    mode = rng.choice(["nearest", "bilinear", "bilinear", "nearest-exact"])
    corners = rng.random() < 0.5 if mode == "bilinear" else None
    by_size = {"size": pair(rng, 1, 17)}
    by_scale = {"scale_factor": rng.choice([2, 3.0, 1.7, (0.6, 2.3)])}
    return image.append(
        nn.Upsample(**rng.choice([by_size, by_scale]), mode=mode, align_corners=corners)
    )


def interpolate(rng, D):
    image, _ = image_of(rng, 2, D, least=2)
    factor = rng.choice([2, 0.7, 2.5])
    options = [
        {"mode": "nearest"},
        {"mode": "bilinear", "recompute_scale_factor": True},
        {"mode": "bilinear", "align_corners": True},
    ]
    option = rng.choice(options)
    return Also(image, lambda h: F.interpolate(h, scale_factor=factor, **option))


def residual(rng, D):
    C = rng.randint(1, 4)
    image, _ = image_of(rng, C, D)
    block = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(C, C, 3, padding=1), nn.BatchNorm2d(C))
    return image.append(Residual(block)).append(Residual(nn.Identity()))


def arithmetic(rng, D):
    a = rng.uniform(0.5, 2)
    shift = torch.randn(7, generator=torch.Generator().manual_seed(rng.randrange(1000)))
    functions = [
        lambda h: torch.add(h, torch.tanh(h), alpha=a) - a,
        lambda h: (a - h) / 3 + 2 * h.sigmoid(),
        lambda h: h * F.silu(h) - torch.sub(h, F.elu(h), alpha=a),
        lambda h: -h.clamp(-0.3, 0.5) + shift * F.softplus(h) + shift,
        lambda h: F.dropout(h.mul(a).clone().add_(1).relu_() * 2, training=False),
    ]
    return Also(nn.Linear(D, 7), rng.choice(functions))


def moves(rng, D):
    functions = [
        lambda h: h.chunk(3, 1)[1] + h.chunk(3, 1)[2],
        lambda h: h.split([2, 4, 6], 1)[2].reshape(-1, 2, 3).transpose(1, 2),
        lambda h: h.narrow(1, 3, 5) * h[:, 1:6] + h[..., -5:],
        lambda h: h.view(*h.shape[:-1], 3, 4).permute(0, 2, 1).flatten(1),
        lambda h: F.pixel_shuffle(h.unflatten(1, (4, 3, 1)), 2).squeeze(-1),
        lambda h: h[:, ::2].unsqueeze(1).expand(-1, 4, -1).flip(2).contiguous(),
    ]
    return Also(nn.Sequential(nn.Linear(D, 12), nn.Tanh()), rng.choice(functions))


NETWORKS = (
    *(linear, linear_on_rows, conv, conv_by_name, conv_transpose, batch_norm_1d, batch_norm_2d),
    *(layer_norm, group_norm, activation, upsample, interpolate, residual, arithmetic, moves),
)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_networks_of_random_sizes_decode_as_torch_does(page, make, seed):
    rng = random.Random(f"{make.__name__} {seed}")
    D = rng.choice([1, 2, 3, 8])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(rng.randrange(10**6))
        decoder = make(rng, D)
        z = 1.5 * torch.randn(INPUTS, D)
    assert 0.01 < decoder.eval()(z).abs().max() < 100  # a network that says something
    decoders_agree(page, decoder, z)


@pytest.mark.parametrize(
    "layer",
    [
        *(nn.ReLU(), nn.LeakyReLU(0.2), nn.ELU(1.3), nn.GELU(), nn.GELU("tanh"), nn.SiLU()),
        *(nn.Tanh(), nn.Sigmoid(), nn.Softplus(), nn.Softplus(3.0, 5.0), nn.Hardtanh(-2, 3)),
    ],
    ids=str,
)
def test_activations_agree_over_the_whole_range(page, layer):
    x = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-10, 30, 200)])
    x = torch.cat([x, -x]).unsqueeze(1)
    (values,) = run(page, compile_module(layer, (1,)), x)
    torch.testing.assert_close(values, layer(x.double()), rtol=1e-6, atol=1e-7)


# Our own models


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("image_shape", [(1, 13, 10), (3, 16, 16)], ids=str)
def test_a_model_of_ours_agrees_both_ways(page, family, act, image_shape):
    hidden = (40, 20) if family == "mlp" else (8, 16)
    model = VAE(ModelConfig(image_shape, 3, family, hidden, act))
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(INPUTS, *image_shape, generator=generator)
    decoders_agree(page, model.decoder, torch.randn(INPUTS, 3, generator=generator), x)
    encoders_agree(page, model.encoder, x)


class OneHead(nn.Module):
    """An encoder whose mu and log-variance come from one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 6))

    def forward(self, x):
        mu, logvar = self.body(x).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)


def test_an_encoder_with_one_head_agrees(page):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders_agree(page, OneHead(), torch.rand(INPUTS, 1, 8, 8))


@pytest.mark.parametrize("path", sorted((ROOT / "checkpoints").iterdir()), ids=lambda p: p.name)
def test_the_checkpoints_that_ship_agree(page, path):
    run_folder = open_run(path)
    model = run_folder.load_model()
    generator = torch.Generator().manual_seed(3)
    z = 1.5 * torch.randn(INPUTS, model.config.latent_dim, generator=generator)
    data = run_folder.train_config.dataset
    if not describe(data).is_here():
        pytest.skip(f"set VAE_DATA to a folder that holds {data}")
    real = load(data).images
    real = to_unit(real[torch.randperm(len(real), generator=generator)[:INPUTS]])
    decoders_agree(page, model.decoder, z, real, [model.config.likelihood])
    encoders_agree(page, model.encoder, real)
    encoders_agree(page, model.encoder, torch.rand(real.shape, generator=generator))


# Terms of the bound

EXTREME = [0.0, 1e-30, 1e-3, 0.0999999, 0.1, 0.1000001, 0.5, 1, 5, 19.9, 20.1, 50, 88, 200, 1e4]


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_likelihoods_are_those_of_the_library_at_extremes_too(page, kind):
    raw = torch.tensor([[sign * v] for v in EXTREME for sign in (-1, 1)])
    likelihood = make_likelihood(kind).double()
    for target in (0.0, 0.3, 1.0):
        x = torch.full_like(raw, target)
        expected = likelihood.log_prob(x.double(), raw.double())
        sums, _ = log_likelihoods(page, kind, x, raw, -2.0)
        torch.testing.assert_close(sums, expected.detach().sum(1), rtol=1e-7, atol=1e-7)
    expected = likelihood.mean(raw.double()).clamp(0, 1)
    close(mean_images(page, kind, raw), expected, 1e-7)


def test_what_each_pixel_costs_is_added_to_what_is_there(page):
    given = page.evaluate(
        """() => {
            const perPixel = new Float32Array([10, 20]);
            const raw = new Float32Array([7, 7, 0, 0]);
            live.logLikelihood("bernoulli", new Float32Array([0, 1]), raw, 2, 0, perPixel);
            return Array.from(perPixel);
        }"""
    )
    assert given == pytest.approx([10 + math.log(2), 20 + math.log(2)])


def test_kl_is_that_of_the_library_also_next_to_the_prior(page):
    logvar = torch.tensor([0.0, 1e-12, -1e-9, 1e-5, -1e-3, 0.5, -20.0, 8.0], dtype=torch.float64)
    mu = torch.tensor([0.0, 0.0, 1e-9, -1e-4, 0.0, 3.0, -1.0, 100.0], dtype=torch.float64)
    sigma = torch.exp(logvar / 2)
    # sigma itself is rounded: the library is given the log-variance of that number.
    expected = kl_to_standard_normal(mu, 2 * torch.log(sigma))
    torch.testing.assert_close(kl_of(page, mu, sigma), expected, rtol=1e-9, atol=1e-18)


# What does not fit together

SMALL = compile_module(
    nn.Sequential(nn.Linear(2, 12), nn.GELU(), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 1, 2)), (2,)
)


def refused(page: Page, header: dict, weights: np.ndarray) -> str:
    return page.evaluate(
        """([header, weights]) => {
            try {
                new live.Runner(header, floats(weights));
            } catch (error) {
                if (error instanceof live.ProgramError) return error.message;
                throw error;
            }
            return "accepted";
        }""",
        [header, text(weights)],
    )


def changed(place: int, **fields) -> dict:
    header = SMALL.header()
    ops = [dict(op) for op in header["ops"]]
    ops[place].update(fields)
    return {**header, "ops": ops}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({**SMALL.header(), "floats": 10}, "the program needs 10 weights, and 49 came"),
        (changed(0, op="dream"), r"operation 0 \(dream\) is unknown"),
        (changed(0, op="constructor"), r"operation 0 \(constructor\) is unknown"),
        (changed(0, weight=40), r"operation 0 \(linear\) has 24 numbers of weight at 40, of 49"),
        (changed(0, bias=-1), r"has 12 numbers of bias at -1"),
        (changed(0, bias=None), r"has 12 numbers of bias at null"),
        (changed(0, inputs=3), r"reads 3 numbers of 2"),
        (changed(0, outputs=None), r"makes 0 numbers for 12"),
        (changed(2, to=[1, 2, 1]), r"operation 2 \(conv\) makes 2 numbers for 1"),
        (changed(2, stride=[0, 1]), r"operation 2 \(conv\) does not make sense"),
        (changed(2, kernel=None), r"operation 2 \(conv\) lacks a part"),
        (changed(1, kind="dream"), r"operation 1 \(activation\) does not make sense"),
        (changed(1, **{"in": 2}), r"operation 1 \(activation\) reads register 2 before it is"),
        (changed(1, out=9), r"operation 1 \(activation\) cannot write register 9"),
        ({**SMALL.header(), "outputs": [7]}, "output register 7 is never written"),
        ({**SMALL.header(), "sizes": [2, 12, 12.5, 1]}, "a register has no size"),
    ],
)
def test_a_program_that_does_not_fit_its_weights_is_a_sentence(page, header, problem):
    sentence = refused(page, header, SMALL.weights)
    assert sentence.startswith("The network's program and its weights disagree: ")
    assert sentence.endswith(".")
    assert re.search(problem, sentence), sentence


def test_a_weight_that_is_not_finite_is_a_sentence(page):
    weights = SMALL.weights.copy()
    weights[7] = np.nan
    assert "weight 7 is NaN" in refused(page, SMALL.header(), weights)


def test_a_run_with_too_many_or_too_few_numbers_is_a_sentence(page):
    for length, batch in ((1, 1), (6, 3), (2, 0)):
        sentence = page.evaluate(
            """([header, weights, length, batch]) => {
                const runner = new live.Runner(header, floats(weights), 2);
                try {
                    runner.run(new Float32Array(length), batch);
                } catch (error) {
                    return error.name + ": " + error.message;
                }
            }""",
            [SMALL.header(), text(SMALL.weights), length, batch],
        )
        assert sentence == (
            f"ProgramError: a run of {batch} with {length} numbers: this network takes 1 to 2 "
            "inputs at a time, of 2 numbers each"
        )


def test_a_run_uses_the_same_memory_again(page):
    assert page.evaluate(
        """([header, weights]) => {
            const runner = new live.Runner(header, floats(weights), 2);
            const [first] = runner.run(new Float32Array(2));
            const [second] = runner.run(new Float32Array([1, 1]));
            return first === second && first.length === 1;
        }""",
        [SMALL.header(), text(SMALL.weights)],
    )
