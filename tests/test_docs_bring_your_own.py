"""docs/bring-your-own.md does what it says: its dataset and its model are added to a copy, and a run trains on them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small import run_config
from test_docs_estimators import patched

import tsallis_run
from tsallis_run.cli import configuration_folder
from tsallis_run.policy.tiny import build_tiny
from tsallis_run.tracking.records import RunFolder, read_results, read_rows

PAGE = Path(__file__).parent.parent / "docs" / "bring-your-own.md"
TINY_STEP = (
    *("model=my_model", "start=warm", "estimator=garl", "rollout=transformers", "tracker.wandb.mode=disabled"),
    *("num_steps=1", "prompts_per_step=2", "rollouts_per_prompt=2", "evaluation.num_samples=2", "output_dir=run"),
)


def blocks() -> dict[str, str]:
    """File that the page names -> the code block below its name."""
    named = re.findall(r"^`([\w/.]+)`\n\n```(?:\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(named)


@pytest.fixture(scope="module")
def with_the_examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and configuration to which the page's files have been added."""
    folder = tmp_path_factory.mktemp("own")
    package = Path(tsallis_run.__file__).parent
    shutil.copytree(package, folder / "tsallis_run", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(configuration_folder(), folder / "conf")
    for name, block in blocks().items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(patched(file.read_text(), block) if file.exists() else block)
    return folder


def tsallis_run_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command of the copy."""
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", "from tsallis_run.cli import main; main()", "--config-dir", "my_conf", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_trains_the_pages_model_on_the_pages_dataset(with_the_examples: Path) -> None:
    """The model's file stands for any causal language model: the tiny one takes the place of its weights."""
    folder = with_the_examples
    build_tiny(folder / "weights", run_config().model.architecture, seed=0)
    rows = [
        line.replace('"id": "a', f'"id": "{copy}a')
        for copy in range(20)
        for line in blocks()["rows.jsonl"].splitlines()
    ]
    (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")  # enough for all three splits
    data = ("dataset=plain", "dataset.path=rows.jsonl", "dataset.num_validation=2", "dataset.num_test=2")
    ended = tsallis_run_in(folder, *TINY_STEP, *data, "model.path=weights")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    run = RunFolder(folder / "run")
    assert [row["split"] for row in read_rows(run.metrics)] == ["validation", "train", "validation", "test"]
    results = read_results(run)
    assert (results.status, results.model, results.dataset) == ("finished", "my_model", "plain")
    (rollouts, *_) = run.rollouts.glob("*.jsonl")
    assert "nswer with the number only." in rollouts.read_text()  # the tiny tokenizer knows no capitals
