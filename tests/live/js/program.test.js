import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIVATIONS } from "../../../vae/live/js/program/activations.js";
import { ProgramError, Runner } from "../../../vae/live/js/program/runner.js";
import { shaderOf } from "../../../vae/live/js/program/shaders.js";
import { klPerDim, logLikelihood, meanImage } from "../../../vae/live/js/program/terms.js";
import { close, LINEAR, normal } from "./helpers.js";

const CONV = { groups: 2, stride: [2, 1], padding: [1, 0], dilation: [1, 2], kernel: [3, 2], weight: 0, bias: 24 };

/** A convolution by its definition, (C, H, W) to (D, P, Q). */
function convolved({ groups, from: [C, H, W], to: [D, P, Q], kernel: [kh, kw], ...op }, weights, x) {
  const [inputs, outputs] = [C / groups, D / groups];
  const y = [];
  for (let d = 0; d < D; d++) {
    for (let p = 0; p < P; p++) {
      for (let q = 0; q < Q; q++) {
        let sum = weights[op.bias + d];
        for (let c = 0; c < inputs; c++) {
          for (let i = 0; i < kh; i++) {
            for (let j = 0; j < kw; j++) {
              const h = p * op.stride[0] - op.padding[0] + i * op.dilation[0];
              const w = q * op.stride[1] - op.padding[1] + j * op.dilation[1];
              if (h < 0 || h >= H || w < 0 || w >= W) continue;
              const channel = Math.floor(d / outputs) * inputs + c;
              sum += weights[op.weight + ((d * inputs + c) * kh + i) * kw + j] * x[(channel * H + h) * W + w];
            }
          }
        }
        y.push(sum);
      }
    }
  }
  return y;
}

test("a linear layer is a matrix product and a shift, for each of a batch", () => {
  const weights = normal(1, LINEAR.floats);
  const x = normal(2, 6);
  const [y] = new Runner(LINEAR, weights, 2).run(x, 2);
  const expected = [0, 1].flatMap((b) =>
    Array.from({ length: 5 }, (_, m) => {
      const terms = [0, 1, 2].map((k) => weights[m * 3 + k] * x[b * 3 + k]);
      return weights[15 + m] + terms[0] + terms[1] + terms[2];
    }),
  );
  close(y, expected, 1e-6);
});

test("a convolution does what its definition says: groups, strides, padding and dilation", () => {
  const op = { op: "conv", in: 0, out: 1, ...CONV, from: [4, 5, 6], to: [2, 3, 4] };
  const header = { ops: [op], sizes: [120, 24], outputs: [1], floats: 26 };
  const weights = normal(3, 26);
  const x = normal(4, 120);
  close(new Runner(header, weights).run(x)[0], convolved(op, weights, x), 1e-5);
});

test("a transposed convolution is the transpose of the convolution", () => {
  const conv = { op: "conv", in: 0, out: 1, ...CONV, from: [4, 5, 6], to: [2, 3, 4] };
  const weights = normal(5, 26);
  weights.fill(0, 24);
  // Its weights are (groups, outputs of a group, taps, inputs of a group).
  const turned = new Float32Array(28);
  for (let d = 0; d < 2; d++) for (let i = 0; i < 12; i++) turned[d * 12 + i] = weights[d * 12 + i];
  const back = { ...conv, op: "conv_transpose", from: [2, 3, 4], to: [4, 5, 6], bias: 24 };
  const forward = new Runner({ ops: [conv], sizes: [120, 24], outputs: [1], floats: 26 }, weights);
  const transposed = new Runner({ ops: [back], sizes: [24, 120], outputs: [1], floats: 28 }, turned);
  const [x, y] = [normal(6, 120), normal(7, 24)];
  const product = (a, b) => a.reduce((sum, v, i) => sum + v * b[i], 0);
  const [left, right] = [product(forward.run(x)[0], y), product(x, transposed.run(y)[0])];
  assert.ok(Math.abs(left - right) < 1e-4, `${left} and ${right}`);
});

