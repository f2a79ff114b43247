import { NATS } from "./constants.js";
import { el } from "./dom.js";
import { PLOT_COLOURS } from "./look.js";

/** @import { Look } from "./look.js" */

/** A canvas that shows images of C x H x W in [0, 1], each pixel a square unless smoothed. */
export class Picture {
  constructor(/** @type {string} */ label, className = "") {
    this.canvas = el("canvas", { role: "img", "aria-label": label, class: className });
    this.scratch = document.createElement("canvas");
    this.data = new ImageData(1, 1);
  }

  /** Sets the drawing surface in device pixels; drawing starts afresh if they are others. */
  resize(/** @type {number} */ width, /** @type {number} */ height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width === w && this.canvas.height === h) return false;
    [this.canvas.width, this.canvas.height] = [w, h];
    return true;
  }

  /** Gives it the pixels that an image of W x H covers on the screen; says whether they are others. */
  cover(/** @type {number} */ W, /** @type {number} */ H) {
    this.canvas.style.aspectRatio = `${W / H}`;
    const width = this.canvas.clientWidth || 120;
    return this.resize(width, (width * H) / W);
  }

  clear() {
    contextOf(this.canvas).clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /**
   * Draws a point into a rectangle given in shares of the canvas.
   *
   * @param {Float32Array} pixels
   * @param {Look} look of the model: an image is painted, others are plotted
   * @param {boolean} smooth
   * @param {[number, number, number, number]} place
   * @param {string} colour of a plot
   */
  draw(pixels, look, smooth = false, [x, y, w, h] = [0, 0, 1, 1], colour = PLOT_COLOURS.mean) {
    if (!look.isImage) {
      const { width, height } = this.canvas;
      const box = /** @type {[number, number, number, number]} */ ([x * width, y * height, w * width, h * height]);
      contextOf(this.canvas).clearRect(...box);
      look.plot(contextOf(this.canvas), pixels, box, colour);
      return;
    }
    const [C, H, W] = look.shape;
    this.fit(W, H);
    paint(pixels, C, H * W, this.data.data);
    contextOf(this.scratch).putImageData(this.data, 0, 0);
    const context = contextOf(this.canvas);
    const { width, height } = this.canvas;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.scratch, x * width, y * height, w * width, h * height);
  }

  /**
   * Draws values (H, W) in the colours for nats, from `low` to `high`.
   *
   * @param {Float32Array} values
   * @param {number} H
   * @param {number} W
   * @param {[number, number]} range
   */
  drawNats(values, H, W, [low, high]) {
    this.fit(W, H);
    const out = new Uint32Array(this.data.data.buffer);
    const last = NATS_COLOURS.length - 1;
    for (let i = 0; i < H * W; i++) {
      out[i] = NATS_COLOURS[Math.max(0, Math.min(last, Math.round(((values[i] - low) / (high - low)) * last)))];
    }
    contextOf(this.scratch).putImageData(this.data, 0, 0);
    const context = contextOf(this.canvas);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.scratch, 0, 0, this.canvas.width, this.canvas.height);
  }

  fit(/** @type {number} */ W, /** @type {number} */ H) {
    if (this.data.width === W && this.data.height === H && this.scratch.width === W) return;
    [this.scratch.width, this.scratch.height] = [W, H];
    this.data = new ImageData(W, H);
  }
}

/** @param {HTMLCanvasElement} canvas */
export function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

const NATS_COLOURS = scale(NATS, 256);

/** n colours, as the words of an image, between stops at equal distances. */
function scale(/** @type {number[][]} */ stops, /** @type {number} */ n) {
  return Uint32Array.from({ length: n }, (_, i) => {
    const at = (i / (n - 1)) * (stops.length - 1);
    const k = Math.min(stops.length - 2, Math.floor(at));
    const [r, g, b] = stops[k].map((v, c) => Math.round(v + (at - k) * (stops[k + 1][c] - v)));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}

/**
 * Writes an image (C, area) in [0, 1] as the bytes of an ImageData.
 *
 * @param {Float32Array} pixels
 * @param {number} C
 * @param {number} area
 * @param {Uint8ClampedArray} out
 */
export function paint(pixels, C, area, out) {
  const words = new Uint32Array(out.buffer);
  if (C === 1) {
    for (let i = 0; i < area; i++) {
      const v = (pixels[i] * 255 + 0.5) | 0;
      words[i] = 0xff000000 | (v * 0x010101);
    }
    return;
  }
  for (let i = 0; i < area; i++) {
    const r = (pixels[i] * 255 + 0.5) | 0;
    const g = (pixels[area + i] * 255 + 0.5) | 0;
    const b = (pixels[2 * area + i] * 255 + 0.5) | 0;
    words[i] = 0xff000000 | (b << 16) | (g << 8) | r;
  }
}
