// The other end of remote.js: first come the networks, then a question at a time.

import { BATCH, networkOf, underLabel } from "./network.js";
import { fasterOnGpu } from "./program/gpu.js";

/**
 * @import { Network, NetworkBy } from "./network.js"
 * @import { GpuRunner } from "./program/gpu.js"
 */

/** @type {Record<string, Network | null>} */
const networks = {};
/** @type {Record<string, NetworkBy<GpuRunner> | null>} */
const onGpu = {}; // those that a graphics card runs faster

self.onmessage = async ({ data }) => {
  try {
    if (data.weights) {
      const { decoder, encoder, weights, nClasses } = data;
      networks.decoder = networkOf(decoder, weights.decoder, BATCH, nClasses);
      networks.encoder = encoder ? networkOf(encoder, weights.encoder, 1, nClasses) : null;
      // Until the card is ready, and where there is none, the processor answers.
      await tryGpu("decoder", decoder, weights.decoder, BATCH, nClasses);
      if (encoder) await tryGpu("encoder", encoder, weights.encoder, 1, nClasses);
      return;
    }
    const { network, input, batch, label } = data;
    const start = performance.now();
    const outputs = await answer(network, input, batch, label);
    self.postMessage({ outputs, ms: performance.now() - start });
  } catch (error) {
    self.postMessage({ problem: error instanceof Error ? error.message : String(error) });
  }
};

/**
 * @param {string} name
 * @param {import("./types.d.ts").ProgramHeader} header
 * @param {Float32Array} weights
 * @param {number} maxBatch
 * @param {number} nClasses
 */
async function tryGpu(name, header, weights, maxBatch, nClasses) {
  const present = /** @type {Network} */ (networks[name]);
  const runner = await fasterOnGpu(header, weights, maxBatch, "runner" in present ? present.runner : present);
  if (runner) onGpu[name] = underLabel(runner, nClasses);
}

/** @param {string} name @param {Float32Array} input @param {number} batch @param {number} label */
async function answer(name, input, batch, label) {
  const ask = async (/** @type {Network | NetworkBy<GpuRunner>} */ network) => {
    if ("label" in network) network.label = label;
    return await network.run(input, batch);
  };
  if (onGpu[name]) {
    try {
      return await ask(/** @type {NetworkBy<GpuRunner>} */ (onGpu[name]));
    } catch (error) {
      console.warn("the graphics card is gone:", error);
      onGpu[name] = null;
    }
  }
  // Copies: the networks' own memory is used again.
  return (await ask(/** @type {Network} */ (networks[name]))).map((output) => output.slice());
}
