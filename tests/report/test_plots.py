"""The figures: what stands in them, and how lines are told apart."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from run_folders import configured, finished, logged, train_row, validation_row

from tsallis_run.report import result_table
from tsallis_run.report.drawing import STYLES, style_of
from tsallis_run.report.plots import panels_of, plots
from tsallis_run.report.series import by_setting


def series_of(folder, choices, rows=()):
    for number, (estimator, q) in enumerate(choices):
        run = configured(folder / f"{number}", estimator__name=estimator, q=q)
        logged(run, list(rows))
    ((series),) = by_setting(result_table([folder])).values()
    return series


ROWS = [
    validation_row(0, 0.0),
    *(
        train_row(
            step, max_centered_weight=0.1 * step, log_p_hat=-9.0, ess=2.0, grad_norm=10.0**-step, generate_seconds=1.0
        )
        for step in (1, 2, 3)
    ),
    validation_row(3, 0.5),
]


def texts(panel):
    return [element.text for element in ElementTree.fromstring(panel).iter() if element.tag.endswith("text")]


def test_every_figure_has_its_axes_labelled_with_units(tmp_path):
    drawn = plots(series_of(tmp_path, [("garl", 0.5), ("paft", 0.5)], ROWS))
    labels = {plot.title: set(texts(plot.panels[0])) for plot in drawn}
    assert list(labels) == [
        "Maximum centred weight (paper: Figure 3)",
        "Validation maj@16 (paper: Figure 4)",
        "Probability of success",
        "Effective sample size",
        "Gradient norm",
        "Time of a step",
    ]
    assert {"optimizer step", "validation maj@16 (%)"} <= labels["Validation maj@16 (paper: Figure 4)"]
    assert {"optimizer step", "log P̂, mean of the groups (nats)"} <= labels["Probability of success"]
    assert "mean time of a step (s)" in labels["Time of a step"]
    assert all({"GARL, q = 0.5", "PAFT, q = 0.5"} <= words for words in labels.values())


def test_runs_without_metrics_have_no_figure(tmp_path):
    finished(tmp_path / "run")
    ((series),) = by_setting(result_table([tmp_path])).values()
    assert plots(series) == []


def test_a_single_validation_is_a_figure_too(tmp_path):
    (plot,) = plots(series_of(tmp_path, [("garl", 0.5)], [validation_row(0, 0.0)]))
    assert plot.title == "Validation maj@16 (paper: Figure 4)"


def test_many_lines_are_parted_by_estimator_with_one_style_for_each_q(tmp_path):
    choices = [("grpo", None), *((name, q) for name in ("garl", "paft") for q in (0.0, 0.5, 1.0))]
    panels = panels_of(series_of(tmp_path, choices))
    assert [panel.title for panel in panels] == ["GARL", "PAFT", "others"]
    assert [[line.label for line in panel.lines] for panel in panels] == [["q = 0", "q = 0.5", "q = 1"]] * 2 + [
        ["GRPO"]
    ]
    assert [line.style for line in panels[0].lines] == [line.style for line in panels[1].lines]


def test_few_lines_share_a_panel(tmp_path):
    (panel,) = panels_of(series_of(tmp_path, [("grpo", None), ("garl", 0.5), ("paft", 0.5)]))
    assert [line.label for line in panel.lines] == ["GRPO", "GARL, q = 0.5", "PAFT, q = 0.5"]


@pytest.mark.parametrize("feature", ["color", "dashes", "marker"])
def test_each_feature_of_a_style_alone_tells_lines_apart(feature):
    assert len({getattr(style, feature) for style in STYLES}) == len(STYLES)


def test_styles_do_not_repeat_before_all_pairs_of_colour_and_dashes_are_used():
    many = [style_of(index) for index in range(len(STYLES) ** 2)]
    assert len(set(many)) == len(many)


def test_figures_hold_no_rule_for_the_whole_page_and_no_name_twice(tmp_path):
    (plot, *_) = plots(series_of(tmp_path, [("garl", 0.5)], ROWS))
    assert "<style" not in plot.panels[0]
    names = [element.get("id") for element in ElementTree.fromstring(plot.panels[0]).iter() if element.get("id")]
    assert names
    assert len(set(names)) == len(names)


def test_a_label_with_dollars_and_angle_brackets_is_text(tmp_path):
    for name, path in (("a", "$x_<b>$"), ("b", "other")):
        logged(configured(tmp_path / name, dataset__path=path), ROWS)
    ((series),) = by_setting(result_table([tmp_path])).values()
    assert "GRPO, dataset.path=$x_<b>$" in texts(plots(series)[0].panels[0])
