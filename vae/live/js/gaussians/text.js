// Numbers as the lesson writes them.

/** As `number` of vae/lessons/kl_steps.py writes it. @param {number} value */
export function number(value) {
  const text = Math.abs(value) >= 1e4 ? value.toExponential(3).replace("+", "") : value.toFixed(3);
  return (text === "-0.000" ? "0.000" : text).replace("-", "−").replace("e-", "e−");
}

/** @param {number} value above 0 */
export function short(value) {
  if (value >= 10 && value < 1e5) return value.toFixed(0);
  return value >= 0.01 && value < 10 ? value.toPrecision(2) : value.toExponential(1).replace("+", "");
}

/** @param {number} n */
export const count = (n) => n.toLocaleString("en-US");

/** The round number next above another. @param {number} least */
export function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * ([1, 2, 5].find((step) => step * power >= least) ?? 10);
}
