import { el } from "../dom.js";
import { Axes } from "./axes.js";
import { ChartPoints } from "./chart_points.js";
import { Handles } from "./handles.js";
import { Loupe } from "./loupe.js";
import { Marks } from "./marks.js";
import { Thumb } from "./thumb.js";
import { Tiles } from "./tiles.js";
import { MapView } from "./view.js";

/**
 * @import { Tour } from "../tour.js"
 * @import { Pair, Plane, Plot, PlotlyLayout, Shared } from "../types.d.ts"
 */

// Where a browser tells of the pointer between frames, what is drawn is where it now is.
const MOVES = "onpointerrawupdate" in globalThis ? ["pointermove", "pointerrawupdate"] : ["pointermove"];
const REDRAWS = ["plotly_relayouting", "plotly_relayout", "plotly_afterplot"];
const CHANGES = ["plotly_relayout", "plotly_restyle"]; // of the zoom, and of what the legend hides
const FOCUS =
  ".elbo-handle:focus{outline:none}" +
  ".elbo-handle:focus-visible>div{outline:2px solid currentColor;outline-offset:2px}";

/**
 * What a click on the map does.
 *
 * @typedef {object} Clicks
 * @property {(index: number) => void} choose a data point
 * @property {(mu: Float64Array, time: number) => void} settle in empty space
 * @property {(z: Float64Array | null) => void} addStop with shift
 */

/** What lies over and under the real Plotly chart, and what the pointer does there. */
export class MapLayer {
  /** @param {Shared} shared @param {Tour} tour @param {Clicks} clicks @param {HTMLElement} themed */
  constructor(shared, tour, clicks, themed) {
    this.shared = shared;
    this.tour = tour;
    this.clicks = clicks;
    this.themed = themed;
    /** @type {Plot | null} */
    this.plot = null;
    /** @type {Pair | null} */
    this.pressed = null; // where the pointer went down on the chart, in the window, until it moves
    this.drawnAt = ""; // the axes' signature
    this.chartPoints = new ChartPoints([]);
    this.listeners = new AbortController();
    this.redraw = () => shared.frames.wake("map");
    this.sizes = new ResizeObserver(this.redraw);
    this.tiles = new Tiles(shared);
    this.marks = new Marks();
    this.handles = new Handles(shared, this);
    this.thumb = new Thumb(shared);
    this.loupe = new Loupe();
    this.view = new MapView((view) => shared.host.send("view", view));
    this.moved = () => this.plot && this.view.hasMoved(this.plot);
    this.marks.planar.append(this.loupe.leader);
    const style = "position:absolute;pointer-events:none;overflow:hidden;z-index:3";
    this.over = el("div", { class: "elbo-map", style }, el("style", {}, FOCUS));
    this.over.append(this.marks.svg, this.marks.stops, this.loupe.box, ...this.handles.elements, this.thumb.box);
    this.watch = setInterval(() => this.attach(), 250); // a rerun may have made another chart
    this.attach();
  }

  /** Finds the chart, and its layers if a rerun has thrown them away. */
  attach() {
    const plot = this.shared.host.findPlot();
    const box = plot?.querySelector(".svg-container");
    if (!plot || !box || !plot._fullLayout?.xaxis?.p2d || !plot._fullLayout._size) return;
    if (plot !== this.plot) this.listenTo(plot, box);
    if (this.over.parentNode !== box) {
      // First, so that the chart's own drawing, points and rings, lies over the manifold.
      box.prepend(this.tiles.canvas);
      box.append(this.over);
      this.redraw();
    }
    if (this.axes.signature !== this.drawnAt) this.redraw();
  }

  /** @param {Plot} plot @param {Element} box */
  listenTo(plot, box) {
    this.detach();
    this.plot = plot;
    this.listeners = new AbortController();
    const { signal } = this.listeners;
    for (const move of MOVES) {
      plot.addEventListener(move, (event) => this.onMove(/** @type {PointerEvent} */ (event)), { signal });
    }
    plot.addEventListener("pointerleave", () => this.onLeave(), { signal });
    plot.addEventListener("pointerdown", (event) => this.onDown(event), { signal, capture: true });
    document.addEventListener("pointermove", (event) => this.onDrag(event), { signal, capture: true });
    document.addEventListener("pointerup", (event) => this.onUp(event), { signal, capture: true });
    for (const event of REDRAWS) plot.on(event, this.redraw);
    if (this.shared.host.can("view")) {
      this.view.begin(plot);
      for (const event of CHANGES) plot.on(event, this.moved);
    }
    this.sizes.observe(box);
  }

