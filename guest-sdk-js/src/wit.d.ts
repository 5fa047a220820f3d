/** The host's side of `wit/plugin.wit`, as componentize-js gives it to JavaScript. */

declare module "hookmill:plugin/types@0.1.0" {
  export interface Event {
    id(): string;
    eventType(): string;
    schemaVersion(): number;
    application(): string;
    occurredAt(): string;
    subject(): string | undefined;
    get(pointer: string): string | undefined;
    getMany(pointers: string[]): (string | undefined | null)[];
    raw(): string;
  }
}

declare module "hookmill:plugin/log@0.1.0" {
  export type Level = "debug" | "info" | "warn" | "error";
  export function write(level: Level, message: string): void;
}
