// The stage: the page alone on the screen, large, and a teacher's stops under the arrow keys.

import { button, el, takesArrows, takesText } from "../dom.js";
import { linkOf, MOST_STOPS, readStops, viewAt, written } from "./stops.js";

/** @import { Stop } from "./stops.js" */

const KEPT = "elbo-room-stops"; // in the browser's storage
const IDLE_MS = 3500; // then the bar goes
/** @type {Record<string, number>} */
const TURNS = { arrowright: 1, pagedown: 1, arrowleft: -1, pageup: -1 };
const HELP = "← → stops · A adds this view · S lists · L laser · C class page · Esc leaves";

/** One for the app, whichever page it shows. */
class Stage {
  /** @param {import("../streamlit.js").Mounted} mounted */
  constructor(mounted) {
    this.mounted = mounted;
    this.end = new AbortController();
    this.at = -1; // the stop that is shown, or was last
    this.isOn = false;
    this.problem = "";
    /** @type {Stop[]} */
    this.stops = [];
    this.dot = el("div", { class: "stage-laser", hidden: "" });
    this.place = el("span", { class: "stage-place", role: "status" });
    this.bar = el("div", { class: "stage-bar" });
    this.bar.append(
      button("‹", () => this.step(-1), { title: "The stop before (←)" }),
      this.place,
      button("›", () => this.step(1), { title: "The next stop (→)" }),
      button("Add", () => this.add(), { title: "Make this view a stop (A)" }),
      button("Stops", () => this.list(), { title: "All stops (S)" }),
      button("Class", () => this.showCode(), { title: "The address of the page that the class was given (C)" }),
      button("Laser", () => this.point(), { title: "A dot that follows the pointer (L)" }),
      button("Leave", () => this.leave(), { title: "Back to the page (Esc)" }),
    );
    this.dialog = el("dialog", { class: "stage-stops", "aria-label": "Stops" });
    this.code = el("dialog", { class: "stage-code", "aria-label": "The class page" });
    this.code.addEventListener("click", () => this.code.close());
    document.body.append(this.bar, this.dialog, this.code, this.dot);
    const { signal } = this.end;
    // Before the page's own: on Learn the arrows turn to another step.
    document.addEventListener("keydown", (event) => this.press(event), { signal, capture: true });
    document.addEventListener("pointermove", (event) => this.move(event), { signal });
    document.addEventListener(
      "fullscreenchange",
      () => {
        if (!document.fullscreenElement && this.isOn && !this.dialog.open && !this.code.open) this.leave();
      },
      { signal },
    );
  }

  /** @param {import("../streamlit.js").Mounted} mounted */
  update(mounted) {
    const isFirst = this.mounted === mounted;
    this.mounted = mounted;
    if (isFirst) this.restore();
    this.show(mounted.data.presenting);
  }

  get pages() {
    return /** @type {string[]} */ (this.mounted.data.pages);
  }

  /** What the browser has kept, or what the address brings along. */
  restore() {
    const brought = new URLSearchParams(location.search).get("stops");
    let kept = "";
    try {
      kept = localStorage.getItem(KEPT) ?? "";
    } catch {
      // a browser that keeps nothing
    }
    if (brought) this.take(brought);
    else if (kept) this.stops = readStops(kept, this.pages).stops;
    if (this.problem) this.list();
  }

  /** Instead of those there are, unless it holds none. @param {string} text */
  take(text) {
    const { stops, problem } = readStops(text, this.pages);
    this.problem = problem;
    if (!stops.length) return;
    this.at = -1;
    this.change(stops);
  }

  /** @param {Stop[]} stops */
  change(stops) {
    this.stops = stops;
    try {
      localStorage.setItem(KEPT, written(stops));
    } catch {
      this.problem = "This browser keeps nothing: save the stops to a file.";
    }
    this.say();
    if (this.dialog.open) this.fill();
  }

  enter() {
    this.show(true);
    document.documentElement.requestFullscreen?.().catch(() => {}); // refused: it is large all the same
    this.mounted.setTriggerValue("presenting", true);
  }

  leave() {
    this.show(false);
    if (document.fullscreenElement) document.exitFullscreen();
    this.mounted.setTriggerValue("presenting", false);
  }

