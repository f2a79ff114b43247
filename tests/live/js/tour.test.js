import assert from "node:assert/strict";
import { test } from "node:test";
import { noise } from "../../../vae/live/js/noise.js";
import { between, Tour } from "../../../vae/live/js/tour.js";
import { close } from "./helpers.js";

const [A, B] = [
  [3, 0, 0],
  [0, 0, 3],
];

test("a way begins and ends at its stops, straight or along a great circle", () => {
  for (const spherical of [false, true]) {
    close(between(A, B, 0, spherical), A, 1e-12);
    close(between(A, B, 1, spherical), B, 1e-12);
  }
  close(between(A, B, 0.5, false), [1.5, 0, 1.5], 1e-12);
  for (const t of [0.1, 0.5, 0.8]) close([Math.hypot(...between(A, B, t, true))], [3], 1e-12);
  close(between(A, B, 0.5, true), [4.5 ** 0.5, 0, 4.5 ** 0.5], 1e-12);
  close([Math.hypot(...between(A, [0, 1, 0], 0.25, true))], [2.5], 1e-12);
});

test("where no great circle is singled out the way is straight, and never NaN", () => {
  for (const end of [[0, 0, 0], [-3, 0, 0], A]) {
    close(
      between(A, end, 0.5, true),
      A.map((v, d) => (v + end[d]) / 2),
      1e-12,
    );
  }
});

test("a tour passes its stops in order, and returns to the first in a loop", () => {
  const tour = new Tour();
  tour.stops = [A, B, [0, 3, 0]].map((stop) => Float64Array.from(stop));
  assert.equal(tour.length, 3);
  for (const [t, stop] of tour.stops.entries()) close(tour.z(t), stop, 1e-12);
  close(tour.z(2.999999), A, 1e-4);
  tour.loop = false;
  assert.equal(tour.length, 2);
  close(tour.z(2), tour.stops[2], 1e-12);
  const line = tour.onMap((z) => z);
  assert.equal(line.length, 33);
  close(line[32], tour.stops[2], 1e-12);
});

test("fewer than two stops are no way", () => {
  const tour = new Tour();
  assert.deepEqual([tour.length, tour.onMap((z) => z)], [0, []]);
  tour.stops.push(Float64Array.from(A));
  assert.deepEqual([tour.length, tour.onMap((z) => z)], [0, []]);
});

test("noise is normal and belongs to its seed", () => {
  const [first, second] = [noise(1, 4001), noise(2, 4001)];
  assert.deepEqual(noise(1, 4001), first);
  assert.deepEqual(noise(1, 64), first.slice(0, 64));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  close([mean(first), mean(first.map((v) => v * v)), mean(first.map((v, i) => v * second[i]))], [0, 1, 0], 0.07);
  close([mean(first.map((v) => (Math.abs(v) < 1.959964 ? 1 : 0)))], [0.95], 0.015);
});
