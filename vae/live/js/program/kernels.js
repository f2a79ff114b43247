import { bytesOf } from "../bytes.js";
import { KERNELS } from "../constants.js";
import { Memory, PLAIN } from "./memory.js";

const TRIAL = { M: 64, N: 32, K: 256, rounds: 6 }; // the product that they are measured by: 3 ms in all
/** @type {WebAssembly.Module | null | undefined} */
let chosen; // once it is known

/** The kernels that this browser can compile, as modules; those that should be fastest first. */
export function kernels() {
  const modules = [];
  for (const text of KERNELS) {
    try {
      modules.push(new WebAssembly.Module(bytesOf(text)));
    } catch {
      // Relaxed SIMD, SIMD or all of WebAssembly is not there, or a policy forbids it.
    }
  }
  return modules;
}

/** The one that is right and the fastest here; null where that is plain JavaScript. */
export function fastest() {
  if (chosen === undefined) {
    const [plain, ...others] = [null, ...kernels()].map(measure);
    chosen = null;
    let best = plain.ms;
    for (const { kernel, ms, y } of others) {
      const isRight = y.every((value, i) => Math.abs(value - plain.y[i]) < 1e-4);
      if (isRight && ms < best) [chosen, best] = [kernel, ms];
    }
  }
  return chosen;
}

/** @param {WebAssembly.Module | null} kernel */
function measure(kernel) {
  const { M, N, K, rounds } = TRIAL;
  const weights = Float32Array.from({ length: M * K }, (_, i) => Math.sin(i) / 8);
  const memory = new Memory(weights, [N * K, M, M * N], kernel);
  const [x, bias, y] = [N * K, M, M * N].map((size) => memory.take(size));
  for (let i = 0; i < x.length; i++) x[i] = Math.cos(i) / 8;
  let ms = Number.POSITIVE_INFINITY;
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    memory.products.multiply(memory.weights, x, bias, y, M, N, K, 0, 0, 0, 0);
    ms = Math.min(ms, performance.now() - start);
  }
  // One that could not be instantiated runs the plain product, and is none.
  return { kernel: memory.products === PLAIN ? null : kernel, ms, y };
}
