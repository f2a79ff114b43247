/**
 * y[m, n] = bias[m] + sum over k of w[m, k] x[n, k] for m < M, n < N, k < K.
 *
 * w and x are rows of K numbers, from wAt and xAt; y has the strides yM and yN and starts at yAt.
 * Blocks of 4 x 2 results share what they load, and their sums do not wait for one another.
 *
 * @param {Float32Array} w
 * @param {Float32Array} x
 * @param {Float32Array} bias
 * @param {Float32Array} y
 * @param {number} M
 * @param {number} N
 * @param {number} K
 * @param {number} yM
 * @param {number} yN
 * @param {number} wAt
 * @param {number} xAt
 * @param {number} bAt
 * @param {number} yAt
 */
export function multiply(w, x, bias, y, M, N, K, yM, yN, wAt, xAt, bAt, yAt) {
  let m = 0;
  for (; m + 4 <= M; m += 4) {
    const w0 = wAt + m * K,
      w1 = w0 + K,
      w2 = w1 + K,
      w3 = w2 + K;
    const b0 = bias[bAt + m],
      b1 = bias[bAt + m + 1];
    const b2 = bias[bAt + m + 2],
      b3 = bias[bAt + m + 3];
    let at = yAt + m * yM;
    let n = 0;
    for (; n + 2 <= N; n += 2, at += 2 * yN) {
      const x0 = xAt + n * K,
        x1 = x0 + K;
      let s00 = b0,
        s10 = b1,
        s20 = b2,
        s30 = b3,
        s01 = b0,
        s11 = b1,
        s21 = b2,
        s31 = b3;
      for (let k = 0; k < K; k++) {
        const u = x[x0 + k],
          v = x[x1 + k];
        const p = w[w0 + k],
          q = w[w1 + k],
          r = w[w2 + k],
          s = w[w3 + k];
        s00 += p * u;
        s10 += q * u;
        s20 += r * u;
        s30 += s * u;
        s01 += p * v;
        s11 += q * v;
        s21 += r * v;
        s31 += s * v;
      }
      y[at] = s00;
      y[at + yM] = s10;
      y[at + 2 * yM] = s20;
      y[at + 3 * yM] = s30;
      const next = at + yN;
      y[next] = s01;
      y[next + yM] = s11;
      y[next + 2 * yM] = s21;
      y[next + 3 * yM] = s31;
    }
    if (n < N) {
      const x0 = xAt + n * K;
      let s0 = b0,
        s1 = b1,
        s2 = b2,
        s3 = b3;
      for (let k = 0; k < K; k++) {
        const u = x[x0 + k];
        s0 += w[w0 + k] * u;
        s1 += w[w1 + k] * u;
        s2 += w[w2 + k] * u;
        s3 += w[w3 + k] * u;
      }
      y[at] = s0;
      y[at + yM] = s1;
      y[at + 2 * yM] = s2;
      y[at + 3 * yM] = s3;
    }
  }
  for (; m < M; m++) {
    for (let n = 0; n < N; n++) {
      let sum = bias[bAt + m];
      for (let k = 0; k < K; k++) sum += w[wAt + m * K + k] * x[xAt + n * K + k];
      y[yAt + m * yM + n * yN] = sum;
    }
  }
}
