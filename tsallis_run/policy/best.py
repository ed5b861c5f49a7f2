"""best/: the best weights so far as an ordinary Hugging Face folder.

It is a link to best-step-NNNNNN/ beside it. Weights that a checkpoint names as its best stay until that checkpoint is
gone, so a run that goes on from it finds the best of that moment, whatever was found and lost after it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tsallis_run import ranks
from tsallis_run.disk import point, publish
from tsallis_run.policy.tensor_files import check_tensors
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.types import DiskError


def best_of(best: Path, step: int) -> Path:
    """The folder of the weights that were the best at `step`, where `best` leads or has led."""
    return best.with_name(f"{best.name}-step-{step:06d}")


def save_best(best: Path, step: int, policy: ZeroPolicy, save_tokenizer: Callable[[Path], None]) -> None:
    """Writes the policy's weights to the side and lets `best` lead to them; collective.

    Raises:
        DiskError: on every rank, where they could not be written; `best` leads where it did.
    """
    target = best_of(best, step)
    unfinished = target.with_name(f".{target.name}")

    def begin() -> None:
        if ranks.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
            save_tokenizer(unfinished)

    def complete() -> None:
        if ranks.is_first():
            publish(unfinished, target)
            point(best, target)

    try:
        ranks.agreed(begin)
        policy.save_model(unfinished)
        ranks.agreed(complete)
    except DiskError:
        if ranks.is_first():
            shutil.rmtree(unfinished, ignore_errors=True)
        raise


def return_to_best(best: Path, step: int) -> None:
    """Lets `best` lead to the weights of `step` again.

    Raises:
        ValueError: where they are not whole, in words.
    """
    target = best_of(best, step)
    if not (target / "config.json").is_file():
        raise ValueError(f"{target.name}/config.json is missing")
    files = sorted(target.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{target.name} holds no weights")
    for file in files:
        check_tensors(file)
    if ranks.is_first():
        point(best, target)


def forget_best(best: Path, keep: set[int]) -> None:
    """Removes the weights that were once the best, but for those of the steps to keep."""
    kept = {best_of(best, step) for step in keep}
    for folder in best.parent.glob(f"{best.name}-step-*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
