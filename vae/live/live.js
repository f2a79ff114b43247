// The live panel: a model that runs in the page, drawn while it is dragged.
//
// common.js and program.js stand in front of this file; together they are one ES module. The
// Panel knows nothing of Streamlit: a `host` tells it where the chart is and takes what is to be
// sent away. The default export at the end is Streamlit's adapter; an exported page has its own.

const MOST_SAMPLES = 64;
const BATCH = 4; // decodes that share one reading of the weights
// Where a browser tells of the pointer between frames, what is drawn is where it now is.
const MOVES = "onpointerrawupdate" in globalThis ? ["pointermove", "pointerrawupdate"] : ["pointermove"];
const SIGMA_LEAST = 1e-6;
const PLASMA = ["#41049d", "#6a00a8", "#8f0da4", "#b12a90", "#cc4778", "#e16462", "#f2844b", "#fca636"];

// --- what arrives as bytes --------------------------------------------------------------------

/** A pack's header and arrays; see vae/live/pack.py. Throws an Error with a sentence. */
export function unpack(given) {
  const bytes = given.byteOffset % 8 ? given.slice() : given; // arrays need their alignment
  try {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (String.fromCharCode(...bytes.subarray(0, 4)) !== "ELBO") throw new Error("not a pack");
    const start = 8 + view.getUint32(4, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
    const arrays = {};
    for (const [name, { dtype, shape, offset }] of Object.entries(header.arrays)) {
      const Kind = { float32: Float32Array, float16: Uint16Array, uint8: Uint8Array, int32: Int32Array }[dtype];
      const count = shape.reduce((a, b) => a * b, 1);
      if (start + offset + count * Kind.BYTES_PER_ELEMENT > bytes.length) throw new Error(`"${name}" is cut short`);
      const array = new Kind(bytes.buffer, bytes.byteOffset + start + offset, count);
      arrays[name] = dtype === "float16" ? fromHalf(array) : array;
    }
    return { header, arrays };
  } catch (error) {
    throw new Error("The model's data arrived damaged or cut short; reload the page.", { cause: error });
  }
}

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

export function floatsOf(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

export function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
}

const packs = new Map(); // id -> pack, kept for as long as the page lives
const waiting = new Set(); // panels that lack one

/** Keeps a pack, so that it need never be sent again, and tells the panels that wait for it. */
export function keep(bytes) {
  const pack = unpack(bytes);
  packs.delete(pack.header.id);
  packs.set(pack.header.id, pack);
  while (packs.size > 8) packs.delete(packs.keys().next().value);
  for (const panel of [...waiting]) panel.refresh();
}

/** A model ready to run; several panels may share a pack, but not a runner's memory. */
class Model {
  constructor({ header, arrays }) {
    this.id = header.id;
    this.D = header.latent_dim;
    [this.C, this.H, this.W] = header.image_shape;
    this.n = this.C * this.H * this.W;
    this.kind = header.likelihood;
    this.logvarX = header.logvar_x;
    this.drawing = header.drawing;
    this.decoder = new Runner(header.decoder, arrays.decoder, BATCH);
    this.encoder = header.encoder ? new Runner(header.encoder, arrays.encoder) : null;
    this.image = new Float32Array(this.n);
  }

  /** E[x|z] as pixels, in memory that the next call uses again. */
  mean(z) {
    const [raw] = this.decoder.run(z, 1);
    meanImage(this.kind, raw, 0, this.image);
    return this.image;
  }

  /** mu and sigma of q(z|x). */
  encode(x) {
    const [mu, logvar] = this.encoder.run(x, 1);
    return { mu: Float64Array.from(mu), sigma: Float64Array.from(logvar, (v) => Math.exp(v / 2)) };
  }
}

// --- pictures ---------------------------------------------------------------------------------

/** A canvas that shows images of C x H x W in [0, 1], each pixel a square unless smoothed. */
class Picture {
  constructor(label, className = "") {
    this.canvas = el("canvas", { role: "img", "aria-label": label, class: className });
    this.scratch = document.createElement("canvas");
  }

  /** Sets the drawing surface in device pixels; drawing starts afresh. */
  resize(width, height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 3);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width === w && this.canvas.height === h) return false;
    [this.canvas.width, this.canvas.height] = [w, h];
    return true;
  }

  clear() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  /** Draws the image into a rectangle given in shares of the canvas. */
  draw(pixels, [C, H, W], smooth = false, [x, y, w, h] = [0, 0, 1, 1]) {
    if (this.scratch.width !== W || this.scratch.height !== H || !this.data) {
      [this.scratch.width, this.scratch.height] = [W, H];
      this.data = new ImageData(W, H);
    }
    paint(pixels, C, H * W, this.data.data);
    this.scratch.getContext("2d").putImageData(this.data, 0, 0);
    const context = this.canvas.getContext("2d");
    const { width, height } = this.canvas;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.scratch, x * width, y * height, w * width, h * height);
  }

  /** Draws values (H, W) in the colours for nats, from 0 to `most`. */
  drawNats(values, H, W, most) {
    if (!this.data || this.scratch.width !== W || this.scratch.height !== H) {
      [this.scratch.width, this.scratch.height] = [W, H];
      this.data = new ImageData(W, H);
    }
    const out = new Uint32Array(this.data.data.buffer);
    const last = NATS_COLOURS.length - 1;
    for (let i = 0; i < H * W; i++) {
      out[i] = NATS_COLOURS[Math.max(0, Math.min(last, Math.round((values[i] / most) * last)))];
    }
    this.scratch.getContext("2d").putImageData(this.data, 0, 0);
    const context = this.canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(this.scratch, 0, 0, this.canvas.width, this.canvas.height);
  }
}

const NATS_COLOURS = scale(PLASMA, 256);

function scale(stops, n) {
  const rgb = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
  return Uint32Array.from({ length: n }, (_, i) => {
    const at = (i / (n - 1)) * (rgb.length - 1);
    const k = Math.min(rgb.length - 2, Math.floor(at));
    const [r, g, b] = rgb[k].map((v, c) => Math.round(v + (at - k) * (rgb[k + 1][c] - v)));
    return (255 << 24) | (b << 16) | (g << 8) | r;
  });
}

function paint(pixels, C, area, out) {
  const words = new Uint32Array(out.buffer);
  if (C === 1) {
    for (let i = 0; i < area; i++) {
      const v = (pixels[i] * 255 + 0.5) | 0;
      words[i] = 0xff000000 | (v * 0x010101);
    }
    return;
  }
  for (let i = 0; i < area; i++) {
    const [r, g, b] = [pixels[i], pixels[area + i], pixels[2 * area + i]];
    words[i] = 0xff000000 | (((b * 255 + 0.5) | 0) << 16) | (((g * 255 + 0.5) | 0) << 8) | ((r * 255 + 0.5) | 0);
  }
}

// --- what is estimated by sampling ------------------------------------------------------------

/**
 * The reconstruction term of q(mu, sigma) over S samples, in steps that fit a frame's budget.
 *
 * When q changes it goes on with the sample it had come to, so that under a long drag every sample
 * has its turn and what is drawn is always of the newest q.
 */
class Estimate {
  constructor(model) {
    this.model = model;
    this.z = new Float32Array(BATCH * model.D);
    this.values = new Float64Array(MOST_SAMPLES);
    this.perPixel = new Float32Array(model.n);
    this.next = 0;
    this.left = 0;
  }

  /** Begins anew for q; x is null where there is no image to compare with. */
  begin(mu, sigma, eps, S, x) {
    if (x !== this.x || S !== this.S) this.seen = 0; // how many of the values are of this image
    Object.assign(this, { mu, sigma, eps, S, x, left: S });
    this.next %= S;
    this.perPixel.fill(0);
  }

  /** The same, unless that is what it has been doing. */
  beginIfNew(...what) {
    const names = ["mu", "sigma", "eps", "S", "x"];
    if (names.some((name, i) => this[name] !== what[i])) this.begin(...what);
  }

  /** Decodes as many samples at once as `budget` ms allow, one at least; show(sample, raw, offset). */
  step(budget, show) {
    const { model, z } = this;
    const start = performance.now();
    const fitting = this.cost ? Math.max(1, Math.floor(budget / this.cost)) : 1;
    const batch = Math.min(BATCH, fitting, this.left, this.S - this.next);
    for (let b = 0; b < batch; b++) {
      for (let d = 0; d < model.D; d++) {
        z[b * model.D + d] = this.mu[d] + this.sigma[d] * this.eps[(this.next + b) * model.D + d];
      }
    }
    const [raw] = model.decoder.run(z, batch);
    for (let b = 0; b < batch; b++) {
      if (this.x) {
        this.values[this.next + b] = -logLikelihood(
          model.kind, this.x, raw, b * model.n, model.logvarX, this.perPixel);
      }
      show?.(this.next + b, raw, b * model.n);
    }
    this.next = (this.next + batch) % this.S;
    this.left -= batch;
    this.seen += batch;
    this.cost = 0.7 * (this.cost ?? 0) + 0.3 * ((performance.now() - start) / batch);
  }

  /**
   * recon and its standard error, in nats, once all samples are in. With `rolling` each sample may
   * be of the q it was last decoded for, a few frames ago: what a moving number shows.
   */
  result(rolling = false) {
    if (!this.x || (this.left && !(rolling && this.seen >= this.S))) return null;
    let mean = 0;
    for (let s = 0; s < this.S; s++) mean += this.values[s] / this.S;
    let squares = 0;
    for (let s = 0; s < this.S; s++) squares += (this.values[s] - mean) ** 2;
    return { recon: mean, stderr: this.S > 1 ? Math.sqrt(squares / (this.S - 1) / this.S) : NaN };
  }
}

