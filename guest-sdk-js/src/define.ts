/** `filter` and `transform`: what a plugin's module exports as its default. */

import type { Outcome, Verdict } from "./answer.ts";
import type { Event } from "./event.ts";
import { closed, type Infer, type Shape, Shape as AnyShape, type Shapes } from "./shape.ts";

/** What a plugin says about itself. What is left out comes from `package.json`. */
export interface Manifest {
  /** Lower-case letters, digits and hyphens; else `name`. */
  name?: string;
  /** Else `version`. */
  version?: string;
  /** One line for people; else `description`. */
  summary?: string;
  /** Patterns of the event types it understands, `order.*`; any, if there are none. */
  eventTypes?: readonly string[];
}

type Config<C> = C extends Shape<infer T> ? T : Infer<C>;

/** A filter. */
export interface Filter<C> extends Manifest {
  /** The configuration's fields, or a shape for all of it. None, if left out. */
  config?: C;
  /** Decides on one event. */
  run(event: Event, config: Config<C>): Verdict;
}

/** A transform. */
export interface Transform<C> extends Manifest {
  /** The configuration's fields, or a shape for all of it. None, if left out. */
  config?: C;
  /** Turns one event into what is sent. */
  run(event: Event, config: Config<C>): Outcome;
}

/** What the builder makes a component of. */
export interface FilterPlugin {
  readonly kind: "filter";
  readonly manifest: Manifest;
  readonly config: Shape<unknown>;
  run(event: Event, config: unknown): Verdict;
}

/** What the builder makes a component of. */
export interface TransformPlugin {
  readonly kind: "transform";
  readonly manifest: Manifest;
  readonly config: Shape<unknown>;
  run(event: Event, config: unknown): Outcome;
}

/** Either. */
export type Plugin = FilterPlugin | TransformPlugin;

/** A plugin that decides whether an event is delivered. */
export function filter<C extends Shapes | Shape<unknown> = {}>(given: Filter<C>): FilterPlugin {
  const run = given.run as FilterPlugin["run"];
  return { kind: "filter", manifest: given, config: shape(given.config), run };
}

/** A plugin that decides what is sent. */
export function transform<C extends Shapes | Shape<unknown> = {}>(
  given: Transform<C>,
): TransformPlugin {
  const run = given.run as TransformPlugin["run"];
  return { kind: "transform", manifest: given, config: shape(given.config), run };
}

function shape(config: Shapes | Shape<unknown> | undefined): Shape<unknown> {
  return config instanceof AnyShape ? config : closed(config ?? {});
}
