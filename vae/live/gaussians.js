// Two Gaussians in the plane under the hand: what is drawn and what is counted is of the same frame.
//
// common.js stands in front of this file; together they are one ES module. One Duel is shown in two
// places of the page, the plane and the numbers beside it. It knows nothing of Streamlit, whose
// adapter is the default export at the end.

const COLOURS = { P: Q_COLOUR, Q: "#d95f02" }; // as in vae/gaussian_figures.py; P plays q here
const NAMES = ["P", "Q"];
const SIGMA_STOP = 1e-3; // what the hand cannot go below: at 0 a covariance is singular
const REACH = 2.6; // sigmas that the window shows of each
const DEAD_PX = 3; // so near to its mean an axis has no length left
const GRIP_PX = 20; // a press so near to a handle takes it
const NEAREST_PX = 26; // an axis' handle does not hide that of the mean
const SIZES = [100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000]; // of a sample
const CHUNK = 2048; // samples between two looks at the clock
const GLIDE_MS = 350;
const TERMS = [
  ["log_det_ratio", "log |Σ₂| / |Σ₁|"],
  ["minus_k", "−k"],
  ["trace", "tr(Σ₁ Σ₂⁻¹)"],
  ["mahalanobis", "(μ₁−μ₂)ᵀ Σ₂⁻¹ (μ₁−μ₂)"],
];

// --- arithmetic -------------------------------------------------------------------------------

/** One Gaussian: its covariance [s11, s12, s22], and the same as two axes and the angle of the first. */
class Gaussian {
  constructor(name) {
    this.name = name;
    this.take([0, 0], [1, 0, 1]);
  }

  take(mu, cov) {
    this.mu = [...mu];
    this.cov = [...cov];
    Object.assign(this, axesOf(cov));
  }

  setAxes(sigma, angle) {
    this.sigma = [...sigma];
    this.angle = angle;
    const [c, s] = [Math.cos(angle), Math.sin(angle)];
    const [a, b] = [sigma[0] ** 2, sigma[1] ** 2];
    this.cov = [a * c * c + b * s * s, (a - b) * c * s, a * s * s + b * c * c];
  }

  /** The direction of an axis, 0 or 1. */
  direction(axis) {
    const [c, s] = [Math.cos(this.angle), Math.sin(this.angle)];
    return axis ? [-s, c] : [c, s];
  }

  /** [l11, l21, l22] of the Cholesky factor. */
  get factor() {
    const [a, b, c] = this.cov;
    const l11 = Math.sqrt(a);
    const l21 = b / l11;
    return [l11, l21, Math.sqrt(c - l21 * l21)];
  }

  get plain() {
    const [a, b, c] = this.cov;
    return { mu: [...this.mu], cov: [[a, b], [b, c]] };
  }
}

function axesOf([a, b, c]) {
  const middle = (a + c) / 2;
  const spread = Math.hypot((a - c) / 2, b);
  const long = middle + spread;
  // Of the two roots the smaller by the determinant: the difference would lose its digits.
  const short = (a * c - b * b) / long;
  const angle = spread > 1e-12 * middle ? Math.atan2(2 * b, a - c) / 2 : 0;
  return { sigma: [Math.sqrt(long), Math.sqrt(short)], angle };
}

/** The four terms of equation (5) for KL(first, second), and their half sum. */
export function klParts(first, second) {
  const [l11, l21, l22] = first.factor;
  const [m11, m21, m22] = second.factor;
  const log_det_ratio = 2 * (Math.log(m11) + Math.log(m22) - Math.log(l11) - Math.log(l22));
  const a = l11 / m11;
  const b = (l21 - m21 * a) / m22;
  const trace = a * a + b * b + (l22 / m22) ** 2;
  const u = (first.mu[0] - second.mu[0]) / m11;
  const v = (first.mu[1] - second.mu[1] - m21 * u) / m22;
  const mahalanobis = u * u + v * v;
  return { log_det_ratio, minus_k: -2, trace, mahalanobis, kl: (log_det_ratio - 2 + trace + mahalanobis) / 2 };
}

/** What draws from `first` say of log(first / second) and of the two quadratic forms, so far. */
class Sample {
  begin(first, second, eps, size) {
    Object.assign(this, { eps, size, n: 0, sums: new Float64Array(6) });
    this.parts = klParts(first, second);
    // Sums are of what lies beyond the exact value, so that their squares keep their digits.
    this.exact = [this.parts.kl, 2, this.parts.trace + this.parts.mahalanobis];
    this.l = first.factor;
    this.m = second.factor;
    this.away = [first.mu[0] - second.mu[0], first.mu[1] - second.mu[1]];
  }

