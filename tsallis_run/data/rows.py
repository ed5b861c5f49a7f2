"""A raw row and typed access to its fields; a row that breaks its schema becomes a message that names it."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from tsallis_run.types import UserError

_SURROGATE = re.compile("[\ud800-\udfff]")
_SHOWN_CHARS = 60


@dataclass(frozen=True)
class Origin:
    """Where rows came from, in the words that a message to the user needs."""

    dataset: str
    """The dataset whose schema they should follow."""
    setting: str
    """The key that the user would change: dataset.path or dataset.hub."""
    name: str
    """The file, or the hub's dataset and split."""
    stem: str
    """The file's name without its ending; the official one where the rows came from the hub."""


@dataclass(frozen=True)
class Row:
    """One row, or a record nested in it."""

    fields: Mapping[str, object]
    number: int
    """Position in its file, from 1; in JSON lines the number of the line."""
    origin: Origin
    within: str = ""
    """Path of a nested record, such as "paragraphs[3]."; "" for the row itself."""

    @property
    def where(self) -> str:
        """The row in words, as "row 3 of dev.json"."""
        return f"row {self.number} of {self.origin.name}"

    def spelling(self, *names: str) -> str:
        """The first of several names for one field that is present; the first of all where none is."""
        return next((name for name in names if name in self.fields), names[0])

    def text(self, name: str) -> str:
        """A string, as it is written."""
        return self._as_text(name, self._get(name))

    def text_or_empty(self, name: str) -> str:
        """A string, "" where it is null."""
        return "" if self._get(name) is None else self.text(name)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        return self._as_texts(name, self._get(name))

    def table(self, name: str) -> tuple[tuple[str, ...], ...]:
        """A list of lists of strings."""
        lines = self._as_list(name, self._get(name))
        return tuple(self._as_texts(f"{name}[{i}]", line) for i, line in enumerate(lines))

    def flag(self, name: str) -> bool:
        """A truth value."""
        value = self._get(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def child(self, name: str) -> Row:
        """A nested record."""
        value = self._get(name)
        if not isinstance(value, Mapping):
            raise self._wrong(name, "an object", value)
        return replace(self, fields=value, within=f"{self.within}{name}.")

    def children(self, name: str, *keys: str) -> tuple[Row, ...]:
        """Nested records, in any of the three layouts in which datasets keep them.

        A list of objects; a list of lists with the values of `keys` in their order (official HotPotQA);
        or an object of lists of one length, one per key (hub copies).
        """
        value = self._get(name)
        records = self._transposed(name, value, keys) if isinstance(value, Mapping) else self._as_list(name, value)
        return tuple(self._record(f"{name}[{i}]", record, keys) for i, record in enumerate(records))

    def fault(self, rule: str) -> UserError:
        """The error for a row that breaks `rule`."""
        remedy = f"check that it holds rows of dataset={self.origin.dataset}"
        return UserError(f"{self.origin.setting}: {self.where} {rule}; {remedy}")

    def _get(self, name: str) -> object:
        if name not in self.fields:
            keys = _cut(", ".join(map(str, self.fields))) or "none"
            raise self.fault(f"lacks the field '{self.within}{name}' of the official schema (got keys {keys})")
        return self.fields[name]

    def _as_text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        if _SURROGATE.search(value):
            raise self._wrong(name, "valid Unicode", value)
        return value

    def _as_list(self, name: str, value: object) -> list[object]:
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return value

    def _as_texts(self, name: str, value: object) -> tuple[str, ...]:
        return tuple(self._as_text(f"{name}[{i}]", item) for i, item in enumerate(self._as_list(name, value)))

    def _transposed(self, name: str, columns: Mapping[str, object], keys: tuple[str, ...]) -> Iterator[object]:
        self.child(name)._get(keys[0])  # without any of the keys there would be no records, and no error
        lists = {key: self._as_list(f"{name}.{key}", columns[key]) for key in keys if key in columns}
        if len({len(column) for column in lists.values()}) > 1:
            raise self._wrong(name, "lists of one length", columns)
        return (dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True))

    def _record(self, name: str, value: object, keys: tuple[str, ...]) -> Row:
        if isinstance(value, list) and len(value) == len(keys):
            value = dict(zip(keys, value, strict=True))
        if not isinstance(value, Mapping):
            raise self._wrong(name, f"an object or a list of {', '.join(keys)}", value)
        return replace(self, fields=value, within=f"{self.within}{name}.")

    def _wrong(self, name: str, kind: str, value: object) -> UserError:
        shown = ascii(value) if isinstance(value, str) else reprlib.repr(value)
        return self.fault(f"must hold {kind} in '{self.within}{name}', got {_cut(shown)}")


def _cut(text: str) -> str:
    """In one line, of what a terminal can show."""
    shown = text if text.isprintable() else ascii(text)[1:-1]
    return shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."
