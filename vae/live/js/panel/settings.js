import { MOST_SAMPLES } from "../constants.js";
import { button, el, toggle } from "../dom.js";

/**
 * @import { SettingValues } from "../types.d.ts"
 * @import { Frames } from "./frames.js"
 * @import { Scene } from "./scene.js"
 * @import { Sender } from "./sender.js"
 * @import { Words } from "./words.js"
 */

/** How q is shown: the noise, the number of samples, and three switches. */
export class Settings {
  /** @param {Frames} frames @param {Scene} scene @param {Sender} sender @param {Words} words */
  constructor(frames, scene, sender, words) {
    this.frames = frames;
    this.scene = scene;
    this.sender = sender;
    this.isTold = false;
    /** @type {SettingValues} */
    this.values = { seed: 0, S: 16, follow: false, smooth: false, manifold: false };
    this.buttons = {
      follow: toggle("Follow", "", () => this.flip("follow")),
      smooth: toggle("Smooth", "smooth the pixels of small images", () => this.flip("smooth")),
      manifold: toggle("Manifold", "paint what each spot of the map decodes to under the points", () =>
        this.flip("manifold"),
      ),
    };
    const limits = { min: "1", max: `${MOST_SAMPLES}`, step: "1" };
    this.range = el("input", { type: "range", ...limits, "aria-label": "number of samples" });
    this.count = el("output");
    this.seed = el("output");
    this.range.addEventListener("input", () => this.change({ S: Number(this.range.value) }, "q"));
    this.range.addEventListener("change", () => sender.send());
    this.element = el("div", { class: "bar" }, el("label", {}, "samples ", this.range, this.count));
    const resample = button("Resample", () => this.resample(), { title: "other ε" });
    const noise = el("span", { class: "seed" }, words.of("ε"), " of ", this.seed);
    this.element.append(resample, noise, el("span", { class: "spring" }), this.buttons.smooth);
  }

  /** What a link or an earlier visit says, once. */
  take(/** @type {Partial<SettingValues> | undefined} */ told) {
    if (!told || this.isTold) return;
    this.isTold = true;
    Object.assign(this.values, told);
  }

  /** @param {"follow" | "smooth" | "manifold"} name */
  flip(name) {
    this.change({ [name]: !this.values[name] }, "q", "tiles", "hover");
    this.sender.send();
  }

  resample() {
    this.change({ seed: this.values.seed + 1 }, "q");
    this.sender.send();
  }

  /** Q no longer follows the pointer; says whether it did. */
  stopFollowing() {
    if (!this.values.follow) return false;
    this.change({ follow: false });
    return true;
  }

  /** @param {Partial<SettingValues>} values @param {...string} parts that show them */
  change(values, ...parts) {
    Object.assign(this.values, values);
    this.show();
    if (parts.length) this.frames.wake(...parts);
  }

  show() {
    const { buttons, values } = this;
    const isDecodable = this.scene.plane !== null;
    this.range.value = `${values.S}`;
    this.count.textContent = `${values.S}`;
    this.seed.textContent = `seed ${values.seed}`;
    for (const name of /** @type {const} */ (["follow", "smooth", "manifold"])) {
      buttons[name].setAttribute("aria-pressed", `${values[name]}`);
    }
    buttons.manifold.hidden = !isDecodable; // a layout cannot be decoded
    buttons.follow.title = isDecodable
      ? "mu goes where the pointer is on the map, until a click"
      : "q goes to the mu of the point nearest to the pointer, until a click";
  }
}
