// Terms of the bound, in nats, as vae/core/gaussian.py and vae/core/likelihood.py compute them.

import { sigmoid } from "./activations.js";

/** @import { Numbers } from "../types.d.ts" */

const LOG_2_PI = Math.log(2 * Math.PI);

/**
 * KL(N(mu, sigma^2), N(0, 1)) of each latent dimension into out, which is returned. Equation (6).
 *
 * @param {Numbers} mu
 * @param {Numbers} sigma above 0
 * @param {Float64Array} out
 */
export function klPerDim(mu, sigma, out) {
  for (let d = 0; d < mu.length; d++) {
    const logvar = 2 * Math.log(sigma[d]);
    // expm1 keeps the digits that sigma^2 - 1 - logvar loses near the prior.
    out[d] = (Math.expm1(logvar) - logvar + mu[d] * mu[d]) / 2;
  }
  return out;
}

/**
 * log p(x|z), summed over the pixels of x; the raw output of this z starts at offset.
 *
 * @param {string} kind "bernoulli", "continuous-bernoulli" or "gaussian", whose log-variance is logvarX
 * @param {Numbers} x
 * @param {Float32Array} raw
 * @param {number} offset
 * @param {number} logvarX
 * @param {Float32Array} [perPixel] -log p of each pixel is added to it
 */
export function logLikelihood(kind, x, raw, offset, logvarX, perPixel) {
  const logDensity = LOG_DENSITIES[kind];
  let total = 0;
  for (let i = 0; i < x.length; i++) {
    const value = logDensity(x[i], raw[offset + i], logvarX);
    total += value;
    if (perPixel) perPixel[i] -= value;
  }
  return total;
}

/** @type {Record<string, (x: number, raw: number, logvar: number) => number>} */
const LOG_DENSITIES = {
  bernoulli: (x, l) => x * l - Math.max(l, 0) - Math.log1p(Math.exp(-Math.abs(l))),
  "continuous-bernoulli": (x, l) => x * l - logPartition(l),
  gaussian: (x, mean, logvar) => -(LOG_2_PI + logvar + (x - mean) * (x - mean) * Math.exp(-logvar)) / 2,
};

/** log of the integral of exp(l x) over [0, 1], by its Taylor series near 0, where it is 0/0. */
function logPartition(/** @type {number} */ l) {
  const size = Math.abs(l);
  if (size < 0.1) return l / 2 + (l * l) / 24 - l ** 4 / 2880;
  return Math.max(l, 0) + Math.log(-Math.expm1(-size) / size);
}

/**
 * E[x|z] as pixels in [0, 1] into out, which it returns; the raw output starts at offset.
 *
 * @param {string} kind
 * @param {Float32Array} raw
 * @param {number} offset
 * @param {Float32Array} out
 */
export function meanImage(kind, raw, offset, out) {
  const mean = MEANS[kind];
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.min(Math.max(mean(raw[offset + i]), 0), 1);
  }
  return out;
}

/** @type {Record<string, (raw: number) => number>} */
const MEANS = {
  bernoulli: sigmoid,
  "continuous-bernoulli": (l) => (Math.abs(l) < 0.1 ? 0.5 + l / 12 - l ** 3 / 720 : -1 / Math.expm1(-l) - 1 / l),
  gaussian: (mean) => mean,
};
