import { NATS, PRIOR_COLOUR, Q_COLOUR } from "./constants.js";
import { spreadOf } from "./program/terms.js";

/**
 * @import { Families, Feature, Numbers, PackHeader } from "./types.d.ts"
 * @typedef {[number, number, number, number]} Box left, top, width, height, in pixels of a canvas
 */

const PLOT_REACH = 3; // the standardised axis goes so far each way, as vae/plots.py has it
const [ACROSS, DOWN] = [96, 48]; // the proportions of a small plot
const X_COLOUR = `rgb(${NATS[4].join()})`;
export const PLOT_COLOURS = { x: X_COLOUR, mean: Q_COLOUR, axis: PRIOR_COLOUR };

/** What one point is, and how that is drawn: an image, a series or a vector. */
export class Look {
  /** @param {PackHeader} header @param {Families | null} families null: of an image */
  constructor({ image_shape, kind, features }, families) {
    this.shape = /** @type {[number, number, number]} */ (image_shape);
    this.kind = /** @type {"image" | "series" | "vector"} */ (kind ?? "image");
    this.features = /** @type {Feature[]} */ (features ?? []);
    this.families = families;
    this.placed = new Float32Array(this.features.length); // on the axis, while a vector is drawn
    const [, H, W] = this.shape;
    // Of a picture: of a plot only the proportions count.
    this.W = this.isImage ? W : ACROSS;
    this.H = this.isImage ? H : DOWN;
  }

  get isImage() {
    return this.kind === "image";
  }

  /** The feature that a number is of, by its place. @param {number} i */
  featureOf(i) {
    return this.features[this.kind === "vector" ? i : Math.floor(i / this.shape[2])];
  }

  /** A number on the standardised axis: vae/features.py, on_axis. @param {number} value @param {number} i */
  onAxis(value, i) {
    const [, kind, , mean, scale] = this.featureOf(i);
    if (kind === "count") return (Math.log1p(Math.max(value, 0)) - mean) / scale;
    return kind === "binary" ? 2 * value - 1 : value;
  }

  /** The same number as it was measured. @param {number} value @param {number} i */
  asMeasured(value, i) {
    const [, kind, , mean, scale] = this.featureOf(i);
    if (kind === "count" || kind === "binary") return value;
    const own = value * scale + mean;
    return kind === "positive" ? Math.exp(own) : own;
  }

  /** It in words, with its unit. @param {number} value @param {number} i */
  said(value, i) {
    if (Number.isNaN(value)) return "missing";
    const unit = this.featureOf(i)[2];
    const text = `${Number(this.asMeasured(value, i).toPrecision(4))}`;
    return unit ? `${text} ${unit}` : text;
  }

  /** The ends of a mean's spread on the axis. @param {Numbers} mean @param {number} i */
  spread(mean, i) {
    const sd = spreadOf(/** @type {Families} */ (this.families), mean, i);
    return [this.onAxis(mean[i] - sd, i), this.onAxis(mean[i] + sd, i)];
  }

  /**
   * A small plot of values, in one colour.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {Numbers} values
   * @param {Box} box
   * @param {string} colour
   */
  plot(context, values, [x, y, w, h], colour) {
    context.fillStyle = PRIOR_COLOUR;
    context.globalAlpha = 0.35;
    context.fillRect(x, y + h / 2, w, Math.max(1, h / 60));
    context.globalAlpha = 1;
    if (this.kind === "series") this.lines(context, values, [x, y, w, h], colour, Math.max(1, h / 30));
    else this.bars(context, values, [x, y, w, h], colour);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Numbers} values
   * @param {Box} box
   * @param {string} colour
   * @param {number} width
   */
  lines(context, values, [x, y, w, h], colour, width) {
    const [C, , n] = this.shape;
    Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
    // Of several numbers in a pixel the least and the most are drawn.
    const per = Math.max(1, Math.floor(n / Math.max(1, w)));
    for (let c = 0; c < C; c++) {
      context.setLineDash(c ? [3 * c * width, 2 * width] : []);
      context.beginPath();
      let isDown = false; // the pen leaves the paper where values are missing
      for (let t = 0; t < n; t += per) {
        const [low, high] = rangeIn(values, c * n + t, c * n + Math.min(n, t + per));
        const left = x + (w * (t + per / 2)) / n;
        if (Number.isNaN(low)) isDown = false;
        else {
          if (isDown) context.lineTo(left, placeOf(low, y, h));
          else context.moveTo(left, placeOf(low, y, h));
          if (high > low || !isDown) context.lineTo(left, placeOf(high, y, h));
          isDown = true;
        }
      }
      context.stroke();
    }
    context.setLineDash([]);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Numbers} values
   * @param {Box} box
   * @param {string} colour
   */
  bars(context, values, [x, y, w, h], colour) {
    const n = this.features.length;
    const per = Math.max(1, Math.floor(n / Math.max(1, w)));
    const wide = (w * per) / n;
    const gap = wide > 4 ? wide * 0.25 : 0;
    const middle = y + h / 2;
    context.fillStyle = colour;
    for (let i = 0; i < n; i++) this.placed[i] = this.onAxis(values[i], i);
    for (let i = 0; i < n; i += per) {
      const [low, high] = rangeIn(this.placed, i, Math.min(n, i + per));
      if (Number.isNaN(low)) continue;
      const top = Math.min(middle, placeOf(high, y, h));
      const tall = Math.max(middle, placeOf(low, y, h)) - top;
      context.fillRect(x + (i / per) * wide + gap / 2, top, wide - gap, Math.max(1, tall));
    }
  }
}

/** The least and the most of some values, NaN where none is there. @param {Numbers} values @param {number} from @param {number} to */
function rangeIn(values, from, to) {
  let [low, high] = [Number.NaN, Number.NaN];
  for (let i = from; i < to; i++) {
    if (!(values[i] >= low)) low = Number.isNaN(values[i]) ? low : values[i];
    if (!(values[i] <= high)) high = Number.isNaN(values[i]) ? high : values[i];
  }
  return [low, high];
}

/**
 * A sentence that was written of images, for what one point is: of vectors and series the same.
 *
 * @param {string} text
 * @param {string} kind
 */
export function spoken(text, kind) {
  if (kind === "image") return text;
  const many = kind === "series" ? kind : `${kind}s`;
  return text
    .replace(/\ban image\b/g, `a ${kind}`)
    .replace(/\bimages\b/g, many)
    .replace(/\bImage\b|\bimage\b/g, kind)
    .replace(/^The (\w+), as numbers between 0 and 1/, "The $1, as numbers")
    .replace(/\bpixel(s?)\b/g, "number$1");
}

/** Where a value of the axis lies between top and bottom. @param {number} value @param {number} y @param {number} h */
export function placeOf(value, y, h) {
  return y + h * (0.5 - Math.min(Math.max(value, -PLOT_REACH), PLOT_REACH) / (2 * PLOT_REACH));
}
