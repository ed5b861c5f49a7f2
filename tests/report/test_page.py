"""The page: whole, bounded, self-contained, and nothing a model writes gets out of its place."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser

import pytest
from rollout_rows import answered, sampled
from run_folders import configured, failed_before_validation, finished, logged, train_row, validation_row

from tsallis_run.report import page, result_table
from tsallis_run.report.page import render_page, shortened, shown_runs
from tsallis_run.report.paper_layout import result_tables
from tsallis_run.report.series import by_setting
from tsallis_run.tracking.records import RunFolder
from tsallis_run.tracking.rollout_rows import write_rows


def page_of(folder):
    rows = result_table([folder])
    return render_page(rows, result_tables(rows))


def shown_in(folder):
    return shown_runs([one for series in by_setting(result_table([folder])).values() for one in series])


class Outline(HTMLParser):
    """What is open when a text comes, and every address that the page names."""

    VOID = ("meta", "path", "use", "br")

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.addresses, self.tags = [], [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, text):
        self.texts.append((tuple(self.open), text))


@pytest.fixture
def sweep(tmp_path):
    """A finished run with rollouts, one that failed, and one that has only begun."""
    folder = configured(finished(tmp_path / "sweep" / "run", estimator="garl"), estimator__name="garl", q=0.75)
    logged(folder, [validation_row(0, 0.0), train_row(1, ess=2.0, generate_seconds=1.0), validation_row(1, 0.5)])
    write_rows(RunFolder(folder), [sampled(step=1)])
    write_rows(RunFolder(folder), [answered("4", right=True, elected=True)])
    failed_before_validation(tmp_path / "sweep" / "failed", q=0.0)
    configured(tmp_path / "sweep" / "begun")
    return tmp_path / "sweep"


def test_the_page_is_whole_and_loads_nothing(sweep):
    outline = Outline(page_of(sweep))
    assert outline.open == []
    assert {"script", "img", "link", "iframe", "object"} & set(outline.tags) == set()
    assert [address for address in outline.addresses if not address.startswith("#")] == []
    assert "svg" in outline.tags


def test_the_page_has_results_figures_rollouts_and_runs(sweep):
    texts = [text.strip() for _, text in Outline(page_of(sweep)).texts]
    for text in ("Results", "Figures", "Rollouts", "Runs", "Effective sample size", "step 1", "test", "unfinished"):
        assert text in texts
    assert "vote right" in texts
    assert "1 x 4, elected, right" in texts


def test_what_a_model_wrote_stays_text(tmp_path):
    folder = finished(tmp_path / "run")
    attack = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>\x1b\x00{{ 7 * 7 }}"
    row = dataclasses.replace(sampled(rationale=attack), prompt=attack, gold=attack, example_id=attack)
    vote = dataclasses.replace(answered(attack, elected=True), bridge=attack, aliases=(attack,))
    for rows in ([row], [vote]):
        write_rows(RunFolder(folder), rows)
    html = page_of(tmp_path)
    outline = Outline(html)
    assert {"script", "img"} & set(outline.tags) == set()
    assert sum("<script>alert(1)" in text for _, text in outline.texts) == 8  # in four places of each
    assert "\x1b" not in html
    assert "\x00" not in html
    assert "{{ 7 * 7 }}" in html


def test_a_run_shows_first_and_last_step_best_validation_and_test(tmp_path):
    folder = finished(tmp_path / "run")  # best at step 150
    for step in (1, 50, 100):
        write_rows(RunFolder(folder), [sampled(step=step)])
    for step in (0, 150, 200):
        write_rows(RunFolder(folder), [answered("4", split="validation", step=step)])
    write_rows(RunFolder(folder), [answered("4")])
    (run,) = shown_in(tmp_path)
    assert [file.title for file in run.files] == ["step 1", "step 100", "validation at step 150", "test"]


def test_of_several_seeds_the_first_that_has_rollouts_is_shown(tmp_path):
    for seed in (0, 1, 2):
        finished(tmp_path / str(seed), seed=seed)
    for seed in (2, 1):
        write_rows(RunFolder(tmp_path / str(seed)), [sampled()])
    (run,) = shown_in(tmp_path)
    assert run.row.results.seed == 1


def test_the_number_of_groups_on_the_page_is_bounded(tmp_path, monkeypatch):
    for q in (0.0, 0.5):
        folder = finished(tmp_path / str(q), q=q)
        write_rows(RunFolder(folder), [sampled(example_id=str(number)) for number in range(9)])
    assert [(len(file.groups), file.num_groups) for run in shown_in(tmp_path) for file in run.files] == [(4, 9)] * 2
    monkeypatch.setattr(page, "MAX_GROUPS", 3)
    assert [len(file.groups) for run in shown_in(tmp_path) for file in run.files] == [1, 1]


def test_a_long_text_keeps_its_two_ends():
    text = "a" * 1500 + "b" * 1500
    assert shortened(text) == "a" * 1000 + "\n[... 1000 characters left out ...]\n" + "b" * 1000
    assert shortened("short\ttext\n") == "short\ttext\n"


def test_the_same_runs_give_the_same_page(sweep):
    assert page_of(sweep) == page_of(sweep)


def test_rollouts_of_an_earlier_version_are_shown(tmp_path):
    folder = finished(tmp_path / "run")
    path = write_rows(RunFolder(folder), [sampled()])
    old = {name: value for name, value in dataclasses.asdict(sampled()).items() if name not in ("split", "aliases")}
    path.write_text(str(old).replace("'", '"').replace("None", "null") + "\n")
    assert "What is 2+2?&lt;think&gt;" in page_of(tmp_path)
