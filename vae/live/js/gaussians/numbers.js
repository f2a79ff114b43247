import { GAUSSIAN_SAMPLES, GAUSSIAN_SIZES, GAUSSIAN_TERMS } from "../constants.js";
import { button, el, toggle } from "../dom.js";
import { klParts } from "./gaussian.js";
import { COLOURS } from "./heat.js";
import { count, number } from "./text.js";

/** @import { Duel } from "./duel.js" */

const WAYS = ["PQ", "QP"];
const TERMS = /** @type {(keyof ReturnType<typeof klParts>)[]} */ (Object.keys(GAUSSIAN_TERMS));

/** What is counted of the two: both KLs, their terms, what samples say of them, and equation (6). */
export class Numbers {
  /** @param {Duel} duel */
  constructor(duel) {
    this.duel = duel;
    this.klCells = WAYS.map((way) => el("td", { "data-kl": way }));
    this.termCells = TERMS.map((name) => WAYS.map((way) => el("td", { "data-term": `${name} ${way}` })));
    this.terms = this.buildTerms();
    this.sampleCells = Object.keys(GAUSSIAN_SAMPLES).map((name) =>
      WAYS.map((way) => {
        const [mean, exact] = [el("span"), el("small")];
        return { mean, exact, cell: el("td", { "data-sample": `${name} ${way}` }, mean, exact) };
      }),
    );
    const limits = { min: "0", max: `${GAUSSIAN_SIZES.length - 1}`, step: "1" };
    this.range = el("input", { type: "range", ...limits, "aria-label": "L, the number of draws" });
    this.range.addEventListener("input", () => this.duel.set({ size: GAUSSIAN_SIZES[Number(this.range.value)] }));
    this.range.addEventListener("change", () => this.duel.emit());
    this.sizeText = el("output");
    this.seedText = el("span", { class: "seed" });
    this.samples = this.buildSamples();
    this.specialButton = toggle("P diagonal, Q = N(0, I)", "the case of a VAE: equation (6)", () =>
      this.duel.setSpecial(!this.duel.special),
    );
    this.specialText = el("output");
    this.specialNote = el("small");
    const bar = el("div", { class: "bar" }, this.specialButton, this.specialText);
    this.special = el("div", { class: "special", "data-part": "special" }, bar, this.specialNote);
    this.element = el("div", { class: "numbers" }, this.terms, this.samples, this.special);
  }

  buildTerms() {
    const head = (/** @type {string} */ text, /** @type {string} */ small, /** @type {string} */ colour) =>
      el("th", { scope: "col" }, el("span", { style: `--colour:${colour}` }, text), el("small", {}, small));
    const heads = [head("KL(P, Q)", "1 is P, 2 is Q", COLOURS.P), head("KL(Q, P)", "1 is Q, 2 is P", COLOURS.Q)];
    const sum = el("tr", { class: "kl" }, el("th", { scope: "row" }, "nats"), ...this.klCells);
    const rows = Object.values(GAUSSIAN_TERMS).map((label, i) =>
      el("tr", {}, el("th", { scope: "row" }, label), ...this.termCells[i]),
    );
    return el(
      "table",
      { class: "terms", "data-part": "terms" },
      el("thead", {}, el("tr", {}, el("th"), ...heads), sum),
      el("tbody", {}, ...rows),
      el("caption", {}, "The KL is half the sum of its four terms, equation (5); it is not symmetric, (1)."),
    );
  }

  buildSamples() {
    const resample = button("Resample", () => this.duel.change({ seed: (this.duel.seed + 1) % 2 ** 31 }));
    const bar = el("div", { class: "bar" }, el("label", {}, "Mean over L draws from P₁", this.range), this.sizeText);
    bar.append(el("span", { class: "spring" }), this.seedText, resample);
    const columns = el("colgroup", {}, el("col"), el("col", { class: "value" }), el("col", { class: "value" }));
    const rows = Object.values(GAUSSIAN_SAMPLES).map(([label, equation], i) => {
      const head = el("th", { scope: "row" }, label, el("small", {}, equation));
      return el("tr", {}, head, ...this.sampleCells[i].map(({ cell }) => cell));
    });
    return el(
      "table",
      { class: "samples", "data-part": "samples" },
      columns,
      el("thead", {}, el("tr", {}, el("th", { scope: "col", colspan: "3" }, bar))),
      el("tbody", {}, ...rows),
    );
  }

  showSettings() {
    const place = GAUSSIAN_SIZES.findIndex((size) => size >= this.duel.size);
    this.range.value = `${Math.max(0, place)}`;
    this.seedText.textContent = `seed ${this.duel.seed}`;
    this.specialButton.setAttribute("aria-pressed", `${this.duel.special}`);
  }

  showTerms() {
    const { P, Q, special } = this.duel;
    [klParts(P, Q), klParts(Q, P)].forEach((parts, way) => {
      this.klCells[way].textContent = number(parts.kl);
      for (const [i, name] of TERMS.entries()) this.termCells[i][way].textContent = number(parts[name]);
    });
    if (special) {
      const each = [P.cov[0], P.cov[2]].map((s, i) => (-Math.log(s) - 1 + s + P.mu[i] ** 2) / 2);
      this.specialText.textContent = `${each.map(number).join(" + ")} = ${number(each[0] + each[1])} nats`;
      this.specialNote.textContent =
        "Equation (6), one term per dimension: the KL in the loss −E_q log p(x|z) + KL(q, p).";
    } else {
      this.specialText.textContent = "";
      this.specialNote.textContent = "Equation (6), a VAE's own case: the posterior q(z|x) against the prior.";
    }
  }

  showSamples() {
    const { samples, size } = this.duel;
    samples.forEach((sample, way) => {
      sample.result.forEach(({ mean, stderr }, i) => {
        const cells = this.sampleCells[i][way];
        cells.mean.textContent = `${number(mean)} ± ${number(stderr)}`;
        cells.exact.textContent = `exactly ${number(sample.exact[i])}`;
      });
    });
    const { n } = samples[0];
    this.sizeText.textContent = n < size ? `${count(n)} of ${count(size)}` : `L = ${count(n)}`;
  }
}
