// Two Gaussians in the plane: the arithmetic.

/**
 * @import { Pair } from "../types.d.ts"
 * @typedef {[number, number, number]} Triple a covariance [s11, s12, s22], or its factor
 * @typedef {{sigma: Pair, angle: number}} Ellipse two axes and the angle of the first
 * @typedef {{mu: Pair, cov: Triple}} Moments
 * @typedef {{mu: Pair, cov: [Pair, Pair]}} Plain as Python has it
 */

/** One Gaussian: its covariance, and the same as an ellipse. */
export class Gaussian {
  /** @param {"P" | "Q"} name */
  constructor(name) {
    this.name = name;
    /** @type {Pair} */
    this.mu = [0, 0];
    /** @type {Triple} */
    this.cov = [1, 0, 1];
    /** @type {Pair} */
    this.sigma = [1, 1];
    this.angle = 0;
  }

  /** @param {Moments} moments @param {Ellipse} ellipse the same covariance */
  take({ mu, cov }, { sigma, angle } = ellipseOf(cov)) {
    this.mu = [...mu];
    this.cov = [...cov];
    this.sigma = sigma;
    this.angle = angle;
  }

  /** @param {Pair} sigma @param {number} angle */
  setAxes(sigma, angle) {
    this.sigma = [...sigma];
    this.angle = angle;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const [a, b] = [sigma[0] ** 2, sigma[1] ** 2];
    this.cov = [a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c];
  }

  /** The direction of an axis, 0 or 1. @param {number} axis @returns {Pair} */
  direction(axis) {
    const [c, s] = [Math.cos(this.angle), Math.sin(this.angle)];
    return axis ? [-s, c] : [c, s];
  }

  /** [l11, l21, l22] of the Cholesky factor. @returns {Triple} */
  get factor() {
    const [a, b, c] = this.cov;
    const l11 = Math.sqrt(a);
    const l21 = b / l11;
    return [l11, l21, Math.sqrt(c - l21 * l21)];
  }

  /** How many sigmas a point is away from the mean. @param {Pair} point */
  distance([x, y]) {
    const [l11, l21, l22] = this.factor;
    const u = (x - this.mu[0]) / l11;
    return Math.hypot(u, (y - this.mu[1] - l21 * u) / l22);
  }

  /** @returns {Plain} */
  get plain() {
    const [a, b, c] = this.cov;
    return {
      mu: [...this.mu],
      cov: [
        [a, b],
        [b, c],
      ],
    };
  }
}

/** @param {Triple} cov @returns {Ellipse} */
export function ellipseOf([a, b, c]) {
  const middle = (a + c) / 2;
  const spread = Math.hypot((a - c) / 2, b);
  const long = middle + spread;
  // Of the two roots the smaller by the determinant: the difference would lose its digits.
  const short = (a * c - b * b) / long;
  const angle = spread > 1e-12 * middle ? Math.atan2(2 * b, a - c) / 2 : 0;
  return { sigma: [Math.sqrt(long), Math.sqrt(short)], angle };
}

/**
 * The same ellipse can be written with its axes exchanged or turned by half a turn: the way that is
 * nearest to how another one is written.
 *
 * @param {Ellipse} from
 * @param {Ellipse} to
 * @returns {Ellipse}
 */
export function nearestEllipse(from, { sigma, angle }) {
  const turned = (/** @type {number} */ to) => to + Math.PI * Math.round((from.angle - to) / Math.PI);
  const far = (/** @type {Ellipse} */ way) =>
    Math.abs(way.angle - from.angle) + Math.abs(Math.log(way.sigma[0] / from.sigma[0]));
  /** @type {Ellipse} */
  const same = { sigma, angle: turned(angle) };
  /** @type {Ellipse} */
  const exchanged = { sigma: [sigma[1], sigma[0]], angle: turned(angle - Math.PI / 2) };
  return far(same) <= far(exchanged) + 1e-9 ? same : exchanged;
}

/** The four terms of equation (5) for KL(first, second), and their half sum. */
export function klParts(/** @type {Gaussian} */ first, /** @type {Gaussian} */ second) {
  const [l11, l21, l22] = first.factor;
  const [m11, m21, m22] = second.factor;
  const log_det_ratio = 2 * (Math.log(m11) + Math.log(m22) - Math.log(l11) - Math.log(l22));
  const a = l11 / m11;
  const b = (l21 - m21 * a) / m22;
  const trace = a * a + b * b + (l22 / m22) ** 2;
  const u = (first.mu[0] - second.mu[0]) / m11;
  const v = (first.mu[1] - second.mu[1] - m21 * u) / m22;
  const mahalanobis = u * u + v * v;
  return { log_det_ratio, minus_k: -2, trace, mahalanobis, kl: (log_det_ratio - 2 + trace + mahalanobis) / 2 };
}
