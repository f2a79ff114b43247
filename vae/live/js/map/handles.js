import { Q_COLOUR } from "../constants.js";
import { el } from "../dom.js";
import { vector } from "../text.js";

/**
 * @import { Pair, Plane, Shared } from "../types.d.ts"
 * @import { Axes } from "./axes.js"
 * @import { MapLayer } from "./map.js"
 */

const HANDLES = [
  { name: "mu", cursor: "move", label: "the mean of q: drag it, or use the arrow keys" },
  { name: "sigma x", cursor: "ew-resize", label: "sigma along x" },
  { name: "sigma y", cursor: "ns-resize", label: "sigma along y" },
];

/** The three handles of q on the map: its mean, and sigma along both axes. */
export class Handles {
  /** @param {Shared} shared @param {MapLayer} map */
  constructor(shared, map) {
    this.shared = shared;
    this.map = map;
    /** @type {number | null} */
    this.held = null;
    /** @type {{sigma: number, away: number} | null} */
    this.grabbed = null; // sigma and the handle's distance from mu when the hand took it
    this.elements = HANDLES.map((_, i) => this.build(i));
  }

  get plane() {
    return /** @type {Plane} */ (this.shared.scene.plane);
  }

  /** The dimension whose sigma a handle sets. */
  dimension(/** @type {number} */ i) {
    return this.plane.dims?.[i - 1] ?? 0;
  }

  /** @param {number} i */
  build(i) {
    const { name, cursor, label } = HANDLES[i];
    const size = i ? 12 : 16;
    const [ink, edge] = i ? ["#fff", Q_COLOUR] : [Q_COLOUR, "#fff"];
    const dot = el("div", {
      style:
        `position:absolute;inset:${(30 - size) / 2}px;box-sizing:border-box;border-radius:${i ? "3px" : "50%"};` +
        `background:${ink};border:2.5px solid ${edge};box-shadow:0 0 3px rgba(0,0,0,.5)`,
    });
    const place =
      "position:absolute;left:-15px;top:-15px;width:30px;height:30px;pointer-events:auto;touch-action:none;" +
      `cursor:${cursor};will-change:transform`;
    const says = { role: "slider", "aria-label": label, "aria-valuenow": "0", title: label };
    const handle = el("div", { class: "elbo-handle", "data-handle": name, tabindex: "0", ...says, style: place }, dot);
    // The chart must not see these: it would pan under the hand.
    for (const type of ["mousedown", "touchstart", "click", "dblclick"]) {
      handle.addEventListener(type, (event) => event.stopPropagation());
    }
    this.listen(handle, i);
    return handle;
  }

  /** @param {HTMLElement} handle @param {number} i */
  listen(handle, i) {
    const { selection, sender } = this.shared;
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      event.stopPropagation();
      handle.focus(/** @type {FocusOptions} */ ({ preventScroll: true, focusVisible: false }));
      handle.setPointerCapture(event.pointerId);
      this.held = i;
      if (i) this.grabbed = { sigma: selection.q.sigma[this.dimension(i)], away: this.distance(i, this.map.axes) };
      sender.grab();
    });
    handle.addEventListener("pointermove", (event) => {
      if (this.held === i && !sender.isCancelled) this.move(i, this.map.toArea(event), event.timeStamp);
    });
    const release = () => {
      if (this.held !== i) return;
      this.held = this.grabbed = null;
      sender.release();
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("lostpointercapture", release);
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 20 : 4;
      const by = ARROWS[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const [x, y] = this.placeOf(i, this.map.axes);
      this.move(i, [x + step * by[0], y + step * by[1]], event.timeStamp);
      sender.send();
    });
  }

  /** Sigma's handle stands at 1 sigma, but never so near that it hides the handle of mu. */
  distance(/** @type {number} */ i, /** @type {Axes} */ axes) {
    const sigma = this.shared.selection.q.sigma[this.dimension(i)];
    return Math.max(24, sigma * Math.abs(i === 1 ? axes.scaleX : axes.scaleY));
  }

  /** @param {number} i @param {Axes} axes @returns {Pair} */
  placeOf(i, axes) {
    const [x, y] = axes.toPixels(this.plane, this.shared.selection.q.mu);
    if (i === 1) return [x + this.distance(1, axes), y];
    if (i === 2) return [x, y - this.distance(2, axes)];
    return [x, y];
  }

  /** @param {number} i @param {Pair} at @param {number} time */
  move(i, at, time) {
    const { selection } = this.shared;
    const { axes } = this.map;
    if (i === 0) {
      selection.moveTo(axes.toLatent(this.plane, at, selection.q.mu), time);
      return;
    }
    const [x0, y0] = axes.toPixels(this.plane, selection.q.mu);
    const d = this.dimension(i);
    const away = Math.max(2, i === 1 ? at[0] - x0 : y0 - at[1]);
    // Twice as far from mu is twice the sigma, whatever the handle's first distance was.
    const start = this.grabbed ?? { sigma: selection.q.sigma[d], away: this.distance(i, axes) };
    selection.set("sigma", d, Math.max((start.sigma * away) / start.away, 0.001), time);
  }

  /** @param {boolean} isShown */
  show(isShown) {
    for (const handle of this.elements) handle.style.display = isShown ? "" : "none";
  }

  /** @param {Axes} axes */
  draw(axes) {
    const { q } = this.shared.selection;
    const { dims } = this.plane;
    // While q follows the pointer it lies under it.
    const isFree = !this.shared.settings.values.follow && !this.map.isLasso;
    this.elements.forEach((handle, i) => {
      handle.hidden = i > 0 && (this.shared.scene.only !== null || !(dims && dims.length >= i));
      if (handle.hidden) return;
      handle.style.pointerEvents = isFree ? "auto" : "none";
      const [x, y] = this.placeOf(i, axes);
      handle.style.transform = `translate(${x}px,${y}px)`;
      handle.setAttribute("aria-valuenow", (i ? q.sigma[this.dimension(i)] : q.mu[0]).toFixed(3));
      handle.setAttribute("aria-valuetext", i ? "" : `μ = ${vector(q.mu)}`);
    });
  }
}

/** @type {Record<string, Pair>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
