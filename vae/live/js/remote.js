import { WORKER } from "./worker_source.js";

/**
 * @import { Numbers, ProgramHeader } from "./types.d.ts"
 * @typedef {"mean" | "hover" | "drawing" | "samples" | "tile"} Asker who may have one answer pending
 * @typedef {{network: "decoder" | "encoder", input: Float32Array, batch: number, label: number}} Question
 * @typedef {Question & {outputs: Float32Array[]}} Answer
 * @typedef {{decoder: ProgramHeader, encoder: ProgramHeader | null, weights: Record<string, Float32Array>, nClasses: number}} Networks
 *
 * @typedef {object} Listener
 * @property {(asker: Asker, ms: number) => void} answered ms: that the network ran
 * @property {(sentence: string) => void} failed the worker is gone for good
 */

/** @type {Asker[]} */
const BY_URGENCY = ["mean", "hover", "drawing", "samples", "tile"];
const PATIENCE_MS = 10_000; // for one answer; what takes longer has died, or never began

/**
 * A model's networks in a worker, so that the page stays free whatever they cost.
 *
 * It has one question at a time; of those that wait, only the newest of each asker is kept.
 */
export class Remote {
  /** @param {Networks} networks @param {Listener} listener */
  constructor(networks, listener) {
    this.listener = listener;
    /** @type {Map<Asker, Question>} */
    this.waiting = new Map();
    /** @type {Map<Asker, Answer>} */
    this.answers = new Map();
    /** @type {{asker: Asker, question: Question} | null} */
    this.asked = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    const url = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
    this.worker = new Worker(url, { type: "module" });
    this.worker.onmessage = ({ data }) => this.take(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.fail(event.message);
    };
    this.worker.postMessage(networks);
    setTimeout(() => URL.revokeObjectURL(url), PATIENCE_MS);
  }

  get isIdle() {
    return !this.asked && !this.waiting.size;
  }

  /**
   * The asker's newest answer, and whether it is to this very question; if it is not, that is asked.
   *
   * @param {Asker} asker
   * @param {Question["network"]} network
   * @param {Numbers} input
   * @param {number} batch
   * @param {number} label
   */
  ask(asker, network, input, batch, label) {
    const question = { network, input: Float32Array.from(input), batch, label };
    const answer = this.answers.get(asker);
    const isCurrent = answer !== undefined && isSame(answer, question);
    if (isCurrent) this.waiting.delete(asker);
    else if (!(this.asked?.asker === asker && isSame(this.asked.question, question))) {
      this.waiting.set(asker, question);
      this.next();
    }
    return { outputs: answer?.outputs ?? null, isCurrent };
  }

  next() {
    if (this.asked) return;
    const asker = BY_URGENCY.find((name) => this.waiting.has(name));
    if (!asker) return;
    const question = /** @type {Question} */ (this.waiting.get(asker));
    this.waiting.delete(asker);
    this.asked = { asker, question };
    this.timer = setTimeout(() => this.fail(`no answer after ${PATIENCE_MS / 1000} s`), PATIENCE_MS);
    this.worker.postMessage(question);
  }

  /** @param {{outputs?: Float32Array[], ms?: number, problem?: string}} told */
  take({ outputs, ms = 0, problem }) {
    clearTimeout(this.timer);
    if (problem !== undefined || !outputs || !this.asked) {
      this.fail(problem ?? "an answer that nobody asked for");
      return;
    }
    const { asker, question } = this.asked;
    this.answers.set(asker, { ...question, outputs });
    this.asked = null;
    this.next();
    this.listener.answered(asker, ms);
  }

  /** @param {string} [why] */
  fail(why) {
    this.close();
    console.warn("the worker that decodes has stopped:", why);
    this.listener.failed("The worker that decodes has stopped: this page goes on by itself, less smoothly.");
  }

  close() {
    clearTimeout(this.timer);
    this.waiting.clear();
    this.worker.terminate();
  }
}

/** @param {Question} a @param {Question} b */
function isSame(a, b) {
  return (
    a.network === b.network &&
    a.batch === b.batch &&
    a.label === b.label &&
    a.input.length === b.input.length &&
    a.input.every((value, i) => Object.is(value, b.input[i]))
  );
}
