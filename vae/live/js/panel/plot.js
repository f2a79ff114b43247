import { el } from "../dom.js";
import { PLOT_COLOURS, placeOf } from "../look.js";
import { contextOf, Picture } from "../picture.js";

/**
 * @import { Numbers, Shared } from "../types.d.ts"
 * @import { Look } from "../look.js"
 * @import { Model } from "../model.js"
 */

const [ROW, MOST_ROWS] = [19, 14]; // pixels of a feature's row, and how many there are
const SERIES_HEIGHT = 190; // pixels
const STRIP = 0.2; // of the height: what each number costs

/**
 * A vector or series beside its reconstruction, large, with what each number costs: under the bound,
 * where images have the nats of their pixels.
 *
 * A series is two lines with a band, which holds one standard deviation of x given z and the means of all
 * samples. A vector has a row for each feature, those that cost most first: the order is of the point and
 * stays while q moves.
 */
export class Plot {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.picture = new Picture("x, its reconstruction, and what each number costs", "plot");
    this.text = el("figcaption");
    this.element = el("figure", { class: "plot", hidden: "" }, this.picture.canvas, this.text);
    this.picture.canvas.addEventListener("pointermove", (event) => this.tell(event));
    this.picture.canvas.addEventListener("pointerleave", () => this.caption());
    /** @type {Model | null} */
    this.model = null;
    this.mean = this.cost = new Float32Array(0);
    this.range = this.coming = rangeOf(0); // of the samples' means, those that are shown and the next
    this.isMet = false;
    this.isStale = false; // what it shows has changed since it was drawn
    this.height = 0; // on the screen, in pixels
    this.font = this.ink = ""; // of the page: to ask for them takes as long as to draw
    /** @type {number[]} */
    this.order = [];
    /** @type {Float32Array | null} */
    this.orderOf = null; // the x whose costs gave it
  }

  /** Begins anew for a model. @param {Model} model */
  begin(model) {
    this.model = model;
    this.element.hidden = model.look.isImage;
    [this.mean, this.cost] = [new Float32Array(model.n), new Float32Array(model.n)];
    [this.range, this.coming] = [rangeOf(model.n), rangeOf(model.n)];
    this.isMet = false;
    this.order = Array.from({ length: model.n }, (_, i) => i);
    this.orderOf = null;
  }

  get rows() {
    return Math.min(MOST_ROWS, this.order.length);
  }

  /** Gives the canvas its pixels on the screen; says whether they are others. */
  fit() {
    const { look } = /** @type {Model} */ (this.model);
    if (look.isImage) return false;
    const height = look.kind === "series" ? SERIES_HEIGHT : ROW * (this.rows + 1);
    const { canvas } = this.picture;
    if (height !== this.height) canvas.style.height = `${height}px`;
    this.height = height;
    const hasChanged = this.picture.resize(canvas.clientWidth || 320, height);
    if (hasChanged || !this.font) this.takeStyle();
    if (hasChanged) this.isStale = true;
    return hasChanged;
  }

  takeStyle() {
    const { color, fontFamily } = getComputedStyle(this.picture.canvas);
    this.ink = color;
    this.font = fontFamily;
  }

  /** A sample of q. @param {number} s @param {Float32Array} raw @param {number} offset */
  meet(s, raw, offset) {
    const model = /** @type {Model} */ (this.model);
    if (model.look.isImage) return;
    const mean = model.meanOf(raw, offset);
    const { low, high } = this.coming;
    for (let i = 0; i < model.n; i++) {
      low[i] = s ? Math.min(low[i], mean[i]) : mean[i];
      high[i] = s ? Math.max(high[i], mean[i]) : mean[i];
    }
  }

  /** All samples are there: what each number costs, the sum over S. @param {Float32Array} perNumber @param {number} S */
  show(perNumber, S) {
    [this.range, this.coming] = [this.coming, this.range];
    this.isMet = true;
    this.cost = perNumber.map((value) => value / S);
    const { x } = this.shared.selection;
    if (x !== this.orderOf) {
      this.orderOf = x;
      this.order.sort((a, b) => this.cost[b] - this.cost[a]);
    }
    this.isStale = true;
  }

  /** E[x|z] at the mean of q. @param {Float32Array} mean */
  take(mean) {
    this.mean.set(mean);
    this.isStale = true;
  }

  /** Draws what has changed: once in a frame, however many of its parts have. */
  draw() {
    const { model } = this;
    if (!this.isStale || !model || model.look.isImage) return;
    this.isStale = false;
    const { canvas } = this.picture;
    const context = contextOf(canvas);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const ratio = canvas.height / (this.height || canvas.height);
    if (model.look.kind === "series") this.drawSeries(context, model.look, ratio);
    else this.drawRows(context, model.look, ratio);
    this.caption();
  }

  /** @param {CanvasRenderingContext2D} context @param {Look} look @param {number} ratio */
  drawSeries(context, look, ratio) {
    const { width, height } = this.picture.canvas;
    const [C, , n] = look.shape;
    const h = height * (1 - STRIP);
    const per = Math.max(1, Math.floor(n / width)); // numbers in a pixel
    const atX = (/** @type {number} */ t) => (width * (t + per / 2)) / n;
    context.fillStyle = PLOT_COLOURS.axis;
    context.globalAlpha = 0.3;
    context.fillRect(0, h / 2, width, ratio);
    context.fillStyle = PLOT_COLOURS.mean;
    for (let c = 0; c < C; c++) {
      context.beginPath();
      const lows = [];
      for (let t = 0; t < n; t += per) {
        const [low, high] = this.ends(look, c * n + t);
        lows.push([atX(t), placeOf(low, 0, h)]);
        context.lineTo(atX(t), placeOf(high, 0, h));
      }
      for (const [left, top] of lows.reverse()) context.lineTo(left, top);
      context.fill();
    }
    context.globalAlpha = 1;
    const { x } = this.shared.selection;
    if (x) look.lines(context, x, [0, 0, width, h], PLOT_COLOURS.x, 1.5 * ratio);
    look.lines(context, this.mean, [0, 0, width, h], PLOT_COLOURS.mean, 2 * ratio);
    const most = Math.max(0.5, ...this.cost);
    context.fillStyle = PLOT_COLOURS.axis;
    const wide = (width * per) / n;
    for (let t = 0; t < n && x; t += per) {
      let cost = 0; // the most of those in a pixel
      for (let i = t; i < Math.min(n, t + per); i++) {
        let sum = 0;
        for (let c = 0; c < C; c++) sum += this.cost[c * n + i];
        cost = Math.max(cost, sum);
      }
      const tall = Math.min(1, cost / most) * height * STRIP * 0.9;
      context.fillRect((width * t) / n, height - tall, Math.max(1, wide - (wide > 4 ? ratio : 0)), tall);
    }
  }

  /** The spread of x given z, and the samples' means. @param {Look} look @param {number} i */
  ends(look, i) {
    const [low, high] = look.spread(this.mean, i);
    if (!this.isMet) return [low, high];
    return [Math.min(low, look.onAxis(this.range.low[i], i)), Math.max(high, look.onAxis(this.range.high[i], i))];
  }

  /** @param {CanvasRenderingContext2D} context @param {Look} look @param {number} ratio */
  drawRows(context, look, ratio) {
    const { width } = this.picture.canvas;
    const { x } = this.shared.selection;
    const row = ROW * ratio;
    const [left, right] = [0.44 * width, 0.84 * width]; // of the axis
    const place = (/** @type {number} */ v) => left + right - left - placeOf(v, 0, right - left);
    const { ink } = this;
    context.font = `${12 * ratio}px ${this.font}`;
    const most = Math.max(0.5, ...this.order.slice(0, this.rows).map((i) => this.cost[i]));
    context.textBaseline = "middle";
    for (let r = 0; r < this.rows; r++) {
      const i = this.order[r];
      const y = (r + 0.5) * row;
      context.fillStyle = ink;
      const value = x ? look.said(x[i], i) : look.said(this.mean[i], i);
      context.textAlign = "right";
      context.fillText(value, left - 8 * ratio, y);
      const room = left - 16 * ratio - context.measureText(value).width;
      context.textAlign = "left";
      context.globalAlpha = 0.8;
      context.fillText(shortened(context, look.featureOf(i)[0], room), 0, y);
      context.fillStyle = PLOT_COLOURS.axis;
      context.globalAlpha = 0.25;
      context.fillRect(left, y, right - left, ratio);
      context.fillStyle = PLOT_COLOURS.mean;
      const [low, high] = this.ends(look, i);
      context.fillRect(place(low), y - 3 * ratio, place(high) - place(low), 6 * ratio);
      context.globalAlpha = 1;
      if (x && !Number.isNaN(x[i])) dot(context, place(look.onAxis(x[i], i)), y, 3.5 * ratio, PLOT_COLOURS.x, true);
      dot(context, place(look.onAxis(this.mean[i], i)), y, 4.5 * ratio, PLOT_COLOURS.mean, false);
      if (!x) continue;
      context.fillStyle = PLOT_COLOURS.axis;
      const wide = Math.max(0, this.cost[i] / most) * (width - right - 34 * ratio);
      context.fillRect(right + 4 * ratio, y - 5 * ratio, wide, 10 * ratio);
      context.fillStyle = ink;
      context.textAlign = "right";
      context.fillText(this.cost[i].toFixed(1), width, y);
    }
    context.globalAlpha = 0.7;
    context.fillStyle = ink;
    context.textAlign = "right";
    if (x) context.fillText("nats", width, (this.rows + 0.5) * row);
    context.textAlign = "center";
    for (const v of [-2, 0, 2]) context.fillText(`${v}`.replace("-", "−"), place(v), (this.rows + 0.5) * row);
    context.globalAlpha = 1;
  }

  caption() {
    const { look, n } = /** @type {Model} */ (this.model);
    const { x } = this.shared.selection;
    const shown = this.rows < n && look.kind === "vector" ? `the ${this.rows} of ${n} features that cost most; ` : "";
    const band = "band: σ of p(x|z), and the samples";
    const text = `${shown}${x ? "● x, " : ""}○ E[x|z = μ]; ${band}${x ? "; bars: nats" : ""}`;
    if (text !== this.text.textContent) this.text.textContent = text; // else the page is laid out anew
  }

  /** What lies under the pointer. @param {PointerEvent} event */
  tell({ offsetX, offsetY }) {
    const { look, n } = /** @type {Model} */ (this.model);
    const { canvas } = this.picture;
    const { x } = this.shared.selection;
    const isSeries = look.kind === "series";
    const t = Math.min(look.shape[2] - 1, Math.floor((offsetX / canvas.clientWidth) * look.shape[2]));
    const i = isSeries ? t : this.order[Math.min(n - 1, Math.floor(offsetY / ROW))];
    if (i === undefined || i < 0) return;
    const name = isSeries ? `${look.featureOf(i)[0]} at ${t}` : look.featureOf(i)[0];
    const own = x ? `x ${look.said(x[i], i)}, ` : "";
    const nats = x ? `, ${this.cost[i].toFixed(2)} nats` : "";
    this.text.textContent = `${name}: ${own}E[x|z] ${look.said(this.mean[i], i)}${nats}`;
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {number} x
 * @param {number} y
 * @param {number} radius
 * @param {string} colour
 * @param {boolean} isFull
 */
function dot(context, x, y, radius, colour, isFull) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  Object.assign(context, { fillStyle: colour, strokeStyle: colour, lineWidth: radius / 2.5 });
  if (isFull) context.fill();
  else context.stroke();
}

function rangeOf(/** @type {number} */ n) {
  return { low: new Float32Array(n), high: new Float32Array(n) };
}

/** Text that fits. @param {CanvasRenderingContext2D} context @param {string} text @param {number} room */
function shortened(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let n = text.length;
  while (n > 1 && context.measureText(`${text.slice(0, n)}…`).width > room) n--;
  return `${text.slice(0, n)}…`;
}