  /** @param {boolean} isOn */
  show(isOn) {
    if (isOn === this.isOn) return;
    this.isOn = isOn;
    document.documentElement.classList.toggle("stage", isOn);
    dispatchEvent(new Event("resize")); // charts and canvases measure themselves anew
    if (!isOn) this.point(false);
    this.place.textContent = HELP;
    this.wake();
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (takesText(event) || event.ctrlKey || event.metaKey || event.altKey || this.dialog.open) return;
    const key = event.key.toLowerCase();
    if (this.code.open) {
      if (key === "c") this.code.close();
      return;
    }
    const by = TURNS[key];
    // A lesson has steps of its own under these keys, and a handle that has the focus moves.
    const isLesson = !this.stops.length && viewAt(location, this.pages).page === "learn";
    if (by && (isLesson || takesArrows(event))) return;
    if (key === "p" && !this.isOn) this.enter();
    else if (!this.isOn) return;
    else if (key === "escape" || key === "p") this.leave();
    else if (by) this.step(by);
    else if (key === "a") this.add();
    else if (key === "s") this.list();
    else if (key === "l") this.point();
    else if (key === "c") this.showCode();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {PointerEvent} event */
  move(event) {
    if (!this.isOn) return;
    this.dot.style.transform = `translate(${event.clientX}px, ${event.clientY}px)`;
    this.wake();
  }

  wake() {
    this.bar.classList.remove("idle");
    clearTimeout(this.sleep);
    this.sleep = setTimeout(() => this.bar.classList.add("idle"), IDLE_MS);
  }

  point(isOn = this.dot.hidden) {
    this.dot.hidden = !isOn;
  }

  /** @param {number} by */
  step(by) {
    this.go(Math.min(Math.max(this.at + by, 0), this.stops.length - 1));
  }

  /** @param {number} index */
  go(index) {
    const stop = this.stops[index];
    if (stop) {
      this.at = index;
      this.mounted.setTriggerValue("go", { page: stop.page, query: stop.query });
    }
    this.say(stop ? "" : "No stops yet: A makes this view one.");
  }

  say(text = "") {
    const stop = this.stops[this.at];
    this.place.textContent =
      text || (stop ? `${this.at + 1} of ${this.stops.length}: ${stop.title}` : `${this.stops.length} stops`);
    this.wake();
  }

  add() {
    if (this.stops.length >= MOST_STOPS) {
      this.say(`There are ${MOST_STOPS} stops already: remove one first.`);
      return;
    }
    const title = document.querySelector(".st-key-heading h2")?.textContent ?? "A view";
    this.at++;
    const stops = [...this.stops];
    stops.splice(this.at, 0, { title, ...viewAt(location, this.pages) });
    this.change(stops);
  }

  /** The address that phones open, for the whole room to see. */
  showCode() {
    /** @type {{ address: string, picture: string } | null} */
    const given = this.mounted.data.class_page;
    if (!given) {
      this.say("No class page yet: Explore has “Give it to the class”.");
      return;
    }
    this.code.replaceChildren(
      el("img", { src: given.picture, alt: `QR code of ${given.address}` }),
      el("p", {}, given.address.replace(/^https?:\/\//, "")),
    );
    this.code.showModal();
  }

  /** All stops: to rename, order and remove them, to take them away and bring them back. */
  list() {
    this.fill();
    if (!this.dialog.open) this.dialog.showModal();
  }

  fill() {
    const rows = this.stops.map((stop, i) => {
      const title = el("input", { value: stop.title, "aria-label": `Title of stop ${i + 1}`, maxlength: "200" });
      title.addEventListener("change", () =>
        this.change(this.stops.map((other, j) => (j === i ? { ...other, title: title.value } : other))),
      );
      const shown = el("small", {}, stop.page);
      const above = button("↑", () => this.swap(i, i - 1), { title: "Earlier" });
      const gone = () => this.change(this.stops.filter((_, j) => j !== i));
      const number = button(`${i + 1}`, () => this.close(i), { title: "Go there" });
      return el("li", {}, number, title, shown, above, button("×", gone, { title: "Remove" }));
    });
    const file = el("input", { type: "file", accept: ".json", "aria-label": "Load stops from a file" });
    file.addEventListener("change", async () => {
      this.take((await file.files?.[0]?.text()) ?? "");
      this.fill();
    });
    /** @type {{ title: string, stops: Stop[] }[]} */
    const tours = this.mounted.data.tours;
    const ready = el("select", { "aria-label": "Stops that come with the app" });
    ready.append(...["Ready-made…", ...tours.map(({ title }) => title)].map((title) => el("option", {}, title)));
    ready.addEventListener("change", () => {
      this.at = -1;
      this.change(tours[ready.selectedIndex - 1].stops);
    });
    const actions = [
      button("Add this view", () => this.add()),
      ready,
      button("Save to a file", () => this.save()),
      button("Copy as a link", () => this.copy()),
      el("label", {}, "Load: ", file),
      button("Close", () => this.close()),
    ];
    this.dialog.replaceChildren(
      el("h2", {}, "Stops"),
      ...(this.problem ? [el("p", { role: "alert" }, this.problem)] : []),
      rows.length
        ? el("ol", {}, ...rows)
        : el("p", {}, "None yet. Add a view, load a file, or choose ready-made ones."),
      el("p", { class: "stage-actions" }, ...actions),
    );
    this.problem = "";
  }

  /** @param {number} i @param {number} j */
  swap(i, j) {
    if (j < 0) return;
    const stops = [...this.stops];
    [stops[i], stops[j]] = [stops[j], stops[i]];
    this.change(stops);
  }

  close(index = -1) {
    this.dialog.close();
    if (index >= 0) this.go(index);
  }

  save() {
    const file = new Blob([written(this.stops)], { type: "application/json" });
    const link = el("a", { href: URL.createObjectURL(file), download: "stops.json" });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async copy() {
    const { page } = viewAt(location, this.pages);
    const path = location.pathname;
    const app = location.origin + (path.endsWith(`/${page}`) ? path.slice(0, -page.length) : path);
    const link = linkOf(app, this.stops);
    try {
      await navigator.clipboard.writeText(link);
      this.problem = "The link is copied.";
    } catch {
      this.problem = link; // a browser that does not let pages copy: to be taken by hand
    }
    this.fill();
  }

  destroy() {
    this.end.abort();
    clearTimeout(this.sleep);
    document.documentElement.classList.remove("stage");
    for (const element of [this.bar, this.dialog, this.code, this.dot]) element.remove();
  }
}

/** @type {Stage | undefined} */
let stage;

/**
 * What Streamlit calls at each rerun.
 *
 * @param {import("../streamlit.js").Mounted} mounted
 */
export default function mount(mounted) {
  const { parentElement } = mounted;
  if (!parentElement.querySelector("button")) {
    const enter = button("Present", () => stage?.enter(), { title: "Large, on the whole screen (P)" });
    parentElement.append(enter);
  }
  stage ??= new Stage(mounted);
  stage.update(mounted);
  return () => {
    stage?.destroy();
    stage = undefined;
  };
}
