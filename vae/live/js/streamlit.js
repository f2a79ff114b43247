// The panel's adapter to Streamlit.

import { keep } from "./pack.js";
import { Panel } from "./panel/panel.js";

/**
 * What Streamlit hands over; the two functions are made anew at each rerun.
 *
 * @typedef {object} Mounted
 * @property {any} data
 * @property {HTMLElement | ShadowRoot} parentElement
 * @property {(name: string, value: unknown) => void} setStateValue
 * @property {(name: string, value: unknown) => void} setTriggerValue
 */

/** A panel in a place of the page, with the newest of those functions. */
class Place {
  /** @param {Mounted} mounted */
  constructor(mounted) {
    this.mounted = mounted;
    this.panel = new Panel(mounted.parentElement, {
      findPlot: () => document.querySelector(`.st-key-${this.mounted.data.chart} .js-plotly-plot`),
      send: (name, value) => this.send(name, value),
      can: () => true,
    });
  }

  /** @param {string} name @param {unknown} value */
  send(name, value) {
    const { setStateValue, setTriggerValue } = this.mounted;
    (name === "hand" ? setStateValue : setTriggerValue)(name, value);
  }
}

/** @type {WeakMap<Node, Place>} */
const places = new WeakMap();

/**
 * What Streamlit calls at each rerun: bytes are a pack to keep, anything else is for the panel.
 *
 * @param {Mounted} mounted
 */
export default function mount(mounted) {
  const { data, parentElement } = mounted;
  if (data instanceof Uint8Array) {
    keep(data);
    return;
  }
  const place = places.get(parentElement) ?? new Place(mounted);
  if (!places.has(parentElement)) {
    places.set(parentElement, place);
    Object.assign(globalThis, { elboRoom: { panel: place.panel } }); // for those who measure
  }
  place.mounted = mounted;
  place.panel.setData(data);
  return () => {
    places.delete(parentElement);
    place.panel.destroy();
  };
}
