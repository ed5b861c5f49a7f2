"""What a prompt says is worth: log w, P-hat and pass@1 of an untrained model for cold, warm, and each switch alone.

    python benchmarks/starts.py model=smollm2_135m dataset=gsm8k dataset.path=FOLDER [KEY=VALUE ...]

One engine and one policy serve all four columns. Rationales and answers are sampled for the first
`dataset.num_train` rows, `rollouts_per_prompt` each; the numbers of a column come from the same rollouts.
"""

from __future__ import annotations

import sys

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tsallis_run import ranks
from tsallis_run.batch import plan_of
from tsallis_run.cli import configuration_folder
from tsallis_run.config import RunConfig, validate
from tsallis_run.engine import build_engine
from tsallis_run.engine.rollouts import sample_groups
from tsallis_run.evaluate import grade
from tsallis_run.inputs import read_inputs
from tsallis_run.metrics import weight_diagnostics
from tsallis_run.policy.model_folder import model_folder
from tsallis_run.policy.token_scorer import load_scorer
from tsallis_run.policy.zero import ZeroPolicy
from tsallis_run.weight_sync import WeightSync, probe_ids

COLUMNS = {
    "cold": (False, False),
    "warm": (True, True),
    "instructions only": (True, False),
    "format only": (False, True),
}


def main(overrides: list[str]) -> None:
    configs = {name: run_config(overrides, *switches) for name, switches in COLUMNS.items()}
    warm = configs["warm"]  # the longest prompts: the engine gets room for them
    ranks.join()
    folder = model_folder(warm.model, seed=warm.seed)
    policy = ZeroPolicy(load_scorer(folder, warm.model), warm)
    longest = read_inputs(warm, folder)
    engine = build_engine(folder, warm, max_length_tokens=longest.max_length_tokens, run_folder=folder)
    WeightSync(policy, engine, probe_ids(longest.train[0]), warm.probe_tolerance_nats)()
    print(f"{warm.dataset.name}, {len(longest.train)} rows x {warm.rollouts_per_prompt} rollouts, {warm.model.name}")
    print(f"{'':20}{'mean log w':>12}{'P-hat':>12}{'pass@1':>10}")
    for name, config in configs.items():
        inputs = read_inputs(config, folder)
        groups = sample_groups(
            engine,
            inputs.train,
            inputs.format,
            config.rollout,
            num_rollouts=config.rollouts_per_prompt,
            answers=True,
            stream=f"seed {config.seed}, starts",
        )
        row = weight_diagnostics(score(policy, groups, plan_of(0, config), config).log_p_answer, None)
        graded = [grade(group, config.evaluation) for group in groups]
        right = sum(g.num_right for g in graded) / sum(g.num_samples for g in graded)
        print(f"{name:20}{row['mean_log_w']:12.2f}{row['p_hat']:12.2e}{right:10.3f}", flush=True)


def run_config(overrides: list[str], instructions: bool, answer_format: bool) -> RunConfig:
    switches = [f"start.instructions={instructions}", f"start.answer_format={answer_format}"]
    with initialize_config_dir(str(configuration_folder()), version_base=None):
        composed = compose("config", ["start=warm", *overrides, *switches])
    return validate(OmegaConf.to_container(composed, resolve=True))


if __name__ == "__main__":
    main(sys.argv[1:])
