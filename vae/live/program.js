/* Runs a network in the browser, as program.py wrote it down, and turns its output into nats.

   A Runner allocates everything once; a run allocates nothing. Sums are kept in double precision
   and stored as float32, so results are a little closer to the exact ones than torch's. */

/** The program and its weights do not fit together; the message is a sentence for the screen. */
export class ProgramError extends Error {
  constructor(message) {
    super(message);
    this.name = "ProgramError";
  }
}

/** A network with its memory.

    header: what Program.header() of program.py gave; weights: Float32Array of header.floats;
    maxBatch: the most inputs that one run may have. Throws ProgramError if they disagree. */
export class Runner {
  constructor(header, weights, maxBatch = 1) {
    checkProgram(header, weights);
    this.header = header;
    this.maxBatch = maxBatch;
    this.inSize = header.sizes[0];
    const registers = header.sizes.map((size) => new Float32Array(size * maxBatch));
    this.input = registers[0];
    this.steps = header.ops.map((op) => OPERATIONS[op.op].prepare(
      op, weights, registers[op.in], registers[op.out], registers[op.with], header.sizes[op.out]));
    this.views = Array.from({ length: maxBatch + 1 }, (_, batch) => header.outputs.map(
      (register) => registers[register].subarray(0, batch * header.sizes[register])));
  }

  /** The outputs, one Float32Array (batch x size) each, in memory that the next run uses again.

      input: Float32Array, at least batch x inSize; throws ProgramError if it is shorter. */
  run(input, batch = 1) {
    if (!(batch >= 1 && batch <= this.maxBatch && input.length >= batch * this.inSize)) {
      throw new ProgramError(
        `a run of ${batch} with ${input.length} numbers: this network takes 1 to ` +
        `${this.maxBatch} inputs at a time, of ${this.inSize} numbers each`);
    }
    const wanted = batch * this.inSize;
    for (let i = 0; i < wanted; i++) this.input[i] = input[i];
    for (const step of this.steps) step(batch);
    return this.views[batch];
  }
}

function checkProgram(header, weights) {
  const fail = (problem) => {
    throw new ProgramError(`The network's program and its weights disagree: ${problem}.`);
  };
  if (weights.length !== header.floats) {
    fail(`the program needs ${header.floats} weights, and ${weights.length} came`);
  }
  for (let i = 0; i < weights.length; i++) {
    if (!Number.isFinite(weights[i])) fail(`weight ${i} is ${weights[i]}`);
  }
  const { sizes, ops } = header;
  if (!sizes.every((size) => Number.isInteger(size) && size > 0)) fail("a register has no size");
  const written = new Set([0]);
  ops.forEach((op, place) => {
    const name = `operation ${place} (${op.op})`;
    const operation = Object.hasOwn(OPERATIONS, op.op) && OPERATIONS[op.op];
    if (!operation) fail(`${name} is unknown to this page`);
    for (const register of [op.in, ...("with" in op ? [op.with] : [])]) {
      if (!written.has(register)) fail(`${name} reads register ${register} before it is written`);
    }
    if (!Number.isInteger(op.out) || op.out >= sizes.length || written.has(op.out)) {
      fail(`${name} cannot write register ${op.out}`);
    }
    written.add(op.out);
    let expected;
    try {
      expected = operation.expects(op, sizes[op.in], sizes[op.out], sizes[op.with]);
    } catch {
      fail(`${name} lacks a part`);
    }
    // A missing number has made NaN, which passes no comparison.
    const { read = sizes[op.in], made = sizes[op.out], parts = {}, ok = true } = expected;
    if (!ok) fail(`${name} does not make sense`);
    if (read !== sizes[op.in]) fail(`${name} reads ${read} numbers of ${sizes[op.in]}`);
    if (made !== sizes[op.out]) fail(`${name} makes ${made} numbers for ${sizes[op.out]}`);
    for (const [part, count] of Object.entries(parts)) {
      const start = op[part];
      if (!(Number.isInteger(start) && start >= 0 && start + count <= header.floats)) {
        fail(`${name} has ${count} numbers of ${part} at ${start}, of ${header.floats} in all`);
      }
    }
  });
  for (const register of header.outputs) {
    if (!written.has(register)) fail(`output register ${register} is never written`);
  }
}

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);

