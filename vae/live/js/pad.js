import { el } from "./dom.js";

/** @import { Pair } from "./types.d.ts" */

/** A square to draw on with mouse, pen or finger. */
export class Pad {
  /** @param {(time: number) => void} changed */
  constructor(changed) {
    this.side = 224;
    const size = { width: this.side, height: this.side };
    this.canvas = el("canvas", { class: "pad", ...size, role: "img", "aria-label": "draw here" });
    const context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.context = /** @type {CanvasRenderingContext2D} */ (context);
    this.thickness = 0.09;
    this.isEmpty = true;
    this.clear();
    this.listen(changed);
  }

  /** @param {(time: number) => void} changed */
  listen(changed) {
    /** @type {Pair | null} */
    let last = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
      last = this.at(event);
      this.line(last, [last[0] + 0.01, last[1]]);
      changed(event.timeStamp);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const part of event.getCoalescedEvents?.() ?? [event]) {
        const to = this.at(part);
        this.line(last, to);
        last = to;
      }
      changed(event.timeStamp);
    });
    for (const type of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(type, () => {
        last = null;
      });
    }
  }

  /** @param {PointerEvent} event @returns {Pair} */
  at({ clientX, clientY }) {
    const box = this.canvas.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * this.side, ((clientY - box.top) / box.height) * this.side];
  }

  /** @param {Pair} from @param {Pair} to */
  line(from, to) {
    this.context.lineWidth = this.thickness * this.side;
    this.context.beginPath();
    this.context.moveTo(...from);
    this.context.lineTo(...to);
    this.context.stroke();
    this.isEmpty = false;
  }

  clear() {
    this.isEmpty = true;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.side, this.side);
    Object.assign(this.context, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
  }

  /** The ink, (side, side) in [0, 1]. */
  ink() {
    const { data } = this.context.getImageData(0, 0, this.side, this.side);
    return Float32Array.from({ length: this.side * this.side }, (_, i) => data[4 * i] / 255);
  }
}
