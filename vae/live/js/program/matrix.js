/**
 * @typedef {object} Products as a Memory has them: those of this file, or what does the same
 * @property {typeof multiplyRows} multiplyRows
 * @property {typeof multiply} multiply
 */

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
export function multiplyRows(w, x, bias, y, M, N, K, yM, yN, wAt, xAt, bAt, yAt) {
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

/**
 * y[m, n] = bias[m] + sum over k of w[m, k] x[k, n] for m < M, n < N, k < K; all are rows without
 * gaps. As `multiplyRows`, for what lies the other way.
 *
 * @param {Float32Array} w
 * @param {Float32Array} x
 * @param {Float32Array} bias
 * @param {Float32Array} y
 * @param {number} M
 * @param {number} N
 * @param {number} K
 * @param {number} wAt
 * @param {number} xAt
 * @param {number} bAt
 * @param {number} yAt
 */
export function multiply(w, x, bias, y, M, N, K, wAt, xAt, bAt, yAt) {
  for (let n = 0; n < N; n += 2) {
    const pair = n + 1 < N ? 1 : 0; // else the last column is done twice
    let m = 0;
    for (; m + 4 <= M; m += 4) {
      const w0 = wAt + m * K,
        w1 = w0 + K,
        w2 = w1 + K,
        w3 = w2 + K;
      let s00 = bias[bAt + m],
        s10 = bias[bAt + m + 1],
        s20 = bias[bAt + m + 2],
        s30 = bias[bAt + m + 3];
      let s01 = s00,
        s11 = s10,
        s21 = s20,
        s31 = s30;
      for (let k = 0, at = xAt + n; k < K; k++, at += N) {
        const u = x[at],
          v = x[at + pair];
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
      const at = yAt + m * N + n;
      y[at] = s00;
      y[at + N] = s10;
      y[at + 2 * N] = s20;
      y[at + 3 * N] = s30;
      y[at + pair] = s01;
      y[at + N + pair] = s11;
      y[at + 2 * N + pair] = s21;
      y[at + 3 * N + pair] = s31;
    }
    for (; m < M; m++) {
      let s0 = bias[bAt + m],
        s1 = s0;
      for (let k = 0, at = xAt + n; k < K; k++, at += N) {
        s0 += w[wAt + m * K + k] * x[at];
        s1 += w[wAt + m * K + k] * x[at + pair];
      }
      y[yAt + m * N + n] = s0;
      y[yAt + m * N + n + pair] = s1;
    }
  }
}