// --- the map ----------------------------------------------------------------------------------

/** What lies over and under the real Plotly chart: q, its handles, the decode under the pointer. */
class MapLayer {
  constructor(panel) {
    this.panel = panel;
    this.plot = null;
    this.pointer = null; // where it is over the map, in pixels of the plot area
    this.tiles = new Map();
    this.build();
    this.watch = setInterval(() => this.attach(), 250); // a rerun may have made another chart
    this.attach();
  }

  build() {
    this.under = el("canvas", { class: "elbo-manifold", style: "position:absolute;pointer-events:none;opacity:.65" });
    this.thumb = new Picture("decoded under the pointer");
    this.thumbText = el("div", {
      style: "font:12px var(--st-font, sans-serif);padding:2px 0 0;text-align:center;white-space:nowrap" });
    this.thumbX = new Picture("x of the point nearest to the pointer");
    this.thumbBox = el("div", { class: "elbo-thumb", hidden: "",
      style: "position:absolute;padding:5px;border-radius:6px;pointer-events:none;" +
             "background:var(--st-background-color,#fff);color:var(--st-text-color,#222);" +
             "box-shadow:0 1px 8px rgba(0,0,0,.35);will-change:transform;left:0;top:0" },
      el("div", { style: "display:flex;gap:4px;justify-content:center" }, this.thumb.canvas),
      this.thumbText);
    for (const { canvas } of [this.thumb, this.thumbX]) Object.assign(canvas.style, { borderRadius: "3px" });
    this.ellipses = [];
    this.drawing = document.createElementNS(SVG, "svg");
    this.drawing.setAttribute("style", "position:absolute;inset:0;width:100%;height:100%;overflow:hidden");
    this.rings = [1, 2, 3].map((radius) => {
      // The chart's own rings lie under the points, where a dense map hides them.
      const line = shape("ellipse", { fill: "none", stroke: PRIOR_COLOUR, "stroke-width": 1.2, "stroke-dasharray": "1.5 3.5" });
      return { line, radius };
    });
    this.planar = shape("g", {});
    this.planar.append(...this.rings.map(({ line }) => line));
    this.path = shape("polyline", { fill: "none", stroke: Q_COLOUR, "stroke-width": 1.5, "stroke-dasharray": "2 4" });
    this.planar.append(this.path);
    for (const [colour, width] of [[HALO, 5], [Q_COLOUR, 2.5]]) {
      for (const radius of [1, 2]) {
        const line = shape("ellipse", { fill: "none", stroke: colour, "stroke-width": width });
        this.ellipses.push({ line, radius });
        this.planar.append(line);
      }
    }
    // On a layout: the chosen point, the one nearest to mu, and the one nearest to the pointer.
    this.marks = {
      chosen: [[HALO, 5], [Q_COLOUR, 2.5]].map(([stroke, width]) =>
        shape("circle", { class: "elbo-chosen", r: 9, fill: "none", stroke, "stroke-width": width })),
      near: [shape("circle", { class: "elbo-near", r: 5, fill: Q_COLOUR, stroke: "#fff", "stroke-width": 1.5 })],
      hovered: [[HALO, 4], ["currentColor", 1.5]].map(([stroke, width]) =>
        shape("circle", { class: "elbo-hovered", r: 7, fill: "none", stroke, "stroke-width": width })),
    };
    this.leader = shape("line", { stroke: "currentColor", "stroke-width": 1, "stroke-dasharray": "2 3" });
    this.drawing.append(this.planar, this.leader, ...Object.values(this.marks).flat());
    this.handles = ["mu", "sigma x", "sigma y"].map((name, i) => this.handle(name, i));
    this.stops = el("div", { style: "position:absolute;inset:0" });
    const style = el("style", {}, ".elbo-handle:focus{outline:none}.elbo-handle:focus-visible>div{outline:2px solid currentColor;outline-offset:2px}");
    this.over = el("div", { class: "elbo-map", style: "position:absolute;pointer-events:none;overflow:hidden;z-index:3" },
      style, this.drawing, this.stops, ...this.handles, this.thumbBox);
  }

