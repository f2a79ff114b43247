/** @import { Numbers, Pair, Plane, PlotlyLayout } from "../types.d.ts" */

/** How the chart now lays the map's two axes out: between latent space and pixels of the plot area. */
export class Axes {
  /** @param {PlotlyLayout} layout of Plotly */
  constructor({ xaxis, yaxis }) {
    this.left = xaxis._offset;
    this.top = yaxis._offset;
    this.width = xaxis._length;
    this.height = yaxis._length;
    this.x0 = xaxis.range[0];
    this.x1 = xaxis.range[1];
    this.y0 = yaxis.range[0];
    this.y1 = yaxis.range[1];
    this.scaleX = this.width / (this.x1 - this.x0); // pixels a unit
    this.scaleY = this.height / (this.y1 - this.y0);
  }

  /** Another one wherever something that is drawn moves. */
  get signature() {
    return [this.x0, this.x1, this.y0, this.y1, this.left, this.top, this.width, this.height].join();
  }

  /** Whether the map is of one dimension: y means nothing in latent space. @param {Plane} plane */
  static isLine({ directions: [, v] }) {
    return v.length === 1;
  }

  /** @param {Pair} at */
  contains([px, py]) {
    return px >= 0 && py >= 0 && px <= this.width && py <= this.height;
  }

  /** @param {number} x @param {number} y @returns {Pair} */
  pixels(x, y) {
    return [(x - this.x0) * this.scaleX, (this.y1 - y) * this.scaleY];
  }

  /**
   * Where a latent point stands.
   *
   * @param {Plane} plane
   * @param {Numbers} z
   */
  toPixels({ origin, directions: [u, v] }, z) {
    let [x, y] = [0, 0];
    for (let d = 0; d < z.length; d++) {
      x += u[d] * (z[d] - origin[d]);
      y += v[d] * (z[d] - origin[d]);
    }
    return this.pixels(x, y);
  }

  /**
   * The latent point under a pixel; directions that the map does not show stay as in mu.
   *
   * @param {Plane} plane
   * @param {Pair} at
   * @param {Numbers} mu
   */
  toLatent(plane, [px, py], mu) {
    const [u, v] = plane.directions;
    const [x0, y0] = this.toPixels(plane, mu);
    const [dx, dy] = [(px - x0) / this.scaleX, (y0 - py) / this.scaleY];
    return Float64Array.from(mu, (value, d) => value + dx * u[d] + dy * v[d]);
  }

  /**
   * Half-axes in pixels and angle in degrees of the 1-sigma ellipse.
   *
   * @param {Plane} plane
   * @param {Numbers} sigma
   */
  ellipse({ directions: [u, v] }, sigma) {
    const [sx, sy] = [this.scaleX, -this.scaleY];
    let [a, b, c] = [0, 0, 0];
    for (let d = 0; d < sigma.length; d++) {
      const s = sigma[d] * sigma[d];
      a += s * u[d] * u[d] * sx * sx;
      b += s * u[d] * v[d] * sx * sy;
      c += s * v[d] * v[d] * sy * sy;
    }
    const middle = (a + c) / 2;
    const spread = Math.hypot((a - c) / 2, b);
    const angle = (Math.atan2(2 * b, a - c) / 2) * (180 / Math.PI);
    return [Math.sqrt(middle + spread), Math.sqrt(Math.max(middle - spread, 0)), angle];
  }
}
