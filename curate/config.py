"""Frozen dataclasses from TOML and `--set section.key=value`, with unknown keys refused by their nearest name.

A configuration class sits beside the code that reads it. This module only fills it: types come from the annotations,
ranges are checked by the class's own `__post_init__`.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import sys
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from curate.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

T = TypeVar("T")


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file. Raises ConfigError when it is missing or malformed."""
    try:
        return parse_toml(Path(path).read_text(encoding="utf-8"), where=str(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the configuration: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None


def parse_toml(text: str, *, where: str) -> dict[str, Any]:
    """Read TOML. Raises ConfigError when it is malformed; `where` says whose text it is."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not valid TOML: {error}") from None


def with_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Apply `a.b=value` strings to a tree. Values are TOML; what is not TOML is taken as a plain string."""
    result: dict[str, Any] = json.loads(json.dumps(tree))
    for override in overrides:
        dotted, equals, text = override.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys):
            raise ConfigError(f"--set {override}: expected section.key=value, for example --set split.min_s=1.5")
        node = result
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise ConfigError(f"--set {override}: {key} is a value, not a section")
        node[keys[-1]] = _parse_value(text.strip())
    return result


def build(cls: type[T], tree: Mapping[str, Any], *, where: str = "") -> T:
    """Make a frozen configuration from a tree of plain values.

    Raises ConfigError for an unknown key (naming the nearest one), a value of the wrong type, or whatever the class's
    own checks refuse. `where` is the dotted path of the tree, for messages.
    """
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields:
            raise ConfigError(f"unknown setting {_join(where, key)}; {nearest(key, fields)}")
    hints = _hints(cls)
    values = {key: _convert(value, hints[key], _join(where, key)) for key, value in tree.items()}
    try:
        return cls(**values)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {error}" if where else str(error)) from None


def nearest(name: str, choices: Iterable[str]) -> str:
    """A hint for a name that is not among the choices: the nearest, or all of them."""
    choices = list(choices)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(choices)}"


def to_tree(config: Any) -> Any:
    """The plain values of a configuration, in the order of its fields; absent (None) values are left out."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        pairs = ((field.name, getattr(config, field.name)) for field in dataclasses.fields(config))
        return {name: to_tree(value) for name, value in pairs if value is not None}
    if isinstance(config, Mapping):
        return {key: to_tree(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [to_tree(value) for value in config]
    return config


def to_toml(config: Any) -> str:
    """The resolved configuration as TOML, which `build` reads back."""
    return "\n".join(_toml_lines(to_tree(config), ())) + "\n"


def fingerprint(*parts: Any) -> str:
    """Hash of everything that determined a result: configurations, versions, ids. 16 hexadecimal characters.

    Equal values give equal fingerprints on every machine and Python version.
    """
    text = json.dumps([to_tree(part) for part in parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _convert(value: Any, hint: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        options = [arg for arg in args if arg is not type(None)]
        if value is None or (value == "none" and type(None) in args):
            return None
        for option in options[:-1]:
            try:
                return _convert(value, option, where)
            except ConfigError:
                continue
        return _convert(value, options[-1], where)
    if origin is Literal:
        if value not in args:
            raise ConfigError(f"{where} is {value!r}; {nearest(str(value), map(str, args))}")
        return value
    if origin in (dict, Mapping) or hint is dict:
        _expect(isinstance(value, Mapping), value, "a section", where)
        item = args[1] if args else Any
        return {str(key): _convert(entry, item, f"{where}.{key}") for key, entry in value.items()}
    if origin in (tuple, list, Sequence):
        _expect(isinstance(value, (list, tuple)), value, "a list", where)
        return tuple(_convert(entry, args[0], f"{where}[{index}]") for index, entry in enumerate(value))
    if dataclasses.is_dataclass(hint):
        _expect(isinstance(value, Mapping), value, "a section", where)
        return build(hint, value, where=where)  # type: ignore[arg-type]
    if hint is bool:
        _expect(isinstance(value, bool), value, "true or false", where)
    elif hint is int:
        _expect(isinstance(value, int) and not isinstance(value, bool), value, "a whole number", where)
    elif hint is float:
        _expect(isinstance(value, (int, float)) and not isinstance(value, bool), value, "a number", where)
        return float(value)
    elif hint is str:
        _expect(isinstance(value, str), value, "a string", where)
    return value


def _expect(holds: bool, value: Any, wanted: str, where: str) -> None:
    if not holds:
        raise ConfigError(f"{where} is {value!r}; expected {wanted}")


def _toml_lines(tree: Mapping[str, Any], path: tuple[str, ...]) -> Iterable[str]:
    plain = {key: value for key, value in tree.items() if not isinstance(value, Mapping)}
    if path and (plain or not tree):
        yield f"[{'.'.join(path)}]"
    for key, value in plain.items():
        yield f"{key} = {_toml_value(value)}"
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _toml_lines(value, (*path, key))


def _toml_value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_toml_value(entry) for entry in value)}]"
    return json.dumps(value, ensure_ascii=False)
