import { SIGMA_RANGE } from "../constants.js";
import { wantsStillness } from "../dom.js";
import { samePoint } from "../point.js";

/**
 * @import { Numbers, Pair, Point, PointId, Q } from "../types.d.ts"
 * @import { Frames } from "./frames.js"
 */

/** What is selected: a data point or a drawing, q, and where the pointer is over the map. */
export class Selection {
  /** @param {Frames} frames */
  constructor(frames) {
    this.frames = frames;
    this.q = { mu: new Float64Array(0), sigma: new Float64Array(0) };
    /** @type {Point | null} */
    this.point = null; // as the server last told of it
    /** @type {PointId | null} */
    this.chosen = null; // what was clicked here last, though the server may not know of it yet
    /** @type {Float32Array | null} */
    this.image = null; // of the point
    /** @type {Float32Array | null} */
    this.eps = null; // the noise behind the point's stored terms
    /** @type {{image: Float32Array, q: Q | null} | null} */
    this.drawing = null; // while the pad is open; it has no q while it is empty
    /** @type {Pair | null} */
    this.hover = null; // in pixels of the plot area
    this.touches = 0; // how often q was set, by the hand or by a choice
  }

  /** Begins anew for a model of D latent dimensions, at the prior. */
  begin(/** @type {number} */ D) {
    this.touches++;
    this.q = { mu: new Float64Array(D), sigma: new Float64Array(D).fill(1) };
    this.point = this.chosen = this.image = null;
  }

  /** Whether the point on the server is not yet the one chosen here. */
  get isAhead() {
    return this.chosen !== null && !samePoint(this.chosen, this.id);
  }

  /** Of the point that the server told of. */
  get id() {
    return this.point?.id ?? null;
  }

  /** The index of the chosen data point. */
  get index() {
    return (this.isAhead ? this.chosen : this.id)?.index ?? null;
  }

  /** The image that q is held against: the drawing, or the chosen point's. */
  get x() {
    if (this.drawing) return this.drawing.q && this.drawing.image;
    return this.image;
  }

  /** The encoder's q for that image. */
  get encoderQ() {
    if (this.drawing) return this.drawing.q;
    return this.image && !this.isAhead ? this.point : null;
  }

  /** Whether q is still the one that the encoder gave the point. */
  get isEncoders() {
    const { point, q } = this;
    const least = SIGMA_RANGE[0];
    const isSame = point?.mu.every((v, d) => v === q.mu[d] && Math.max(least, point.sigma[d]) === q.sigma[d]);
    return isSame ?? false;
  }

  /** The hand takes over, though it has not moved anything yet: what moves by itself stops. */
  touch() {
    this.touches++;
  }

  /** @param {Q} q */
  take({ mu, sigma }) {
    this.touches++;
    this.q.mu.set(mu);
    for (let d = 0; d < sigma.length; d++) this.q.sigma[d] = Math.max(SIGMA_RANGE[0], sigma[d]);
    this.frames.wake("q", "map");
  }

  /** @param {"mu" | "sigma"} name @param {number} d @param {number} value @param {number} [time] */
  set(name, d, value, time) {
    this.touches++;
    this.q[name][d] = value;
    this.frames.wake("q", time);
  }

  /** @param {Numbers} mu @param {number} [time] */
  moveTo(mu, time) {
    this.touches++;
    this.q.mu.set(mu);
    this.frames.wake("q", "map", time);
  }

  /**
   * Moves q to another one in a third of a second, so that the eye can follow.
   *
   * @param {Q} to
   * @param {() => void} arrived
   */
  glide({ mu, sigma }, arrived) {
    const { q, touches } = this;
    const from = { mu: Float64Array.from(q.mu), sigma: Float64Array.from(q.sigma) };
    const start = performance.now();
    const move = () => {
      if (this.touches !== touches) return; // the hand has taken over
      const t = wantsStillness() ? 1 : Math.min(1, (performance.now() - start) / 350);
      const eased = t * t * (3 - 2 * t);
      for (let d = 0; d < mu.length; d++) {
        q.mu[d] = (1 - eased) * from.mu[d] + eased * mu[d]; // at the end exactly there
        q.sigma[d] = from.sigma[d] ** (1 - eased) * sigma[d] ** eased;
      }
      this.frames.wake("q", "map");
      if (t < 1) requestAnimationFrame(move);
      else arrived();
    };
    move();
  }
}
