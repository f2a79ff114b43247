// Convolutions: a matrix product, with the image cut into patches before or after.

import { multiply } from "./matrix.js";

/** @import { Operation } from "../types.d.ts" */

const product = (/** @type {number[]} */ numbers) => numbers.reduce((a, b) => a * b, 1);

export function convExpects(/** @type {Operation} */ { groups, from, to, kernel, stride, padding, dilation }) {
  const taps = product(kernel);
  const whole = [...kernel, ...stride, ...dilation].every((v) => Number.isInteger(v) && v > 0);
  return {
    read: product(from),
    made: product(to),
    ok:
      whole &&
      padding.every((/** @type {number} */ v) => Number.isInteger(v) && v >= 0) &&
      from[0] % groups === 0 &&
      to[0] % groups === 0,
    parts: { weight: ((to[0] * from[0]) / groups) * taps, bias: to[0] },
  };
}

/**
 * For each tap of a kernel along one axis: place a of the short side (the output of a convolution,
 * the input of a transposed one) meets place a * stride + shift of the long side, and does so on
 * it for first <= a < past.
 *
 * @param {number} taps
 * @param {number} stride
 * @param {number} padding
 * @param {number} dilation
 * @param {number} short
 * @param {number} long
 */
function tapRanges(taps, stride, padding, dilation, short, long) {
  return Array.from({ length: taps }, (_, tap) => {
    const shift = tap * dilation - padding;
    return {
      shift,
      first: Math.min(short, Math.max(0, Math.ceil(-shift / stride))),
      past: Math.max(0, Math.min(short, Math.floor((long - 1 - shift) / stride) + 1)),
    };
  });
}

/**
 * The sizes of a convolution, by their usual letters, and where its taps meet the images.
 *
 * @param {Operation} op
 * @param {boolean} transposed
 */
function sizesOf(op, transposed) {
  const { groups, from, to, kernel, stride, padding, dilation, weight, bias } = op;
  const [C, H, W] = from;
  const [D, P, Q] = to;
  const meet = (/** @type {number} */ axis) => {
    const [a, b] = transposed ? [from, to] : [to, from];
    return tapRanges(kernel[axis], stride[axis], padding[axis], dilation[axis], a[axis + 1], b[axis + 1]);
  };
  const sizes = { groups, weight, bias, C, H, W, D, P, Q, inputs: C / groups, outputs: D / groups };
  return { ...sizes, taps: product(kernel), sh: stride[0], sw: stride[1], downs: meet(0), rights: meet(1) };
}

/** @param {Operation} op @param {Float32Array} weights @param {Float32Array} x @param {Float32Array} y */
export function prepareConv(op, weights, x, y) {
  const { groups, weight, bias, C, H, W, D, P, Q, inputs, outputs, taps, sh, sw, downs, rights } = sizesOf(op, false);
  const K = inputs * taps;
  // (P * Q, K), as the weights; what lies in the padding is written by no one and stays 0.
  const patches = new Float32Array(P * Q * K);
  const cut = (/** @type {number} */ at) => {
    for (let c = 0, k = 0; c < inputs; c++) {
      for (const down of downs) {
        for (const right of rights) {
          for (let p = down.first; p < down.past; p++) {
            const line = at + (c * H + p * sh + down.shift) * W + right.shift;
            const place = p * Q * K + k;
            for (let q = right.first; q < right.past; q++) {
              patches[place + q * K] = x[line + q * sw];
            }
          }
          k++;
        }
      }
    }
  };
  return (/** @type {number} */ batch) => {
    for (let b = 0; b < batch; b++) {
      for (let g = 0; g < groups; g++) {
        cut((b * C + g * inputs) * H * W);
        const d = g * outputs;
        multiply(
          weights,
          patches,
          weights,
          y,
          outputs,
          P * Q,
          K,
          P * Q,
          1,
          weight + d * K,
          0,
          bias + d,
          (b * D + d) * P * Q,
        );
      }
    }
  };
}

/** @param {Operation} op @param {Float32Array} weights @param {Float32Array} x @param {Float32Array} y */
export function prepareConvTranspose(op, weights, x, y) {
  const { groups, weight, bias, C, H, W, D, P, Q, inputs, outputs, taps, sh, sw, downs, rights } = sizesOf(op, true);
  const M = outputs * taps;
  const pixels = new Float32Array(H * W * inputs); // channels last
  const patches = new Float32Array(M * H * W);
  const none = new Float32Array(M);
  const turn = (/** @type {number} */ at) => {
    for (let c = 0; c < inputs; c++) {
      for (let i = 0; i < H * W; i++) pixels[i * inputs + c] = x[at + c * H * W + i];
    }
  };
  const lay = (/** @type {number} */ d, /** @type {number} */ at) => {
    // adds the patches of one output channel up
    y.fill(weights[bias + d], at, at + P * Q);
    let m = (d % outputs) * taps;
    for (const down of downs) {
      for (const right of rights) {
        for (let h = down.first; h < down.past; h++) {
          const line = at + (h * sh + down.shift) * Q + right.shift;
          const place = (m * H + h) * W;
          for (let v = right.first; v < right.past; v++) y[line + v * sw] += patches[place + v];
        }
        m++;
      }
    }
  };
  return (/** @type {number} */ batch) => {
    for (let b = 0; b < batch; b++) {
      for (let g = 0; g < groups; g++) {
        turn((b * C + g * inputs) * H * W);
        multiply(weights, pixels, none, patches, M, H * W, inputs, H * W, 1, weight + g * M * inputs, 0, 0, 0);
        for (let d = g * outputs; d < (g + 1) * outputs; d++) lay(d, (b * D + d) * P * Q);
      }
    }
  };
}
