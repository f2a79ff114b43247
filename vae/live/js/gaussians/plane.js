import { el, set, shape, toggle } from "../dom.js";
import { Handles, NAMES } from "./handles.js";
import { COLOURS, Heat } from "./heat.js";
import { niceStep, short } from "./text.js";

/**
 * @import { Pair } from "../types.d.ts"
 * @import { Duel } from "./duel.js"
 * @import { Gaussian } from "./gaussian.js"
 * @import { Name } from "./handles.js"
 */

/** The plane in which both are dragged: grid, ellipses, handles, and the integrand as a map. */
export class Plane {
  /** @param {Duel} duel */
  constructor(duel) {
    this.duel = duel;
    this.heat = new Heat();
    this.svg = shape("svg", { "aria-hidden": "true" });
    this.grid = shape("g", { class: "grid" });
    this.gridSignature = "";
    this.svg.append(this.grid);
    const [Q, P] = [new Outline("Q"), new Outline("P")];
    this.outlines = { P, Q };
    this.svg.append(...Q.elements, ...P.elements);
    this.ticks = el("div", { class: "ticks", "aria-hidden": "true" });
    this.axisNames = ["x", "y"].map((axis) => el("div", { class: `axis ${axis}`, "aria-hidden": "true" }));
    this.handles = new Handles(duel);
    this.maps = [this.mapButton("P", "P log(P/Q)"), this.mapButton("Q", "Q log(Q/P)"), this.mapButton("", "off")];
    this.legendBar = el("i");
    this.legendEnds = [el("span"), el("span")];
    this.legendText = el("div");
    this.legend = el("div", { class: "legend" }, this.legendText, this.legendBar);
    this.legend.append(el("div", { class: "ends" }, ...this.legendEnds));
    this.status = el("div", { class: "status", role: "status" });
    this.element = el("div", { class: "plane" }, this.heat.canvas, this.svg, this.ticks, ...this.axisNames);
    const maps = el("div", { class: "maps" }, el("span", {}, "Map"), ...this.maps.map(({ element }) => element));
    this.element.append(P.label, Q.label, ...this.handles.elements, maps, this.legend, this.status);
    this.element.addEventListener("pointerdown", (event) => this.handles.under(event)?.take(event));
  }

  /** Shows an integrand: of KL(P, Q), KL(Q, P) or none. @param {"P" | "Q" | ""} map @param {string} text */
  mapButton(map, text) {
    const title = map ? `the integrand of KL(${map}, ${map === "P" ? "Q" : "P"})` : "no map";
    return { map, element: toggle(text, title, () => this.duel.change({ map })) };
  }

  /** A pointer event's place, in pixels. @param {PointerEvent} event @returns {Pair} */
  at({ clientX, clientY }) {
    const box = this.element.getBoundingClientRect();
    const zoom = box.width / this.element.offsetWidth || 1;
    return [(clientX - box.left) / zoom, (clientY - box.top) / zoom];
  }

  show() {
    for (const { map, element } of this.maps) element.setAttribute("aria-pressed", `${map === this.duel.map}`);
    this.handles.order();
  }

