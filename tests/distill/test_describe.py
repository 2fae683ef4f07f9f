"""The description of a corpus and its split."""

import json

import pytest

from distill.corpus.readers import corpus_row, read_corpus
from distill.describe import describe, language_of, main
from tests.distill.damage import SETTINGS, TOKENIZER, damage
from tests.distill.small_models import model_directory


def words(text):
    return len(text.split())


def test_figures_are_those_of_the_rows():
    given = [
        {"prompt": "a", "completion": "<think>x y</think> z", "domain": "math", "difficulty": 2},
        {"prompt": "a", "completion": "one two three four", "domain": "math"},
        {"prompt": "b", "completion": "one two three four", "language": "en"},
        {"prompt": " b ", "completion": "one two three four", "language": "en"},
    ]
    found = describe([corpus_row(row) for row in given], words, "words")
    figures = found.figures
    assert (figures["rows"], figures["distinct prompts"], figures["with reasoning"]) == (4, 2, 1)
    assert figures["repeated rows"] == 1  # the last two differ in white space only
    assert figures["words, mean"] == 3.8  # (3 + 4 + 4 + 4) / 4 = 3.75
    assert figures["words of the reasoning, mean"] == 0.5  # 2 / 4
    assert found.counts["domain"] == {"math": 2, "general": 2}
    assert found.counts["difficulty"] == {"none given": 3, "2": 1}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The sum of the two numbers is what we need.", "en"),
        ("Die Summe der beiden Zahlen ist nicht null.", "de"),
        ("我们先把两个数加起来", "zh"),
        ("二つの数を足します", "ja"),
        ("Сколько у неё яблок?", "ru"),
        ("12 + 3 = 15", "unknown"),
    ],
)
def test_a_language_is_guessed(text, code):
    assert language_of(text) == code


def test_the_command_tells_draws_and_splits(tmp_path, capsys):
    path = tmp_path / "c.jsonl"
    lines = [json.dumps({"prompt": f"p{n // 2}", "completion": f"c {n}"}) for n in range(40)]
    path.write_text("\n".join([*lines, "{"]))
    arguments = [str(path), "--output", str(tmp_path / "c.png"), "--split", str(tmp_path / "cut")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "| rows | 40 |" in out and "| dropped rows | 1 |" in out and "c.jsonl:41: is not JSON" in out
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"
    parts = {name: read_corpus(str(tmp_path / "cut" / f"{name}.jsonl")).rows for name in ("train", "valid", "test")}
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 32, "valid": 4, "test": 4}  # 16, 2, 2 x 2


@pytest.mark.parametrize(("text", "said"), [(None, "no such file"), ("{}\n", "no usable row"), ("", "is empty")])
def test_a_wrong_file_is_one_line(tmp_path, capsys, text, said):
    path = tmp_path / "c.jsonl"
    if text is not None:
        path.write_text(text)
    assert main([str(path)]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(("name", "how"), [*TOKENIZER, *SETTINGS])
def test_a_damaged_tokenizer_is_one_line(tmp_path, capsys, name, how):
    (tmp_path / "c.jsonl").write_text('{"prompt": "w30", "completion": "w31"}\n')
    model = model_directory(tmp_path / "model")
    damage(model, name, how)
    assert main([str(tmp_path / "c.jsonl"), "--tokenizer", str(model)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: tokenizer {model} can't be loaded: ") and err.count("\n") == 1


def test_the_picture_lies_beside_its_corpus(tmp_path, monkeypatch, capsys):
    (tmp_path / "data").mkdir()
    corpus = tmp_path / "data" / "corpus.jsonl"
    corpus.write_text('{"prompt": "a", "completion": "b"}\n')
    monkeypatch.chdir(tmp_path)
    assert main([str(corpus)]) == 0
    assert [path.name for path in (tmp_path / "data").iterdir() if path.suffix == ".png"] == ["corpus.jsonl.png"]
    assert not list(tmp_path.glob("*.png")) and f"picture: {corpus}.png" in capsys.readouterr().out
