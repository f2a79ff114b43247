/** @import { PointId } from "./types.d.ts" */

/**
 * Whether two points are one: of the same data, seen through the same run.
 *
 * @param {PointId | null} a
 * @param {PointId | null} b
 */
export function samePoint(a, b) {
  if (!a || !b) return a === b;
  return a.run === b.run && a.data === b.data && a.split === b.split && a.index === b.index;
}
