// The other end of remote.js: first come the networks, then a question at a time.

import { BATCH, networkOf } from "./network.js";

/** @import { Network } from "./network.js" */

/** @type {Record<string, Network | null>} */
const networks = {};

self.onmessage = ({ data }) => {
  try {
    if (data.weights) {
      const { decoder, encoder, weights, nClasses } = data;
      networks.decoder = networkOf(decoder, weights.decoder, BATCH, nClasses);
      networks.encoder = encoder ? networkOf(encoder, weights.encoder, 1, nClasses) : null;
      return;
    }
    const { network, input, batch, label } = data;
    const asked = /** @type {Network} */ (networks[network]);
    if ("label" in asked) asked.label = label;
    // Copies: the networks' own memory is used again.
    const start = performance.now();
    const outputs = asked.run(input, batch).map((output) => output.slice());
    self.postMessage({ outputs, ms: performance.now() - start });
  } catch (error) {
    self.postMessage({ problem: error instanceof Error ? error.message : String(error) });
  }
};
