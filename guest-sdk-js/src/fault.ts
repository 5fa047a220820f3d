/** Why a plugin could not answer, as an exception that says what is counted. */

/** What a fault is counted as. */
export type FaultKind = "invalid-event" | "invalid-config" | "failed";

/**
 * Ends the run with a fault. Any other exception is the fault `failed`, with the exception's
 * message.
 */
export class PluginFault extends Error {
  readonly kind: FaultKind;

  constructor(kind: FaultKind, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "PluginFault";
    this.kind = kind;
  }

  /** The event is not what the plugin understands. Trying again will not help. */
  static invalidEvent(message: string): PluginFault {
    return new PluginFault("invalid-event", message);
  }

  /** The step's configuration makes no sense. Trying again will not help. */
  static invalidConfig(message: string): PluginFault {
    return new PluginFault("invalid-config", message);
  }

  /** Anything else. */
  static failed(message: string): PluginFault {
    return new PluginFault("failed", message);
  }
}
