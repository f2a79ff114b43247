import { el } from "../dom.js";

/**
 * @import { Frames } from "./frames.js"
 * @import { Scene } from "./scene.js"
 * @import { Selection } from "./selection.js"
 * @import { Sender } from "./sender.js"
 * @import { ToldClasses } from "../types.d.ts"
 */

const MOST_BUTTONS = 20; // more classes are a list
const OWN = "own label";

/**
 * What a model with a condition is given: each point's own label, or a class for all. A press chooses,
 * and a hand that is dragged along the row chooses as it goes; who listens hears of it on release.
 */
export class Classes {
  /** @param {Frames} frames @param {Scene} scene @param {Selection} selection @param {Sender} sender */
  constructor(frames, scene, selection, sender) {
    this.frames = frames;
    this.scene = scene;
    this.selection = selection;
    this.sender = sender;
    /** @type {number | null} */
    this.chosen = null; // a class; null: each point's own label
    /** @type {number | null | undefined} */
    this.told = undefined; // what was last said from outside
    this.signature = ""; // of what the row was made for
    /** @type {Map<number | null, HTMLButtonElement>} */
    this.buttons = new Map();
    this.list = el("select", { "aria-label": "given class" });
    this.row = el("div", { class: "bar", role: "group", "aria-label": "given class" });
    this.element = el("div", { class: "classes", hidden: "" }, el("span", { class: "seed" }, "given y ="), this.row);
    this.list.addEventListener("change", () => this.choose(this.list.value === OWN ? null : Number(this.list.value)));
    this.listen();
  }

  /** A press, a drag along the row, or a key. */
  listen() {
    const { row, sender } = this;
    let isHeld = false;
    /** @param {PointerEvent} event */
    const take = (event) => {
      const under = /** @type {ShadowRoot | Document} */ (row.getRootNode()).elementFromPoint(
        event.clientX,
        event.clientY,
      );
      for (const [label, button] of this.buttons) if (button === under) this.choose(label, event.timeStamp);
    };
    row.addEventListener("pointerdown", (event) => {
      if (event.target === this.list) return;
      isHeld = true;
      row.setPointerCapture(event.pointerId);
      sender.grab();
      take(event);
    });
    row.addEventListener("pointermove", (event) => isHeld && take(event));
    const release = () => {
      if (!isHeld) return;
      isHeld = false;
      sender.release();
    };
    row.addEventListener("pointerup", release);
    row.addEventListener("pointercancel", release);
  }

  /**
   * What the server, or the exported page, says; says whether another class is meant than before.
   *
   * @param {ToldClasses | null | undefined} told
   */
  take(told) {
    this.element.hidden = !told;
    if (!told) {
      this.chosen = null;
      this.told = undefined;
      return false;
    }
    this.build(told.names);
    const isOther = this.told !== undefined && this.told !== told.given;
    if (this.told !== told.given) this.chosen = this.told = told.given;
    this.show();
    return isOther;
  }

  /** @param {string[]} names */
  build(names) {
    const signature = JSON.stringify(names);
    if (signature === this.signature) return;
    this.signature = signature;
    this.buttons.clear();
    if (names.length > MOST_BUTTONS) {
      const options = names.map((name, label) => el("option", { value: label }, name));
      this.list.replaceChildren(el("option", {}, OWN), ...options);
      this.row.replaceChildren(this.list);
      return;
    }
    const title = "decode and encode under this class";
    this.buttons.set(null, el("button", { type: "button", title: "each point under its own label" }, OWN));
    for (const [label, name] of names.entries()) this.buttons.set(label, el("button", { type: "button", title }, name));
    for (const [label, made] of this.buttons) {
      // A key, or whoever clicks without a pointer; of a pointer's click this is known already.
      made.addEventListener("click", () => this.chosen !== label && this.choose(label));
    }
    this.row.replaceChildren(...this.buttons.values());
  }

  /** @param {number | null} label @param {number} [time] */
  choose(label, time) {
    if (label === this.chosen) return;
    this.selection.touch();
    this.chosen = label;
    this.give(time);
    this.show();
    if (!this.sender.isHeld) this.sender.send();
  }

  show() {
    for (const [label, made] of this.buttons) made.setAttribute("aria-pressed", `${label === this.chosen}`);
    this.list.value = this.chosen === null ? OWN : `${this.chosen}`;
  }

  /** The class that the model is to be given for what is selected. */
  get label() {
    const { selection } = this;
    return this.chosen ?? (selection.isAhead ? this.ownOf(selection.index) : selection.point?.class) ?? 0;
  }

  /** That of a data point, by its index; null: what is selected. @param {number | null} index */
  labelAt(index) {
    return index === null ? this.label : (this.chosen ?? this.ownOf(index) ?? this.label);
  }

  /** @param {number | null} index */
  ownOf(index) {
    return index === null ? undefined : this.scene.points?.labels?.[index];
  }

  /** Hands the class to the model, and has all that follows from it drawn anew. @param {number} [time] */
  give(time) {
    const { model } = this.scene;
    if (!model?.nClasses || model.label === this.label) return;
    model.give(this.label);
    this.frames.wake("q", "hover", "tiles", "drawing", time);
  }

  /** What goes with q to whoever listens; nothing of a model without a condition. */
  get message() {
    return this.scene.model?.nClasses ? { label: this.chosen } : {};
  }
}
