"""Why a plugin could not answer, as exceptions that say what is counted."""


class PluginFault(Exception):
    """Ends the run with the fault `failed`, as any other exception does, but without a trace."""

    kind = "failed"


class InvalidEvent(PluginFault):
    """The event is not what the plugin understands. Trying again will not help."""

    kind = "invalid-event"


class InvalidConfig(PluginFault):
    """The step's configuration makes no sense. Trying again will not help."""

    kind = "invalid-config"