  step() {
    const { eps, sums, exact } = this;
    const [l11, l21, l22] = this.l;
    const [m11, m21, m22] = this.m;
    const [dx, dy] = this.away;
    const constant = this.parts.log_det_ratio;
    const end = Math.min(this.size, this.n + CHUNK);
    for (let i = this.n; i < end; i++) {
      const [e, f] = [eps[2 * i], eps[2 * i + 1]];
      const quadratic1 = e * e + f * f; // of x = mu1 + L1 eps, whatever mu1 and L1 are
      const u = (dx + l11 * e) / m11;
      const v = (dy + l21 * e + l22 * f - m21 * u) / m22;
      const quadratic2 = u * u + v * v;
      const a = (constant - quadratic1 + quadratic2) / 2 - exact[0];
      const b = quadratic1 - exact[1];
      const c = quadratic2 - exact[2];
      sums[0] += a;
      sums[1] += b;
      sums[2] += c;
      sums[3] += a * a;
      sums[4] += b * b;
      sums[5] += c * c;
    }
    this.n = end;
  }

  get left() {
    return this.size - this.n;
  }

  /** Mean and standard error of the log ratio and the two forms. */
  get result() {
    return this.exact.map((value, i) => {
      const off = this.sums[i] / this.n;
      const variance = Math.max(0, (this.sums[3 + i] - this.n * off * off) / (this.n - 1));
      return [value + off, Math.sqrt(variance / this.n)];
    });
  }
}

// --- the integrand as a map -------------------------------------------------------------------

/** first log(first / second) on a lattice: the colour of the denser, as deep as it counts. */
class Heat {
  constructor() {
    this.canvas = el("canvas", { class: "heat", role: "img", "aria-label": "the integrand of the KL" });
    this.scratch = document.createElement("canvas");
  }

