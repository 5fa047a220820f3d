/**
 * Shapes: what a JSON value has to look like. One declaration is the TypeScript type, the JSON
 * Schema that others see, and the check at run time, so that the three cannot disagree.
 */

/** Any JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A JSON Schema (draft 2020-12). */
export type JsonSchema = { [keyword: string]: Json };

/** Named shapes, as `config` and `object` take them. */
export type Shapes = { [name: string]: Shape<unknown> };

/** The type of the values that have a shape, or of objects whose fields do. */
export type Infer<S> =
  S extends Shape<infer T> ? T : S extends Shapes ? { [K in keyof S]: Infer<S[K]> } : never;

/** A value that is not of its shape. Becomes a fault; whose, the caller knows. */
export class Mismatch extends Error {}

type Read<T> = (value: Json, at: string) => T;

/** What stands in for a value that is missing or null. */
type Fallback<T> = { readonly value: T };

/** What a JSON value has to look like. Every method answers a new shape. */
export class Shape<T> {
  readonly schema: JsonSchema;
  readonly #read: Read<T>;
  readonly #fallback: Fallback<T> | undefined;

  constructor(schema: JsonSchema, read: Read<T>, fallback?: Fallback<T>) {
    this.schema = schema;
    this.#read = read;
    this.#fallback = fallback;
  }

  /** Whether the value may be missing. */
  get isOptional(): boolean {
    return this.#fallback !== undefined;
  }

  /** Says what it is for, to whoever configures the plugin. */
  describe(description: string): Shape<T> {
    return this.with({ description });
  }

