/**
 * The globals that would look outside: the clock and the dice. Here both follow from the event,
 * so a run stays a function of event and configuration, whatever the packages it uses call.
 */

import type { Event } from "hookmill:plugin/types@0.1.0";

let current: Event | undefined;
let now: number | undefined;
let dice: (() => number) | undefined;

/** From now on, clock and dice are this event's. Asked for only when used: asking is recorded. */
export function enter(event: Event): void {
  current = event;
  now = undefined;
  dice = undefined;
}

/** Back to the epoch, as when the plugin is built. */
export function leave(): void {
  current = undefined;
  now = undefined;
  dice = undefined;
}

function time(): number {
  now ??= current === undefined ? 0 : Date.parse(current.occurredAt());
  return now;
}

/** xorshift128 seeded by FNV-1a of the event's id: the same event, the same throws. */
function generator(seed: string): () => number {
  const state = new Uint32Array(4);
  for (let word = 0; word < 4; word += 1) {
    let hash = 0x811c9dc5 ^ word;
    for (let at = 0; at < seed.length; at += 1) {
      hash = Math.imul(hash ^ seed.charCodeAt(at), 0x01000193);
    }
    state[word] = hash === 0 ? 1 : hash;
  }
  const word = () => {
    let t = state[3]!;
    const s = state[0]!;
    state[3] = state[2]!;
    state[2] = state[1]!;
    state[1] = s;
    t ^= t << 11;
    t ^= t >>> 8;
    state[0] = t ^ s ^ (s >>> 19);
    return state[0];
  };
  for (let turn = 0; turn < 16; turn += 1) word();
  return () => ((word() >>> 5) * 67108864 + (word() >>> 6)) / 9007199254740992;
}

const SystemDate = Date;

class FrozenDate extends SystemDate {
  constructor(...parts: unknown[]) {
    if (parts.length === 0) super(time());
    else super(...(parts as [number]));
  }

  static override now(): number {
    return time();
  }
}

/** Puts them in place. Called before any of the plugin's own modules runs. */
export function install(): void {
  globalThis.Date = FrozenDate as unknown as DateConstructor;
  Math.random = roll;
  performance.now = () => 0;
  crypto.randomUUID = randomUuid;
  crypto.getRandomValues = randomValues as Crypto["getRandomValues"];
}

function roll(): number {
  dice ??= generator(current === undefined ? "" : current.id());
  return dice();
}

function randomValues(array: ArrayBufferView): ArrayBufferView {
  const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = Math.floor(roll() * 256);
  return array;
}

function randomUuid(): `${string}-${string}-${string}-${string}-${string}` {
  const bytes = new Uint8Array(16);
  randomValues(bytes);
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const part = (from: number, to?: number) => hex.slice(from, to);
  return `${part(0, 8)}-${part(8, 12)}-${part(12, 16)}-${part(16, 20)}-${part(20)}`;
}
