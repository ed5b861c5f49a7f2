"""Writes docs/configuration.md: every key, from the schema (tsallis_run/config) and the comments of conf/*.yaml.

python docs/configuration.py
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tsallis_run.config import RunConfig

CONF = Path(__file__).resolve().parent.parent / "conf"
PAGE = Path(__file__).resolve().parent / "configuration.md"
NOT_CHOICES = ("hydra", "sweep", "experiment", "scale")
"""Folders of conf/ whose files are no section of a run."""
MAX_KEYS = 4
"""Of a mapping that is described in its cell."""
BOUNDS = {
    "minimum": ">=",
    "ge": ">=",
    "exclusiveMinimum": ">",
    "gt": ">",
    "maximum": "<=",
    "le": "<=",
    "exclusiveMaximum": "<",
    "lt": "<",
}
"""JSON Schema's names, and pydantic's own where it has nothing better."""
LARGEST = 2**53
"""A bound from here on is one of the machine."""

HEAD = """\
# Configuration

Every key of a run. `tsallis-run key=value section.key=value group=choice` sets any of them, and `tsallis-run --cfg job`
prints what a command would run with. A misspelt key is an error. `${...}` takes the value of another key.

`experiment=NAME` brings settings that belong together, `scale=small` makes any experiment small, and `+sweep=NAME`
(with `-m`) is a grid: see [paper-index.md](paper-index.md).

`python docs/configuration.py` writes this page from the schema and the comments of `conf/`; a test keeps it current.
"""


@dataclass(frozen=True)
class Setting:
    """A key of a YAML file."""

    value: str
    """As YAML."""
    comment: str
    """Behind the key, or above it."""


@dataclass(frozen=True)
class Choice:
    """A file of a group."""

    name: str
    what: str
    """Its first comment."""
    settings: Mapping[str, Setting]
    """Dotted key -> setting; what it takes from other files of the group included."""


def page() -> str:
    """The whole page."""
    kinds = _kinds(RunConfig.model_json_schema())
    top = {key: setting for key, setting in _read(CONF / "config.yaml").settings.items() if key in kinds}
    sections = [HEAD, _table(kinds, [Choice("config", "", top)])]
    for folder in sorted(path for path in CONF.iterdir() if path.is_dir() and path.name not in NOT_CHOICES):
        choices = [_read(path) for path in sorted(folder.glob("[!_]*.yaml"))]
        sections.append(_section(folder.name, choices, kinds))
    return "\n".join(sections)


def _section(group: str, choices: list[Choice], kinds: Mapping[str, str]) -> str:
    listed = "\n".join(f"- `{group}={choice.name}`: {choice.what}" for choice in choices)
    return f"## {group}\n\n{listed}\n\n{_table(kinds, choices)}"


def _table(kinds: Mapping[str, str], choices: list[Choice]) -> str:
    lines = ["| key | values | default | meaning |", "|---|---|---|---|"]
    keys = {key for choice in choices for key in choice.settings}
    assert keys <= kinds.keys(), f"no such keys: {sorted(keys - kinds.keys())}"
    for key in (key for key in kinds if key in keys):
        found = [choice.settings[key] for choice in choices if key in choice.settings]
        values = {setting.value for setting in found}
        default = f"`{found[0].value}`" if len(values) == 1 else "by choice"
        comment = next((setting.comment for setting in found if setting.comment), "")
        cells = (f"`{key}`", kinds[key], default, comment)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _read(path: Path) -> Choice:
    """A file with what it takes from others of its folder, which it names in its defaults list."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    is_global = lines[0].startswith("# @package _global_") or path.parent == CONF
    settings: dict[str, Setting] = {}
    for name in (yaml.safe_load(text).get("defaults") or []) if path.parent != CONF else []:
        if isinstance(name, str) and name != "_self_":
            settings |= _read(path.with_name(f"{name}.yaml")).settings
    prefix = "" if is_global else f"{path.parent.name}."
    settings |= {prefix + key: setting for key, setting in _leaves(yaml.compose(text), lines)}
    comments = [line.removeprefix("# ") for line in _first_comment(lines)]
    return Choice(path.stem, " ".join(comments), settings)


def _first_comment(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("#"):
            return
        if not line.startswith("# @package"):
            yield line


def _leaves(node: Any, lines: list[str], above: str = "") -> Iterator[tuple[str, Setting]]:
    """Every key that holds no further keys, or holds some that are the user's to choose."""
    for key, value in node.value:
        name = f"{above}{key.value}"
        if name in ("defaults", "hydra"):
            continue
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _leaves(value, lines, f"{name}.")
        else:
            yield name, Setting(_as_yaml(value), _comment(key.start_mark.line, lines))


def _as_yaml(node: Any) -> str:
    if isinstance(node, yaml.ScalarNode):
        return str(node.value).replace("\n", "\\n") or '""'
    data = yaml.safe_load(yaml.serialize(node))
    return yaml.safe_dump(data, default_flow_style=True, width=1000).strip()


def _comment(line: int, lines: list[str]) -> str:
    """What stands behind the key, else in whole lines above it."""
    behind = re.search(r"\s#\s(.*)$", lines[line])
    if behind:
        return behind.group(1)
    above: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#") and not _is_head(line - 1, lines):
        line -= 1
        above.insert(0, lines[line].strip().removeprefix("# "))
    return " ".join(above)


def _is_head(line: int, lines: list[str]) -> bool:
    """Whether a comment is part of the file's first: that is about the file."""
    return all(before.startswith("#") for before in lines[: line + 1])


def _kinds(schema: Mapping[str, Any]) -> dict[str, str]:
    """Dotted key -> its values in words, in the order of the schema."""
    found: dict[str, dict[str, None]] = {}

    def walk(section: Mapping[str, Any], above: str) -> None:
        for name, field in section.get("properties", {}).items():
            forms = list(_forms(field, schema))
            parts = [form for form in forms if "properties" in form]
            if len(parts) < len(forms):
                found.setdefault(above + name, {}).update(dict.fromkeys(map(_words, forms)))
            for part in parts:
                walk(part, f"{above}{name}.")

    walk(schema, "")
    return {key: " or ".join(words) for key, words in found.items()}


def _forms(field: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The alternatives of a field, one by one."""
    if "$ref" in field:
        yield from _forms(schema["$defs"][field["$ref"].rsplit("/", 1)[1]], schema)
    elif alternatives := field.get("oneOf", field.get("anyOf")):
        for alternative in alternatives:
            yield from _forms(alternative, schema)
    else:
        yield field


def _words(form: Mapping[str, Any]) -> str:
    """`integer >= 1`, `a`, `b`: the values that a schema allows."""
    if "enum" in form or "const" in form:
        return ", ".join(f"`{value}`" for value in form.get("enum", [form.get("const")]))
    if "properties" in form:
        keys = ", ".join(form["properties"])
        return f"mapping ({keys})" if len(form["properties"]) <= MAX_KEYS else "the keys below"
    kind = form.get("type", "any")
    if kind == "array":
        items = form.get("prefixItems") or [form.get("items", {})]
        return "list of " + " and ".join(dict.fromkeys(map(_words, items)))
    kind = {"null": "`null`", "string": "text", "boolean": "`true`, `false`", "object": "mapping"}.get(kind, kind)
    bounds = [f"{sign} {form[name]:g}" for name, sign in BOUNDS.items() if name in form and form[name] < LARGEST]
    return " ".join([kind, ", ".join(bounds)]).strip()


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