  handle(name, i) {
    const size = i ? 12 : 16;
    const dot = el("div", { style:
      `position:absolute;inset:${(30 - size) / 2}px;box-sizing:border-box;border-radius:${i ? "3px" : "50%"};` +
      `background:${i ? "#fff" : Q_COLOUR};border:2.5px solid ${i ? Q_COLOUR : "#fff"};` +
      "box-shadow:0 0 3px rgba(0,0,0,.5)" });
    const cursor = ["move", "ew-resize", "ns-resize"][i];
    const label = ["the mean of q: drag it, or use the arrow keys", "sigma along x", "sigma along y"][i];
    const handle = el("div", { class: "elbo-handle", "data-handle": name, tabindex: "0", role: "slider",
      "aria-label": label, "aria-valuenow": "0", title: label,
      style: `position:absolute;left:-15px;top:-15px;width:30px;height:30px;pointer-events:auto;touch-action:none;` +
             `cursor:${cursor};will-change:transform` }, dot);
    // The chart must not see these: it would pan under the hand.
    for (const type of ["mousedown", "touchstart", "click", "dblclick"]) {
      handle.addEventListener(type, (event) => event.stopPropagation());
    }
    handle.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      event.stopPropagation();
      handle.focus({ preventScroll: true, focusVisible: false });
      handle.setPointerCapture(event.pointerId);
      this.held = i;
      if (i) this.grabbed = { sigma: this.panel.q.sigma[this.panel.plane.dims[i - 1]], away: this.distanceOfHandle(i) };
      this.panel.grab();
    });
    handle.addEventListener("pointermove", (event) => {
      if (this.held !== i) return;
      const [x, y] = this.toArea(event);
      this.moveHandle(i, x, y, event.timeStamp);
    });
    const release = () => {
      if (this.held !== i) return;
      this.held = this.grabbed = null;
      this.panel.release();
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("lostpointercapture", release);
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 20 : 4;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      const [x, y] = this.placeOfHandle(i);
      this.moveHandle(i, x + by[0], y + by[1], event.timeStamp);
      this.panel.emit();
    });
    return handle;
  }

  /** Sigma's handle stands at 1 sigma, but never so near that it hides the handle of mu. */
  distanceOfHandle(i) {
    const sigma = this.panel.q.sigma[this.panel.plane.dims[i - 1]];
    return Math.max(24, sigma * Math.abs(i === 1 ? this.scaleX() : this.scaleY()));
  }

  placeOfHandle(i) {
    const [x, y] = this.toPixels(this.panel.q.mu);
    if (i === 1) return [x + this.distanceOfHandle(1), y];
    if (i === 2) return [x, y - this.distanceOfHandle(2)];
    return [x, y];
  }

  moveHandle(i, x, y, time) {
    const { q, plane } = this.panel;
    if (i === 0) {
      this.panel.moveTo(this.toLatent(x, y), time);
      return;
    }
    const [x0, y0] = this.toPixels(q.mu);
    const d = plane.dims[i - 1];
    const away = Math.max(2, i === 1 ? x - x0 : y0 - y);
    // Twice as far from mu is twice the sigma, whatever the handle's first distance was.
    const sigma = (this.grabbed?.sigma ?? q.sigma[d]) * (away / (this.grabbed?.away ?? this.distanceOfHandle(i)));
    this.panel.set("sigma", d, Math.max(sigma, 0.001), time);
  }

  /** Finds the chart, and its layers if a rerun has thrown them away. */
  attach() {
    const plot = this.panel.host.findPlot();
    const box = plot?.querySelector(".svg-container");
    if (!box || !plot._fullLayout?.xaxis?.p2d || !plot._fullLayout._size) return;
    if (plot !== this.plot) {
      this.detach();
      this.plot = plot;
      this.listeners = new AbortController();
      const options = { signal: this.listeners.signal };
      for (const move of MOVES) plot.addEventListener(move, (event) => this.onMove(event), options);
      plot.addEventListener("pointerleave", () => this.onLeave(), options);
      plot.addEventListener("pointerdown", (event) => this.onDown(event), { ...options, capture: true });
      document.addEventListener("pointerup", (event) => this.onUp(event), { ...options, capture: true });
      this.redraw = () => this.panel.wake("map");
      for (const event of ["plotly_relayouting", "plotly_relayout", "plotly_afterplot"]) {
        plot.on(event, this.redraw);
      }
      this.sizes = new ResizeObserver(this.redraw);
      this.sizes.observe(box);
    }
    if (this.over.parentNode !== box) {
      // First, so that the chart's own drawing, points and rings, lies over the manifold.
      box.prepend(this.under);
      box.append(this.over);
      this.panel.wake("map");
    }
    if (this.key() !== this.drawnAt) this.panel.wake("map");
  }

  detach() {
    this.listeners?.abort();
    this.sizes?.disconnect();
    if (this.plot?.removeListener) {
      for (const event of ["plotly_relayouting", "plotly_relayout", "plotly_afterplot"]) {
        this.plot.removeListener(event, this.redraw);
      }
    }
    this.under.remove();
    this.over.remove();
    this.plot = null;
  }

  destroy() {
    clearInterval(this.watch);
    this.detach();
  }

  get axes() {
    const { xaxis, yaxis } = this.plot._fullLayout;
    return [xaxis, yaxis];
  }

  key() {
    if (!this.plot?._fullLayout?.xaxis) return "";
    const [x, y] = this.axes;
    return [...x.range, ...y.range, x._offset, y._offset, x._length, y._length].join();
  }

  scaleX() {
    const [x] = this.axes;
    return x._length / (x.range[1] - x.range[0]);
  }

  scaleY() {
    const [, y] = this.axes;
    return y._length / (y.range[1] - y.range[0]);
  }

  /** Pixels of the plot area for a pointer event. */
  toArea(event) {
    const box = this.plot.querySelector(".svg-container").getBoundingClientRect();
    const zoom = box.width / this.plot.querySelector(".svg-container").offsetWidth || 1;
    const [x, y] = this.axes;
    return [(event.clientX - box.left) / zoom - x._offset, (event.clientY - box.top) / zoom - y._offset];
  }

  inside([px, py]) {
    const [x, y] = this.axes;
    return px >= 0 && py >= 0 && px <= x._length && py <= y._length;
  }

  /** Where a latent point stands, in pixels of the plot area; a layout has no such place. */
  toPixels(z) {
    const { origin, directions } = this.panel.plane;
    const at = directions.map((v) => v.reduce((sum, c, d) => sum + c * (z[d] - origin[d]), 0));
    const [x, y] = this.axes;
    return [(at[0] - x.range[0]) * this.scaleX(), (y.range[1] - at[1]) * this.scaleY()];
  }

  /** The latent point under a pixel; directions that the map does not show stay as in q. */
  toLatent(px, py, mu = this.panel.q.mu) {
    const { directions } = this.panel.plane;
    const [x0, y0] = this.toPixels(mu);
    const [dx, dy] = [(px - x0) / this.scaleX(), (y0 - py) / this.scaleY()];
    return Float64Array.from(mu, (v, d) => v + dx * directions[0][d] + dy * directions[1][d]);
  }

  onMove(event) {
    if (this.panel.off || event.pointerType === "touch" || this.held != null) return;
    const at = this.toArea(event);
    const target = event.target;
    const free = this.inside(at) && !target.closest?.(".modebar, .legend, .elbo-handle");
    this.pointer = free ? at : null;
    if (this.panel.follow && free && !event.buttons) {
      const mu = this.panel.plane ? this.toLatent(...at) : this.panel.muOf(this.nearest(at));
      if (mu) this.panel.moveTo(mu, event.timeStamp);
    }
    this.panel.wake("hover", event.timeStamp);
  }

  onLeave() {
    this.pointer = null;
    this.panel.wake("hover");
    if (this.panel.follow && !this.panel.off) this.panel.emit();
  }

  onDown(event) {
    this.down = event.target.closest?.(".nsewdrag") && event.isPrimary ? [event.clientX, event.clientY] : null;
  }

  onUp(event) {
    if (!this.down || this.panel.off || event.button > 0) return;
    const moved = Math.hypot(event.clientX - this.down[0], event.clientY - this.down[1]);
    this.down = null;
    if (moved > 5) return;
    const at = this.toArea(event);
    if (!this.inside(at)) return;
    const { panel } = this;
    const touch = event.pointerType === "touch";
    if (!panel.plane) {
      // While q follows the pointer it is that of the nearest point already, however far.
      const index = this.nearest(at, panel.follow ? Infinity : touch ? 14 : 7);
      if (index === null) return;
      if (event.shiftKey) panel.addStop(panel.muOf(index));
      else panel.choose(index);
      return;
    }
    const index = this.nearest(at, touch ? 14 : 7);
    if (event.shiftKey) panel.addStop(index === null ? this.toLatent(...at) : panel.muOf(index));
    else if (index !== null && !panel.follow) panel.choose(index);
    else panel.settle(this.toLatent(...at), event.timeStamp);
  }

  /** The visible data points: x and y in the axes' units, their indices, and where each index is. */
  get seen() {
    const traces = this.plot._fullData; // Plotly makes another array when anything of it changes
    if (this.seenOf === traces) return this.seenPoints;
    this.seenOf = traces;
    const shown = traces.filter((trace) => trace.visible === true && trace.customdata);
    const n = shown.reduce((sum, trace) => sum + trace.x.length, 0);
    const [x, y, index] = [new Float64Array(n), new Float64Array(n), new Int32Array(n)];
    let offset = 0;
    for (const trace of shown) {
      x.set(trace.x, offset);
      y.set(trace.y, offset);
      index.set(trace.customdata, offset);
      offset += trace.x.length;
    }
    const at = new Map();
    index.forEach((which, i) => at.set(which, i));
    return (this.seenPoints = { n, x, y, index, at });
  }

  /** The index of the visible data point nearest to a pixel and within `reach` of it, or null. */
  nearest([px, py], reach = Infinity) {
    const [xaxis, yaxis] = this.axes;
    const [sx, sy] = [this.scaleX(), this.scaleY()];
    const [x0, y0] = [xaxis.range[0] + px / sx, yaxis.range[1] - py / sy];
    const { n, x, y, index } = this.seen;
    let [best, found] = [reach * reach, -1];
    for (let i = 0; i < n; i++) {
      const dx = (x[i] - x0) * sx;
      const dy = (y[i] - y0) * sy;
      const distance = dx * dx + dy * dy;
      if (distance < best) {
        best = distance;
        found = i;
      }
    }
    return found < 0 ? null : index[found];
  }

  /** Where a data point stands, in pixels of the plot area; null if it is not drawn. */
  placeOf(index) {
    const { x, y, at } = this.seen;
    const i = at.get(index);
    if (i === undefined) return null;
    const [xaxis, yaxis] = this.axes;
    return [(x[i] - xaxis.range[0]) * this.scaleX(), (yaxis.range[1] - y[i]) * this.scaleY()];
  }

  /** Puts a mark on a data point, or away. */
  mark(name, index) {
    const place = index == null ? null : this.placeOf(index);
    for (const circle of this.marks[name]) {
      circle.style.display = place ? "" : "none";
      if (place) circle.setAttribute("transform", `translate(${place})`);
    }
    return place;
  }

  /** The chart lies outside the panel: its layer is given the panel's colours. */
  takeTheme() {
    const style = getComputedStyle(this.panel.element);
    for (const name of ["--st-background-color", "--st-text-color", "--st-font"]) {
      this.over.style.setProperty(name, style.getPropertyValue(name));
    }
  }

  /** Draws q, its handles and the tour's stops where the axes now are. */
  draw() {
    if (!this.plot?._fullLayout?.xaxis) return;
    const { panel } = this;
    const [x, y] = this.axes;
    const area = { left: `${x._offset}px`, top: `${y._offset}px`, width: `${x._length}px`, height: `${y._length}px` };
    Object.assign(this.over.style, area);
    Object.assign(this.under.style, area);
    this.drawnAt = this.key();
    const hidden = panel.off || !panel.q;
    const { plane } = panel;
    this.drawing.style.display = hidden ? "none" : "";
    // On a layout only data points have a place: q, the prior and the tour have none.
    for (const part of [this.planar, this.stops, ...this.handles]) part.style.display = hidden || !plane ? "none" : "";
    if (hidden) {
      this.thumbBox.hidden = true;
      return;
    }
    if (!this.pointer) this.markHovered(null);
    this.mark("chosen", plane ? null : panel.chosenIndex);
    this.mark("near", plane ? null : panel.nearestTo(panel.q.mu));
    if (!plane) return;
    const [cx, cy] = this.toPixels(panel.q.mu);
    const [rx, ry, angle] = this.axesOfEllipse(panel.q.sigma);
    for (const { line, radius } of this.ellipses) {
      line.setAttribute("rx", Math.min(radius * rx, 1e5));
      line.setAttribute("ry", Math.min(radius * ry, 1e5));
      line.setAttribute("transform", `translate(${cx} ${cy}) rotate(${angle})`);
    }
    const [ox, oy] = this.toPixels(new Float64Array(panel.q.mu.length));
    for (const { line, radius } of this.rings) {
      line.setAttribute("rx", radius * this.scaleX());
      line.setAttribute("ry", radius * this.scaleY());
      line.setAttribute("transform", `translate(${ox} ${oy})`);
    }
    const { dims } = panel.plane;
    this.handles.forEach((handle, i) => {
      handle.hidden = i > 0 && !(dims && dims.length >= i);
      if (handle.hidden) return;
      handle.style.pointerEvents = panel.follow ? "none" : "auto"; // q lies under the pointer then
      const [hx, hy] = this.placeOfHandle(i);
      handle.style.transform = `translate(${hx}px,${hy}px)`;
      handle.setAttribute("aria-valuenow", i ? panel.q.sigma[dims[i - 1]].toFixed(3) : panel.q.mu[0].toFixed(3));
      handle.setAttribute("aria-valuetext", i ? "" : `μ = ${vector(panel.q.mu)}`);
    });
    const places = panel.tour.stops.map((z) => this.toPixels(z));
    this.path.setAttribute("points", panel.tour.onMap((z) => this.toPixels(z)).map((p) => p.join()).join(" "));
    while (this.stops.childNodes.length > places.length) this.stops.lastChild.remove();
    places.forEach(([px, py], i) => {
      const stop = this.stops.childNodes[i] ?? this.stops.appendChild(el("div", { style:
        `position:absolute;left:-9px;top:-9px;width:18px;height:18px;border-radius:50%;background:${Q_COLOUR};` +
        "color:#fff;font:600 11px/18px var(--st-font,sans-serif);text-align:center" }));
      stop.textContent = i + 1;
      stop.style.transform = `translate(${px}px,${py}px)`;
    });
  }

  /** Half-axes in pixels and angle in degrees of the 1-sigma ellipse on the map. */
  axesOfEllipse(sigma) {
    const [u, v] = this.panel.plane.directions;
    const [sx, sy] = [this.scaleX(), -this.scaleY()];
    let [a, b, c] = [0, 0, 0];
    for (let d = 0; d < sigma.length; d++) {
      const s = sigma[d] * sigma[d];
      a += s * u[d] * u[d] * sx * sx;
      b += s * u[d] * v[d] * sx * sy;
      c += s * v[d] * v[d] * sy * sy;
    }
    const middle = (a + c) / 2;
    const spread = Math.hypot((a - c) / 2, b);
    const angle = (Math.atan2(2 * b, a - c) / 2) * (180 / Math.PI);
    return [Math.sqrt(middle + spread), Math.sqrt(Math.max(middle - spread, 0)), angle];
  }

  /** The decode under the pointer. */
  drawHover() {
    const { panel } = this;
    const shown = this.pointer && !panel.off && this.plot && panel.model;
    if (shown && this.thumbBox.hidden) this.takeTheme();
    this.thumbBox.hidden = !shown;
    if (!shown) {
      this.markHovered(null);
      return;
    }
    const { model } = panel;
    const index = panel.plane ? null : this.nearest(this.pointer);
    this.markHovered(index);
    const z = panel.plane ? this.toLatent(...this.pointer) : panel.muOf(index);
    if (!z) {
      this.thumbBox.hidden = true; // no point is drawn, or their mu is not at hand
      return;
    }
    panel.z.set(z);
    const side = Math.max(84, Math.min(128, model.W * 3));
    const size = [side, Math.round((side * model.H) / model.W)];
    const shape = [model.C, model.H, model.W];
    const own = index === null ? null : index === panel.chosenIndex && panel.pointX ? panel.pointX : panel.imageOf(index);
    for (const picture of [this.thumb, this.thumbX]) {
      if (picture.resize(...size)) Object.assign(picture.canvas.style, { width: `${size[0]}px`, height: `${size[1]}px` });
    }
    this.thumb.draw(panel.timed(() => model.mean(panel.z)), shape, panel.smooth);
    if (own) {
      this.thumbX.draw(own, shape, panel.smooth);
      this.thumb.canvas.before(this.thumbX.canvas);
    } else this.thumbX.canvas.remove();
    const dims = panel.plane?.dims;
    this.thumbText.textContent = index === null
      ? `z = ${vector(dims?.length ? dims.map((d) => z[d]) : z.slice(0, 2))}`
      : `point ${index.toLocaleString("en")}${own ? ": x, E[x|z = μ]" : " at its μ"}`;
    const [x, y] = this.axes;
    const [w, h] = [Math.max(own ? 2 * size[0] + 4 : size[0], 96) + 10, size[1] + 28];
    const left = this.pointer[0] + 20 + w > x._length ? this.pointer[0] - 20 - w : this.pointer[0] + 20;
    const top = this.pointer[1] + 24 + h > y._length ? this.pointer[1] - 24 - h : this.pointer[1] + 24;
    this.thumbBox.style.transform = `translate(${Math.max(0, left)}px,${Math.max(0, top)}px)`;
  }

  /** Rings the data point that is shown, with a line to it from the pointer. */
  markHovered(index) {
    const place = this.mark("hovered", index);
    this.leader.style.display = place ? "" : "none";
    if (!place) return;
    const [[x1, y1], [x2, y2]] = [this.pointer, place];
    const away = Math.hypot(x2 - x1, y2 - y1);
    const share = Math.max(0, away - 7) / (away || 1); // it ends at the ring
    const ends = { x1, y1, x2: x1 + share * (x2 - x1), y2: y1 + share * (y2 - y1) };
    for (const [name, value] of Object.entries(ends)) this.leader.setAttribute(name, value);
  }

  // The manifold: a lattice of decodes whose nodes stay where they are in latent space, so that a
  // pan or a small zoom finds most of its tiles already painted.

  /** Lays the tiles out anew and lists the missing ones, those in the middle first. */
  layTiles() {
    const { panel } = this;
    const context = this.under.getContext("2d");
    if (!panel.manifold || !panel.plane || panel.off || !panel.model || !this.plot) {
      if (this.under.width) this.under.width = 0;
      this.missing = [];
      return;
    }
    const { model } = panel;
    const [x, y] = this.axes;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.under.width = Math.round(x._length * ratio);
    this.under.height = Math.round(y._length * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.imageSmoothingEnabled = panel.smooth;
    const step = 2 ** Math.ceil(Math.log2(38 / this.scaleX())); // 38 to 76 pixels a tile
    this.legend = this.boxOfLegend();
    const others = Array.from(panel.q.mu, (v, d) => (panel.plane.dims?.includes(d) ? "" : v.toFixed(4))).join();
    const plane = JSON.stringify([model.id, panel.plane.directions, others, panel.smooth]);
    if (plane !== this.plane) this.tiles.clear();
    this.plane = plane;
    const [i0, i1] = [x.range[0] / step, x.range[1] / step].map(Math.floor);
    const [j0, j1] = [y.range[0] / step, y.range[1] / step].map(Math.floor);
    this.missing = [];
    this.step = step;
    for (let i = i0; i <= i1; i++) {
      for (let j = j0; j <= j1; j++) {
        const tile = this.tiles.get(`${step},${i},${j}`);
        if (tile) this.place(i, j, tile);
        else this.missing.push([i, j, Math.hypot(i - (i0 + i1) / 2, j - (j0 + j1) / 2)]);
      }
    }
    this.missing.sort((a, b) => b[2] - a[2]);
    while (this.tiles.size > 4000) this.tiles.delete(this.tiles.keys().next().value);
  }

  /** Decodes one missing tile. */
  paintTile() {
    const { panel } = this;
    const { model } = panel;
    const [i, j] = this.missing.pop();
    const [x, y] = this.axes;
    const px = ((i + 0.5) * this.step - x.range[0]) * this.scaleX();
    const py = (y.range[1] - (j + 0.5) * this.step) * this.scaleY();
    panel.z.set(this.toLatent(px, py));
    const tile = document.createElement("canvas");
    [tile.width, tile.height] = [model.W, model.H];
    const data = new ImageData(model.W, model.H);
    paint(model.mean(panel.z), model.C, model.H * model.W, data.data);
    tile.getContext("2d").putImageData(data, 0, 0);
    this.tiles.set(`${this.step},${i},${j}`, tile);
    this.place(i, j, tile);
  }

  place(i, j, tile) {
    const [x, y] = this.axes;
    const left = Math.round((i * this.step - x.range[0]) * this.scaleX());
    const right = Math.round(((i + 1) * this.step - x.range[0]) * this.scaleX());
    const top = Math.round((y.range[1] - (j + 1) * this.step) * this.scaleY());
    const bottom = Math.round((y.range[1] - j * this.step) * this.scaleY());
    const gap = Math.round((right - left) * 0.06); // tells one picture from the next
    const context = this.under.getContext("2d");
    context.drawImage(tile, left + gap, top + gap, right - left - 2 * gap, bottom - top - 2 * gap);
    if (this.legend) context.clearRect(...this.legend); // it must stay legible
  }

  boxOfLegend() {
    const legend = this.plot.querySelector(".legend .bg")?.getBoundingClientRect();
    if (!legend?.width) return null;
    const [left, top] = this.toArea({ clientX: legend.left, clientY: legend.top });
    return [left, top, legend.width, legend.height];
  }
}

