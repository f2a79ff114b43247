import { base64Of } from "../bytes.js";
import { button, el } from "../dom.js";
import { Pad } from "../pad.js";
import { Picture } from "../picture.js";
import { lineOfInk, prepare } from "../prepare.js";

/** @import { Shared } from "../types.d.ts" */

const IMAGE_TITLE = "draw an image and let the encoder read it";

/** The pad, and what the encoder makes of the drawing on it. */
export class Drawing {
  /**
   * @param {Shared} shared
   * @param {() => void} changed the pad was opened or closed
   * @param {() => void} left it was closed by its own button
   */
  constructor(shared, changed, left) {
    this.shared = shared;
    this.changed = changed;
    this.pad = new Pad((time) => shared.frames.wake("drawing", time));
    this.view = new Picture("the drawing as the model reads it", "pad-view");
    this.box = el("div", { class: "padbox", hidden: "" }, this.pad.canvas, this.view.canvas);
    this.button = button("Draw", () => this.toggle(left), { title: IMAGE_TITLE });
    const limits = { min: "0.03", max: "0.2", step: "0.005", value: `${this.pad.thickness}` };
    const thickness = el("input", { type: "range", ...limits, "aria-label": "thickness" });
    thickness.addEventListener("input", () => {
      this.pad.thickness = Number(thickness.value);
    });
    const clear = button("Clear", () => {
      this.pad.clear();
      shared.frames.wake("drawing");
    });
    const send = button("Send to Points", () => this.send());
    send.hidden = !shared.host.can("drawn");
    this.tools = el("div", { class: "bar", hidden: "" }, el("label", {}, "thickness ", thickness), clear, send);
  }

  toggle(/** @type {() => void} */ left) {
    if (!this.isOpen) {
      this.open();
      return;
    }
    this.close();
    left();
  }

  get isOpen() {
    return this.shared.selection.drawing !== null;
  }

  open() {
    this.shared.selection.touch();
    this.shared.selection.drawing = { image: this.preparedInk(), q: null };
    this.showOpen(true);
    this.shared.frames.wake("drawing");
  }

  close() {
    if (!this.isOpen) return;
    this.shared.selection.drawing = null;
    this.showOpen(false);
  }

  /** @param {boolean} isOpen */
  showOpen(isOpen) {
    this.box.hidden = !isOpen;
    this.tools.hidden = !isOpen;
    this.button.setAttribute("aria-pressed", `${isOpen}`);
    this.changed();
  }

  /** The button is there where the encoder runs here and reads one channel. */
  show() {
    const model = this.shared.scene.running;
    this.button.hidden = !model.encoder || model.C !== 1 || model.look.kind === "vector";
    this.button.title = model.look.isImage ? IMAGE_TITLE : "draw a line from left to right and let the encoder read it";
  }

  preparedInk() {
    const { drawing, H, W, look } = this.shared.scene.running;
    if (!look.isImage) return lineOfInk(this.pad.ink(), this.pad.side, W);
    return prepare(this.pad.ink(), this.pad.side, drawing, H, W);
  }

  /** The encoder's answer to the drawing becomes q. */
  encode() {
    const { scene, selection } = this.shared;
    if (!this.isOpen) return;
    const image = this.preparedInk();
    const q = this.pad.isEmpty ? null : scene.running.encode(image);
    selection.drawing = { image, q };
    if (q) selection.take(q);
  }

  draw() {
    const { scene, selection, settings } = this.shared;
    if (!selection.drawing) return;
    if (this.view.resize(56, 56)) this.view.clear();
    this.view.draw(selection.drawing.image, scene.running.look, settings.values.smooth);
  }

  /** The drawing as base64 of its pixels, if there is one. */
  get bytes() {
    const { drawing } = this.shared.selection;
    if (!drawing) return null;
    const { isImage } = this.shared.scene.running.look;
    const { buffer } = drawing.image;
    return base64Of(isImage ? Uint8Array.from(drawing.image, (v) => Math.round(v * 255)) : new Uint8Array(buffer));
  }

  send() {
    if (this.pad.isEmpty) this.shared.say("Draw something first.");
    else this.shared.host.send("drawn", this.bytes);
  }
}
