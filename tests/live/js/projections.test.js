import assert from "node:assert/strict";
import { test } from "node:test";
import { ellipseOf, Gaussian, klParts, nearestEllipse } from "../../../vae/live/js/gaussians/gaussian.js";
import { Sample } from "../../../vae/live/js/gaussians/sample.js";
import { View } from "../../../vae/live/js/gaussians/view.js";
import { Axes } from "../../../vae/live/js/map/axes.js";
import { ChartPoints } from "../../../vae/live/js/map/chart_points.js";
import { samePoint } from "../../../vae/live/js/point.js";
import { Points } from "../../../vae/live/js/points.js";
import { close, normal } from "./helpers.js";

const AXES = new Axes({
  xaxis: { range: [-4, 4], _offset: 50, _length: 400 },
  yaxis: { range: [-3, 3], _offset: 20, _length: 300 },
});
// Two orthonormal directions in three dimensions, through a point of its own.
const PLANE = {
  origin: [1, 2, 3],
  directions: [
    [0.6, 0.8, 0],
    [-0.8, 0.6, 0],
  ],
  dims: null,
};

test("a pixel's latent point stands at that pixel, and keeps what the map does not show", () => {
  const mu = [0.3, -0.7, 5];
  for (const at of [
    [0, 0],
    [400, 300],
    [123.5, 40],
  ]) {
    const z = AXES.toLatent(PLANE, at, mu);
    close(AXES.toPixels(PLANE, z), at, 1e-9);
    assert.equal(z[2], 5);
  }
  close(AXES.toPixels(PLANE, PLANE.origin), [200, 150], 1e-12);
  assert.ok(AXES.contains([400, 0]));
  assert.ok(!AXES.contains([401, 0]));
});

test("the ellipse's ends are what q's covariance says of the map's directions", () => {
  const sigma = [0.5, 2, 9];
  const [long, short, degrees] = AXES.ellipse(PLANE, sigma);
  const angle = (degrees * Math.PI) / 180;
  // Along any direction of the screen the variance is that of the projected q.
  for (const turn of [0, 0.4, 1.9]) {
    const [c, s] = [Math.cos(turn), -Math.sin(turn)];
    const along = [0, 1, 2].map((d) => 50 * (c * PLANE.directions[0][d] + s * PLANE.directions[1][d]));
    const variance = along.reduce((sum, v, d) => sum + (v * sigma[d]) ** 2, 0);
    const drawn = (long * Math.cos(turn - angle)) ** 2 + (short * Math.sin(turn - angle)) ** 2;
    close([drawn], [variance], 1e-6);
  }
});

test("the nearest data point is one that is shown, and within reach", () => {
  const trace = (visible, x, y, customdata) => ({ visible, x, y, customdata });
  const shown = [trace(true, [0, 1], [0, 1], [7, 9]), trace(true, [2], [2], undefined)];
  const points = new ChartPoints([...shown, trace("legendonly", [0.1], [0.1], [3])]);
  assert.equal(points.n, 2);
  const near = AXES.pixels(0.1, 0.1);
  assert.equal(points.nearest(AXES, near), 7);
  assert.equal(points.nearest(AXES, near, 7), null);
  assert.equal(points.nearest(AXES, near, 8), 7);
  assert.deepEqual(points.placeOf(AXES, 9), AXES.pixels(1, 1));
  assert.equal(points.placeOf(AXES, 3), null);
  assert.equal(points.placeOf(AXES, null), null);
  assert.equal(new ChartPoints([]).nearest(AXES, near), null);
});

test("a point's q and image are its own rows", () => {
  const arrays = { mu: Float32Array.of(1, 2, 3, 4), logvar: Float32Array.of(0, 0, 2, -2) };
  const points = new Points({ header: {}, arrays: { ...arrays, images: Uint8Array.of(0, 255) } }, 2, 1);
  assert.equal(points.length, 2);
  close(points.qOf(1).mu, [3, 4], 0);
  close(points.qOf(1).sigma, [Math.E, 1 / Math.E], 1e-12);
  assert.deepEqual(points.imageOf(1), Float32Array.of(1));
  assert.equal(points.nearestTo([3, 3]), 1);
  assert.equal(new Points({ header: {}, arrays }, 2, 1).imageOf(0), null);
});

test("two points are one in every part or not at all", () => {
  const id = { run: "r", data: "digits", split: "test", index: 12 };
  assert.ok(samePoint(id, { ...id }));
  for (const other of [{ run: "s" }, { data: "mnist" }, { split: "train" }, { index: 2 }]) {
    assert.ok(!samePoint(id, { ...id, ...other }));
  }
  assert.ok(!samePoint(id, null));
});

test("an ellipse and its covariance are the same Gaussian", () => {
  const gaussian = new Gaussian("P");
  for (const [sigma, angle] of [
    [[2, 0.5], 0.7],
    [[1, 1e-3], -1.2],
    [[3, 3], 0],
  ]) {
    gaussian.setAxes(sigma, angle);
    const ellipse = ellipseOf(gaussian.cov);
    close(ellipse.sigma, sigma, 1e-9);
    if (sigma[0] !== sigma[1]) close([ellipse.angle], [angle], 1e-9);
    const [l11, l21, l22] = gaussian.factor;
    close([l11 * l11, l11 * l21, l21 * l21 + l22 * l22], gaussian.cov, 1e-12);
  }
  const way = nearestEllipse({ sigma: [1, 2], angle: 1.6 }, { sigma: [2, 1], angle: 0 });
  close([...way.sigma, way.angle], [1, 2, Math.PI / 2], 1e-12);
});

test("samples say what equation (5) says, within their standard errors", () => {
  const [P, Q] = [new Gaussian("P"), new Gaussian("Q")];
  P.take({ mu: [0.5, -0.2], cov: [1, 0.3, 0.5] });
  Q.take({ mu: [0, 0.4], cov: [0.8, -0.1, 1.2] });
  const parts = klParts(P, Q);
  const sample = new Sample();
  sample.begin(P, Q, normal(3, 40_000), 20_000);
  while (sample.left) sample.step();
  const exact = [parts.kl, 2, parts.trace + parts.mahalanobis];
  for (const [i, { mean, stderr }] of sample.result.entries()) {
    assert.ok(Math.abs(mean - exact[i]) < 4 * stderr, `${mean} ± ${stderr}, exactly ${exact[i]}`);
  }
  assert.equal(klParts(P, P).kl, 0);
});

test("a window shows the whole pair, and is left alone while it does", () => {
  const pair = [
    { mu: [10, 0], cov: [4, 0, 1] },
    { mu: [-3, 1], cov: [1, 0, 1] },
  ];
  const start = new View(0, 0, 80, 600, 400);
  const view = start.around(pair);
  for (const x of [10 + 2 * 2.6, -3 - 2.6]) {
    const [px] = view.toPixels([x, 0]);
    assert.ok(px >= 20 - 1e-9 && px <= 580 + 1e-9);
  }
  assert.ok(!start.suits(pair));
  assert.ok(view.suits(pair));
  close(view.toPlane(view.toPixels([1.5, -2])), [1.5, -2], 1e-12);
  close([start.between(view, 1).scale, start.between(view, 0).scale], [view.scale, 80], 1e-9);
  assert.equal(new View().around(pair), null);
});
