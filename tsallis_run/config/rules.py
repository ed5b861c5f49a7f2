"""Rules across fields. Each looks at what it needs of a run and says what is wrong, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tsallis_run.config.estimator import GarlConfig, RewardConfig
from tsallis_run.config.q import MovingQ, QSchedule
from tsallis_run.config.rollout import VllmRollout, VllmServerRollout
from tsallis_run.config.run import RunConfig

Rule = Callable[[RunConfig], str | None]


def broken_rules(config: RunConfig, *, is_whole: bool) -> Iterator[str]:
    """One line for every rule that `config` breaks.

    Of a run that is not whole (some fields had faults of their own), rules that need what is missing are left out: so
    these faults can be told together with those of single fields.
    """
    for rule in RULES:
        try:
            fault = rule(config)
        except AttributeError:
            if is_whole:
                raise
            continue
        if fault is not None:
            yield fault


def q_is_given(config: RunConfig) -> str | None:
    if config.uses_q and config.q is None:
        return f"q: must be a number in [0, 1] for estimator={config.estimator.name}, got null; set q=0.75"
    return None


def a_moving_q_leaves_the_learning_rate_alone(config: RunConfig) -> str | None:
    if not isinstance(config.q, MovingQ) or isinstance(config.estimator, RewardConfig):
        return None
    if not config.estimator.normalize:
        return None
    when = (
        "while q moves (M^-q would move the learning rate with it)"
        if isinstance(config.q, QSchedule)
        else "for a q per example (M^-q would weigh examples against each other)"
    )
    return f"estimator.normalize: must be false {when}, got true; set estimator.normalize=false"


def groups_are_large_enough(config: RunConfig) -> str | None:
    estimator = config.estimator
    leaves_one_out = isinstance(estimator, GarlConfig) and (estimator.baseline or estimator.jackknife)
    compares = isinstance(estimator, RewardConfig) and (estimator.baseline != "none" or estimator.scale == "std")
    if config.rollouts_per_prompt > 1 or not (leaves_one_out or compares):
        return None
    why = "its baseline leaves one rollout out" if leaves_one_out else "rewards are centred within a group"
    return f"rollouts_per_prompt: must be >= 2 for estimator={estimator.name} ({why}), got {config.rollouts_per_prompt}"


def answers_keep_their_probability(config: RunConfig) -> str | None:
    if config.samples_answers or config.loss.length_normalization == "none":
        return None
    return (
        f"loss.length_normalization: must be none for estimator={config.estimator.name} "
        f"(w is the probability of the whole answer), got {config.loss.length_normalization}; leave it out"
    )


def ranks_share_the_prompts_evenly(config: RunConfig) -> str | None:
    launch = config.launch
    if config.prompts_per_step % launch.num_ranks == 0:
        return None
    ranks = f"launch.num_processes={launch.num_processes}"
    if launch.num_nodes > 1:
        ranks += f" times launch.num_nodes={launch.num_nodes}"
    return f"prompts_per_step: must be a multiple of {ranks}, got {config.prompts_per_step}"


def machines_meet_where_there_are_several(config: RunConfig) -> str | None:
    if config.launch.rendezvous is None or config.launch.num_nodes > 1:
        return None
    return (
        f"launch.rendezvous: must be null for launch.num_nodes=1, got {config.launch.rendezvous}; "
        "set launch.num_nodes, or leave it out"
    )


def a_job_is_told_to_stop_while_it_runs(config: RunConfig) -> str | None:
    slurm = config.launch.slurm
    if slurm.stop_seconds < 60 * slurm.minutes:
        return None
    return (
        f"launch.slurm.stop_seconds: must be less than launch.slurm.minutes={slurm.minutes} are, "
        f"got {slurm.stop_seconds}; lower it, or ask for more minutes"
    )


def ranks_form_whole_teams(config: RunConfig) -> str | None:
    if not isinstance(config.rollout, VllmRollout):
        return None
    size, num_ranks = config.rollout.tensor_parallel_size, config.launch.num_ranks
    if num_ranks % size == 0:
        return None
    return (
        f"rollout.tensor_parallel_size: must divide the {num_ranks} ranks for rollout=vllm (they share its engines), "
        f"got {size}; change launch.num_processes, or use rollout=vllm_server"
    )


def only_workers_sample_ahead(config: RunConfig) -> str | None:
    if config.rollout.max_staleness == 0 or config.rollout.name == "vllm_server":
        return None
    return (
        f"rollout.max_staleness: must be 0 for rollout={config.rollout.name} (its engine and the trainer take turns), "
        f"got {config.rollout.max_staleness}; use rollout=vllm_server to sample ahead"
    )


def older_weights_are_corrected_for(config: RunConfig) -> str | None:
    if config.rollout.max_staleness == 0 or config.rollout.importance_correction != "none":
        return None
    return (
        "rollout.importance_correction: must be sequence or token for rollout.max_staleness=1 "
        "(older weights write the rollouts), got none; set rollout.importance_correction=sequence"
    )


def servers_elsewhere_are_trusted(config: RunConfig) -> str | None:
    rollout = config.rollout
    if not isinstance(rollout, VllmServerRollout) or rollout.trust_network or not rollout.urls_elsewhere:
        return None
    return (
        "rollout.urls: must be on this machine (127.0.0.1, localhost) unless rollout.trust_network=true (a server "
        f"obeys whoever reaches its port), got {', '.join(rollout.urls_elsewhere)}; set rollout.trust_network=true "
        "where the network between the machines is closed to others"
    )


def weights_reach_the_servers(config: RunConfig) -> str | None:
    rollout = config.rollout
    if not isinstance(rollout, VllmServerRollout):
        return None
    if rollout.weight_transfer == "shared_memory" and rollout.urls_elsewhere:
        return (
            "rollout.weight_transfer: must be nccl or auto for servers on other machines, got shared_memory; "
            "leave it out"
        )
    if rollout.weight_transfer == "nccl" and not rollout.urls:
        return (
            "rollout.weight_transfer: must be shared_memory or auto for workers that the run starts (one that died "
            "takes the weights again from there), got nccl; leave it out"
        )
    return None


def the_warm_up_ends(config: RunConfig) -> str | None:
    wanted = config.optimizer.warmup_steps
    if wanted <= config.total_steps:
        return None
    return f"optimizer.warmup_steps: must be <= {config.total_steps} (all steps), got {wanted}"


def weights_in_bfloat16_are_sharded(config: RunConfig) -> str | None:
    if config.model.dtype != "bfloat16" or config.zero.stage > 0:
        return None
    return (
        "zero.stage: must be >= 1 for model.dtype=bfloat16 (at stage 0 DeepSpeed takes an optimizer step of its own as "
        "it starts), got 0; set zero=stage1"
    )


RULES: tuple[Rule, ...] = (
    weights_in_bfloat16_are_sharded,
    q_is_given,
    a_moving_q_leaves_the_learning_rate_alone,
    groups_are_large_enough,
    answers_keep_their_probability,
    ranks_share_the_prompts_evenly,
    machines_meet_where_there_are_several,
    a_job_is_told_to_stop_while_it_runs,
    ranks_form_whole_teams,
    only_workers_sample_ahead,
    older_weights_are_corrected_for,
    servers_elsewhere_are_trusted,
    weights_reach_the_servers,
    the_warm_up_ends,
)
