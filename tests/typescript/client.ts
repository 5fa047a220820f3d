// Drives a server with a client that is made of the server's own document, and of nothing else:
// what it sends and reads is checked by the compiler against `api.d.ts`.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { env: Record<string, string | undefined> };

type Problem = components["schemas"]["Problem"];

const { URL: baseUrl, KEY: key } = process.env;
const api = createClient<paths>({ baseUrl, headers: { authorization: `Bearer ${key}` } });

function got<T>(answer: { data?: T; error?: Problem }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

function expect(is: boolean, what: string) {
  if (!is) throw new Error(what);
}

const name = "order.created";
got(await api.POST("/v1/event-types", { body: { name } }));
const endpoint = "http://127.0.0.1:9/";
const subscription = got(
  await api.POST("/v1/subscriptions", { body: { endpoint, event_types: ["order.*"] } }),
);

const published: string[] = [];
for (let id = 1; id <= 5; id += 1) {
  const event = got(await api.POST("/v1/events", { body: { type: name, payload: { id } } }));
  expect("deliveries" in event && event.deliveries === 1, "one subscription gets it");
  if ("id" in event) published.push(event.id);
}

const listed: string[] = [];
for (let cursor: string | undefined; ; ) {
  const page = got(await api.GET("/v1/events", { params: { query: { limit: 2, cursor } } }));
  listed.push(...page.data.map((event) => event.id));
  if (!page.next_cursor) break;
  cursor = page.next_cursor;
}
expect(listed.reverse().join() === published.join(), "pages have each event once, newest first");

const path = { id: subscription.id };
const shown = await api.GET("/v1/subscriptions/{id}", { params: { path } });
expect(got(shown).endpoint === endpoint, "it is the one that was created");
const tag = shown.response.headers.get("etag") ?? "";
const change = (description: string) =>
  api.PATCH("/v1/subscriptions/{id}", {
    params: { path, header: { "If-Match": tag } },
    body: { description },
  });
expect(got(await change("first")).description === "first", "it is changed");

const late = await change("second");
const problem: Problem | undefined = late.error;
expect(late.response.status === 412, "it was changed meanwhile");
expect(problem?.type.endsWith("/precondition-failed") === true, "the problem says so");

// Asked again under its key, a request makes nothing twice.
const keyed = () =>
  api.POST("/v1/subscriptions", {
    params: { header: { "Idempotency-Key": "client-1" } },
    body: { endpoint, event_types: ["order.created"] },
  });
const made = got(await keyed());
const again = await keyed();
expect(again.response.headers.get("idempotency-replayed") === "true", "it was answered before");
expect(got(again).id === made.id, "it is the same");

// A CloudEvent is a body like any other.
const happened = await api.POST("/v1/events", {
  headers: { "content-type": "application/cloudevents+json" },
  body: { specversion: "1.0", id: "7", source: "/shop", type: name, data: { id: 6 } },
});
const taken = got(happened);
expect("deliveries" in taken && taken.deliveries === 2, "both subscriptions get it");
const filtered = { limit: 1, event_type: "order.*" };
const newest = got(await api.GET("/v1/events", { params: { query: filtered } }));
expect("id" in taken && newest.data[0]?.id === taken.id, "it is the newest");

const wrong = await api.POST("/v1/events", { body: { type: "order.creatd", payload: null } });
expect(wrong.error?.did_you_mean === name, "a problem's other members have types too");
console.log("driven");
