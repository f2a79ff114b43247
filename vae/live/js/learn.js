// A lesson's steps: choosing one by mouse or key, and what was seen and answered, which only this
// browser knows.

import { el, takesArrows } from "./dom.js";

/**
 * @typedef {{key: string, title: string}} Titled
 * @typedef {{lesson: string, step: string, steps: Titled[], right: string[], n: number}} ToldCourse
 *   right: keys of the questions that were answered now; n: how many questions there are
 * @typedef {{seen: string[], right: string[]}} Progress of a lesson
 * @typedef {object} MountedCourse
 * @property {ToldCourse} data
 * @property {HTMLElement | ShadowRoot} parentElement
 * @property {(name: string, value: unknown) => void} setTriggerValue
 */

const KEPT = "elbo-room-lessons";

/** The steps in one place of the page. */
class Course {
  /** @param {HTMLElement | ShadowRoot} root */
  constructor(root) {
    this.element = el("nav", { class: "course", "aria-label": "steps of the lesson" });
    this.listening = new AbortController();
    /** @type {MountedCourse | null} */
    this.mounted = null;
    root.append(this.element);
    document.addEventListener("keydown", (event) => this.press(event), { signal: this.listening.signal });
  }

  /** @param {MountedCourse} mounted */
  show(mounted) {
    this.mounted = mounted;
    const { lesson, step, steps, right, n } = mounted.data;
    const known = steps.map(({ key }) => key);
    const kept = readProgress();
    const seen = unite(kept[lesson]?.seen, [step]).filter((key) => known.includes(key));
    const answered = unite(kept[lesson]?.right, right);
    writeProgress({ ...kept, [lesson]: { seen, right: answered } });
    const had = this.element.contains(focused(this.element));
    const buttons = steps.map(({ key, title }, i) => {
      const isLast = i === steps.length - 1;
      const made = el(
        "button",
        { type: "button", title, "aria-label": `${i + 1}. ${title}` },
        isLast ? "?" : `${i + 1}`,
      );
      if (seen.includes(key)) made.classList.add("seen");
      if (key === step) made.setAttribute("aria-current", "step");
      made.addEventListener("click", () => this.go(key));
      return made;
    });
    const done = el("span", { class: "done", role: "status" }, `${Math.min(answered.length, n)} of ${n} answered`);
    this.element.replaceChildren(...buttons, done);
    if (had) buttons[known.indexOf(step)]?.focus();
  }

  /** @param {string} key */
  go(key) {
    if (this.mounted && key !== this.mounted.data.step) this.mounted.setTriggerValue("step", key);
  }

  /** Left and right turn the steps, unless what has the focus has its own use for them. @param {KeyboardEvent} event */
  press(event) {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1 }[event.key];
    if (!by || !this.mounted || event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
    if (takesArrows(event)) return;
    const { step, steps } = this.mounted.data;
    const next = steps[steps.findIndex(({ key }) => key === step) + by];
    if (!next) return;
    event.preventDefault();
    this.go(next.key);
  }

  destroy() {
    this.listening.abort();
    this.element.remove();
  }
}

/** @param {HTMLElement} element */
function focused(element) {
  return /** @type {ShadowRoot | Document} */ (element.getRootNode()).activeElement;
}

/** @param {unknown} kept @param {string[]} more @returns {string[]} */
function unite(kept, more) {
  return [...new Set([...(Array.isArray(kept) ? kept : []), ...more])].filter((key) => typeof key === "string");
}

/** @returns {Record<string, Progress>} nothing where the browser keeps none, or something else stands there */
function readProgress() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
    return kept && typeof kept === "object" && !Array.isArray(kept) ? kept : {};
  } catch {
    return {};
  }
}

/** @param {Record<string, Progress>} progress */
function writeProgress(progress) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(progress));
  } catch {
    // A browser that keeps nothing shows what was seen since the page was loaded.
  }
}

/** @type {WeakMap<Node, Course>} */
const courses = new WeakMap();

/** What Streamlit calls at each rerun. @param {MountedCourse} mounted */
export default function mount(mounted) {
  const { parentElement } = mounted;
  const course = courses.get(parentElement) ?? new Course(parentElement);
  courses.set(parentElement, course);
  course.show(mounted);
  return () => {
    courses.delete(parentElement);
    course.destroy();
  };
}