/* Each operation: `expects` says how many numbers it reads, makes and takes from the weights, as
   checkProgram compares; `prepare` returns the function that does it for a batch. */
const OPERATIONS = {
  linear: {
    expects: (op) => ({
      read: op.rows * op.inputs,
      made: op.rows * op.outputs,
      parts: { weight: op.outputs * op.inputs, bias: op.outputs },
    }),
    prepare: ({ rows, inputs, outputs, weight, bias }, weights, x, y) => {
      const w = weights.subarray(weight, weight + outputs * inputs);
      const b = weights.subarray(bias, bias + outputs);
      return (batch) => multiply(w, x, b, y, outputs, batch * rows, inputs, 1, outputs, 0, 0, 0, 0);
    },
  },
  conv: {
    expects: (op) => convExpects(op),
    prepare: prepareConv,
  },
  conv_transpose: {
    expects: (op) => convExpects(op),
    prepare: prepareConvTranspose,
  },
  affine: {
    expects: ({ channels, inner }, _, made) => ({
      read: made,
      ok: made % (channels * inner) === 0,
      parts: { scale: channels, shift: channels },
    }),
    prepare: ({ channels, inner, scale, shift }, weights, x, y, _, size) => (batch) => {
      for (let i = 0, c = 0; i < batch * size; c = (c + 1) % channels) {
        const a = weights[scale + c], b = weights[shift + c];
        for (const end = i + inner; i < end; i++) y[i] = a * x[i] + b;
      }
    },
  },
  normalise: {
    expects: ({ length, eps }, read) => ({ made: read, ok: read % length === 0 && eps >= 0 }),
    prepare: ({ length, eps }, _weights, x, y, _, size) => (batch) => {
      for (let start = 0; start < batch * size; start += length) {
        const end = start + length;
        let mean = 0;
        for (let i = start; i < end; i++) mean += x[i];
        mean /= length;
        let variance = 0;
        for (let i = start; i < end; i++) variance += (x[i] - mean) ** 2;
        const scale = 1 / Math.sqrt(variance / length + eps);
        for (let i = start; i < end; i++) y[i] = (x[i] - mean) * scale;
      }
    },
  },
  resample: {
    expects: ({ channels, from: [H, W], rows, columns }) => ({
      read: channels * H * W,
      made: channels * rows.length * columns.length,
      ok: rows.every((v) => v >= 0 && v <= H - 1) && columns.every((v) => v >= 0 && v <= W - 1),
    }),
    prepare: prepareResample,
  },
  activation: {
    expects: (op, read) => ({ made: read, ok: Object.hasOwn(ACTIVATIONS, op.kind) }),
    prepare: (op, _weights, x, y, _, size) => {
      const apply = ACTIVATIONS[op.kind](op);
      return (batch) => apply(x, y, batch * size);
    },
  },
  gather: {
    expects: ({ index }, read) => ({
      made: index.length,
      ok: index.every((place) => Number.isInteger(place) && place >= 0 && place < read),
    }),
    prepare: ({ index }, _weights, x, y, _, size) => {
      const places = Int32Array.from(index);
      const from = (x.length / y.length) * size;
      return (batch) => {
        for (let b = 0; b < batch; b++) {
          for (let i = 0; i < size; i++) y[b * size + i] = x[b * from + places[i]];
        }
      };
    },
  },
  add: {
    expects: ({ alpha }, read, _made, other) => ({
      made: read, ok: other === read && Number.isFinite(alpha) }),
    prepare: ({ alpha }, _weights, x, y, other, size) => (batch) => {
      for (let i = 0; i < batch * size; i++) y[i] = x[i] + alpha * other[i];
    },
  },
  multiply: {
    expects: (_op, read, _made, other) => ({ made: read, ok: other === read }),
    prepare: (_op, _weights, x, y, other, size) => (batch) => {
      for (let i = 0; i < batch * size; i++) y[i] = x[i] * other[i];
    },
  },
};

/* --- matrices --- */

/* y[m, n] = bias[m] + sum over k of w[m, k] x[n, k] for m < M, n < N, k < K.

   w and x are rows of K numbers, from wAt and xAt; y has the strides yM and yN and starts at yAt.
   Blocks of 4 x 2 results share what they load, and their sums do not wait for one another. */
