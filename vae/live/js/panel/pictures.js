import { el } from "../dom.js";
import { Picture } from "../picture.js";

/**
 * @import { Shared } from "../types.d.ts"
 * @import { Bound } from "./bound.js"
 * @import { Drawing } from "./drawing.js"
 */

/** The title, the decoded mean, the image that q is held against and what its pixels cost. */
export class Pictures {
  /** @param {Shared} shared @param {Drawing} drawing @param {Bound} bound */
  constructor(shared, drawing, bound) {
    this.shared = shared;
    this.cost = bound.cost;
    this.mean = new Picture("the decoded mean at z = mu", "mean");
    this.given = new Picture("the chosen image x", "given");
    this.title = el("div", { class: "title" });
    this.givenText = el("figcaption", {}, "x");
    const { follow, manifold } = shared.settings.buttons;
    const head = el("div", { class: "headline" }, this.title);
    head.append(el("div", { class: "bar" }, follow, manifold, drawing.button));
    const slot = el("div", { class: "slot" }, this.given.canvas, drawing.box);
    this.element = el("div", { class: "pictures" });
    this.element.append(
      el("figure", { class: "large" }, this.mean.canvas, el("figcaption", {}, "E[x|z = μ]")),
      head,
      el("figure", { class: "small" }, slot, this.givenText),
      el("figure", { class: "small" }, this.cost.canvas, bound.costText),
    );
  }

  /** Names what is selected. */
  show() {
    const { point, drawing, image } = this.shared.selection;
    if (!point) return;
    this.title.textContent = drawing
      ? "Your drawing"
      : `Point ${point.id.index.toLocaleString("en")}, label ${point.label}`;
    this.given.canvas.hidden = drawing !== null;
    this.givenText.textContent = drawing ? "draw here" : point.x || image ? "x" : "x is not at hand";
  }

  /** Gives each canvas the pixels that it covers on the screen; says whether one has changed. */
  fit() {
    const { W, H } = this.shared.scene.running;
    let hasChanged = false;
    for (const picture of [this.mean, this.given, this.cost]) {
      picture.canvas.style.aspectRatio = `${W / H}`;
      const width = picture.canvas.clientWidth || 120;
      if (picture.resize(width, (width * H) / W)) hasChanged = true;
    }
    return hasChanged;
  }

  draw() {
    const { frames, scene, selection, settings } = this.shared;
    const model = scene.running;
    const { smooth } = settings.values;
    const { x } = selection;
    this.mean.draw(
      frames.timed(() => model.mean(selection.q.mu)),
      model.shape,
      smooth,
    );
    if (selection.drawing) return;
    if (x) this.given.draw(x, model.shape, smooth);
    else this.given.clear();
  }
}
