import { Runner } from "./program/runner.js";

/**
 * @import { GpuRunner } from "./program/gpu.js"
 * @import { Numbers, ProgramHeader } from "./types.d.ts"
 */

/**
 * @template {Runner | GpuRunner} R
 * @typedef {R | GivenRunner<R>} NetworkBy
 */

/** @typedef {NetworkBy<Runner>} Network what answers at once */

export const BATCH = 4; // decodes that share one reading of the weights

/**
 * A network whose input the one-hot label of a class stands behind.
 *
 * @template {Runner | GpuRunner} R
 */
export class GivenRunner {
  /** @param {R} runner of the joined input @param {number} n classes */
  constructor(runner, n) {
    this.runner = runner;
    this.n = n;
    this.label = 0;
    this.joined = new Float32Array(runner.inSize * runner.maxBatch);
  }

  get inSize() {
    return this.runner.inSize - this.n;
  }

  /**
   * As the runner's own, of inputs without their label.
   *
   * @param {Numbers} input
   * @returns {ReturnType<R["run"]>}
   */
  run(input, batch = 1) {
    const { joined, label, n, runner, inSize } = this;
    for (let b = 0; b < batch; b++) {
      const start = b * runner.inSize;
      for (let i = 0; i < inSize; i++) joined[start + i] = input[b * inSize + i];
      for (let c = 0; c < n; c++) joined[start + inSize + c] = c === label ? 1 : 0;
    }
    return /** @type {ReturnType<R["run"]>} */ (runner.run(joined, batch));
  }
}

/**
 * The network of a program, with the classes of its condition.
 *
 * @param {ProgramHeader} header
 * @param {Float32Array} weights
 * @param {number} maxBatch
 * @param {number} nClasses 0: it has no condition
 * @returns {Network}
 */
export function networkOf(header, weights, maxBatch, nClasses) {
  return underLabel(new Runner(header, weights, maxBatch), nClasses);
}

/**
 * Whoever runs it, with the classes of its condition, if there is one.
 *
 * @template {Runner | GpuRunner} R
 * @param {R} runner
 * @param {number} nClasses
 * @returns {NetworkBy<R>}
 */
export function underLabel(runner, nClasses) {
  return nClasses ? new GivenRunner(runner, nClasses) : runner;
}

/** How many milliseconds a run takes: the quickest of a few. @param {Network} network */
export function costOf(network) {
  const input = new Float32Array(network.inSize);
  let cost = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 3; i++) {
    const start = performance.now();
    network.run(input);
    cost = Math.min(cost, performance.now() - start);
  }
  return cost;
}