// --- the tour ---------------------------------------------------------------------------------

/** A way through latent space: from stop to stop, straight or along great circles. */
class Tour {
  constructor() {
    this.stops = [];
    this.spherical = false;
    this.loop = true;
    this.speed = 1; // stops a second
    this.playing = false;
    this.at = 0;
  }

  get length() {
    return this.stops.length < 2 ? 0 : this.stops.length - (this.loop ? 0 : 1);
  }

  /** The latent point after t stops. */
  z(t) {
    const n = this.stops.length;
    const k = Math.min(Math.floor(t), this.loop ? n - 1 : n - 2);
    return between(this.stops[k], this.stops[(k + 1) % n], t - k, this.spherical);
  }

  /** The way as a line of places. */
  onMap(place) {
    const points = [];
    if (!this.length) return points;
    for (let i = 0; i <= this.length * 16; i++) points.push(place(this.z(i / 16)));
    return points;
  }
}

/** From a to b: straight, or spherical: direction and length each change at a steady pace. */
export function between(a, b, t, spherical) {
  const straight = Float64Array.from(a, (v, d) => v + t * (b[d] - v));
  if (!spherical) return straight;
  const [ra, rb] = [Math.hypot(...a), Math.hypot(...b)];
  const cosine = a.reduce((sum, v, d) => sum + v * b[d], 0) / (ra * rb);
  const angle = Math.acos(Math.max(-1, Math.min(1, cosine)));
  // No great circle is singled out for a stop at the origin or for opposite ones.
  if (!(ra * rb > 1e-12) || angle < 1e-6 || Math.PI - angle < 1e-6) return straight;
  const [wa, wb] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  const radius = ra + t * (rb - ra);
  return Float64Array.from(a, (v, d) => radius * ((wa * v) / ra + (wb * b[d]) / rb));
}

// --- drawing ----------------------------------------------------------------------------------

