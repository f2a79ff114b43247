// The operations of a program in WGSL, the language of graphics cards: a shader for each, into which
// its sizes are written. What the operations mean stands in vae/live/program.py.

/** @import { Operation } from "../types.d.ts" */

const LANES = 64; // threads of a group
const MOST = 3.4028234e38; // WGSL has no infinity

const HEAD = `
@group(0) @binding(0) var<storage, read> w: array<f32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> other: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> batch: u32;
`;

/**
 * @typedef {object} Shader
 * @property {string} code
 * @property {Float32Array<any>} [table] what it reads as `other`
 * @property {(batch: number) => number} groupsOf groups of threads for a batch
 */

/**
 * @param {Operation} op
 * @param {number[]} sizes of the registers
 * @returns {Shader}
 */
export function shaderOf(op, sizes) {
  const [from, size] = [sizes[op.in], sizes[op.out]];
  const rows = ROWS[op.op]?.(op, size);
  if (rows) return { code: rowShader(rows), groupsOf: (batch) => batch * rows.count };
  const { body, table } = NUMBERS[op.op](op, from, size);
  return { code: numberShader(body, size), table, groupsOf: (batch) => Math.ceil((batch * size) / LANES) };
}

/** A thread for each number of the result: `body` returns number i of input b, which lies at `at`. */
const numberShader = (/** @type {string} */ body, /** @type {number} */ size) => `${HEAD}
fn value(b: u32, i: u32, at: u32) -> f32 {
  ${body}
}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let at = (group.y * groups.x + group.x) * ${LANES}u + local.x;
  if (at < batch * ${size}u) { y[at] = value(at / ${size}u, at % ${size}u, at); }
}
`;

/** A function that joins a number of each thread of a group into one, which all of them get. */
const together = (/** @type {string} */ name, /** @type {(a: string, b: string) => string} */ joined) => `
fn ${name}(lane: u32, mine: f32) -> f32 {
  parts[lane] = mine;
  workgroupBarrier();
  for (var width = ${LANES / 2}u; width > 0u; width >>= 1u) {
    if (lane < width) { parts[lane] = ${joined("parts[lane]", "parts[lane + width]")}; }
    workgroupBarrier();
  }
  let all = parts[0];
  workgroupBarrier();
  return all;
}`;

/** A group of threads for each row, which add up together: `body` writes row number `row`. */
const rowShader = (/** @type {{count: number, body: string}} */ { count, body }) => `${HEAD}
var<workgroup> parts: array<f32, ${LANES}>;
${together("sum", (a, b) => `${a} + ${b}`)}
${together("largest", (a, b) => `max(${a}, ${b})`)}
@compute @workgroup_size(${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_id) local: vec3u) {
  let row = group.y * groups.x + group.x;
  let lane = local.x;
  if (row >= batch * ${count}u) { return; }
  ${body}
}
`;

/** @type {Record<string, (op: Operation, size: number) => {count: number, body: string}>} */
const ROWS = {
  linear: ({ rows, inputs, outputs, weight, bias }) => ({
    count: rows * outputs,
    body: `
  let o = row % ${outputs}u;
  let start = (row / ${outputs}u) * ${inputs}u;
  var mine = 0.0;
  for (var k = lane; k < ${inputs}u; k += ${LANES}u) { mine += w[${weight}u + o * ${inputs}u + k] * x[start + k]; }
  let all = sum(lane, mine);
  if (lane == 0u) { y[row] = w[${bias}u + o] + all; }`,
  }),
  normalise: ({ length, eps }, size) => ({
    count: size / length,
    body: `
  let start = row * ${length}u;
  var mine = 0.0;
  for (var k = lane; k < ${length}u; k += ${LANES}u) { mine += x[start + k]; }
  let mean = sum(lane, mine) / ${length}.0;
  mine = 0.0;
  for (var k = lane; k < ${length}u; k += ${LANES}u) { mine += (x[start + k] - mean) * (x[start + k] - mean); }
  let scale = 1.0 / sqrt(sum(lane, mine) / ${length}.0 + f32(${eps}));
  for (var k = lane; k < ${length}u; k += ${LANES}u) { y[start + k] = (x[start + k] - mean) * scale; }`,
  }),
  softmax: ({ length }, size) => ({
    count: size / length,
    body: `
  let start = row * ${length}u;
  var mine = ${-MOST};
  for (var k = lane; k < ${length}u; k += ${LANES}u) { mine = max(mine, x[start + k]); }
  let most = largest(lane, mine);
  mine = 0.0;
  for (var k = lane; k < ${length}u; k += ${LANES}u) { mine += exp(x[start + k] - most); }
  let all = sum(lane, mine);
  for (var k = lane; k < ${length}u; k += ${LANES}u) { y[start + k] = exp(x[start + k] - most) / all; }`,
  }),
};

