/**
 * The drawing as the data's own preparation would have made it, (H, W) in [0, 1].
 *
 * "mnist": the ink is scaled into a box of 20 of 28 pixels and its centre of mass put in the middle
 * (LeCun et al., 1998). "digits": scaled to fill a 32 x 32 bitmap, then counted in 4 x 4 blocks
 * (Alpaydin & Kaynak, 1998). "plane": as it stands.
 *
 * @param {Float32Array} ink (side, side) in [0, 1]
 * @param {number} side
 * @param {string} kind
 * @param {number} H
 * @param {number} W
 */
export function prepare(ink, side, kind, H, W) {
  let [left, top, right, bottom] = [side, side, -1, -1];
  for (let i = 0; i < side * side; i++) {
    if (ink[i] < 0.1) continue;
    const [x, y] = [i % side, (i / side) | 0];
    [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
  }
  const out = new Float32Array(H * W);
  if (right < 0) return out;
  if (kind === "plane") return average(ink, side, 0, 0, side / W, side / H, out, H, W);
  const [w, h] = [right - left + 1, bottom - top + 1];
  if (kind === "digits") {
    const step = Math.max(w, h) / (4 * Math.max(H, W)); // ink pixels in one of the bitmap's
    const bitmap = new Float32Array(16 * H * W);
    average(ink, side, left + w / 2 - 2 * W * step, top + h / 2 - 2 * H * step, step, step, bitmap, 4 * H, 4 * W);
    for (let i = 0; i < bitmap.length; i++) {
      const [x, y] = [(i % (4 * W)) >> 2, (i / (4 * W)) >> 2];
      if (bitmap[i] >= 0.5) out[y * W + x] += 1 / 16;
    }
    return out;
  }
  const step = Math.max(w, h) / (Math.min(H, W) * (20 / 28));
  let [mass, mx, my] = [0, 0, 0];
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      const v = ink[y * side + x];
      mass += v;
      mx += v * (x + 0.5);
      my += v * (y + 0.5);
    }
  }
  return average(ink, side, mx / mass - (W / 2) * step, my / mass - (H / 2) * step, step, step, out, H, W);
}

/**
 * Box averages: the cell (i, j) of out covers stepX x stepY of ink from (x0, y0) on.
 *
 * @param {Float32Array} ink
 * @param {number} side
 * @param {number} x0
 * @param {number} y0
 * @param {number} stepX
 * @param {number} stepY
 * @param {Float32Array} out
 * @param {number} H
 * @param {number} W
 */
function average(ink, side, x0, y0, stepX, stepY, out, H, W) {
  for (let j = 0; j < H; j++) {
    for (let i = 0; i < W; i++) {
      const [ax, bx, ay, by] = [x0 + i * stepX, x0 + (i + 1) * stepX, y0 + j * stepY, y0 + (j + 1) * stepY];
      let sum = 0;
      for (let y = Math.max(0, Math.floor(ay)); y < Math.min(side, by); y++) {
        const wy = Math.min(by, y + 1) - Math.max(ay, y);
        for (let x = Math.max(0, Math.floor(ax)); x < Math.min(side, bx); x++) {
          sum += ink[y * side + x] * wy * (Math.min(bx, x + 1) - Math.max(ax, x));
        }
      }
      out[j * W + i] = Math.min(1, sum / (stepX * stepY));
    }
  }
  return out;
}

/**
 * A drawn line as a series of n values on the standardised axis, which the pad spans from top to bottom.
 *
 * Of several heights in a column the middle counts; what lies between drawn columns is joined straight, and
 * the ends go on as they are.
 *
 * @param {Float32Array} ink (side, side) in [0, 1]
 * @param {number} side
 * @param {number} n
 */
export function lineOfInk(ink, side, n) {
  /** @type {[number, number][]} */
  const drawn = []; // column and height
  for (let x = 0; x < side; x++) {
    let [mass, sum] = [0, 0];
    for (let y = 0; y < side; y++) {
      mass += ink[y * side + x];
      sum += ink[y * side + x] * (y + 0.5);
    }
    if (mass > 0.5) drawn.push([x + 0.5, sum / mass]);
  }
  const out = new Float32Array(n);
  if (!drawn.length) return out;
  for (let i = 0, k = 0; i < n; i++) {
    const x = ((i + 0.5) * side) / n;
    while (k < drawn.length - 2 && drawn[k + 1][0] < x) k++;
    const [x0, y0] = drawn[k];
    const [x1, y1] = drawn[Math.min(k + 1, drawn.length - 1)];
    const share = x1 > x0 ? Math.min(Math.max((x - x0) / (x1 - x0), 0), 1) : 0;
    out[i] = 3 - (6 * (y0 + share * (y1 - y0))) / side;
  }
  return out;
}
