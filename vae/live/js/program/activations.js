/**
 * @typedef {(x: Float32Array, y: Float32Array, n: number) => void} Loop
 * @import { Operation } from "../types.d.ts"
 */

/**
 * Each makes, from its parameters, a loop of its own: shared ones would call back for each number,
 * and the browser's compiler inlines no callee that keeps changing.
 *
 * @type {Record<string, (op: Operation) => Loop>}
 */
export const ACTIVATIONS = {
  relu: () => (x, y, n) => {
    // biome-ignore lint/complexity/useMathMinMax: this is the quicker one
    for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : 0;
  },
  leaky_relu:
    ({ slope }) =>
    (x, y, n) => {
      for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : slope * x[i];
    },
  elu:
    ({ alpha }) =>
    (x, y, n) => {
      for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : alpha * Math.expm1(x[i]);
    },
  gelu: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] * normalBelow(x[i]);
  },
  gelu_tanh: () => (x, y, n) => {
    const scale = Math.sqrt(2 / Math.PI);
    for (let i = 0; i < n; i++) {
      const v = x[i];
      y[i] = 0.5 * v * (1 + Math.tanh(scale * (v + 0.044715 * v * v * v)));
    }
  },
  silu: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  },
  tanh: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.tanh(x[i]);
  },
  sigmoid: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = sigmoid(x[i]);
  },
  softplus:
    ({ beta, threshold }) =>
    (x, y, n) => {
      for (let i = 0; i < n; i++) {
        const v = beta * x[i];
        y[i] = v > threshold ? x[i] : Math.log1p(Math.exp(v)) / beta;
      }
    },
  log: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.log(x[i]);
  },
  clamp:
    ({ low = -Infinity, high = Infinity }) =>
    (x, y, n) => {
      for (let i = 0; i < n; i++) y[i] = Math.min(Math.max(x[i], low), high);
    },
};

export const sigmoid = (/** @type {number} */ v) => 1 / (1 + Math.exp(-v));

// The standard normal's distribution function, for the exact GELU: cubics between knots 1/64 apart,
// from its value and its density there, which are off by less than 1e-9.
const KNOTS = 64;
const NORMAL_END = 7; // beyond it lies 1e-12
const NORMAL = (() => {
  const table = new Float64Array(2 * (NORMAL_END * KNOTS + 2));
  for (let i = 0; i < table.length / 2; i++) {
    const v = i / KNOTS;
    const density = Math.exp((-v * v) / 2) / Math.sqrt(2 * Math.PI);
    // 1/2 + density (v + v^3/3 + v^5/15 + ...): every term is positive, so no digits are lost.
    let term = v,
      sum = 0;
    for (let k = 3; term > 1e-17 * sum; k += 2) {
      sum += term;
      term *= (v * v) / k;
    }
    table[2 * i] = 0.5 + density * sum;
    table[2 * i + 1] = density / KNOTS;
  }
  return table;
})();

function normalBelow(/** @type {number} */ v) {
  const size = Math.abs(v);
  if (!(size < NORMAL_END)) return v < 0 ? 0 : v > 0 ? 1 : NaN;
  const i = (size * KNOTS) | 0;
  const t = size * KNOTS - i;
  const a = NORMAL[2 * i],
    da = NORMAL[2 * i + 1],
    b = NORMAL[2 * i + 2],
    db = NORMAL[2 * i + 3];
  const rise = b - a;
  const above = a + t * (da + t * (3 * rise - 2 * da - db + t * (da + db - 2 * rise)));
  return v < 0 ? 1 - above : above;
}
