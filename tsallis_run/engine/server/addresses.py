"""Where the workers of this machine can be reached: written by the process that keeps them, read by its ranks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

ENDED = "the workers were ended with the run"
"""Why there are none any more, where nothing went wrong."""


@dataclass(frozen=True)
class Addresses:
    """The workers that hold the newest weights; a worker that is being started again is not among them."""

    urls: tuple[str, ...]
    failure: str | None = None
    """Why there will be no more workers; None while they are kept alive."""


class AddressBook:
    """A small file, always whole: it is written to the side and swapped in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, addresses: Addresses) -> None:
        """Makes `addresses` what everyone reads from now on."""
        fresh = self._path.with_name(f".{self._path.name}")
        fresh.write_text(json.dumps(asdict(addresses)))
        fresh.replace(self._path)

    def read(self) -> Addresses:
        """What was written last."""
        data = json.loads(self._path.read_text())
        return Addresses(tuple(data["urls"]), data["failure"])
