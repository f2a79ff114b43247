// Runs a network on the graphics card, by WebGPU: the programs of runner.js, for a worker alone,
// since what a card has computed comes back later.

import { checkProgram, checkRun } from "./runner.js";
import { shaderOf } from "./shaders.js";

/** @import { Numbers, ProgramHeader } from "../types.d.ts" */

const ROUNDS = 3; // of which the quickest counts
const TOLERANCE = 1e-3; // of the largest number, before a card is not trusted

/** A network in the memory of a graphics card; one run at a time. */
export class GpuRunner {
  /**
   * Null where there is no card, or it cannot hold the network. Throws as Runner's constructor.
   *
   * @param {ProgramHeader} header
   * @param {Float32Array} weights
   * @param {number} maxBatch
   */
  static async create(header, weights, maxBatch = 1) {
    checkProgram(header, weights);
    const adapter = await globalThis.navigator?.gpu?.requestAdapter();
    if (!adapter) return null;
    const { maxStorageBufferBindingSize, maxBufferSize } = adapter.limits;
    const largest = 4 * Math.max(weights.length, maxBatch * Math.max(...header.sizes));
    if (largest > Math.min(maxStorageBufferBindingSize, maxBufferSize)) return null;
    const device = await adapter.requestDevice({ requiredLimits: { maxStorageBufferBindingSize, maxBufferSize } });
    device.pushErrorScope("validation");
    device.pushErrorScope("out-of-memory");
    const runner = new GpuRunner(device, header, weights, maxBatch);
    await runner.compile();
    const problem = (await device.popErrorScope()) ?? (await device.popErrorScope());
    if (problem) {
      runner.close();
      throw new Error(problem.message);
    }
    return runner;
  }

  /** @param {GPUDevice} device @param {ProgramHeader} header @param {Float32Array} weights @param {number} maxBatch */
  constructor(device, header, weights, maxBatch) {
    this.device = device;
    this.header = header;
    this.maxBatch = maxBatch;
    this.inSize = header.sizes[0];
    /** Fails when the card is gone: what it was asked may then never come. @type {Promise<never>} */
    this.lost = device.lost.then(({ message }) => {
      throw new Error(message || "the graphics card is gone");
    });
    this.lost.catch(() => {}); // it is told where something is asked
    const { STORAGE, COPY_DST, COPY_SRC, UNIFORM, MAP_READ } = GPUBufferUsage;
    /** @type {(numbers: number, usage: number, values?: Float32Array<any>) => GPUBuffer} */
    this.buffer = (numbers, usage, values) => {
      const buffer = device.createBuffer({ size: Math.max(16, 4 * numbers), usage: usage | COPY_DST });
      if (values) device.queue.writeBuffer(buffer, 0, values);
      return buffer;
    };
    this.weights = this.buffer(weights.length, STORAGE, weights);
    this.registers = header.sizes.map((size) => this.buffer(size * maxBatch, STORAGE | COPY_SRC));
    this.batch = this.buffer(1, UNIFORM);
    this.answers = header.outputs.map((register) => this.buffer(header.sizes[register] * maxBatch, MAP_READ));
    /** @type {{pipeline: GPUComputePipeline, group: GPUBindGroup, groupsOf: (batch: number) => number}[]} */
    this.steps = [];
  }

  async compile() {
    const { device, header, weights, registers, batch } = this;
    const kinds = /** @type {const} */ (["read-only-storage", "read-only-storage", "read-only-storage", "storage"]);
    const entries = [...kinds, /** @type {const} */ ("uniform")].map((type, binding) => ({
      binding,
      visibility: GPUShaderStage.COMPUTE,
      buffer: { type },
    }));
    const bindings = device.createBindGroupLayout({ entries });
    const layout = device.createPipelineLayout({ bindGroupLayouts: [bindings] });
    this.steps = await Promise.all(
      header.ops.map(async (op) => {
        const { code, table, groupsOf } = shaderOf(op, header.sizes);
        const module = device.createShaderModule({ code });
        const pipeline = await device.createComputePipelineAsync({ layout, compute: { module } });
        const other = table ? this.buffer(table.length, GPUBufferUsage.STORAGE, table) : registers[op.with ?? op.in];
        const group = device.createBindGroup({
          layout: bindings,
          entries: [weights, registers[op.in], other, registers[op.out], batch].map((buffer, binding) => ({
            binding,
            resource: { buffer },
          })),
        });
        return { pipeline, group, groupsOf };
      }),
    );
  }

  /**
   * The outputs, one Float32Array (batch x size) each. Throws ProgramError if the input is too
   * short, and an error if the card is gone.
   *
   * @param {Numbers} input at least batch x inSize
   */
  async run(input, batch = 1) {
    const { device, header, answers, registers } = this;
    checkRun(this, input, batch);
    device.queue.writeBuffer(registers[0], 0, Float32Array.from(input).subarray(0, batch * this.inSize));
    device.queue.writeBuffer(this.batch, 0, new Uint32Array([batch]));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const { pipeline, group, groupsOf } of this.steps) {
      const groups = groupsOf(batch);
      const wide = Math.min(groups, device.limits.maxComputeWorkgroupsPerDimension);
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(wide, Math.ceil(groups / wide));
    }
    pass.end();
    const bytes = header.outputs.map((register) => 4 * batch * header.sizes[register]);
    header.outputs.forEach((register, i) => {
      encoder.copyBufferToBuffer(registers[register], 0, answers[i], 0, bytes[i]);
    });
    device.queue.submit([encoder.finish()]);
    const mapped = answers.map((answer, i) => answer.mapAsync(GPUMapMode.READ, 0, bytes[i]));
    await Promise.race([Promise.all(mapped), this.lost]);
    return answers.map((answer, i) => {
      const output = new Float32Array(answer.getMappedRange(0, bytes[i]).slice(0));
      answer.unmap();
      return output;
    });
  }

  close() {
    this.device.destroy();
  }
}

/**
 * The network on the card, if there is one that is right and faster than what runs it now; else null.
 *
 * @param {ProgramHeader} header
 * @param {Float32Array} weights
 * @param {number} maxBatch
 * @param {{run: (input: Numbers, batch?: number) => Float32Array[] | Promise<Float32Array[]>}} present
 */
export async function fasterOnGpu(header, weights, maxBatch, present) {
  let runner = null;
  try {
    runner = await GpuRunner.create(header, weights, maxBatch);
    if (!runner) return null;
    const input = Float32Array.from({ length: runner.inSize }, (_, i) => Math.sin(i + 1));
    const [here, there] = [await timed(present, input), await timed(runner, input)];
    const isRight = here.outputs.every((output, i) => isNear(output, there.outputs[i]));
    if (isRight && there.ms < here.ms) return runner;
    if (!isRight) console.warn("the graphics card gives other numbers: it is not used");
  } catch (error) {
    console.warn("the graphics card is not used:", error);
  }
  runner?.close();
  return null;
}

/** @param {{run: (input: Numbers) => Float32Array[] | Promise<Float32Array[]>}} network @param {Float32Array} input */
async function timed(network, input) {
  let ms = Number.POSITIVE_INFINITY;
  /** @type {Float32Array[]} */
  let outputs = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = performance.now();
    outputs = await network.run(input);
    ms = Math.min(ms, performance.now() - start);
  }
  return { ms, outputs: outputs.map((output) => output.slice()) };
}

/** @param {Float32Array} a @param {Float32Array} b */
function isNear(a, b) {
  const scale = a.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
  return a.length === b.length && a.every((value, i) => Math.abs(value - b[i]) <= TOLERANCE * scale);
}
