// Two Gaussians in the plane under the hand: what is drawn and what is counted is of the same frame.

import { EMIT_AFTER_MS, MOVING_MS, onEscape, RESTING_MS, STILL_MS, wantsStillness } from "../dom.js";
import { leaveInTurn } from "../leave.js";
import { noise } from "../noise.js";
import { ellipseOf, Gaussian, nearestEllipse } from "./gaussian.js";
import { Numbers } from "./numbers.js";
import { Plane } from "./plane.js";
import { Sample } from "./sample.js";
import { View } from "./view.js";

/**
 * @import { Pair } from "../types.d.ts"
 * @import { Ellipse, Moments, Plain } from "./gaussian.js"
 * @import { Handle, Name, Start } from "./handles.js"
 *
 * @typedef {object} Told what Python says
 * @property {Plain} P
 * @property {Plain} Q
 * @property {number} set counts the pairs that were set there and not by the hand
 * @property {boolean} special
 * @property {"P" | "Q" | ""} map
 * @property {number} size
 * @property {number} seed
 * @property {string[]} axes
 */

const SIGMA_STOP = 1e-3; // what the hand cannot go below: at 0 a covariance is singular
const DEAD_PX = 3; // so near to its mean an axis has no length left
const GLIDE_MS = 350;
const SINGULAR = `stops at σ = ${SIGMA_STOP}: at 0 its covariance is singular, and both KLs are infinite.`;

/** One Duel is shown in two places of the page: the plane and the numbers beside it. */
export class Duel {
  /** @param {(pair: unknown) => void} send what the hand let go of */
  constructor(send) {
    this.send = send;
    this.P = new Gaussian("P");
    this.Q = new Gaussian("Q");
    this.view = new View();
    /** @type {"P" | "Q" | ""} */
    this.map = "P"; // whose integrand is shown: P log(P/Q), Q log(Q/P), or ""
    this.size = 10000;
    this.seed = 0;
    this.special = false; // P diagonal and Q = N(0, I): equation (6)
    /** @type {Name} */
    this.top = "P"; // the one whose handles lie on top
    /** @type {Handle | null} */
    this.holding = null;
    /** @type {number | undefined} */
    this.told = undefined; // which of the pairs that were set in Python it has taken last
    /** @type {(() => void) | null} */
    this.arrive = null; // ends a glide where it would have ended
    /** @type {number | null} */
    this.frame = null;
    /** @type {number | null} */
    this.gliding = null;
    /** @type {number | null} */
    this.refitting = null;
    /** @type {ReturnType<typeof setTimeout> | null} */
    this.emitting = null;
    /** @type {(Moments & Ellipse)[]} */
    this.before = []; // the pair when the hand took hold
    this.dirty = this.isOff = false;
    this.changed = 0; // when something was last changed
    this.noise = { seed: -1, eps: new Float32Array(0) };
    this.samples = [new Sample(), new Sample()];
    this.plane = new Plane(this);
    this.numbers = new Numbers(this);
    this.plane.show();
    this.resizes = new ResizeObserver(() => this.resize());
    this.resizes.observe(this.plane.element);
    this.following = (/** @type {MouseEvent} */ event) => this.followLink(event);
    document.addEventListener("click", this.following, { capture: true });
    this.listening = new AbortController();
    onEscape(() => this.cancel(), this.listening.signal);
    this.ended = leaveInTurn(() => this.emitting !== null && this.emitNow());
  }

  get pair() {
    return [this.P, this.Q];
  }

  destroy() {
    this.isOff = true;
    if (this.emitting !== null) clearTimeout(this.emitting);
    for (const frame of [this.frame, this.gliding, this.refitting]) if (frame !== null) cancelAnimationFrame(frame);
    this.resizes.disconnect();
    this.listening.abort();
    document.removeEventListener("click", this.following, { capture: true });
    this.ended();
    this.plane.element.remove();
    this.numbers.element.remove();
  }

  /** What Python says: a pair only if it was set there since; the hand's own is not sent back. */
  setData(/** @type {Told} */ told) {
    const isFirst = this.told === undefined;
    if (!this.told) [this.map, this.size, this.seed] = [told.map, told.size, told.seed];
    this.plane.axisNames.forEach((name, i) => {
      name.textContent = told.axes[i];
    });
    if (told.set !== this.told) {
      this.told = told.set;
      this.special = told.special;
      this.plane.say("");
      this.glide([momentsOf(told.P), momentsOf(told.Q)], isFirst);
    }
    this.showSettings();
    this.wake();
  }