  /** Adds keywords of JSON Schema, which the server checks when a step is saved. */
  with(keywords: JsonSchema): Shape<T> {
    return new Shape({ ...this.schema, ...keywords }, this.#read, this.#fallback);
  }

  /** It may be missing or null; then it is `undefined`. */
  optional(): Shape<T | undefined> {
    return new Shape<T | undefined>(nullable(this.schema), this.#read, { value: undefined });
  }

  /** It may be missing or null; then it is this. */
  default(value: T & Json): Shape<T> {
    const schema = { ...nullable(this.schema), default: value as Json };
    return new Shape<T>(schema, this.#read, { value });
  }

  /** The value found at a place, as this shape. Throws a `Mismatch` that names the place. */
  read(value: Json | undefined, at: string): T {
    if (value === undefined || value === null) {
      if (this.#fallback !== undefined) return this.#fallback.value;
      if (value === undefined) throw new Mismatch(`there is nothing at ${named(at)}`);
    }
    return this.#read(value, at);
  }
}

/** `null` stands for what is missing, as it does in Rust's `Option`. */
function nullable(schema: JsonSchema): JsonSchema {
  const { type, enum: choices, ...rest } = schema;
  if (typeof type === "string") {
    const either: JsonSchema = { ...rest, type: [type, "null"] };
    return Array.isArray(choices) ? { ...either, enum: [...choices, null] } : either;
  }
  return schema;
}

function named(at: string): string {
  return at === "" ? "it" : at;
}

/** The longest piece of a producer's text that is quoted. */
const QUOTED = 64;

function what(value: Json): string {
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return `the number ${value}`;
  if (Array.isArray(value)) return "an array";
  if (typeof value === "object") return "an object";
  const characters = [...value];
  if (characters.length <= QUOTED) return `the string ${JSON.stringify(value)}`;
  return `the string ${JSON.stringify(characters.slice(0, QUOTED).join("")).slice(0, -1)}…"`;
}

function mismatch(value: Json, at: string, expected: string): Mismatch {
  return new Mismatch(`${named(at)} is ${what(value)}, expected ${expected}`);
}

/** A key as one token of a JSON pointer. */
function token(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** Text. */
export const string: Shape<string> = new Shape({ type: "string" }, (value, at) => {
  if (typeof value !== "string") throw mismatch(value, at, "a string");
  return value;
});

/** A number. Those beyond 2^53 lose digits: read their text with `event.getText`. */
export const number: Shape<number> = new Shape({ type: "number" }, (value, at) => {
  if (typeof value !== "number") throw mismatch(value, at, "a number");
  return value;
});

/** A whole number that is exact, within ±(2^53 − 1). */
export const integer: Shape<number> = new Shape({ type: "integer" }, (value, at) => {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) {
    throw mismatch(value, at, "a whole number");
  }
  return value;
});

/** True or false. */
export const boolean: Shape<boolean> = new Shape({ type: "boolean" }, (value, at) => {
  if (typeof value !== "boolean") throw mismatch(value, at, "true or false");
  return value;
});

/** Anything. */
export const json: Shape<Json> = new Shape({}, (value) => value);

/** A value of a schema of your own: the type is your word, the server checks the schema. */
export function jsonSchema<T>(schema: JsonSchema): Shape<T> {
  return new Shape<T>(schema, (value) => value as T);
}

/** One of these texts. */
export function oneOf<const T extends string>(...choices: readonly T[]): Shape<T> {
  return new Shape<T>({ type: "string", enum: [...choices] }, (value, at) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) {
      throw mismatch(value, at, `one of ${choices.map((choice) => JSON.stringify(choice)).join(", ")}`);
    }
    return found;
  });
}

/** A list. */
export function array<T>(items: Shape<T>): Shape<T[]> {
  return new Shape<T[]>({ type: "array", items: items.schema }, (value, at) => {
    if (!Array.isArray(value)) throw mismatch(value, at, "an array");
    return value.map((item, index) => items.read(item, `${at}/${index}`));
  });
}

/** An object with any keys, whose values are alike. */
export function map<T>(values: Shape<T>): Shape<{ [key: string]: T }> {
  const schema = { type: "object", additionalProperties: values.schema };
  return new Shape<{ [key: string]: T }>(schema, (value, at) => {
    const entries = Object.entries(fields(value, at));
    return Object.fromEntries(
      entries.map(([key, item]) => [key, values.read(item, `${at}/${token(key)}`)]),
    );
  });
}

/** An object with these fields. In an event it may have others too. */
export function object<S extends Shapes>(shapes: S): Shape<Infer<S>> {
  return new Shape<Infer<S>>({ type: "object", ...properties(shapes) }, (value, at) => {
    return readFields(shapes, fields(value, at), at);
  });
}

/** The configuration: an object with these fields and no others. */
export function closed<S extends Shapes>(shapes: S): Shape<Infer<S>> {
  const schema = { type: "object", ...properties(shapes), additionalProperties: false };
  return new Shape<Infer<S>>(schema, (value, at) => {
    const found = fields(value, at);
    // A misspelt setting must not look as if it had been heard.
    const unknown = Object.keys(found).find((name) => !Object.hasOwn(shapes, name));
    if (unknown !== undefined) {
      const known = Object.keys(shapes).map((name) => `\`${name}\``);
      const expected = known.length === 0 ? "" : `: expected ${known.join(" or ")}`;
      throw new Mismatch(`${at}/${token(unknown)} is not known${expected}`);
    }
    return readFields(shapes, found, at);
  });
}

function fields(value: Json, at: string): { [key: string]: Json } {
  if (value === null || typeof value !== "object" || Array.isArray(value)) {
    throw mismatch(value, at, "an object");
  }
  return value;
}

function properties(shapes: Shapes): JsonSchema {
  const entries = Object.entries(shapes);
  const required = entries.filter(([, shape]) => !shape.isOptional).map(([name]) => name);
  const schema: JsonSchema = {
    properties: Object.fromEntries(entries.map(([name, shape]) => [name, shape.schema])),
  };
  return required.length === 0 ? schema : { ...schema, required };
}

function readFields<S extends Shapes>(shapes: S, found: { [key: string]: Json }, at: string) {
  const entries = Object.entries(shapes).map(([name, shape]) => {
    const place = `${at}/${token(name)}`;
    const value = Object.hasOwn(found, name) ? found[name] : undefined;
    if (value === undefined && !shape.isOptional) throw new Mismatch(`${place} is missing`);
    return [name, shape.read(value, place)];
  });
  return Object.fromEntries(entries) as Infer<S>;
}
