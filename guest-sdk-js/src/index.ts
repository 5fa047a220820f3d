/**
 * What a plugin imports: everything here, and nothing else of this package.
 *
 * A plugin is one function of an event and a configuration, exported as the default of
 * `plugin.ts` or `plugin.js`. It keeps nothing from one run to the next.
 */

export { filter, transform } from "./define.ts";
export type { Filter, FilterPlugin, Manifest, Plugin, Transform, TransformPlugin } from "./define.ts";
export { deliver, deliverJson, drop, edit, Edits, pass } from "./answer.ts";
export type { Drop, Headers, Message, Outcome, Verdict } from "./answer.ts";
export type { Event } from "./event.ts";
export { PluginFault } from "./fault.ts";
export type { FaultKind } from "./fault.ts";
export {
  array,
  boolean,
  integer,
  json,
  jsonSchema,
  map,
  number,
  object,
  oneOf,
  Shape,
  string,
} from "./shape.ts";
export type { Infer, Json, JsonSchema, Shapes } from "./shape.ts";