  /** Draws it for a window of `width` x `height` pixels; returns the largest absolute value. */
  draw(first, second, view, width, height) {
    // Fine enough for the thinnest axis, as far as a frame allows.
    const thinnest = Math.min(...first.sigma, ...second.sigma) * view.scale;
    const cell = Math.max(2.5, Math.min(5, thinnest / 2));
    const [W, H] = [Math.ceil(width / cell), Math.ceil(height / cell)];
    const step = cell / view.scale;
    const p = density(first, step);
    const q = density(second, step);
    const values = this.values?.length === W * H ? this.values : (this.values = new Float32Array(W * H));
    const left = view.x - width / 2 / view.scale + step / 2;
    const top = view.y + height / 2 / view.scale - step / 2;
    let most = 0;
    for (let j = 0, i = 0; j < H; j++) {
      const y = top - j * step;
      for (let k = 0; k < W; k++, i++) {
        const x = left + k * step;
        const logP = logDensity(p, x, y);
        if (logP < p.top - 30) {
          values[i] = 0;
          continue;
        }
        const value = Math.exp(logP) * (logP - logDensity(q, x, y));
        values[i] = value;
        most = Math.max(most, Math.abs(value));
      }
    }
    this.paint(values, W, H, most, COLOURS[first.name], COLOURS[second.name]);
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, w, h);
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.scratch, 0, 0, W * cell * ratio, H * cell * ratio);
    return most;
  }

  paint(values, W, H, most, adds, subtracts) {
    if (this.scratch.width !== W || this.scratch.height !== H || !this.data) {
      [this.scratch.width, this.scratch.height] = [W, H];
      this.data = new ImageData(W, H);
    }
    const out = new Uint32Array(this.data.data.buffer);
    const [up, down] = [adds, subtracts].map((colour) => {
      const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
      return (b << 16) | (g << 8) | r;
    });
    const scale = most > 1e-12 ? 1 / most : 0;
    for (let i = 0; i < W * H; i++) {
      const value = values[i] * scale;
      out[i] = ((Math.sqrt(Math.abs(value)) * 225) << 24) | (value > 0 ? up : down);
    }
    this.scratch.getContext("2d").putImageData(this.data, 0, 0);
  }

  clear() {
    this.canvas.getContext("2d").clearRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

/** What logDensity needs. A lattice of squares shows a density widened by about half a square. */
function density({ mu, cov: [a, b, c] }, step) {
  const wider = (0.4 * step) ** 2;
  [a, c] = [a + wider, c + wider];
  const det = a * c - b * b;
  return { x: mu[0], y: mu[1], xx: c / det, xy: -b / det, yy: a / det, top: -Math.log(2 * Math.PI) - Math.log(det) / 2 };
}

function logDensity(d, x, y) {
  const [u, v] = [x - d.x, y - d.y];
  return d.top - (d.xx * u * u + 2 * d.xy * u * v + d.yy * v * v) / 2;
}

// --- the plane and the numbers ----------------------------------------------------------------

class Duel {
  constructor(host) {
    this.host = host; // send(pair): what the hand let go of
    this.P = new Gaussian("P");
    this.Q = new Gaussian("Q");
    this.view = { x: 0, y: 0, scale: 80 };
    this.map = "P"; // whose integrand is shown: P log(P/Q), Q log(Q/P), or ""
    this.size = 10000;
    this.seed = 0;
    this.special = false; // P diagonal and Q = N(0, I): equation (6)
    this.top = "P"; // the one whose handles lie on top
    this.samples = [new Sample(), new Sample()];
    this.buildPlane();
    this.buildNumbers();
    this.resizes = new ResizeObserver(() => {
      this.fit(true);
      this.wake("pair");
    });
    this.resizes.observe(this.plane);
    this.following = (event) => this.followLink(event);
    document.addEventListener("click", this.following, { capture: true });
    this.ended = leaveInTurn(() => this.emitting && this.emitNow());
  }

  destroy() {
    this.off = true;
    clearTimeout(this.emitting);
    for (const frame of [this.frame, this.gliding, this.refitting]) cancelAnimationFrame(frame);
    this.resizes.disconnect();
    document.removeEventListener("click", this.following, { capture: true });
    this.ended();
    this.plane.remove();
    this.numbers.remove();
  }

  /** What Python says: a pair only if it was set there since; the hand's own is not sent back. */
  setData(data) {
    if (!this.told) {
      this.map = data.map;
      this.size = data.size;
      this.seed = data.seed;
    }
    this.axisNames.forEach((name, i) => (name.textContent = data.axes[i]));
    if (data.set !== this.told) {
      const first = this.told === undefined;
      this.told = data.set;
      this.special = data.special;
      this.say("");
      const pair = NAMES.map((name) => ({ mu: data[name].mu, cov: flat(data[name].cov) }));
      this.glide(pair, first);
    }
    this.showSettings();
    this.wake("pair");
  }

  // --- what the hand does

  /** Moves both to a pair in a third of a second, so that the eye can follow. */
  glide([p, q], atOnce = false) {
    const targets = { P: p, Q: q };
    this.arrive?.();
    const to = {};
    for (const name of NAMES) {
      const axes = axesOf(targets[name].cov);
      to[name] = atOnce ? axes : nearestAxes(this[name], axes);
    }
    const from = Object.fromEntries(NAMES.map((n) => [n, { mu: [...this[n].mu], sigma: [...this[n].sigma], angle: this[n].angle }]));
    const viewFrom = { ...this.view };
    const finish = () => {
      cancelAnimationFrame(this.gliding);
      this.gliding = this.arrive = null;
      for (const name of NAMES) {
        this[name].take(targets[name].mu, targets[name].cov);
        Object.assign(this[name], to[name]);
      }
      this.wake("pair");
    };
    const viewTo = this.fitted(NAMES.map((name) => targets[name]));
    if (atOnce || matchMedia("(prefers-reduced-motion: reduce)").matches || !viewTo) {
      finish();
      if (viewTo) this.view = viewTo;
      return;
    }
    this.arrive = finish;
    const start = performance.now();
    const move = () => {
      const t = Math.min(1, (performance.now() - start) / GLIDE_MS);
      const eased = t * t * (3 - 2 * t);
      const between = (a, b) => a + eased * (b - a);
      for (const name of NAMES) {
        const gaussian = this[name];
        gaussian.mu = from[name].mu.map((v, i) => between(v, targets[name].mu[i]));
        gaussian.setAxes(
          from[name].sigma.map((v, i) => v * (to[name].sigma[i] / v) ** eased),
          between(from[name].angle, to[name].angle));
      }
      this.view = this.viewBetween(viewFrom, viewTo, eased);
      this.wake("pair");
      if (t < 1) this.gliding = requestAnimationFrame(move);
      else finish();
    };
    this.gliding = requestAnimationFrame(move);
  }

  viewBetween(from, to, t) {
    return {
      x: from.x + t * (to.x - from.x),
      y: from.y + t * (to.y - from.y),
      scale: from.scale * (to.scale / from.scale) ** t,
    };
  }

  /** Ends a glide where it would have ended: the hand is faster. */
  grab(name) {
    this.arrive?.();
    cancelAnimationFrame(this.refitting);
    this.top = name;
    this.say("");
    this.order();
  }

  release() {
    this.holding = null;
    this.fit();
    this.wake("pair");
    this.emit();
  }

  emit() {
    clearTimeout(this.emitting);
    this.emitting = setTimeout(() => this.emitNow(), EMIT_AFTER_MS);
  }

  emitNow() {
    clearTimeout(this.emitting);
    this.emitting = null;
    if (this.holding || this.off) return;
    this.host.send({
      P: this.P.plain, Q: this.Q.plain,
      map: this.map, size: this.size, seed: this.seed, special: this.special,
    });
  }

  moveMean(name, mu) {
    this[name].mu = mu;
    this.wake("pair");
  }

  /** An axis' tip is at a pixel; `start` is how long the axis was and how far the handle away. */
  moveTip(name, axis, [px, py], start) {
    const gaussian = this[name];
    const [x0, y0] = this.toPixels(gaussian.mu);
    const [dx, dy] = [px - x0, y0 - py];
    const along = this.special ? Math.abs(axis ? dy : dx) : Math.hypot(dx, dy);
    // Twice as far from the mean is twice as long, wherever the handle stood at first.
    const free = (away) => Math.max(0, away - DEAD_PX);
    let sigma = (start.sigma * free(along)) / free(start.away);
    const stopped = sigma < SIGMA_STOP;
    if (stopped) sigma = Math.min(SIGMA_STOP, gaussian.sigma[axis]);
    this.say(stopped ? `${name} stops at σ = ${SIGMA_STOP}: at 0 its covariance is singular, and both KLs are infinite.` : "");
    const both = [...gaussian.sigma];
    both[axis] = sigma;
    const turns = !this.special && along > DEAD_PX;
    const angle = turns ? Math.atan2(dy, dx) - (axis ? Math.PI / 2 : 0) : gaussian.angle;
    gaussian.setAxes(both, angle);
    if (this.special) gaussian.cov[1] = 0;
    this.wake("pair");
  }

  /** The VAE's case, equation (6): Q becomes the prior and P loses its tilt; they stay so. */
  setSpecial(on) {
    this.special = on;
    this.say("");
    if (on) {
      const [a, , c] = this.P.cov;
      this.top = "P";
      this.glide([{ mu: [...this.P.mu], cov: [a, 0, c] }, { mu: [0, 0], cov: [1, 0, 1] }]);
    }
    this.showSettings();
    this.order();
    this.wake("pair");
    setTimeout(() => this.emit(), on ? GLIDE_MS + 50 : 0);
  }

  // --- the window

  get area() {
    return [this.plane.clientWidth, this.plane.clientHeight];
  }

  toPixels([x, y]) {
    const [w, h] = this.area;
    return [w / 2 + (x - this.view.x) * this.view.scale, h / 2 - (y - this.view.y) * this.view.scale];
  }

  toPlane([px, py]) {
    const [w, h] = this.area;
    return [this.view.x + (px - w / 2) / this.view.scale, this.view.y - (py - h / 2) / this.view.scale];
  }

  /** Where both end, in the plane: [left, right, bottom, top]. */
  bounds(pair) {
    const ends = pair.flatMap(({ mu, cov: [a, , c] }) => {
      const [x, y] = [REACH * Math.sqrt(a), REACH * Math.sqrt(c)];
      return [[mu[0] - x, mu[1] - y], [mu[0] + x, mu[1] + y]];
    });
    const [xs, ys] = [0, 1].map((i) => ends.map((end) => end[i]));
    return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  }

  /** The window that shows the pair; null while the plane has no size. */
  fitted(pair) {
    const [w, h] = this.area;
    if (!w || !h) return null;
    const [left, right, bottom, top] = this.bounds(pair);
    const scale = Math.min((w - 40) / (right - left), (h - 40) / (top - bottom));
    return { x: (left + right) / 2, y: (bottom + top) / 2, scale };
  }

  /** Another window if the pair has left this one, or is lost in it. */
  fit(always = false) {
    const pair = [this.P, this.Q];
    const to = this.fitted(pair);
    if (!to) return;
    const [left, right, bottom, top] = this.bounds(pair);
    const [x0, y1] = this.toPlane([0, 0]);
    const [x1, y0] = this.toPlane(this.area);
    const margin = 0.08 * (x1 - x0);
    const inside = left > x0 - margin && right < x1 + margin && bottom > y0 - margin && top < y1 + margin;
    if (!always && inside && to.scale < 1.7 * this.view.scale) return;
    cancelAnimationFrame(this.refitting);
    if (always) {
      this.view = to;
      return;
    }
    const from = { ...this.view };
    const start = performance.now();
    const move = () => {
      const t = Math.min(1, (performance.now() - start) / GLIDE_MS);
      this.view = this.viewBetween(from, to, t * t * (3 - 2 * t));
      this.wake("pair");
      this.refitting = t < 1 ? requestAnimationFrame(move) : null;
    };
    this.refitting = requestAnimationFrame(move);
  }

  // --- drawing

  wake(what) {
    if (what) this.dirty = true;
    if (what) this.changed = performance.now();
    this.frame ??= requestAnimationFrame((now) => this.draw(now));
  }

  draw() {
    this.frame = null;
    if (this.off) return;
    const start = performance.now();
    if (this.dirty) {
      this.dirty = false;
      this.drawPlane();
      this.drawHeat();
      this.showTerms();
      this.beginSamples();
    }
    const moving = this.holding || this.gliding || start - this.changed < STILL_MS;
    const end = performance.now() + (moving ? MOVING_MS : RESTING_MS);
    let left;
    do {
      for (const sample of this.samples) if (sample.left) sample.step();
      left = this.samples.some((sample) => sample.left);
    } while (left && performance.now() < end);
    this.showSamples();
    if (left) this.wake();
  }

  beginSamples() {
    if (this.noiseSeed !== this.seed || this.eps.length !== 2 * this.size) {
      this.noiseSeed = this.seed;
      this.eps = noise(this.seed, 2 * this.size);
    }
    this.samples[0].begin(this.P, this.Q, this.eps, this.size);
    this.samples[1].begin(this.Q, this.P, this.eps, this.size);
  }

  buildPlane() {
    this.heat = new Heat();
    this.svg = shape("svg", { "aria-hidden": "true" });
    this.grid = shape("g", { class: "grid" });
    this.svg.append(this.grid);
    this.outlines = {};
    for (const name of ["Q", "P"]) {
      const colour = COLOURS[name];
      const fills = [2, 1].map((radius) => [radius, shape("ellipse", { class: "fill", fill: colour })]);
      const lines = [2, 1].map((radius) => [radius, shape("ellipse", { class: "line", fill: "none", stroke: colour })]);
      const arms = [0, 1].map(() => shape("line", { class: "arm", stroke: colour }));
      this.outlines[name] = { ellipses: [...fills, ...lines], arms };
      this.svg.append(...[...fills, ...lines].map(([, line]) => line), ...arms);
    }
    this.ticks = el("div", { class: "ticks", "aria-hidden": "true" });
    this.axisNames = ["x", "y"].map((axis) => el("div", { class: `axis ${axis}`, "aria-hidden": "true" }));
    this.labels = Object.fromEntries(NAMES.map((name) => [name, el("div", { class: "label", style: `color:${COLOURS[name]}` }, name)]));
    this.handles = Object.fromEntries(NAMES.map((name) => [name, ["mean", 0, 1].map((part) => this.handle(name, part))]));
    this.mapButtons = [["P", "P log(P/Q)"], ["Q", "Q log(Q/P)"], ["", "off"]].map(([map, text]) =>
      Object.assign(toggle(text, map ? `the integrand of KL(${map}, ${map === "P" ? "Q" : "P"})` : "no map", () => {
        this.map = map;
        this.showSettings();
        this.wake("pair");
        this.emit();
      }), { map }));
    this.legendBar = el("i");
    this.legendEnds = [el("span"), el("span")];
    this.legendText = el("div");
    this.legend = el("div", { class: "legend" }, this.legendText, this.legendBar, el("div", { class: "ends" }, ...this.legendEnds));
    this.status = el("div", { class: "status", role: "status" });
    this.plane = el("div", { class: "plane" }, this.heat.canvas, this.svg, this.ticks, ...this.axisNames,
      ...Object.values(this.labels), ...Object.values(this.handles).flat(),
      el("div", { class: "maps" }, el("span", {}, "Map"), ...this.mapButtons), this.legend, this.status);
    this.plane.addEventListener("pointerdown", (event) => this.handleUnder(event)?.take(event));
    this.order();
  }

  handle(name, part) {
    const what = part === "mean" ? "the mean" : `the ${["first", "second"][part]} axis`;
    const handle = el("div", { class: `handle ${part === "mean" ? "mean" : "tip"}`, "data-handle": `${name} ${part}`,
      tabindex: "0", role: "slider", "aria-label": `${what} of ${name}: drag it, or use the arrow keys`,
      "aria-valuenow": "0", style: `--colour:${COLOURS[name]}` }, el("i"));
    let start = null;
    handle.take = (event) => {
      event.preventDefault();
      handle.focus({ preventScroll: true, focusVisible: false });
      handle.setPointerCapture(event.pointerId);
      this.grab(name);
      this.holding = handle;
      start = this.startOf(name, part, this.at(event));
    };
    handle.addEventListener("pointermove", (event) => {
      if (this.holding === handle) this.drag(name, part, this.at(event), start);
    });
    const release = () => {
      if (this.holding === handle) this.release();
    };
    handle.addEventListener("pointerup", release);
    handle.addEventListener("lostpointercapture", release);
    handle.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 20 : 4;
      const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] }[event.key];
      if (!by) return;
      event.preventDefault();
      event.stopPropagation();
      this.grab(name);
      const at = this.placeOf(name, part);
      this.drag(name, part, [at[0] + by[0], at[1] + by[1]], this.startOf(name, part, at));
      this.emit();
    });
    handle.addEventListener("keyup", (event) => {
      if (event.key.startsWith("Arrow")) this.fit();
    });
    return handle;
  }

  /** What a drag from a pixel goes by: how far it missed the handle's middle, how long the axis was. */
  startOf(name, part, at) {
    const place = this.placeOf(name, part);
    const start = { missed: [at[0] - place[0], at[1] - place[1]] };
    if (part === "mean") return start;
    return { ...start, sigma: this[name].sigma[part], away: this.awayOf(name, part) };
  }

  drag(name, part, [px, py], start) {
    const at = [px - start.missed[0], py - start.missed[1]];
    if (part === "mean") this.moveMean(name, this.toPlane(at));
    else this.moveTip(name, part, at, start);
  }

  /** What a press takes: the nearest handle, else the mean of the Gaussian whose body is there. */
  handleUnder(event) {
    if (event.button > 0 || this.holding || event.target.closest?.(".maps, .legend")) return null;
    const at = this.at(event);
    const free = this.special ? ["P"] : [this.top, ...NAMES.filter((name) => name !== this.top)];
    let [best, found] = [GRIP_PX, null];
    for (const name of free) {
      for (const [i, handle] of this.handles[name].entries()) {
        const place = this.placeOf(name, i ? i - 1 : "mean");
        const away = Math.hypot(at[0] - place[0], at[1] - place[1]);
        if (away < best) [best, found] = [away, handle];
      }
    }
    if (found) return found;
    const point = this.toPlane(at);
    const distances = Object.fromEntries(free.map((name) => {
      const [l11, l21, l22] = this[name].factor;
      const u = (point[0] - this[name].mu[0]) / l11;
      return [name, Math.hypot(u, (point[1] - this[name].mu[1] - l21 * u) / l22)];
    }));
    const [name] = free.filter((n) => distances[n] < 2).sort((a, b) => distances[a] - distances[b]);
    return name ? this.handles[name][0] : null;
  }

  /** A pointer event's place on the plane, in pixels. */
  at(event) {
    const box = this.plane.getBoundingClientRect();
    const zoom = box.width / this.plane.offsetWidth || 1;
    return [(event.clientX - box.left) / zoom, (event.clientY - box.top) / zoom];
  }

  awayOf(name, axis) {
    return Math.max(NEAREST_PX, this[name].sigma[axis] * this.view.scale);
  }

  placeOf(name, part) {
    const [x, y] = this.toPixels(this[name].mu);
    if (part === "mean") return [x, y];
    const [u, v] = this[name].direction(part);
    const away = this.awayOf(name, part);
    return [x + away * u, y - away * v];
  }

  /** The handles of the one that was last touched lie on top. */
  order() {
    for (const name of NAMES) {
      const above = name === this.top ? 4 : 2;
      for (const [i, handle] of this.handles[name].entries()) {
        handle.style.zIndex = i ? above : above + 1;
        handle.hidden = this.special && name === "Q";
      }
    }
  }

  drawPlane() {
    const [w, h] = this.area;
    if (!w || !h) return;
    this.drawGrid(w, h);
    for (const name of NAMES) {
      const gaussian = this[name];
      const [x, y] = this.toPixels(gaussian.mu);
      const { ellipses, arms } = this.outlines[name];
      const degrees = (-gaussian.angle * 180) / Math.PI;
      for (const [radius, ellipse] of ellipses) {
        ellipse.setAttribute("rx", Math.min(1e5, radius * gaussian.sigma[0] * this.view.scale));
        ellipse.setAttribute("ry", Math.min(1e5, radius * gaussian.sigma[1] * this.view.scale));
        ellipse.setAttribute("transform", `translate(${x} ${y}) rotate(${degrees})`);
      }
      this.handles[name].forEach((handle, i) => {
        const part = i ? i - 1 : "mean";
        const [hx, hy] = this.placeOf(name, part);
        handle.style.transform = `translate(${hx}px,${hy}px)`;
        if (i) {
          handle.firstChild.style.transform = `rotate(${degrees}deg)`;
          const arm = arms[part];
          for (const [key, value] of Object.entries({ x1: x, y1: y, x2: hx, y2: hy })) arm.setAttribute(key, value);
          arm.style.display = this.special && name === "Q" ? "none" : "";
          const turn = ((gaussian.angle * 180) / Math.PI + 90 * part).toFixed(0);
          handle.setAttribute("aria-valuenow", gaussian.sigma[part].toPrecision(4));
          handle.setAttribute("aria-valuetext", `σ = ${gaussian.sigma[part].toPrecision(3)} at ${turn} degrees`);
        } else {
          handle.setAttribute("aria-valuenow", gaussian.mu[0].toFixed(3));
          handle.setAttribute("aria-valuetext", `(${gaussian.mu.map((v) => v.toFixed(2)).join(", ")})`);
        }
      });
      this.drawLabel(name, w, h);
    }
  }

  /** The name stands where the 2-sigma ellipse is farthest from the other. */
  drawLabel(name, w, h) {
    const [gaussian, other] = name === "P" ? [this.P, this.Q] : [this.Q, this.P];
    const fallback = name === "P" ? [-0.6, 0.8] : [0.6, -0.8];
    // Close means would let it spin: the fallback has a say then.
    const size = 0.35 * Math.min(gaussian.sigma[0], gaussian.sigma[1]);
    let u = gaussian.mu.map((v, i) => v - other.mu[i] + size * fallback[i]);
    const length = Math.hypot(...u) || 1;
    u = u.map((v) => v / length);
    const [a, b, c] = gaussian.cov;
    const spread = [a * u[0] + b * u[1], b * u[0] + c * u[1]];
    const norm = Math.sqrt(u[0] * spread[0] + u[1] * spread[1]) || 1;
    const [x, y] = this.toPixels(gaussian.mu.map((v, i) => v + (2 * spread[i]) / norm));
    const label = this.labels[name];
    const text = name === "Q" && this.special ? "Q = N(0, I)" : name;
    if (label.textContent !== text) label.textContent = text;
    const room = text.length > 1 ? 60 : 18;
    const px = Math.max(room, Math.min(w - room, x + 16 * u[0]));
    const py = Math.max(52, Math.min(h - 30, y - 16 * u[1]));
    label.style.transform = `translate(${px}px,${py}px) translate(-50%,-50%)`;
  }

  drawGrid(w, h) {
    const step = niceStep(90 / this.view.scale);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const [left, top] = this.toPlane([0, 0]);
    const [right, bottom] = this.toPlane([w, h]);
    const lines = [];
    const ticks = [];
    for (let i = Math.ceil(left / step); i * step <= right; i++) {
      const [x] = this.toPixels([i * step, 0]);
      lines.push(["line", { x1: x, x2: x, y1: 0, y2: h, class: i ? "" : "zero" }]);
      if (x > 60 && x < w - 30) ticks.push([x, h - 4, (i * step).toFixed(digits), "below"]);
    }
    for (let i = Math.ceil(bottom / step); i * step <= top; i++) {
      const [, y] = this.toPixels([0, i * step]);
      lines.push(["line", { x1: 0, x2: w, y1: y, y2: y, class: i ? "" : "zero" }]);
      if (y > 60 && y < h - 30) ticks.push([5, y, (i * step).toFixed(digits), "beside"]);
    }
    const signature = JSON.stringify([lines, ticks]);
    if (signature === this.gridSignature) return;
    this.gridSignature = signature;
    this.grid.replaceChildren(...lines.map(([tag, attributes]) => shape(tag, attributes)));
    this.ticks.replaceChildren(...ticks.map(([x, y, text, side]) =>
      el("span", { class: side, style: `left:${x}px;top:${y}px` }, text.replace("-", "−"))));
  }

  drawHeat() {
    const [w, h] = this.area;
    this.plane.classList.toggle("mapped", Boolean(this.map));
    this.legend.hidden = !this.map;
    if (!this.map || !w || !h) return this.heat.clear();
    const [first, second] = this.map === "P" ? [this.P, this.Q] : [this.Q, this.P];
    const most = this.heat.draw(first, second, this.view, w, h);
    const [a, b] = [first.name, second.name];
    const text = `${a} log(${a}/${b}), nats per unit area`;
    if (this.legendText.textContent !== text) {
      this.legendText.textContent = text;
      this.legendBar.style.background =
        `linear-gradient(to right, ${COLOURS[b]}, ${COLOURS[b]}55 30%, transparent 50%, ${COLOURS[a]}55 70%, ${COLOURS[a]})`;
    }
    const none = most <= 1e-12;
    this.legendEnds[0].textContent = none ? "" : `−${short(most)} where ${b} is denser`;
    this.legendEnds[1].textContent = none ? "0 everywhere" : `+${short(most)} where ${a} is`;
  }

  buildNumbers() {
    const cell = (attributes = {}) => el("td", attributes);
    const head = (text, small, colour) =>
      el("th", { scope: "col" }, el("span", { style: `--colour:${colour}` }, text), el("small", {}, small));
    this.klCells = [cell({ "data-kl": "PQ" }), cell({ "data-kl": "QP" })];
    this.termCells = TERMS.map(([name]) => ["PQ", "QP"].map((way) => cell({ "data-term": `${name} ${way}` })));
    this.terms = el("table", { class: "terms", "data-part": "terms" },
      el("thead", {},
        el("tr", {}, el("th"), head("KL(P, Q)", "1 is P, 2 is Q", COLOURS.P), head("KL(Q, P)", "1 is Q, 2 is P", COLOURS.Q)),
        el("tr", { class: "kl" }, el("th", { scope: "row" }, "nats"), ...this.klCells)),
      el("tbody", {}, ...TERMS.map(([, label], i) => el("tr", {}, el("th", { scope: "row" }, label), ...this.termCells[i]))),
      el("caption", {}, "The KL is half the sum of its four terms, equation (5); it is not symmetric, (1)."));

    const rows = [["log P₁/P₂", "equation (1)"], ["(x−μ₁)ᵀ Σ₁⁻¹ (x−μ₁)", "equation (3): k"], ["(x−μ₂)ᵀ Σ₂⁻¹ (x−μ₂)", "equation (4): trace + distance"]];
    this.sampleCells = rows.map((_, i) => ["PQ", "QP"].map((way) => {
      const [mean, exact] = [el("span"), el("small")];
      const made = cell({ "data-sample": `${["kl", "quadratic1", "quadratic2"][i]} ${way}` });
      made.append(mean, exact);
      return { mean, exact, made };
    }));
    this.sizeRange = el("input", { type: "range", min: "0", max: String(SIZES.length - 1), step: "1", "aria-label": "L, the number of draws" });
    this.sizeRange.addEventListener("input", () => {
      this.size = SIZES[Number(this.sizeRange.value)];
      this.showSettings();
      this.wake("pair");
    });
    this.sizeRange.addEventListener("change", () => this.emit());
    this.sizeText = el("output");
    this.seedText = el("span", { class: "seed" });
    this.samplesTable = el("table", { class: "samples", "data-part": "samples" },
      el("colgroup", {}, el("col"), el("col", { class: "value" }), el("col", { class: "value" })),
      el("thead", {}, el("tr", {}, el("th", { scope: "col", colspan: "3" },
        el("div", { class: "bar" },
          el("label", {}, "Mean over L draws from P₁", this.sizeRange), this.sizeText, el("span", { class: "spring" }), this.seedText,
          button("Resample", () => {
            this.seed = (this.seed + 1) % 2 ** 31;
            this.showSettings();
            this.wake("pair");
            this.emit();
          }))))),
      el("tbody", {}, ...rows.map(([label, equation], i) =>
        el("tr", {}, el("th", { scope: "row" }, label, el("small", {}, equation)), ...this.sampleCells[i].map((c) => c.made)))));

    this.specialButton = toggle("P diagonal, Q = N(0, I)", "the case of a VAE: equation (6)", () => this.setSpecial(!this.special));
    this.specialText = el("output");
    this.specialNote = el("small");
    this.specialBox = el("div", { class: "special", "data-part": "special" },
      el("div", { class: "bar" }, this.specialButton, this.specialText), this.specialNote);
    this.numbers = el("div", { class: "numbers" }, this.terms, this.samplesTable, this.specialBox);
  }

  showSettings() {
    this.sizeRange.value = Math.max(0, SIZES.findIndex((size) => size >= this.size));
    this.seedText.textContent = `seed ${this.seed}`;
    for (const made of this.mapButtons) made.setAttribute("aria-pressed", made.map === this.map);
    this.specialButton.setAttribute("aria-pressed", this.special);
    this.order();
  }

  showTerms() {
    const both = [klParts(this.P, this.Q), klParts(this.Q, this.P)];
    both.forEach((parts, way) => {
      this.klCells[way].textContent = number(parts.kl);
      TERMS.forEach(([name], i) => (this.termCells[i][way].textContent = number(parts[name])));
    });
    if (this.special) {
      const each = [0, 1].map((i) => {
        const variance = this.P.cov[2 * i];
        return (-Math.log(variance) - 1 + variance + this.P.mu[i] ** 2) / 2;
      });
      this.specialText.textContent = `${each.map(number).join(" + ")} = ${number(each[0] + each[1])} nats`;
      this.specialNote.textContent = "Equation (6), one term per dimension: the KL in the loss −E_q log p(x|z) + KL(q, p).";
    } else {
      this.specialText.textContent = "";
      this.specialNote.textContent = "Equation (6), a VAE's own case: the posterior q(z|x) against the prior.";
    }
  }

  showSamples() {
    this.samples.forEach((sample, way) => {
      sample.result.forEach(([mean, stderr], i) => {
        const { mean: text, exact } = this.sampleCells[i][way];
        text.textContent = `${number(mean)} ± ${number(stderr)}`;
        exact.textContent = `exactly ${number(sample.exact[i])}`;
      });
    });
    const { n } = this.samples[0];
    this.sizeText.textContent = n < this.size ? `${count(n)} of ${count(this.size)}` : `L = ${count(n)}`;
  }

  say(text) {
    if (this.status.textContent !== text) this.status.textContent = text;
  }

  /** A link of the walk-through shows what it speaks of. */
  followLink(event) {
    const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement);
    const part = link?.getAttribute("href")?.match(/^#(map|terms|samples|special)$/)?.[1];
    if (!part) return;
    event.preventDefault();
    event.stopPropagation();
    const places = { map: this.plane, terms: this.terms, samples: this.samplesTable, special: this.specialBox };
    const place = places[part];
    place.scrollIntoView({ behavior: "smooth", block: "center" });
    place.classList.remove("pointed-at");
    void place.offsetWidth; // so that the animation begins anew
    place.classList.add("pointed-at");
  }
}

