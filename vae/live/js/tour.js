/** @import { Numbers } from "./types.d.ts" */

/** A way through latent space: from stop to stop, straight or along great circles. */
export class Tour {
  constructor() {
    /** @type {Float64Array[]} */
    this.stops = [];
    this.spherical = false;
    this.loop = true;
  }

  /** How many stops one passes on the way. */
  get length() {
    return this.stops.length < 2 ? 0 : this.stops.length - (this.loop ? 0 : 1);
  }

  /**
   * The latent point after t stops.
   *
   * @param {number} t
   */
  z(t) {
    const n = this.stops.length;
    const k = Math.min(Math.floor(t), this.loop ? n - 1 : n - 2);
    return between(this.stops[k], this.stops[(k + 1) % n], t - k, this.spherical);
  }

  /**
   * The way as a line of places.
   *
   * @template T
   * @param {(z: Float64Array) => T} place
   */
  onMap(place) {
    /** @type {T[]} */
    const points = [];
    if (!this.length) return points;
    for (let i = 0; i <= this.length * 16; i++) points.push(place(this.z(i / 16)));
    return points;
  }
}

/**
 * From a to b: straight, or spherical: direction and length each change at a steady pace.
 *
 * @param {Numbers} a
 * @param {Numbers} b
 * @param {number} t from 0 to 1
 * @param {boolean} spherical
 */
export function between(a, b, t, spherical) {
  const straight = Float64Array.from(a, (v, d) => v + t * (b[d] - v));
  if (!spherical) return straight;
  const [ra, rb] = [Math.hypot(...Array.from(a)), Math.hypot(...Array.from(b))];
  let product = 0;
  for (let d = 0; d < a.length; d++) product += a[d] * b[d];
  const angle = Math.acos(Math.max(-1, Math.min(1, product / (ra * rb))));
  // No great circle is singled out for a stop at the origin or for opposite ones.
  if (!(ra * rb > 1e-12) || angle < 1e-6 || Math.PI - angle < 1e-6) return straight;
  const [wa, wb] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  const radius = ra + t * (rb - ra);
  return Float64Array.from(a, (v, d) => radius * ((wa * v) / ra + (wb * b[d]) / rb));
}
