"""Names of numbers in the mirrors, which make a panel of what shares a prefix; metrics.jsonl has them bare."""

from __future__ import annotations

from tsallis_run.tracking.records import MetricsRow

STEP = "step"
"""The horizontal axis of every panel."""

PANELS = {
    "weights": (
        *("p_hat", "p_hat_10", "p_hat_50", "p_hat_90", "log_p_hat", "mean_log_w", "ess", "max_centered_weight"),
        *("log10_amplification", "leading_bias", "jackknife_distrusted", "dead_groups", "zero_weights", "reward"),
        *("q", "q_min", "q_max"),
    ),
    "gradient": (
        *("grad_norm", "learning_rate", "zero_gradient_groups", "zero_gradient_fraction", "trained_rollouts"),
        "skipped",
    ),
    "lengths": (
        *("rationale_tokens", "truncated_fraction", "marker_fraction", "end_of_turn_fraction", "unended_fraction"),
    ),
    "engine": (
        *("engine_trainer_difference_mean", "engine_trainer_difference_max", "probe_difference", "policy_version"),
        *("importance_ratio_mean", "importance_truncated_fraction"),
    ),
    "time": ("tokens_per_second", "scored_tokens", "trained_tokens", "padding_fraction"),
}
"""Panel -> numbers of the train rows; every `_seconds` belongs to `time`, and what stands nowhere to `train`."""

_PANEL_OF = {name: panel for panel, names in PANELS.items() for name in names}


def panel_values(row: MetricsRow) -> MetricsRow:
    """The row's numbers and words behind the name of their panel: `weights/ess`, `train/loss`, `validation/maj@16`."""
    return {f"{_panel(str(row['split']), name)}/{name}": row[name] for name in row if name not in (STEP, "split")}


def _panel(split: str, name: str) -> str:
    if split != "train":
        return split
    return "time" if name.endswith("_seconds") else _PANEL_OF.get(name, "train")
