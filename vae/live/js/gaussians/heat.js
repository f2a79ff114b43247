import { OTHER_COLOUR, Q_COLOUR } from "../constants.js";
import { el } from "../dom.js";
import { contextOf } from "../picture.js";

/**
 * @import { Gaussian } from "./gaussian.js"
 * @import { View } from "./view.js"
 */

export const COLOURS = { P: Q_COLOUR, Q: OTHER_COLOUR }; // P plays the part of q

/** The integrand first log(first / second) as a map: the colour of the denser, as deep as it counts. */
export class Heat {
  constructor() {
    this.canvas = el("canvas", { class: "heat", role: "img", "aria-label": "the integrand of the KL" });
    this.scratch = document.createElement("canvas");
    this.values = new Float32Array(0);
    this.data = new ImageData(1, 1);
  }

  /** Draws it for a window; returns the largest absolute value. */
  draw(/** @type {Gaussian} */ first, /** @type {Gaussian} */ second, /** @type {View} */ view) {
    // Fine enough for the thinnest axis, as far as a frame allows.
    const thinnest = Math.min(...first.sigma, ...second.sigma) * view.scale;
    const cell = Math.max(2.5, Math.min(5, thinnest / 2));
    const [W, H] = [Math.ceil(view.width / cell), Math.ceil(view.height / cell)];
    const most = this.count(first, second, view, cell, W, H);
    this.paint(W, H, most, COLOURS[first.name], COLOURS[second.name]);
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(view.width * ratio), Math.round(view.height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    const context = contextOf(this.canvas);
    context.clearRect(0, 0, w, h);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.scratch, 0, 0, W * cell * ratio, H * cell * ratio);
    return most;
  }

  /**
   * The values on a lattice of W x H cells; returns the largest absolute one.
   *
   * @param {Gaussian} first
   * @param {Gaussian} second
   * @param {View} view
   * @param {number} cell pixels
   * @param {number} W
   * @param {number} H
   */
  count(first, second, view, cell, W, H) {
    const step = cell / view.scale;
    const p = density(first, step);
    const q = density(second, step);
    if (this.values.length !== W * H) this.values = new Float32Array(W * H);
    const { values } = this;
    const [left, top] = view.toPlane([cell / 2, cell / 2]);
    let most = 0;
    for (let j = 0, i = 0; j < H; j++) {
      const y = top - j * step;
      for (let k = 0; k < W; k++, i++) {
        const x = left + k * step;
        const logP = logDensity(p, x, y);
        if (logP < p.top - 30) {
          values[i] = 0;
          continue;
        }
        const value = Math.exp(logP) * (logP - logDensity(q, x, y));
        values[i] = value;
        most = Math.max(most, Math.abs(value));
      }
    }
    return most;
  }

  /** @param {number} W @param {number} H @param {number} most @param {string} adds @param {string} subtracts */
  paint(W, H, most, adds, subtracts) {
    const { values } = this;
    if (this.scratch.width !== W || this.scratch.height !== H || this.data.width !== W) {
      [this.scratch.width, this.scratch.height] = [W, H];
      this.data = new ImageData(W, H);
    }
    const out = new Uint32Array(this.data.data.buffer);
    const [up, down] = [adds, subtracts].map((colour) => {
      const [r, g, b] = [1, 3, 5].map((i) => Number.parseInt(colour.slice(i, i + 2), 16));
      return (b << 16) | (g << 8) | r;
    });
    const scale = most > 1e-12 ? 1 / most : 0;
    for (let i = 0; i < W * H; i++) {
      const value = values[i] * scale;
      out[i] = ((Math.sqrt(Math.abs(value)) * 225) << 24) | (value > 0 ? up : down);
    }
    contextOf(this.scratch).putImageData(this.data, 0, 0);
  }

  clear() {
    contextOf(this.canvas).clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

/** What logDensity needs. A lattice of squares shows a density widened by about half a square. */
function density(/** @type {Gaussian} */ { mu, cov }, /** @type {number} */ step) {
  const wider = (0.4 * step) ** 2;
  const [a, b, c] = [cov[0] + wider, cov[1], cov[2] + wider];
  const det = a * c - b * b;
  const top = -Math.log(2 * Math.PI) - Math.log(det) / 2;
  return { x: mu[0], y: mu[1], xx: c / det, xy: -b / det, yy: a / det, top };
}

/** @param {ReturnType<typeof density>} d @param {number} x @param {number} y */
function logDensity(d, x, y) {
  const u = x - d.x;
  const v = y - d.y;
  return d.top - (d.xx * u * u + 2 * d.xy * u * v + d.yy * v * v) / 2;
}
