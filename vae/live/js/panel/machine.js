import { el } from "../dom.js";
import { PLOT_COLOURS } from "../look.js";
import { Picture } from "../picture.js";

/**
 * @import { Shared } from "../types.d.ts"
 * @import { Drawing } from "./drawing.js"
 * @import { Plot } from "./plot.js"
 * @import { Rows } from "./rows.js"
 */

/** What a VAE is, from left to right: x, the encoder, q's mu and sigma, the decoder, the decoded mean. */
export class Machine {
  /** @param {Shared} shared @param {Drawing} drawing @param {Rows} rows @param {Plot} plot */
  constructor(shared, drawing, rows, plot) {
    this.shared = shared;
    this.plot = plot;
    this.given = new Picture("the chosen x", "given");
    this.mean = new Picture("the decoded mean at z = mu", "mean");
    this.title = el("div", { class: "title" });
    /** @type {unknown[]} */
    this.drawn = []; // what the picture of x was made of
    this.givenText = el("figcaption", {}, "x");
    this.meanText = el("figcaption");
    const { follow, manifold } = shared.settings.buttons;
    this.tools = el("div", { class: "bar" }, follow, manifold, drawing.button);
    this.headline = el("div", { class: "headline" }, this.title, this.tools);
    const slot = el("div", { class: "slot" }, this.given.canvas, drawing.box);
    this.element = el("div", { class: "machine" });
    this.element.append(
      el("figure", { class: "x" }, slot, this.givenText),
      el("div", { class: "network" }, shared.words.of("encoder")),
      rows.first,
      el("div", { class: "network widens" }, shared.words.of("decoder")),
      el("figure", { class: "decoded" }, this.mean.canvas, this.meanText),
    );
  }

  /** Names what is selected. */
  show() {
    const { scene, selection } = this.shared;
    const { point, drawing, image } = selection;
    if (!point) return;
    const isPlain = scene.only !== null;
    const index = point.id.index.toLocaleString("en");
    const name = isPlain ? `Picture ${index}: ${point.label}` : `Point ${index}, label ${point.label}`;
    this.title.textContent = drawing ? "Your drawing" : name;
    this.given.canvas.hidden = drawing !== null;
    const given =
      point.x || image ? (isPlain ? "the picture" : "x") : `${isPlain ? "the picture" : "x"} is not at hand`;
    this.givenText.textContent = drawing ? "draw here" : given;
    this.meanText.textContent = isPlain ? "made from its place" : "E[x|z = μ]";
  }

  /** Gives each canvas the pixels that it covers on the screen; says whether one has changed. */
  fit() {
    const { W, H } = this.shared.scene.running.look;
    let hasChanged = false;
    for (const picture of [this.given, this.mean]) if (picture.cover(W, H)) hasChanged = true;
    return hasChanged;
  }

  draw() {
    const { scene, selection, settings } = this.shared;
    const { smooth } = settings.values;
    const { x } = selection;
    this.drawMean();
    const parts = [x, scene.running, smooth, selection.drawing, this.given.canvas.width];
    if (selection.drawing || parts.every((part, i) => part === this.drawn[i])) return;
    this.drawn = parts;
    if (x) this.given.draw(x, scene.running.look, smooth, undefined, PLOT_COLOURS.x);
    else this.given.clear();
  }

  drawMean() {
    const { frames, scene, selection, settings } = this.shared;
    const mean = frames.timed(() => scene.running.mean(selection.q.mu), scene.running.remote !== null);
    if (!mean) return;
    this.mean.draw(mean, scene.running.look, settings.values.smooth);
    if (!scene.running.look.isImage) this.plot.take(mean);
  }
}
