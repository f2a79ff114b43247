import { EMIT_AFTER_MS } from "../dom.js";
import { leaveInTurn } from "../leave.js";

/**
 * @import { Host, Q } from "../types.d.ts"
 * @import { Scene } from "./scene.js"
 * @import { Selection } from "./selection.js"
 */

/** Sends what the hand has set, once it has let go. */
export class Sender {
  /**
   * @param {Host} host
   * @param {Scene} scene
   * @param {Selection} selection
   * @param {() => object} settings what goes with q
   */
  constructor(host, scene, selection, settings) {
    this.host = host;
    this.scene = scene;
    this.selection = selection;
    this.settings = settings;
    this.isHeld = false; // the hand holds something
    this.isCancelled = false; // it changed its mind, and has not let go yet
    /** @type {Q} */
    this.before = { mu: [], sigma: [] }; // q when the hand took hold
    this.isMoving = false; // q moves by itself
    this.isOwed = false; // it was to be sent while the server knew another point
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.timer = null;
    this.ended = leaveInTurn(() => this.timer !== null && this.sendNow());
  }

  grab() {
    const { mu, sigma } = this.selection.q;
    this.before = { mu: Float64Array.from(mu), sigma: Float64Array.from(sigma) };
    this.isHeld = true;
    this.isCancelled = false;
    this.selection.touch();
  }

  /** Q goes back to where the hand took hold of it; false if it holds nothing. */
  cancel() {
    if (!this.isHeld) return false;
    this.isHeld = false;
    this.isCancelled = true;
    this.selection.take(this.before);
    return true;
  }

  release() {
    this.isHeld = this.isCancelled = false;
    this.send();
  }

  /** Soon: a burst of keys or clicks is one message. */
  send() {
    this.forget();
    this.timer = setTimeout(() => this.sendNow(), EMIT_AFTER_MS);
  }

  sendNow() {
    this.forget();
    const { chosen, drawing, id, isAhead, q } = this.selection;
    if (this.isHeld || this.isMoving || this.scene.isOff) return;
    // Until the page shows the point that was just clicked, what it sends with a message is of the
    // point before, and would choose that one again.
    this.isOwed = isAhead;
    if (isAhead) return;
    this.host.send("hand", {
      point: chosen ?? id,
      mu: drawing ? null : Array.from(q.mu),
      sigma: drawing ? null : Array.from(q.sigma),
      ...this.settings(),
    });
  }

  /** Sends what had to wait for the server to know the chosen point. */
  sendOwed() {
    if (this.isOwed && !this.selection.isAhead) this.send();
  }

  forget() {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
  }

  destroy() {
    this.forget();
    this.ended();
  }
}
