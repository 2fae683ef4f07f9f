"""A supervised recipe from end to end, on a model of two layers."""

import json

import pytest

from benchmarks import supervised

CONFIG = """# command: distill.sft
model: M
data: D
template: chat
system_prompt: Say a number.
total_steps: 2
eval_every: 1
examples_per_step: 2
max_length: 256
"""


@pytest.fixture
def asked(tmp_path, byte_model):
    (tmp_path / "small.yaml").write_text(CONFIG)
    rows = [{"Question": f"{i} plus 1?", "Complex_CoT": "One more.", "Response": str(i + 1)} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return [
        *("--config", str(tmp_path / "small.yaml"), "--output", str(tmp_path / "out"), "--max-tokens", "6"),
        *("--held-out", "2", f"model={byte_model}", f"data={tmp_path / 'rows.jsonl'}"),
    ]


def test_a_recipe_is_trained_asked_exported_and_recorded_once(asked, tmp_path, capsys):
    page = tmp_path / "RESULTS.md"
    assert supervised.main([*asked, "--page", str(page)]) == 0
    out = tmp_path / "out"
    assert "9 plus 1?" not in (out / "train.jsonl").read_text()  # the last two rows are held out
    record = json.loads((out / "record.json").read_text())
    assert [step for step, _ in record["losses"]] == [1, 2] and [step for step, _ in record["validation"]] == [0, 1, 2]
    assert record["answers"]["before"]["figures"]["format"]["mean"] == 0.0
    assert record["question"] == "8 plus 1?" and str(tmp_path) not in json.dumps(record)
    assert "| before | 0.000 [0.00, " in supervised.table(record)
    assert "<!-- supervised small -->" in page.read_text() and supervised.table(record).strip() in page.read_text()
    assert (out / "model" / "config.json").exists() and (out / "curve.png").read_bytes()[:4] == b"\x89PNG"
    trained = (out / "sft" / "adapters.safetensors").stat().st_mtime_ns
    assert supervised.main(asked) == 0
    assert (out / "sft" / "adapters.safetensors").stat().st_mtime_ns == trained


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--held-out", "10"], "--held-out must be between 1 and 9 for the rows"),
        (["data=nowhere.jsonl"], "nowhere.jsonl"),
        (["no_such_key=1"], "no_such_key"),
    ],
)
def test_what_cannot_be_is_one_line(asked, capsys, more, said):
    assert supervised.main([*asked, *more]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_an_answer_is_shown_on_one_line_as_code():
    shown = supervised._short("a`b\n\x1b[31m| c " + "x" * 400)
    assert shown.startswith("`a'b ") and shown.endswith(" ...`") and "\x1b" not in shown and "\n" not in shown
