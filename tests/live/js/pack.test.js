import assert from "node:assert/strict";
import { test } from "node:test";
import { base64Of, bytesOf, floatsOf } from "../../../vae/live/js/bytes.js";
import { keep, packs, unpack, waiting } from "../../../vae/live/js/pack.js";

/** A pack as vae/live/pack.py states its format. */
function packed(header, arrays) {
  const entries = {};
  let offset = 0;
  for (const [name, { dtype, data }] of Object.entries(arrays)) {
    entries[name] = { dtype, shape: [data.length], offset };
    offset += Math.ceil(data.byteLength / 8) * 8;
  }
  const text = JSON.stringify({ ...header, arrays: entries });
  const head = new TextEncoder().encode(text + " ".repeat((8 - ((text.length + 8) % 8)) % 8));
  const bytes = new Uint8Array(8 + head.length + offset);
  bytes.set(new TextEncoder().encode("ELBO"));
  new DataView(bytes.buffer).setUint32(4, head.length, true);
  bytes.set(head, 8);
  for (const [name, { data }] of Object.entries(arrays)) {
    bytes.set(new Uint8Array(data.buffer), 8 + head.length + entries[name].offset);
  }
  return bytes;
}

const WHOLE = packed(
  { id: "one" },
  {
    floats: { dtype: "float32", data: Float32Array.of(1.5, -2.25, 1e-30) },
    halves: { dtype: "float16", data: Uint16Array.of(0x3c00, 0xc000, 0x7bff, 0x0001, 0x8000) },
    bytes: { dtype: "uint8", data: Uint8Array.of(0, 7, 255) },
    whole: { dtype: "int32", data: Int32Array.of(-(2 ** 31), 2 ** 31 - 1) },
  },
);

test("every array comes back as it was, halves as floats", () => {
  const { header, arrays } = unpack(WHOLE);
  assert.equal(header.id, "one");
  assert.deepEqual(arrays.floats, Float32Array.of(1.5, -2.25, 1e-30));
  assert.deepEqual(arrays.halves, Float32Array.of(1, -2, 65504, 2 ** -24, -0));
  assert.deepEqual(arrays.bytes, Uint8Array.of(0, 7, 255));
  assert.deepEqual(arrays.whole, Int32Array.of(-(2 ** 31), 2 ** 31 - 1));
});

test("a pack may lie anywhere in what arrived", () => {
  const within = new Uint8Array(WHOLE.length + 3);
  within.set(WHOLE, 3);
  assert.deepEqual(unpack(within.subarray(3)).arrays.floats, Float32Array.of(1.5, -2.25, 1e-30));
});

test("a damaged pack is refused in a sentence", () => {
  const header = 8 + new DataView(WHOLE.buffer).getUint32(4, true);
  const cuts = [0, 3, 7, 8, 100, header, header + 10, WHOLE.length - 8].map((cut) => WHOLE.slice(0, cut));
  const altered = (from, to) => new TextEncoder().encode(new TextDecoder("latin1").decode(WHOLE).replace(from, to));
  const long = WHOLE.slice();
  long.fill(255, 4, 8);
  for (const bytes of [...cuts, altered("ELBO", "PKBO"), altered("float32", "float31"), long]) {
    assert.throws(() => keep(bytes), { message: /^The model's data [^.]*; reload the page\.$/ });
  }
});

test("the eight newest packs are kept, and those who wait are told", () => {
  const told = [];
  waiting.add({ packCame: () => told.push([...packs.keys()].at(-1)) });
  const ids = Array.from({ length: 10 }, (_, i) => `pack ${i}`);
  for (const id of ids) keep(packed({ id }, {}));
  waiting.clear();
  assert.deepEqual([...packs.keys()], ids.slice(2));
  assert.deepEqual(told, ids);
});

test("bytes survive being written as text", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(bytesOf(base64Of(bytes)), bytes);
  const floats = Float32Array.of(0.1, -3e8);
  assert.deepEqual(floatsOf(base64Of(new Uint8Array(floats.buffer))), floats);
});
