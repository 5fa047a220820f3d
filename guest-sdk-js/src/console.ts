/** `console`: what a plugin prints goes to its log, which is kept with the delivery. */

import { type Level, write } from "hookmill:plugin/log@0.1.0";

function words(parts: unknown[]): string {
  return parts.map(word).join(" ");
}

function word(part: unknown): string {
  if (typeof part === "string") return part;
  if (part instanceof Error) return trace(part);
  try {
    return JSON.stringify(part) ?? String(part);
  } catch {
    return String(part);
  }
}

/** `TypeError: x is undefined; in total < run`: the functions, without the SDK's own. */
export function trace(error: Error): string {
  const said = `${error.name}: ${error.message}`;
  const names = (error.stack ?? "")
    .split("\n")
    .map((line) => line.split("@")[0] ?? "")
    .filter((name) => name !== "" && !/^(hookmill|export)_/.test(name))
    .slice(0, 8);
  return names.length === 0 ? said : `${said}; in ${names.join(" < ")}`;
}

/** Puts it in place. There is no log while the plugin is built: then it says nothing. */
export function install(): void {
  const at = (level: Level) => (...parts: unknown[]) => write(level, words(parts));
  const console = {
    debug: at("debug"),
    log: at("info"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    trace: at("debug"),
  };
  globalThis.console = console as unknown as Console;
}
