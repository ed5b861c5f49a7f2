"""One run in processes of its own.

    tsallis-run ...            launch(config), which starts one of
        python -m tsallis_run.launch RUN_FOLDER              the one rank
        python -m tsallis_run.launch RUN_FOLDER --ranks N    N ranks on this machine, perhaps of several
    torchrun ... tsallis-run   launch(config), which is itself a rank; so are several tasks of srun

The command's own process stays light: torch, vLLM and DeepSpeed are imported in the ranks only.
"""

from __future__ import annotations

from tsallis_run.launch.start import launch

__all__ = ["launch"]
