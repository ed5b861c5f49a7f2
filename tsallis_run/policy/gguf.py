"""GGUF -> the Hugging Face layout, dequantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer


def convert_gguf(file: Path, folder: Path) -> None:
    """Writes the model of a GGUF file into `folder` as safetensors in bfloat16, with its tokenizer.

    A model loaded from GGUF refuses to be saved, so its weights are copied into a fresh one.
    """
    where: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    source = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **where)
    config = AutoConfig.from_pretrained(file.parent, **where)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    model.load_state_dict(source.state_dict())
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(file.parent, **where).save_pretrained(folder)
