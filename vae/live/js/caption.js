// A caption of a page, in which the field's words are dotted.

import { el } from "./dom.js";
import { Words } from "./panel/words.js";

/** @typedef {{name: string, text: string}} Dotted a word of the glossary, as it stands in the text */

/** @type {WeakMap<Node, HTMLElement>} */
const captions = new WeakMap();

/**
 * What Streamlit calls at each rerun.
 *
 * @param {{data: {parts: (string | Dotted)[], kind: string}, parentElement: HTMLElement | ShadowRoot}} mounted
 */
export default function mount({ data, parentElement }) {
  const words = new Words(true);
  words.kind = data.kind;
  const parts = data.parts.map((part) => (typeof part === "string" ? part : words.of(part.name, part.text)));
  const made = el("div", { class: "captioned" }, el("p", { class: "caption" }, ...parts), words.note);
  made.addEventListener("keydown", ({ key }) => key === "Escape" && words.hide());
  captions.get(parentElement)?.remove();
  captions.set(parentElement, made);
  parentElement.append(made);
}
