import { button } from "../dom.js";

/**
 * @import { BestAnswer, Q, Shared } from "../types.d.ts"
 * @import { Drawing } from "./drawing.js"
 */

/** The best q for the image, as the server finds it. */
export class Best {
  /** @param {Shared} shared @param {Drawing} drawing */
  constructor(shared, drawing) {
    this.shared = shared;
    this.drawing = drawing;
    /** @type {{id: string, x: Float32Array | null, touches: number} | null} */
    this.asked = null;
    /** @type {{x: Float32Array | null, q: Q, touches: number | null} | null} */
    this.found = null; // touches: when it was asked for, until q has gone there
    this.seen = ""; // id of the answer that was taken last
    this.button = button("Best q", () => this.ask(), { title: "search the best mu and sigma for this x" });
    this.button.hidden = !shared.host.can("best");
  }

  /** For the image that is now selected; null if that was not searched. */
  get q() {
    const { x } = this.shared.selection;
    return x && this.found?.x === x ? this.found.q : null;
  }

  ask() {
    const { host, selection } = this.shared;
    this.asked = { id: `${Date.now()}`, x: selection.x, touches: selection.touches };
    const { bytes } = this.drawing;
    this.showWaiting(true);
    host.send("best", { id: this.asked.id, point: selection.id, ...(bytes && { x: bytes }) });
  }

  /** @param {boolean} isWaiting */
  showWaiting(isWaiting) {
    this.button.disabled = isWaiting;
    this.button.textContent = isWaiting ? "Searching…" : "Best q";
  }

  /** Takes the server's answer; returns what is to be said of it. */
  take(/** @type {BestAnswer | null | undefined} */ answer) {
    if (!answer || answer.id === this.seen) return "";
    const { asked } = this;
    this.seen = answer.id;
    this.showWaiting(false);
    if (answer.problem) return answer.problem;
    // Asked in an earlier life of the page, or of another image.
    if (answer.id !== asked?.id || !answer.mu || !answer.sigma) return "";
    const q = { mu: Float64Array.from(answer.mu), sigma: Float64Array.from(answer.sigma) };
    this.found = { x: asked.x, q, touches: asked.touches };
    this.shared.frames.wake("q");
    return "";
  }

  /** Yours goes to q once it is known that it is the best, unless the hand has moved it meanwhile. */
  settle(/** @type {Q} */ q) {
    const { found } = this;
    const { selection, sender } = this.shared;
    if (found?.touches === selection.touches) selection.glide(q, () => sender.send());
    if (found) found.touches = null;
  }
}
