/**
 * Between the interface and a plugin: what the component exports. Owns turning exceptions into
 * faults and answers into the interface's words. The names of its functions begin with
 * `hookmill_`, so that a stack trace can leave them out.
 */

import { write } from "hookmill:plugin/log@0.1.0";
import type { Event as Handle } from "hookmill:plugin/types@0.1.0";
import { Edits, type Message, type Outcome, type Verdict } from "./answer.ts";
import { trace } from "./console.ts";
import type { Manifest, Plugin } from "./define.ts";
import { Event } from "./event.ts";
import { PluginFault } from "./fault.ts";
import { Mismatch } from "./shape.ts";
import { enter, leave } from "./world.ts";

/** What the component exports for `plugin`. */
export function guest(plugin: Plugin, defaults: Required<Omit<Manifest, "eventTypes">>) {
  const hookmill_run = (handle: Handle, config: string): unknown => {
    enter(handle);
    try {
      const answer = plugin.run(new Event(handle), hookmill_config(plugin, config));
      return plugin.kind === "filter" ? hookmill_verdict(answer) : hookmill_outcome(answer);
    } catch (error) {
      throw hookmill_fault(error);
    } finally {
      leave();
    }
  };
  return {
    filter: hookmill_run,
    transform: hookmill_run,
    describe: () => ({
      name: plugin.manifest.name ?? defaults.name,
      version: plugin.manifest.version ?? defaults.version,
      summary: plugin.manifest.summary ?? defaults.summary,
      configSchema: JSON.stringify({
        $schema: "https://json-schema.org/draft/2020-12/schema",
        ...plugin.config.schema,
      }),
      eventTypes: [...(plugin.manifest.eventTypes ?? [])],
    }),
  };
}

function hookmill_config(plugin: Plugin, config: string): unknown {
  try {
    return plugin.config.read(JSON.parse(config), "");
  } catch (error) {
    if (error instanceof Mismatch) throw PluginFault.invalidConfig(error.message);
    throw error;
  }
}

function hookmill_verdict(answer: Verdict | Outcome): unknown {
  if (answer?.answer === "pass") return { tag: "pass" };
  if (answer?.answer === "drop") return { tag: "drop", val: String(answer.reason) };
  throw new TypeError("a filter's `run` returns pass() or drop(reason)");
}

function hookmill_outcome(answer: Verdict | Outcome): unknown {
  if (answer instanceof Edits) return { tag: "edit", val: answer.changes };
  switch (answer?.answer) {
    case "pass":
      return { tag: "edit", val: [] };
    case "drop":
      return { tag: "drop", val: String(answer.reason) };
    case "deliver":
      return { tag: "deliver", val: hookmill_message(answer.message) };
    default:
      throw new TypeError("a transform's `run` returns pass(), drop(), edit(), deliver() or deliverJson()");
  }
}

function hookmill_message({ contentType, body, headers = {} }: Message): unknown {
  return {
    contentType,
    headers: Object.entries(headers).map(([name, value]) => ({ name, value: String(value) })),
    body: typeof body === "string" ? new TextEncoder().encode(body) : body,
  };
}

/** What componentize-js takes for the error of a `result`: an exception with a payload. */
function hookmill_fault(error: unknown): Error & { payload: unknown } {
  const thrown = error instanceof Error ? error : new Error(String(error));
  let payload;
  if (thrown instanceof PluginFault) {
    payload = { tag: thrown.kind, val: thrown.message };
  } else {
    write("error", trace(thrown));
    const name = thrown.name === "Error" ? "" : `${thrown.name}: `;
    payload = { tag: "failed", val: `${name}${thrown.message}` };
  }
  return Object.assign(thrown, { payload });
}
