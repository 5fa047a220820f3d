"""`filter` and `transform`: what makes a function a plugin."""

from __future__ import annotations

import inspect
import typing
from dataclasses import dataclass
from typing import Any, Callable, Optional, Sequence

from . import _shape


@dataclass(frozen=True)
class Plugin:
    """A function and what is said about it. Called, it is the function: tests can."""

    kind: str
    run: Callable[..., Any]
    takes_config: bool
    config: Any
    config_schema: dict[str, Any]
    name: Optional[str]
    version: Optional[str]
    summary: Optional[str]
    event_types: tuple[str, ...]

    def __call__(self, *arguments: Any) -> Any:
        return self.run(*arguments)


defined: list[Plugin] = []
"""The plugins of the module that was imported; there has to be one."""


def filter(
    *,
    name: Optional[str] = None,
    version: Optional[str] = None,
    summary: Optional[str] = None,
    event_types: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Plugin]:
    """Makes a function of an event, and perhaps a configuration, a filter.

    What is left out comes from pyproject.toml's `[project]`: name, version and description; the
    function's own docstring goes before the description. The configuration's type is the hint
    of the second parameter.
    """
    return _decorator("filter", name, version, summary, event_types)


def transform(
    *,
    name: Optional[str] = None,
    version: Optional[str] = None,
    summary: Optional[str] = None,
    event_types: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Plugin]:
    """Makes a function of an event, and perhaps a configuration, a transform. See `filter`."""
    return _decorator("transform", name, version, summary, event_types)


def _decorator(
    kind: str,
    name: Optional[str],
    version: Optional[str],
    summary: Optional[str],
    event_types: Sequence[str],
) -> Callable[[Callable[..., Any]], Plugin]:
    def decorate(run: Callable[..., Any]) -> Plugin:
        parameters = list(inspect.signature(run).parameters)
        if len(parameters) not in (1, 2):
            raise TypeError(f"{run.__name__} takes {len(parameters)} parameters, expected event and config")
        takes_config = len(parameters) == 2
        config: Any = _NoConfig
        if takes_config:
            hints = typing.get_type_hints(run, include_extras=True)
            config = hints.get(parameters[1], Any)
        words = (run.__doc__ or "").strip().split("\n")[0].strip()
        plugin = Plugin(
            kind=kind,
            run=run,
            takes_config=takes_config,
            config=config,
            config_schema=_shape.schema(config),
            name=name,
            version=version,
            summary=summary or words or None,
            event_types=tuple(event_types),
        )
        defined.append(plugin)
        return plugin

    return decorate


@dataclass
class _NoConfig:
    """A plugin without a configuration takes an empty one."""
