/** @import { Plot, PlotlyLayout } from "../types.d.ts" */

const SETTLED_MS = 300; // after the last step of a wheel or a drag

/** Tells of the part of the map that the hand chose, and of the classes that it hid, when it rests. */
export class MapView {
  /** @param {(view: object) => void} send */
  constructor(send) {
    this.send = send;
    this.told = "";
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.waiting = undefined;
  }

  /** A chart begins as it is. @param {Plot} plot */
  begin(plot) {
    clearTimeout(this.waiting);
    this.told = JSON.stringify(viewOf(plot));
  }

  /** @param {Plot} plot */
  hasMoved(plot) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => {
      if (!plot.isConnected || !plot._fullLayout?.xaxis) return;
      const view = viewOf(plot);
      const text = JSON.stringify(view);
      if (text === this.told) return;
      this.told = text;
      this.send(view);
    }, SETTLED_MS);
  }

  stop() {
    clearTimeout(this.waiting);
  }
}

/** Without ranges where they are Plotly's own choice. @param {Plot} plot */
function viewOf({ _fullLayout, _fullData }) {
  const { xaxis, yaxis } = /** @type {PlotlyLayout} */ (_fullLayout);
  const ranges = xaxis.autorange ? {} : { x: [...xaxis.range], y: [...yaxis.range] };
  const classes = _fullData.filter(({ legendgroup }) => legendgroup);
  if (!classes.length) return ranges; // coloured by something else
  const hidden = classes.filter(({ visible }) => visible === "legendonly").map(({ legendgroup }) => legendgroup);
  return { ...ranges, hidden: [...new Set(hidden)] };
}
