import assert from "node:assert/strict";
import { noise } from "../../../vae/live/js/noise.js";

export const normal = (seed, count) => noise(seed, count);

/** A linear layer from 3 to 5 numbers. */
export const LINEAR = {
  ops: [{ op: "linear", in: 0, out: 1, rows: 1, inputs: 3, outputs: 5, weight: 0, bias: 15 }],
  sizes: [3, 5],
  outputs: [1],
  floats: 20,
};

/** Whether numbers are within `most` of those expected. */
export function close(found, expected, most) {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < expected.length; i++) {
    assert.ok(Math.abs(found[i] - expected[i]) <= most, `${found[i]} at ${i}, not ${expected[i]}`);
  }
}
