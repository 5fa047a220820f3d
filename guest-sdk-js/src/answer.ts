/** What a plugin answers. Plain values: `guest.ts` turns them into the interface's words. */

import type { Json } from "./shape.ts";

/** Headers beside the server's own, with lower-case names. */
export type Headers = { readonly [name: string]: string };

/** Don't deliver. */
export interface Drop {
  readonly answer: "drop";
  readonly reason: string;
}

/** Deliver, or go on, with what is there. */
export interface Pass {
  readonly answer: "pass";
}

/** What is sent instead of the payload. */
export interface Message {
  /** For example `text/csv`. */
  readonly contentType: string;
  readonly body: string | Uint8Array;
  readonly headers?: Headers;
}

/** Send this instead. */
export interface Deliver {
  readonly answer: "deliver";
  readonly message: Message;
}

/** A filter's answer. */
export type Verdict = Pass | Drop;

/** A transform's answer. */
export type Outcome = Pass | Drop | Deliver | Edits;

/** One change, in the interface's words. */
export type Change =
  | { tag: "set"; val: { pointer: string; value: string } }
  | { tag: "remove"; val: string }
  | { tag: "set-header"; val: { name: string; value: string } };

/** Deliver; in a transform, send the payload as it is. */
export function pass(): Pass {
  return { answer: "pass" };
}

/**
 * Don't deliver, for this reason, which is kept. Keep data out of it, so that equal reasons can
 * be counted.
 */
export function drop(reason: string): Drop {
  return { answer: "drop", reason };
}

/** Send these bytes instead of the payload. */
export function deliver(message: Message): Deliver {
  return { answer: "deliver", message };
}

/** Send this value instead of the payload, as `application/json`. */
export function deliverJson(value: unknown, headers: Headers = {}): Deliver {
  const body = JSON.stringify(value);
  if (body === undefined) throw new TypeError(`deliverJson needs a JSON value, not ${typeof value}`);
  return deliver({ contentType: "application/json", body, headers });
}

/** Send the payload with changes: the cheapest way, and the rest stays as it was written. */
export function edit(): Edits {
  return new Edits();
}

/** Changes to the payload, applied in order. */
export class Edits {
  readonly answer = "edit";
  readonly changes: Change[] = [];

  /** Puts a value at a pointer whose parent is there; `-` as its last token appends to a list. */
  set(pointer: string, value: Json): this {
    return this.setText(pointer, JSON.stringify(value));
  }

  /** `set` with a JSON text, for numbers whose digits JavaScript would lose. */
  setText(pointer: string, json: string): this {
    this.changes.push({ tag: "set", val: { pointer, value: json } });
    return this;
  }

  /** Removes what is at a pointer, if there is anything. */
  remove(pointer: string): this {
    this.changes.push({ tag: "remove", val: pointer });
    return this;
  }

  /** Adds a header to the request, replacing one of the same name. */
  header(name: string, value: string): this {
    this.changes.push({ tag: "set-header", val: { name, value } });
    return this;
  }
}
