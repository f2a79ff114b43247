// The exported page: unpacks what lies in the file and shows it; see vae/live/export.py.

import { bytesOf } from "./bytes.js";
import { MOST_SAMPLES, PRIOR_COLOUR, SIGMA_RANGE, STAGE_ZOOM } from "./constants.js";
import { el, takesText } from "./dom.js";
import { noise } from "./noise.js";
import { keep, unpack } from "./pack.js";
import { Panel } from "./panel/panel.js";

/**
 * @import { Pair, Plane, Plot, Range, SettingValues, Told, ToldClasses } from "./types.d.ts"
 * @typedef {{type: string, legendgroup?: string, visible?: unknown, marker?: any, line?: any}} Trace
 * @typedef {{data: Trace[], layout: Record<string, any>}} Figure
 *
 * @typedef {object} PageData what export.py says of the page
 * @property {string} name
 * @property {string} caption
 * @property {[string, string][]} card
 * @property {string[]} class_names
 * @property {ToldClasses | null} classes
 * @property {Record<string, Figure>} figures
 * @property {Plane | null} plane null of a layout
 * @property {Opening} opening
 * @property {Range[]} ranges
 * @property {number} n_samples behind the stored terms
 * @property {string} model
 * @property {string} points
 *
 * @typedef {object} Opening what it shows first, as in export.py
 * @property {number} point
 * @property {string} colour
 * @property {Told["q"]} q
 * @property {Partial<SettingValues>} settings
 * @property {{x?: Pair, y?: Pair, hidden?: string[]}} zoom
 */

/** @param {string} id */
const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** @param {string} name */
async function part(name) {
  const packed = bytesOf(byId(`part-${name}`).textContent.trim());
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** @param {string} name */
const partAsText = async (name) => new TextDecoder().decode(await part(name));

async function open() {
  /** @type {PageData} */
  const page = JSON.parse(await partAsText("page"));
  byId("name").textContent = page.name;
  byId("caption").textContent = page.caption;
  for (const [name, value] of page.card) byId("card").append(el("span", {}, `${name}: ${value}`));
  for (const name of Object.keys(page.figures)) byId("colour").append(el("option", {}, name));
  /** @type {HTMLSelectElement} */ (byId("colour")).value = page.opening.colour;
  const show = await drawMap(page);
  keep(await part("model"));
  keep(await part("points"));
  const place = byId("panel");
  place.replaceChildren();
  const root = place.attachShadow({ mode: "open" });
  root.append(el("style", {}, await partAsText("css")));
  const told = await pointsOf(page);
  const panel = new Panel(root, {
    findPlot: () => /** @type {Plot} */ (byId("map")),
    can: () => false,
    send: (name, value) => {
      if (name === "point") panel.setData(told(/** @type {number} */ (value)));
    },
  });
  Object.assign(globalThis, { elboRoom: { panel } });
  const { point, q, settings } = page.opening;
  const first = told(point);
  panel.setData({ ...first, q, settings: { ...first.settings, ...settings } });
  offerStage(show);
}

/** The page large, for a projector: by the button, and by P and Esc. @param {() => Promise<unknown>} show draws the map */
function offerStage(show) {
  const root = document.documentElement;
  root.style.setProperty("--stage-zoom", `${STAGE_ZOOM}`);
  const present = async (/** @type {boolean} */ isOn) => {
    if (isOn === root.classList.contains("stage")) return;
    root.classList.toggle("stage", isOn);
    if (isOn)
      root.requestFullscreen?.().catch(() => {}); // refused: it is large all the same
    else if (document.fullscreenElement) document.exitFullscreen();
    await show();
    dispatchEvent(new Event("resize")); // canvases measure themselves anew
  };
  byId("present").addEventListener("click", () => present(true));
  document.addEventListener("fullscreenchange", () => document.fullscreenElement || present(false));
  document.addEventListener("keydown", (event) => {
    if (takesText(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key.toLowerCase() === "p") present(!root.classList.contains("stage"));
    else if (event.key === "Escape") present(false);
  });
}

/** Draws the map, and anew for another colour or theme; returns what draws it. @param {PageData} page */
async function drawMap(page) {
  document.head.append(el("script", {}, await partAsText("plotly")));
  const { Plotly } = /** @type {any} */ (globalThis);
  const colour = /** @type {HTMLSelectElement} */ (byId("colour"));
  const hasWebgl = Boolean(document.createElement("canvas").getContext("webgl"));
  let { zoom } = page.opening;
  const show = () => {
    const { data, layout } = structuredClone(page.figures[colour.value]);
    if (!hasWebgl) for (const trace of data) if (trace.type === "scattergl") trace.type = "scatter";
    for (const trace of data) if (zoom.hidden?.includes(trace.legendgroup ?? "")) trace.visible = "legendonly";
    const ink = getComputedStyle(document.documentElement).getPropertyValue("--st-text-color").trim();
    const factor = document.documentElement.classList.contains("stage") ? STAGE_ZOOM : 1;
    const font = { color: ink, size: 13 * factor };
    Object.assign(layout, { template: null, height: undefined, autosize: true, font });
    for (const { marker } of data) if (typeof marker?.size === "number") marker.size *= factor;
    const lines = { linecolor: PRIOR_COLOUR, ticks: "outside", tickcolor: PRIOR_COLOUR, automargin: true };
    for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, lines);
    if (zoom.x) Object.assign(layout.xaxis, { range: zoom.x, autorange: false });
    if (zoom.y && !layout.yaxis.fixedrange) Object.assign(layout.yaxis, { range: zoom.y, autorange: false });
    zoom = {}; // from then on it is the hand's
    return Plotly.react(byId("map"), data, layout, { scrollZoom: true, displaylogo: false, responsive: true });
  };
  await show();
  colour.addEventListener("change", show);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  return show;
}

/** What the panel is told of a point, by its index. @param {PageData} page */
async function pointsOf(page) {
  const { mu, logvar, labels, eps } = unpack(await part("points")).arrays;
  const D = page.ranges.length;
  const drawn = page.n_samples * D; // numbers of a point's own noise
  /** The noise behind a point's stored terms, and more where more samples are asked for. @param {number} index */
  const noiseOf = (index) => {
    if (!eps) return undefined;
    const values = noise(index + 1, Math.max(drawn, MOST_SAMPLES * D));
    values.set(eps.subarray(index * drawn, (index + 1) * drawn));
    return values;
  };
  /** @param {Float32Array} array @param {number} index @param {(value: number) => number} f */
  const row = (array, index, f) => Array.from(array.subarray(index * D, (index + 1) * D), f);
  const sigmaOf = (/** @type {number} */ v) => Math.min(SIGMA_RANGE[1], Math.max(SIGMA_RANGE[0], Math.exp(v / 2)));
  return (/** @type {number} */ index) =>
    /** @type {Told} */ ({
      ...{ model: page.model, points: page.points, plane: page.plane, ranges: page.ranges },
      classes: page.classes,
      settings: { S: Math.min(page.n_samples, MOST_SAMPLES) },
      point: {
        class: labels[index],
        id: { run: page.name, data: "page", split: "page", index },
        label: page.class_names[labels[index]],
        mu: row(mu, index, Number),
        sigma: row(logvar, index, sigmaOf),
        eps: noiseOf(index),
      },
    });
}

open().catch((error) => {
  document.getElementById("loading")?.remove();
  const sentence =
    typeof DecompressionStream === "undefined"
      ? "This browser cannot unpack the page: it needs DecompressionStream (any browser since 2023)."
      : `The page cannot be shown: ${error.message}`;
  byId("panel").append(el("p", {}, sentence));
});
