import assert from "node:assert/strict";
import { test } from "node:test";
import { prepare } from "../../../vae/live/js/prepare.js";

const SIDE = 224;

/** Ink in boxes [top, bottom, left, right]. */
function ink(...boxes) {
  const out = new Float32Array(SIDE * SIDE);
  for (const [top, bottom, left, right] of boxes) {
    for (let y = top; y < bottom; y++) out.fill(1, y * SIDE + left, y * SIDE + right);
  }
  return out;
}

/** The rows and columns of a square image that have ink above a level: how many, and the mass's middle. */
function extent(image, side, level) {
  const [rows, columns] = [new Set(), new Set()];
  let [mass, x, y] = [0, 0, 0];
  for (const [i, v] of image.entries()) {
    mass += v;
    x += v * ((i % side) + 0.5);
    y += v * (Math.floor(i / side) + 0.5);
    if (v <= level) continue;
    rows.add(Math.floor(i / side));
    columns.add(i % side);
  }
  return {
    rows: [...rows].sort((a, b) => a - b),
    columns: [...columns].sort((a, b) => a - b),
    mass,
    x: x / mass,
    y: y / mass,
  };
}

const span = (places) => places.at(-1) - places[0] + 1;

for (const [name, boxes] of Object.entries({
  "a one": [[30, 170, 100, 118]],
  "an L in a corner": [
    [0, 90, 0, 15],
    [75, 90, 0, 60],
  ],
  "a wide bar": [[150, 170, 10, 215]],
  "a dot": [[200, 212, 5, 17]],
})) {
  test(`${name} is prepared as MNIST was: in a box of 20 pixels, its mass in the middle`, () => {
    const drawn = ink(...boxes);
    const image = prepare(drawn, SIDE, "mnist", 28, 28);
    assert.ok(image.every((v) => v >= 0 && v <= 1));
    const solid = extent(image, 28, 0.5);
    assert.ok([19, 20].includes(Math.max(span(solid.rows), span(solid.columns))));
    // Anti-aliased, the box may touch one more row and column.
    const any = extent(image, 28, 1e-6);
    assert.ok(Math.max(span(any.rows), span(any.columns)) <= 21);
    assert.ok(Math.abs(any.x - 14) < 0.5 && Math.abs(any.y - 14) < 0.5);
    const before = extent(drawn, SIDE, 0.5);
    const scale = 20 / Math.max(span(before.rows), span(before.columns));
    assert.ok(Math.abs(any.mass / (before.mass * scale ** 2) - 1) < 0.01);
  });
}

test("a drawing fills the height of digits and stays in place on a plane", () => {
  const drawn = ink([60, 120, 20, 50]); // twice as high as wide
  const digits = extent(prepare(drawn, SIDE, "digits", 8, 8), 8, 0);
  assert.deepEqual(digits.rows, [0, 1, 2, 3, 4, 5, 6, 7]);
  assert.deepEqual(digits.columns, [2, 3, 4, 5]);
  const counts = prepare(drawn, SIDE, "digits", 8, 8).map((v) => v * 16);
  assert.ok(counts.every((v) => Number.isInteger(v) && v >= 0 && v <= 16)); // of 4 x 4 blocks
  const plane = extent(prepare(drawn, SIDE, "plane", 32, 32), 32, 0);
  assert.ok(Math.abs(plane.y - 90 / 7) < 0.01 && Math.abs(plane.x - 35 / 7) < 0.01);
});

test("no ink is no image", () => {
  for (const [kind, side] of [
    ["mnist", 28],
    ["digits", 8],
    ["plane", 32],
  ]) {
    assert.ok(prepare(ink(), SIDE, kind, side, side).every((v) => v === 0));
  }
});
