/**
 * GitHub events as Discord messages, for a channel's webhook.
 *
 * `github.ts` finds what to say, `discord.ts` says it within Discord's bounds.
 */

import { boolean, deliverJson, drop, integer, string, transform } from "hookmill";
import { body } from "./discord.ts";
import { announcement } from "./github.ts";

export default transform({
  eventTypes: ["github.*"],
  config: {
    username: string.describe("The name that posts; the webhook's own if not given.").optional(),
    max_commits: integer
      .describe("How many commits of a push are listed.")
      .with({ minimum: 1, maximum: 20 })
      .default(5),
    bots: boolean.describe("Whether what bots do is announced.").default(false),
  },
  run(event, config) {
    const who = event.findMany({ type: "/sender/type", login: "/sender/login" });
    if (!config.bots && who.type === "Bot") return drop("done by a bot");
    const found = announcement(event, config.max_commits);
    if (typeof found === "string") return drop(found);
    return deliverJson(body(found, config.username));
  },
});
