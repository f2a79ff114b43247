// What every component of ours in the page shares: colours, elements, random numbers.

const Q_COLOUR = "#00a383"; // as in vae/figures.py
const PRIOR_COLOUR = "#8a9199";
const HALO = "rgba(255, 255, 255, 0.8)";
const SVG = "http://www.w3.org/2000/svg";
// Of a frame's 16.7 ms, what is ours while something moves, and while nothing does: the rest belongs
// to the browser, which has to put the chart, the panel and q on the screen.
const MOVING_MS = 4;
const RESTING_MS = 10;
const STILL_MS = 50; // what has not moved for so long is at rest
const EMIT_AFTER_MS = 120; // a burst of keys or clicks is one message

function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children); // strings become text, never markup
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function button(text, click, attributes = {}) {
  const made = el("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", click);
  return made;
}

function toggle(text, title, click) {
  return button(text, click, { title, "aria-pressed": "false" });
}

/**
 * Lets a click that leads to another page wait until what was told before it is on its way.
 *
 * Streamlit sends what a component or a field tells in a task of its own, behind a page that was
 * chosen in the same breath; and what comes behind names the page before, which would blank the new
 * one. `flush` tells what is still held back. Returns what ends this.
 */
function leaveInTurn(flush) {
  let isReplayed = false;
  const leadsAway = (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.hasAttribute("download")) return null;
    return link.origin === location.origin && link.pathname !== location.pathname ? link : null;
  };
  const pressed = (event) => leadsAway(event) && flush(); // the earlier the better
  const clicked = (event) => {
    const link = leadsAway(event);
    if (!link || isReplayed || event.ctrlKey || event.metaKey || event.shiftKey) return;
    flush();
    event.preventDefault();
    event.stopImmediatePropagation();
    setTimeout(() => {
      isReplayed = true;
      link.click();
      isReplayed = false;
    });
  };
  document.addEventListener("pointerdown", pressed, { capture: true });
  document.addEventListener("click", clicked, { capture: true });
  return () => {
    document.removeEventListener("pointerdown", pressed, { capture: true });
    document.removeEventListener("click", clicked, { capture: true });
  };
}

const subscript = (d) => String(d + 1).replace(/\d/g, (c) => "₀₁₂₃₄₅₆₇₈₉"[c]);

/** `count` standard normal numbers, the same for the same seed: sfc32 and Box-Muller. */
export function noise(seed, count) {
  let [a, b, c, d] = [0x9e3779b9, 0x243f6a88, seed | 0, 1];
  const next = () => {
    const t = (a + b + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + t;
    c |= 0;
    return ((t >>> 0) + 0.5) / 4294967296;
  };
  for (let i = 0; i < 15; i++) next();
  const out = new Float32Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(next()));
    const angle = 2 * Math.PI * next();
    out[i] = radius * Math.cos(angle);
    if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
  }
  return out;
}
