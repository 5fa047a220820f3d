"""Between the interface and a plugin: what the component exports. Owns turning exceptions into
faults and answers into the interface's words."""

from __future__ import annotations

import json
import traceback
from typing import Any

from componentize_py_types import Err
from wit_world.imports import types

from . import _world, log
from ._answer import Deliver, Drop, Edits, Pass
from ._define import Plugin
from ._event import Event
from ._fault import InvalidConfig, PluginFault
from ._shape import Mismatch, read_config

_FAULTS = {
    "invalid-event": types.Fault_InvalidEvent,
    "invalid-config": types.Fault_InvalidConfig,
    "failed": types.Fault_Failed,
}
_FRAMES = 8


def guest(plugin: Plugin, name: str, version: str, summary: str) -> type:
    """The class that componentize-py exports for a plugin."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **plugin.config_schema}
    manifest = types.Manifest(
        plugin.name or name,
        plugin.version or version,
        plugin.summary or summary,
        json.dumps(schema),
        list(plugin.event_types),
    )

    class WitWorld:
        def filter(self, event: Any, config: str) -> Any:
            return _run(plugin, event, config, _verdict)

        def transform(self, event: Any, config: str) -> Any:
            return _run(plugin, event, config, _outcome)

        def describe(self) -> Any:
            return manifest

    return WitWorld


def _run(plugin: Plugin, handle: Any, config: str, answer: Any) -> Any:
    _world.enter(handle)
    try:
        arguments: list[Any] = [Event(handle)]
        parsed = _config(plugin, config)
        if plugin.takes_config:
            arguments.append(parsed)
        return answer(plugin.run(*arguments))
    except PluginFault as fault:
        raise Err(_FAULTS[fault.kind](str(fault))) from None
    except Exception as error:
        log.error(_trace(error))
        raise Err(types.Fault_Failed(f"{type(error).__name__}: {error}")) from None
    finally:
        _world.leave()


def _config(plugin: Plugin, config: str) -> Any:
    try:
        return read_config(plugin.config, config)
    except Mismatch as mismatch:
        raise InvalidConfig(str(mismatch)) from None


def _trace(error: Exception) -> str:
    """`KeyError: 'x'; in total (plugin.py:12) < run (plugin.py:7)`, without the SDK's own."""
    # Not `extract_tb`: that would look for the sources, and there are no files.
    codes = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames = [
        f"{code.co_name} ({code.co_filename.rsplit('/', 1)[-1]}:{line})"
        for code, line in reversed(codes)
        if "/hookmill/_" not in code.co_filename
    ]
    said = f"{type(error).__name__}: {error}"
    return f"{said}; in {' < '.join(frames[:_FRAMES])}" if frames else said


def _verdict(answer: Any) -> Any:
    if isinstance(answer, Pass):
        return types.Verdict_Pass()
    if isinstance(answer, Drop):
        return types.Verdict_Drop(str(answer.reason))
    raise TypeError(f"a filter returns pass_() or drop(reason), not {answer!r}")


def _outcome(answer: Any) -> Any:
    if isinstance(answer, Edits):
        return types.Outcome_Edit([_change(*change) for change in answer.changes])
    if isinstance(answer, Pass):
        return types.Outcome_Edit([])
    if isinstance(answer, Drop):
        return types.Outcome_Drop(str(answer.reason))
    if isinstance(answer, Deliver):
        headers = [types.Header(name, str(value)) for name, value in answer.headers.items()]
        return types.Outcome_Deliver(types.Message(answer.content_type, headers, answer.body))
    raise TypeError(
        f"a transform returns pass_(), drop(), edit(), deliver() or deliver_json(), not {answer!r}"
    )


def _change(kind: str, name: str, value: str) -> Any:
    if kind == "set":
        return types.Edit_Set(types.Assignment(name, value))
    if kind == "remove":
        return types.Edit_Remove(name)
    return types.Edit_SetHeader(types.Header(name, value))
