import { klParts } from "./gaussian.js";

/** @import { Gaussian, Triple } from "./gaussian.js" */

const CHUNK = 2048; // samples between two looks at the clock

/** What draws from `first` say of log(first / second) and of the two quadratic forms, so far. */
export class Sample {
  constructor() {
    /** @type {Float32Array} */
    this.eps = new Float32Array(0);
    this.size = this.n = 0;
    this.sums = new Float64Array(6);
    this.exact = [0, 0, 0];
    this.constant = 0; // the logarithm of the ratio of the determinants
    /** @type {Triple} */
    this.l = [1, 0, 1];
    /** @type {Triple} */
    this.m = [1, 0, 1];
    this.away = [0, 0];
  }

  /** @param {Gaussian} first @param {Gaussian} second @param {Float32Array} eps @param {number} size */
  begin(first, second, eps, size) {
    this.eps = eps;
    this.size = size;
    this.n = 0;
    this.sums.fill(0);
    const parts = klParts(first, second);
    this.constant = parts.log_det_ratio;
    // Sums are of what lies beyond the exact value, so that their squares keep their digits.
    this.exact = [parts.kl, 2, parts.trace + parts.mahalanobis];
    this.l = first.factor;
    this.m = second.factor;
    this.away = [first.mu[0] - second.mu[0], first.mu[1] - second.mu[1]];
  }

  step() {
    const { eps, sums, exact, constant } = this;
    const [l11, l21, l22] = this.l;
    const [m11, m21, m22] = this.m;
    const [dx, dy] = this.away;
    const end = Math.min(this.size, this.n + CHUNK);
    for (let i = this.n; i < end; i++) {
      const e = eps[2 * i];
      const f = eps[2 * i + 1];
      const quadratic1 = e * e + f * f; // of x = mu1 + L1 eps, whatever mu1 and L1 are
      const u = (dx + l11 * e) / m11;
      const v = (dy + l21 * e + l22 * f - m21 * u) / m22;
      const quadratic2 = u * u + v * v;
      const a = (constant - quadratic1 + quadratic2) / 2 - exact[0];
      const b = quadratic1 - exact[1];
      const c = quadratic2 - exact[2];
      sums[0] += a;
      sums[1] += b;
      sums[2] += c;
      sums[3] += a * a;
      sums[4] += b * b;
      sums[5] += c * c;
    }
    this.n = end;
  }

  get left() {
    return this.size - this.n;
  }

  /** Mean and standard error of the log ratio and the two forms. */
  get result() {
    return this.exact.map((value, i) => {
      const off = this.sums[i] / this.n;
      const variance = Math.max(0, (this.sums[3 + i] - this.n * off * off) / (this.n - 1));
      return { mean: value + off, stderr: Math.sqrt(variance / this.n) };
    });
  }
}