function multiply(w, x, bias, y, M, N, K, yM, yN, wAt, xAt, bAt, yAt) {
  let m = 0;
  for (; m + 4 <= M; m += 4) {
    const w0 = wAt + m * K, w1 = w0 + K, w2 = w1 + K, w3 = w2 + K;
    const b0 = bias[bAt + m], b1 = bias[bAt + m + 1];
    const b2 = bias[bAt + m + 2], b3 = bias[bAt + m + 3];
    let at = yAt + m * yM;
    let n = 0;
    for (; n + 2 <= N; n += 2, at += 2 * yN) {
      const x0 = xAt + n * K, x1 = x0 + K;
      let s00 = b0, s10 = b1, s20 = b2, s30 = b3, s01 = b0, s11 = b1, s21 = b2, s31 = b3;
      for (let k = 0; k < K; k++) {
        const u = x[x0 + k], v = x[x1 + k];
        const p = w[w0 + k], q = w[w1 + k], r = w[w2 + k], s = w[w3 + k];
        s00 += p * u; s10 += q * u; s20 += r * u; s30 += s * u;
        s01 += p * v; s11 += q * v; s21 += r * v; s31 += s * v;
      }
      y[at] = s00; y[at + yM] = s10; y[at + 2 * yM] = s20; y[at + 3 * yM] = s30;
      const next = at + yN;
      y[next] = s01; y[next + yM] = s11; y[next + 2 * yM] = s21; y[next + 3 * yM] = s31;
    }
    if (n < N) {
      const x0 = xAt + n * K;
      let s0 = b0, s1 = b1, s2 = b2, s3 = b3;
      for (let k = 0; k < K; k++) {
        const u = x[x0 + k];
        s0 += w[w0 + k] * u; s1 += w[w1 + k] * u; s2 += w[w2 + k] * u; s3 += w[w3 + k] * u;
      }
      y[at] = s0; y[at + yM] = s1; y[at + 2 * yM] = s2; y[at + 3 * yM] = s3;
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

/* --- convolutions: a matrix product, with the image cut into patches before or after --- */

function convExpects({ groups, from, to, kernel, stride, padding, dilation }) {
  const taps = product(kernel);
  const whole = [...kernel, ...stride, ...dilation].every((v) => Number.isInteger(v) && v > 0);
  return {
    read: product(from),
    made: product(to),
    ok: whole && padding.every((v) => Number.isInteger(v) && v >= 0) &&
      from[0] % groups === 0 && to[0] % groups === 0,
    parts: { weight: (to[0] * from[0] / groups) * taps, bias: to[0] },
  };
}

/* For each tap of a kernel along one axis: place a of the short side (the output of a convolution,
   the input of a transposed one) meets place a * stride + shift of the long side, and does so on
   it for first <= a < past. */
function tapRanges(taps, stride, padding, dilation, short, long) {
  return Array.from({ length: taps }, (_, tap) => {
    const shift = tap * dilation - padding;
    return {
      shift,
      first: Math.min(short, Math.max(0, Math.ceil(-shift / stride))),
      past: Math.max(0, Math.min(short, Math.floor((long - 1 - shift) / stride) + 1)),
    };
  });
}

function prepareConv(op, weights, x, y) {
  const { groups, from: [C, H, W], to: [D, P, Q], kernel: [kh, kw], stride, padding } = op;
  const { dilation, weight, bias } = op;
  const inputs = C / groups, outputs = D / groups, taps = kh * kw, K = inputs * taps;
  const downs = tapRanges(kh, stride[0], padding[0], dilation[0], P, H);
  const rights = tapRanges(kw, stride[1], padding[1], dilation[1], Q, W);
  const [sh, sw] = stride;
  // (P * Q, K), as the weights; what lies in the padding is written by no one and stays 0.
  const patches = new Float32Array(P * Q * K);
  const cut = (at) => {
    for (let c = 0, k = 0; c < inputs; c++) {
      for (const down of downs) {
        for (const right of rights) {
          for (let p = down.first; p < down.past; p++) {
            const line = at + (c * H + p * sh + down.shift) * W + right.shift;
            const place = p * Q * K + k;
            for (let q = right.first; q < right.past; q++) {
              patches[place + q * K] = x[line + q * sw];
            }
          }
          k++;
        }
      }
    }
  };
  return (batch) => {
    for (let b = 0; b < batch; b++) {
      for (let g = 0; g < groups; g++) {
        cut((b * C + g * inputs) * H * W);
        const d = g * outputs;
        multiply(weights, patches, weights, y, outputs, P * Q, K, P * Q, 1,
          weight + d * K, 0, bias + d, (b * D + d) * P * Q);
      }
    }
  };
}

function prepareConvTranspose(op, weights, x, y) {
  const { groups, from: [C, H, W], to: [D, P, Q], kernel: [kh, kw], stride, padding } = op;
  const { dilation, weight, bias } = op;
  const inputs = C / groups, outputs = D / groups, taps = kh * kw, M = outputs * taps;
  const downs = tapRanges(kh, stride[0], padding[0], dilation[0], H, P);
  const rights = tapRanges(kw, stride[1], padding[1], dilation[1], W, Q);
  const [sh, sw] = stride;
  const pixels = new Float32Array(H * W * inputs); // channels last
  const patches = new Float32Array(M * H * W);
  const none = new Float32Array(M);
  const turn = (at) => {
    for (let c = 0; c < inputs; c++) {
      for (let i = 0; i < H * W; i++) pixels[i * inputs + c] = x[at + c * H * W + i];
    }
  };
  const lay = (d, at) => { // adds the patches of one output channel up
    y.fill(weights[bias + d], at, at + P * Q);
    let m = (d % outputs) * taps;
    for (const down of downs) {
      for (const right of rights) {
        for (let h = down.first; h < down.past; h++) {
          const line = at + (h * sh + down.shift) * Q + right.shift;
          const place = (m * H + h) * W;
          for (let v = right.first; v < right.past; v++) y[line + v * sw] += patches[place + v];
        }
        m++;
      }
    }
  };
  return (batch) => {
    for (let b = 0; b < batch; b++) {
      for (let g = 0; g < groups; g++) {
        turn((b * C + g * inputs) * H * W);
        multiply(weights, pixels, none, patches, M, H * W, inputs, H * W, 1,
          weight + g * M * inputs, 0, 0, 0);
        for (let d = g * outputs; d < (g + 1) * outputs; d++) lay(d, (b * D + d) * P * Q);
      }
    }
  };
}

function prepareResample({ channels, from: [H, W], rows, columns }, _weights, x, y) {
  const split = (coordinates, last) => coordinates.map((v) => {
    const low = Math.floor(v);
    return { low, high: Math.min(low + 1, last), share: v - low };
  });
  const [downs, rights] = [split(rows, H - 1), split(columns, W - 1)];
  return (batch) => {
    let i = 0;
    for (let c = 0; c < batch * channels; c++) {
      for (const down of downs) {
        const above = (c * H + down.low) * W, below = (c * H + down.high) * W;
        for (const { low, high, share } of rights) {
          const top = x[above + low] + share * (x[above + high] - x[above + low]);
          const bottom = x[below + low] + share * (x[below + high] - x[below + low]);
          y[i++] = top + down.share * (bottom - top);
        }
      }
    }
  };
}

/* --- activations --- */

/* Each makes, from its parameters, a loop of its own: shared ones would call back for each number,
   and the browser's compiler inlines no callee that keeps changing. */
const ACTIVATIONS = {
  relu: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : 0;
  },
  leaky_relu: ({ slope }) => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : slope * x[i];
  },
  elu: ({ alpha }) => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] : alpha * Math.expm1(x[i]);
  },
  gelu: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] * normalBelow(x[i]);
  },
  gelu_tanh: () => (x, y, n) => {
    const scale = Math.sqrt(2 / Math.PI);
    for (let i = 0; i < n; i++) {
      const v = x[i];
      y[i] = 0.5 * v * (1 + Math.tanh(scale * (v + 0.044715 * v * v * v)));
    }
  },
  silu: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = x[i] / (1 + Math.exp(-x[i]));
  },
  tanh: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.tanh(x[i]);
  },
  sigmoid: () => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = sigmoid(x[i]);
  },
  softplus: ({ beta, threshold }) => (x, y, n) => {
    for (let i = 0; i < n; i++) {
      const v = beta * x[i];
      y[i] = v > threshold ? x[i] : Math.log1p(Math.exp(v)) / beta;
    }
  },
  clamp: ({ low = -Infinity, high = Infinity }) => (x, y, n) => {
    for (let i = 0; i < n; i++) y[i] = Math.min(Math.max(x[i], low), high);
  },
};

