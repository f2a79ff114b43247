import { LEAST_RANGE, MOST_SAMPLES } from "../constants.js";
import { el } from "../dom.js";
import { Estimate } from "../estimate.js";
import { noise } from "../noise.js";
import { Picture } from "../picture.js";
import { klPerDim } from "../program/terms.js";
import { nats } from "../text.js";

/**
 * @import { PointId, Q, Shared } from "../types.d.ts"
 * @import { Model } from "../model.js"
 * @import { Best } from "./best.js"
 * @import { Plot } from "./plot.js"
 * @import { Samples } from "./samples.js"
 * @typedef {{name: string, recon: number, stderr: number, kl: number, total: number}} Line
 */

/** The bound of your q, the encoder's and the best one, over the same noise. */
export class Bound {
  /** @param {Shared} shared @param {Best} best @param {Samples} samples @param {Plot} plot */
  constructor(shared, best, samples, plot) {
    this.shared = shared;
    this.plot = plot;
    this.best = best;
    this.samples = samples;
    this.cost = new Picture("what each pixel adds to the reconstruction term", "cost");
    this.costText = el("figcaption", { title: "what each pixel adds to recon, in nats" }, "nats");
    this.table = el("table", { class: "bound" });
    this.buttons = el("div", { class: "bar" }, best.button);
    const figure = el("figure", { class: "costs" }, this.cost.canvas, this.costText);
    this.element = el("div", { class: "ledger" }, el("div", {}, this.table, this.buttons), figure);
    /** @type {Estimate[]} */
    this.estimates = []; // of yours, the encoder's and the best q
    /** @type {{of: PointId | number, values: Float32Array} | null} */
    this.noise = null;
    /** @type {LineOfTable[]} */
    this.lines = [];
    this.pixels = new Float32Array(0);
    this.isBehind = false; // q has moved since its estimate began
  }

  /** Begins anew for a model. */
  begin(/** @type {Model} */ model) {
    this.estimates = [new Estimate(model), new Estimate(model), new Estimate(model)];
    this.noise = null;
    this.isBehind = false;
    this.pixels = new Float32Array(model.H * model.W);
  }

  /** Gives the map of costs its pixels on the screen; says whether they are others. */
  fit() {
    const { W, H, look } = this.shared.scene.running;
    return look.isImage && this.cost.cover(W, H);
  }

  get own() {
    return this.estimates[0];
  }

  get isDone() {
    return !this.isBehind && !this.estimates.some((estimate) => estimate.left);
  }

  /** What is shown of the samples is gone: they are drawn once more, from the first one on. */
  restart() {
    this.own.left = 0;
  }

  /** Estimates for what is now selected; where q alone has moved, after what is under way. */
  estimate() {
    const { selection, settings } = this.shared;
    const { x, encoderQ, q } = selection;
    const { S } = settings.values;
    const eps = this.noiseNow();
    const [own, encoders, bests] = this.estimates;
    this.isBehind = own.left > 0 && own.isOver(eps, S, x);
    if (!this.isBehind) own.begin(q.mu, q.sigma, eps, S, x);
    const best = this.best.q;
    if (encoderQ && x) encoders.beginIfNew(encoderQ.mu, encoderQ.sigma, eps, S, x);
    if (best && x) bests.beginIfNew(best.mu, best.sigma, eps, S, x);
  }

  /** Seed 0 is the point's own noise, behind the terms of the tables; others are drawn here. */
  noiseNow() {
    const { selection, scene, settings } = this.shared;
    const { seed } = settings.values;
    const { drawing, eps, id, isAhead } = selection;
    const own = seed === 0 && !drawing && !isAhead ? eps : null;
    const of = own && id ? id : seed;
    if (this.noise?.of !== of) this.noise = { of, values: own ?? noise(seed, MOST_SAMPLES * scene.running.D) };
    return this.noise.values;
  }

  /** One piece of about `budget` ms; false when there is none, or a worker is at it. */
  work(/** @type {number} */ budget) {
    if (this.isBehind && !this.estimates.some(({ left }) => left)) this.estimate();
    const estimate = this.estimates.find(({ left }) => left);
    if (!estimate) return false;
    if (!estimate.step(budget, estimate === this.own ? this.drawSample : undefined)) return false;
    if (estimate === this.own && !estimate.left) this.samples.show();
    if (!estimate.left) this.show();
    return true;
  }

  /** @param {number} s @param {Float32Array} raw @param {number} offset */
  drawSample = (s, raw, offset) => {
    this.samples.draw(s, raw, offset);
    this.plot.meet(s, raw, offset);
  };

