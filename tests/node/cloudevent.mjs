// Reads a received request, given as JSON on standard input, with the CloudEvents SDK; prints
// the event it is, checked against the specification.
import { readFileSync } from "node:fs";
import { HTTP } from "cloudevents";

const { headers, body } = JSON.parse(readFileSync(0, "utf8"));
const event = HTTP.toEvent({ headers, body });
event.validate();
console.log(JSON.stringify(event));
