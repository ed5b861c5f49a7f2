"""Run folders without a run: configuration, metrics and results as a run leaves them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tsallis_run.tracking.records import MetricsFile, MetricsRow, Results, RunFolder, write_results


def scores(maj: float, num_samples: int = 16) -> dict[str, float]:
    """Of one split."""
    return {
        "pass@1": maj / 2,
        "pass@1_low": maj / 4,
        "pass@1_high": maj * 3 / 4,
        f"pass@{num_samples}": maj * 1.5,
        f"maj@{num_samples}": maj,
        f"maj@{num_samples}_low": maj - 0.1,
        f"maj@{num_samples}_high": maj + 0.1,
        "num_examples": 64,
    }


def finished(
    folder: Path,
    *,
    q: float | str | None = 0.75,
    estimator: str = "paft",
    seed: int = 0,
    maj: float = 0.5,
    model: str = "tiny",
    dataset: str = "reversal",
    start: str = "cold",
    num_samples: int = 16,
    status: str = "finished",
) -> Path:
    """Only results.json, the test 0.125 below the validation."""
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(
        status=status,
        best_step=150,
        estimator=estimator,
        q=q,
        model=model,
        dataset=dataset,
        start=start,
        seed=seed,
        validation=scores(maj, num_samples),
        test=scores(maj - 0.125, num_samples),
    )
    write_results(RunFolder(folder), results)
    return folder


def failed_before_validation(folder: Path, q: float) -> Path:
    """Without a number."""
    folder.mkdir(parents=True)
    names: dict[str, Any] = {"estimator": "garl", "q": q, "model": "tiny", "dataset": "reversal", "start": "cold"}
    write_results(RunFolder(folder), Results(status="failed", best_step=None, validation={}, test={}, seed=0, **names))
    return folder


def configured(folder: Path, **changes: Any) -> Path:
    """config.yaml in an existing or new folder, of the keys that the report reads; `a__b=1` sets a.b."""
    config: dict[str, Any] = {
        "task": "train",
        "seed": 3,
        "q": None,
        "estimator": {"name": "grpo", "kind": "reward"},
        "model": {"name": "tiny", "path": None},
        "dataset": {"name": "reversal"},
        "start": {"name": "warm"},
    }
    for key, value in changes.items():
        *path, name = key.split("__")
        part = config
        for step in path:
            part = part.setdefault(step, {})
        part[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    RunFolder(folder).config_yaml.write_text(yaml.safe_dump(config))
    return folder


def logged(folder: Path, rows: list[MetricsRow]) -> Path:
    """metrics.jsonl of these rows."""
    metrics = MetricsFile(RunFolder(folder).metrics)
    for row in rows:
        metrics.log(row)
    return folder


def train_row(step: int, **numbers: float) -> MetricsRow:
    """A row of metrics.jsonl."""
    return {"step": step, "split": "train", **numbers}


def validation_row(step: int, maj: float, num_samples: int = 16) -> MetricsRow:
    """A row of metrics.jsonl."""
    return {"step": step, "split": "validation", **scores(maj, num_samples)}
