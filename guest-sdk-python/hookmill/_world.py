"""What would look outside: the clock, the dice, the printer. Here the first two follow from the
event and the third goes to the log, so a run stays a function of event and configuration.

Installed by the builder's entry before any of the plugin's own modules is imported; never when
a plugin is only looked at.
"""

from __future__ import annotations

# Those without a use here are imported by the standard library when it first needs them: in a
# run there are no files to import from.
import _strptime  # noqa: F401
import builtins
import calendar  # noqa: F401
import datetime as datetime_module
import encodings.ascii  # noqa: F401
import encodings.idna  # noqa: F401
import encodings.latin_1  # noqa: F401
import hashlib
import os
import random
import sys
import time
from typing import Any, NoReturn, Optional

from . import log

_system_datetime = datetime_module.datetime
_handle: Any = None
_now: Optional[float] = None
_drawn = 0


def enter(handle: Any) -> None:
    """From now on, clock and dice are this event's. Asked for only when used: it is recorded."""
    global _handle, _now, _drawn
    _handle, _now, _drawn = handle, None, 0
    if _Imports not in sys.meta_path:
        sys.meta_path.insert(0, _Imports)


def leave() -> None:
    """The event is over. What was printed is in the log."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def _time() -> float:
    global _now
    if _now is None:
        text = "1970-01-01T00:00:00+00:00" if _handle is None else _handle.occurred_at()
        _now = _system_datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    return _now


def _bytes(count: int) -> bytes:
    """SHA-256 of the event's id and a counter: the same event, the same bytes."""
    global _drawn
    seed = b"" if _handle is None else _handle.id().encode()
    made = bytearray()
    while len(made) < count:
        made += hashlib.sha256(seed + _drawn.to_bytes(8, "little")).digest()
        _drawn += 1
    return bytes(made[:count])


class _Dice(random.Random):
    """Python's functions of chance over those bytes: no state to be seeded in each run."""

    def random(self) -> float:
        return (int.from_bytes(_bytes(7), "big") >> 3) * 2.0**-53

    def getrandbits(self, k: int) -> int:
        return int.from_bytes(_bytes((k + 7) // 8), "big") >> (-k % 8)

    def seed(self, *arguments: Any, **keywords: Any) -> None:
        pass


class _Datetime(_system_datetime):
    """`datetime` whose now is the event's. Without a time zone it is UTC: there is no other."""

    @classmethod
    def now(cls, tz: Optional[datetime_module.tzinfo] = None) -> Any:
        return cls.fromtimestamp(_time(), tz or datetime_module.timezone.utc).replace(
            tzinfo=tz
        )

    @classmethod
    def utcnow(cls) -> Any:
        return cls.now()

    @classmethod
    def today(cls) -> Any:
        return cls.now()


class _Date(datetime_module.date):
    @classmethod
    def today(cls) -> Any:
        now = _Datetime.now()
        return cls(now.year, now.month, now.day)


class _Lines:
    """A stream whose lines are notes."""

    encoding = "utf-8"

    def __init__(self, write: Any) -> None:
        self._write = write
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._write(line)
        return len(text)

    def flush(self) -> None:
        if self._rest:
            self._write(self._rest)
            self._rest = ""

    def isatty(self) -> bool:
        return False


class _Imports:
    """Refuses, in words, what would end as a trap: a module that is first imported in a run."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> NoReturn:
        raise ModuleNotFoundError(
            f"{name} is imported while the plugin runs: import it at the top of plugin.py",
            name=name,
        )


def _no_files(file: Any, *arguments: Any, **keywords: Any) -> NoReturn:
    raise PermissionError(f"a plugin has no files: {file!r} cannot be opened")


def install() -> None:
    """Puts them in place."""
    builtins.open = _no_files
    time.sleep = lambda seconds: None
    time.time = _time
    time.time_ns = lambda: int(_time() * 1_000_000_000)
    time.monotonic = time.perf_counter = time.process_time = lambda: 0.0
    time.monotonic_ns = time.perf_counter_ns = time.process_time_ns = lambda: 0
    datetime_module.datetime = _Datetime
    datetime_module.date = _Date
    os.urandom = _bytes
    dice = _Dice()
    random._urandom = _bytes
    random._inst = dice
    for name in random.__all__:
        if hasattr(dice, name) and not isinstance(getattr(random, name), type):
            setattr(random, name, getattr(dice, name))
    sys.stdout = _Lines(log.info)
    sys.stderr = _Lines(log.warn)
