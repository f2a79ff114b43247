import { Runner } from "./program/runner.js";
import { meanImage } from "./program/terms.js";

/** @import { Numbers, Pack } from "./types.d.ts" */

export const BATCH = 4; // decodes that share one reading of the weights

/** A network whose input the one-hot label of a class stands behind. */
export class GivenRunner {
  /** @param {Runner} runner of the joined input @param {number} n classes */
  constructor(runner, n) {
    this.runner = runner;
    this.n = n;
    this.label = 0;
    this.joined = new Float32Array(runner.inSize * runner.maxBatch);
  }

  /** As Runner.run, of inputs without their label. @param {Numbers} input */
  run(input, batch = 1) {
    const { joined, label, n, runner } = this;
    const size = runner.inSize - n;
    for (let b = 0; b < batch; b++) {
      const start = b * runner.inSize;
      for (let i = 0; i < size; i++) joined[start + i] = input[b * size + i];
      for (let c = 0; c < n; c++) joined[start + size + c] = c === label ? 1 : 0;
    }
    return runner.run(joined, batch);
  }
}

/** A model ready to run; several panels may share a pack, but not a runner's memory. */
export class Model {
  /** @param {Pack} pack */
  constructor({ header, arrays }) {
    this.id = header.id;
    this.D = /** @type {number} */ (header.latent_dim);
    this.shape = /** @type {[number, number, number]} */ (header.image_shape);
    const [C, H, W] = this.shape;
    this.C = C;
    this.H = H;
    this.W = W;
    this.n = this.C * this.H * this.W;
    this.kind = /** @type {string} */ (header.likelihood);
    this.logvarX = /** @type {number} */ (header.logvar_x);
    this.drawing = /** @type {string} */ (header.drawing); // how a drawing is prepared
    this.nClasses = /** @type {number} */ (header.n_classes ?? 0); // of its condition; 0: it has none
    this.label = 0; // what it is given, if it has a condition
    this.decoder = this.given(new Runner(header.decoder, arrays.decoder, BATCH));
    this.encoder = header.encoder ? this.given(new Runner(header.encoder, arrays.encoder)) : null;
    this.image = new Float32Array(this.n);
  }

  /** @param {Runner} runner */
  given(runner) {
    return this.nClasses ? new GivenRunner(runner, this.nClasses) : runner;
  }

  /** From here on p(x|z, y) and q(z|x, y) with that class for y. @param {number} label */
  give(label) {
    this.label = label;
    for (const network of [this.decoder, this.encoder]) {
      if (network instanceof GivenRunner) network.label = label;
    }
  }

  /** E[x|z, y] under another class than the one it is given. @param {Numbers} z @param {number} label */
  meanGiven(z, label) {
    const { label: before } = this;
    this.give(label);
    const image = this.mean(z);
    this.give(before);
    return image;
  }

  /** E[x|z] as pixels, in memory that the next call uses again. @param {Numbers} z */
  mean(z) {
    const [raw] = this.decoder.run(z, 1);
    meanImage(this.kind, raw, 0, this.image);
    return this.image;
  }

  /** mu and sigma of q(z|x); null where the encoder cannot be run. @param {Float32Array} x */
  encode(x) {
    if (!this.encoder) return null;
    const [mu, logvar] = this.encoder.run(x, 1);
    return { mu: Float64Array.from(mu), sigma: Float64Array.from(logvar, (v) => Math.exp(v / 2)) };
  }
}