/**
 * The drawing as the data's own preparation would have made it, (H, W) in [0, 1].
 *
 * "mnist": the ink is scaled into a box of 20 of 28 pixels and its centre of mass put in the middle
 * (LeCun et al., 1998). "digits": scaled to fill a 32 x 32 bitmap, then counted in 4 x 4 blocks
 * (Alpaydin & Kaynak, 1998). "plane": as it stands.
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

/** Box averages: the cell (i, j) of out covers stepX x stepY of ink from (x0, y0) on. */
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

/** A square to draw on with mouse, pen or finger. */
class Pad {
  constructor(changed) {
    this.side = 224;
    this.canvas = el("canvas", { class: "pad", width: this.side, height: this.side, role: "img", "aria-label": "draw here" });
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
    this.thickness = 0.09;
    this.changed = changed;
    this.clear();
    let last = null;
    const at = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.side, ((event.clientY - box.top) / box.height) * this.side];
    };
    const line = (from, to) => {
      this.context.lineWidth = this.thickness * this.side;
      this.context.beginPath();
      this.context.moveTo(...from);
      this.context.lineTo(...to);
      this.context.stroke();
      this.empty = false;
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button > 0) return;
      event.preventDefault();
      this.canvas.setPointerCapture(event.pointerId);
      last = at(event);
      line(last, [last[0] + 0.01, last[1]]);
      this.changed(event.timeStamp);
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      for (const part of event.getCoalescedEvents?.() ?? [event]) {
        const to = at(part);
        line(last, to);
        last = to;
      }
      this.changed(event.timeStamp);
    });
    for (const type of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(type, () => (last = null));
    }
  }

  clear() {
    this.empty = true;
    this.context.fillStyle = "#000";
    this.context.fillRect(0, 0, this.side, this.side);
    Object.assign(this.context, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
  }

  /** The ink, (side, side) in [0, 1]. */
  ink() {
    const { data } = this.context.getImageData(0, 0, this.side, this.side);
    return Float32Array.from({ length: this.side * this.side }, (_, i) => data[4 * i] / 255);
  }
}

// --- the panel --------------------------------------------------------------------------------

/**
 * Everything beside the map.
 *
 * @param root where it is drawn: an element or a shadow root.
 * @param host findPlot() -> the Plotly chart or null; send(name, value): to whoever listens, where
 *   names are "hand" (what the hand set), "point" (an index), "best", "drawn", "need" (pack ids);
 *   can(name) -> whether somebody answers that.
 */
export class Panel {
  constructor(root, host) {
    this.host = host;
    this.q = null;
    this.seed = 0;
    this.S = 16;
    this.follow = false;
    this.smooth = false;
    this.manifold = false;
    this.drawn = null; // the prepared drawing while the pad is open
    this.tour = new Tour();
    this.drawnAt = this.movedAt = 0;
    this.touches = 0; // how often q was set, by the hand or by a choice
    this.dirty = new Set();
    this.off = true;
    this.stats = { on: false, updates: 0, decode: [], toCanvas: [] };
    this.buildDom(root);
    this.map = new MapLayer(this);
  }

  /** Takes what the server, or the exported page, says; never what the hand has since changed. */
  setData(data) {
    this.data = data;
    this.refresh();
  }

  refresh() {
    const { data } = this;
    waiting.delete(this);
    const lacking = [data.model, data.points].filter((id) => id && !packs.has(id));
    if (lacking.length) {
      waiting.add(this);
      this.say("");
      clearTimeout(this.asking);
      this.asking = setTimeout(() => waiting.has(this) && this.host.send("need", lacking), 1500);
      if (lacking.includes(data.model)) return;
    }
    try {
      if (this.model?.id !== data.model) this.setModel(new Model(packs.get(data.model)));
    } catch (error) {
      this.fail(error instanceof Error ? error.message : String(error));
      return;
    }
    this.points = packs.get(data.points)?.arrays ?? null;
    this.plane = data.plane;
    this.ranges = data.ranges;
    this.buildDimensions();
    if (data.settings && !this.settled) {
      this.settled = true;
      for (const name of ["seed", "S", "follow", "smooth", "manifold"]) {
        if (data.settings[name] !== undefined) this[name] = data.settings[name];
      }
    }
    const { point } = data;
    const known = point.key === this.pointKey || (this.points && point.key === this.chosenHere);
    this.pointKey = point.key;
    if (this.unsent && !this.chosenElsewhere) this.emit();
    if (!known) {
      this.chosenHere = null;
      if (!this.padOpen) this.take(data.q ?? point);
    }
    this.point = point;
    this.pointX = point.x ? Float32Array.from(bytesOf(point.x), (v) => v / 255) : this.imageOf(point.index);
    this.pointEps = point.eps ? floatsOf(point.eps) : null;
    if (data.best && data.best.id !== this.bestSeen) {
      this.bestSeen = data.best.id;
      this.takeBest(data.best);
    }
    this.off = false;
    this.map.takeTheme();
    this.say(data.problem ?? "");
    this.showSettings();
    this.showPoint();
    this.wake("q", "map", "hover", "tiles");
  }

  setModel(model) {
    this.model = model;
    this.z = new Float32Array(model.D);
    this.kl = new Float64Array(model.D);
    this.own = new Estimate(model);
    this.encoders = new Estimate(model);
    this.bests = new Estimate(model);
    this.eps = null;
    this.best = null;
    this.q = { mu: new Float64Array(model.D), sigma: new Float64Array(model.D).fill(1) };
    this.tour.stops = [];
    this.closePad();
    this.rows.clear();
    this.pointKey = null;
    this.mean.canvas.width = 0;
  }

  // --- what the hand does

  take({ mu, sigma }) {
    this.touches++;
    this.q.mu.set(mu);
    this.q.sigma.set(Float64Array.from(sigma, (s) => Math.max(SIGMA_LEAST, s)));
    this.showQ();
  }

  set(name, d, value, time) {
    this.touches++;
    this.q[name][d] = value;
    this.showRow(d);
    this.wake("q", time);
  }

  moveTo(mu, time) {
    this.touches++;
    this.q.mu.set(mu);
    this.showQ();
    this.wake("q", time);
  }

  /** A click in empty space: mu is there, and no longer follows the pointer. */
  settle(mu, time) {
    this.stop();
    this.follow = false;
    this.showSettings();
    this.moveTo(mu, time);
    this.emit();
  }

  muOf(index) {
    const { D } = this.model;
    if (!this.points || index == null) return null;
    return Float64Array.from(this.points.mu.subarray(index * D, (index + 1) * D));
  }

  /** The index of the data point whose mu is nearest to a latent point, or null. */
  nearestTo(z) {
    if (!this.points) return null;
    const { mu } = this.points;
    const { D } = this.model;
    let [best, found] = [Infinity, null];
    for (let i = 0, at = 0; at < mu.length; i++, at += D) {
      let distance = 0;
      for (let d = 0; d < D && distance < best; d++) distance += (mu[at + d] - z[d]) ** 2;
      if (distance < best) {
        best = distance;
        found = i;
      }
    }
    return found;
  }

  /** The chosen data point: what was clicked last, though the server may not know of it yet. */
  get chosenIndex() {
    return this.chosenElsewhere ? Number(this.chosenHere.split("/").at(-1)) : this.point?.index;
  }

  imageOf(index) {
    if (!this.points?.images || index == null) return null;
    const { n } = this.model;
    return Float32Array.from(this.points.images.subarray(index * n, (index + 1) * n), (v) => v / 255);
  }

  /** A click on a data point: q is its posterior at once, the rest follows from the server. */
  choose(index) {
    this.stop();
    if (this.follow) {
      this.follow = false;
      this.showSettings();
      this.emit();
    }
    this.closePad();
    const { D } = this.model;
    this.chosenHere = this.data.point.key.replace(/[^/]*$/, index);
    if (this.points) {
      const mu = this.muOf(index);
      const sigma = Float64Array.from(
        this.points.logvar.subarray(index * D, (index + 1) * D), (v) => Math.exp(v / 2));
      this.pointX = null; // of another point until the server has answered
      this.best = null;
      this.take({ mu, sigma });
      this.wake("q");
    }
    this.host.send("point", index);
  }

  grab() {
    this.holding = true;
    this.stop();
  }

  release() {
    this.holding = false;
    this.emit();
  }

  /** Sends what the hand has set, once it has let go. */
  emit() {
    clearTimeout(this.emitting);
    this.emitting = setTimeout(() => this.emitNow(), EMIT_AFTER_MS);
  }

  emitNow() {
    clearTimeout(this.emitting);
    this.emitting = null;
    if (this.holding || this.tour.playing || this.off) return;
    // Until the page shows the point that was just clicked, what it sends with a message is of the
    // point before, and would choose that one again.
    if ((this.unsent = this.chosenElsewhere)) return;
    this.host.send("hand", {
      point: this.chosenHere ?? this.pointKey,
      mu: this.padOpen ? null : Array.from(this.q.mu),
      sigma: this.padOpen ? null : Array.from(this.q.sigma),
      seed: this.seed, S: this.S, follow: this.follow, smooth: this.smooth, manifold: this.manifold,
    });
  }

  addStop(z = Float64Array.from(this.q.mu)) {
    if (!z) return;
    this.tour.stops.push(z);
    this.showTour();
    this.wake("map");
  }

  play() {
    const { tour } = this;
    if (tour.stops.length < 2) {
      if (!this.points) return;
      const n = this.points.mu.length / this.model.D;
      const where = noise(this.seed + 1, 12); // no stops: through some data points
      for (let i = 0; i < 6; i++) tour.stops.push(this.muOf(Math.floor(Math.abs(where[i] * 1e4) % n)));
    }
    if (!tour.loop && tour.at >= tour.length) tour.at = 0;
    tour.playing = true;
    this.ticked = null;
    this.showTour();
    this.wake("q", "map");
  }

