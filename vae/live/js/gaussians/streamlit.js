// The lesson's adapter to Streamlit.

import { Duel } from "./duel.js";

/**
 * What Streamlit hands over, for each of the two places; the function is made anew at each rerun.
 *
 * @typedef {object} Mounted
 * @property {any} data
 * @property {HTMLElement | ShadowRoot} parentElement
 * @property {(name: string, value: unknown) => void} setTriggerValue
 */

/** @type {Duel | null} */
let duel = null; // a page has one, in two places
/** @type {Map<string, Node>} */
const places = new Map(); // of what is mounted: "plane" and "numbers"
/** @type {Mounted["setTriggerValue"]} */
let trigger = () => {};

/** What Streamlit calls at each rerun, for each of the two places. */
export default function mount(/** @type {Mounted} */ { data, parentElement, setTriggerValue }) {
  duel ??= new Duel((pair) => trigger("pair", pair));
  const { part } = data;
  if (places.get(part) !== parentElement) {
    places.set(part, parentElement);
    parentElement.append((part === "plane" ? duel.plane : duel.numbers).element);
  }
  if (part === "plane") {
    trigger = setTriggerValue;
    duel.setData(data);
    Object.assign(globalThis, { elboRoomGaussians: duel }); // for those who measure
  }
  return () => {
    if (places.get(part) === parentElement) places.delete(part);
    if (places.size || !duel) return;
    duel.destroy();
    duel = null;
  };
}
