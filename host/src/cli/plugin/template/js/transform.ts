import { edit, pass, string, transform } from "hookmill";

export default transform({
  config: {
    field: string.describe("Where it is, for example `/customer/email`."),
  },
  run(event, config) {
    if (event.getText(config.field) === undefined) return pass();
    return edit().set(config.field, "hidden");
  },
});