  stop() {
    if (!this.tour.playing) return;
    this.tour.playing = false;
    this.showTour();
    this.emit();
  }

  tick(now) {
    const { tour } = this;
    tour.at += ((now - (this.ticked ?? now)) / 1000) * tour.speed;
    this.ticked = now;
    if (tour.at >= tour.length) {
      if (tour.loop) tour.at %= tour.length;
      else tour.at = tour.length;
    }
    this.q.mu.set(tour.z(tour.at));
    this.showQ();
    if (!tour.loop && tour.at >= tour.length) this.stop();
  }

  askBest() {
    const asked = { id: `${Date.now()}`, point: this.pointKey };
    if (this.padOpen) asked.x = base64Of(Uint8Array.from(this.drawn, (v) => Math.round(v * 255)));
    this.askedBest = { id: asked.id, touches: this.touches };
    this.bestButton.disabled = true;
    this.bestButton.textContent = "Searching…";
    this.host.send("best", asked);
  }

  takeBest(best) {
    this.bestButton.disabled = false;
    this.bestButton.textContent = "Best q";
    if (best.problem) {
      this.say(best.problem);
      return;
    }
    // Asked for another point, or in an earlier life of the page.
    if (best.id !== this.askedBest?.id) return;
    this.best = { mu: Float64Array.from(best.mu), sigma: Float64Array.from(best.sigma) };
    if (this.askedBest.touches === this.touches) this.glide(this.best);
    this.wake("q");
  }

  /** Moves q to another one in a third of a second, so that the eye can follow. */
  glide({ mu, sigma }) {
    const from = { mu: Float64Array.from(this.q.mu), sigma: Float64Array.from(this.q.sigma) };
    const start = performance.now();
    const { touches } = this;
    const move = () => {
      if (this.touches !== touches || this.off) return; // the hand has taken over
      const t = Math.min(1, (performance.now() - start) / 350);
      const eased = t * t * (3 - 2 * t);
      for (let d = 0; d < mu.length; d++) {
        this.q.mu[d] = from.mu[d] + eased * (mu[d] - from.mu[d]);
        this.q.sigma[d] = from.sigma[d] * (sigma[d] / from.sigma[d]) ** eased;
      }
      this.showQ(false);
      this.wake("q", "map");
      if (t < 1) requestAnimationFrame(move);
      else this.emit();
    };
    move();
  }

  // --- the pad

  get padOpen() {
    return !this.padBox.hidden;
  }

  openPad() {
    this.stop();
    this.padBox.hidden = false;
    this.drawn = this.preparedInk();
    this.best = null;
    this.showPoint();
    this.wake("drawing");
  }

  closePad() {
    if (!this.padOpen) return;
    this.padBox.hidden = true;
    this.drawn = null;
    this.best = null;
    this.showPoint();
  }

  preparedInk() {
    const { C, H, W, drawing } = this.model;
    if (C !== 1) return null;
    return prepare(this.pad.ink(), this.pad.side, drawing, H, W);
  }

  /** The encoder's answer to the drawing becomes q. */
  encodeDrawing() {
    this.drawn = this.preparedInk();
    if (this.pad.empty) {
      this.encoded = null;
      return;
    }
    this.encoded = this.model.encode(this.drawn);
    this.best = null;
    this.take(this.encoded);
  }

  // --- frames

  /** Asks for a frame in which the named parts are drawn; a number is the time of the event. */
  wake(...what) {
    for (const part of what) {
      if (typeof part === "number") this.eventTime = part;
      else if (part !== undefined) this.dirty.add(part);
    }
    // A pointer that moves after a pause of most of a frame is answered at once; what follows
    // within the frame is drawn together.
    if (what.some(Number.isFinite) && performance.now() - this.drawnAt > 12) this.drawFrame(performance.now());
    this.frame ??= requestAnimationFrame((now) => {
      this.frame = null;
      this.drawFrame(now);
      if (this.stats.drawn) this.stats.updates++; // a screen shows the last drawing of a frame
      this.stats.drawn = false;
    });
  }

  timed(decode) {
    if (!this.stats.on) return decode();
    const start = performance.now();
    const result = decode();
    this.stats.decode.push(performance.now() - start);
    return result;
  }

  drawFrame(now) {
    if (this.off || !this.q) return;
    const start = (this.drawnAt = performance.now());
    const { dirty } = this;
    if (dirty.has("drawing")) {
      this.encodeDrawing();
      dirty.add("q");
    }
    if (this.tour.playing) {
      this.tick(now);
      dirty.add("q");
    }
    try {
      if (dirty.has("q")) this.drawQ();
      if (dirty.has("map") || dirty.has("q")) this.map.draw();
      if (dirty.has("hover") || (dirty.has("map") && this.map.pointer)) this.map.drawHover();
    } catch (error) {
      console.error(error);
      this.fail(`The model cannot be run in this browser: ${error.message}`);
      return;
    }
    if (this.stats.on && (dirty.has("q") || dirty.has("hover"))) {
      this.stats.drawn = true;
      if (this.eventTime) this.stats.toCanvas.push(performance.now() - this.eventTime);
    }
    this.eventTime = null;
    const fixed = this.plane?.dims?.length === this.model.D || this.model.D <= 2;
    if (dirty.has("map") || dirty.has("tiles") || (dirty.has("q") && !fixed && this.manifold)) this.map.layTiles();
    const moved = dirty.size > 0;
    if (moved) this.movedAt = start;
    const moving = start - this.movedAt < STILL_MS;
    dirty.clear();
    // The mean is drawn; samples and then the manifold take what is left of the frame. While the
    // hand moves they may have to wait for the next one; at rest they always get on.
    const until = start + (moving ? MOVING_MS : RESTING_MS);
    let left = true;
    let remaining = until - performance.now();
    if (!moving || remaining > (this.own.cost ?? 0)) {
      do {
        left = this.work(remaining);
        remaining = until - performance.now();
      } while (left && remaining > (this.own.cost ?? 0));
    }
    if (left || this.tour.playing) this.wake();
    if (moved) this.showBound();
  }

  /** One small piece, of about `budget` ms, of what can wait; false when there is none. */
  work(budget) {
    this.turn = !this.turn;
    // Under a long drag samples may never be done: the manifold has its turns between.
    if (this.turn && this.map.missing?.length) {
      this.map.paintTile();
      return true;
    }
    if (this.own.left) {
      this.own.step(budget, (s, raw, offset) => this.drawSample(s, raw, offset));
      if (!this.own.left) this.showBound();
      return true;
    }
    for (const estimate of [this.encoders, this.bests]) {
      if (estimate.left) {
        estimate.step(budget);
        if (!estimate.left) this.showBound();
        return true;
      }
    }
    if (this.map.missing?.length) {
      this.map.paintTile();
      return true;
    }
    return false;
  }

  /** The image that q is held against: the drawing, or the chosen point's. */
  get x() {
    return this.padOpen ? (this.pad.empty ? null : this.drawn) : this.pointX;
  }

  /** The encoder's q for that image. */
  get encoderQ() {
    if (this.padOpen) return this.encoded;
    return this.pointX && !this.chosenElsewhere ? this.point : null;
  }

  /** The point on the server is not yet the one chosen here. */
  get chosenElsewhere() {
    return this.chosenHere && this.chosenHere !== this.pointKey;
  }

  drawQ() {
    const { model, q } = this;
    const shape = [model.C, model.H, model.W];
    this.fit();
    this.z.set(q.mu);
    this.mean.draw(this.timed(() => model.mean(this.z)), shape, this.smooth);
    klPerDim(q.mu, q.sigma, this.kl);
    this.showKl();
    if (this.eps?.of !== this.noiseKey()) this.eps = this.makeNoise();
    const { x, encoderQ } = this;
    this.own.begin(q.mu, q.sigma, this.eps.values, this.S, x);
    if (encoderQ && x) this.encoders.beginIfNew(encoderQ.mu, encoderQ.sigma, this.eps.values, this.S, x);
    if (this.best && x) this.bests.beginIfNew(this.best.mu, this.best.sigma, this.eps.values, this.S, x);
    if (this.padOpen) {
      if (this.padView.resize(56, 56)) this.padView.clear();
      this.padView.draw(this.drawn, shape, this.smooth);
    } else if (x) {
      this.given.draw(x, shape, this.smooth);
    } else {
      this.given.clear();
    }
  }

  noiseKey() {
    const own = this.seed === 0 && this.pointEps && !this.padOpen && !this.chosenElsewhere;
    return own ? this.pointKey : this.seed;
  }

  /** Seed 0 is the point's own noise, behind the terms of the tables; others are drawn here. */
  makeNoise() {
    const of = this.noiseKey();
    const { D } = this.model;
    return { of, values: of === this.seed ? noise(this.seed, MOST_SAMPLES * D) : this.pointEps };
  }

  // --- what is shown

