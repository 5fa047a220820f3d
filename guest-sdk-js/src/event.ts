/** The event as a plugin sees it. The host owns it: what is not asked for is not copied. */
/// <reference path="./wit.d.ts" />

import type { Event as Handle } from "hookmill:plugin/types@0.1.0";
import { PluginFault } from "./fault.ts";
import { type Json, Mismatch, Shape } from "./shape.ts";

/** One event. */
export class Event {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    this.#handle = handle;
  }

  /** `evt_` and 26 letters and digits, the same on every attempt. */
  get id(): string {
    return this.#handle.id();
  }

  /** The event type's name, for example `order.created`. */
  get type(): string {
    return this.#handle.eventType();
  }

  /** The version of the event type's schema it was accepted under; 0 if there was none. */
  get schemaVersion(): number {
    return this.#handle.schemaVersion();
  }

  /** The name of the application it belongs to. */
  get application(): string {
    return this.#handle.application();
  }

  /** When it happened, RFC 3339 in UTC. The one clock there is: `Date.now()` says the same. */
  get occurredAt(): string {
    return this.#handle.occurredAt();
  }

  /** What it is about, if its producer said. */
  get subject(): string | undefined {
    return this.#handle.subject();
  }

  /**
   * The value at a JSON pointer, which has to be there and of this shape; else the run ends as
   * `invalid-event` with a sentence that says what is there. Without a shape, any value.
   */
  get(pointer: string): Json;
  get<T>(pointer: string, shape: Shape<T>): T;
  get(pointer: string, shape?: Shape<unknown>): unknown {
    return this.#read(pointer, shape, this.getText(pointer));
  }

  /** `get`, but `undefined` if there is nothing there, or null. */
  find(pointer: string): Json | undefined;
  find<T>(pointer: string, shape: Shape<T>): T | undefined;
  find(pointer: string, shape?: Shape<unknown>): unknown {
    const text = this.getText(pointer);
    return text === undefined || text === "null" ? undefined : this.#read(pointer, shape, text);
  }

  /**
   * Several values in one call into the server: `{ id: "/id", vip: "/customer/vip" }`, each
   * `undefined` if there is nothing there.
   */
  findMany<K extends string>(pointers: { [P in K]: string }): { [P in K]: Json | undefined } {
    const names = Object.keys(pointers) as K[];
    const places = names.map((name) => checked(pointers[name]));
    const texts = this.#handle.getMany(places);
    const values = names.map((name, index) => {
      const text = texts[index];
      return [name, text === undefined || text === null ? undefined : JSON.parse(text)];
    });
    return Object.fromEntries(values);
  }

  /** The JSON text at a pointer, as the producer wrote it: large numbers keep their digits. */
  getText(pointer: string): string | undefined {
    return this.#handle.get(checked(pointer)) ?? undefined;
  }

  /**
   * The whole payload, parsed here. Prefer single fields: the server parses an event once for
   * all plugins, and remembers what an answer depended on.
   */
  json(): Json;
  json<T>(shape: Shape<T>): T;
  json(shape?: Shape<unknown>): unknown {
    return this.#read("", shape, this.#handle.raw());
  }

  /** The whole payload's JSON text, as the producer wrote it. */
  text(): string {
    return this.#handle.raw();
  }

  #read(pointer: string, shape: Shape<unknown> | undefined, text: string | undefined): unknown {
    const value = text === undefined ? undefined : (JSON.parse(text) as Json);
    try {
      return (shape ?? anything).read(value, pointer);
    } catch (error) {
      if (error instanceof Mismatch) throw PluginFault.invalidEvent(error.message);
      throw error;
    }
  }
}

const anything = new Shape<Json>({}, (value) => value);

/** A pointer that can't point is the author's mistake, not the event's. */
function checked(pointer: string): string {
  if (pointer !== "" && !pointer.startsWith("/")) {
    throw PluginFault.failed(
      `\`${pointer}\` is not a JSON pointer: it must begin with \`/\`; is \`/${pointer}\` meant?`,
    );
  }
  return pointer;
}
