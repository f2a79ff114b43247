"""The programs, run by JavaScript, give what torch gives."""

import base64
import copy
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from live.networks import ACTIVATION_LAYERS, NETWORKS, of_random_size, whole_range
from live.node import Node
from torch import Tensor, nn

from vae.config import ACTIVATIONS, FAMILIES, LIKELIHOODS, ModelConfig
from vae.core.gaussian import kl_to_standard_normal
from vae.core.likelihood import make_likelihood
from vae.core.model import VAE, LatticeEncoder
from vae.data.catalogue import load, to_unit
from vae.live import source
from vae.live.program import Program, compile_module
from vae.runs.checkpoint import open_run

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 200
MEAN_IMAGE, MU_LOGVAR, NATS = 1e-5, 1e-4, 1e-3  # how far apart the two may be

HARNESS = """
() => {
    globalThis.floats = text =>
        new Float32Array(new Uint8Array(Buffer.from(text, "base64")).buffer);
    globalThis.text = values => Buffer.from(Float64Array.from(values).buffer).toString("base64");
    // All outputs for all inputs, a few inputs at a time.
    globalThis.outputs = (header, weights, input, batch, kernel) => {
        const runner = new live.Runner(header, weights, batch, kernel);
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
    globalThis.meanImages = (kind, raw, size) => {
        const all = new Float32Array(raw.length), one = new Float32Array(size);
        for (let at = 0; at < raw.length; at += size) {
            all.set(live.meanImage(kind, raw, at, one), at);
        }
        return text(all);
    };
    // The sums for each image, and -log p of each pixel summed over the images.
    globalThis.terms = (kind, x, raw, size, logvarX) => {
        const sums = [], perPixel = new Float32Array(size);
        for (let at = 0; at < raw.length; at += size) {
            const image = x.subarray(at, at + size);
            const sum = live.logLikelihood(kind, image, raw, at, logvarX);
            const again = live.logLikelihood(kind, image, raw, at, logvarX, perPixel);
            if (sum !== again) throw new Error("perPixel changes the sum");
            sums.push(sum);
        }
        return [text(sums), text(perPixel)];
    };
    // All that is compared of a program, in one evaluation, in plain JavaScript and with each
    // kernel: its outputs, run one by one and three at a time, and what each kind of likelihood
    // makes of the first of them.
    globalThis.said = ([header, weights, input, x, kinds]) =>
        [null, ...live.kernels()].map((kernel) => {
            const [alone, together] = [1, 3].map(
                (batch) => outputs(header, floats(weights), floats(input), batch, kernel));
            const size = header.sizes[header.outputs[0]], raw = together[0];
            return [alone.map(text), together.map(text), kinds.map(([kind, logvarX]) =>
                [meanImages(kind, raw, size), ...terms(kind, floats(x), raw, size, logvarX)])];
        });
}
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    process = Node(source.module("program/runner.js", "program/terms.js", "program/kernels.js"))
    process.evaluate(HARNESS)
    yield process
    process.stop()


def text(values: Tensor | np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def numbers(text: str) -> Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.float64)


def run(
    node: Node,
    program: Program,
    z: Tensor,
    x: Tensor | None = None,
    kinds: Sequence[tuple[str, float]] = (),
) -> list[tuple[list[Tensor], list[tuple[Tensor, Tensor, Tensor]]]]:
    """What JavaScript makes of the program, by itself and with each kernel.

    The outputs, the same whether run one by one or three at a time; and for each kind of
    likelihood, with its log-variance, the mean images of the first output, the log-likelihood of
    each image of x, and -log p of each pixel, summed over the images.
    """
    said = node.evaluate(
        "said",
        [
            program.header(),
            text(program.weights),
            text(z),
            text(torch.empty(0) if x is None else x),
            list(kinds),
        ],
    )
    assert len(said) == 3, "no WebAssembly here"
    shapes, found = program.output_shapes, []
    for alone, together, images_and_terms in said:
        for one, other in zip(alone, together, strict=True):
            torch.testing.assert_close(numbers(one), numbers(other), rtol=1e-5, atol=1e-5)
        outputs = [
            numbers(output).reshape(len(z), *shape)
            for output, shape in zip(together, shapes, strict=True)
        ]
        terms = [
            (
                numbers(images).reshape(len(z), *shapes[0]),
                numbers(sums),
                numbers(per_pixel).reshape(shapes[0]),
            )
            for images, sums, per_pixel in images_and_terms
        ]
        found.append((outputs, terms))
    return found


def kl_of(node: Node, mu: Tensor, sigma: Tensor) -> Tensor:
    values = node.evaluate(
        """([mu, sigma]) => text(live.klPerDim(mu, sigma, new Float64Array(mu.length)))""",
        [mu.flatten().tolist(), sigma.flatten().tolist()],
    )
    return numbers(values).reshape(mu.shape)


def close(actual: Tensor, expected: Tensor, bound: float) -> None:
    torch.testing.assert_close(actual, expected.double(), rtol=0, atol=bound)


@torch.no_grad()
def decoders_agree(
    node: Node, decoder: nn.Module, z: Tensor, x: Tensor | None = None, kinds=LIKELIHOODS
) -> None:
    """Mean images and reconstruction terms; x is a target for each z.

    Terms of 10,000 nats are beyond 1e-3 for torch itself in float32, so the bound holds against
    torch in double; against float32, torch's own distance from that comes on top.
    """
    expected = decoder.eval()(z)
    exact = copy.deepcopy(decoder).double()(z.double())
    if x is None:
        x = torch.rand(expected.shape, generator=torch.Generator().manual_seed(0))
    likelihoods = [make_likelihood(kind) for kind in kinds]
    logvars = [float(getattr(likelihood, "logvar_x", 0.0)) for likelihood in likelihoods]
    program = compile_module(decoder, tuple(z.shape[1:]))
    said = run(node, program, z, x, list(zip(kinds, logvars, strict=True)))
    for likelihood, (images, sums, per_pixel) in [
        pair for _, terms in said for pair in zip(likelihoods, terms, strict=True)
    ]:
        close(images, likelihood.mean(expected).clamp(0, 1), MEAN_IMAGE)
        terms = likelihood.log_prob(x, expected).double()
        terms_exact = likelihood.double().log_prob(x.double(), exact)
        # Pixels are added up in double: how torch adds is not what is compared.
        close_in_nats(sums, terms.flatten(1).sum(1), terms_exact.flatten(1).sum(1))
        torch.testing.assert_close(per_pixel, -terms_exact.sum(0), rtol=1e-5, atol=NATS)


@torch.no_grad()
def encoders_agree(node: Node, encoder: nn.Module, x: Tensor) -> None:
    mu, logvar = encoder.eval()(x)
    exact_mu, exact_logvar = copy.deepcopy(encoder).double()(x.double())
    # The scores of a lattice are hundreds of nats, which float32 knows to 1e-4.
    bound = 10 * MU_LOGVAR if isinstance(encoder, LatticeEncoder) else MU_LOGVAR
    for (found_mu, found_logvar), _ in run(node, compile_module(encoder, tuple(x.shape[1:])), x):
        close(found_mu, mu, bound)
        close(found_logvar, logvar, bound)
        kl = kl_of(node, found_mu, torch.exp(found_logvar / 2)).sum(1)
        expected = kl_to_standard_normal(mu.double(), logvar.double()).sum(1)
        close_in_nats(kl, expected, kl_to_standard_normal(exact_mu, exact_logvar).sum(1))


def close_in_nats(actual: Tensor, expected: Tensor, exact: Tensor) -> None:
    close(actual, exact, NATS)
    assert ((actual - expected).abs() <= NATS + (expected - exact).abs()).all()


@pytest.mark.few(20)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_networks_of_random_sizes_decode_as_torch_does(node, make, seed):
    decoder, z = of_random_size(make, seed, INPUTS)
    assert 0.01 < decoder.eval()(z).abs().max() < 100  # a network that says something
    decoders_agree(node, decoder, z)


@pytest.mark.parametrize(
    "layer",
    ACTIVATION_LAYERS,
    ids=str,
)
def test_activations_agree_over_the_whole_range(node, layer):
    x = whole_range()
    for (values,), _ in run(node, compile_module(layer, (1,)), x):
        torch.testing.assert_close(values, layer(x.double()), rtol=1e-6, atol=1e-7)


# Our own models


@pytest.mark.parametrize("act", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("image_shape", [(1, 13, 10), (3, 16, 16)], ids=str)
def test_a_model_of_ours_agrees_both_ways(node, family, act, image_shape):
    hidden = (40, 20) if family == "mlp" else (8, 16)
    model = VAE(ModelConfig(image_shape, 3, family, hidden, act))
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(INPUTS, *image_shape, generator=generator)
    decoders_agree(node, model.decoder, torch.randn(INPUTS, 3, generator=generator), x)
    encoders_agree(node, model.encoder, x)


class OneHead(nn.Module):
    """An encoder whose mu and log-variance come from one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, stride=2), nn.Flatten(), nn.Linear(36, 6))

    def forward(self, x):
        mu, logvar = self.body(x).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)


