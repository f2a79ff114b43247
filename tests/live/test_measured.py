"""Vectors and series in the browser, against torch: terms, means, spreads, encoder, drawn line."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from core.test_measured import config_of, drawn, with_own_variances
from live.node import Node, run_model

from vae.config import MEASURED_LIKELIHOODS, SERIES, VECTOR
from vae.core.model import VAE
from vae.features import as_measured, on_axis
from vae.live import pack, source


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    process = Node(source.module("model.js", "look.js", "prepare.js"))
    yield process
    process.stop()


def load(node: Node, model: VAE) -> dict:
    return run_model(node, pack.model_pack(model, "own"))


def numbers(x: torch.Tensor) -> list:
    """With null for what is missing: JSON has no NaN."""
    return [None if math.isnan(v) else v for v in x.flatten().tolist()]


@pytest.mark.parametrize("kind", [VECTOR, SERIES])
@pytest.mark.parametrize("name", MEASURED_LIKELIHOODS)
@torch.no_grad()
def test_terms_means_and_spreads_are_torch_s(node, name, kind):
    config = config_of(name, kind)
    model = VAE(config)
    model.likelihood = with_own_variances(model.likelihood).float()
    load(node, model)
    x, z = drawn(config, 3).float(), torch.randn(3, 2) * 2
    x.view(3, -1)[1, ::2] = torch.nan
    for one, at in zip(x, z, strict=True):
        said = node.evaluate(
            """([x, z]) => {
                const given = Float32Array.from(x, (v) => v ?? NaN);
                const raw = model.decode(z);
                const cost = new Float32Array(model.n);
                const log = model.logLikelihood(given, raw, 0, cost);
                const mean = [...model.meanOf(raw, 0)];
                const ends = mean.map((_, i) => model.look.spread(mean, i));
                const place = mean.map((v, i) => model.look.onAxis(v, i));
                const own = mean.map((v, i) => model.look.asMeasured(v, i));
                return {log, cost: [...cost], mean, ends, place, own};
            }""",
            [numbers(one), at.tolist()],
        )
        raw = model.decode(at)
        log_px = model.likelihood.log_prob(one, raw)
        mean, sd = model.likelihood.mean(raw), model.likelihood.variance(raw).sqrt()
        assert said["log"] == pytest.approx(float(log_px.sum()), rel=1e-5, abs=1e-4)
        torch.testing.assert_close(
            torch.tensor(said["cost"]), -log_px.flatten(), rtol=1e-5, atol=1e-4
        )
        torch.testing.assert_close(torch.tensor(said["mean"]), mean.flatten(), rtol=1e-5, atol=1e-5)
        above = on_axis((mean + sd)[None].numpy()[:, :, 0], config.features, kind)
        np.testing.assert_allclose([end for _, end in said["ends"]], above.ravel(), atol=1e-4)
        place = on_axis(mean[None].numpy()[:, :, 0], config.features, kind)
        np.testing.assert_allclose(said["place"], place.ravel(), atol=1e-4)
        table = mean.reshape(1, -1) if kind == VECTOR else mean[None, :, 0]
        own = as_measured(table.numpy(), config.features)
        np.testing.assert_allclose(said["own"], own.ravel(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_log_gamma_is_that_of_torch():
    x = torch.logspace(-3, 6, 200, dtype=torch.float64)
    program = Node(source.module("program/terms.js"))
    try:
        said = program.evaluate("(x) => x.map((v) => live.logGamma(v))", x.tolist())
    finally:
        program.stop()
    torch.testing.assert_close(
        torch.tensor(said, dtype=torch.float64), torch.lgamma(x), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("family", ["mlp", "conv"])
@torch.no_grad()
def test_the_encoder_of_a_series_reads_a_line_as_torch_does(node, family):
    config = replace(config_of("gaussian", SERIES), family=family)
    model, x = VAE(config), torch.randn(1, *config.image_shape)
    load(node, model)
    said = node.evaluate(
        "(x) => { const q = model.encode(x); return [[...q.mu], [...q.sigma]]; }",
        x.flatten().tolist(),
    )
    mu, logvar = model.encode(x)
    q = torch.cat([mu, (logvar / 2).exp()])
    torch.testing.assert_close(torch.tensor(said), q, rtol=0, atol=1e-5)


def test_a_vector_has_no_encoder_in_the_browser_as_nobody_draws_a_table(node):
    assert load(node, VAE(config_of("mixed")))["encoder"] is None


@pytest.mark.parametrize("n", [5, 64, 1000])
def test_a_drawn_line_becomes_its_values(node, n):
    side = 120
    ink = np.zeros((side, side), dtype=np.float32)
    columns = np.arange(10, side - 10)
    heights = (side / 2 + 40 * np.sin(columns / 12)).astype(int)
    ink[heights, columns] = ink[heights + 1, columns] = 1
    said = node.evaluate(
        "([ink, side, n]) => [...live.lineOfInk(Float32Array.from(ink), side, n)]",
        [ink.ravel().tolist(), side, n],
    )
    at = (np.arange(n) + 0.5) * side / n
    expected = 3 - 6 * np.interp(at, columns + 0.5, heights + 1.0) / side
    np.testing.assert_allclose(said, expected, atol=1e-4)


def test_an_empty_pad_is_a_line_at_zero(node):
    assert node.evaluate("() => [...live.lineOfInk(new Float32Array(100), 10, 4)]") == [0] * 4