const sigmoid = (v) => 1 / (1 + Math.exp(-v));

/* The standard normal's distribution function, for the exact GELU: cubics between knots 1/64 apart,
   from its value and its density there, which are off by less than 1e-9. */
const KNOTS = 64;
const NORMAL_END = 7; // beyond it lies 1e-12
const NORMAL = (() => {
  const table = new Float64Array(2 * (NORMAL_END * KNOTS + 2));
  for (let i = 0; i < table.length / 2; i++) {
    const v = i / KNOTS;
    const density = Math.exp(-v * v / 2) / Math.sqrt(2 * Math.PI);
    // 1/2 + density (v + v^3/3 + v^5/15 + ...): every term is positive, so no digits are lost.
    let term = v, sum = 0;
    for (let k = 3; term > 1e-17 * sum; k += 2) {
      sum += term;
      term *= v * v / k;
    }
    table[2 * i] = 0.5 + density * sum;
    table[2 * i + 1] = density / KNOTS;
  }
  return table;
})();

function normalBelow(v) {
  const size = Math.abs(v);
  if (!(size < NORMAL_END)) return v < 0 ? 0 : v > 0 ? 1 : NaN;
  const i = (size * KNOTS) | 0;
  const t = size * KNOTS - i;
  const a = NORMAL[2 * i], da = NORMAL[2 * i + 1], b = NORMAL[2 * i + 2], db = NORMAL[2 * i + 3];
  const rise = b - a;
  const above = a + t * (da + t * (3 * rise - 2 * da - db + t * (da + db - 2 * rise)));
  return v < 0 ? 1 - above : above;
}