def test_an_encoder_with_one_head_agrees(node):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoders_agree(node, OneHead(), torch.rand(INPUTS, 1, 8, 8))


@pytest.mark.parametrize("path", sorted((ROOT / "checkpoints").glob("[!.]*")), ids=lambda p: p.name)
def test_the_checkpoints_that_ship_agree(node, path):
    run_folder = open_run(path)
    model = run_folder.load_model()
    generator = torch.Generator().manual_seed(3)
    z = 1.5 * torch.randn(INPUTS, model.config.latent_dim, generator=generator)
    data = run_folder.train_config.dataset
    real = load(data).images
    real = to_unit(real[torch.randperm(len(real), generator=generator)[:INPUTS]])
    decoders_agree(node, model.decoder, z, real, [model.config.likelihood])
    encoders_agree(node, model.encoder, real)
    if not isinstance(model.encoder, LatticeEncoder):  # to which two points can be alike for noise
        encoders_agree(node, model.encoder, torch.rand(real.shape, generator=generator))


# Terms of the bound

EXTREME = [0.0, 1e-30, 1e-3, 0.0999999, 0.1, 0.1000001, 0.5, 1, 5, 19.9, 20.1, 50, 88, 200, 1e4]


@pytest.mark.parametrize("kind", LIKELIHOODS)
def test_likelihoods_are_those_of_the_library_at_extremes_too(node, kind):
    raw = torch.tensor([[sign * v] for v in EXTREME for sign in (-1, 1)])
    likelihood = make_likelihood(kind).double()
    for target in (0.0, 0.3, 1.0):
        x = torch.full_like(raw, target)
        expected = likelihood.log_prob(x.double(), raw.double())
        images, (sums, _) = node.evaluate(
            """([kind, x, raw]) => [meanImages(kind, floats(raw), 1),
                                    terms(kind, floats(x), floats(raw), 1, -2)]""",
            [kind, text(x), text(raw)],
        )
        expected = expected.detach().sum(1)
        torch.testing.assert_close(numbers(sums), expected, rtol=1e-7, atol=1e-7)
    close(numbers(images).reshape(raw.shape), likelihood.mean(raw.double()).clamp(0, 1), 1e-7)


