/**
 * @import { Pair, PlotlyTrace } from "../types.d.ts"
 * @import { Axes } from "./axes.js"
 */

/** The data points that a chart shows: where they are in the axes' units, and which they are. */
export class ChartPoints {
  /** @param {PlotlyTrace[]} traces of Plotly, which makes another array when anything of it changes */
  constructor(traces) {
    this.traces = traces;
    const shown = traces.filter((trace) => trace.visible === true && trace.customdata);
    this.n = shown.reduce((sum, trace) => sum + trace.x.length, 0);
    this.x = new Float64Array(this.n);
    this.y = new Float64Array(this.n);
    this.index = new Int32Array(this.n);
    let offset = 0;
    for (const trace of shown) {
      this.x.set(trace.x, offset);
      this.y.set(trace.y, offset);
      this.index.set(trace.customdata, offset);
      offset += trace.x.length;
    }
    /** @type {Map<number, number>} */
    this.at = new Map();
    for (const [i, which] of this.index.entries()) this.at.set(which, i);
  }

  /**
   * The index of the data point nearest to a pixel and within `reach` of it, or null.
   *
   * @param {Axes} axes
   * @param {Pair} at
   */
  nearest(axes, [px, py], reach = Number.POSITIVE_INFINITY) {
    const { n, x, y } = this;
    const { scaleX, scaleY } = axes;
    const [x0, y0] = [axes.x0 + px / scaleX, axes.y1 - py / scaleY];
    let best = reach * reach;
    let found = -1;
    for (let i = 0; i < n; i++) {
      const dx = (x[i] - x0) * scaleX;
      const dy = (y[i] - y0) * scaleY;
      const distance = dx * dx + dy * dy;
      if (distance < best) {
        best = distance;
        found = i;
      }
    }
    return found < 0 ? null : this.index[found];
  }

  /**
   * Where a data point stands, in pixels of the plot area; null if it is not drawn.
   *
   * @param {Axes} axes
   * @param {number | null} index
   */
  placeOf(axes, index) {
    const i = index === null ? undefined : this.at.get(index);
    return i === undefined ? null : axes.pixels(this.x[i], this.y[i]);
  }
}
