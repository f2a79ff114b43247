// What the files of this folder hand to one another, for the checker alone.

import type { Estimate } from "./estimate.js";
import type { Classes } from "./panel/classes.js";
import type { Frames } from "./panel/frames.js";
import type { Scene } from "./panel/scene.js";
import type { Selection } from "./panel/selection.js";
import type { Sender } from "./panel/sender.js";
import type { Settings } from "./panel/settings.js";
import type { Words } from "./panel/words.js";

export type Numbers = ArrayLike<number>;
export type Pair = [number, number];

/** A Gaussian over latent space with a diagonal covariance. */
export interface Q {
  mu: Numbers;
  sigma: Numbers;
}

/** Which point it is: of which data, seen through which checkpoint. */
export interface PointId {
  run: string;
  data: string;
  split: string;
  index: number;
}

/** A data point, as vae/live/panel.py and the exported page tell of it. */
export interface Point {
  id: PointId;
  label: string;
  class?: number;
  mu: number[];
  sigma: number[];
  x?: string | null;
  eps?: string | Float32Array;
}

/** The plane in latent space that a map shows. */
export interface Plane {
  origin: number[];
  directions: number[][];
  dims: number[] | null;
}

export interface Range {
  mu: Pair;
  sigma: Pair;
}

export interface SettingValues {
  seed: number;
  S: number;
  follow: boolean;
  smooth: boolean;
  manifold: boolean;
}

/** The classes of a model's condition, and the one that it is given: null for each point's own. */
export interface ToldClasses {
  names: string[];
  given: number | null;
}

export interface BestAnswer {
  id: string;
  mu?: number[];
  sigma?: number[];
  problem?: string;
}

/** What the server, or the exported page, says to the panel. */
export interface Told {
  model: string;
  points: string | null;
  plane: Plane | null;
  ranges: Range[];
  point: Point;
  q?: { mu: number[]; sigma: number[] } | null;
  classes?: ToldClasses | null;
  settings?: Partial<SettingValues>;
  best?: BestAnswer | null;
  problem?: string;
  chart?: string;
  /** For who knows none of the field's words yet: the tools that are there, and the pictures alone. */
  only?: string[] | null;
}

/** Whom the panel asks for the chart and tells what the hand did. */
export interface Host {
  findPlot(): Plot | null;
  send(name: string, value: unknown): void;
  can(name: string): boolean;
}

export interface PlotlyAxis {
  range: Pair;
  autorange?: unknown;
  _offset: number;
  _length: number;
  p2d?: unknown;
}

export interface PlotlyLayout {
  xaxis: PlotlyAxis;
  yaxis: PlotlyAxis;
  _size: unknown;
  dragmode: string;
}

export interface PlotlyTrace {
  visible: unknown;
  legendgroup?: string;
  x: Numbers;
  y: Numbers;
  customdata: Numbers;
}

export interface Plot extends HTMLElement {
  _fullLayout?: PlotlyLayout;
  _fullData: PlotlyTrace[];
  on(name: string, listener: () => void): void;
  removeListener?(name: string, listener: () => void): void;
}

export interface Operation {
  op: string;
  in: number;
  out: number;
  with?: number;
  [part: string]: any;
}

/** What Program.header() of vae/live/program.py gives. */
export interface ProgramHeader {
  ops: Operation[];
  sizes: number[];
  outputs: number[];
  output_shapes: number[][];
  floats: number;
}

export interface PackHeader {
  id: string;
  arrays: Record<string, { dtype: string; shape: number[]; offset: number }>;
  [part: string]: any;
}

/** p(x|z) of each number of a vector or series: its family, and what the decoder does not give. */
export interface Families {
  families: string[];
  logvarX: Float32Array;
  logR: Float32Array;
}

/** A feature of a vector, or a channel of a series, as vae/features.py has it. */
export type Feature = [name: string, kind: string, unit: string, mean: number, scale: number];

export interface Pack {
  header: PackHeader;
  arrays: Record<string, any>;
}

/** What the parts of a panel share. */
export interface Shared {
  host: Host;
  scene: Scene;
  selection: Selection;
  settings: Settings;
  classes: Classes;
  frames: Frames;
  sender: Sender;
  words: Words;
  say(sentence: string): void;
}

export type Show = (sample: number, raw: Float32Array, offset: number) => void;
export type { Estimate };

// WebGPU's flags, which the checker's own declarations lack.
declare global {
  const GPUBufferUsage: Record<"STORAGE" | "COPY_DST" | "COPY_SRC" | "UNIFORM" | "MAP_READ", number>;
  const GPUShaderStage: Record<"COMPUTE", number>;
  const GPUMapMode: Record<"READ", number>;
}
