import { el } from "../dom.js";
import { PLOT_COLOURS } from "../look.js";
import { contextOf, paint } from "../picture.js";
import { Axes } from "./axes.js";

/**
 * @import { Look } from "../look.js"
 * @import { Model } from "../model.js"
 * @import { Pair, Plane, Shared } from "../types.d.ts"
 */

const MOST_TILES = 4000; // that are kept
const TILE = 120; // pixels of a plot

/**
 * The manifold: a lattice of decodes under the chart, whose nodes stay where they are in latent
 * space, so that a pan or a small zoom finds most of its tiles already painted.
 */
export class Tiles {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.canvas = el("canvas", { class: "elbo-manifold", style: "position:absolute;pointer-events:none;opacity:.65" });
    /** @type {Map<string, HTMLCanvasElement>} */
    this.painted = new Map(); // by step and place in the lattice
    /** @type {number[][]} */
    this.missing = []; // [i, j, distance from the middle], the nearest last
    this.signature = ""; // of what the tiles were painted for
    this.step = 1; // of the lattice, in latent space
    this.isLine = false;
    /** @type {Axes | null} */
    this.axes = null;
    /** @type {[number, number, number, number] | null} */
    this.legend = null; // the chart's, which must stay legible
  }

  get context() {
    return /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
  }

  clear() {
    if (this.canvas.width) this.canvas.width = 0;
    this.missing = [];
  }

  /**
   * Lays the tiles out anew and lists the missing ones, those in the middle first.
   *
   * @param {Axes} axes
   * @param {[number, number, number, number] | null} legend
   */
  lay(axes, legend) {
    const { scene, selection, settings } = this.shared;
    const { smooth } = settings.values;
    const plane = /** @type {Plane} */ (scene.plane);
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.axes = axes;
    this.legend = legend;
    this.canvas.width = Math.round(axes.width * ratio);
    this.canvas.height = Math.round(axes.height * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.context.imageSmoothingEnabled = smooth;
    const step = 2 ** Math.ceil(Math.log2(38 / axes.scaleX)); // 38 to 76 pixels a tile
    this.step = step;
    const others = Array.from(selection.q.mu, (v, d) => (plane.dims?.includes(d) ? "" : v.toFixed(4))).join();
    const signature = JSON.stringify([scene.running.id, scene.running.label, plane.directions, others, smooth]);
    if (signature !== this.signature) this.painted.clear();
    this.signature = signature;
    const [i0, i1] = [Math.floor(axes.x0 / step), Math.floor(axes.x1 / step)];
    this.isLine = Axes.isLine(plane); // one row, at the foot of the map
    const [j0, j1] = this.isLine ? [0, 0] : [Math.floor(axes.y0 / step), Math.floor(axes.y1 / step)];
    this.missing = [];
    for (let i = i0; i <= i1; i++) {
      for (let j = j0; j <= j1; j++) {
        const tile = this.painted.get(`${step},${i},${j}`);
        if (tile) this.place(i, j, tile);
        else this.missing.push([i, j, Math.hypot(i - (i0 + i1) / 2, j - (j0 + j1) / 2)]);
      }
    }
    this.missing.sort((a, b) => b[2] - a[2]);
    for (const key of this.painted.keys()) {
      if (this.painted.size <= MOST_TILES) break;
      this.painted.delete(key);
    }
  }

  /** Decodes one missing tile; false when there is none, or a worker is at it. */
  paint() {
    const next = this.missing.at(-1);
    if (!next || !this.axes) return false;
    const { scene, selection } = this.shared;
    const model = scene.running;
    const plane = /** @type {Plane} */ (scene.plane);
    const [i, j] = next;
    const at = this.axes.pixels((i + 0.5) * this.step, (j + 0.5) * this.step);
    const mean = model.tile(this.axes.toLatent(plane, at, selection.q.mu));
    if (!mean) return false;
    this.missing.pop();
    const tile = model.look.isImage ? painted(model, mean) : plotted(model.look, mean);
    this.painted.set(`${this.step},${i},${j}`, tile);
    this.place(i, j, tile);
    return true;
  }

  /** @param {number} i @param {number} j @param {HTMLCanvasElement} tile */
  place(i, j, tile) {
    const axes = /** @type {Axes} */ (this.axes);
    let [left, top] = axes.pixels(i * this.step, (j + 1) * this.step).map(Math.round);
    let [right, bottom] = axes.pixels((i + 1) * this.step, j * this.step).map(Math.round);
    if (this.isLine) [top, bottom] = [axes.height - (right - left), axes.height];
    const gap = Math.round((right - left) * 0.06); // tells one picture from the next
    this.context.drawImage(tile, left + gap, top + gap, right - left - 2 * gap, bottom - top - 2 * gap);
    if (this.legend) this.context.clearRect(...this.legend);
  }
}

/** An image, a pixel for each of its own. @param {Model} model @param {Float32Array} mean */
function painted({ C, H, W }, mean) {
  const tile = el("canvas", { width: W, height: H });
  const data = new ImageData(W, H);
  paint(mean, C, H * W, data.data);
  tile.getContext("2d")?.putImageData(data, 0, 0);
  return tile;
}

/** A plot in a square, as the lattice's cells are. @param {Look} look @param {Float32Array} mean */
function plotted(look, mean) {
  const tile = el("canvas", { width: TILE, height: TILE });
  look.plot(contextOf(tile), mean, [0, TILE * 0.1, TILE, TILE * 0.8], PLOT_COLOURS.mean);
  return tile;
}
