"""What a JSON value has to look like, from Python's own type hints: the schema, and the check.

Understands str, int, float, Decimal, bool, None, Any, list[T], dict[str, T], Literal, Optional and
Union with None, dataclasses, and Annotated, whose first text is the description and whose
mappings are more keywords of JSON Schema.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from decimal import Decimal
from typing import Any, Callable, Literal, Union

QUOTED = 64
"""The longest piece of a producer's text that is quoted."""

MISSING = object()
"""Stands for a value that is not there."""


class Mismatch(Exception):
    """A value is not of its shape. Becomes a fault; whose, the caller knows."""


def parse(text: str) -> Any:
    """A JSON text as Python values. Fractions keep their digits until their type is known."""
    return json.loads(text, parse_float=Decimal)


def plain(value: Any) -> Any:
    """The same value with floats in it, for those who asked for no type."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def read(hint: Any, value: Any, at: str) -> Any:
    """The value found at a place, as this type. Raises `Mismatch`, which names the place."""
    hint, _ = _bare(hint)
    if value is MISSING:
        if _is_optional(hint):
            return None
        raise Mismatch(f"there is nothing at {_named(at)}, expected {_expected(hint)}")
    if hint is Any:
        return plain(value)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _read_union([one for one in arguments if one is not type(None)], value, at)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise _mismatch(hint, value, at)
    if origin is list or hint is list:
        if not isinstance(value, list):
            raise _mismatch(hint, value, at)
        item = arguments[0] if arguments else Any
        return [read(item, one, f"{at}/{index}") for index, one in enumerate(value)]
    if origin is dict or hint is dict:
        if not isinstance(value, dict):
            raise _mismatch(hint, value, at)
        item = arguments[1] if arguments else Any
        return {key: read(item, one, f"{at}/{token(key)}") for key, one in value.items()}
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, at)
    reader = _SIMPLE.get(hint)
    if reader is None:
        raise TypeError(f"{hint!r} is no type of JSON values")
    found = reader(value)
    if found is MISSING:
        raise _mismatch(hint, value, at)
    return found


def _read_union(choices: list[Any], value: Any, at: str) -> Any:
    if len(choices) == 1:
        return read(choices[0], value, at)
    for choice in choices:
        try:
            return read(choice, value, at)
        except Mismatch:
            continue
    raise _mismatch(Union[tuple(choices)], value, at)


def _read_dataclass(hint: Any, value: Any, at: str, closed: bool = False) -> Any:
    if not isinstance(value, dict):
        raise _mismatch(hint, value, at)
    hints = typing.get_type_hints(hint, include_extras=True)
    fields = [one for one in dataclasses.fields(hint) if one.init]
    if closed:
        known = [one.name for one in fields]
        unknown = next((name for name in value if name not in known), None)
        if unknown is not None:
            names = " or ".join(f"`{name}`" for name in known)
            expected = f": expected {names}" if known else ""
            raise Mismatch(f"{at}/{token(unknown)} is not known{expected}")
    found = {}
    for one in fields:
        place = f"{at}/{token(one.name)}"
        if one.name in value:
            found[one.name] = read(hints[one.name], value[one.name], place)
        elif not _has_default(one):
            if not _is_optional(_bare(hints[one.name])[0]):
                raise Mismatch(f"{place} is missing")
            found[one.name] = None
    return hint(**found)


def read_config(hint: Any, text: str) -> Any:
    """The configuration. A misspelt setting must not look as if it had been heard."""
    value = parse(text)
    if dataclasses.is_dataclass(hint):
        return _read_dataclass(hint, value, "", closed=True)
    return read(hint, value, "")


def schema(hint: Any, closed: bool = True) -> dict[str, Any]:
    """The JSON Schema of a type."""
    hint, keywords = _bare(hint)
    return {**_schema(hint, closed), **keywords}


def _schema(hint: Any, closed: bool) -> dict[str, Any]:
    if hint is Any:
        return {}
    if hint in _NAMES:
        return {"type": _NAMES[hint]}
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [schema(one, closed) for one in arguments]}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is list:
        return {"type": "array", "items": schema(arguments[0], closed)}
    if origin is dict:
        return {"type": "object", "additionalProperties": schema(arguments[1], closed)}
    if dataclasses.is_dataclass(hint):
        return _dataclass_schema(hint, closed)
    raise TypeError(f"{hint!r} is no type of JSON values")


def _dataclass_schema(hint: Any, closed: bool) -> dict[str, Any]:
    hints = typing.get_type_hints(hint, include_extras=True)
    properties, required = {}, []
    for one in dataclasses.fields(hint):
        properties[one.name] = schema(hints[one.name], closed=False)
        if one.default is not dataclasses.MISSING:
            properties[one.name]["default"] = one.default
        elif not _has_default(one) and not _is_optional(_bare(hints[one.name])[0]):
            required.append(one.name)
    made: dict[str, Any] = {"type": "object", "properties": properties}
    if required:
        made["required"] = required
    if closed:
        made["additionalProperties"] = False
    return made


def _bare(hint: Any) -> tuple[Any, dict[str, Any]]:
    """A type without `Annotated`, and the keywords that said."""
    if typing.get_origin(hint) is not typing.Annotated:
        return hint, {}
    keywords: dict[str, Any] = {}
    for word in hint.__metadata__:
        if isinstance(word, str):
            keywords["description"] = word
        elif isinstance(word, dict):
            keywords.update(word)
    return hint.__origin__, keywords


def _has_default(one: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return one.default is not missing or one.default_factory is not missing


def _is_optional(hint: Any) -> bool:
    return hint is type(None) or type(None) in typing.get_args(hint)


def _number(value: Any) -> Any:
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return float(value) if is_number else MISSING


def _whole(value: Any) -> Any:
    if isinstance(value, bool):
        return MISSING
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value if isinstance(value, int) else MISSING


def _decimal(value: Any) -> Any:
    is_number = isinstance(value, (int, Decimal)) and not isinstance(value, bool)
    return Decimal(value) if is_number else MISSING


def _of(kind: type) -> Callable[[Any], Any]:
    return lambda value: value if isinstance(value, kind) else MISSING


_SIMPLE: dict[Any, Callable[[Any], Any]] = {
    str: _of(str),
    bool: _of(bool),
    type(None): _of(type(None)),
    float: _number,
    int: _whole,
    Decimal: _decimal,
}

_NAMES: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    type(None): "null",
    float: "number",
    int: "integer",
    Decimal: "number",
    list: "array",
    dict: "object",
}


def token(key: str) -> str:
    """A key as one token of a JSON pointer."""
    return key.replace("~", "~0").replace("/", "~1")


def _named(at: str) -> str:
    return at or "it"


def _mismatch(hint: Any, value: Any, at: str) -> Mismatch:
    return Mismatch(f"{_named(at)} is {_what(value)}, expected {_expected(hint)}")


def _expected(hint: Any) -> str:
    hint, _ = _bare(hint)
    words = {str: "a string", bool: "true or false", float: "a number", Decimal: "a number",
             int: "a whole number", type(None): "null", Any: "a value"}
    if hint in words:
        return words[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(json.dumps(choice) for choice in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_expected(one) for one in arguments if one is not type(None))
    return "an array" if origin is list or hint is list else "an object"


def _what(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, (int, float, Decimal)):
        return f"the number {value}"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if len(value) <= QUOTED:
        return f"the string {json.dumps(value, ensure_ascii=False)}"
    return f"the string {json.dumps(value[:QUOTED], ensure_ascii=False)[:-1]}…\""