  buildDom(root) {
    this.problem = el("div", { class: "problem", role: "status", hidden: "" });
    this.mean = new Picture("the decoded mean at z = mu", "mean");
    this.given = new Picture("the chosen image x", "given");
    this.cost = new Picture("what each pixel adds to the reconstruction term", "cost");
    this.samples = new Picture("decoded samples of q", "samples");
    this.pad = new Pad((time) => this.wake("drawing", time));
    this.padView = new Picture("the drawing as the model reads it", "pad-view");
    this.padBox = el("div", { class: "padbox", hidden: "" }, this.pad.canvas, this.padView.canvas);
    this.title = el("div", { class: "title" });
    this.drawButton = button("Draw", () => (this.padOpen ? (this.closePad(), this.backToPoint()) : this.openPad()), {
      title: "draw an image and let the encoder read it" });
    this.givenText = el("figcaption", {}, "x");
    this.costText = el("figcaption", {}, "nats per pixel");
    this.followButton = toggle("Follow", "mu goes where the pointer is on the map, until a click", () => this.flip("follow"));
    this.smoothButton = toggle("Smooth", "smooth the pixels of small images", () => this.flip("smooth"));
    this.manifoldButton = toggle("Manifold", "paint what each spot of the map decodes to under the points", () => this.flip("manifold"));
    const head = el("div", { class: "headline" }, this.title,
      el("div", { class: "bar" }, this.followButton, this.manifoldButton, this.drawButton));
    const pictures = el("div", { class: "pictures" },
      el("figure", { class: "large" }, this.mean.canvas, el("figcaption", {}, "E[x|z = μ]")), head,
      el("figure", { class: "small" }, el("div", { class: "slot" }, this.given.canvas, this.padBox), this.givenText),
      el("figure", { class: "small" }, this.cost.canvas, this.costText));
    this.padTools = el("div", { class: "bar", hidden: "" },
      el("label", {}, "thickness ", (this.thickness = el("input", {
        type: "range", min: "0.03", max: "0.2", step: "0.005", value: "0.09", "aria-label": "thickness" }))),
      button("Clear", () => {
        this.pad.clear();
        this.wake("drawing");
      }),
      (this.sendDrawn = button("Send to Points", () => this.sendDrawing())));
    this.thickness.addEventListener("input", () => (this.pad.thickness = Number(this.thickness.value)));

    this.first = el("div", { class: "rows" });
    this.others = el("div", { class: "rows" });
    this.othersSummary = el("summary");
    this.details = el("details", { hidden: "" }, this.othersSummary, this.others);
    this.klSum = el("output", { class: "sum" });
    const heads = el("div", { class: "row heads" },
      el("span"), el("span", {}, "μ"), el("span", {}, "σ"), el("span", {}, "KL, nats"));
    this.rows = new Map();

    this.countRange = el("input", { type: "range", min: "1", max: `${MOST_SAMPLES}`, step: "1", "aria-label": "number of samples" });
    this.countText = el("output");
    this.countRange.addEventListener("input", () => this.setCount(Number(this.countRange.value)));
    this.countRange.addEventListener("change", () => this.emit());
    this.seedText = el("output", { class: "seed" });
    const sampling = el("div", { class: "bar" },
      el("label", {}, "samples ", this.countRange, this.countText),
      button("Resample", () => this.resample(), { title: "other ε" }), this.seedText,
      el("span", { class: "spring" }), this.smoothButton);

    this.bound = el("table", { class: "bound" });
    this.bestButton = button("Best q", () => this.askBest(), { title: "search the best mu and sigma for this image" });
    this.backButton = button("Encoder's q", () => this.backToPoint(true), { title: "back to the encoder's mu and sigma" });

    this.playButton = button("▶ Tour", () => (this.tour.playing ? this.stop() : this.play()), { class: "play" });
    this.wayButton = toggle("Spherical", "along great circles instead of straight lines", () => {
      this.tour.spherical = !this.tour.spherical;
      this.showTour();
      this.wake("map");
    });
    this.loopButton = toggle("Loop", "begin again at the end", () => {
      this.tour.loop = !this.tour.loop;
      this.showTour();
      this.wake("map");
    });
    this.speed = el("input", { type: "range", min: "-3", max: "2", step: "0.1", value: "0", "aria-label": "speed of the tour" });
    this.speed.addEventListener("input", () => (this.tour.speed = 2 ** Number(this.speed.value)));
    const touring = el("div", { class: "bar tour" }, this.playButton,
      button("+ Stop", () => this.addStop(), { title: "mu as it is now; or shift-click on the map" }),
      (this.clearStops = button("Clear", () => {
        this.stop();
        Object.assign(this.tour, { stops: [], at: 0 });
        this.showTour();
        this.wake("map");
      }, { title: "forget the stops" })),
      el("span", { class: "spring" }), this.wayButton, this.loopButton,
      el("label", {}, "speed ", this.speed));

    this.body = el("div", { class: "body", hidden: "" },
      pictures, this.padTools, heads, this.first, this.details, this.samples.canvas, sampling,
      el("div", { class: "boundbox" }, this.bound, el("div", { class: "side" }, this.bestButton, this.backButton)), touring);
    this.element = el("div", { class: "live" }, this.problem, this.body);
    root.append(this.element);
    this.showTour();
    this.ended = leaveInTurn(() => this.emitting && this.emitNow());
    this.resizes = new ResizeObserver(() => this.wake("q"));
    this.resizes.observe(this.element);
  }

  /** One sentence above the panel; "" for none. */
  say(sentence) {
    this.problem.textContent = sentence;
    this.problem.hidden = !sentence;
  }

  /** The panel stops; the page around it lives on. */
  fail(sentence) {
    this.off = true;
    this.body.hidden = true;
    this.stop();
    this.say(sentence);
    this.map.draw();
    this.map.layTiles();
    this.host.send("problem", sentence);
  }

  flip(name) {
    this[name] = !this[name];
    this.showSettings();
    this.wake("q", "tiles", "hover");
    this.emit();
  }

  setCount(S) {
    this.S = S;
    this.own.next = 0;
    this.samples.clear();
    this.showSettings();
    this.wake("q");
  }

  resample() {
    this.seed += 1;
    this.showSettings();
    this.wake("q");
    this.emit();
  }

  showSettings() {
    this.countRange.value = this.S;
    this.countText.textContent = this.S;
    this.seedText.textContent = `seed ${this.seed}`;
    for (const [name, control] of [["follow", this.followButton], ["smooth", this.smoothButton], ["manifold", this.manifoldButton]]) {
      control.setAttribute("aria-pressed", this[name]);
    }
    this.manifoldButton.hidden = !this.plane; // a layout cannot be decoded
    this.followButton.title = this.plane
      ? "mu goes where the pointer is on the map, until a click"
      : "q goes to the mu of the point nearest to the pointer, until a click";
  }

  showTour() {
    const { tour } = this;
    this.playButton.textContent = tour.playing ? "❚❚ Pause" : "▶ Tour";
    this.clearStops.hidden = !tour.stops.length;
    this.wayButton.setAttribute("aria-pressed", tour.spherical);
    this.loopButton.setAttribute("aria-pressed", tour.loop);
  }

  /** Title, pad and pictures of what q is held against. */
  showPoint() {
    if (!this.point) return;
    const open = this.padOpen;
    this.body.hidden = false;
    this.title.textContent = open ? "Your drawing" : `Point ${this.point.index.toLocaleString("en")}, label ${this.point.label}`;
    this.given.canvas.hidden = open;
    this.padTools.hidden = !open;
    this.givenText.textContent = open ? "draw here" : this.point.x || this.pointX ? "x" : "x is not at hand";
    this.givenText.title = this.point.x_problem ?? "";
    this.drawButton.setAttribute("aria-pressed", open);
    this.drawButton.hidden = !this.model.encoder || this.model.C !== 1;
    this.sendDrawn.hidden = !this.host.can("drawn");
    this.bestButton.hidden = !this.host.can("best");
    this.wake("q");
  }

  backToPoint(always = false) {
    const to = this.encoderQ ?? (this.padOpen ? null : this.point);
    if (!to || (!always && this.padOpen)) return;
    this.stop();
    this.take(to);
    this.wake("q");
    this.emit();
  }

  sendDrawing() {
    if (this.pad.empty) {
      this.say("Draw something first.");
      return;
    }
    this.host.send("drawn", base64Of(Uint8Array.from(this.drawn, (v) => Math.round(v * 255))));
  }

  /** Gives each canvas the pixels that it covers on the screen. */
  fit() {
    const { model } = this;
    const aspect = model.W / model.H;
    for (const picture of [this.mean, this.given, this.cost]) {
      picture.canvas.style.aspectRatio = aspect;
      const width = picture.canvas.clientWidth || 120;
      if (picture.resize(width, width / aspect)) this.own.next = 0;
    }
    const columns = this.S <= 16 ? Math.min(this.S, 8) : 16;
    const lines = Math.ceil(this.S / columns);
    const width = this.samples.canvas.clientWidth || 480;
    const across = this.S <= 16 ? 8 : 16; // a single sample must not fill the panel
    const tile = width / across;
    this.grid = { columns, across, lines };
    this.samples.canvas.style.height = `${(tile * lines) / aspect}px`;
    if (this.samples.resize(width, (tile * lines) / aspect)) this.samples.clear();
  }

  drawSample(s, raw, offset) {
    const { model } = this;
    const { columns, across, lines } = this.grid;
    meanImage(model.kind, raw, offset, model.image);
    const gap = 0.04;
    this.samples.draw(model.image, [model.C, model.H, model.W], this.smooth, [
      (s % columns) / across + gap / 2 / across, Math.floor(s / columns) / lines + gap / 2 / lines,
      (1 - gap) / across, (1 - gap) / lines]);
  }

