"""What a model folder must be before anything opens it: whole, of a known architecture, and without code to be run.

Only names, JSON and the headers of safetensors files are read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tsallis_run.complaint import first_line
from tsallis_run.config import ModelConfig
from tsallis_run.policy.tensor_files import check_tensors
from tsallis_run.types import UserError

WEIGHTS = "model*.safetensors"
INDEX = "model.safetensors.index.json"


def check_folder(folder: Path, config: ModelConfig) -> None:
    """Looks at a Hugging Face folder from outside.

    Raises:
        UserError: for the first thing that is missing, broken, unknown, or not allowed.
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"model.path: must hold config.json, got {str(folder)!r} without one; "
            "name a Hugging Face folder such as RUN/best"
        )
    settings = _read_json(folder / "config.json")
    _check_weights(folder)
    _check_architecture(folder, settings, config)
    if not any(folder.glob("tokenizer*")) and not any(folder.glob("vocab*")):
        raise UserError(f"model.path: must hold a tokenizer, got {str(folder)!r} without one; save it beside the model")


def _check_architecture(folder: Path, settings: dict[str, Any], config: ModelConfig) -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = settings.get("model_type")
    is_known = isinstance(kind, str) and kind in CONFIG_MAPPING_NAMES
    if is_known or (config.trust_remote_code and "auto_map" in settings):
        return
    if "auto_map" in settings:
        raise UserError(
            f"model.trust_remote_code: must be true for {str(folder)!r}, whose model ({kind}) is code that comes "
            "with it, got false; read that code, then set model.trust_remote_code=true, or choose another model"
        )
    raise UserError(
        "model.path: must be a model whose model_type transformers knows, "
        f"got {kind!r} in {str(folder / 'config.json')!r}; choose another model"
    )


def _check_weights(folder: Path) -> None:
    files = sorted(folder.glob(WEIGHTS))
    if (folder / INDEX).is_file():
        named = _read_json(folder / INDEX).get("weight_map")
        names = set(named.values()) if isinstance(named, dict) else {INDEX}
        files = [folder / str(name) for name in sorted(names, key=str)]
    if not files:
        raise UserError(
            f"model.path: must hold {WEIGHTS} (other formats can run code when they are opened), "
            f"got {str(folder)!r} without any; save the model with safe serialization"
        )
    for file in files:
        try:
            check_tensors(file)
        except ValueError as error:
            raise UserError(
                f"model.path: must hold whole safetensors files, got {str(folder)!r} with {first_line(error)}; "
                "copy or save the model again"
            ) from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"model.path: must hold a readable {file.name}, got {str(file)!r} with {first_line(error)}; "
            "copy or save the model again"
        ) from None
    if not isinstance(data, dict):
        raise UserError(
            f"model.path: must hold an object in {file.name}, got {type(data).__name__} in {str(file)!r}; "
            "copy or save the model again"
        )
    return data
