"""Every command of the README and of docs/ makes a valid run, sweep or report; every link leads somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import Command, catch_launches
from small import run_config

from tsallis_run import cli, report
from tsallis_run.config import RunConfig
from tsallis_run.tracking.records import Results, RunFolder, write_results

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_A_BLOCK = re.compile(r"^(?: {4}|\$ )?(tsallis-run|tsallis-report)( .*)$", re.MULTILINE)
IN_A_LINE = re.compile(r"`(tsallis-run|tsallis-report)( [^`]+)`")
DATASETS = ("finqa", "hotpotqa", "musique", "gsm8k")
GRAMMAR = "key=value"
"""A command with it says how commands look."""
ADDED_BY_THE_PAGE = ("dataset=plain", "estimator=hard_em")
"""Run by the tests of the pages that add them."""


def commands(program: str) -> Iterator[tuple[str, str]]:
    """(page, arguments) of every command that is written out; one with ... in it is none."""
    for page in PAGES:
        text = page.read_text()
        for name, arguments in [*IN_A_BLOCK.findall(text), *IN_A_LINE.findall(text)]:
            words = shlex.split(arguments, comments=True)
            if name == program and words and not {GRAMMAR, *ADDED_BY_THE_PAGE} & set(words) and "..." not in arguments:
                yield page.name, shlex.join(words)


def shown(program: str) -> list[tuple[str, str]]:
    return sorted({arguments: (page, arguments) for page, arguments in commands(program)}.values())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the folders that the pages speak of exist: runs, rows, outputs, a folder of settings."""
    place = tmp_path_factory.mktemp("docs")
    for name in ("RUN_FOLDER", "outputs/one", "outputs/sweeps/one/point"):
        folder = RunFolder.create(place / name, run_config())
        write_results(folder, Results.of(run_config(), status="stopped", best_step=None, validation={}, test={}))
    for name in DATASETS:
        (place / "DATA" / name).mkdir(parents=True)
    (place / "FOLDER").mkdir()
    (place / "my_conf" / "model").mkdir(parents=True)
    (place / "my_conf" / "model" / "my_model.yaml").write_text("defaults: [custom]\nname: my_model\npath: some/model\n")
    return place


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Of a sweep two points: test_conf_files composes them all."""
    monkeypatch.setattr(cli, "check_wandb", lambda config: None)  # no account here
    return catch_launches(monkeypatch, max_points=2)


@pytest.mark.parametrize(("page", "arguments"), shown("tsallis-run"), ids=lambda text: text)
def test_every_command_of_a_page_is_valid(
    page: str,
    arguments: str,
    place: Path,
    launched: list[RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    words = ["hydra/launcher=basic" if word.startswith("hydra/launcher=") else word for word in shlex.split(arguments)]
    if {"--help", "--cfg"} & set(words):
        monkeypatch.setattr("sys.argv", ["tsallis-run", *words])
        with suppress(SystemExit):
            cli.main()
        assert "rollouts_per_prompt" in capfd.readouterr().out
        return
    ended = Command(monkeypatch, capfd)(*words)
    assert ended.errors == "", f"{page}: tsallis-run {arguments}"
    is_sweep = "-m" in words and len(words) > 2  # a launcher is chosen with -m, for one run too
    assert len(launched) > is_sweep


@pytest.mark.parametrize(("page", "arguments"), shown("tsallis-report"), ids=lambda text: text)
def test_every_report_of_a_page_is_written(
    page: str, arguments: str, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(place)
    assert report.main(shlex.split(arguments)) == 0, f"{page}: tsallis-report {arguments}"


def test_commands_are_found_on_the_pages() -> None:
    found = {page for page, _ in commands("tsallis-run")}
    assert {"README.md", "quickstart.md", "paper-index.md"} <= found
    assert any(arguments.startswith("-m") for _, arguments in commands("tsallis-run"))
    assert list(commands("tsallis-report"))


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_make_target_of_a_page_exists() -> None:
    named = {
        name for page in PAGES for name in re.findall(r"^ {4}make ([a-z-]+)|`make ([a-z-]+)", page.read_text(), re.M)
    }
    assert {first or second for first, second in named} - targets() == set()


def test_every_script_of_a_page_exists() -> None:
    named = {name for page in PAGES for name in re.findall(r"python ((?:benchmarks|docs)/\w+\.py)", page.read_text())}
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", page.read_text())
    broken = []
    for target, anchor in targets:
        file = (page.parent / target).resolve() if target else page
        headings = [] if file.suffix != ".md" or not file.is_file() else slugs(file)
        if not file.exists() or (anchor and anchor[1:] not in headings):
            broken.append(target + anchor)
    assert broken == []


def slugs(page: Path) -> list[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
