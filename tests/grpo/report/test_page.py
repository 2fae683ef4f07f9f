"""The page of a run: what it shows, what it survives, what it refuses, and that nothing in it runs."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest

from grpo.config.sections import ConfigError
from grpo.report import assets
from grpo.report.__main__ import main
from grpo.report.curves import MOST_POINTS, MOST_STRIPS, Box, Series, draw, thinned, ticks, trailing_mean
from grpo.report.reading import ReportError, labels
from grpo.report.stages import read
from grpo.report.tables import config_differences, duration
from tests.grpo.report.made import EVIL, metrics_line, row

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(tmp_path):
    """Makes a run directory; every part of it can be changed."""

    def make(name="one", *, steps=12, config="steps: 12\nnum_generations: 2\nseed: 3\n", summary=True, rows=None):
        folder = tmp_path / name
        (folder / "completions").mkdir(parents=True)
        (folder / "metrics.jsonl").write_text("".join(metrics_line(step) for step in range(1, steps + 1)))
        if config is not None:
            (folder / "config.yaml").write_text(config)
        if summary:
            sides = {
                side: {"accuracy": value, "tasks": 8, "samples": 1}
                for side, value in [("before", 0.25), ("after", 0.75)]
            }
            (folder / "summary.json").write_text(
                json.dumps({**sides, "seconds": 96.0, "steps": steps, "seed": 3, "control": "none"})
            )
        for step in (1, 6, 12):
            with (folder / "completions" / f"step_{step:06d}.jsonl").open("w") as file:
                for one in rows or [row("right", 1.0, 0.7), row("wrong", 0.0, -0.7)]:
                    file.write(json.dumps(one, ensure_ascii=False) + "\n")
        return folder

    return make


def page(*runs):
    """The HTML of these runs, written where none of them is."""
    output = runs[0].parent / "page.html"
    assert main([*map(str, runs), "--output", str(output)]) == 0
    return output.read_text(encoding="utf-8")


class Elements(HTMLParser):
    """Every tag with its attributes, and that all are closed in order."""

    EMPTY = frozenset({"meta", "link", "input", "br"})

    def __init__(self, html):
        super().__init__()
        self.found, self.open = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# Untrusted text


def test_nothing_the_model_says_becomes_html(run):
    html = page(run(rows=[row(EVIL, 1.0, task=EVIL), row("no", 0.0, task=EVIL)]))
    tags = Elements(html).found
    assert not {"img", "iframe", "object"} & {tag for tag, _ in tags}
    assert [attributes.get("type") for tag, attributes in tags if tag == "script"] == [
        "application/json",
        None,
        "module",
    ]
    assert "\\u003cscript\\u003edocument.title=" in html and "<script>document" not in html
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]


@pytest.mark.parametrize("part", ["reward name", "stop reason", "directory", "config", "metric"])
def test_other_texts_are_escaped_too(run, part):
    script = "<script>1<"  # in the page's data a `<` is written as \\u003c, elsewhere as &lt;
    rows = [row("a", 1.0) | {"rewards": {script: 1.0}}] if part == "reward name" else None
    rows = [row("a", 1.0, stop_reason=script)] if part == "stop reason" else rows
    config = f"steps: 12\nsystem_prompt: '{script}'\n" if part == "config" else "steps: 12\n"
    folder = run(script if part == "directory" else "one", rows=rows, config=config)
    if part == "metric":
        (folder / "metrics.jsonl").write_text(metrics_line(1, **{f"rewards/{script}/mean": 1.0}))
    html = page(folder)
    assert ("&lt;script&gt;1&lt;" in html or "\\u003cscript\\u003e1\\u003c" in html) and script not in html


def test_the_page_fetches_nothing_and_allows_its_own_scripts_only(run):
    html = page(run())
    found = Elements(html).found
    policy = next(attributes["content"] for tag, attributes in found if "http-equiv" in attributes)
    assert policy == assets.policy(live=False, formulas=False) and "default-src 'none'" in policy
    places = [value for _, attributes in found for name, value in attributes.items() if name in ("src", "href")]
    assert {place for place in places if not place.startswith("#")} == {"data:,"}
    assert "url(" not in html and "@import" not in html


def test_half_a_surrogate_pair_can_be_written(run):
    folder = run()
    (folder / "completions" / "step_000001.jsonl").write_text(json.dumps(row("a \ud83d b", 1.0)))
    assert "a \\ud83d b" in page(folder)


# What it shows


def test_summary_curves_rollouts_and_config_are_there(run):
    html = page(run())
    cells = "".join(f'<td class="number">{text}</td>' for text in ("0.250", "0.750", "+0.500"))
    assert f'<tr><th scope="row">accuracy</th>{cells}</tr>' in html
    assert "8 held-out tasks, 1 sample(s) each" in html and "1 min 36 s" in html
    titles = re.findall(r"<figcaption>(.*?) <span", html)
    assert titles == [
        "reward", "accuracy", "entropy", "cut at max_completion_length", "completions that re-check",
        "words in one script", "gradient norm", "step time",
    ]  # fmt: skip
    assert [html.count(f'"step":{step},') for step in (1, 6, 12)] == [2] * 3
    assert "num_generations: 2" in html
    assert "trained on coin flips" not in html


def test_what_did_not_reach_the_sum_has_its_panels(run):
    folder = run()
    more = {"rewards/my.module:mine/gated": 0.25, "rewards/accuracy/clipped": 0.0, "rewards/failed/judge/endpoint": 3.0}
    (folder / "metrics.jsonl").write_text("".join(metrics_line(step, **more) for step in range(1, 13)))
    titles = re.findall(r"<figcaption>(.*?) <span", page(folder))
    assert titles[2:5] == ["mine withheld by its gate", "accuracy outside of its bounds", "judge: endpoint"]


def test_greedy_figures_and_intervals_have_their_rows(run):
    folder = run()
    side = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "greedy": {"accuracy": 0.9}}
    (folder / "summary.json").write_text(json.dumps({"before": side, "after": side, "steps": 12}))
    html = page(folder)
    assert "0.500 [0.400, 0.600]" in html
    assert '<th scope="row">accuracy, greedy</th><td class="number">0.900</td>' in html


def test_a_control_run_says_so(run):
    folder = run(summary=False, config="steps: 12\ncontrol: random_reward\n")
    assert '<dd class="control">random_reward: trained on coin flips</dd>' in page(folder)


def test_every_svg_is_well_formed_and_within_its_box(run):
    html = page(run(steps=40))
    drawings = [ElementTree.fromstring(text) for text in re.findall(r"<svg.*?</svg>", html, re.DOTALL)]
    assert len(drawings) >= 6
    for drawing in drawings:
        _, _, width, height = map(float, drawing.get("viewBox").split())
        for path in drawing.iter("path"):
            for x, y in re.findall(r"([\d.-]+) ([\d.-]+)", path.get("d")):
                assert 0 <= float(x) <= width and 0 <= float(y) <= height


def test_the_first_line_is_the_verdict_and_the_doctor_says_what_is_wrong(run):
    folder = run()
    cut = {"completions/clipped_ratio": 0.95}
    (folder / "metrics.jsonl").write_text("".join(metrics_line(step, **cut) for step in range(1, 13)))
    html = page(folder)
    text = re.sub(r"<[^>]*>", " ", html.split("<body>")[1])
    assert text.split()[0] in ("learned", "flat", "hacked", "unstable", "worse")
    assert "<b>truncated</b>" in html and "% sure" in html and "next: <code>python -m grpo." in html


def test_held_out_points_are_before_each_evaluation_and_after(run):
    folder = run()
    (folder / "metrics.jsonl").write_text(
        metrics_line(1) + metrics_line(6, **{"eval/accuracy": 0.5}) + metrics_line(12)
    )
    assert read([folder]).runs[0].held_out("accuracy") == [(0, 0.25), (6, 0.5), (12, 0.75)]


# Several runs


def test_several_runs_are_overlaid_and_compared(run):
    first, second = run("first"), run("second", config="steps: 12\nnum_generations: 4\nseed: 4\noutput: x\n")
    html = page(first, second)
    assert "GRPO: first, second" in html
    assert '<path class="line s0 d0" d="M1 4H21"/></svg>first' in html
    assert '<path class="line s1 d0" d="M1 4H21"/></svg>second' in html
    assert (
        '<th scope="row">accuracy</th><td class="number">0.250 → 0.750</td><td class="number">0.250 → 0.750</td>'
        in html
    )
    assert html.count("second: config.yaml") == 1
    assert "first: 0.3\nsecond: 0.3" in html  # the tooltip of step 3
    assert config_differences(read([first, second]).runs) == [("seed", ["3", "4"]), ("num_generations", ["2", "4"])]


def test_runs_of_one_name_are_told_apart(tmp_path):
    assert labels([tmp_path / "a" / "seed_1", tmp_path / "b" / "seed_1"]) == ["a/seed_1", "b/seed_1"]
    assert labels([tmp_path / "a" / "seed_1"]) == ["seed_1"]


def test_a_run_named_twice_is_shown_once(run):
    folder = run()
    assert len(read([folder, folder / ".." / "one"]).runs) == 1


# Missing pieces


def test_a_run_still_going_has_a_page(run):
    html = page(run(summary=False))
    assert "no summary.json yet" in html and "36 s in steps" in html


@pytest.mark.parametrize("part", ["summary.json", "config.yaml", "completions"])
def test_a_missing_part_is_survived(run, part):
    folder = run()
    if part == "completions":
        [file.unlink() for file in (folder / part).iterdir()]
        (folder / part).rmdir()
    else:
        (folder / part).unlink()
    expected = {"summary.json": "no summary.json yet", "config.yaml": "config.yaml could not be read"}
    assert expected.get(part, "No completions were recorded") in page(folder)


@pytest.mark.parametrize("tail", ['{"step": 13, "rew', '{"step": 13, "x": "\u00e9'.encode()[:-1], "17", "{}"])
def test_a_torn_last_line_is_left_out(run, tail):
    folder = run()
    with (folder / "metrics.jsonl").open("ab") as file:
        file.write(tail if isinstance(tail, bytes) else tail.encode())
    (made,) = read([folder]).runs
    assert made.last_step == 12 and made.notes == []


def test_a_broken_line_in_the_middle_is_counted(run):
    folder = run()
    (folder / "metrics.jsonl").write_text(metrics_line(1) + "nonsense\n" + metrics_line(3))
    (made,) = read([folder]).runs
    assert list(made.metrics) == [1, 3] and made.notes == [
        "1 line(s) of metrics.jsonl could not be read and are left out"
    ]


def test_values_that_cannot_be_drawn_are_gaps(run):
    folder = run()
    (folder / "metrics.jsonl").write_text(
        metrics_line(1)
        + metrics_line(2, grad_norm=float("nan"), reward=float("inf"), entropy=10**400)
        + metrics_line(3)
    )
    (made,) = read([folder]).runs
    assert [step for step, _ in made.curve("grad_norm")] == [1, 3] == [step for step, _ in made.curve("reward")]
    page(folder)


@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"before": null, "after": 3, "steps": "x", "seconds": null}'])
def test_a_damaged_summary_is_survived(run, text):
    folder = run()
    (folder / "summary.json").write_text(text)
    page(folder)


@pytest.mark.parametrize("text", ["no_such_key: 1\n", "a: [\n", "- 1\n", "\x00", ""])
def test_a_config_of_another_version_is_shown_as_it_is(run, text):
    folder = run(config=text)
    html = page(folder)
    assert "config.yaml is not one of this version" in html and "config.yaml</summary>" in html


def test_a_summary_older_than_the_run_is_noted(run):
    folder = run()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(metrics_line(13))
    assert read([folder]).runs[0].notes == ["summary.json is of step 12, the run has gone on since"]


# Curves


def test_ticks_are_round_and_enclose():
    assert ticks(0, 0.97) == [0, 0.25, 0.5, 0.75, 1.0]  # 0.97 / 4 = 0.2425, the next of 1, 2, 2.5, 5 is 0.25
    assert ticks(-3, 10) == [-5, 0, 5, 10]  # 13 / 4 = 3.25 -> 5
    assert ticks(0, 0) == [0, 0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-14, 1e38, -1e99, 1e99])
def test_any_value_that_is_read_can_be_drawn(value):
    assert draw([Series("x", [(1, value), (2, 0.0)])]).lines


def test_the_trailing_mean_starts_short():
    assert trailing_mean([(1, 3.0), (2, 5.0), (3, 10.0)], 2) == [(1, 3.0), (2, 4.0), (3, 7.5)]


def test_long_runs_are_thinned():
    points = [(float(step), 1.0) for step in range(10_000)]
    assert len(thinned(points)) <= MOST_POINTS
    assert thinned([(1, 1.0), (2, 3.0), (3, 5.0)], 2) == [(1.5, 2.0), (3, 5.0)]
    assert len(draw([Series("x", points)]).strips) <= MOST_STRIPS + 1


@pytest.mark.parametrize("values", [(0.0, 1.0), (-1.5e-05, 2.5e-05), (0.0, 123_456_789.0), (-1e30, 1e30)])
@pytest.mark.parametrize("box", [Box(), Box(190, 120)])
def test_the_labels_of_the_axes_have_room(values, box):
    drawing = draw([Series("x", [(0, values[0]), (2000, values[1])])], box=box)
    assert all(drawing.left - 6 - 6 * len(text) >= 0 for _, text in drawing.y_ticks)  # six units a character
    for x, text, anchor in drawing.x_ticks:
        assert x + (0 if anchor == "end" else 3 * len(text)) <= box.width


@pytest.mark.parametrize(
    ("seconds", "text"), [(46, "46 s"), (636.1, "10 min 36 s"), (11_100, "3 h 05 min"), (59.7, "1 min 00 s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


# The command


def test_without_output_the_page_is_in_the_first_run(run, capsys):
    first, second = run("first"), run("second")
    assert main([str(first), str(second)]) == 0
    assert capsys.readouterr().out == f"report: {first / 'report.html'}\n"
    assert not (second / "report.html").exists()


@pytest.mark.parametrize(
    "case", ["no directory", "a file", "no metrics", "no step", "only a torn line", "output is a directory"]
)
def test_wrong_input_is_one_line_and_exit_2(run, capsys, case):
    folder = run()
    target, output = folder, folder / "x.html"
    if case == "no directory":
        target = folder / "nowhere"
    elif case == "a file":
        target = folder / "config.yaml"
    elif case == "no metrics":
        (folder / "metrics.jsonl").unlink()
    elif case in ("no step", "only a torn line"):
        (folder / "metrics.jsonl").write_text("" if case == "no step" else '{"step": 1, "re')
    else:
        output = folder / "completions"
    assert main([str(target), "--output", str(output)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1


def test_errors_are_of_the_kind_the_command_catches(tmp_path):
    assert not issubclass(ReportError, ConfigError)
    with pytest.raises(ReportError, match="no run directory"):
        read([tmp_path / "nowhere"])


@pytest.mark.parametrize("what", ["help", "page"])
def test_neither_help_nor_a_page_needs_mlx_or_matplotlib(run, what):
    arguments = ["--help"] if what == "help" else [str(run())]
    code = (
        "import sys\nfrom grpo.report.__main__ import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as end: assert end.code == 0\n"
        "tops = {name.split('.')[0] for name in sys.modules}\n"
        "print('loaded:', sorted(tops & {'mlx', 'mlx_lm', 'matplotlib', 'transformers', 'datasets'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("loaded: []\n")
