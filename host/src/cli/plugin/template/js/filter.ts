import { drop, filter, number, pass } from "hookmill";

export default filter({
  eventTypes: ["order.*"],
  config: {
    at_least: number.describe("Smallest total that is passed, in the order's own currency."),
  },
  run(event, config) {
    const total = event.get("/total", number);
    return total >= config.at_least ? pass() : drop("below at_least");
  },
});