  // --- what the hand does

  /** Changes how the pair is shown. @param {Partial<Pick<Duel, "map" | "size" | "seed">>} settings */
  set(settings) {
    Object.assign(this, settings);
    this.showSettings();
    this.wake();
  }

  /** The same, and Python hears of it. @param {Partial<Pick<Duel, "map" | "size" | "seed">>} settings */
  change(settings) {
    this.set(settings);
    this.emit();
  }

  showSettings() {
    this.plane.show();
    this.numbers.showSettings();
  }

  /** Moves both to a pair in a third of a second, so that the eye can follow. */
  glide(/** @type {Moments[]} */ pair, isAtOnce = false) {
    this.arrive?.();
    const ways = this.pair.map((gaussian, i) => {
      const ellipse = ellipseOf(pair[i].cov);
      const to = isAtOnce ? ellipse : nearestEllipse(gaussian, ellipse);
      const { mu, sigma, angle } = gaussian;
      return { gaussian, from: { mu, sigma, angle }, to, moments: pair[i] };
    });
    const viewFrom = this.view;
    const viewTo = this.view.around(pair);
    const finish = () => {
      if (this.gliding !== null) cancelAnimationFrame(this.gliding);
      this.gliding = this.arrive = null;
      for (const { gaussian, moments, to } of ways) gaussian.take(moments, to);
      this.wake();
    };
    if (isAtOnce || wantsStillness() || !viewTo) {
      finish();
      if (viewTo) this.look(viewTo);
      return;
    }
    this.arrive = finish;
    const start = performance.now();
    const move = () => {
      const t = Math.min(1, (performance.now() - start) / GLIDE_MS);
      const eased = t * t * (3 - 2 * t);
      const between = (/** @type {number} */ a, /** @type {number} */ b) => a + eased * (b - a);
      for (const { gaussian, from, to, moments } of ways) {
        gaussian.mu = [between(from.mu[0], moments.mu[0]), between(from.mu[1], moments.mu[1])];
        const [long, short] = from.sigma.map((v, i) => v * (to.sigma[i] / v) ** eased);
        gaussian.setAxes([long, short], between(from.angle, to.angle));
      }
      this.look(viewFrom.between(viewTo, eased));
      this.wake();
      if (t < 1) this.gliding = requestAnimationFrame(move);
      else finish();
    };
    this.gliding = requestAnimationFrame(move);
  }

  /** Ends a glide where it would have ended: the hand is faster. */
  grab(/** @type {Name} */ name) {
    this.arrive?.();
    if (this.refitting !== null) cancelAnimationFrame(this.refitting);
    this.refitting = null;
    this.before = this.pair.map(({ mu, cov, sigma, angle }) => ({ mu, cov, sigma, angle }));
    this.top = name;
    this.plane.say("");
    this.plane.handles.order();
  }

  /** The hand changes its mind: the pair is again what it was when it took hold. */
  cancel() {
    if (!this.holding) return false;
    for (const [i, gaussian] of this.pair.entries()) gaussian.take(this.before[i], this.before[i]);
    this.release();
    return true;
  }

  release() {
    this.holding = null;
    this.fit();
    this.wake();
    this.emit();
  }

  emit() {
    if (this.emitting !== null) clearTimeout(this.emitting);
    this.emitting = setTimeout(() => this.emitNow(), EMIT_AFTER_MS);
  }

  emitNow() {
    if (this.emitting !== null) clearTimeout(this.emitting);
    this.emitting = null;
    if (this.holding || this.isOff) return;
    const { map, size, seed, special } = this;
    this.send({ P: this.P.plain, Q: this.Q.plain, map, size, seed, special });
  }

  /** @param {PointerEvent} event */
  at(event) {
    return this.plane.at(event);
  }

  /** @param {Name} name @param {Pair} mu */
  moveMean(name, mu) {
    this[name].mu = mu;
    this.wake();
  }

