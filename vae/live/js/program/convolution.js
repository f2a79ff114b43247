// Convolutions: a matrix product, with the image cut into patches before or after.

/**
 * @import { Operation } from "../types.d.ts"
 * @import { Place } from "./operations.js"
 */

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

/** The patches (K, P * Q) of one group. */
export const convScratch = (/** @type {Operation} */ { groups, from, to, kernel }) => [
  product(to.slice(1)) * (from[0] / groups) * product(kernel),
];

/** Of one group: the patches, and no bias. */
export const convTransposeScratch = (/** @type {Operation} */ { groups, from, to, kernel }) => {
  const M = (to[0] / groups) * product(kernel);
  return [M * product(from.slice(1)), M];
};

/** @param {Operation} op @param {Place} place */
export function prepareConv(op, { weights, x, y, scratch: [patches], products }) {
  const { groups, weight, bias, C, H, W, D, P, Q, inputs, outputs, taps, sh, sw, downs, rights } = sizesOf(op, false);
  const K = inputs * taps;
  // What lies in the padding is written by no one and stays 0.
  const cut = (/** @type {number} */ at) => {
    for (let c = 0, k = 0; c < inputs; c++) {
      for (const down of downs) {
        for (const right of rights) {
          for (let p = down.first; p < down.past; p++) {
            const line = at + (c * H + p * sh + down.shift) * W + right.shift;
            const place = (k * P + p) * Q;
            for (let q = right.first; q < right.past; q++) patches[place + q] = x[line + q * sw];
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
        const [wAt, yAt] = [weight + d * K, (b * D + d) * P * Q];
        products.multiply(weights, patches, weights, y, outputs, P * Q, K, wAt, 0, bias + d, yAt);
      }
    }
  };
}

/** @param {Operation} op @param {Place} place */
export function prepareConvTranspose(op, { weights, x, y, scratch: [patches, none], products }) {
  const { groups, weight, bias, C, H, W, D, P, Q, inputs, outputs, taps, sh, sw, downs, rights } = sizesOf(op, true);
  const M = outputs * taps;
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
        const [wAt, xAt] = [weight + g * M * inputs, (b * C + g * inputs) * H * W];
        products.multiply(weights, x, none, patches, M, H * W, inputs, wAt, xAt, 0, 0);
        for (let d = g * outputs; d < (g + 1) * outputs; d++) lay(d, (b * D + d) * P * Q);
      }
    }
  };
}
