import { button, el, toggle, wantsStillness } from "../dom.js";
import { noise } from "../noise.js";
import { Tour } from "../tour.js";

/** @import { Numbers, Shared } from "../types.d.ts" */

/** A tour of q through latent space: its stops, and the buttons that play it. */
export class TourBar {
  /** @param {Shared} shared */
  constructor(shared) {
    this.shared = shared;
    this.way = new Tour();
    this.isPlaying = false;
    this.at = 0; // stops that have been passed
    this.touches = 0; // of the selection, when it began to play
    /** @type {number | null} */
    this.ticked = null;
    this.play = button("▶ Tour", () => (this.isPlaying ? this.stop() : this.start()), { class: "play" });
    this.clear = button("Clear", () => this.forget(), { title: "forget the stops" });
    this.spherical = toggle("Spherical", "along great circles instead of straight lines", () => {
      this.way.spherical = !this.way.spherical;
      this.changed();
    });
    this.loop = toggle("Loop", "begin again at the end", () => {
      this.way.loop = !this.way.loop;
      this.changed();
    });
    const add = button("+ Stop", () => this.add(Float64Array.from(shared.selection.q.mu)), {
      title: "mu as it is now; or shift-click on the map",
    });
    const limits = { min: "-3", max: "2", step: "0.1", value: "0" };
    this.speed = el("input", { type: "range", ...limits, "aria-label": "speed of the tour" });
    this.element = el("div", { class: "bar tour" }, this.play, add, this.clear, el("span", { class: "spring" }));
    this.element.append(this.spherical, this.loop, el("label", {}, "speed ", this.speed));
    this.show();
  }

  /** @param {Float64Array | null} z */
  add(z) {
    if (!z) return;
    this.way.stops.push(z);
    this.changed();
  }

  forget() {
    this.stop();
    this.way.stops = [];
    this.at = 0;
    this.changed();
  }

  /** Plays it; where less motion is asked for, q goes to the next stop at once. */
  start() {
    const { way } = this;
    const { points } = this.shared.scene;
    if (way.stops.length < 2) {
      if (!points) return;
      const where = noise(this.shared.settings.values.seed + 1, 12); // no stops: through some data points
      for (let i = 0; i < 6; i++) way.stops.push(points.muOf(Math.floor(Math.abs(where[i] * 1e4) % points.length)));
    }
    if (wantsStillness()) {
      this.at = (Math.floor(this.at) + 1) % way.stops.length;
      this.shared.selection.moveTo(way.stops[this.at]);
      this.shared.sender.send();
      return;
    }
    if (!way.loop && this.at >= way.length) this.at = 0;
    this.touches = this.shared.selection.touches;
    this.ticked = null;
    this.setPlaying(true);
    this.shared.frames.wake("q", "map");
  }

  /** False if it does not play. */
  stop() {
    if (!this.isPlaying) return false;
    this.setPlaying(false);
    this.shared.sender.send();
    return true;
  }

  /** @param {boolean} isPlaying */
  setPlaying(isPlaying) {
    this.isPlaying = this.shared.sender.isMoving = isPlaying;
    this.show();
  }

  /** Moves q on to where it is at the time `now`, in ms; the hand's touch ends that. */
  tick(/** @type {number} */ now) {
    const { selection, frames } = this.shared;
    if (!this.isPlaying) return;
    if (selection.touches !== this.touches || wantsStillness()) {
      this.stop();
      return;
    }
    const { way } = this;
    this.at += ((now - (this.ticked ?? now)) / 1000) * 2 ** Number(this.speed.value);
    this.ticked = now;
    const isOver = this.at >= way.length;
    if (isOver) this.at = way.loop ? this.at % way.length : way.length;
    selection.q.mu.set(way.z(this.at));
    frames.wake("q", "map");
    if (isOver && !way.loop) this.stop();
  }

  changed() {
    this.show();
    this.shared.frames.wake("map");
  }

  show() {
    this.play.textContent = this.isPlaying ? "❚❚ Pause" : "▶ Tour";
    this.clear.hidden = !this.way.stops.length;
    this.spherical.setAttribute("aria-pressed", `${this.way.spherical}`);
    this.loop.setAttribute("aria-pressed", `${this.way.loop}`);
  }
}
