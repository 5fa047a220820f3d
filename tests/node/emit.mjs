// Sends events with the CloudEvents SDK in every mode, to the server given as JSON on standard
// input; prints what each was answered.
import { readFileSync } from "node:fs";
import { CloudEvent, HTTP, Mode, emitterFor } from "cloudevents";

const { url, key } = JSON.parse(readFileSync(0, "utf8"));

const send = async ({ headers, body }) => {
  const answer = await fetch(url, {
    method: "POST",
    headers: { ...headers, authorization: `Bearer ${key}` },
    body,
  });
  return { status: answer.status, body: await answer.json() };
};

const event = (id, more = {}) =>
  new CloudEvent({
    id,
    source: "/sdk/orders",
    type: "order.created",
    subject: `orders/${id}`,
    time: "2026-11-02T03:00:00.000Z",
    dataschema: "https://shop.example/schemas/order",
    data: { id, total: 19.9, text: "é ✓" },
    tier: "gold",
    ...more,
  });
const xml = { datacontenttype: "text/xml", data: "<order total='19.90'/>" };
const bytes = { datacontenttype: "application/octet-stream", data: new Uint8Array([0, 255, 7]) };

const binary = emitterFor(send, { binding: HTTP, mode: Mode.BINARY });
const structured = emitterFor(send, { binding: HTTP, mode: Mode.STRUCTURED });
const batch = [event("batch-1"), event("batch-2", xml), event("batch-3", bytes)];

console.log(
  JSON.stringify({
    binary: await binary(event("binary-1")),
    "binary text": await binary(event("binary-2", xml)),
    "binary bytes": await binary(event("binary-3", bytes)),
    structured: await structured(event("structured-1")),
    "structured text": await structured(event("structured-2", xml)),
    "structured bytes": await structured(event("structured-3", bytes)),
    repeated: await structured(event("structured-1")),
    // The SDK reads batches; it has no serializer of its own for them.
    batch: await send({
      headers: { "content-type": "application/cloudevents-batch+json" },
      body: `[${batch.map((each) => HTTP.structured(each).body).join(",")}]`,
    }),
  }),
);
