// What arrives as bytes: see vae/live/pack.py.

import { MAGIC } from "./constants.js";

/** @import { Pack, PackHeader } from "./types.d.ts" */

const KINDS = { float32: Float32Array, float16: Uint16Array, uint8: Uint8Array, int32: Int32Array };
const MOST_PACKS = 8; // that are kept

/**
 * A pack's header and arrays. Throws an Error with a sentence.
 *
 * @param {Uint8Array} given
 * @returns {Pack}
 */
export function unpack(given) {
  const bytes = given.byteOffset % 8 ? given.slice() : given; // arrays need their alignment
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (String.fromCharCode(...bytes.subarray(0, MAGIC.length)) !== MAGIC) throw new Error("not a pack");
    const start = 8 + view.getUint32(4, true);
    /** @type {PackHeader} */
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
    /** @type {Pack["arrays"]} */
    const arrays = {};
    for (const [name, { dtype, shape, offset }] of Object.entries(header.arrays)) {
      const Kind = KINDS[/** @type {keyof typeof KINDS} */ (dtype)];
      const count = shape.reduce((a, b) => a * b, 1);
      if (start + offset + count * Kind.BYTES_PER_ELEMENT > bytes.length) throw new Error(`"${name}" is cut short`);
      const array = new Kind(/** @type {ArrayBuffer} */ (bytes.buffer), bytes.byteOffset + start + offset, count);
      arrays[name] = dtype === "float16" ? fromHalf(array) : array;
    }
    return { header, arrays };
  } catch (error) {
    throw new Error("The model's data arrived damaged or cut short; reload the page.", { cause: error });
  }
}

/** @param {ArrayLike<number>} half float16 numbers as their bits */
function fromHalf(half) {
  const out = new Float32Array(half.length);
  for (let i = 0; i < half.length; i++) {
    const sign = half[i] & 0x8000 ? -1 : 1;
    const exponent = (half[i] >> 10) & 31;
    const fraction = half[i] & 1023;
    out[i] = sign * (exponent ? (1 + fraction / 1024) * 2 ** (exponent - 15) : fraction * 2 ** -24);
  }
  return out;
}

/** @type {Map<string, Pack>} */
export const packs = new Map(); // by id, kept for as long as the page lives
/** @type {Set<{packCame: () => void}>} */
export const waiting = new Set(); // panels that lack one

/**
 * Keeps a pack, so that it need never be sent again, and tells the panels that wait for it.
 *
 * @param {Uint8Array} bytes
 */
export function keep(bytes) {
  const pack = unpack(bytes);
  packs.delete(pack.header.id);
  packs.set(pack.header.id, pack);
  for (const id of packs.keys()) {
    if (packs.size <= MOST_PACKS) break;
    packs.delete(id);
  }
  for (const panel of [...waiting]) panel.packCame();
}
