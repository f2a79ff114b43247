// Elements, and the times that every component of ours in the page keeps to.

export const HALO = "rgba(255, 255, 255, 0.8)";
const SVG = "http://www.w3.org/2000/svg";
// Of a frame's 16.7 ms, what is ours while something moves, and while nothing does: the rest belongs
// to the browser, which has to put the chart, the panel and q on the screen.
export const MOVING_MS = 4;
export const RESTING_MS = 10;
export const STILL_MS = 50; // what has not moved for so long is at rest
export const EMIT_AFTER_MS = 120; // a burst of keys or clicks is one message

/** @typedef {Record<string, string | number>} Attributes */

/** @param {Element} element @param {Attributes} attributes */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, `${value}`);
}

/**
 * An element of HTML; strings among its children become text, never markup.
 *
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} attributes
 * @param {...(Node | string)} children
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  set(element, attributes);
  element.append(...children);
  return element;
}

/**
 * An element of SVG.
 *
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Attributes} attributes
 */
export function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  set(element, attributes);
  return element;
}

/** @param {string} text @param {() => void} click @param {Attributes} attributes */
export function button(text, click, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", click);
  return made;
}

/** @param {string} text @param {string} title @param {() => void} click */
export function toggle(text, title, click) {
  return button(text, click, { title, "aria-pressed": "false" });
}

const TYPED = "input, textarea, select, [contenteditable]";
const MOVED = "[role=slider], [role=tab], [role=radio], [data-handle], .js-plotly-plot, table";

/** Whether what has the focus takes text itself. @param {Event} event */
export function takesText(event) {
  const target = event.composedPath()[0];
  return target instanceof Element && target.closest(TYPED) !== null;
}

/** Whether what has the focus has its own use for the arrow keys. @param {Event} event */
export function takesArrows(event) {
  const target = event.composedPath()[0];
  return takesText(event) || (target instanceof Element && target.closest(MOVED) !== null);
}

/** Whether the visitor has asked for less motion. */
export function wantsStillness() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

/**
 * Calls it on Escape, wherever the focus is, until the signal.
 *
 * @param {() => boolean} cancel whether there was anything to be cancelled
 * @param {AbortSignal} signal
 */
export function onEscape(cancel, signal) {
  const listen = (/** @type {KeyboardEvent} */ event) => {
    if (event.key === "Escape" && cancel()) event.stopPropagation();
  };
  document.addEventListener("keydown", listen, { signal, capture: true });
}
