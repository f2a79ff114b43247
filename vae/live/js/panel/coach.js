import { button, el } from "../dom.js";
import { spoken } from "../look.js";

/**
 * @import { Shared } from "../types.d.ts"
 * @import { Selection } from "./selection.js"
 */

const SEEN = "elbo-room-coach";
const READ_MS = 1500; // so long a step stays, however fast the hand is

/**
 * What the hand can do here, in this order, and how it is known that it has been done.
 *
 * @type {{text: string, isDone: (now: Selection, start: {mu: string, sigma: string}) => boolean}[]}
 */
const GESTURES = [
  { text: "Move over the map: every place of it decodes to an image.", isDone: ({ hover }) => hover !== null },
  {
    text: "Drag the green dot, or the slider of μ: the decoded image follows.",
    isDone: ({ q, isEncoders }, { mu }) => !isEncoders && String(q.mu) !== mu,
  },
  {
    text: "Pull a white square, or the slider of σ: the samples below spread.",
    isDone: ({ q, isEncoders }, { sigma }) => !isEncoders && String(q.sigma) !== sigma,
  },
  {
    text: "Pull on, and watch the bar: a wider q pays less KL and more recon. Best q finds the cheapest.",
    isDone: ({ q }, { sigma }) => String(q.sigma) !== sigma,
  },
  {
    text: "Press Draw and write something: the encoder says where it belongs.",
    isDone: ({ drawing }) => drawing?.q != null,
  },
];

/** Five steps for who is here for the first time, and for whoever asks. */
export class Coach {
  /** @param {Shared} shared */
  constructor(shared) {
    this.selection = shared.selection;
    this.scene = shared.scene;
    this.at = GESTURES.length;
    this.since = 0;
    this.start = { mu: "", sigma: "" };
    this.text = el("div", { role: "status" });
    this.count = el("span", { class: "seed" });
    this.next = button("Next", () => this.show(this.at + 1));
    const close = button("Close", () => this.show(GESTURES.length));
    this.element = el("div", { class: "coach", hidden: "" }, this.text);
    this.element.append(el("div", { class: "bar" }, this.count, el("span", { class: "spring" }), this.next, close));
    this.button = button("?", () => this.show(0), { title: "what can be done here, step by step" });
    this.button.ariaLabel = "What can be done here";
    this.button.hidden = !shared.host.can("drawn");
    this.isNew = !this.button.hidden && !wasSeen();
  }

  /** Begins, where nobody has seen it in this browser. */
  greet() {
    if (!this.isNew) return;
    this.isNew = false;
    this.show(0);
  }

  /** Nobody draws a vector. */
  get steps() {
    return this.kind === "vector" ? GESTURES.slice(0, -1) : GESTURES;
  }

  get kind() {
    return this.scene.model?.look.kind ?? "image";
  }

  /** @param {number} step */
  show(step) {
    const { steps } = this;
    this.at = step;
    this.element.hidden = step >= steps.length;
    if (this.element.hidden) {
      remember();
      return;
    }
    const { q } = this.selection;
    this.start = { mu: String(q.mu), sigma: String(q.sigma) };
    this.since = performance.now();
    this.text.textContent = spoken(steps[step].text, this.kind);
    this.count.textContent = `${step + 1} of ${steps.length}`;
    this.next.textContent = step + 1 < steps.length ? "Next" : "Done";
  }

  /** Goes on once the step has been done and could be read. */
  look() {
    const step = GESTURES[this.at];
    if (!step?.isDone(this.selection, this.start)) return;
    const { at } = this;
    const left = READ_MS - (performance.now() - this.since);
    if (left > 0) setTimeout(() => at === this.at && this.look(), left);
    else this.show(at + 1);
  }
}

/** A browser may keep nothing: then it greets at every visit. */
function wasSeen() {
  try {
    return localStorage.getItem(SEEN) !== null;
  } catch {
    return false;
  }
}

function remember() {
  try {
    localStorage.setItem(SEEN, "1");
  } catch {
    // The same.
  }
}
