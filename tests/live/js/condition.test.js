import assert from "node:assert/strict";
import { test } from "node:test";
import { GivenRunner } from "../../../vae/live/js/network.js";
import { Runner } from "../../../vae/live/js/program/runner.js";
import { close, LINEAR, normal } from "./helpers.js";

/** What LINEAR, of two numbers and a label of one class more than asked, makes of z and the label. */
const by = (weights, z, label) => {
  const input = [...z, ...Array.from({ length: 3 - z.length }, (_, c) => (c === label ? 1 : 0))];
  return Array.from({ length: 5 }, (_, m) => {
    let sum = weights[15 + m];
    for (let k = 0; k < 3; k++) sum += weights[m * 3 + k] * input[k];
    return sum;
  });
};

test("the label stands behind each input of a batch", () => {
  const weights = normal(1, LINEAR.floats);
  const given = new GivenRunner(new Runner(LINEAR, weights, 3), 2);
  const z = normal(2, 3); // three inputs of one number
  for (const label of [0, 1]) {
    given.label = label;
    const expected = [...z].flatMap((value) => by(weights, [value], label));
    close([...given.run(z, 3)[0]], expected, 1e-6);
  }
  given.label = 0;
  close([...given.run(z.subarray(1), 1)[0]], by(weights, [z[1]], 0), 1e-6);
});

test("concat puts the second register behind the first, for each of a batch", () => {
  const header = {
    ops: [
      { op: "gather", in: 0, out: 1, index: [2, 0] },
      { op: "concat", in: 0, with: 1, out: 2 },
    ],
    sizes: [3, 2, 5],
    outputs: [2],
    floats: 0,
  };
  const [y] = new Runner(header, new Float32Array(0), 2).run([1, 2, 3, 4, 5, 6], 2);
  assert.deepEqual([...y], [1, 2, 3, 3, 1, 4, 5, 6, 6, 4]);
  const short = { ...header, sizes: [3, 2, 4] };
  assert.throws(() => new Runner(short, new Float32Array(0)), /makes 5 numbers for 4/);
});