  /** The tip of an axis is at a pixel. @param {Name} name @param {0 | 1} axis @param {Pair} at @param {Start} start */
  moveTip(name, axis, [px, py], start) {
    const gaussian = this[name];
    const [x0, y0] = this.view.toPixels(gaussian.mu);
    const [dx, dy] = [px - x0, y0 - py];
    const along = this.special ? Math.abs(axis ? dy : dx) : Math.hypot(dx, dy);
    // Twice as far from the mean is twice as long, wherever the handle stood at first.
    const free = (/** @type {number} */ away) => Math.max(0, away - DEAD_PX);
    let sigma = (start.sigma * free(along)) / free(start.away);
    const isStopped = sigma < SIGMA_STOP;
    if (isStopped) sigma = Math.min(SIGMA_STOP, gaussian.sigma[axis]);
    this.plane.say(isStopped ? `${name} ${SINGULAR}` : "");
    /** @type {Pair} */
    const both = axis ? [gaussian.sigma[0], sigma] : [sigma, gaussian.sigma[1]];
    const turns = !this.special && along > DEAD_PX;
    gaussian.setAxes(both, turns ? Math.atan2(dy, dx) - (axis ? Math.PI / 2 : 0) : gaussian.angle);
    if (this.special) gaussian.cov[1] = 0;
    this.wake();
  }

  /** The VAE's case, equation (6): Q becomes the prior and P loses its tilt; they stay so. */
  setSpecial(/** @type {boolean} */ isOn) {
    this.special = isOn;
    this.plane.say("");
    if (isOn) {
      const { mu, cov } = this.P;
      this.top = "P";
      this.glide([
        { mu: [...mu], cov: [cov[0], 0, cov[2]] },
        { mu: [0, 0], cov: [1, 0, 1] },
      ]);
    }
    this.showSettings();
    this.wake();
    setTimeout(() => this.emit(), isOn ? GLIDE_MS + 50 : 0);
  }

  // --- the window

  resize() {
    const { clientWidth, clientHeight } = this.plane.element;
    const { x, y, scale } = this.view;
    const view = new View(x, y, scale, clientWidth, clientHeight);
    this.view = view.around(this.pair) ?? view;
    this.wake();
  }

  /** Another window, of the size that the plane now has. */
  look(/** @type {View} */ { x, y, scale }) {
    this.view = new View(x, y, scale, this.view.width, this.view.height);
  }

  /** Another window if the pair has left this one, or is lost in it. */
  fit() {
    const from = this.view;
    const to = from.around(this.pair);
    if (!to || from.suits(this.pair)) return;
    if (this.refitting !== null) cancelAnimationFrame(this.refitting);
    const start = performance.now();
    const move = () => {
      const t = Math.min(1, (performance.now() - start) / GLIDE_MS);
      this.look(from.between(to, t * t * (3 - 2 * t)));
      this.wake();
      this.refitting = t < 1 ? requestAnimationFrame(move) : null;
    };
    this.refitting = requestAnimationFrame(move);
  }

  // --- frames

  wake() {
    this.dirty = true;
    this.changed = performance.now();
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = null;
    if (this.isOff) return;
    const start = performance.now();
    if (this.dirty) {
      this.dirty = false;
      this.plane.draw();
      this.numbers.showTerms();
      this.beginSamples();
    }
    const isMoving = this.holding || this.gliding || start - this.changed < STILL_MS;
    const end = performance.now() + (isMoving ? MOVING_MS : RESTING_MS);
    let left = true;
    while (left && performance.now() < end) {
      for (const sample of this.samples) if (sample.left) sample.step();
      left = this.samples.some((sample) => sample.left);
    }
    this.numbers.showSamples();
    if (left) this.frame ??= requestAnimationFrame(() => this.draw());
  }

  beginSamples() {
    const { P, Q, samples, seed, size } = this;
    if (this.noise.seed !== seed || this.noise.eps.length !== 2 * size) {
      this.noise = { seed, eps: noise(seed, 2 * size) };
    }
    samples[0].begin(P, Q, this.noise.eps, size);
    samples[1].begin(Q, P, this.noise.eps, size);
  }

  /** A link of the walk-through shows what it speaks of. */
  followLink(/** @type {MouseEvent} */ event) {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    const { terms, samples, special } = this.numbers;
    /** @type {Record<string, HTMLElement>} */
    const parts = { "#map": this.plane.element, "#terms": terms, "#samples": samples, "#special": special };
    const part = parts[/** @type {HTMLAnchorElement | undefined} */ (link)?.getAttribute("href") ?? ""];
    if (!part) return;
    event.preventDefault();
    event.stopPropagation();
    part.scrollIntoView({ behavior: "smooth", block: "center" });
    part.classList.remove("pointed-at");
    void part.offsetWidth; // so that the animation begins anew
    part.classList.add("pointed-at");
  }
}

/** @param {Plain} plain @returns {Moments} */
function momentsOf({ mu, cov: [[a, b], [, c]] }) {
  return { mu, cov: [a, b, c] };
}
