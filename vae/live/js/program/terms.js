// Terms of the bound, in nats, as vae/core/gaussian.py and vae/core/likelihood.py compute them.

import { sigmoid } from "./activations.js";

/** @import { Families, Numbers } from "../types.d.ts" */

const LOG_2_PI = Math.log(2 * Math.PI);
const MOST_LOG_RATE = 30; // as vae/core/likelihood.py has it

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
    const value = logDensity(x[i], raw[offset + i], logvarX, 0);
    total += value;
    if (perPixel) perPixel[i] -= value;
  }
  return total;
}

const softplus = (/** @type {number} */ l) => Math.max(l, 0) + Math.log1p(Math.exp(-Math.abs(l)));

/** @type {Record<string, (x: number, raw: number, logvar: number, logR: number) => number>} */
const LOG_DENSITIES = {
  bernoulli: (x, l) => x * l - Math.max(l, 0) - Math.log1p(Math.exp(-Math.abs(l))),
  "continuous-bernoulli": (x, l) => x * l - logPartition(l),
  gaussian: (x, mean, logvar) => -(LOG_2_PI + logvar + (x - mean) * (x - mean) * Math.exp(-logvar)) / 2,
  poisson: (x, raw) => {
    const logRate = Math.min(raw, MOST_LOG_RATE);
    return x * logRate - Math.exp(logRate) - logGamma(x + 1);
  },
  "negative-binomial": (x, raw, _, logR) => {
    const above = Math.min(raw, MOST_LOG_RATE) - logR;
    const r = Math.exp(logR);
    return -x * softplus(-above) - r * softplus(above) + logGamma(x + r) - logGamma(r) - logGamma(x + 1);
  },
};

/** log of the integral of exp(l x) over [0, 1], by its Taylor series near 0, where it is 0/0. */
function logPartition(/** @type {number} */ l) {
  const size = Math.abs(l);
  if (size < 0.1) return l / 2 + (l * l) / 24 - l ** 4 / 2880;
  return Math.max(l, 0) + Math.log(-Math.expm1(-size) / size);
}

/**
 * log p(x|z) of numbers that are not all of one family, summed over those that are not missing (NaN).
 *
 * @param {Families} of
 * @param {Numbers} x
 * @param {Float32Array} raw
 * @param {number} offset
 * @param {Float32Array} [perNumber] -log p of each is added to it
 */
export function logLikelihoodOf({ families, logvarX, logR }, x, raw, offset, perNumber) {
  let total = 0;
  for (let i = 0; i < x.length; i++) {
    if (Number.isNaN(x[i])) continue;
    const value = LOG_DENSITIES[families[i]](x[i], raw[offset + i], logvarX[i], logR[i]);
    total += value;
    if (perNumber) perNumber[i] -= value;
  }
  return total;
}

/**
 * E[x|z] of such numbers into out, which it returns.
 *
 * @param {Families} of
 * @param {Float32Array} raw
 * @param {number} offset
 * @param {Float32Array} out
 */
export function meansOf({ families }, raw, offset, out) {
  for (let i = 0; i < out.length; i++) out[i] = MEANS[families[i]](raw[offset + i]);
  return out;
}

/**
 * The standard deviation of x given z, by E[x|z], of such numbers.
 *
 * @param {Families} of
 * @param {Numbers} mean
 * @param {number} i of the number
 */
export function spreadOf({ families, logvarX, logR }, mean, i) {
  if (families[i] === "gaussian") return Math.exp(logvarX[i] / 2);
  if (families[i] === "bernoulli") return Math.sqrt(mean[i] * (1 - mean[i]));
  const more = families[i] === "poisson" ? 0 : mean[i] ** 2 * Math.exp(-logR[i]);
  return Math.sqrt(mean[i] + more);
}

/** log Gamma(x) for x > 0, by Stirling's series above 7 and the recurrence below. */
export function logGamma(/** @type {number} */ x) {
  let [z, product] = [x, 1];
  for (; z < 7; z++) product *= z;
  const s = 1 / (z * z);
  const series = (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s / 1680))) / z;
  return (z - 0.5) * Math.log(z) - z + LOG_2_PI / 2 + series - Math.log(product);
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
  poisson: (raw) => Math.exp(Math.min(raw, MOST_LOG_RATE)),
  "negative-binomial": (raw) => Math.exp(Math.min(raw, MOST_LOG_RATE)),
};