  detach() {
    this.listeners.abort();
    this.sizes.disconnect();
    this.view.stop();
    for (const event of REDRAWS) this.plot?.removeListener?.(event, this.redraw);
    for (const event of CHANGES) this.plot?.removeListener?.(event, this.moved);
    this.tiles.canvas.remove();
    this.over.remove();
    this.plot = null;
  }

  destroy() {
    clearInterval(this.watch);
    this.detach();
  }

  /** Whether the chart is there to be drawn on. */
  get isThere() {
    return Boolean(this.plot?._fullLayout?.xaxis);
  }

  get axes() {
    return new Axes(/** @type {PlotlyLayout} */ (this.plot?._fullLayout));
  }

  /** Whether a drag on the chart selects points: then it may begin anywhere, on a handle too. */
  get isLasso() {
    return ["lasso", "select"].includes(this.plot?._fullLayout?.dragmode ?? "");
  }

  /** The data points that the chart now shows. */
  get points() {
    const traces = this.plot?._fullData ?? [];
    if (this.chartPoints.traces !== traces) this.chartPoints = new ChartPoints(traces);
    return this.chartPoints;
  }

  /**
   * Pixels of the plot area for a pointer event.
   *
   * @param {{clientX: number, clientY: number}} event
   * @returns {Pair}
   */
  toArea({ clientX, clientY }) {
    const container = /** @type {HTMLElement} */ (this.plot?.querySelector(".svg-container"));
    const box = container.getBoundingClientRect();
    const zoom = box.width / container.offsetWidth || 1;
    const { left, top } = this.axes;
    return [(clientX - box.left) / zoom - left, (clientY - box.top) / zoom - top];
  }

  /** The latent point at a place of the map: on a layout the mu of that data point, if any. */
  latentAt(/** @type {Axes} */ axes, /** @type {Pair} */ at, /** @type {number | null} */ index) {
    const { scene, selection } = this.shared;
    if (scene.plane) return axes.toLatent(scene.plane, at, selection.q.mu);
    return index === null ? null : (scene.points?.muOf(index) ?? null);
  }

  /** @param {PointerEvent} event */
  onMove(event) {
    const { frames, scene, selection, settings } = this.shared;
    if (scene.isOff || event.pointerType === "touch" || this.handles.held !== null) return;
    const { axes } = this;
    const at = this.toArea(event);
    const target = /** @type {Element} */ (event.target);
    const isFree = axes.contains(at) && !target.closest?.(".modebar, .legend, .elbo-handle");
    selection.hover = isFree ? at : null;
    if (settings.values.follow && isFree && !event.buttons) {
      const mu = this.latentAt(axes, at, scene.plane ? null : this.points.nearest(axes, at));
      if (mu) selection.moveTo(mu, event.timeStamp);
    }
    frames.wake("hover", event.timeStamp);
  }

  onLeave() {
    const { frames, scene, selection, sender, settings } = this.shared;
    selection.hover = null;
    frames.wake("hover");
    if (settings.values.follow && !scene.isOff) sender.send();
  }

  /** @param {PointerEvent} event */
  onDown(event) {
    const isOnPlane = /** @type {Element} */ (event.target).closest?.(".nsewdrag");
    this.pressed = isOnPlane && event.isPrimary ? [event.clientX, event.clientY] : null;
  }

  /** What was once dragged is no click, wherever it ends: a lasso closes where it began. */
  onDrag(/** @type {PointerEvent} */ { clientX, clientY }) {
    if (this.pressed && Math.hypot(clientX - this.pressed[0], clientY - this.pressed[1]) > 5) this.pressed = null;
  }

