"""Networks on a graphics card, by WebGPU; one in software shows that they are right."""

import base64
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from browser.server import ROOT
from live.networks import ACTIVATION_LAYERS, NETWORKS, of_random_size, whole_range
from playwright.sync_api import Page
from torch import nn

from vae.bench.live import CHROMIUM_OPTIONS
from vae.core.model import LatticeEncoder
from vae.live import source
from vae.live.program import Program, compile_module
from vae.runs.checkpoint import open_run

WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
INPUTS = 6
BATCH = 4

HARNESS = """
async (module) => {
    const url = URL.createObjectURL(new Blob([module], {type: "text/javascript"}));
    globalThis.live = await import(url);
    globalThis.floats = (text) =>
        new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
    // All outputs for all inputs, a few inputs at a time.
    globalThis.outputs = async ([header, weights, input, batch]) => {
        const runner = await live.GpuRunner.create(header, floats(weights), batch);
        const [size, all] = [header.sizes[0], floats(input)];
        const found = header.outputs.map(() => []);
        for (let at = 0; at < all.length; at += batch * size) {
            const part = all.subarray(at, at + batch * size);
            (await runner.run(part, part.length / size)).forEach((values, i) => {
                found[i].push(...values);
            });
        }
        runner.close();
        return found;
    };
    // Who is chosen where the processor takes so many milliseconds and its numbers are off.
    globalThis.chosen = async ([header, weights, ms, off]) => {
        const runner = new live.Runner(header, floats(weights), 1);
        const present = {run: (input) => {
            const start = performance.now();
            while (performance.now() - start < ms);
            return runner.run(input).map((output) => output.map((value) => value + off));
        }};
        const faster = await live.fasterOnGpu(header, floats(weights), 1, present);
        return faster === null ? "processor" : "card";
    };
}
"""


@pytest.fixture(scope="module")
def card(browser) -> Iterator[Page]:
    """An empty page, with the module in the variable `live`, of a browser with WebGPU."""
    chromium = browser.browser_type.launch(
        executable_path=shutil.which("chromium"), args=[*CHROMIUM_OPTIONS, *WEBGPU]
    )
    page = chromium.new_page()
    # A secure context, without which there is no WebGPU.
    page.route("https://card.test/", lambda route: route.fulfill(body="", content_type="text/html"))
    page.goto("https://card.test/")
    if not page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"):
        pytest.skip("this Chromium has no WebGPU")
    page.evaluate(HARNESS, source.module("program/gpu.js", "worker_source.js"))
    yield page
    chromium.close()


def text(values: torch.Tensor | np.ndarray) -> str:
    return base64.b64encode(np.asarray(values, dtype="<f4").tobytes()).decode()


def on(card: Page, program: Program, inputs: torch.Tensor, batch: int) -> list[torch.Tensor]:
    """Every output for the inputs, as the card gives them."""
    found = card.evaluate("outputs", [program.header(), text(program.weights), text(inputs), batch])
    shapes = program.output_shapes
    return [
        torch.tensor(values).reshape(len(inputs), *shape)
        for values, shape in zip(found, shapes, strict=True)
    ]


@torch.no_grad()
def agrees(card: Page, module: nn.Module, inputs: torch.Tensor, rtol=1e-5, atol=2e-5, batch=BATCH):
    expected = module.eval()(inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    found = on(card, compile_module(module, tuple(inputs.shape[1:])), inputs, batch)
    for actual, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(actual, wanted, rtol=rtol, atol=atol)


@pytest.mark.few(9)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_networks_of_random_sizes_decode_as_torch_does(card, make):
    for seed in range(3):
        decoder, z = of_random_size(make, seed, INPUTS)
        agrees(card, decoder, z)


@pytest.mark.parametrize(
    "layer",
    ACTIVATION_LAYERS,
    ids=str,
)
def test_activations_agree_over_the_whole_range(card, layer):
    x = whole_range()
    agrees(card, layer, x, atol=2e-6, batch=len(x))


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["digits-2d", "mnist-10d", "sprites-2d"])
def test_checkpoints_that_ship_agree(card, name):
    model = open_run(ROOT / "checkpoints" / name).load_model()
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(INPUTS, model.config.latent_dim, generator=generator)
    agrees(card, model.decoder, z, atol=1e-4)
    x = torch.rand(INPUTS, *model.config.image_shape, generator=generator)
    if not isinstance(model.encoder, LatticeEncoder):  # to which two points can be alike for noise
        agrees(card, model.encoder, x, atol=1e-4)


NETWORK = nn.Sequential(nn.Linear(2, 40), nn.GELU(), nn.Linear(40, 9))
SMALL = compile_module(NETWORK, (2,))


@pytest.mark.parametrize(
    ("ms", "off", "who"), [(300, 0, "card"), (0, 0, "processor"), (300, 0.1, "processor")]
)
def test_the_card_is_chosen_where_it_is_right_and_faster(card, ms, off, who):
    assert card.evaluate("chosen", [SMALL.header(), text(SMALL.weights), ms, off]) == who


# Before the worker's own module: the processor seems slow to it, and it tells what the card does.
SPY = """
let asked = 0;
performance.now = () => { asked++; return asked <= 6 ? 100 * asked : 600 + asked; };
const devices = [];
const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...what) {
    const device = await request.apply(this, what);
    devices.push(device);
    asked = 0;  // from here on it is the two that are timed
    return device;
};
let submitted = 0;
const submit = GPUQueue.prototype.submit;
GPUQueue.prototype.submit = function (...what) { submitted++; return submit.apply(this, what); };
const spy = new BroadcastChannel("spy");
spy.postMessage(submitted);  // it listens from here on
spy.onmessage = ({data}) => {
    if (data === "lose") for (const device of devices) device.destroy();
    spy.postMessage(submitted);
};
"""


def test_a_worker_asks_the_card_and_where_that_is_lost_goes_on_by_itself(card):
    z = torch.tensor([0.5, -1.0])
    expected = NETWORK(z).tolist()
    found = card.evaluate(
        """async ([spy, header, weights, input]) => {
            const module = new Blob([spy + live.WORKER], {type: "text/javascript"});
            const url = URL.createObjectURL(module);
            const channel = new BroadcastChannel("spy");
            const told = (from) => new Promise((done) => { from.onmessage = (e) => done(e.data); });
            const isThere = told(channel);
            const own = new Worker(url, {type: "module"});
            await isThere;
            const ask = async () => {
                const answer = told(own);
                own.postMessage({network: "decoder", input: floats(input), batch: 1, label: 0});
                return Array.from((await answer).outputs[0]);
            };
            const submits = async (what) => {
                const answer = told(channel);
                channel.postMessage(what);
                return await answer;
            };
            own.postMessage(
                {decoder: header, encoder: null, weights: {decoder: floats(weights)}, nClasses: 0});
            while (await submits("count") < 3) await new Promise((done) => setTimeout(done, 50));
            let byCard = null;
            for (let asked = 0; asked < 50 && !byCard; asked++) {  // until the card is chosen
                const before = await submits("count");
                const answer = await ask();
                if (await submits("count") > before) byCard = answer;
            }
            await submits("lose");
            const byItself = await ask();
            own.terminate();
            return {byCard, byItself};
        }""",
        [SPY, SMALL.header(), text(SMALL.weights), text(z)],
    )
    assert found["byCard"] == pytest.approx(expected, abs=1e-6)
    assert found["byItself"] == pytest.approx(expected, abs=1e-6)
