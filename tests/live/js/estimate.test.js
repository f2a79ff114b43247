import assert from "node:assert/strict";
import { test } from "node:test";
import { Estimate } from "../../../vae/live/js/estimate.js";
import { Model } from "../../../vae/live/js/model.js";
import { klPerDim } from "../../../vae/live/js/program/terms.js";
import { close, LINEAR, normal } from "./helpers.js";

/** z of 3 numbers to 5 pixels, of whose Gaussian likelihood the expectation is known. */
function linearModel() {
  const header = { id: "m", latent_dim: 3, image_shape: [1, 1, 5], likelihood: "gaussian", logvar_x: -1 };
  return new Model({
    header: { ...header, drawing: "plane", decoder: LINEAR, encoder: null },
    arrays: { decoder: normal(1, 20) },
  });
}

const [MU, SIGMA] = [
  [0.5, -1, 0.2],
  [0.3, 0.8, 1.1],
];
const X = Float32Array.of(0.1, 0.9, 0.4, 0, 1);

/** -E_q log p(x|z) of the linear model: its mean is linear in z. */
function exact() {
  const w = normal(1, 20);
  let total = 0;
  for (let m = 0; m < 5; m++) {
    let [mean, variance] = [w[15 + m], 0];
    for (let k = 0; k < 3; k++) {
      mean += w[m * 3 + k] * MU[k];
      variance += (w[m * 3 + k] * SIGMA[k]) ** 2;
    }
    total += (Math.log(2 * Math.PI) - 1 + ((X[m] - mean) ** 2 + variance) * Math.E) / 2;
  }
  return total;
}

test("the mean over samples is the expectation within its standard error", () => {
  const estimate = new Estimate(linearModel());
  const means = [];
  for (let seed = 0; seed < 40; seed++) {
    estimate.begin(MU, SIGMA, normal(seed, 64 * 3), 64, X);
    while (estimate.left) estimate.step(5);
    means.push(estimate.result().recon - exact());
  }
  const mean = means.reduce((a, b) => a + b) / means.length;
  const spread = Math.sqrt(means.reduce((a, b) => a + (b - mean) ** 2, 0) / means.length);
  const { stderr } = estimate.result();
  assert.ok(Math.abs(mean) < (3 * spread) / Math.sqrt(means.length));
  assert.ok(spread / stderr > 0.6 && spread / stderr < 1.6, `${spread} and ${stderr}`);
});

test("what the samples say does not depend on how many are decoded at once", () => {
  const results = [0, 1e9].map((budget) => {
    const estimate = new Estimate(linearModel());
    estimate.begin(MU, SIGMA, normal(1, 30), 10, X);
    while (estimate.left) estimate.step(budget);
    return estimate.result().recon;
  });
  close([results[0]], [results[1]], 1e-5);
});

test("each sample is shown once, and its pixels' costs add up", () => {
  const estimate = new Estimate(linearModel());
  const shown = [];
  estimate.begin(MU, SIGMA, normal(1, 30), 10, X);
  while (estimate.left) estimate.step(1e9, (s) => shown.push(s));
  assert.deepEqual(shown, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const total = estimate.perPixel.reduce((a, b) => a + b, 0) / 10;
  close([total], [estimate.result().recon], 1e-4);
});

test("a number is there once all samples are in, and of the q it began with, though that moves on", () => {
  const [alone, moved] = [0, 1].map(() => new Estimate(linearModel()));
  const mu = Float64Array.from(MU);
  alone.begin(MU, SIGMA, normal(1, 30), 10, X);
  moved.begin(mu, SIGMA, normal(1, 30), 10, X);
  while (moved.left) {
    assert.equal(moved.result(), null);
    moved.step(0);
    alone.step(0);
    mu.fill(moved.left); // as a tour does
  }
  assert.deepEqual(moved.result(), alone.result());
});

test("another image begins anew, the same q goes on", () => {
  const estimate = new Estimate(linearModel());
  const eps = normal(1, 30);
  estimate.begin(MU, SIGMA, eps, 10, X);
  while (estimate.left) estimate.step(5);
  estimate.beginIfNew(MU, SIGMA, eps, 10, X);
  assert.equal(estimate.left, 0);
  estimate.beginIfNew(MU, SIGMA, eps, 10, X.slice());
  assert.equal(estimate.left, 10);
  assert.equal(estimate.result(), null);
});

test("a model decodes into memory of its own, within [0, 1]", () => {
  const model = linearModel();
  const first = model.mean([0, 0, 0]);
  const before = first.slice();
  assert.equal(model.mean(Float64Array.of(9, -9, 9)), first);
  assert.notDeepEqual(first, before);
  assert.ok(first.every((v) => v >= 0 && v <= 1));
  assert.equal(model.encode(X), null);
  assert.ok(klPerDim(MU, SIGMA, new Float64Array(3)).every((v) => v > 0));
});
