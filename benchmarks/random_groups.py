"""Groups of random tokens of given sizes, for benchmarks of the trainer alone."""

from __future__ import annotations

import random

from tsallis_run.types import Example, Group, Prompt, RationaleEnd, Rollout


def random_groups(
    vocabulary: int,
    *,
    num_prompts: int = 4,
    num_rollouts: int = 8,
    prompt_tokens: int = 44,
    rationale_tokens: int = 64,
    answer_tokens: int = 6,
) -> list[Group]:
    """Every rationale of the same length; nothing forced behind it."""
    draw = random.Random(0)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(draw.randrange(vocabulary) for _ in range(length))

    return [
        Group(
            Prompt(Example(str(index), "", "q", "a"), ids(prompt_tokens), (ids(answer_tokens),)),
            tuple(
                Rollout(ids(rationale_tokens), (0.0,) * rationale_tokens, RationaleEnd.BUDGET, (), None, 0)
                for _ in range(num_rollouts)
            ),
        )
        for index in range(num_prompts)
    ]
