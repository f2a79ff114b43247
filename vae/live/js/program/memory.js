import { multiply, multiplyRows } from "./matrix.js";

/** @import { Products } from "./matrix.js" */

const PAGE = 65536; // bytes, in which WebAssembly counts
const LINE = 4; // numbers that a kernel takes at once: arrays begin at a multiple

/** Where the numbers of one network lie, and the matrix product that works on them. */
export class Memory {
  /**
   * @param {Float32Array} weights
   * @param {number[]} sizes of the arrays that will be taken besides, in any order
   * @param {WebAssembly.Module | null} kernel one of kernels.js; null: plain JavaScript
   */
  constructor(weights, sizes, kernel) {
    this.weights = weights;
    /** @type {Products} */
    this.products = PLAIN;
    /** @type {ArrayBuffer | null} */
    this.buffer = null; // that of WebAssembly
    this.taken = 0;
    if (kernel) this.instantiate(kernel, weights, sizes);
  }

  /** Where there is no memory for a second copy of the weights, all stays as it is. */
  instantiate(
    /** @type {WebAssembly.Module} */ kernel,
    /** @type {Float32Array} */ weights,
    /** @type {number[]} */ sizes,
  ) {
    const total = [weights.length, ...sizes].reduce((sum, size) => sum + lined(size), 0);
    try {
      const memory = new WebAssembly.Memory({ initial: Math.max(1, Math.ceil((4 * total) / PAGE)) });
      const { exports } = new WebAssembly.Instance(kernel, { js: { memory } });
      this.buffer = memory.buffer;
      this.weights = this.take(weights.length);
      this.weights.set(weights);
      this.products = inBytes(exports);
    } catch (error) {
      console.warn("the network runs without WebAssembly:", error);
      this.buffer = null;
    }
  }

  /** Zeros. @param {number} size */
  take(size) {
    if (!this.buffer) return new Float32Array(size);
    const array = new Float32Array(this.buffer, 4 * this.taken, size);
    this.taken += lined(size);
    return array;
  }
}

export const PLAIN = { multiply, multiplyRows };

/** A kernel's products, which count in bytes. @param {WebAssembly.Exports} exports @returns {Products} */
function inBytes(exports) {
  const { multiply, multiplyRows } = /** @type {Record<string, (...numbers: number[]) => void>} */ (exports);
  const at = (/** @type {Float32Array} */ array, /** @type {number} */ place) => array.byteOffset + 4 * place;
  return {
    multiply: (w, x, bias, y, M, N, K, wAt, xAt, bAt, yAt) =>
      multiply(at(w, wAt), at(x, xAt), at(bias, bAt), at(y, yAt), M, N, K),
    multiplyRows: (w, x, bias, y, M, N, K, yM, yN, wAt, xAt, bAt, yAt) =>
      multiplyRows(at(w, wAt), at(x, xAt), at(bias, bAt), at(y, yAt), M, N, K, yM, yN),
  };
}

const lined = (/** @type {number} */ size) => LINE * Math.ceil(size / LINE);
