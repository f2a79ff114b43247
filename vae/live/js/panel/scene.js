/**
 * @import { Model } from "../model.js"
 * @import { Points } from "../points.js"
 * @import { Plane, Range } from "../types.d.ts"
 */

/** What the server, or the exported page, has given: the model, the points and the map's plane. */
export class Scene {
  constructor() {
    /** @type {Model | null} */
    this.model = null;
    /** @type {Points | null} */
    this.points = null;
    /** @type {Plane | null} */
    this.plane = null; // none on a layout, which cannot be decoded
    /** @type {Range[]} */
    this.ranges = [];
    /** @type {string[] | null} */
    this.only = null; // the tools that are there, where the panel shows the pictures alone
    this.isOff = true; // nothing can be shown, or the panel has failed
  }

  /** The model, where one is known to be there. */
  get running() {
    return /** @type {Model} */ (this.model);
  }
}
