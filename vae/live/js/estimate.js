import { MOST_SAMPLES } from "./constants.js";
import { BATCH } from "./network.js";

/**
 * @import { Model } from "./model.js"
 * @import { Numbers, Show } from "./types.d.ts"
 */

/**
 * The reconstruction term of q(mu, sigma) over S samples, in steps that fit a frame's budget.
 *
 * It is of the q that it began with, wherever that has gone since: what it says and what its samples
 * show belongs together.
 */
export class Estimate {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
    this.z = new Float32Array(BATCH * model.D);
    this.values = new Float64Array(MOST_SAMPLES);
    this.perPixel = new Float32Array(model.n);
    this.mu = new Float64Array(model.D);
    this.sigma = new Float64Array(model.D);
    /** @type {{mu: Numbers, sigma: Numbers} | null} */
    this.given = null; // what it began with
    /** @type {Float32Array} */
    this.eps = this.z;
    /** @type {Float32Array | null} */
    this.x = null;
    this.label = 0;
    this.S = 0;
    this.left = 0;
    this.cost = 0; // ms for a sample
  }

  /**
   * Begins anew for q; x is null where there is no image to compare with.
   *
   * @param {Numbers} mu
   * @param {Numbers} sigma
   * @param {Float32Array} eps
   * @param {number} S
   * @param {Float32Array | null} x
   */
  begin(mu, sigma, eps, S, x) {
    this.given = { mu, sigma };
    this.mu.set(mu);
    this.sigma.set(sigma);
    this.eps = eps;
    this.S = this.left = S;
    this.x = x;
    this.label = this.model.label;
    this.perPixel.fill(0);
  }

  /**
   * The same, unless that is what it has been doing.
   *
   * @param {Numbers} mu
   * @param {Numbers} sigma
   * @param {Float32Array} eps
   * @param {number} S
   * @param {Float32Array} x
   */
  beginIfNew(mu, sigma, eps, S, x) {
    const isSame = mu === this.given?.mu && sigma === this.given.sigma;
    if (!isSame || !this.isOver(eps, S, x)) this.begin(mu, sigma, eps, S, x);
  }

  /**
   * Whether it is of these samples and this image, whatever q is.
   *
   * @param {Float32Array} eps
   * @param {number} S
   * @param {Float32Array | null} x
   */
  isOver(eps, S, x) {
    return eps === this.eps && S === this.S && x === this.x && this.label === this.model.label;
  }

  /**
   * Decodes as many samples at once as `budget` ms allow, one at least; says whether it did, or a
   * worker is at it.
   *
   * @param {number} budget
   * @param {Show} [show]
   */
  step(budget, show) {
    const { model, z } = this;
    const start = performance.now();
    const fitting = model.remote ? BATCH : this.cost ? Math.max(1, Math.floor(budget / this.cost)) : 1;
    const batch = Math.min(BATCH, fitting, this.left);
    const first = this.S - this.left;
    for (let b = 0; b < batch; b++) {
      for (let d = 0; d < model.D; d++) {
        z[b * model.D + d] = this.mu[d] + this.sigma[d] * this.eps[(first + b) * model.D + d];
      }
    }
    const raw = model.decode(z, batch);
    if (!raw) return false;
    for (let b = 0; b < batch; b++) {
      const offset = b * model.n;
      if (this.x) {
        const value = model.logLikelihood(this.x, raw, offset, this.perPixel);
        this.values[first + b] = -value;
      }
      show?.(first + b, raw, offset);
    }
    this.left -= batch;
    this.cost = 0.7 * this.cost + 0.3 * ((performance.now() - start) / batch);
    return true;
  }

  /** recon and its standard error, in nats, once all samples are in. */
  result() {
    if (!this.x || this.left || !this.S) return null;
    let mean = 0;
    for (let s = 0; s < this.S; s++) mean += this.values[s] / this.S;
    let squares = 0;
    for (let s = 0; s < this.S; s++) squares += (this.values[s] - mean) ** 2;
    return { recon: mean, stderr: this.S > 1 ? Math.sqrt(squares / (this.S - 1) / this.S) : Number.NaN };
  }
}
