"""What a plugin answers. Plain values: `_guest` turns them into the interface's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Mapping, Union


@dataclass(frozen=True)
class Pass:
    """Deliver, or go on, with what is there."""


@dataclass(frozen=True)
class Drop:
    """Don't deliver."""

    reason: str


@dataclass(frozen=True)
class Deliver:
    """Send this instead of the payload."""

    content_type: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Edits:
    """Changes to the payload, applied in order."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str, str]] = []

    def set(self, pointer: str, value: Any) -> Edits:
        """Puts a value at a pointer whose parent is there; `-` as last token appends to a list."""
        return self.set_text(pointer, dumps(value))

    def set_text(self, pointer: str, text: str) -> Edits:
        """`set` with a JSON text."""
        self.changes.append(("set", pointer, text))
        return self

    def remove(self, pointer: str) -> Edits:
        """Removes what is at a pointer, if there is anything."""
        self.changes.append(("remove", pointer, ""))
        return self

    def header(self, name: str, value: str) -> Edits:
        """Adds a header to the request, replacing one of the same name."""
        self.changes.append(("header", name, value))
        return self


Verdict = Union[Pass, Drop]
"""A filter's answer."""

Outcome = Union[Pass, Drop, Deliver, Edits]
"""A transform's answer."""


def pass_() -> Pass:
    """Deliver; in a transform, send the payload as it is."""
    return Pass()


def drop(reason: str) -> Drop:
    """Don't deliver, for this reason. Keep data out of it, so that equal ones can be counted."""
    return Drop(reason)


def deliver(
    content_type: str, body: str | bytes, headers: Mapping[str, str] | None = None
) -> Deliver:
    """Send these bytes instead of the payload."""
    return Deliver(content_type, body.encode() if isinstance(body, str) else body, headers or {})


def deliver_json(value: Any, headers: Mapping[str, str] | None = None) -> Deliver:
    """Send this value instead of the payload, as `application/json`."""
    return deliver("application/json", dumps(value), headers)


def edit() -> Edits:
    """Send the payload with changes: the cheapest way, and the rest stays as it was written."""
    return Edits()


def dumps(value: Any) -> str:
    """A JSON text: short, and valid or refused."""
    return json.dumps(
        value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_other
    )


def _other(value: Any) -> Any:
    if isinstance(value, Decimal):
        # Exact where a float is; else as near as a float comes.
        return int(value) if value == value.to_integral_value() else float(value)
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
