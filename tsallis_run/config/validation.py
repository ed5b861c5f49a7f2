"""Plain data -> a valid run, or every fault of it in words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic import Tag, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tsallis_run.config.part import Part
from tsallis_run.config.rules import broken_rules
from tsallis_run.config.run import RunConfig, with_settled_q
from tsallis_run.types import UserError

_SHOULD = re.compile(r"^(Input |\w+ )?should")
"""How pydantic opens a rule."""

_SECRET = re.compile("key$|token$|secret|password|credential", re.IGNORECASE)
"""Names under which somebody may have given one."""

SHOWN_CHARS = 80
"""Of a value or a key in a message."""


def validate(data: Mapping[str, Any]) -> RunConfig:
    """Returns the run that plain nested data describes.

    Raises:
        UserError: with one line per fault, all faults together.
    """
    try:
        config, faults, is_whole = RunConfig.model_validate(data), [], True
    except ValidationError as error:
        faults = [line for fault in error.errors() for line in _describe(fault)]
        config, is_whole = _valid_part(data), False
    faults += [f"{path}: must be text without the character NUL, got {_shown(text)}" for path, text in _with_nul(data)]
    faults += broken_rules(config, is_whole=is_whole)
    if faults:
        raise UserError("\n".join(faults))
    return config


def _valid_part(data: Mapping[str, Any]) -> RunConfig:
    """A run that has those fields alone which are valid by themselves; for the rules across fields."""
    valid, settled = {}, with_settled_q(data)
    for name, adapter in _adapters().items():
        try:
            valid[name] = adapter.validate_python(settled.get(name))
        except ValidationError:
            continue
    return RunConfig.model_construct(**valid)


@cache
def _adapters() -> dict[str, Any]:
    """One for each field of a run; they are slow to build."""
    return {name: TypeAdapter(field.rebuild_annotation()) for name, field in RunConfig.model_fields.items()}


def _with_nul(value: Any, path: str = "") -> Iterator[tuple[str, str | bytes]]:
    """Texts that no path can name, and no process can be given; YAML's !!binary becomes one too."""
    if (isinstance(value, str) and "\0" in value) or (isinstance(value, bytes) and b"\0" in value):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _with_nul(inner, f"{path}.{_key(key)}" if path else _key(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _with_nul(inner, path)


def _describe(fault: Any) -> list[str]:
    """pydantic's fault as lines of the form `field: rule, got value; remedy`."""
    where = _where(fault["loc"])
    field = ".".join(where)
    match fault["type"]:
        case "extra_forbidden" | "invalid_key":
            return [f"{field}: no such key{_nearest(where)}"]
        case "missing":
            return [f"{field}: must be set; {_remedy(where)}"]
        case "union_tag_not_found" | "union_tag_invalid":
            key = fault["ctx"]["discriminator"].strip("'")
            tag = fault["ctx"].get("tag")
            forms = ", ".join(sorted(_tags(RunConfig.model_fields[field])))
            return [f"{field}.{key}: must be one of {forms}, got {_shown(tag)}; {_remedy(where)}"]
        case "model_type" | "model_attributes_type":
            return [f"{field}: must be a section with keys, got {_shown(fault['input'])}; {_remedy(where)}"]
        case "int_parsing_size":
            return [f"{field}: must be an integer of 64 bits, got {_shown(fault['input'])}"]
        case "value_error":
            return _own_words(field, str(fault["ctx"]["error"]), fault["input"])
    rule = _SHOULD.sub("must", str(fault["msg"]), count=1)
    return [f"{field}: {rule[:1].lower()}{rule[1:]}, got {_shown(fault['input'])}"]


def _own_words(field: str, message: str, value: Any) -> list[str]:
    """The faults that a validator of the sections tells: as whole lines, or as a rule with a remedy."""
    if not message.startswith("must"):
        return message.splitlines()
    if ", got " in message:
        return [f"{field}: {message}"]
    rule, _, remedy = message.partition("; ")
    return [f"{field}: {rule}, got {_shown(value)}" + (f"; {remedy}" if remedy else "")]


def _where(place: Sequence[int | str]) -> list[str]:
    """The path of a field, without what tells the forms of a section apart: users have no such key."""
    top = str(place[0])
    tags = _tags(RunConfig.model_fields[top]) if top in RunConfig.model_fields else set()
    return [_key(part) for index, part in enumerate(place) if not (index == 1 and part in tags)]


def _key(part: int | str) -> str:
    text = str(part)
    return (text if re.fullmatch(r"[\w@/-]+", text) else ascii(text))[:SHOWN_CHARS]


def _tags(field: FieldInfo) -> set[str]:
    """What pydantic calls the forms of a section; none where it has but one."""
    if isinstance(field.discriminator, str):
        forms = get_args(field.annotation)
        return {tag for form in forms for tag in get_args(form.model_fields[field.discriminator].annotation)}
    return set(_marked(field.annotation))


def _marked(annotation: Any) -> Iterator[str]:
    for inner in get_args(annotation):
        if isinstance(inner, Tag):
            yield inner.tag
        yield from _marked(inner)


def _remedy(where: Sequence[str]) -> str:
    """How a key is set that is missing: by a choice of its group, where it is one."""
    field = RunConfig.model_fields.get(where[0])
    is_group = field is not None and len(where) == 1 and _is_group(field.annotation)
    return f"choose a file of conf/{where[0]}/" if is_group else f"set {'.'.join(where)}=..."


def _shown(value: Any) -> str:
    """A value in few words; the keys of a mapping may be strange ones with secrets behind them, and stay untold."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN_CHARS:
        return f"an integer of {value.bit_length()} bits"
    shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}..."


def _nearest(where: list[str]) -> str:
    """The key that was probably meant: the same name in another section, else the most similar path."""
    if _SECRET.search(where[-1]):
        return "; secrets are no settings, set them in the environment (WANDB_API_KEY, HF_TOKEN)"
    paths = _all_paths()
    if ".".join(where) in paths:
        return f"; it belongs to another choice of {where[0]}"
    elsewhere = sorted((path for path in paths if path.split(".")[-1] == where[-1]), key=lambda path: path.count("."))
    close = elsewhere or difflib.get_close_matches(".".join(where), paths, n=1)
    return f"; did you mean {close[0]}?" if close else "; see tsallis-run --cfg job for all keys"


@cache
def _all_paths() -> list[str]:
    return sorted(set(_paths(RunConfig)))


def _paths(part: type[Part], above: str = "") -> Iterator[str]:
    """Every key of a section and of the sections in it, as dotted paths."""
    for name, field in part.model_fields.items():
        yield above + name
        for inner in _sections(field.annotation):
            yield from _paths(inner, f"{above}{name}.")


def _is_group(annotation: Any) -> bool:
    """True for a section, whichever of its forms; False for a field that may hold a bare value."""
    return all(_is_section(form) for form in get_args(annotation) or [annotation])


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Part)


def _sections(annotation: Any) -> Iterator[type[Part]]:
    if _is_section(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections(inner)