/** @type {Record<string, (op: Operation, from: number, size: number) => {body: string, table?: Float32Array<any>}>} */
const NUMBERS = {
  conv: (op) => {
    const { bias, weight, C, H, W, D, P, Q, KH, KW, inputs, sh, sw, pt, pl, dh, dw } = dimensionsOf(op);
    return {
      body: `
  let d = i / ${P * Q}u;
  let corner = vec2i(vec2u((i / ${Q}u) % ${P}u, i % ${Q}u) * vec2u(${sh}u, ${sw}u)) - vec2i(${pt}, ${pl});
  let first = b * ${C}u + d / ${D / op.groups}u * ${inputs}u;
  var all = w[${bias}u + d];
  for (var down = 0; down < ${KH}; down++) {
    let h = corner.x + down * ${dh};
    if (h < 0 || h >= ${H}) { continue; }
    for (var right = 0; right < ${KW}; right++) {
      let v = corner.y + right * ${dw};
      if (v < 0 || v >= ${W}) { continue; }
      let tap = u32(down * ${KW} + right);
      for (var c = 0u; c < ${inputs}u; c++) {
        all += w[${weight}u + (d * ${inputs}u + c) * ${KH * KW}u + tap] * x[((first + c) * ${H}u + u32(h)) * ${W}u + u32(v)];
      }
    }
  }
  return all;`,
    };
  },
  conv_transpose: (op) => {
    const { bias, weight, C, H, W, D, P, Q, KH, KW, inputs, sh, sw, pt, pl, dh, dw } = dimensionsOf(op);
    return {
      body: `
  let d = i / ${P * Q}u;
  let place = vec2i(vec2u((i / ${Q}u) % ${P}u, i % ${Q}u)) + vec2i(${pt}, ${pl});
  let first = b * ${C}u + d / ${D / op.groups}u * ${inputs}u;
  var all = w[${bias}u + d];
  for (var down = 0; down < ${KH}; down++) {
    let h = place.x - down * ${dh};
    if (h < 0 || h % ${sh} != 0 || h / ${sh} >= ${H}) { continue; }
    for (var right = 0; right < ${KW}; right++) {
      let v = place.y - right * ${dw};
      if (v < 0 || v % ${sw} != 0 || v / ${sw} >= ${W}) { continue; }
      let taps = ${weight}u + (d * ${KH * KW}u + u32(down * ${KW} + right)) * ${inputs}u;
      for (var c = 0u; c < ${inputs}u; c++) {
        all += w[taps + c] * x[((first + c) * ${H}u + u32(h / ${sh})) * ${W}u + u32(v / ${sw})];
      }
    }
  }
  return all;`,
    };
  },
  affine: ({ channels, inner, scale, shift }) => ({
    body: `let c = (i / ${inner}u) % ${channels}u; return w[${scale}u + c] * x[at] + w[${shift}u + c];`,
  }),
  resample: ({ channels, from: [H, W], rows, columns }) => ({
    table: Float32Array.from([...rows, ...columns]),
    body: `
  let c = b * ${channels}u + i / ${rows.length * columns.length}u;
  let down = other[(i / ${columns.length}u) % ${rows.length}u];
  let right = other[${rows.length}u + i % ${columns.length}u];
  let h = u32(down);
  let v = u32(right);
  let above = (c * ${H}u + h) * ${W}u;
  let below = (c * ${H}u + min(h + 1u, ${H - 1}u)) * ${W}u;
  let next = min(v + 1u, ${W - 1}u);
  let top = mix(x[above + v], x[above + next], fract(right));
  return mix(top, mix(x[below + v], x[below + next], fract(right)), fract(down));`,
  }),
  activation: (op) => ({ body: `let v = x[at]; ${ACTIVATION_SHADERS[op.kind](op)}` }),
  gather: ({ index }, from) => ({
    table: Float32Array.from(index), // exact to 2^24 places, which no register has here
    body: `return x[b * ${from}u + u32(other[i])];`,
  }),
  concat: (_op, from, size) => ({
    body: `
  if (i < ${from}u) { return x[b * ${from}u + i]; }
  return other[b * ${size - from}u + i - ${from}u];`,
  }),
  add: ({ alpha }) => ({ body: `return x[at] + f32(${alpha}) * other[at];` }),
  multiply: () => ({ body: "return x[at] * other[at];" }),
};