  /** @param {PointerEvent} event */
  onUp(event) {
    const { scene, settings } = this.shared;
    this.onDrag(event);
    if (!this.pressed || scene.isOff || event.button > 0) return;
    this.pressed = null;
    const { axes, clicks } = this;
    const at = this.toArea(event);
    if (!axes.contains(at)) return;
    const { follow } = settings.values;
    // On a layout q that follows the pointer is that of the nearest point already, however far.
    const reach = follow && !scene.plane ? Number.POSITIVE_INFINITY : event.pointerType === "touch" ? 14 : 7;
    const index = this.points.nearest(axes, at, reach);
    if (event.shiftKey) {
      if (index !== null) clicks.addStop(scene.points?.muOf(index) ?? null);
      else if (scene.plane) clicks.addStop(this.latentAt(axes, at, null));
    } else if (index !== null && !(follow && scene.plane)) {
      clicks.choose(index);
    } else if (scene.plane) {
      clicks.settle(/** @type {Float64Array} */ (this.latentAt(axes, at, null)), event.timeStamp);
    }
  }

  /** The chart lies outside the panel: its layer is given the panel's colours. */
  takeTheme() {
    const style = getComputedStyle(this.themed);
    for (const name of ["--st-background-color", "--st-text-color", "--st-font"]) {
      this.over.style.setProperty(name, style.getPropertyValue(name));
    }
  }

  /** Draws q, its handles and the tour's stops where the axes now are. */
  draw() {
    if (!this.isThere) return;
    const { axes, marks, points } = this;
    const { scene, selection } = this.shared;
    const { plane } = scene;
    const area = { left: axes.left, top: axes.top, width: axes.width, height: axes.height };
    for (const [name, value] of Object.entries(area)) {
      this.over.style.setProperty(name, `${value}px`);
      this.tiles.canvas.style.setProperty(name, `${value}px`);
    }
    this.drawnAt = axes.signature;
    marks.show(!scene.isOff, plane !== null);
    this.handles.show(!scene.isOff && plane !== null);
    if (scene.isOff) {
      this.loupe.hide();
      this.thumb.box.hidden = true;
      return;
    }
    if (!selection.hover) marks.markHovered(null);
    if (plane) {
      marks.mark("chosen", null);
      marks.mark("near", null);
      marks.drawQ(axes, plane, selection.q, scene.only !== null);
      marks.drawTour(axes, plane, this.tour);
      this.handles.draw(axes);
      if (scene.only) this.loupe.hide();
      else this.loupe.draw(axes, plane, selection.q, points);
    } else {
      this.loupe.hide();
      const near = scene.points?.nearestTo(selection.q.mu) ?? null;
      marks.mark("chosen", points.placeOf(axes, selection.index));
      marks.mark("near", points.placeOf(axes, near));
    }
  }

  /** Draws the decode under the pointer. */
  drawHover() {
    const { scene, selection } = this.shared;
    const at = selection.hover;
    if (!at || scene.isOff || !this.isThere) {
      this.thumb.box.hidden = true;
      this.marks.markHovered(null);
      return;
    }
    if (this.thumb.box.hidden) this.takeTheme();
    const { axes } = this;
    const index = scene.plane ? null : this.points.nearest(axes, at);
    this.marks.markHovered(this.points.placeOf(axes, index), at);
    const z = this.latentAt(axes, at, index);
    this.thumb.box.hidden = !z; // no point is drawn, or their mu is not at hand
    if (z) this.thumb.draw(z, index, axes, at);
  }

  /** Lays the manifold out, if it is wanted. */
  layTiles() {
    const { scene, settings } = this.shared;
    const isOffered = scene.only?.includes("manifold") ?? true;
    if (settings.values.manifold && isOffered && scene.plane && !scene.isOff && this.isThere) {
      this.tiles.lay(this.axes, this.boxOfLegend());
    } else {
      this.tiles.clear();
    }
  }

  /** @returns {[number, number, number, number] | null} */
  boxOfLegend() {
    const legend = this.plot?.querySelector(".legend .bg")?.getBoundingClientRect();
    if (!legend?.width) return null;
    return [...this.toArea({ clientX: legend.left, clientY: legend.top }), legend.width, legend.height];
  }
}