test("a run takes its input as any numbers, and too few of them are refused", () => {
  const runner = new Runner(LINEAR, normal(1, LINEAR.floats), 2);
  const z = Float64Array.of(0.1, 0.2, 0.3);
  close([...runner.run(z)[0]], [...runner.run(Float32Array.from(z))[0]], 0);
  for (const [input, batch] of [
    [z, 2],
    [z.subarray(1), 1],
    [normal(1, 9), 3],
    [z, 0],
  ]) {
    assert.throws(() => runner.run(input, batch), ProgramError);
  }
});

test("a program that its weights do not fit is refused by what is wrong", () => {
  const [op] = LINEAR.ops;
  const weights = normal(1, LINEAR.floats);
  const nan = weights.slice();
  nan[5] = Number.NaN;
  const cases = [
    [{}, weights.subarray(1), /the program needs 20 weights, and 19 came/],
    [{}, nan, /weight 5 is NaN/],
    [{ sizes: [3, 0] }, weights, /a register has no size/],
    [{ ops: [{ ...op, op: "toString" }] }, weights, /operation 0 \(toString\) is unknown to this page/],
    [{ ops: [{ ...op, in: 1 }] }, weights, /reads register 1 before it is written/],
    [{ ops: [{ ...op, inputs: undefined }] }, weights, /operation 0 \(linear\) reads NaN numbers of 3/],
    [{ ops: [{ ...op, bias: 16 }] }, weights, /has 5 numbers of bias at 16, of 20 in all/],
    [{ ops: [{ op: "add", in: 0, out: 1, alpha: 1 }], sizes: [3, 3] }, weights, /does not make sense/],
    [{ outputs: [2] }, weights, /output register 2 is never written/],
  ];
  for (const [changed, given, message] of cases) {
    assert.throws(() => new Runner({ ...LINEAR, ...changed }, given), { name: "ProgramError", message });
  }
});

test("KL is zero at the prior, keeps its digits near it, and is that of equation (6)", () => {
  const mu = [0, 0, 1.5];
  const sigma = [1, 1 + 1e-9, 0.5];
  const kl = klPerDim(mu, sigma, new Float64Array(3));
  assert.equal(kl[0], 0);
  assert.ok(Math.abs(kl[1] / 1e-18 - 1) < 0.2);
  assert.ok(Math.abs(kl[2] - 0.5 * (-Math.log(0.25) - 1 + 0.25 + 2.25)) < 1e-12);
});

test("a likelihood is a density: it sums or integrates to one", () => {
  const logit = Float32Array.of(0.7);
  const at = (kind, x, logvar = 0) => Math.exp(logLikelihood(kind, [x], logit, 0, logvar));
  const integral = (f, low, high, n = 4000) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += f(low + ((i + 0.5) * (high - low)) / n);
    return (sum * (high - low)) / n;
  };
  close([at("bernoulli", 0) + at("bernoulli", 1)], [1], 1e-6);
  close([integral((x) => at("continuous-bernoulli", x), 0, 1)], [1], 1e-6);
  close([integral((x) => at("gaussian", x, -1), -8, 9)], [1], 1e-6);
  const mean = meanImage("continuous-bernoulli", logit, 0, new Float32Array(1));
  close(mean, [integral((x) => x * at("continuous-bernoulli", x), 0, 1)], 1e-6);
});

test("what each pixel costs adds up to the likelihood", () => {
  const [x, raw] = [normal(1, 6).map(Math.abs), normal(2, 12)];
  const perPixel = new Float32Array(6);
  const total = logLikelihood("bernoulli", x, raw, 6, 0, perPixel);
  close([perPixel.reduce((a, b) => a + b, 0)], [-total], 1e-5);
});

test("every activation has a shader, whatever its parameters", () => {
  for (const kind of Object.keys(ACTIVATIONS)) {
    for (const more of [{}, { low: -1, high: 1 }, { low: -Infinity }]) {
      const op = { op: "activation", kind, in: 0, out: 1, slope: 0.2, alpha: 1, beta: 1, threshold: 20, ...more };
      assert.doesNotMatch(shaderOf(op, [4, 4]).code, /undefined|NaN|Infinity/);
    }
  }
});