  show() {
    const { x, encoderQ } = this.shared.selection;
    const [own, encoders, bests] = this.estimates;
    const result = own.result();
    this.buttons.hidden = !x;
    if (!x) {
      this.cost.clear();
      this.costText.textContent = "nats";
      this.table.replaceChildren();
      this.lines = [];
      return;
    }
    if (!result || encoders.left || bests.left) return; // the table's rows are of one noise
    const best = this.best.q;
    const lines = [lineOf("yours", result, own)];
    const ofEncoder = encoderQ && encoders.result();
    if (ofEncoder) lines.push(lineOf("encoder's", ofEncoder, encoderQ));
    const ofBest = best && bests.result();
    if (ofBest && (ofEncoder || !encoderQ)) {
      // Judged over the draws on screen: where these tell of nothing better, it is the encoder's.
      const found = lineOf("best q", ofBest, best);
      const isFound = !encoderQ || found.total <= lines[1].total;
      lines.push(isFound ? found : { ...lines[1], name: "best q" });
      this.best.settle(isFound ? best : encoderQ);
    }
    this.showCost();
    this.fill(lines);
  }

  showCost() {
    const { C, H, W, look } = this.shared.scene.running;
    const { pixels, own } = this;
    if (!look.isImage) {
      this.plot.show(own.perPixel, own.S);
      return;
    }
    let [low, high] = [0, Number.NEGATIVE_INFINITY];
    for (let i = 0; i < H * W; i++) {
      pixels[i] = 0;
      for (let c = 0; c < C; c++) pixels[i] += own.perPixel[c * H * W + i] / own.S;
      low = Math.min(low, pixels[i]);
      high = Math.max(high, pixels[i]);
    }
    high = Math.max(low + LEAST_RANGE, high); // as vae/figures/points.py has it
    this.cost.drawNats(pixels, H, W, [low, high]);
    this.costText.textContent = `${low.toFixed(0)} to ${high.toFixed(1)} nats`;
  }

  /** @param {Line[]} lines */
  fill(lines) {
    if (this.lines.length !== lines.length) this.build(lines.length);
    const least = Math.min(...lines.map(({ total }) => total));
    const low = Math.min(0, ...lines.map(({ recon }) => recon)); // of densities it can be below 0
    const share = 100 / (Math.max(...lines.map(({ total }) => total)) - low || 1);
    lines.forEach(({ name, recon, stderr, kl, total }, i) => {
      const error = Number.isNaN(stderr) ? "" : ` ± ${nats(stderr)}`;
      const { texts, sum, bars } = this.lines[i];
      [name, nats(recon), error, nats(kl), nats(total)].forEach((text, j) => {
        texts[j].textContent = text;
      });
      sum.className = total <= least + 0.005 ? "least" : "";
      const ends = [Math.min(0, recon), Math.max(0, recon), recon, total].map((v) => (v - low) * share);
      bars.forEach((bar, j) => {
        bar.style.left = `${ends[2 * j]}%`;
        bar.style.width = `${ends[2 * j + 1] - ends[2 * j]}%`;
      });
    });
  }

  /** @param {number} n of lines */
  build(n) {
    const heads = ["nats", "recon", "KL", "-ELBO"].map((name, i) =>
      el("th", {}, ["", "", "+ ", "= "][i], this.shared.words.of(name)),
    );
    this.lines = Array.from({ length: n }, () => new LineOfTable());
    this.table.replaceChildren(el("tr", {}, ...heads), ...this.lines.map(({ row }) => row));
  }
}

/** A line's elements, which are filled anew while q moves. */
class LineOfTable {
  constructor() {
    const [name, recon, kl, sum] = [el("th"), el("td"), el("td"), el("td")];
    const value = el("span");
    const error = el("small");
    recon.append(value, error);
    this.sum = sum;
    this.texts = [name, value, error, kl, sum];
    this.bars = [el("i", { class: "recon" }), el("i", { class: "kl" })];
    this.row = el("tr", {}, name, recon, kl, sum, el("td", { class: "bars" }, ...this.bars));
  }
}

/** @param {string} name @param {{recon: number, stderr: number}} result @param {Q} q @returns {Line} */
function lineOf(name, { recon, stderr }, { mu, sigma }) {
  let kl = 0;
  for (const term of klPerDim(mu, sigma, new Float64Array(mu.length))) kl += term;
  return { name, recon, stderr, kl, total: recon + kl };
}
