"""What a run needs, by hand."""

from __future__ import annotations

import pytest
from small import run_config

from tsallis_run.config import RunConfig
from tsallis_run.doctor.memory import ModelSize, Need, checkpoint_bytes, model_size, need
from tsallis_run.policy.model_folder import model_folder

SIZE = ModelSize(num_weights=1000, num_layers=2, width=10, vocabulary=50)


def needed(*overrides: str) -> Need:
    config = run_config("optimizer.micro_batch_tokens=100", *overrides)
    return need(SIZE, config, longest_tokens=30, gpu_bytes=None)


def test_float32_at_stage_0_takes_16_bytes_a_weight() -> None:
    # 4 for the weight, 4 for its gradient, 8 for Adam's moments; nothing is sharded
    whole = needed("zero=stage0", "launch.num_processes=4", "prompts_per_step=8")
    assert (whole.weights, whole.gradients, whole.optimizer) == (4000, 4000, 8000)


@pytest.mark.parametrize(
    ("stage", "shares"), [(1, (2000, 6000, 3000)), (2, (2000, 1000, 3000)), (3, (500, 1000, 3000))]
)
def test_bfloat16_over_4_ranks_is_sharded_stage_by_stage(stage: int, shares: tuple[float, ...]) -> None:
    # whole: 2 for the weight, 4 for its gradient in float32 (at stage 1 another 2 for the micro-batch's), 4 + 8 for
    # master copy and moments
    sharded = needed("model.dtype=bfloat16", f"zero=stage{stage}", "launch.num_processes=4")
    assert (sharded.weights, sharded.gradients, sharded.optimizer) == shares


@pytest.mark.parametrize(("dtype", "stage", "gigabytes"), [("bfloat16", 1, 0), ("bfloat16", 3, 1), ("float32", 1, 2)])
def test_on_a_gpu_deepspeed_holds_a_bucket_whatever_the_size_of_the_model(
    dtype: str, stage: int, gigabytes: int
) -> None:
    config = run_config(f"model.dtype={dtype}", f"zero=stage{stage}")
    on_gpu, on_cpu = (need(SIZE, config, longest_tokens=30, gpu_bytes=bytes).gradients for bytes in (80 * 2**30, None))
    assert on_gpu - on_cpu == gigabytes * 10**9


def test_sgd_keeps_nothing_or_its_momentum() -> None:
    stage_0, stage_1 = ("zero=stage0", "optimizer=sgd"), ("zero=stage1", "optimizer=sgd")
    assert [needed(*stage_0).optimizer, needed(*stage_0, "optimizer.momentum=0.9").optimizer] == [0, 4000]
    assert [needed(*stage_1).optimizer, needed(*stage_1, "optimizer.momentum=0.9").optimizer] == [4000, 8000]
    assert checkpoint_bytes(SIZE, run_config("optimizer=sgd", "checkpoint.keep=2")) == 1000 * (4 * 3 + 4 * 2)


def test_activations_by_hand() -> None:
    logits = 2 * 4 * 50 * 100
    assert needed("model.dtype=bfloat16").activations == 2 * 34 * 100 * 10 + logits
    assert needed("model.dtype=float32").activations == 2 * (2 * 34 * 100 * 10) + logits
    checkpointed = needed("model.dtype=bfloat16", "model.gradient_checkpointing=true").activations
    assert checkpointed == 34 * 100 * 10 + 2 * (2 * 100 * 10) + logits


def test_a_micro_batch_holds_the_longest_sequence() -> None:
    config = run_config("optimizer.micro_batch_tokens=1")
    assert need(SIZE, config, longest_tokens=100, gpu_bytes=None).activations == needed().activations


def test_an_engine_takes_its_weights_and_its_cache() -> None:
    gib = 2**30
    assert needed("rollout=transformers").engine == 4000
    assert needed("rollout=vllm", "rollout.kv_cache_gib=2").engine == 4000 + 2 * gib
    assert needed("rollout=vllm", "rollout.kv_cache_gib=0.5").engine == 4000 + gib // 2
    workers = "rollout.num_workers=2"
    assert needed("rollout=vllm_server", workers, "rollout.kv_cache_gib=1").engine == 2 * (4000 + gib)
    config = run_config("rollout=vllm", "rollout.gpu_memory_utilization=0.25")
    assert need(SIZE, config, longest_tokens=30, gpu_bytes=80 * gib).engine == 20 * gib


def test_an_engine_that_sleeps_shares_the_room_of_the_gradients() -> None:
    parts = Need(weights=1.0, gradients=10.0, optimizer=2.0, activations=20.0, engine=25.0)
    assert parts.peak(take_turns=False) == 58
    assert parts.peak(take_turns=True) == 33
    assert Need(1.0, 10.0, 2.0, 20.0, engine=35.0).peak(take_turns=True) == 38


def test_the_disk_holds_one_checkpoint_more_than_is_kept_and_best_twice() -> None:
    # 12 bytes a weight in each of 2 + 1 checkpoints, 4 in each of two best/
    assert checkpoint_bytes(SIZE, run_config("checkpoint.keep=2")) == 1000 * (12 * 3 + 4 * 2)


def test_the_size_of_a_model_is_read_from_its_folder_without_its_weights() -> None:
    config: RunConfig = run_config()
    folder = model_folder(config.model, seed=0)
    size = model_size(folder, config)
    assert (size.num_layers, size.width, size.vocabulary) == (3, 128, 48)
    # embedding, tied; in a layer attention with two norms of a head, MLP with two norms
    assert size.num_weights == 48 * 128 + 3 * (128 * 384 + 2 * 32 + 3 * 128 * 256 + 2 * 128) + 128
