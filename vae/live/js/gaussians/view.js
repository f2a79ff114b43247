/**
 * @import { Pair } from "../types.d.ts"
 * @import { Moments } from "./gaussian.js"
 */

const REACH = 2.6; // sigmas that the window shows of each
const MARGIN_PX = 40;

/** The window on the plane: its middle, pixels a unit, and its size in pixels. */
export class View {
  constructor(x = 0, y = 0, scale = 80, width = 0, height = 0) {
    this.x = x;
    this.y = y;
    this.scale = scale;
    this.width = width;
    this.height = height;
  }

  /** @param {Pair} point @returns {Pair} */
  toPixels([x, y]) {
    return [this.width / 2 + (x - this.x) * this.scale, this.height / 2 - (y - this.y) * this.scale];
  }

  /** @param {Pair} pixel @returns {Pair} */
  toPlane([px, py]) {
    return [this.x + (px - this.width / 2) / this.scale, this.y - (py - this.height / 2) / this.scale];
  }

  /** The window that shows a pair; null while it has no size. @param {Moments[]} pair */
  around(pair) {
    if (!this.width || !this.height) return null;
    const [left, right, bottom, top] = boundsOf(pair);
    const scales = [(this.width - MARGIN_PX) / (right - left), (this.height - MARGIN_PX) / (top - bottom)];
    return new View((left + right) / 2, (bottom + top) / 2, Math.min(...scales), this.width, this.height);
  }

  /** Whether a pair has not left it, and is not lost in it. @param {Moments[]} pair */
  suits(pair) {
    const [left, right, bottom, top] = boundsOf(pair);
    const [x0, y1] = this.toPlane([0, 0]);
    const [x1, y0] = this.toPlane([this.width, this.height]);
    const margin = 0.08 * (x1 - x0);
    const isInside = left > x0 - margin && right < x1 + margin && bottom > y0 - margin && top < y1 + margin;
    return isInside && (this.around(pair)?.scale ?? 0) < 1.7 * this.scale;
  }

  /** On the way to another one. @param {View} to @param {number} t from 0 to 1 */
  between(to, t) {
    const [x, y] = [this.x + t * (to.x - this.x), this.y + t * (to.y - this.y)];
    return new View(x, y, this.scale * (to.scale / this.scale) ** t, this.width, this.height);
  }
}

/** Where both end, in the plane: [left, right, bottom, top]. @param {Moments[]} pair */
function boundsOf(pair) {
  const reach = pair.map(({ mu, cov: [a, , c] }) => ({ mu, x: REACH * Math.sqrt(a), y: REACH * Math.sqrt(c) }));
  return [
    Math.min(...reach.map(({ mu, x }) => mu[0] - x)),
    Math.max(...reach.map(({ mu, x }) => mu[0] + x)),
    Math.min(...reach.map(({ mu, y }) => mu[1] - y)),
    Math.max(...reach.map(({ mu, y }) => mu[1] + y)),
  ];
}
