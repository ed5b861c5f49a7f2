from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from tsallis_run.tracking.display import LineDisplay, LiveDisplay, open_display
from tsallis_run.tracking.progress import Progress, duration, probability, train_words

SCORES = {"pass@1": 0.28, "pass@1_low": 0.2, "pass@1_high": 0.3, "pass@16": 0.61, "num_examples": 64}


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def train_row(step, **changes):
    numbers = {"loss": 0.0312, "p_hat": 2.6e-15, "log_p_hat": -33.62, "tokens_per_second": 3412.4}
    return {"step": step, "split": "train", "phase": "estimator", **numbers, **changes}


def validation_row(step, maj):
    bounds = {"maj@16_low": maj / 2, "maj@16_high": maj * 1.5}
    return {"step": step, "split": "validation", **SCORES, "maj@16": maj, **bounds}


def lines_of(num_steps, seconds_per_step, total_steps=300, first_step=1):
    lines, clock = [], Clock()
    display = LineDisplay(lines.append, total_steps, clock)
    for step in range(first_step, first_step + num_steps):
        display.phase("generate")
        display.train_row(train_row(step))
        clock.seconds += seconds_per_step
    return lines


def test_a_train_line_reads_at_a_glance():
    # Ten steps in 10 * 0.5 s: 289 steps left at 0.5 s each are 144.5 s.
    lines = lines_of(11, seconds_per_step=0.5)
    numbers = "log P -33.6  P 2.6e-15  loss 0.0312  3,412 tok/s"
    assert lines == [f"step 1/300  {numbers}", f"step 11/300  {numbers}  left 2:24"]


def test_fast_steps_share_a_line_and_slow_ones_do_not():
    assert len(lines_of(100, seconds_per_step=0.1)) == 10
    assert len(lines_of(10, seconds_per_step=30)) == 10
    assert len(lines_of(10, seconds_per_step=5)) == 5


def test_the_last_step_always_has_its_line():
    assert lines_of(7, seconds_per_step=0.1, total_steps=7)[-1].startswith("step 7/7  ")


def test_a_resumed_run_reckons_its_pace_from_where_it_went_on():
    # From step 201 to 211 in 10 * 2 s: 89 steps left at 2 s are 178 s. Reckoned from step 0 it would be 8 s.
    lines = lines_of(11, seconds_per_step=2, first_step=201)
    assert lines[-1].endswith("left 2:58")


def test_each_evaluation_has_a_line_that_compares_it_with_first_and_best():
    lines = []
    display = LineDisplay(lines.append, 300, Clock())
    for step, maj in ((0, 0.0), (50, 0.4), (100, 0.25)):
        display.evaluation_row(validation_row(step, maj))
    display.evaluation_row({**validation_row(50, 0.5), "split": "test"})
    scores = "pass@1 0.280  pass@16 0.610  64 examples"
    assert lines == [
        f"step 0 validation  maj@16 0.000 [0.000, 0.000]  {scores}",
        f"step 50 validation  maj@16 0.400 [0.200, 0.600]  {scores}  first 0.000, best 0.400 (step 50)",
        f"step 100 validation  maj@16 0.250 [0.125, 0.375]  {scores}  first 0.000, best 0.400 (step 50)",
        f"step 50 test  maj@16 0.500 [0.250, 0.750]  {scores}",
    ]


def test_a_resumed_run_compares_with_what_it_had_reached_before():
    lines = []
    display = LineDisplay(lines.append, 300, Clock())
    display.recall([validation_row(0, 0.1), train_row(50), validation_row(50, 0.4)])
    display.evaluation_row(validation_row(100, 0.25))
    assert lines[0].endswith("first 0.100, best 0.400 (step 50)")


def test_a_resumed_run_shows_at_once_how_far_it_is(capsys):
    with open_display("live", 300) as display:
        display.recall([train_row(120), validation_row(120, 0.4)])
    assert "step 120/300" in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def test_plain_lines_hold_no_control_character(capsys):
    with open_display("lines", 300) as display:
        display.note("\x1b[31mred\x1b[0m, a bell \a, a return \r and a tab \t\nsecond line")
        display.phase("generate")
        display.train_row(train_row(1))
        display.evaluation_row(validation_row(1, 0.5))
    text = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in text), repr(text)
    assert text.count("\n") == 4
    assert "second line\nstep 1/300" in text


def test_auto_is_lines_where_there_is_no_terminal():
    with open_display("auto", 300) as display:
        assert isinstance(display, LineDisplay)


def test_auto_is_live_in_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    with open_display("auto", 300) as display:
        assert isinstance(display, LiveDisplay)


@pytest.mark.parametrize("mode", ["live", "lines"])
def test_a_mode_that_is_asked_for_is_taken(mode):
    expected = {"live": LiveDisplay, "lines": LineDisplay}[mode]
    with open_display(mode, 300) as display:
        assert isinstance(display, expected)


def test_silent_shows_nothing(capsys):
    with open_display("silent", 300) as display:
        display.note("a warning")
        display.phase("generate")
        display.train_row(train_row(1))
        display.evaluation_row(validation_row(1, 0.5))
    assert capsys.readouterr() == ("", "")


def test_an_evaluation_without_training_is_shown_live_too(capsys):
    with open_display("live", 0) as display:
        display.phase("evaluate")
        display.evaluation_row({**validation_row(0, 0.5), "split": "test"})
    assert "step 0 test  maj@16 0.500" in re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)


def live_region(steps):
    """What the live region shows after the steps, without its colours."""
    clock = Clock()
    display = LiveDisplay(Console(file=io.StringIO(), force_terminal=True), 300, clock)
    display.evaluation_row(validation_row(0, 0.0))
    display.evaluation_row(validation_row(50, 0.4))
    for step in range(1, steps + 1):
        display.train_row(train_row(step))
        clock.seconds += 1
    display.phase("backward")
    paper = Console(width=120, color_system=None, file=io.StringIO())
    paper.print(display._region())
    display.close()
    return paper.file.getvalue().splitlines()


def test_the_live_region_says_where_the_run_is_in_two_lines():
    where, numbers = live_region(120)
    assert where.split()[:2] == ["step", "120/300"]
    assert where.split()[-3:] == ["left", "3:02", "backward"]  # 180 steps at 120/119 s
    assert numbers == (
        "log P -33.6  P 2.6e-15  loss 0.0312  3,412 tok/s  maj@16 0.000 first, 0.400 last, 0.400 best (step 50)"
    )


def test_the_live_display_leaves_its_last_state_and_every_note_on_the_screen(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")
    with open_display("live", 2) as display:
        display.note("a summary with [brackets]")
        display.train_row(train_row(2))
        display.phase("sync")
    text = capsys.readouterr().out
    assert "a summary with [brackets]" in text
    last_frame = text[text.rindex("step 2/2") :]
    assert "log P -33.6" in last_frame
    assert "sync" not in last_frame


def test_a_train_row_without_a_number_is_shown_without_it():
    row = {"step": 3, "split": "train", "loss": 0.5}
    assert train_words(Progress(10).after_train_row(row, 0.0)) == "loss 0.5"


@pytest.mark.parametrize(
    ("value", "words"), [(0.0, "0.000"), (2.6e-15, "2.6e-15"), (0.00099, "9.9e-04"), (0.45, "0.450"), (1.0, "1.000")]
)
def test_a_probability_never_reads_as_zero_unless_it_is(value, words):
    assert probability(value) == words


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0:00"), (59.6, "1:00"), (727.0, "12:07"), (3727.0, "1:02:07")])
def test_a_duration_reads_like_a_clock(seconds, words):
    assert duration(seconds) == words
