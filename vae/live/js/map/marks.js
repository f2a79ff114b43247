import { PRIOR_COLOUR, Q_COLOUR } from "../constants.js";
import { el, HALO, set, shape } from "../dom.js";
import { Axes } from "./axes.js";

/**
 * @import { Pair, Plane, Q } from "../types.d.ts"
 * @import { Tour } from "../tour.js"
 * @import { ChartPoints } from "./chart_points.js"
 */

const STOP_STYLE =
  `position:absolute;left:-9px;top:-9px;width:18px;height:18px;border-radius:50%;background:${Q_COLOUR};` +
  "color:#fff;font:600 11px/18px var(--st-font,sans-serif);text-align:center";

/** The normal density over its peak, by sigmas from the mean. @type {Pair[]} */
const CURVE = Array.from({ length: 81 }, (_, i) => [i / 10 - 4, Math.exp(-((i / 10 - 4) ** 2) / 2)]);

/** What is drawn over the chart: q, the prior, the tour, and rings around data points. */
export class Marks {
  constructor() {
    this.svg = shape("svg", { style: "position:absolute;inset:0;width:100%;height:100%;overflow:hidden" });
    // The chart's own rings lie under the points, where a dense map hides them.
    const dotted = { fill: "none", stroke: PRIOR_COLOUR, "stroke-width": 1.2, "stroke-dasharray": "1.5 3.5" };
    this.rings = [1, 2, 3].map((radius) => ({ radius, line: shape("ellipse", dotted) }));
    this.path = shape("polyline", {
      ...{ fill: "none", stroke: Q_COLOUR },
      ...{ "stroke-width": 1.5, "stroke-dasharray": "2 4" },
    });
    this.ellipses = [HALO, Q_COLOUR].flatMap((stroke) =>
      [1, 2].map((radius) => {
        const width = stroke === HALO ? 5 : 2.5;
        return { radius, line: shape("ellipse", { fill: "none", stroke, "stroke-width": width }) };
      }),
    );
    // On a line: its density, as a share of its peak.
    this.curves = [HALO, Q_COLOUR].map((stroke) =>
      shape("polyline", {
        ...{ class: "elbo-curve", fill: stroke, "fill-opacity": stroke === HALO ? 0 : 0.12 },
        ...{ stroke, "stroke-width": stroke === HALO ? 5 : 2.5 },
      }),
    );
    this.planar = shape("g", {});
    this.planar.append(...this.rings.map(({ line }) => line), this.path, ...this.curves);
    this.planar.append(...this.ellipses.map(({ line }) => line));
    // On a layout: the chosen point, the one nearest to mu, and the one nearest to the pointer.
    const ring = { fill: "none" };
    this.points = {
      chosen: [
        shape("circle", { ...ring, class: "elbo-chosen", r: 9, stroke: HALO, "stroke-width": 5 }),
        shape("circle", { ...ring, class: "elbo-chosen", r: 9, stroke: Q_COLOUR, "stroke-width": 2.5 }),
      ],
      near: [shape("circle", { class: "elbo-near", r: 5, fill: Q_COLOUR, stroke: "#fff", "stroke-width": 1.5 })],
      hovered: [
        shape("circle", { ...ring, class: "elbo-hovered", r: 7, stroke: HALO, "stroke-width": 4 }),
        shape("circle", { ...ring, class: "elbo-hovered", r: 7, stroke: "currentColor", "stroke-width": 1.5 }),
      ],
    };
    this.leader = shape("line", { stroke: "currentColor", "stroke-width": 1, "stroke-dasharray": "2 3" });
    this.svg.append(this.planar, this.leader, ...Object.values(this.points).flat());
    this.stops = el("div", { style: "position:absolute;inset:0" });
  }

  /** @param {boolean} isShown @param {boolean} isPlane a layout has no place for q, the prior and the tour */
  show(isShown, isPlane) {
    this.svg.style.display = isShown ? "" : "none";
    for (const part of [this.planar, this.stops]) part.style.display = isShown && isPlane ? "" : "none";
  }

  /** @param {Axes} axes @param {Plane} plane @param {Q} q @param {boolean} isPlain without it, and without the prior */
  drawQ(axes, plane, q, isPlain) {
    const isLine = Axes.isLine(plane);
    for (const { line } of [...this.ellipses, ...this.rings]) line.style.display = isLine || isPlain ? "none" : "";
    for (const line of this.curves) line.style.display = isPlain ? "none" : "";
    const curve = isLine ? CURVE.map(([t, share]) => axes.pixels(q.mu[0] + t * q.sigma[0], share).join()) : [];
    for (const line of this.curves) line.setAttribute("points", curve.join(" "));
    if (!isLine) this.drawEllipses(axes, plane, q);
  }

  /** @param {Axes} axes @param {Plane} plane @param {Q} q */
  drawEllipses(axes, plane, q) {
    const [cx, cy] = axes.toPixels(plane, q.mu);
    const [rx, ry, angle] = axes.ellipse(plane, q.sigma);
    for (const { line, radius } of this.ellipses) {
      line.setAttribute("rx", `${Math.min(radius * rx, 1e5)}`);
      line.setAttribute("ry", `${Math.min(radius * ry, 1e5)}`);
      line.setAttribute("transform", `translate(${cx} ${cy}) rotate(${angle})`);
    }
    const [ox, oy] = axes.toPixels(plane, new Float64Array(q.mu.length));
    for (const { line, radius } of this.rings) {
      line.setAttribute("rx", `${radius * axes.scaleX}`);
      line.setAttribute("ry", `${radius * axes.scaleY}`);
      line.setAttribute("transform", `translate(${ox} ${oy})`);
    }
  }

  /** @param {Axes} axes @param {Plane} plane @param {Tour} tour */
  drawTour(axes, plane, tour) {
    const line = tour.onMap((z) => axes.toPixels(plane, z).join());
    this.path.setAttribute("points", line.join(" "));
    while (this.stops.childNodes.length > tour.stops.length) this.stops.lastChild?.remove();
    while (this.stops.childNodes.length < tour.stops.length) {
      this.stops.append(el("div", { style: STOP_STYLE }, `${this.stops.childNodes.length + 1}`));
    }
    tour.stops.forEach((z, i) => {
      const [px, py] = axes.toPixels(plane, z);
      /** @type {HTMLElement} */ (this.stops.childNodes[i]).style.transform = `translate(${px}px,${py}px)`;
    });
  }

  /**
   * Puts a mark on a place, or away.
   *
   * @param {"chosen" | "near" | "hovered"} name
   * @param {Pair | null} place
   */
  mark(name, place) {
    for (const circle of this.points[name]) {
      circle.style.display = place ? "" : "none";
      if (place) circle.setAttribute("transform", `translate(${place})`);
    }
  }

  /** Rings the data point that is shown, with a line to it from the pointer. */
  markHovered(/** @type {Pair | null} */ place, /** @type {Pair | null} */ pointer = null) {
    this.mark("hovered", place);
    this.leader.style.display = place ? "" : "none";
    if (!place || !pointer) return;
    const [[x1, y1], [x2, y2]] = [pointer, place];
    const away = Math.hypot(x2 - x1, y2 - y1);
    const share = Math.max(0, away - 7) / (away || 1); // it ends at the ring
    set(this.leader, { x1, y1, x2: x1 + share * (x2 - x1), y2: y1 + share * (y2 - y1) });
  }
}
