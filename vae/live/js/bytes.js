// Bytes as text.

/** @param {string} base64 */
export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

/** @param {string} base64 */
export function floatsOf(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

/** @param {Uint8Array} bytes */
export function base64Of(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