// --- small things -----------------------------------------------------------------------------

const flat = ([[a, b], [, c]]) => [a, b, c];
const count = (n) => n.toLocaleString("en-US");

/** The same ellipse can be written with its axes exchanged or turned by half a turn: the nearest. */
function nearestAxes(gaussian, { sigma, angle }) {
  const turned = (to) => to + Math.PI * Math.round((gaussian.angle - to) / Math.PI);
  const ways = [
    { sigma, angle: turned(angle) },
    { sigma: [sigma[1], sigma[0]], angle: turned(angle - Math.PI / 2) },
  ];
  const far = (way) => Math.abs(way.angle - gaussian.angle) + Math.abs(Math.log(way.sigma[0] / gaussian.sigma[0]));
  return far(ways[0]) <= far(ways[1]) + 1e-9 ? ways[0] : ways[1];
}

function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return power * [1, 2, 5, 10].find((step) => step * power >= least);
}

/** As `number` of vae/derivation.py writes it. */
function number(value) {
  const text = Math.abs(value) >= 1e4 ? value.toExponential(3).replace("+", "") : value.toFixed(3);
  return (text === "-0.000" ? "0.000" : text).replace("-", "−").replace("e-", "e−");
}

function short(value) {
  if (value >= 10 && value < 1e5) return value.toFixed(0);
  return value >= 0.01 && value < 10 ? value.toPrecision(2) : value.toExponential(1).replace("+", "");
}

// --- Streamlit's adapter ----------------------------------------------------------------------

let duel = null; // a page has one, in two places
const places = new Map(); // of what is mounted: "plane" and "numbers"

/** What Streamlit calls at each rerun, for each of the two places. */
export default function mount({ data, parentElement, setTriggerValue }) {
  const host = { send: (pair) => host.trigger("pair", pair) };
  duel ??= new Duel(host);
  const { part } = data;
  if (places.get(part) !== parentElement) {
    places.set(part, parentElement);
    parentElement.append(part === "plane" ? duel.plane : duel.numbers);
  }
  if (part === "plane") {
    duel.host.trigger = setTriggerValue; // made anew at each rerun
    duel.setData(data);
    globalThis.elboRoomGaussians = duel; // for those who measure
  }
  return () => {
    if (places.get(part) === parentElement) places.delete(part);
    if (places.size || !duel) return;
    duel.destroy();
    duel = null;
  };
}
