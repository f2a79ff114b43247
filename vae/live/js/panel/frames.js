import { MOVING_MS, RESTING_MS, STILL_MS } from "../dom.js";

/**
 * What is drawn, in this order, and how long the next piece of work takes.
 *
 * @typedef {object} Stage
 * @property {() => boolean} isOpen
 * @property {(dirty: Set<string>, now: number) => boolean} draw false: it has failed
 * @property {(dirty: Set<string>) => void} lay what the pieces of work are
 * @property {(budget: number) => boolean} work one piece of about so many ms; false: none is left
 * @property {() => number} cost of a piece, in ms
 * @property {(moved: boolean) => void} finish after the work of a frame; whether something was drawn before it
 */

/** When what is drawn: parts are woken by name, and what can wait takes what is left of a frame. */
export class Frames {
  /** @param {Stage} stage */
  constructor(stage) {
    this.stage = stage;
    /** @type {Set<string>} */
    this.dirty = new Set();
    /** @type {number | null} */
    this.frame = null;
    /** @type {number | null} */
    this.eventTime = null;
    this.drawnAt = this.movedAt = 0;
    /** @type {{on: boolean, drawn: boolean, updates: number, images: number, decode: number[], toCanvas: number[]}} */
    this.stats = { on: false, drawn: false, updates: 0, images: 0, decode: [], toCanvas: [] };
  }

  /**
   * Asks for a frame in which the named parts are drawn; a number is the time of the event.
   *
   * @param {...(string | number | undefined)} what
   */
  wake(...what) {
    for (const part of what) {
      if (typeof part === "number") this.eventTime = part;
      else if (part !== undefined) this.dirty.add(part);
    }
    // A pointer that moves after a pause of most of a frame is answered at once; what follows
    // within the frame is drawn together.
    if (what.some(Number.isFinite) && performance.now() - this.drawnAt > 12) this.run(performance.now());
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.run(now);
      if (this.stats.drawn) this.stats.updates++; // a screen shows the last drawing of a frame
      this.stats.drawn = false;
    });
  }

  /** @param {number} now */
  run(now) {
    const { dirty, stage } = this;
    if (!stage.isOpen()) return;
    const start = performance.now();
    this.drawnAt = start;
    if (!stage.draw(dirty, now)) return;
    this.measure();
    stage.lay(dirty);
    const moved = dirty.size > 0;
    if (moved) this.movedAt = start;
    const moving = start - this.movedAt < STILL_MS;
    dirty.clear();
    // The mean is drawn; samples and then the manifold take what is left of the frame. While the
    // hand moves they may have to wait for the next one; at rest they always get on.
    const until = start + (moving ? MOVING_MS : RESTING_MS);
    let left = true;
    let remaining = until - performance.now();
    if (!moving || remaining > stage.cost()) {
      do {
        left = stage.work(remaining);
        remaining = until - performance.now();
      } while (left && remaining > stage.cost());
    }
    if (left) this.wake();
    stage.finish(moved);
  }

  measure() {
    const { dirty, stats } = this;
    if (stats.on && (dirty.has("q") || dirty.has("hover"))) {
      stats.drawn = true;
      if (this.eventTime) stats.toCanvas.push(performance.now() - this.eventTime);
    }
    this.eventTime = null;
  }

  /**
   * @template T
   * @param {() => T} decode
   * @param {boolean} isAway a worker does it, and tells by `came`
   */
  timed(decode, isAway) {
    if (!this.stats.on || isAway) return decode();
    const start = performance.now();
    const result = decode();
    this.came(performance.now() - start);
    return result;
  }

  /** A decode took so long. @param {number} ms */
  came(ms) {
    this.stats.images++;
    if (this.stats.on) this.stats.decode.push(ms);
  }

  destroy() {
    if (this.frame !== null) cancelAnimationFrame(this.frame);
  }
}
