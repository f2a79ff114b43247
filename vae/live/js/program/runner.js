// Runs a network in the browser, as program.py wrote it down.
//
// A Runner allocates everything once; a run allocates nothing.

import { fastest } from "./kernels.js";
import { Memory } from "./memory.js";
import { OPERATIONS } from "./operations.js";

/** @import { Numbers, Operation, ProgramHeader } from "../types.d.ts" */

/** The program and its weights do not fit together; the message is a sentence for the screen. */
export class ProgramError extends Error {
  constructor(/** @type {string} */ message) {
    super(message);
    this.name = "ProgramError";
  }
}

/** A network with its memory. */
export class Runner {
  /**
   * Throws ProgramError if program and weights disagree.
   *
   * @param {ProgramHeader} header
   * @param {Float32Array} weights header.floats of them
   * @param {number} maxBatch the most inputs that one run may have
   * @param {WebAssembly.Module | null} kernel of its matrix products; null: plain JavaScript
   */
  constructor(header, weights, maxBatch = 1, kernel = fastest()) {
    checkProgram(header, weights);
    this.header = header;
    this.maxBatch = maxBatch;
    this.inSize = header.sizes[0];
    const scratch = header.ops.map((op) => OPERATIONS[op.op].scratch?.(op) ?? []);
    const sizes = header.sizes.map((size) => size * maxBatch);
    const memory = new Memory(weights, [...sizes, ...scratch.flat()], kernel);
    const registers = sizes.map((size) => memory.take(size));
    this.input = registers[0];
    this.steps = header.ops.map((op, place) =>
      OPERATIONS[op.op].prepare(op, {
        weights: memory.weights,
        x: registers[op.in],
        y: registers[op.out],
        other: registers[op.with ?? op.in],
        size: header.sizes[op.out],
        scratch: scratch[place].map((size) => memory.take(size)),
        products: memory.products,
      }),
    );
    this.views = Array.from({ length: maxBatch + 1 }, (_, batch) =>
      header.outputs.map((register) => registers[register].subarray(0, batch * header.sizes[register])),
    );
  }

  /**
   * The outputs, one Float32Array (batch x size) each, in memory that the next run uses again.
   * Throws ProgramError if the input is too short.
   *
   * @param {Numbers} input at least batch x inSize
   */
  run(input, batch = 1) {
    checkRun(this, input, batch);
    const wanted = batch * this.inSize;
    for (let i = 0; i < wanted; i++) this.input[i] = input[i];
    for (const step of this.steps) step(batch);
    return this.views[batch];
  }
}

/** @param {{inSize: number, maxBatch: number}} runner @param {Numbers} input @param {number} batch */
export function checkRun({ inSize, maxBatch }, input, batch) {
  if (!(batch >= 1 && batch <= maxBatch && input.length >= batch * inSize)) {
    throw new ProgramError(
      `a run of ${batch} with ${input.length} numbers: this network takes 1 to ` +
        `${maxBatch} inputs at a time, of ${inSize} numbers each`,
    );
  }
}

/** @param {string} problem @returns {never} */
function fail(problem) {
  throw new ProgramError(`The network's program and its weights disagree: ${problem}.`);
}

/** @param {ProgramHeader} header @param {Float32Array} weights */
export function checkProgram(header, weights) {
  if (weights.length !== header.floats) {
    fail(`the program needs ${header.floats} weights, and ${weights.length} came`);
  }
  for (let i = 0; i < weights.length; i++) {
    if (!Number.isFinite(weights[i])) fail(`weight ${i} is ${weights[i]}`);
  }
  const { sizes, ops } = header;
  if (!sizes.every((size) => Number.isInteger(size) && size > 0)) fail("a register has no size");
  const written = new Set([0]);
  for (const [place, op] of ops.entries()) {
    const name = `operation ${place} (${op.op})`;
    if (!Object.hasOwn(OPERATIONS, op.op)) fail(`${name} is unknown to this page`);
    for (const register of op.with === undefined ? [op.in] : [op.in, op.with]) {
      if (!written.has(register)) fail(`${name} reads register ${register} before it is written`);
    }
    if (!Number.isInteger(op.out) || op.out >= sizes.length || written.has(op.out)) {
      fail(`${name} cannot write register ${op.out}`);
    }
    written.add(op.out);
    checkOperation(header, op, name);
  }
  for (const register of header.outputs) {
    if (!written.has(register)) fail(`output register ${register} is never written`);
  }
}

/** Whether it reads, makes and takes from the weights as many numbers as there are. */
function checkOperation(/** @type {ProgramHeader} */ { sizes, floats }, /** @type {Operation} */ op, name = "") {
  const [read, made] = [sizes[op.in], sizes[op.out]];
  const expected =
    expectedOf(op, read, made, op.with === undefined ? Number.NaN : sizes[op.with]) ?? fail(`${name} lacks a part`);
  // A missing number has made NaN, which passes no comparison.
  if (!(expected.ok ?? true)) fail(`${name} does not make sense`);
  const { read: reads = read, made: makes = made } = expected;
  if (reads !== read) fail(`${name} reads ${reads} numbers of ${read}`);
  if (makes !== made) fail(`${name} makes ${makes} numbers for ${made}`);
  for (const [part, count] of Object.entries(expected.parts ?? {})) {
    const start = op[part];
    if (!(Number.isInteger(start) && start >= 0 && start + count <= floats)) {
      fail(`${name} has ${count} numbers of ${part} at ${start}, of ${floats} in all`);
    }
  }
}

/** @param {Operation} op @param {number} read @param {number} made @param {number} other */
function expectedOf(op, read, made, other) {
  try {
    return OPERATIONS[op.op].expects(op, read, made, other);
  } catch {
    return null;
  }
}