/** The sizes of a convolution, by their usual letters. */
function dimensionsOf(/** @type {Operation} */ op) {
  const [C, H, W] = op.from;
  const [D, P, Q] = op.to;
  const [[KH, KW], [sh, sw], [pt, pl], [dh, dw]] = [op.kernel, op.stride, op.padding, op.dilation];
  return { bias: op.bias, weight: op.weight, C, H, W, D, P, Q, KH, KW, inputs: C / op.groups, sh, sw, pt, pl, dh, dw };
}

// Of v. Cards may give anything where exp overflows, so that is kept from it.
const SIGMOID = "1.0 / (1.0 + exp(-clamp(v, -80.0, 80.0)))";

/** @type {Record<string, (op: Operation) => string>} */
const ACTIVATION_SHADERS = {
  relu: () => "return max(v, 0.0);",
  leaky_relu: ({ slope }) => `return select(f32(${slope}) * v, v, v > 0.0);`,
  // exp(v) - 1 has no digits left near 0.
  elu: ({ alpha }) => `
  let near = v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v / 24.0)));
  let below = select(exp(min(v, 0.0)) - 1.0, near, abs(v) < 0.03);
  return select(f32(${alpha}) * below, v, v > 0.0);`,
  // Of the normal distribution function: 7.1.26 of Abramowitz & Stegun (1964), off by 1e-7 at most.
  gelu: () => `
  let t = 1.0 / (1.0 + 0.3275911 * abs(v) * 0.70710678);
  let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let beyond = 0.5 * tail * exp(-min(v * v / 2.0, 80.0));
  return v * select(beyond, 1.0 - beyond, v > 0.0);`,
  gelu_tanh: () => `
  return 0.5 * v * (1.0 + tanh(clamp(0.79788456 * (v + 0.044715 * v * v * v), -15.0, 15.0)));`,
  silu: () => `return select(v * (${SIGMOID}), 0.0, v < -80.0);`,
  tanh: () => "return tanh(clamp(v, -15.0, 15.0));",
  sigmoid: () => `return ${SIGMOID};`,
  softplus: ({ beta, threshold }) => `
  let s = f32(${beta}) * v;
  let e = exp(min(s, 80.0));
  let soft = select(log(1.0 + e), e * (1.0 - e / 2.0), e < 1e-3);
  return select(select(soft, s, s > 80.0) / f32(${beta}), v, s > f32(${threshold}));`,
  log: () => "return log(v);",
  clamp: ({ low = -Infinity, high = Infinity }) =>
    `return clamp(v, f32(${Math.max(low, -MOST)}), f32(${Math.min(high, MOST)}));`,
};
