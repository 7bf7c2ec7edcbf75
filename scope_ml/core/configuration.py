"""Typed configuration: frozen dataclasses whose fields know their unit, meaning and bounds.

Hydra composes plain keys and values; `build` turns them into the dataclass of a stage and refuses, in one
line that names the key, what was given and what is allowed: a misspelt key, a wrong type, a value out of bounds.

Fields marked ``machine=True`` say where and how (paths, workers, registries). They do not count in
`science_digest`, so that changing one makes no result stale.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from scope_ml.core.provenance import digest_json
from scope_ml.errors import ConfigError, suggest

__all__ = ["OptionDoc", "build", "describe", "option", "science_digest", "science_values", "to_plain"]

Schema = TypeVar("Schema")

#: How Hydra and OmegaConf write a value that the user has to give.
MISSING_VALUE = "???"


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """What `option` keeps in a field's metadata."""

    unit: str = ""
    doc: str = ""
    at_least: float | None = None
    at_most: float | None = None
    more_than: float | None = None
    choices: tuple[Any, ...] | None = None
    key: str | None = None
    machine: bool = False


@dataclass(frozen=True, kw_only=True)
class OptionDoc:
    """One line of a door's ``--help``."""

    key: str
    default: str
    unit: str
    doc: str
    allowed: str


def option(  # noqa: PLR0913 - one keyword per rule
    default: Any = MISSING,
    *,
    unit: str = "",
    doc: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    more_than: float | None = None,
    choices: Sequence[Any] | None = None,
    key: str | None = None,
    machine: bool = False,
) -> Any:
    """Return a dataclass field that carries its rules.

    Parameters
    ----------
    default
        Value used where the configuration is silent; left out, the key is required. A list, dict or dataclass
        instance is allowed (frozen dataclasses are shared, lists and dicts are copied).
    unit, doc
        Unit and meaning, shown by ``--help``.
    at_least, at_most, more_than
        Bounds of a number, or of each element of a tuple.
    choices
        Allowed values.
    key
        Name in the configuration where it differs from the attribute's (``class`` is a Python keyword).
    machine
        True for options that say where and how, which never change a result.
    """
    rules = _Rules(
        unit=unit,
        doc=doc,
        at_least=at_least,
        at_most=at_most,
        more_than=more_than,
        choices=tuple(choices) if choices is not None else None,
        key=key,
        machine=machine,
    )
    metadata = {"rules": rules}
    if default is MISSING:
        return dataclasses.field(metadata=metadata)
    if isinstance(default, (list, dict)):
        copied = type(default)(default)
        return dataclasses.field(default_factory=lambda: type(copied)(copied), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def _rules(field: dataclasses.Field[Any]) -> _Rules:
    return typing.cast(_Rules, field.metadata.get("rules", _Rules()))


def _key(field: dataclasses.Field[Any]) -> str:
    return _rules(field).key or field.name


def build(schema: type[Schema], values: Mapping[str, Any], where: str = "") -> Schema:
    """Build the dataclass `schema` from composed `values`.

    Parameters
    ----------
    schema
        A dataclass whose fields are bool, int, float, str, ``X | None``, Literal, ``tuple[X, ...]``,
        ``dict[str, X]`` or dataclasses of these.
    values
        Plain mapping, as `OmegaConf.to_container` gives it.
    where
        Dotted key of this mapping in the whole configuration, for messages.

    Raises
    ------
    ConfigError
        For an unknown or missing key, a wrong type, a value out of bounds.
    """
    prefix = f"{where}." if where else ""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or 'configuration'}: expected a group of keys, got {values!r}", key=where)
    fields = {_key(f): f for f in dataclasses.fields(typing.cast(Any, schema)) if f.init}
    for name in values:
        if name not in fields:
            raise ConfigError(
                f"unknown key '{prefix}{name}'; known here: {', '.join(sorted(fields))}{suggest(str(name), fields)}",
                key=f"{prefix}{name}",
                choices=fields,
            )
    hints = typing.get_type_hints(schema)
    arguments = {}
    for name, field in fields.items():
        dotted = f"{prefix}{name}"
        required = field.default is MISSING and field.default_factory is MISSING
        if name not in values or values[name] == MISSING_VALUE:
            if required or name in values:
                hint = _rules(field).doc
                raise ConfigError(
                    f"'{dotted}' has no value{f' ({hint})' if hint else ''}; give {dotted}=...", key=dotted
                )
            continue
        if required and values[name] == "":
            raise ConfigError(f"'{dotted}' is empty; give {dotted}=...", key=dotted)
        arguments[field.name] = _value(values[name], hints[field.name], _rules(field), dotted)
    return schema(**arguments)


