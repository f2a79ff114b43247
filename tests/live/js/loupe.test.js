import assert from "node:assert/strict";
import { test } from "node:test";
import { enlargement } from "../../../vae/live/js/map/loupe.js";

test("what is wide enough to be seen is not enlarged", () => {
  for (const sigma of [5, 5.1, 80, Number.POSITIVE_INFINITY, Number.NaN]) assert.equal(enlargement(sigma), 1);
});

test("what is not is enlarged by a power of two, so that two sigma fill half of the loupe or more and fit", () => {
  for (let sigma = 4.99; sigma > 1e-5; sigma *= 0.83) {
    const times = enlargement(sigma);
    assert.equal(Math.log2(times) % 1, 0);
    assert.ok(times >= 2);
    assert.ok(2 * sigma * times <= 58 && 2 * sigma * times > 19);
  }
});
