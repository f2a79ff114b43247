import { GLOSSARY } from "../constants.js";
import { el } from "../dom.js";
import { spoken } from "../look.js";

/**
 * @typedef {{sentence: string, equation: string, page: string}} Word
 */

/** The field's words where they stand, dotted: pointed at, each says what it means. */
export class Words {
  /** @param {boolean} hasPages whether a page of the app can be opened from here */
  constructor(hasPages) {
    this.hasPages = hasPages;
    this.kind = "image"; // what one point is
    this.note = el("div", { class: "note", role: "tooltip", id: "note", hidden: "" });
    /** @type {HTMLElement | null} */
    this.shown = null; // the word that it explains
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.leaving = undefined;
    this.note.addEventListener("pointerenter", () => clearTimeout(this.leaving));
    this.note.addEventListener("pointerleave", () => this.leave());
  }

  /** @param {string} name of the glossary @param {string} text as it stands here */
  of(name, text = name) {
    const word = /** @type {Record<string, Word>} */ (GLOSSARY)[name];
    const made = el("button", { type: "button", class: "word", "aria-describedby": "note" }, text);
    made.addEventListener("click", () => this.show(made, word));
    made.addEventListener("focus", () => this.show(made, word));
    made.addEventListener("blur", ({ relatedTarget }) => {
      if (!(relatedTarget instanceof Node && this.note.contains(relatedTarget))) this.hide();
    });
    made.addEventListener("pointerenter", ({ pointerType }) => pointerType === "mouse" && this.show(made, word));
    made.addEventListener("pointerleave", () => this.leave());
    return made;
  }

  /** @param {HTMLElement} at @param {Word} word */
  show(at, { sentence, equation, page }) {
    clearTimeout(this.leaving);
    this.shown = at;
    this.note.replaceChildren(el("div", {}, spoken(sentence, this.kind)));
    if (equation) this.note.append(el("div", { class: "equation" }, equation));
    if (page && this.hasPages) this.note.append(el("a", { href: page + location.search }, "Where it comes from"));
    this.note.hidden = false;
    const around = /** @type {HTMLElement} */ (this.note.parentElement).getBoundingClientRect();
    const box = at.getBoundingClientRect();
    const left = Math.max(0, Math.min(box.left - around.left, around.width - this.note.offsetWidth));
    const height = this.note.offsetHeight + 5;
    const isBelow = box.bottom + height <= document.documentElement.clientHeight;
    const top = (isBelow ? box.bottom + 5 : box.top - height) - around.top;
    Object.assign(this.note.style, { left: `${left}px`, top: `${top}px` });
  }

  /** After a moment, in which the pointer can go from the word to its note. */
  leave() {
    clearTimeout(this.leaving);
    this.leaving = setTimeout(() => this.hide(), 250);
  }

  /** False if nothing was shown. */
  hide() {
    clearTimeout(this.leaving);
    const wasShown = this.shown !== null;
    this.shown = null;
    this.note.hidden = true;
    return wasShown;
  }
}
