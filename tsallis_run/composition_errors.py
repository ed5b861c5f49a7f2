"""What Hydra, OmegaConf and YAML say of a command line or a file with a mistake in it, in the project's own words.

Every line has the form `field: rule, got value; remedy`. What they would let pass, or answer with a traceback, is
found here before they see it: choices that are none.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from tsallis_run.config import RunConfig

Compose = Callable[[list[str]], DictConfig]
"""Overrides -> composed configuration."""

HIDDEN = ("_", ".")
"""Open a name that is no choice: of a part of choices (_base), or a way out of the group (../model/tiny)."""

READABLE = "letters, digits and - _ . / : + % @ ? | *"
"""What a value may consist of that stands in no quotation marks."""


SHOWN_CHARS = 80
"""Of a value in a message."""


class OverrideError(ValueError):
    """An override that Hydra would answer with a traceback, or take for something else."""

    def __init__(self, override: str, line: str) -> None:
        super().__init__(line)
        self.override = override


class UnreadableError(ValueError):
    """A file that YAML cannot read, and does not say so in an error of its own."""


COMPOSITION_ERRORS = (OverrideError, UnreadableError, HydraException, OmegaConfBaseException, yaml.YAMLError)
"""What a command line or a configuration file with a mistake in it raises."""


def composition(compose: Compose, overrides: Sequence[str], folders: Sequence[Path]) -> DictConfig:
    """Composes, where that can be done at all.

    Args:
        folders: the files of the groups lie in these.

    Raises:
        COMPOSITION_ERRORS: of these one.
    """
    check_overrides(overrides, folders)
    try:
        return compose(list(overrides))
    except COMPOSITION_ERRORS:
        raise
    except (ValueError, RecursionError) as error:  # bytes that are no UTF-8, a number of 5000 digits, 1000 brackets
        reason = " ".join(str(error).split())[:SHOWN_CHARS]
        raise UnreadableError(f"configuration: must be files in UTF-8 that YAML can read, got {reason}") from error


def check_overrides(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """Looks at what is given to the groups among `overrides`, whose files lie in `folders`.

    Raises:
        OverrideError: for the first that cannot be read, or gives a group none of its choices.
    """
    for override in overrides:
        parsed = _parsed(override)
        if parsed is None or not isinstance(parsed.key_or_group, str):
            continue
        group, options = parsed.key_or_group, choices_of(parsed.key_or_group, folders)
        if not group:
            raise OverrideError(override, _unreadable(override))
        if group == "hydra":
            raise OverrideError(override, f"hydra: must be set key by key, got {override}; write hydra.KEY=...")
        if parsed.is_delete() and options and group in RunConfig.model_fields:
            raise OverrideError(
                override, f"{group}: must be one of {', '.join(options)}, got none; leave {override} out"
            )
        if not parsed.is_delete() and (options or group.startswith("hydra/")):
            for value in values(override):
                _check_choice(override, group, value, options)


def _check_choice(override: str, group: str, value: str, options: Sequence[str]) -> None:
    parsed = _parsed(value)
    if parsed is None or isinstance(parsed.value(), dict):  # a dict holds keys of the group's section
        return
    choice = parsed.get_value_string()
    if isinstance(parsed.value(), str) and choice and not any(part.startswith(HIDDEN) for part in choice.split("/")):
        return
    raise OverrideError(override, _choice_line(group, choice, options))


def groups(folders: Sequence[Path]) -> list[str]:
    """The groups of which a run chooses."""
    names = {path.name for folder in folders for path in folder.iterdir() if path.is_dir()}
    return sorted(name for name in names - {"hydra"} if not name.startswith(HIDDEN))


def choices_of(group: str, folders: Sequence[Path]) -> list[str]:
    """The choices of a group; none where it is no group."""
    files = (file for folder in folders for file in folder.glob(f"{group}/*.yaml")) if group else ()
    return sorted({file.stem for file in files if not file.stem.startswith(HIDDEN)})


def _parsed(override: str) -> Override | None:
    """None for what Hydra's grammar does not take."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([override])
    except OverrideParseException:
        return None
    except (ValueError, RecursionError) as error:
        raise OverrideError(
            override, f"{_cut(key_of(override))}: must be a shorter value, got {_cut(override)}"
        ) from error
    return parsed


