"""Write Hookmill plugins in Python: a plugin is one function of an event and a configuration.

What a plugin imports is here; modules whose names begin with an underscore are not for it.
A plugin keeps nothing from one run to the next.
"""

from . import log
from ._answer import (
    Deliver,
    Drop,
    Edits,
    Outcome,
    Pass,
    Verdict,
    deliver,
    deliver_json,
    drop,
    edit,
    pass_,
)
from ._define import Plugin, filter, transform
from ._event import Event
from ._fault import InvalidConfig, InvalidEvent, PluginFault

__all__ = [
    "Deliver",
    "Drop",
    "Edits",
    "Event",
    "InvalidConfig",
    "InvalidEvent",
    "Outcome",
    "Pass",
    "Plugin",
    "PluginFault",
    "Verdict",
    "deliver",
    "deliver_json",
    "drop",
    "edit",
    "filter",
    "log",
    "pass_",
    "transform",
]
