import { SIGMA_RANGE } from "../constants.js";
import { el } from "../dom.js";
import { nats, short, subscript } from "../text.js";

/** @import { Pair, Range, Shared } from "../types.d.ts" */

/** The sliders of every latent dimension: those that the map shows first, the rest behind an expander. */
export class Rows {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    /** @type {Map<number, Row>} */
    this.rows = new Map();
    this.signature = ""; // of what the rows were made for
    this.sum = el("output", { class: "sum" });
    this.first = el("div", { class: "rows stack" });
    this.others = el("div", { class: "rows" });
    this.summary = el("summary");
    const heads = el("div", { class: "row heads" }, el("span"));
    heads.append(...["μ", "σ", "KL, nats"].map((head) => el("span", {}, head)));
    this.details = el("details", { hidden: "" }, this.summary, heads, this.others);
  }

  build() {
    const { scene } = this.shared;
    const { D, id } = scene.running;
    const shown = (scene.plane?.dims ?? []).filter((d) => d < D);
    const order = [...shown, ...Array.from({ length: D }, (_, d) => d).filter((d) => !shown.includes(d))];
    const n = D <= 3 ? D : 2;
    const signature = `${id}|${order.slice(0, n)}|${JSON.stringify(scene.ranges)}`;
    if (signature === this.signature) return;
    this.signature = signature;
    this.rows = new Map(order.map((d) => [d, new Row(this.shared, d, scene.ranges[d])]));
    const elements = Array.from(this.rows.values(), (row) => row.element);
    const total = this.shared.words.of("KL", "KL(q, p)");
    this.first.replaceChildren(...elements.slice(0, n), el("div", { class: "total" }, total, this.sum));
    this.others.replaceChildren(...elements.slice(n));
    this.details.hidden = D <= n;
    this.summary.textContent = `The other ${D - n} dimensions`;
  }

  /** Shows q and its KL, of each dimension. */
  draw(/** @type {Float64Array} */ kl) {
    let total = 0;
    let most = 4;
    for (let d = 0; d < kl.length; d++) {
      total += kl[d];
      most = Math.max(most, kl[d]);
    }
    for (const [d, row] of this.rows) row.draw(kl[d], most);
    this.sum.textContent = `${nats(total)} nats`;
  }
}

/**
 * A slider and a field for one number.
 *
 * @typedef {object} Control
 * @property {"mu" | "sigma"} name
 * @property {HTMLInputElement} range
 * @property {HTMLInputElement} field
 * @property {number | null} typed q's number while the field shows what was typed, right or wrong
 * @property {(value: number) => number} there from a value to the slider's scale
 */

/** One latent dimension: mu, sigma and its KL as a bar. */
class Row {
  /** @param {Shared} shared @param {number} d @param {Range} range */
  constructor(shared, d, { mu, sigma }) {
    this.shared = shared;
    this.d = d;
    const name = subscript(d);
    const same = (/** @type {number} */ v) => v;
    this.controls = [
      this.control("mu", `μ${name}`, mu, same, same),
      this.control("sigma", `σ${name}`, sigma, Math.log, Math.exp),
    ];
    this.bar = el("i");
    this.klText = el("output");
    const boxes = this.controls.map(({ range, field }) => {
      const label = range.ariaLabel ?? "";
      const symbol = el("span", { class: "symbol" }, this.shared.words.of(label[0], label));
      return el("span", { class: "control" }, symbol, range, field);
    });
    const kl = el("span", { class: "kl", title: `KL of z${name}, nats` }, this.bar, this.klText);
    this.element = el("div", { class: "row" }, el("span", { class: "name" }, `z${name}`), ...boxes, kl);
  }

  /**
   * @param {"mu" | "sigma"} name
   * @param {string} label
   * @param {Pair} limits
   * @param {(value: number) => number} there
   * @param {(position: number) => number} back
   * @returns {Control}
   */
  control(name, label, [low, high], there, back) {
    const limits = { min: there(low), max: there(high), step: "any" };
    const range = el("input", { type: "range", ...limits, "aria-label": label });
    const says = { "aria-label": `${label}, as a number`, inputmode: "decimal" };
    const field = el("input", { type: "number", step: "any", ...says });
    const control = { name, range, field, there, typed: null };
    this.listenToRange(control, back, (there(high) - there(low)) / 200);
    this.listenToField(control);
    return control;
  }

  /** @param {Control} control @param {(position: number) => number} back @param {number} step */
  listenToRange({ name, range }, back, step) {
    const { frames, selection, sender } = this.shared;
    const set = (/** @type {number} */ time) => {
      if (sender.isCancelled) frames.wake("q");
      else selection.set(name, this.d, back(Number(range.value)), time);
    };
    // A native range with step "any" leaves the arrow keys to the browser; this is a hundredth.
    range.addEventListener("keydown", (event) => {
      const by = STEPS[event.key];
      if (!by) return;
      event.preventDefault();
      range.value = `${Number(range.value) + by * step}`;
      set(event.timeStamp);
      sender.send();
    });
    range.addEventListener("pointerdown", () => sender.grab());
    let moved = 0; // when the pointer moved: an input event is younger than what it tells of
    range.addEventListener("pointermove", (event) => {
      moved = event.timeStamp;
    });
    range.addEventListener("input", (event) => set(moved || event.timeStamp));
    range.addEventListener("change", () => sender.release());
    range.addEventListener("pointerup", () => sender.release());
    range.addEventListener("dblclick", () => this.reset(name));
  }

  /** @param {Control} control */
  listenToField(control) {
    const { name, field } = control;
    const { selection, sender } = this.shared;
    field.addEventListener("input", (event) => {
      const value = field.value === "" ? Number.NaN : Number(field.value);
      const isGood = Number.isFinite(value) && (name === "mu" || value > 0);
      field.setAttribute("aria-invalid", `${!isGood}`);
      field.title = isGood ? "" : name === "sigma" ? "sigma must be above 0" : "mu must be a number";
      control.typed = isGood ? value : selection.q[name][this.d]; // left as it is while q is that
      if (!isGood) return;
      selection.set(name, this.d, value, event.timeStamp);
    });
    field.addEventListener("change", () => {
      field.setAttribute("aria-invalid", "false");
      control.typed = null;
      field.value = short(selection.q[name][this.d], name);
      sender.send();
    });
  }

  /** Back to the encoder's value. @param {"mu" | "sigma"} name */
  reset(name) {
    const { selection, sender } = this.shared;
    const to = selection.encoderQ ?? selection.point;
    const least = name === "sigma" ? SIGMA_RANGE[0] : Number.NEGATIVE_INFINITY;
    selection.set(name, this.d, to ? Math.max(to[name][this.d], least) : name === "sigma" ? 1 : 0);
    sender.send();
  }

  /** @param {number} kl @param {number} most the KL of a full bar */
  draw(kl, most) {
    for (const control of this.controls) {
      const value = this.shared.selection.q[control.name][this.d];
      control.range.value = `${control.there(value)}`;
      if (control.typed !== value) control.field.value = short(value, control.name);
    }
    this.bar.style.width = `${(100 * Math.max(0, kl)) / most}%`;
    this.klText.textContent = nats(kl);
  }
}

/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
