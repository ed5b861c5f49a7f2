"""A training step of TRL's GRPOTrainer, on command: the peer in `against_trl.py`. TRL is no dependency of the project.

python benchmarks/trl_step.py PROMPT_TOKENS DTYPE
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import torch
from datasets import Dataset
from one_step import problems, run_config
from side_by_side import peak_gb, say
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from tsallis_run.policy.model_folder import model_folder

NUM_PROMPTS, NUM_COMPLETIONS, COMPLETION_TOKENS = 4, 8, 64
LONG_TOKENS = 256
"""Behind prompts over this, TRL takes one group at a time: its padded rows of a whole step need over 24 GB."""


class TimedTrainer(GRPOTrainer):
    """Tells generation from the rest of the step."""

    generate_seconds = 0.0

    def _generate(self, *args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        result = super()._generate(*args, **kwargs)
        self.generate_seconds = time.perf_counter() - begun
        return result


class OnCommand(TrainerCallback):
    """Waits for a line ahead of every step."""

    def __init__(self, trainer: TimedTrainer) -> None:
        self._trainer, self._begun = trainer, 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        say({})

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        if not sys.stdin.readline():
            os._exit(0)
        self._begun = time.perf_counter()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        whole, generate = time.perf_counter() - self._begun, self._trainer.generate_seconds
        say({"generate_seconds": generate, "train_seconds": whole - generate, "peak_gb": peak_gb()})


def reward(completions: Sequence[str], **kwargs: Any) -> list[float]:
    """Differs within every group, so that all completions are trained."""
    return [float(index % 2) for index in range(len(completions))]


def main(num_tokens: int, dtype: str) -> None:
    folder = model_folder(run_config(["model=smollm2_135m"]).model, seed=0)
    num_cuts = NUM_PROMPTS if num_tokens > LONG_TOKENS else 1
    with tempfile.TemporaryDirectory() as output:
        arguments = GRPOConfig(
            output_dir=output,
            per_device_train_batch_size=NUM_PROMPTS * NUM_COMPLETIONS // num_cuts,
            gradient_accumulation_steps=num_cuts,
            num_generations=NUM_COMPLETIONS,
            max_completion_length=COMPLETION_TOKENS,
            generation_kwargs={"min_new_tokens": COMPLETION_TOKENS},
            beta=0.0,
            learning_rate=1e-5,
            max_steps=1000,
            bf16=dtype == "bfloat16",
            use_cpu=True,
            gradient_checkpointing=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        trainer = TimedTrainer(
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
            reward,
            args=arguments,
            train_dataset=Dataset.from_list([{"prompt": row["question"]} for row in problems(num_tokens)]),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        trainer.add_callback(OnCommand(trainer))
        trainer.train()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
