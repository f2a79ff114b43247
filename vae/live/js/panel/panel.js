import { bytesOf, floatsOf } from "../bytes.js";
import { button, el, onEscape } from "../dom.js";
import { MapLayer } from "../map/map.js";
import { Model } from "../model.js";
import { packs, waiting } from "../pack.js";
import { samePoint } from "../point.js";
import { asRead, Points } from "../points.js";
import { klPerDim } from "../program/terms.js";
import { Best } from "./best.js";
import { Bound } from "./bound.js";
import { Classes } from "./classes.js";
import { Coach } from "./coach.js";
import { Drawing } from "./drawing.js";
import { Frames } from "./frames.js";
import { Machine } from "./machine.js";
import { Plot } from "./plot.js";
import { Rows } from "./rows.js";
import { Samples } from "./samples.js";
import { Scene } from "./scene.js";
import { Selection } from "./selection.js";
import { Sender } from "./sender.js";
import { Settings } from "./settings.js";
import { TourBar } from "./tour_bar.js";
import { Words } from "./words.js";

/**
 * @import { Asker } from "../remote.js"
 * @import { Host, Point, Shared, Told } from "../types.d.ts"
 */

const SLOWED =
  "This browser does not run WebAssembly, so this model decodes several times slower than it could; " +
  "another browser, or its settings, would help.";

/** Everything beside the map, and the map's layers: the parts, and the order in which they draw. */
export class Panel {
  /**
   * @param {HTMLElement | ShadowRoot} root where it is drawn
   * @param {Host} host findPlot() -> the Plotly chart or null; send(name, value): to whoever
   *   listens, where names are "hand" (what the hand set), "point" (an index), "best", "drawn",
   *   "need" (pack ids), "problem", "view" (of the map, see map/view.js); can(name) -> whether somebody answers that
   */
  constructor(root, host) {
    this.host = host;
    this.scene = new Scene();
    this.frames = new Frames(this);
    this.selection = new Selection(this.frames);
    this.sender = new Sender(host, this.scene, this.selection, () => ({
      ...this.settings.values,
      ...this.classes.message,
    }));
    this.words = new Words(host.can("drawn"));
    this.settings = new Settings(this.frames, this.scene, this.sender, this.words);
    this.classes = new Classes(this.frames, this.scene, this.selection, this.sender);
    /** @type {Shared} */
    this.shared = {
      words: this.words,
      ...{ host, scene: this.scene, selection: this.selection, settings: this.settings, classes: this.classes },
      ...{ frames: this.frames, sender: this.sender, say: (sentence) => this.say(sentence) },
    };
    /** @type {Told | null} */
    this.told = null;
    this.kl = new Float64Array(0);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.asking = undefined;
    this.problem = el("div", { class: "problem", role: "status", hidden: "" });
    this.drawing = new Drawing(
      this.shared,
      () => this.showPoint(),
      () => this.backToPoint(false),
    );
    this.best = new Best(this.shared, this.drawing);
    this.samples = new Samples(this.shared);
    this.plot = new Plot(this.shared);
    this.bound = new Bound(this.shared, this.best, this.samples, this.plot);
    this.rows = new Rows(this.shared);
    this.machine = new Machine(this.shared, this.drawing, this.rows, this.plot);
    this.tour = new TourBar(this.shared);
    this.coach = new Coach(this.shared);
    this.machine.tools.append(this.coach.button);
    this.body = this.build();
    this.element = el("div", { class: "live" }, this.problem, this.body, this.words.note);
    root.append(this.element);
    this.map = new MapLayer(this.shared, this.tour.way, this.clicks(), this.element);
    this.listening = new AbortController();
    onEscape(() => this.words.hide() || this.sender.cancel() || this.tour.stop(), this.listening.signal);
    this.resizes = new ResizeObserver(() => this.frames.wake("q"));
    this.resizes.observe(this.element);
  }

  build() {
    const back = button("Encoder's q", () => this.backToPoint(true), { title: "back to the encoder's mu and sigma" });
    this.bound.buttons.append(back);
    const { bound, drawing, machine, rows, samples, settings, tour } = this;
    const body = el("div", { class: "body", hidden: "" }, machine.headline, machine.element, drawing.tools);
    body.append(this.classes.element, rows.details, bound.element, this.plot.element);
    body.append(samples.picture.canvas, settings.element, tour.element, this.coach.element);
    return body;
  }

