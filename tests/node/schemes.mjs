// Verifies a received webhook, given as JSON on standard input, as the inventors of its scheme
// do: with their published library, or for Ed25519 with Node's own cryptography.
import { createHmac, createPublicKey, timingSafeEqual, verify as verifySignature } from "node:crypto";
import { readFileSync } from "node:fs";
import { verify as verifyGithub } from "@octokit/webhooks-methods";
import Stripe from "stripe";
import { Webhook as SvixWebhook } from "svix";

const { scheme, secret, headers, body } = JSON.parse(readFileSync(0, "utf8"));

// The DER form of an Ed25519 public key is these twelve bytes and the key's 32.
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

function ed25519() {
  const raw = Buffer.from(secret.replace("whpk_", ""), "base64");
  const key = createPublicKey({ key: Buffer.concat([SPKI, raw]), format: "der", type: "spki" });
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const signatures = headers["webhook-signature"].split(" ").filter((one) => one.startsWith("v1a,"));
  return signatures.some((one) =>
    verifySignature(null, Buffer.from(signed), key, Buffer.from(one.slice(4), "base64")));
}

function slack() {
  const signed = `v0:${headers["x-slack-request-timestamp"]}:${body}`;
  const expected = `v0=${createHmac("sha256", secret).update(signed).digest("hex")}`;
  const given = headers["x-slack-signature"];
  return given.length === expected.length &&
    timingSafeEqual(Buffer.from(given), Buffer.from(expected));
}

const verifiers = {
  ed25519,
  slack,
  github: () => verifyGithub(secret, body, headers["x-hub-signature-256"]),
  stripe: () => Stripe.webhooks.constructEvent(body, headers["stripe-signature"], secret),
  svix: () => new SvixWebhook(secret).verify(body, headers),
};
try {
  console.log((await verifiers[scheme]()) ? "verified" : "refused");
} catch {
  console.log("refused");
}
