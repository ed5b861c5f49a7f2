"""One of two ranks, for test_ranks: what they agree on where one of them fails, and how long they wait."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from small import run_config

from tsallis_run import ranks
from tsallis_run.types import UserError


def main(file: Path) -> None:
    """Writes, for each rank, what it was told of a mistake, what was decided, and its patience in seconds."""
    ranks.join(run_config("rollout.timeout_seconds=1e6").rollout.patience_seconds)

    def mistake() -> int:
        if ranks.is_first():
            return 5
        raise UserError("model.path: must be here")

    try:
        told = str(ranks.agreed(mistake))
    except UserError as error:
        told = str(error)
    decided = ranks.decided(lambda: 10 + ranks.rank())
    patience = dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds()
    found = ranks.gathered([[told == "model.path: must be here", told == "", decided, patience]])
    if ranks.is_first():
        torch.save({"ranks": torch.tensor(found, dtype=torch.float64)}, file)
    ranks.wait_for_all()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