def test_what_each_pixel_costs_is_added_to_what_is_there(node):
    given = node.evaluate(
        """() => {
            const perPixel = new Float32Array([10, 20]);
            const raw = new Float32Array([7, 7, 0, 0]);
            live.logLikelihood("bernoulli", new Float32Array([0, 1]), raw, 2, 0, perPixel);
            return Array.from(perPixel);
        }"""
    )
    assert given == pytest.approx([10 + math.log(2), 20 + math.log(2)])


def test_kl_is_that_of_the_library_also_next_to_the_prior(node):
    logvar = torch.tensor([0.0, 1e-12, -1e-9, 1e-5, -1e-3, 0.5, -20.0, 8.0], dtype=torch.float64)
    mu = torch.tensor([0.0, 0.0, 1e-9, -1e-4, 0.0, 3.0, -1.0, 100.0], dtype=torch.float64)
    sigma = torch.exp(logvar / 2)
    # sigma itself is rounded: the library is given the log-variance of that number.
    expected = kl_to_standard_normal(mu, 2 * torch.log(sigma))
    torch.testing.assert_close(kl_of(node, mu, sigma), expected, rtol=1e-9, atol=1e-18)


# What does not fit together

SMALL = compile_module(
    nn.Sequential(nn.Linear(2, 12), nn.GELU(), nn.Unflatten(1, (3, 2, 2)), nn.Conv2d(3, 1, 2)), (2,)
)


def refused(node: Node, header: dict, weights: np.ndarray) -> str:
    return node.evaluate(
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
        (changed(2, to=[1, 2, 1]), r"operation 2 \(conv_transpose\) makes 2 numbers for 1"),
        (changed(2, stride=[0, 1]), r"operation 2 \(conv_transpose\) does not make sense"),
        (changed(2, kernel=None), r"operation 2 \(conv_transpose\) lacks a part"),
        (changed(1, kind="dream"), r"operation 1 \(activation\) does not make sense"),
        (changed(1, **{"in": 2}), r"operation 1 \(activation\) reads register 2 before it is"),
        (changed(1, out=9), r"operation 1 \(activation\) cannot write register 9"),
        ({**SMALL.header(), "outputs": [7]}, "output register 7 is never written"),
        ({**SMALL.header(), "sizes": [2, 12, 12.5, 1]}, "a register has no size"),
    ],
)
def test_a_program_that_does_not_fit_its_weights_is_a_sentence(node, header, problem):
    sentence = refused(node, header, SMALL.weights)
    assert sentence.startswith("The network's program and its weights disagree: ")
    assert sentence.endswith(".")
    assert re.search(problem, sentence), sentence


def test_a_weight_that_is_not_finite_is_a_sentence(node):
    weights = SMALL.weights.copy()
    weights[7] = np.nan
    assert "weight 7 is NaN" in refused(node, SMALL.header(), weights)


def test_a_run_with_too_many_or_too_few_numbers_is_a_sentence(node):
    for length, batch in ((1, 1), (6, 3), (2, 0)):
        sentence = node.evaluate(
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


def test_a_run_uses_the_same_memory_again(node):
    assert node.evaluate(
        """([header, weights]) => {
            const runner = new live.Runner(header, floats(weights), 2);
            const [first] = runner.run(new Float32Array(2));
            const [second] = runner.run(new Float32Array([1, 1]));
            return first === second && first.length === 1;
        }""",
        [SMALL.header(), text(SMALL.weights)],
    )
