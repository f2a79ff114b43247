import { PRIOR_COLOUR, Q_COLOUR } from "../constants.js";
import { el, HALO, set, shape } from "../dom.js";
import { contextOf } from "../picture.js";
import { Axes } from "./axes.js";

/**
 * @import { Pair, Plane, Q } from "../types.d.ts"
 * @import { ChartPoints } from "./chart_points.js"
 */

const RADIUS = 58; // of the loupe, in pixels
const EDGE = 10; // between it and the map's edge
const SMALLEST = 5; // pixels of sigma that an eye can tell from a dot under its handle
const FILLED = 0.36; // of the radius, by sigma at most

/**
 * How many times q is enlarged so that its sigma can be seen: a power of two, or 1 if it can be
 * seen as it is.
 *
 * @param {number} sigma its longer half-axis, in pixels
 */
export function enlargement(sigma) {
  if (!(sigma < SMALLEST)) return 1;
  return 2 ** Math.floor(Math.log2((FILLED * RADIUS) / Math.max(sigma, 1e-6)));
}

/** Where q is smaller than its handle: the map around its mean, enlarged, in a corner. */
export class Loupe {
  constructor() {
    this.canvas = el("canvas", { role: "img", style: "display:block" });
    this.text = el("div", {
      style: `position:absolute;left:0;right:0;bottom:7px;text-align:center;font:600 11px var(--st-font,sans-serif)`,
    });
    const style =
      `position:absolute;left:0;top:0;width:${2 * RADIUS}px;height:${2 * RADIUS}px;border-radius:50%;overflow:hidden;` +
      `border:1.5px solid ${Q_COLOUR};box-sizing:border-box;pointer-events:none;will-change:transform;` +
      "background:var(--st-background-color,#fff);color:var(--st-text-color,#222)";
    this.box = el("div", { class: "elbo-loupe", style, hidden: "" }, this.canvas, this.text);
    this.leader = shape("line", { stroke: Q_COLOUR, "stroke-width": 1, "stroke-dasharray": "2 3" });
  }

  hide() {
    this.box.hidden = true;
    this.leader.style.display = "none";
  }

  /**
   * Shows q if it is small and on the map.
   *
   * @param {Axes} axes
   * @param {Plane} plane
   * @param {Q} q
   * @param {ChartPoints} points
   */
  draw(axes, plane, q, points) {
    const [rx, ry, angle] = axes.ellipse(plane, q.sigma);
    const times = Axes.isLine(plane) ? 1 : enlargement(rx);
    const at = axes.toPixels(plane, q.mu);
    const isRoom = axes.width > 5 * RADIUS && axes.height > 4 * RADIUS;
    if (times === 1 || !isRoom || !axes.contains(at)) {
      this.hide();
      return;
    }
    this.box.hidden = false;
    this.leader.style.display = "";
    this.place(axes, at);
    this.text.textContent = `× ${times.toLocaleString("en")}`;
    this.canvas.setAttribute("aria-label", `q enlarged ${times} times: its 1 and 2 sigma, and the points around it`);
    const context = this.begin();
    this.drawPoints(context, axes, at, times, points);
    this.drawEllipses(context, [rx * times, ry * times], angle);
  }

  /** In the corner below, on the other side than q. @param {Axes} axes @param {Pair} at */
  place(axes, [x, y]) {
    const isLeft = x > axes.width / 2;
    const [left, top] = [isLeft ? EDGE : axes.width - 2 * RADIUS - EDGE, axes.height - 2 * RADIUS - EDGE];
    this.box.style.transform = `translate(${left}px,${top}px)`;
    const [cx, cy] = [left + RADIUS, top + RADIUS];
    const away = Math.hypot(cx - x, cy - y);
    const [from, to] = [14 / away, 1 - RADIUS / away];
    set(this.leader, {
      x1: x + from * (cx - x),
      y1: y + from * (cy - y),
      x2: x + to * (cx - x),
      y2: y + to * (cy - y),
    });
  }

  begin() {
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const size = Math.round(2 * RADIUS * ratio);
    if (this.canvas.width !== size) this.canvas.width = this.canvas.height = size;
    this.canvas.style.width = this.canvas.style.height = `${2 * RADIUS}px`;
    const context = contextOf(this.canvas);
    context.setTransform(ratio, 0, 0, ratio, RADIUS * ratio, RADIUS * ratio);
    context.clearRect(-RADIUS, -RADIUS, 2 * RADIUS, 2 * RADIUS);
    return context;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {Axes} axes
   * @param {Pair} at
   * @param {number} times
   * @param {ChartPoints} points
   */
  drawPoints(context, axes, at, times, points) {
    const { n, x, y } = points;
    const [x0, y0] = [axes.x0 + at[0] / axes.scaleX, axes.y1 - at[1] / axes.scaleY];
    const [across, down] = [axes.scaleX * times, axes.scaleY * times];
    context.fillStyle = PRIOR_COLOUR;
    for (let i = 0; i < n; i++) {
      const dx = (x[i] - x0) * across;
      const dy = (y0 - y[i]) * down;
      if (Math.abs(dx) > RADIUS || Math.abs(dy) > RADIUS) continue;
      context.beginPath();
      context.arc(dx, dy, 2.5, 0, 2 * Math.PI);
      context.fill();
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Pair} half @param {number} angle */
  drawEllipses(context, [rx, ry], angle) {
    for (const [stroke, width] of /** @type {[string, number][]} */ ([
      [HALO, 5],
      [Q_COLOUR, 2.5],
    ])) {
      for (const radius of [1, 2]) {
        context.strokeStyle = stroke;
        context.lineWidth = width;
        context.beginPath();
        context.ellipse(0, 0, radius * rx, radius * ry, (angle * Math.PI) / 180, 0, 2 * Math.PI);
        context.stroke();
      }
    }
    context.fillStyle = Q_COLOUR;
    context.beginPath();
    context.arc(0, 0, 3, 0, 2 * Math.PI);
    context.fill();
  }
}
