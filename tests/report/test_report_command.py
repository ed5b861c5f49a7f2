"""tsallis-report as it is called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from rollout_rows import sampled
from run_folders import configured, finished, logged, train_row

from tsallis_run.report import main
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import write_rows


def test_without_options_the_table_is_printed_and_nothing_written(tmp_path, capsys):
    finished(tmp_path / "run")
    assert main([str(tmp_path)]) == 0
    assert "paft" in capsys.readouterr().out
    assert [path.name for path in tmp_path.rglob("*")] == ["run", "results.json"]


def test_an_output_folder_gets_the_page_and_the_tables(tmp_path, capsys):
    finished(tmp_path / "run")
    assert main([str(tmp_path / "run"), "-o", str(tmp_path / "new" / "report")]) == 0
    out = capsys.readouterr().out
    assert "paft" in out
    assert f"{tmp_path}/new/report/report.html, table.md and table.csv written" in out
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == [
        "report.html",
        "table.csv",
        "table.md",
    ]
    assert (tmp_path / "new" / "report" / "table.md").read_text().startswith("## tiny, cold start\n\n| estimator |")


def test_rollouts_of_several_runs_follow_one_another(tmp_path, capsys):
    for seed in (0, 1):
        write_rows(RunFolder(finished(tmp_path / str(seed), seed=seed)), [sampled(rationale=f"because {seed}")])
    assert main([str(tmp_path), "--rollouts", "50"]) == 0
    out = capsys.readouterr().out
    assert out.index("because 0") < out.index("because 1")
    assert "validation maj@16" not in out


def test_runs_without_those_rollouts_are_told_beside_those_that_have_them(tmp_path, capsys):
    write_rows(RunFolder(finished(tmp_path / "0")), [sampled(rationale="because 0")])
    configured(tmp_path / "1")
    assert main([str(tmp_path), "--rollouts", "last"]) == 0
    shown = capsys.readouterr()
    assert "because 0" in shown.out
    assert shown.err.startswith(f"--rollouts: must be last, validation, test or a step whose rollouts {tmp_path}/1 has")


def test_folders_that_do_not_exist_or_hold_no_run_are_all_named_with_status_2(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    finished(tmp_path / "run")
    assert main([str(tmp_path / "nowhere"), str(tmp_path / "run"), str(tmp_path / "empty")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"FOLDER: must be an existing folder, got {tmp_path / 'nowhere'}; check the path",
        "FOLDER: must be or hold a run folder (one with config.yaml or results.json), "
        f"got {tmp_path / 'empty'}; check the path",
    ]


@pytest.mark.parametrize("arguments", [["--rollouts", "30"], ["-o", "results.json/report"]])
def test_a_step_without_rollouts_or_a_place_that_cannot_be_written_is_a_message_and_status_2(
    tmp_path, capsys, monkeypatch, arguments
):
    monkeypatch.chdir(finished(tmp_path / "run"))
    assert main([".", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert arguments[0] in line or "results.json" in line


def test_a_reader_that_has_seen_enough_ends_it_in_silence(tmp_path):
    rows = [sampled(rationale="long " * 1000)] * 100
    write_rows(RunFolder(finished(tmp_path / "run")), rows)
    program = "from tsallis_run.report import main; main()"
    command = f"{sys.executable} -c '{program}' {tmp_path} --rollouts last | head -1"
    answer = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("step 50, 1 examples\n")
    assert answer.stderr == ""


def test_the_table_imports_nothing_heavy_and_answers_within_two_seconds(tmp_path):
    logged(configured(tmp_path / "run"), [train_row(1)])
    program = (
        "import json, sys; from tsallis_run.report import main; status = main(sys.argv[1:]); "
        "heavy = {'torch', 'wandb', 'pydantic', 'transformers', 'hydra', 'matplotlib', 'jinja2', 'numpy'}; "
        "print(json.dumps([status, sorted(heavy & set(sys.modules))]))"
    )
    start = time.monotonic()
    command = [sys.executable, "-c", program, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert json.loads(answer.stdout.splitlines()[-1]) == [0, []]
    assert time.monotonic() - start < 2


def test_the_page_needs_no_torch(tmp_path):
    write_rows(RunFolder(finished(tmp_path / "run")), [sampled()])
    program = (
        "import sys; from tsallis_run.report import main; status = main(sys.argv[1:]); "
        "print(status, sorted({'torch', 'wandb', 'transformers', 'pydantic'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "run"), "-o", str(tmp_path / "report")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "0 []"