def _value(given: Any, hint: Any, rules: _Rules, key: str) -> Any:
    """Return `given` as the type `hint`, or raise the one-line error."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(given, parts, rules, key)
    if origin is Literal:
        if given not in parts:
            raise _refusal(key, given, f"one of {', '.join(map(str, parts))}", choices=parts)
        return given
    if origin is tuple:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise _refusal(key, given, f"a list such as {key}=[a,b]")
        return tuple(_value(item, parts[0], rules, f"{key}[{index}]") for index, item in enumerate(given))
    if origin is dict:
        if not isinstance(given, Mapping):
            raise _refusal(key, given, "a group of keys")
        return {str(name): _value(item, parts[1], rules, f"{key}.{name}") for name, item in given.items()}
    if dataclasses.is_dataclass(hint):
        if isinstance(given, typing.cast(type, hint)):
            return given
        return build(typing.cast(type, hint), given, key)
    if hint is Any:
        return given
    return _scalar(given, hint, rules, key)


def _union(given: Any, parts: tuple[Any, ...], rules: _Rules, key: str) -> Any:
    if given is None:
        if type(None) in parts:
            return None
        raise _refusal(key, given, "a value")
    last: ConfigError | None = None
    for part in parts:
        if part is type(None):
            continue
        try:
            return _value(given, part, rules, key)
        except ConfigError as error:
            last = error
    raise last if last is not None else _refusal(key, given, "null")


#: What each scalar type is called in an error.
_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


#: No number of a configuration reaches this; beyond, 64 bits hold no whole number.
_LARGEST = 2**63


def _scalar(given: Any, hint: Any, rules: _Rules, key: str) -> Any:
    name = _NAMES.get(hint, getattr(hint, "__name__", str(hint)))
    # The comparison is exact for whole numbers, false for nan and infinity, and keeps what Arrow and JSON cannot out.
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool) and abs(given) < _LARGEST
    if hint is float and is_number:
        value: Any = float(given)
    elif hint is int and is_number and given == int(given):
        value = int(given)
    elif (hint is bool and isinstance(given, bool)) or (hint is str and isinstance(given, str)):
        value = given
    else:
        raise _refusal(key, given, name + _bounds(rules))
    if rules.choices is not None and value not in rules.choices:
        raise _refusal(key, given, f"one of {', '.join(map(str, rules.choices))}", choices=rules.choices)
    if not isinstance(value, (str, bool)):
        _check_bounds(value, rules, key, name)
    return value


def _check_bounds(value: float, rules: _Rules, key: str, name: str) -> None:
    too_low = rules.at_least is not None and value < rules.at_least
    too_high = rules.at_most is not None and value > rules.at_most
    not_above = rules.more_than is not None and value <= rules.more_than
    if too_low or too_high or not_above:
        raise _refusal(key, value, name + _bounds(rules))


def _bounds(rules: _Rules) -> str:
    parts = []
    if rules.more_than is not None:
        parts.append(f"more than {rules.more_than:g}")
    if rules.at_least is not None:
        parts.append(f"at least {rules.at_least:g}")
    if rules.at_most is not None:
        parts.append(f"at most {rules.at_most:g}")
    text = " and ".join(parts)
    return (f" of {text}" if text else "") + (f" [{rules.unit}]" if text and rules.unit else "")


def _refusal(key: str, given: Any, allowed: str, choices: Sequence[Any] = ()) -> ConfigError:
    hint = suggest(given, [str(choice) for choice in choices]) if isinstance(given, str) else ""
    return ConfigError(f"{key}={given!r} is not {allowed}{hint}", key=key, choices=[str(c) for c in choices])


def to_plain(config: Any) -> Any:
    """Return a configuration as JSON-able dicts, lists and scalars, with the configuration's own keys."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        return {_key(f): to_plain(getattr(config, f.name)) for f in dataclasses.fields(config)}
    if isinstance(config, Mapping):
        return {str(name): to_plain(value) for name, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [to_plain(value) for value in config]
    return config


def science_values(config: Any) -> Any:
    """Return `to_plain` without the fields marked ``machine=True``, at every depth."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        fields = (f for f in dataclasses.fields(config) if not _rules(f).machine)
        return {_key(f): science_values(getattr(config, f.name)) for f in fields}
    if isinstance(config, Mapping):
        return {str(name): science_values(value) for name, value in config.items()}
    if isinstance(config, (tuple, list)):
        return [science_values(value) for value in config]
    return config


def science_digest(config: Any) -> str:
    """Return the SHA-256 hex digest of what changes a result in `config`."""
    return digest_json(science_values(config))


def describe(schema: type[Any], where: str = "") -> list[OptionDoc]:
    """Return one `OptionDoc` for each option of `schema`, nested ones with dotted keys."""
    hints = typing.get_type_hints(schema)
    lines: list[OptionDoc] = []
    for field in dataclasses.fields(schema):
        key = f"{where}.{_key(field)}" if where else _key(field)
        inner = [part for part in (hints[field.name], *get_args(hints[field.name])) if dataclasses.is_dataclass(part)]
        if inner and get_origin(hints[field.name]) not in (tuple, dict) and field.default is not None:
            lines += describe(typing.cast(type, inner[0]), key)
            continue
        rules = _rules(field)
        choices = rules.choices or (get_args(hints[field.name]) if get_origin(hints[field.name]) is Literal else ())
        allowed = "|".join(map(str, choices)) if choices else _bounds(rules).removeprefix(" of ")
        lines.append(OptionDoc(key=key, default=_default(field), unit=rules.unit, doc=rules.doc, allowed=allowed))
    return lines


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not MISSING:
        value = field.default
    elif field.default_factory is not MISSING:
        value = field.default_factory()
    else:
        return "required"
    plain = to_plain(value)
    return "null" if plain is None else str(plain).lower() if isinstance(plain, bool) else str(plain)
