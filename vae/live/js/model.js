import { Look } from "./look.js";
import { BATCH, costOf, networkOf } from "./network.js";
import { fastest } from "./program/kernels.js";
import { logLikelihood, logLikelihoodOf, meanImage, meansOf } from "./program/terms.js";
import { Remote } from "./remote.js";

/**
 * @import { Network } from "./network.js"
 * @import { Asker, Listener } from "./remote.js"
 * @import { Families, Numbers, Pack } from "./types.d.ts"
 */

const FAST_MS = 8; // half a frame: what takes longer is run by a worker

/**
 * A model ready to run; several panels may share a pack, but not a network's memory.
 *
 * Networks that are not fast run in a worker. What is asked of them then comes later, and who asked
 * is told: until then `mean` and `encode` say what they last said to the same asker, and `decode`
 * says nothing.
 */
export class Model {
  /** @param {Pack} pack @param {Listener} [listener] none: all runs in this thread */
  constructor({ header, arrays }, listener) {
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
    /** @type {Families | null} */
    this.families = header.families ? familiesOf(header, arrays, this.n) : null;
    this.look = new Look(header, this.families);
    this.drawing = /** @type {string} */ (header.drawing); // how a drawing is prepared
    this.nClasses = /** @type {number} */ (header.n_classes ?? 0); // of its condition; 0: it has none
    this.label = 0; // what it is given, if it has a condition
    this.decoder = networkOf(header.decoder, arrays.decoder, BATCH, this.nClasses);
    this.encoder = header.encoder ? networkOf(header.encoder, arrays.encoder, 1, this.nClasses) : null;
    this.image = new Float32Array(this.n);
    const cost = Math.max(...[this.decoder, this.encoder].map((network) => (network ? costOf(network) : 0)));
    /** @type {Remote | null} */
    this.remote = null;
    this.isSlowed = cost > FAST_MS && fastest() === null; // WebAssembly would be several times as fast
    if (listener && cost > FAST_MS) this.sendAway(header, arrays, listener);
  }

  /** @param {Pack["header"]} header @param {Pack["arrays"]} arrays @param {Listener} listener */
  sendAway({ decoder, encoder }, arrays, listener) {
    const failed = (/** @type {string} */ sentence) => {
      this.remote = null;
      listener.failed(sentence);
    };
    try {
      const weights = { decoder: arrays.decoder, encoder: encoder && arrays.encoder };
      const networks = { decoder, encoder, weights, nClasses: this.nClasses };
      this.remote = new Remote(networks, { answered: listener.answered, failed });
    } catch (error) {
      console.warn("no worker:", error); // as where a policy forbids them: all runs in this thread
    }
  }

  /** Nothing more will be asked. */
  close() {
    this.remote?.close();
    this.remote = null;
  }

  get isBusy() {
    return this.remote !== null && !this.remote.isIdle;
  }

  /** From here on p(x|z, y) and q(z|x, y) with that class for y. @param {number} label */
  give(label) {
    this.label = label;
  }

  /**
   * A network's outputs: to this very input, or to the asker's last one.
   *
   * @param {"decoder" | "encoder"} name
   * @param {Numbers} input
   * @param {number} batch
   * @param {Asker} asker
   */
  ask(name, input, batch, asker) {
    const network = /** @type {Network} */ (this[name]);
    if (this.remote) {
      const whole = batch * network.inSize;
      const given = input.length === whole ? input : Array.prototype.slice.call(input, 0, whole);
      return this.remote.ask(asker, name, given, batch, this.label);
    }
    if ("label" in network) network.label = this.label;
    return { outputs: network.run(input, batch), isCurrent: true };
  }

  /** The raw outputs of a batch of z in a row; null until they are there. @param {Numbers} z */
  decode(z, batch = 1) {
    const { outputs, isCurrent } = this.ask("decoder", z, batch, "samples");
    return isCurrent && outputs ? outputs[0] : null;
  }

  /** As `mean`, under another class than the one it is given. @param {Numbers} z @param {number} label */
  meanGiven(z, label) {
    const { label: before } = this;
    this.give(label);
    const image = this.mean(z, "hover");
    this.give(before);
    return image;
  }

  /** E[x|z] as pixels, in memory that the next call uses again. @param {Numbers} z @param {Asker} asker */
  mean(z, asker = "mean") {
    return this.imageOf(this.ask("decoder", z, 1, asker).outputs);
  }

  /** The same for a tile of the manifold, which must be of its own z; null until it is there. @param {Numbers} z */
  tile(z) {
    const { outputs, isCurrent } = this.ask("decoder", z, 1, "tile");
    return isCurrent ? this.imageOf(outputs) : null;
  }

  /** @param {Float32Array[] | null} outputs */
  imageOf(outputs) {
    return outputs && this.meanOf(outputs[0], 0);
  }

  /** E[x|z] of the raw output that starts there, in memory that is used again. @param {Float32Array} raw @param {number} at */
  meanOf(raw, at) {
    return this.families ? meansOf(this.families, raw, at, this.image) : meanImage(this.kind, raw, at, this.image);
  }

  /**
   * log p(x|z), summed over the numbers of x; the raw output of this z starts at offset.
   *
   * @param {Float32Array} x
   * @param {Float32Array} raw
   * @param {number} offset
   * @param {Float32Array} perPixel -log p of each is added to it
   */
  logLikelihood(x, raw, offset, perPixel) {
    if (this.families) return logLikelihoodOf(this.families, x, raw, offset, perPixel);
    return logLikelihood(this.kind, x, raw, offset, this.logvarX, perPixel);
  }

  /** mu and sigma of q(z|x); null where the encoder cannot be run. @param {Float32Array} x */
  encode(x) {
    const { outputs } = this.encoder ? this.ask("encoder", x, 1, "drawing") : { outputs: null };
    if (!outputs) return null;
    const [mu, logvar] = outputs;
    return { mu: Float64Array.from(mu), sigma: Float64Array.from(logvar, (v) => Math.exp(v / 2)) };
  }
}

/** A family for each number, where the header has one for each feature. */
function familiesOf(
  /** @type {Pack["header"]} */ header,
  /** @type {Pack["arrays"]} */ arrays,
  /** @type {number} */ n,
) {
  const per = header.kind === "vector" ? 1 : n / header.families.length;
  const families = Array.from({ length: n }, (_, i) => header.families[Math.floor(i / per)]);
  return { families, logvarX: arrays.logvar_x, logR: arrays.log_r };
}
