"""Pipelines and several seeds: which runs there are, and what is drawn of them together."""

import pytest

from grpo.report.families import families
from grpo.report.markdown import blocks
from grpo.report.page import render
from grpo.report.panels import panels
from grpo.report.reading import ReportError
from grpo.report.stages import read
from tests.grpo.report.made import metrics_line, pipeline


def test_a_pipeline_is_read_stage_by_stage(tmp_path):
    reading = read([pipeline(tmp_path / "p")])
    (found,) = reading.pipelines
    assert [stage.name for stage in found.stages] == ["base", "zero", "cold"]  # no corpus, and none that has not begun
    assert [run.label for run in reading.runs] == ["zero", "cold"]
    assert [run.supervised for run in reading.runs] == [False, True]
    mean, low, high = found.stages[1].held_out["accuracy"]
    assert mean == 0.5 and 0 < low < mean < high < 1


def test_the_story_has_a_column_a_stage(tmp_path):
    html = render([pipeline(tmp_path / "p")])
    assert '<th scope="col">base <span class="unit">miniature</span></th>' in html
    for measure in ("accuracy", "length", "re-checks", "one language"):
        assert f'<th scope="row">{measure}<br>' in html
    assert "held out 0.25" in html and "held out 0.75" in html
    assert "0.5 → 0.5" in html  # every step has one completion of two that re-checks


def test_an_unfinished_pipeline_says_what_is_to_come(tmp_path):
    folder = pipeline(tmp_path / "p")
    html = render([folder])
    assert '<th scope="col">zero <span class="unit">rl</span></th>' in html
    assert '<th scope="col">cold <span class="unit">sft, not finished</span></th>' in html
    assert "<p>Still to come: rows, later.</p>" in html
    for name in ("rows", "later"):
        (folder / name).mkdir()
        (folder / name / "stage.json").write_text("{}")
    assert "Still to come" not in render([folder])


def test_a_control_is_to_come_only_where_controls_are_asked_for(tmp_path):
    folder = pipeline(tmp_path / "p")
    config = (folder / "config.yaml").read_text().replace("later: {", "later: {control: true, ")
    (folder / "config.yaml").write_text(config)
    assert read([folder]).pipelines[0].to_come == ["rows"]
    (folder / "config.yaml").write_text(config + "controls: true\n")
    assert read([folder]).pipelines[0].to_come == ["rows", "later"]


def test_the_table_of_a_finished_pipeline_is_on_the_page_and_escaped(tmp_path):
    folder = pipeline(tmp_path / "p")
    table = "| stage | accuracy |\n|---|---|\n| <b>zero | 0.5 **rises** |\n"
    (folder / "stages.md").write_text(f"# Title\n\nWhat it is.\n\n{table}\n## More\n\n- one: <i>\n")
    html = render([folder])
    assert "Still to come" not in html
    assert '<tr><th scope="row">&lt;b&gt;zero</th><td>0.5 <b>rises</b></td></tr>' in html
    assert "<p>What it is.</p>" in html and "<h3>More</h3>" in html and "<li>one: &lt;i&gt;</li>" in html


def test_empty_cells_keep_their_place():
    (block,) = blocks("| a | b | c |\n|---|---|---|\n| x |  | y |")
    assert block.rows[1] == [[(False, "x")], [], [(False, "y")]]


def test_a_pipeline_without_a_step_is_refused(tmp_path):
    (tmp_path / "config.yaml").write_text("stages: {zero: {kind: rl}}\n")
    with pytest.raises(ReportError, match="no stage of"):
        read([tmp_path])


def test_a_supervised_run_has_its_losses_and_no_complaint_about_its_config(tmp_path):
    html = render([pipeline(tmp_path / "p") / "cold"])
    assert "<figcaption>loss" in html and "is not one of this version" not in html and "rows.jsonl" in html


def seeds(tmp_path, configs):
    runs = []
    for place, config in enumerate(configs):
        folder = tmp_path / f"grpo-{place}"
        folder.mkdir()
        (folder / "config.yaml").write_text(config)
        (folder / "metrics.jsonl").write_text("".join(metrics_line(s, reward=s + place) for s in range(1, 4 - place)))
        runs.append(folder)
    return read(runs).runs


def test_seeds_become_a_mean_with_a_band(tmp_path):
    runs = seeds(tmp_path, ["steps: 3\nseed: 0\n", "steps: 3\nseed: 1\noutput: elsewhere\n"])
    (family,) = families(runs)
    assert family.label == "grpo (2 seeds)"
    points, band = family.curve("reward")
    assert points == [(1, 1.5), (2, 2.5)]  # (1 + 2) / 2 and (2 + 3) / 2; the second run has no third step
    assert band == [(1, 1.0, 2.0), (2, 2.0, 3.0)]
    assert panels(runs)[0].drawing.bands


@pytest.mark.parametrize("other", ["steps: 3\nseed: 0\n", "steps: 4\nseed: 1\n", ""])
def test_other_runs_stay_apart(tmp_path, other):
    assert len(families(seeds(tmp_path, ["steps: 3\nseed: 0\n", other]))) == 2


def test_bands_are_on_the_page(tmp_path):
    runs = seeds(tmp_path, ["seed: 0\n", "seed: 1\n"])
    html = render([run.path for run in runs])
    assert '<path class="band s0 d0"' in html and "grpo (2 seeds)" in html
