import { ACTIVATIONS } from "./activations.js";
import { convExpects, convScratch, convTransposeScratch, prepareConv, prepareConvTranspose } from "./convolution.js";

/**
 * @import { Products } from "./matrix.js"
 * @import { Operation } from "../types.d.ts"
 *
 * @typedef {object} Expected how many numbers an operation reads, makes and takes from the weights
 * @property {number} [read]
 * @property {number} [made]
 * @property {Record<string, number>} [parts]
 * @property {boolean} [ok]
 *
 * @typedef {object} Place where an operation finds its numbers, from x (and other) to y
 * @property {Float32Array} weights
 * @property {Float32Array} x
 * @property {Float32Array} y
 * @property {Float32Array} other
 * @property {number} size of y, for one input
 * @property {Float32Array[]} scratch its own
 * @property {Products} products
 *
 * @callback Prepare the function that does it for a batch
 * @param {Operation} op
 * @param {Place} place
 * @returns {(batch: number) => void}
 */

/** @type {Record<string, {expects: (op: any, read: number, made: number, other: number) => Expected, scratch?: (op: Operation) => number[], prepare: Prepare}>} */
export const OPERATIONS = {
  linear: {
    expects: (op) => ({
      read: op.rows * op.inputs,
      made: op.rows * op.outputs,
      parts: { weight: op.outputs * op.inputs, bias: op.outputs },
    }),
    prepare: ({ rows, inputs, outputs, weight, bias }, { weights, x, y, products }) => {
      const w = weights.subarray(weight, weight + outputs * inputs);
      const b = weights.subarray(bias, bias + outputs);
      return (batch) => products.multiplyRows(w, x, b, y, outputs, batch * rows, inputs, 1, outputs, 0, 0, 0, 0);
    },
  },
  conv: { expects: convExpects, scratch: convScratch, prepare: prepareConv },
  conv_transpose: { expects: convExpects, scratch: convTransposeScratch, prepare: prepareConvTranspose },
  affine: {
    expects: ({ channels, inner }, _, made) => ({
      read: made,
      ok: made % (channels * inner) === 0,
      parts: { scale: channels, shift: channels },
    }),
    prepare:
      ({ channels, inner, scale, shift }, { weights, x, y, size }) =>
      (batch) => {
        for (let i = 0, c = 0; i < batch * size; c = (c + 1) % channels) {
          const a = weights[scale + c],
            b = weights[shift + c];
          for (const end = i + inner; i < end; i++) y[i] = a * x[i] + b;
        }
      },
  },
  normalise: {
    expects: ({ length, eps }, read) => ({ made: read, ok: read % length === 0 && eps >= 0 }),
    prepare:
      ({ length, eps }, { x, y, size }) =>
      (batch) => {
        for (let start = 0; start < batch * size; start += length) {
          const end = start + length;
          let mean = 0;
          for (let i = start; i < end; i++) mean += x[i];
          mean /= length;
          let variance = 0;
          for (let i = start; i < end; i++) variance += (x[i] - mean) ** 2;
          const scale = 1 / Math.sqrt(variance / length + eps);
          for (let i = start; i < end; i++) y[i] = (x[i] - mean) * scale;
        }
      },
  },
  softmax: {
    expects: ({ length }, read) => ({ made: read, ok: read % length === 0 }),
    prepare:
      ({ length }, { x, y, size }) =>
      (batch) => {
        for (let start = 0; start < batch * size; start += length) {
          const end = start + length;
          let largest = x[start];
          for (let i = start; i < end; i++) if (x[i] > largest) largest = x[i];
          let sum = 0;
          for (let i = start; i < end; i++) {
            y[i] = Math.exp(x[i] - largest);
            sum += y[i];
          }
          for (let i = start; i < end; i++) y[i] /= sum;
        }
      },
  },
  resample: {
    expects: ({ channels, from: [H, W], rows, columns }) => ({
      read: channels * H * W,
      made: channels * rows.length * columns.length,
      ok:
        rows.every((/** @type {number} */ v) => v >= 0 && v <= H - 1) &&
        columns.every((/** @type {number} */ v) => v >= 0 && v <= W - 1),
    }),
    prepare: prepareResample,
  },
  activation: {
    expects: (op, read) => ({ made: read, ok: Object.hasOwn(ACTIVATIONS, op.kind) }),
    prepare: (op, { x, y, size }) => {
      const apply = ACTIVATIONS[op.kind](op);
      return (batch) => apply(x, y, batch * size);
    },
  },
  gather: {
    expects: ({ index }, read) => ({
      made: index.length,
      ok: index.every((/** @type {number} */ place) => Number.isInteger(place) && place >= 0 && place < read),
    }),
    prepare: ({ index }, { x, y, size }) => {
      const places = Int32Array.from(index);
      const from = (x.length / y.length) * size;
      return (batch) => {
        for (let b = 0; b < batch; b++) {
          for (let i = 0; i < size; i++) y[b * size + i] = x[b * from + places[i]];
        }
      };
    },
  },
  concat: {
    expects: (_op, read, _made, other) => ({ made: read + other }),
    prepare: (_op, { x, y, other, size }) => {
      const first = (x.length / y.length) * size;
      return (batch) => {
        for (let b = 0; b < batch; b++) {
          y.set(x.subarray(b * first, (b + 1) * first), b * size);
          y.set(other.subarray(b * (size - first), (b + 1) * (size - first)), b * size + first);
        }
      };
    },
  },
  add: {
    expects: ({ alpha }, read, _made, other) => ({ made: read, ok: other === read && Number.isFinite(alpha) }),
    prepare:
      ({ alpha }, { x, y, other, size }) =>
      (batch) => {
        for (let i = 0; i < batch * size; i++) y[i] = x[i] + alpha * other[i];
      },
  },
  multiply: {
    expects: (_op, read, _made, other) => ({ made: read, ok: other === read }),
    prepare:
      (_op, { x, y, other, size }) =>
      (batch) => {
        for (let i = 0; i < batch * size; i++) y[i] = x[i] * other[i];
      },
  },
};

/** @type {Prepare} */
function prepareResample({ channels, from: [H, W], rows, columns }, { x, y }) {
  const split = (/** @type {number[]} */ coordinates, /** @type {number} */ last) =>
    coordinates.map((v) => {
      const low = Math.floor(v);
      return { low, high: Math.min(low + 1, last), share: v - low };
    });
  const [downs, rights] = [split(rows, H - 1), split(columns, W - 1)];
  return (/** @type {number} */ batch) => {
    let i = 0;
    for (let c = 0; c < batch * channels; c++) {
      for (const down of downs) {
        const above = (c * H + down.low) * W,
          below = (c * H + down.high) * W;
        for (const { low, high, share } of rights) {
          const top = x[above + low] + share * (x[above + high] - x[above + low]);
          const bottom = x[below + low] + share * (x[below + high] - x[below + low]);
          y[i++] = top + down.share * (bottom - top);
        }
      }
    }
  };
}
