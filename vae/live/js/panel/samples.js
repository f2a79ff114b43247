import { contextOf, Picture } from "../picture.js";

/** @import { Shared } from "../types.d.ts" */

/** The decoded samples of q, side by side: those of one q at a time. */
export class Samples {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.picture = new Picture("decoded samples of q", "samples");
    this.coming = new Picture("", ""); // where they are drawn, until all are there
    this.S = 0;
    this.columns = this.across = this.lines = 1;
  }

  /** Gives the canvas the pixels that it covers on the screen; says whether S is another. */
  fit() {
    const { scene, settings } = this.shared;
    const { S } = settings.values;
    const aspect = scene.running.look.W / scene.running.look.H;
    const { canvas } = this.picture;
    this.columns = S <= 16 ? Math.min(S, 8) : 16;
    this.lines = Math.ceil(S / this.columns);
    this.across = S <= 16 ? 8 : 16; // a single sample must not fill the panel
    const width = canvas.clientWidth || 480;
    const height = ((width / this.across) * this.lines) / aspect;
    canvas.style.height = `${height}px`;
    const isOther = S !== this.S;
    this.coming.resize(width, height);
    if (this.picture.resize(width, height) || isOther) this.picture.clear();
    if (isOther) this.coming.clear();
    this.S = S;
    return isOther;
  }

  /** All of a q are there. */
  show() {
    const { canvas } = this.picture;
    this.picture.clear();
    contextOf(canvas).drawImage(this.coming.canvas, 0, 0);
  }

  /** @param {number} s @param {Float32Array} raw @param {number} offset */
  draw(s, raw, offset) {
    const { columns, across, lines } = this;
    const model = this.shared.scene.running;
    const mean = model.meanOf(raw, offset);
    const gap = 0.04;
    this.coming.draw(mean, model.look, this.shared.settings.values.smooth, [
      (s % columns) / across + gap / 2 / across,
      Math.floor(s / columns) / lines + gap / 2 / lines,
      (1 - gap) / across,
      (1 - gap) / lines,
    ]);
  }
}