  /** The rows of sliders: those the map shows first, the rest behind an expander. */
  buildDimensions() {
    const { D } = this.model;
    const shown = (this.plane?.dims ?? []).filter((d) => d < D);
    const first = [...shown, ...Array.from({ length: D }, (_, d) => d).filter((d) => !shown.includes(d))];
    const n = D <= 3 ? D : 2;
    const wanted = `${this.model.id}|${first.slice(0, n)}|${JSON.stringify(this.ranges)}`;
    if (wanted === this.rowsOf) return;
    this.rowsOf = wanted;
    this.rows.clear();
    for (const [d, range] of this.ranges.entries()) this.rows.set(d, new Row(this, d, range));
    this.first.replaceChildren(...first.slice(0, n).map((d) => this.rows.get(d).element), this.sumRow());
    this.others.replaceChildren(...first.slice(n).map((d) => this.rows.get(d).element));
    this.details.hidden = D <= n;
    this.othersSummary.textContent = `The other ${D - n} dimensions`;
    if (this.q) this.showQ(false);
  }

  sumRow() {
    return el("div", { class: "row total" }, el("span"), el("span", { class: "wide" }, "KL(q, p), equation (6)"), this.klSum);
  }

  showQ(all = true) {
    for (const d of this.rows.keys()) this.showRow(d);
    if (all) this.wake("map");
  }

  showRow(d) {
    this.rows.get(d)?.show(this.q.mu[d], this.q.sigma[d]);
  }

  showKl() {
    let total = 0;
    let most = 4;
    for (let d = 0; d < this.kl.length; d++) {
      total += this.kl[d];
      most = Math.max(most, this.kl[d]);
    }
    for (const [d, row] of this.rows) row.showKl(this.kl[d], most);
    this.klTotal = total;
    this.klSum.textContent = `${nats(total)} nats`;
  }

  /** The bound of your q, the encoder's and the best one, over the same noise. */
  showBound() {
    const own = this.own.result(true);
    const lines = [];
    const x = this.x;
    const line = (name, result, q) => {
      const kl = klPerDim(q.mu, q.sigma, new Float64Array(q.mu.length)).reduce((a, b) => a + b, 0);
      lines.push([name, result.recon, result.stderr, kl, result.recon + kl]);
    };
    if (x && own) {
      line("yours", own, this.q);
      const encoders = this.encoderQ && this.encoders.result();
      if (encoders) line("encoder's", encoders, this.encoderQ);
      const best = this.best && this.bests.result();
      if (best) line("best q", best, this.best);
      if (this.own.left) return this.fillBound(lines);
      const per = this.perPixel();
      this.cost.drawNats(per.values, this.model.H, this.model.W, per.most);
      this.costText.textContent = `nats per pixel, to ${per.most.toFixed(1)}`;
    }
    if (!x) {
      this.cost.clear();
      this.costText.textContent = "";
      this.bound.replaceChildren();
      this.boundCells = null;
    }
    this.bestButton.parentNode.hidden = !x;
    this.fillBound(lines);
  }

  fillBound(lines) {
    if (!lines.length) return;
    if (this.boundCells?.length !== lines.length) this.buildBound(lines.length);
    const least = Math.min(...lines.map((l) => l[4]));
    lines.forEach(([name, recon, stderr, kl, total], i) => {
      const cells = this.boundCells[i];
      cells[0].textContent = name;
      cells[1].textContent = `${nats(recon)}${Number.isNaN(stderr) ? "" : ` ± ${nats(stderr)}`}`;
      cells[2].textContent = nats(kl);
      cells[3].textContent = nats(total);
      cells[3].className = total <= least + 0.005 ? "least" : "";
    });
  }

  buildBound(n) {
    const head = el("tr", {}, el("th", {}, "q"), el("th", {}, "recon, nats"), el("th", {}, "KL"), el("th", {}, "-ELBO"));
    this.boundCells = Array.from({ length: n }, () => ["th", "td", "td", "td"].map((tag) => el(tag)));
    this.bound.replaceChildren(head, ...this.boundCells.map((cells) => el("tr", {}, ...cells)));
  }

  perPixel() {
    const { C, H, W } = this.model;
    const values = (this.pixels ??= new Float32Array(H * W)).length === H * W ? this.pixels : (this.pixels = new Float32Array(H * W));
    values.fill(0);
    let most = 0;
    for (let c = 0; c < C; c++) for (let i = 0; i < H * W; i++) values[i] += this.own.perPixel[c * H * W + i] / this.S;
    for (let i = 0; i < H * W; i++) most = Math.max(most, values[i]);
    return { values, most: Math.max(most, 0.1) };
  }

  destroy() {
    waiting.delete(this);
    clearTimeout(this.emitting);
    clearTimeout(this.asking);
    this.ended();
    cancelAnimationFrame(this.frame);
    this.off = true;
    this.resizes.disconnect();
    this.map.destroy();
    this.element.remove();
  }
}

/** One latent dimension: two sliders, each with a field, and its KL as a bar. */
class Row {
  constructor(panel, d, { mu, sigma }) {
    this.panel = panel;
    this.d = d;
    const name = subscript(d);
    this.mu = this.control("mu", `μ${name}`, mu, (v) => v, (v) => v, (v) => Number.isFinite(v));
    this.sigma = this.control("sigma", `σ${name}`, sigma, Math.log, Math.exp, (v) => Number.isFinite(v) && v > 0);
    this.bar = el("i");
    this.klText = el("output");
    this.element = el("div", { class: "row" }, el("span", { class: "name" }, `z${name}`),
      this.mu.box, this.sigma.box, el("span", { class: "kl" }, this.bar, this.klText));
  }

  control(key, label, [low, high], there, back, valid) {
    const { panel, d } = this;
    const range = el("input", { type: "range", min: there(low), max: there(high), step: "any", "aria-label": label });
    const field = el("input", { type: "number", step: "any", "aria-label": `${label}, as a number`, inputmode: "decimal" });
    // A native range with step "any" leaves the arrow keys to the browser; this is a hundredth.
    range.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
      if (!by) return;
      event.preventDefault();
      range.value = Number(range.value) + (by * (there(high) - there(low))) / 200;
      panel.set(key, d, back(Number(range.value)), event.timeStamp);
      panel.emit();
    });
    range.addEventListener("pointerdown", () => panel.grab());
    let moved = 0; // when the pointer moved: an input event is younger than what it tells of
    range.addEventListener("pointermove", (event) => (moved = event.timeStamp));
    range.addEventListener("input", (event) => panel.set(key, d, back(Number(range.value)), moved || event.timeStamp));
    range.addEventListener("change", () => panel.release());
    range.addEventListener("pointerup", () => panel.release());
    range.addEventListener("dblclick", () => this.reset(key));
    field.addEventListener("input", (event) => {
      const value = field.value === "" ? NaN : Number(field.value);
      const good = valid(value);
      field.setAttribute("aria-invalid", !good);
      field.title = good ? "" : key === "sigma" ? "sigma must be above 0" : "mu must be a number";
      if (!good) return;
      panel.stop();
      this.typing = field; // what is being typed is left as it is
      panel.set(key, d, value, event.timeStamp);
      this.typing = null;
    });
    field.addEventListener("change", () => {
      field.setAttribute("aria-invalid", false);
      this.show(panel.q.mu[d], panel.q.sigma[d]);
      panel.emit();
    });
    return { box: el("span", { class: "control" }, range, field), range, field, there };
  }

  /** Back to the encoder's value. */
  reset(key) {
    const to = this.panel.encoderQ ?? this.panel.point;
    this.panel.set(key, this.d, to ? Math.max(to[key][this.d], key === "sigma" ? SIGMA_LEAST : -Infinity) : key === "sigma" ? 1 : 0);
    this.panel.emit();
  }

  show(mu, sigma) {
    for (const [control, value, key] of [[this.mu, mu, "mu"], [this.sigma, sigma, "sigma"]]) {
      control.range.value = control.there(value);
      if (this.typing !== control.field) control.field.value = short(value, key);
    }
  }

  showKl(kl, most) {
    this.bar.style.width = `${(100 * Math.max(0, kl)) / most}%`;
    this.klText.textContent = nats(kl);
  }
}

// --- small things -----------------------------------------------------------------------------

const nats = (value) => (Math.abs(value) < 1e5 ? value.toFixed(2) : value.toExponential(2));
const short = (value, key) => (key === "mu" || value >= 0.1 ? value.toFixed(3).replace(/^-(0\.0+)$/, "$1") : value.toPrecision(3));
const vector = (z) => `(${Array.from(z, (v) => v.toFixed(2).replace("-", "−")).join(", ")})`;

function base64Of(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

// --- Streamlit's adapter ----------------------------------------------------------------------

const mounted = new WeakMap();

/** What Streamlit calls at each rerun: bytes are a pack to keep, anything else is for the panel. */
export default function mount({ data, parentElement, setStateValue, setTriggerValue }) {
  if (data instanceof Uint8Array) {
    keep(data);
    return;
  }
  let panel = mounted.get(parentElement);
  if (!panel) {
    const host = {
      findPlot: () => document.querySelector(`.st-key-${panel?.data?.chart ?? data.chart} .js-plotly-plot`),
      send: (name, value) => (name === "hand" ? host.setState : host.setTrigger)(name, value),
      can: () => true,
    };
    panel = new Panel(parentElement, host);
    panel.host = host;
    mounted.set(parentElement, panel);
    globalThis.elboRoom = { panel }; // for those who measure
    if (!document.createElement("canvas").getContext("webgl")) setTriggerValue("without_webgl", true);
  }
  // Streamlit makes these anew at each rerun; the newest know the newest state.
  Object.assign(panel.host, { setState: setStateValue, setTrigger: setTriggerValue });
  panel.setData(data);
  return () => {
    mounted.delete(parentElement);
    panel.destroy();
  };
}