  say(/** @type {string} */ text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  draw() {
    const { view } = this.duel;
    if (!view.width || !view.height) return;
    this.drawGrid();
    for (const name of NAMES) {
      const other = this.duel[name === "P" ? "Q" : "P"];
      const isFixed = this.duel.special && name === "Q";
      for (const handle of this.handles.of[name]) handle.draw();
      const [, ...tips] = this.handles.of[name].map(({ place }) => place);
      this.outlines[name].draw(this.duel[name], view, tips, isFixed);
      this.outlines[name].drawLabel(this.duel[name], other, view, isFixed ? "Q = N(0, I)" : name);
    }
    this.drawHeat();
  }

  drawGrid() {
    const { view } = this.duel;
    const { width, height } = view;
    const step = niceStep(90 / view.scale);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const [left, top] = view.toPlane([0, 0]);
    const [right, bottom] = view.toPlane([width, height]);
    const lines = [];
    const ticks = [];
    for (let i = Math.ceil(left / step); i * step <= right; i++) {
      const [x] = view.toPixels([i * step, 0]);
      lines.push({ x1: x, x2: x, y1: 0, y2: height, class: i ? "" : "zero" });
      const text = (i * step).toFixed(digits);
      if (x > 60 && x < width - 30) ticks.push({ x, y: height - 4, text, side: "below" });
    }
    for (let i = Math.ceil(bottom / step); i * step <= top; i++) {
      const [, y] = view.toPixels([0, i * step]);
      lines.push({ x1: 0, x2: width, y1: y, y2: y, class: i ? "" : "zero" });
      const text = (i * step).toFixed(digits);
      if (y > 60 && y < height - 30) ticks.push({ x: 5, y, text, side: "beside" });
    }
    const signature = JSON.stringify([lines, ticks]);
    if (signature === this.gridSignature) return;
    this.gridSignature = signature;
    this.grid.replaceChildren(...lines.map((line) => shape("line", line)));
    const spans = ticks.map(({ x, y, text, side }) =>
      el("span", { class: side, style: `left:${x}px;top:${y}px` }, text.replace("-", "−")),
    );
    this.ticks.replaceChildren(...spans);
  }

  drawHeat() {
    const { map, view } = this.duel;
    this.element.classList.toggle("mapped", Boolean(map));
    this.legend.hidden = !map;
    if (!map) {
      this.heat.clear();
      return;
    }
    const [a, b] = /** @type {Name[]} */ (map === "P" ? ["P", "Q"] : ["Q", "P"]);
    const most = this.heat.draw(this.duel[a], this.duel[b], view);
    const text = `${a} log(${a}/${b}), nats per unit area`;
    if (this.legendText.textContent !== text) {
      this.legendText.textContent = text;
      const [up, down] = [COLOURS[a], COLOURS[b]];
      const stops = `${down}, ${down}55 30%, transparent 50%, ${up}55 70%, ${up}`;
      this.legendBar.style.background = `linear-gradient(to right, ${stops})`;
    }
    const isNone = most <= 1e-12;
    this.legendEnds[0].textContent = isNone ? "" : `−${short(most)} where ${b} is denser`;
    this.legendEnds[1].textContent = isNone ? "0 everywhere" : `+${short(most)} where ${a} is`;
  }
}

/** How one of the two is drawn: ellipses at 1 and 2 sigma, an arm to each handle, and its name. */
class Outline {
  /** @param {Name} name */
  constructor(name) {
    const colour = COLOURS[name];
    this.fallback = name === "P" ? [-0.6, 0.8] : [0.6, -0.8]; // where the name stands over one mean
    const attributes = [
      { class: "fill", fill: colour, stroke: "none" },
      { class: "line", fill: "none", stroke: colour },
    ];
    this.ellipses = attributes.flatMap((these) => [2, 1].map((radius) => ({ radius, line: shape("ellipse", these) })));
    this.arms = [0, 1].map(() => shape("line", { class: "arm", stroke: colour }));
    this.label = el("div", { class: "label", style: `color:${colour}` }, name);
    this.elements = [...this.ellipses.map(({ line }) => line), ...this.arms];
  }

  /**
   * @param {Gaussian} gaussian
   * @param {Duel["view"]} view
   * @param {Pair[]} tips where the handles of the axes stand
   * @param {boolean} isFixed it has no handles
   */
  draw(gaussian, view, tips, isFixed) {
    const [x, y] = view.toPixels(gaussian.mu);
    const degrees = (-gaussian.angle * 180) / Math.PI;
    for (const { radius, line } of this.ellipses) {
      const [rx, ry] = gaussian.sigma.map((sigma) => Math.min(1e5, radius * sigma * view.scale));
      set(line, { rx, ry, transform: `translate(${x} ${y}) rotate(${degrees})` });
    }
    this.arms.forEach((arm, axis) => {
      set(arm, { x1: x, y1: y, x2: tips[axis][0], y2: tips[axis][1] });
      arm.style.display = isFixed ? "none" : "";
    });
  }

  /** The name stands where the 2-sigma ellipse is farthest from the other. */
  drawLabel(
    /** @type {Gaussian} */ { mu, cov, sigma },
    /** @type {Gaussian} */ other,
    /** @type {Duel["view"]} */ view,
    text = "",
  ) {
    // Close means would let it spin: the fallback has a say then.
    const size = 0.35 * Math.min(...sigma);
    const away = mu.map((v, i) => v - other.mu[i] + size * this.fallback[i]);
    const length = Math.hypot(...away) || 1;
    const [u, v] = away.map((part) => part / length);
    const [a, b, c] = cov;
    const [du, dv] = [a * u + b * v, b * u + c * v];
    const norm = Math.sqrt(u * du + v * dv) || 1;
    const [x, y] = view.toPixels([mu[0] + (2 * du) / norm, mu[1] + (2 * dv) / norm]);
    if (this.label.textContent !== text) this.label.textContent = text;
    const room = text.length > 1 ? 60 : 18;
    const px = Math.max(room, Math.min(view.width - room, x + 16 * u));
    const py = Math.max(52, Math.min(view.height - 30, y - 16 * v));
    this.label.style.transform = `translate(${px}px,${py}px) translate(-50%,-50%)`;
  }
}
