import { el } from "../dom.js";
import { COLOURS } from "./heat.js";

/**
 * @import { Pair } from "../types.d.ts"
 * @import { Gaussian } from "./gaussian.js"
 * @import { Duel } from "./duel.js"
 *
 * @typedef {"P" | "Q"} Name
 * @typedef {"mean" | 0 | 1} Part the mean, or the tip of an axis
 *
 * @typedef {object} Start what a drag goes by
 * @property {Pair} missed how far the press missed the handle's middle
 * @property {number} sigma how long the axis was
 * @property {number} away how far the handle was from the mean
 */

export const NAMES = /** @type {Name[]} */ (["P", "Q"]);
const PARTS = /** @type {Part[]} */ (["mean", 0, 1]);
const GRIP_PX = 20; // a press so near to a handle takes it
const NEAREST_PX = 26; // an axis' handle does not hide that of the mean
/** @type {Record<string, Pair>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A handle of one of the two: at its mean, or at the tip of an axis. */
export class Handle {
  /** @param {Duel} duel @param {Name} name @param {Part} part */
  constructor(duel, name, part) {
    this.duel = duel;
    this.name = name;
    this.part = part;
    /** @type {Start} */
    this.start = { missed: [0, 0], sigma: 1, away: 1 };
    const what = part === "mean" ? "the mean" : `the ${["first", "second"][part]} axis`;
    const says = {
      role: "slider",
      "aria-label": `${what} of ${name}: drag it, or use the arrow keys`,
      "aria-valuenow": "0",
    };
    this.mark = el("i");
    this.element = el(
      "div",
      {
        class: `handle ${part === "mean" ? "mean" : "tip"}`,
        "data-handle": `${name} ${part}`,
        tabindex: "0",
        ...says,
        style: `--colour:${COLOURS[name]}`,
      },
      this.mark,
    );
    this.listen();
  }

  get gaussian() {
    return this.duel[this.name];
  }

  listen() {
    const { duel, element } = this;
    element.addEventListener("pointermove", (event) => {
      if (duel.holding === this) this.drag(duel.at(event));
    });
    const release = () => {
      if (duel.holding === this) duel.release();
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("lostpointercapture", release);
    element.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 20 : 4;
      const by = ARROWS[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      duel.grab(this.name);
      const [x, y] = this.place;
      this.begin([x, y]);
      this.drag([x + step * by[0], y + step * by[1]]);
      duel.emit();
    });
    element.addEventListener("keyup", (event) => {
      if (event.key.startsWith("Arrow")) duel.fit();
    });
  }

  /** The hand takes hold of it. */
  take(/** @type {PointerEvent} */ event) {
    event.preventDefault();
    this.element.focus(/** @type {FocusOptions} */ ({ preventScroll: true, focusVisible: false }));
    this.element.setPointerCapture(event.pointerId);
    this.duel.grab(this.name);
    this.duel.holding = this;
    this.begin(this.duel.at(event));
  }

  /** @param {Pair} at */
  begin(at) {
    const [x, y] = this.place;
    const isMean = this.part === "mean";
    this.start = {
      missed: [at[0] - x, at[1] - y],
      sigma: isMean ? 1 : this.gaussian.sigma[/** @type {0 | 1} */ (this.part)],
      away: isMean ? 1 : this.away,
    };
  }

  /** @param {Pair} at */
  drag([px, py]) {
    /** @type {Pair} */
    const at = [px - this.start.missed[0], py - this.start.missed[1]];
    if (this.part === "mean") this.duel.moveMean(this.name, this.duel.view.toPlane(at));
    else this.duel.moveTip(this.name, this.part, at, this.start);
  }

  /** How far a tip's handle stands from the mean, in pixels. */
  get away() {
    const axis = this.part === "mean" ? 0 : this.part;
    return Math.max(NEAREST_PX, this.gaussian.sigma[axis] * this.duel.view.scale);
  }

  /** Where it stands, in pixels. @returns {Pair} */
  get place() {
    const [x, y] = this.duel.view.toPixels(this.gaussian.mu);
    if (this.part === "mean") return [x, y];
    const [u, v] = this.gaussian.direction(this.part);
    return [x + this.away * u, y - this.away * v];
  }

  draw() {
    const { element, gaussian, part } = this;
    const [x, y] = this.place;
    element.style.transform = `translate(${x}px,${y}px)`;
    if (part === "mean") {
      element.setAttribute("aria-valuenow", gaussian.mu[0].toFixed(3));
      element.setAttribute("aria-valuetext", `(${gaussian.mu.map((v) => v.toFixed(2)).join(", ")})`);
      return;
    }
    const degrees = (gaussian.angle * 180) / Math.PI;
    this.mark.style.transform = `rotate(${-degrees}deg)`;
    const sigma = gaussian.sigma[part];
    element.setAttribute("aria-valuenow", sigma.toPrecision(4));
    element.setAttribute(
      "aria-valuetext",
      `σ = ${sigma.toPrecision(3)} at ${(degrees + 90 * part).toFixed(0)} degrees`,
    );
  }
}

/** The handles of both. */
export class Handles {
  /** @param {Duel} duel */
  constructor(duel) {
    this.duel = duel;
    this.of = {
      P: PARTS.map((part) => new Handle(duel, "P", part)),
      Q: PARTS.map((part) => new Handle(duel, "Q", part)),
    };
  }

  get elements() {
    return NAMES.flatMap((name) => this.of[name].map(({ element }) => element));
  }

  /** What a press takes: the nearest handle, else the mean of the Gaussian whose body is there. */
  under(/** @type {PointerEvent} */ event) {
    const { duel } = this;
    const target = /** @type {Element} */ (event.target);
    if (event.button > 0 || duel.holding || target.closest?.(".maps, .legend")) return null;
    const at = duel.at(event);
    /** @type {Name[]} */
    const free = duel.special ? ["P"] : [duel.top, ...NAMES.filter((name) => name !== duel.top)];
    let best = GRIP_PX;
    /** @type {Handle | null} */
    let found = null;
    for (const handle of free.flatMap((name) => this.of[name])) {
      const [x, y] = handle.place;
      const away = Math.hypot(at[0] - x, at[1] - y);
      if (away < best) [best, found] = [away, handle];
    }
    if (found) return found;
    const point = duel.view.toPlane(at);
    const away = (/** @type {Name} */ name) => duel[name].distance(point);
    const [name] = free.filter((one) => away(one) < 2).sort((a, b) => away(a) - away(b));
    return name ? this.of[name][0] : null;
  }

  /** The handles of the one that was last touched lie on top. */
  order() {
    for (const name of NAMES) {
      const above = name === this.duel.top ? 4 : 2;
      for (const { element, part } of this.of[name]) {
        element.style.zIndex = `${part === "mean" ? above + 1 : above}`;
        element.hidden = this.duel.special && name === "Q";
      }
    }
  }
}