/* --- terms of the bound, in nats, as vae/gaussian.py and vae/likelihood.py compute them --- */

const LOG_2_PI = Math.log(2 * Math.PI);

/** KL(N(mu, sigma^2), N(0, 1)) of each latent dimension into out, which is returned. Equation (6).

    mu, sigma: D numbers each; sigma above 0. */
export function klPerDim(mu, sigma, out) {
  for (let d = 0; d < mu.length; d++) {
    const logvar = 2 * Math.log(sigma[d]);
    // expm1 keeps the digits that sigma^2 - 1 - logvar loses near the prior.
    out[d] = (Math.expm1(logvar) - logvar + mu[d] * mu[d]) / 2;
  }
  return out;
}

/** log p(x|z), summed over the pixels of x; the raw output of this z starts at offset.

    kind: "bernoulli", "continuous-bernoulli" or "gaussian", whose log-variance is logvarX.
    perPixel: if given, -log p of each pixel is added to it. */
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

const LOG_DENSITIES = {
  "bernoulli": (x, l) => x * l - Math.max(l, 0) - Math.log1p(Math.exp(-Math.abs(l))),
  "continuous-bernoulli": (x, l) => x * l - logPartition(l),
  "gaussian": (x, mean, logvar) =>
    -(LOG_2_PI + logvar + (x - mean) * (x - mean) * Math.exp(-logvar)) / 2,
};

/* log of the integral of exp(l x) over [0, 1], by its Taylor series near 0, where it is 0/0. */
function logPartition(l) {
  const size = Math.abs(l);
  if (size < 0.1) return l / 2 + (l * l) / 24 - l ** 4 / 2880;
  return Math.max(l, 0) + Math.log(-Math.expm1(-size) / size);
}

/** E[x|z] as pixels in [0, 1] into out, which it returns; the raw output starts at offset. */
export function meanImage(kind, raw, offset, out) {
  const mean = MEANS[kind];
  for (let i = 0; i < out.length; i++) {
    out[i] = Math.min(Math.max(mean(raw[offset + i]), 0), 1);
  }
  return out;
}

const MEANS = {
  "bernoulli": sigmoid,
  "continuous-bernoulli": (l) =>
    Math.abs(l) < 0.1 ? 0.5 + l / 12 - l ** 3 / 720 : -1 / Math.expm1(-l) - 1 / l,
  "gaussian": (mean) => mean,
};