  clicks() {
    return {
      choose: (/** @type {number} */ index) => this.choose(index),
      settle: (/** @type {Float64Array} */ mu, /** @type {number} */ time) => {
        this.settings.stopFollowing();
        this.selection.moveTo(mu, time);
        this.sender.send();
      },
      addStop: (/** @type {Float64Array | null} */ z) => this.tour.add(z),
    };
  }

  /** Takes what the server, or the exported page, says; never what the hand has since changed. */
  setData(/** @type {Told} */ told) {
    this.told = told;
    this.refresh(told);
  }

  /** Once more, when a pack has come. */
  packCame() {
    if (this.told) this.refresh(this.told);
  }

  /** @param {Told} told */
  refresh(told) {
    const { scene } = this;
    const model = packs.get(told.model);
    const points = told.points === null ? undefined : packs.get(told.points);
    this.waitFor([told.model, told.points].filter((id) => id !== null && !packs.has(id)));
    if (!model) return;
    try {
      if (scene.model?.id !== told.model) this.setModel(new Model(model, this.listener()));
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error));
      return;
    }
    const { D, n } = scene.running;
    if (scene.points?.mu !== points?.arrays.mu) scene.points = points ? new Points(points, D, n) : null;
    scene.plane = told.plane;
    scene.ranges = told.ranges;
    scene.isOff = false;
    scene.only = told.only ?? null;
    this.element.classList.toggle("plain", scene.only !== null);
    this.element.dataset.tools = (scene.only ?? []).join(" ");
    this.rows.build();
    this.settings.take(told.settings);
    const isOtherClass = this.classes.take(told.classes);
    this.takePoint(told.point, told.q ?? told.point, isOtherClass);
    this.classes.give();
    const slow = scene.running.isSlowed ? SLOWED : "";
    const problem = this.best.take(told.best) || (told.problem ?? "") || slow;
    this.map.takeTheme();
    this.say(problem);
    this.settings.show();
    this.drawing.show();
    this.showPoint();
    this.coach.greet();
    this.frames.wake("q", "map", "hover", "tiles");
  }

  /** Asks for packs that have not come for a while. @param {(string | null)[]} lacking */
  waitFor(lacking) {
    waiting.delete(this);
    if (!lacking.length) return;
    waiting.add(this);
    this.say("");
    clearTimeout(this.asking);
    this.asking = setTimeout(() => waiting.has(this) && this.host.send("need", lacking), 1500);
  }

  /** What a model's worker tells. */
  listener() {
    return {
      answered: (/** @type {Asker} */ asker, /** @type {number} */ ms) => {
        if (asker === "mean" || asker === "hover") this.frames.came(ms);
        this.frames.wake(asker);
      },
      failed: (/** @type {string} */ sentence) => {
        this.say(sentence);
        this.frames.wake("q", "hover", "tiles");
      },
    };
  }

  /** @param {Model} model */
  setModel(model) {
    this.drawing.close();
    this.scene.model?.close();
    this.scene.model = model;
    this.kl = new Float64Array(model.D);
    this.bound.begin(model);
    this.plot.begin(model);
    this.words.kind = model.look.kind;
    this.element.classList.toggle("measured", !model.look.isImage);
    this.selection.begin(model.D);
    this.tour.forget();
    this.machine.mean.canvas.width = 0;
  }

  /** Takes the point that the server tells of, and its q unless the hand chose that very point. */
  takePoint(/** @type {Point} */ point, /** @type {{mu: number[], sigma: number[]}} */ q, isOtherClass = false) {
    const { scene, selection } = this;
    const wasEncoders = isOtherClass && selection.isEncoders;
    const wasChosenHere = scene.points !== null && samePoint(point.id, selection.chosen);
    const isSame = samePoint(point.id, selection.id);
    selection.point = point;
    this.sender.sendOwed();
    if (isSame && wasEncoders) selection.take(q);
    if (!isSame && !wasChosenHere) {
      selection.chosen = null;
      if (!selection.drawing) selection.take(q);
    }
    if (!isSame || !selection.image) {
      const read = scene.running.look.isImage ? bytesOf : floatsOf;
      selection.image = point.x ? asRead(read(point.x)) : (scene.points?.imageOf(point.id.index) ?? null);
    }
    selection.eps = typeof point.eps === "string" ? floatsOf(point.eps) : (point.eps ?? null);
  }

  /** A click on a data point: q is its posterior at once, the rest follows from the server. */
  choose(/** @type {number} */ index) {
    const { scene, selection } = this;
    const id = selection.id;
    if (!id) return;
    selection.touch();
    if (this.settings.stopFollowing()) this.sender.send();
    this.drawing.close();
    selection.chosen = { ...id, index };
    if (scene.points) {
      selection.image = null; // of another point until the server has answered
      selection.take(scene.points.qOf(index));
    }
    this.classes.give();
    this.host.send("point", index);
  }

  /** @param {boolean} always also while the pad is open */
  backToPoint(always) {
    const { selection } = this;
    const to = selection.encoderQ ?? (selection.drawing ? null : selection.point);
    if (!to || (!always && selection.drawing)) return;
    selection.take(to);
    this.sender.send();
  }

  /** One sentence above the panel; "" for none. */
  say(/** @type {string} */ sentence) {
    this.problem.textContent = sentence;
    this.problem.hidden = !sentence;
  }

  /** The panel stops; the page around it lives on. */
  fail(/** @type {string} */ sentence) {
    this.scene.isOff = true;
    this.body.hidden = true;
    this.tour.stop();
    this.say(sentence);
    this.map.draw();
    this.map.layTiles();
    this.host.send("problem", sentence);
  }

  showPoint() {
    if (!this.selection.point) return;
    this.body.hidden = false;
    this.machine.show();
    this.frames.wake("q");
  }

  // --- what Frames asks for

  isOpen() {
    return !this.scene.isOff && this.scene.model !== null;
  }

  /** @param {Set<string>} dirty @param {number} now */
  draw(dirty, now) {
    if (dirty.has("drawing")) this.drawing.encode();
    this.tour.tick(now);
    this.coach.look();
    try {
      if (dirty.has("q")) this.drawQ();
      else if (dirty.has("mean")) this.machine.drawMean();
      if (dirty.has("map") || dirty.has("q")) this.map.draw();
      if (dirty.has("hover") || (dirty.has("map") && this.selection.hover)) this.map.drawHover();
    } catch (error) {
      console.error(error);
      this.fail(`The model cannot be run in this browser: ${error instanceof Error ? error.message : error}`);
      return false;
    }
    return true;
  }

  drawQ() {
    const { q } = this.selection;
    const hasGrown = [this.machine.fit(), this.bound.fit(), this.plot.fit()].some(Boolean);
    if (this.samples.fit() || hasGrown) this.bound.restart();
    this.machine.draw();
    this.rows.draw(klPerDim(q.mu, q.sigma, this.kl));
    this.bound.estimate();
    this.drawing.draw();
  }

  /** @param {Set<string>} dirty */
  lay(dirty) {
    const { model, plane } = this.scene;
    const D = model?.D ?? 0;
    const isFixed = plane?.dims?.length === D || D <= 2;
    const hasMoved = dirty.has("q") && !isFixed && this.settings.values.manifold;
    if (dirty.has("map") || dirty.has("tiles") || hasMoved) this.map.layTiles();
  }

  /** Under a long drag samples may never be done: the manifold has its turns between. */
  work(/** @type {number} */ budget) {
    this.isTilesTurn = !this.isTilesTurn;
    if (this.isTilesTurn && this.map.tiles.paint()) return true;
    return this.bound.work(budget) || this.map.tiles.paint();
  }

  isTilesTurn = false;

  cost() {
    return this.bound.own.cost;
  }

  /** @param {boolean} moved */
  finish(moved) {
    if (moved) this.bound.show();
    this.plot.draw();
  }

  /** Whether nothing is left to be drawn. */
  get isAtRest() {
    const { frames, map, scene } = this;
    const isStill = frames.frame === null && !frames.dirty.size && !scene.model?.isBusy;
    return isStill && !map.tiles.missing.length && this.bound.isDone;
  }

  destroy() {
    waiting.delete(this);
    clearTimeout(this.asking);
    this.listening.abort();
    this.scene.isOff = true;
    this.sender.destroy();
    this.frames.destroy();
    this.resizes.disconnect();
    this.scene.model?.close();
    this.map.destroy();
    this.element.remove();
  }
}
