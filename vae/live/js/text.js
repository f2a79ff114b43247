// Numbers as the panel writes them.

/** @import { Numbers } from "./types.d.ts" */

/** @param {number} value */
export const nats = (value) => (Math.abs(value) < 1e5 ? value.toFixed(2) : value.toExponential(2));

/** @param {number} value @param {"mu" | "sigma"} name */
export function short(value, name) {
  if (name === "mu" || value >= 0.1) return value.toFixed(3).replace(/^-(0\.0+)$/, "$1");
  return value.toPrecision(3);
}

/** @param {Numbers} z */
export const vector = (z) => `(${Array.from(z, (v) => v.toFixed(2).replace("-", "−")).join(", ")})`;

/** The number of a dimension, as an index that stands low. @param {number} d from 0 */
export const subscript = (d) => String(d + 1).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[Number(digit)]);
