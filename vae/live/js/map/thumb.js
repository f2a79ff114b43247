import { el } from "../dom.js";
import { PLOT_COLOURS } from "../look.js";
import { Picture } from "../picture.js";
import { vector } from "../text.js";

/**
 * @import { Numbers, Pair, Shared } from "../types.d.ts"
 * @import { Axes } from "./axes.js"
 */

/** The decode under the pointer, beside it; on a layout with the image of the nearest point. */
export class Thumb {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.decoded = new Picture("decoded under the pointer");
    this.x = new Picture("x of the point nearest to the pointer");
    for (const { canvas } of [this.decoded, this.x]) canvas.style.borderRadius = "3px";
    this.text = el("div", {
      style: "font:12px var(--st-font, sans-serif);padding:2px 0 0;text-align:center;white-space:nowrap",
    });
    const style =
      "position:absolute;padding:5px;border-radius:6px;pointer-events:none;" +
      "background:var(--st-background-color,#fff);color:var(--st-text-color,#222);" +
      "box-shadow:0 1px 8px rgba(0,0,0,.35);will-change:transform;left:0;top:0";
    const pictures = el("div", { style: "display:flex;gap:4px;justify-content:center" }, this.decoded.canvas);
    this.box = el("div", { class: "elbo-thumb", hidden: "", style }, pictures, this.text);
  }

  /**
   * Shows the decode of z; of the data point of that index, where it is one's mu.
   *
   * @param {Float64Array} z
   * @param {number | null} index
   * @param {Axes} axes
   * @param {Pair} at the pointer
   */
  draw(z, index, axes, at) {
    const { classes, frames, scene, selection, settings } = this.shared;
    const model = scene.running;
    const { smooth } = settings.values;
    const { look } = model;
    const width = Math.max(84, Math.min(128, look.W * 3));
    const height = Math.round((width * look.H) / look.W);
    for (const picture of [this.decoded, this.x]) {
      if (!picture.resize(width, height)) continue;
      Object.assign(picture.canvas.style, { width: `${width}px`, height: `${height}px` });
    }
    const mean = frames.timed(() => model.meanGiven(z, classes.labelAt(index)), model.remote !== null);
    if (mean) this.decoded.draw(mean, look, smooth);
    let image = null;
    if (index !== null) {
      image = (index === selection.index && selection.image) || (scene.points?.imageOf(index) ?? null);
    }
    if (image) {
      this.x.draw(image, look, smooth, undefined, PLOT_COLOURS.x);
      this.decoded.canvas.before(this.x.canvas);
    } else this.x.canvas.remove();
    const dims = scene.plane?.dims;
    this.text.textContent =
      index === null
        ? `z = ${vector(dims?.length ? dims.map((d) => z[d]) : z.slice(0, 2))}`
        : `point ${index.toLocaleString("en")}${image ? ": x, E[x|z = μ]" : " at its μ"}`;
    this.moveTo(axes, at, Math.max(image ? 2 * width + 4 : width, 96) + 10, height + 28);
  }

  /** @param {Axes} axes @param {Pair} at @param {number} width @param {number} height */
  moveTo(axes, [x, y], width, height) {
    const left = x + 20 + width > axes.width ? x - 20 - width : x + 20;
    const top = y + 24 + height > axes.height ? y - 24 - height : y + 24;
    this.box.style.transform = `translate(${Math.max(0, left)}px,${Math.max(0, top)}px)`;
  }
}
