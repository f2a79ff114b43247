/** @import { Numbers, Pack } from "./types.d.ts" */

/** Where the data points are: q of each, and their images where those came with them. */
export class Points {
  /** @param {Pack} pack @param {number} D latent dimensions @param {number} n pixels of an image */
  constructor({ arrays }, D, n) {
    this.mu = /** @type {Float32Array} */ (arrays.mu);
    this.logvar = /** @type {Float32Array} */ (arrays.logvar);
    this.images = /** @type {Uint8Array | Float32Array | undefined} */ (arrays.images); // bytes: images
    this.labels = /** @type {Int32Array | undefined} */ (arrays.labels);
    this.D = D;
    this.n = n;
  }

  get length() {
    return this.mu.length / this.D;
  }

  /** @param {number} index */
  muOf(index) {
    return Float64Array.from(this.mu.subarray(index * this.D, (index + 1) * this.D));
  }

  /** @param {number} index */
  qOf(index) {
    const logvar = this.logvar.subarray(index * this.D, (index + 1) * this.D);
    return { mu: this.muOf(index), sigma: Float64Array.from(logvar, (v) => Math.exp(v / 2)) };
  }

  /** @param {number} index */
  imageOf(index) {
    if (!this.images) return null;
    return asRead(this.images.subarray(index * this.n, (index + 1) * this.n));
  }

  /**
   * The index of the point whose mu is nearest to a latent point.
   *
   * @param {Numbers} z
   */
  nearestTo(z) {
    const { mu, D } = this;
    let best = Infinity;
    let found = 0;
    for (let i = 0, at = 0; at < mu.length; i++, at += D) {
      let distance = 0;
      for (let d = 0; d < D && distance < best; d++) distance += (mu[at + d] - z[d]) ** 2;
      if (distance < best) {
        best = distance;
        found = i;
      }
    }
    return found;
  }
}

/** What a model reads of a point as it was sent: pixels come as bytes. @param {Uint8Array | Float32Array} sent */
export function asRead(sent) {
  return sent instanceof Uint8Array ? Float32Array.from(sent, (v) => v / 255) : Float32Array.from(sent);
}
