"""docs/estimators.md does what it says: its example runs, its counts, numbers, names and figures are true."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest
from laws.latent_model import mean_gradient, random_model, unordered_groups

import tsallis_run
from tsallis_run.cli import configuration_folder
from tsallis_run.estimators import garl

PAGE = Path(__file__).parent.parent / "docs" / "estimators.md"
SHOWN_SEED = 1
"""The model of the page's table of biases."""

RUN_THE_EXAMPLE = """
import json, sys
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tsallis_run.cli import configuration_folder
from tsallis_run.config import validate
from tsallis_run.estimators.choose import estimator_for

with initialize_config_dir(str(configuration_folder()), version_base=None):
    composed = compose("config", ["estimator=hard_em", "q=0.5"])
config = validate(OmegaConf.to_container(composed, resolve=True))
log_w = torch.tensor(json.loads(sys.argv[1]), dtype=torch.float64).log()
found = estimator_for(config.estimator, config.q)(log_w, torch.Generator(), None)
print(json.dumps([found.rationale.tolist(), found.answer.tolist()]))
"""


def blocks() -> dict[str, str]:
    """File that the page names -> the code block below its name."""
    named = re.findall(r"^`([\w/.]+)`\n\n```(?:\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(named)


def patched(text: str, diff: str) -> str:
    """The text with every hunk of a diff applied, each of which fits it in one place."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines(keepends=True)
        before, after = ("".join(line[1:] for line in lines if line[0] != sign) for sign in "+-")
        assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in the file"
        text = text.replace(before, after)
    return text


@pytest.fixture(scope="module")
def with_the_example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of package and configuration to which the page's code has been added."""
    folder = tmp_path_factory.mktemp("example")
    package = Path(tsallis_run.__file__).parent
    shutil.copytree(package, folder / "tsallis_run", ignore=shutil.ignore_patterns("__pycache__", "conf"))
    shutil.copytree(configuration_folder(), folder / "conf")
    for name, block in blocks().items():
        file = folder / name
        file.write_text(patched(file.read_text(), block) if file.exists() else block)
    return folder


@cache
def example_coefficients(folder: Path, *groups: tuple[float, ...]) -> tuple[list[list[float]], list[list[float]]]:
    """Rationale and answer coefficients of `estimator=hard_em q=0.5` for groups of weights, in a process of its own."""
    paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [sys.executable, "-c", RUN_THE_EXAMPLE, json.dumps(groups)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return tuple(json.loads(ended.stdout.splitlines()[-1]))


def test_the_example_gives_what_the_page_works_out_by_hand(with_the_example: Path) -> None:
    # q = 0.5. (0.49, 0.01): wbar = 0.25, wbar^0.5 = 0.5, all of it at the larger weight.
    # (0.36, 0.36): wbar^0.5 = 0.6, shared by two. Without mass: zeros.
    for coefficients in example_coefficients(with_the_example, (0.49, 0.01), (0.36, 0.36), (0.0, 0.0)):
        assert coefficients == [pytest.approx([0.5, 0]), pytest.approx([0.3, 0.3]), [0, 0]]


def test_the_lines_of_the_example_are_counted_right() -> None:
    added = {name: _num_added(block) for name, block in blocks().items()}
    settings = sum(count for name, count in added.items() if "config/" in name or name.startswith("conf/"))
    text = " ".join(PAGE.read_text().split())
    assert f"The formula is {added['tsallis_run/estimators/hard_em.py']} lines" in text
    assert f"its place among the estimators is {added['tsallis_run/estimators/choose.py']}" in text
    assert f"what can be set about it is {settings}" in text


def _num_added(block: str) -> int:
    lines = block.splitlines()
    is_diff = all(line[:1] in ("+", "-", " ", "@") for line in lines)
    return sum(line.startswith("+") for line in lines) if is_diff else len(lines)


@pytest.mark.parametrize("q", [0.25, 0.5, 0.75, 1.0])
def test_the_table_of_biases_is_what_enumeration_gives(q: float) -> None:
    (row,) = re.findall(rf"^\| {q:g} \|((?: [\d.]+ -> [\d.]+ \|){{3}})$", PAGE.read_text(), re.MULTILINE)
    assert [cell.strip() for cell in row.split("|")[:3]] == [
        f"{_bias(q, num_rollouts, jackknife=False):.3g} -> {_bias(q, num_rollouts, jackknife=True):.3g}"
        for num_rollouts in (3, 4, 8)
    ]


def _bias(q: float, num_rollouts: int, *, jackknife: bool) -> float:
    model = random_model(SHOWN_SEED, spread=1.5)
    estimator = partial(garl, q=q, baseline=False, jackknife=jackknife, normalize=False, answer_term=True)
    groups = unordered_groups(model.log_prior, num_rollouts)
    return float((mean_gradient(model, estimator, groups) - model.exact_gradient(q)).norm())


def test_every_estimator_of_the_configuration_stands_on_the_page() -> None:
    text = PAGE.read_text()
    missing = [
        file.stem for file in (configuration_folder() / "estimator").glob("*.yaml") if f"`{file.stem}`" not in text
    ]
    assert missing == []


def test_every_figure_is_shown_and_every_one_shown_exists() -> None:
    docs = PAGE.parent
    pages = [docs.parent / "README.md", *docs.glob("*.md")]
    shown = {
        Path(name).name
        for page in pages
        for name in re.findall(r"!\[[^\]]+\]\(([^)]*figures/[\w.]+)\)", page.read_text())
    }
    assert shown == {file.name for file in (docs / "figures").iterdir()}
