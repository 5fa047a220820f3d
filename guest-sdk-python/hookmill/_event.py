"""The event as a plugin sees it. The host owns it: what is not asked for is not copied."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Optional, TypeVar, overload

from ._fault import InvalidEvent, PluginFault
from ._shape import MISSING, Mismatch, parse, read

T = TypeVar("T")


class Event:
    """One event."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    @property
    def id(self) -> str:
        """`evt_` and 26 letters and digits, the same on every attempt."""
        return self._handle.id()

    @property
    def type(self) -> str:
        """The event type's name, for example `order.created`."""
        return self._handle.event_type()

    @property
    def schema_version(self) -> int:
        """The version of the event type's schema it was accepted under; 0 if there was none."""
        return self._handle.schema_version()

    @property
    def application(self) -> str:
        """The name of the application it belongs to."""
        return self._handle.application()

    @property
    def occurred_at(self) -> datetime:
        """When it happened, in UTC. The one clock there is: `time.time()` says the same."""
        return datetime.fromisoformat(self.occurred_at_text.replace("Z", "+00:00"))

    @property
    def occurred_at_text(self) -> str:
        """When it happened, RFC 3339 in UTC."""
        return self._handle.occurred_at()

    @property
    def subject(self) -> Optional[str]:
        """What it is about, if its producer said."""
        return self._handle.subject()

    @overload
    def get(self, pointer: str) -> Any: ...
    @overload
    def get(self, pointer: str, kind: type[T]) -> T: ...
    @overload
    def get(self, pointer: str, kind: Any) -> Any: ...

    def get(self, pointer: str, kind: Any = Any) -> Any:
        """The value at a JSON pointer, which has to be there and of this type.

        Else the run ends as `invalid-event`, with a sentence that says what is there.
        `Optional[T]` may be missing or null; `Decimal` keeps every digit.
        """
        text = self.get_text(pointer)
        return _read(kind, MISSING if text is None else parse(text), pointer)

    @overload
    def find(self, pointer: str) -> Any: ...
    @overload
    def find(self, pointer: str, kind: type[T]) -> Optional[T]: ...
    @overload
    def find(self, pointer: str, kind: Any) -> Any: ...

    def find(self, pointer: str, kind: Any = Any) -> Any:
        """`get`, but `None` if there is nothing there, or null."""
        text = self.get_text(pointer)
        return None if text in (None, "null") else _read(kind, parse(text), pointer)

    def find_many(self, *pointers: str) -> list[Any]:
        """Several values in one call into the server, each `None` if there is nothing there."""
        texts = self._handle.get_many([_checked(pointer) for pointer in pointers])
        return [None if text is None else _read(Any, parse(text), "") for text in texts]

    def get_text(self, pointer: str) -> Optional[str]:
        """The JSON text at a pointer, as the producer wrote it."""
        return self._handle.get(_checked(pointer))

    def json(self, kind: Any = Any) -> Any:
        """The whole payload, parsed here.

        Prefer single fields: the server parses an event once for all plugins, and remembers
        what an answer depended on.
        """
        return _read(kind, parse(self.text()), "")

    def text(self) -> str:
        """The whole payload's JSON text, as the producer wrote it."""
        return self._handle.raw()


def _read(kind: Any, value: Any, pointer: str) -> Any:
    try:
        return read(kind, value, pointer)
    except Mismatch as mismatch:
        raise InvalidEvent(str(mismatch)) from None


def _checked(pointer: str) -> str:
    """A pointer that can't point is the author's mistake, not the event's."""
    if pointer and not pointer.startswith("/"):
        raise PluginFault(
            f"`{pointer}` is not a JSON pointer: it must begin with `/`; is `/{pointer}` meant?"
        )
    return pointer