def _cut(text: str) -> str:
    """In one line, of what a terminal can show."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}..."


def each_value_once(overrides: Sequence[str]) -> Iterator[list[str]]:
    """Overrides without sweeps, in which every value of every sweep comes up."""
    swept = [values(override) for override in overrides]
    yield [first for first, *_ in swept]
    for place, (_, *others) in enumerate(swept):
        for value in others:
            yield [value if index == place else first for index, (first, *_) in enumerate(swept)]


def values(override: str) -> list[str]:
    """The override once for each value it sweeps over; what cannot be parsed stays as it is, to be told."""
    parsed = _parsed(override)
    if parsed is None or not parsed.is_discrete_sweep():
        return [override]
    return [f"{parsed.get_key_element()}={value}" for value in parsed.sweep_string_iterator()]


def key_of(override: str) -> str:
    """`a.b` of `+a.b=1`."""
    return override.split("=", 1)[0].lstrip("+~")


def culprit_of(error: Exception, overrides: Sequence[str]) -> str | None:
    """The override that `error` is about; None where a file is at fault."""
    if isinstance(error, OverrideError | OverrideParseException):
        return str(error.override)
    named = set(re.findall(r"'([^'\n]+)'", str(error))) | {_subject(error)}
    for override in overrides:
        choice = override.lstrip("+~").replace("=", "/", 1)
        if {override, choice, key_of(override)} & named:
            return override
    return None


def _subject(error: Exception) -> str | None:
    """What the messages name that put it into no quotation marks: a key, a group, or an override's whole text."""
    if isinstance(error, OmegaConfBaseException):
        return str(error.full_key)
    patterns = ("Multiple values for (.+)\\. To", "(.+) appears more than once", "Error merging override (.+)")
    found = (re.match(pattern, str(error)) for pattern in patterns)
    return next((match.group(1) for match in found if match), None)


def is_unknown_key(error: Exception, override: str) -> bool:
    """True where the override sets a key that no file has; the validation knows which one was probably meant."""
    is_plain = not override.startswith(("+", "~", "hydra."))
    return is_plain and "To append to your config use" in str(error)


def explain(error: Exception, culprit: str | None) -> str:
    """An error of the composition as a line of the form `field: rule, got value; remedy`."""
    if isinstance(error, OverrideError | UnreadableError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        options = [option for option in error.options or () if not option.startswith(HIDDEN)]
        return _choice_line(group or "--config-name", choice, sorted(options))
    if isinstance(error, yaml.YAMLError):
        return f"YAML: {' '.join(str(error).split())}"
    message = " ".join(str(error.__cause__ or error).strip().splitlines()[:1]).rstrip(".")
    if culprit is None:
        return f"configuration: {message}"
    if isinstance(error, OverrideParseException):
        return _unreadable(culprit)
    key = _cut(key_of(culprit))
    return _misplaced(str(error.__cause__ or error), culprit) or f"{key}: {message}, got {_cut(culprit)}"


def _misplaced(message: str, culprit: str) -> str | None:
    """What is meant by an override whose sign is wrong: +, ~, or a comma."""
    key, shown = _cut(key_of(culprit)), _cut(culprit)
    if "--multirun" in message:
        value = culprit.removeprefix(f"{key}=")
        rule = "must be one value for one run"
        return f"{key}: {rule}, got {_cut(value)}; add -m to run them all, or write a list as [a,b]"
    if "No match in the defaults list" in message:
        return f"{key}: must be added with +, got {shown}; write +{shown}"
    if "more than once" in message or "Multiple values" in message or "Could not append" in message:
        return f"{key}: must be set without + (it has a value already), got {shown}; write {shown.lstrip('+')}"
    return None


def _unreadable(culprit: str) -> str:
    key, is_set, value = key_of(culprit), "=" in culprit, culprit.partition("=")[2]
    if not is_set or not re.fullmatch(r"[\w./@]+", key):
        return f"{_cut(culprit)}: must be key=value, got {_cut(culprit)}; tsallis-run --help shows examples"
    if value.startswith("~/"):
        return f"{key}: must not begin with ~ (no shell opens it there), got {_cut(value)}; write $HOME{value[1:]}"
    quoted = value.replace("'", "")
    rule = f"must consist of {READABLE}, or be quoted twice"
    return f"{key}: {rule}, got {_cut(value)}; write \"{key}='{_cut(quoted)}'\""


def _choice_line(group: str, choice: str, options: Sequence[str]) -> str:
    close = difflib.get_close_matches(choice, options, n=1)
    rule = f"must be one of {', '.join(options)}" if options else "must name a file of that group"
    return f"{group}: {rule}, got {_cut(choice) or 'nothing'}" + (f"; did you mean {close[0]}?" if close else "")
