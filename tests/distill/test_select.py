"""A small set out of a large one."""

import csv
import json
import random

import numpy as np
import pytest

from distill.corpus.readers import messages_of, read_corpus
from distill.corpus.row import CorpusRow, Provenance, write_corpus
from distill.select import Wish, farthest_points, main, model_vectors, quotas, select, word_vectors
from tests.distill.small_models import model_directory


def row(n, *, domain="math", thought="a b c", rate=None, answer="x", **more):
    made = Provenance(pass_rate=rate) if rate is not None else None
    return CorpusRow(id=str(n), prompt=f"question {n}", completion=f"<think>{thought} {n}</think>{answer}",
                     reasoning=f"{thought} {n}", answer=answer, domain=domain, provenance=made, **more)  # fmt: skip


def chosen(rows, count, **wish):
    found = select(rows, Wish(count, **wish), word_vectors([one.asked for one in rows]))
    return [one.id for one in found.rows]


@pytest.mark.parametrize(
    ("available", "count", "places"),
    [
        ({"a": 50, "b": 50}, 10, {"a": 5, "b": 5}),
        ({"a": 50, "b": 2}, 10, {"a": 8, "b": 2}),  # what b can't fill goes to a
        ({"a": 3, "b": 3, "c": 3}, 4, {"a": 2, "b": 1, "c": 1}),
        ({"a": 2, "b": 1}, 10, {"a": 2, "b": 1}),
        ({}, 5, {}),
    ],
)
def test_domains_get_equal_places(available, count, places):
    assert quotas(available, count) == places


def test_each_point_is_the_farthest_from_all_taken():
    points = np.array([[0.0], [1.0], [10.0], [6.0]])
    # from 0 the farthest is 10; then 6 (4 from 10) before 1 (1 from 0)
    assert farthest_points(points, 3) == [0, 2, 3]
    assert sorted(farthest_points(points, 9)) == [0, 1, 2, 3]


def test_of_equal_points_none_is_taken_twice():
    assert sorted(farthest_points(np.zeros((3, 2)), 3)) == [0, 1, 2]


def test_with_a_pool_of_one_the_hardest_are_taken():
    rows = [row(n, rate=n / 10) for n in range(10)]
    assert sorted(chosen(rows, 3, pool=1)) == ["0", "1", "2"]


def test_where_nothing_is_known_longer_reasoning_is_harder():
    rows = [row(n, thought="w " * (n + 1)) for n in range(6)]
    assert sorted(chosen(rows, 2, pool=1)) == ["4", "5"]


def test_rows_with_faults_go():
    rows = [row(1), row(2, answer=""), row(3, thought="```\ncode"), row(4, rate=1.0)]
    rows.append(CorpusRow(id="5", prompt="q", completion="no reasoning", answer="no reasoning"))
    assert chosen(rows, 9, max_pass_rate=0.9) == ["1"]


def test_the_order_of_the_rows_does_not_matter():
    rows = [row(n, domain=("math", "science")[n % 2]) for n in range(30)]
    again = random.Random(1).sample(rows, 30)
    assert chosen(rows, 8) == chosen(again, 8)


def test_diverse_rows_lie_farther_apart_than_the_hardest():
    rng = random.Random(2)
    topics = [[f"t{topic}w{n}" for n in range(8)] for topic in range(5)]
    # the hardest twenty of fifty are all of the first two topics
    rows = [
        row(n, rate=n / 100).model_copy(update={"prompt": " ".join(rng.choices(topics[n // 10], k=12))})
        for n in range(50)
    ]
    kinds = {pool: {int(one) // 10 for one in chosen(rows, 5, pool=pool)} for pool in (1, 10)}
    assert kinds == {1: {0}, 10: {0, 1, 2, 3, 4}}


def test_the_command_by_coordinates(tmp_path, capsys):
    rows = [row(n, coordinates={"x": x, "y": 0, "z": 0}) for n, x in enumerate([0.0, 0.1, 0.9, 1.0])]
    write_corpus(tmp_path / "c.jsonl", rows)
    arguments = ["--data", str(tmp_path / "c.jsonl"), "--output", str(tmp_path / "s.jsonl"), "--count", "2"]
    assert main([*arguments, "--distance", "coordinates"]) == 0
    low, high = sorted(one.coordinates.x for one in read_corpus(str(tmp_path / "s.jsonl")).rows)
    assert low <= 0.1 and high >= 0.9
    assert "| selected | 2 |" in capsys.readouterr().out
    (tmp_path / "c.jsonl").write_text(json.dumps({"prompt": "a", "completion": "b"}))
    assert main([*arguments, "--distance", "coordinates"]) == 2
    assert "1 of 1 rows have none" in capsys.readouterr().err


def test_a_models_states_tell_prompts_apart(tmp_path):
    model = model_directory(tmp_path / "model")
    asked = ["w30 w31 w32", "w30 w31 w32 w32", "w50 w51 w58 w59"]
    vectors = model_vectors(asked, str(model))
    assert vectors.shape == (3, 32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    near, far = (np.linalg.norm(vectors[0] - vectors[at]) for at in (1, 2))
    assert near < far


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--count", "0"], "--count and --pool must be at least 1"),
        (["--distance", "model"], "distance model needs --model"),
        (["--distance", "model", "--model", "./nowhere"], "model ./nowhere: no such directory"),
        (["--data", "nowhere.jsonl"], "nowhere.jsonl: no such file"),
    ],
)
def test_a_wrong_wish_is_one_line(tmp_path, capsys, more, said):
    write_corpus(tmp_path / "c.jsonl", [row(1)])
    assert main(["--data", str(tmp_path / "c.jsonl"), "--output", str(tmp_path / "s.jsonl"), *more]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1 and not (tmp_path / "s.jsonl").exists()


def test_what_was_dropped_is_said_and_a_filter_nothing_can_pass_is_refused(tmp_path, capsys):
    sure = [Provenance(certainty=share) for share in (0.2, 0.9)]
    rows = [row(n).model_copy(update={"provenance": made}) for n, made in enumerate(sure)]
    write_corpus(tmp_path / "c.jsonl", rows)
    arguments = ["--data", str(tmp_path / "c.jsonl"), "--output", str(tmp_path / "s.jsonl")]
    assert main([*arguments, "--min-certainty", "0.5"]) == 0
    assert "left out: certainty 1" in capsys.readouterr().out
    assert [one.id for one in read_corpus(str(tmp_path / "s.jsonl")).rows] == ["1"]
    assert main([*arguments, "--min-certainty", "0.95"]) == 2
    assert "none of 2 rows stays: certainty 2" in capsys.readouterr().err
    assert main([*arguments, "--min-verdict", "0.5"]) == 2
    assert "--min-verdict: no row says that of itself" in capsys.readouterr().err


TILE = {
    "coordinates": {"x": 0.1, "y": 0.5, "z": 0.9},
    "expert_id": "0000-0002-1825-0097",
    "citations": ["arXiv 2501.12948"],
    "verdicts": [{"judge": "helpfulness", "value": 0.5}],
    "reasoning_chain": ["Two and two.", "That is four."],
}
LAYOUTS = {
    "messages": lambda n: {"messages": [{"role": "user", "content": f"{n} + {n}?"},
                                        {"role": "assistant", "content": str(2 * n)}]},
    "pairs": lambda n: {"prompt": f"{n} + {n}?", "completion": str(2 * n)},
    "questions": lambda n: {"question": f"{n} + {n}?", "answer": str(2 * n)},
    "the format": lambda n: {"schema_version": 1, "prompt": f"{n} + {n}?",
                             "completion": f"<think>Two and two.\nThat is four.</think>{2 * n}"},
}  # fmt: skip


def written(path, rows, kind):
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        pytest.importorskip("datasets").Dataset.from_list(rows).to_parquet(str(path))
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            texts = [{k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()} for row in rows]
            table.writerows(texts)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_knowledge_tile_says_goes_from_every_file_through_select_to_sft(tmp_path, kind, layout, capsys):
    of_format = {key: TILE[key] for key in ("expert_id", "citations", "verdicts")}
    rows = []
    for n in range(1, 9):
        told = {**TILE, "certainty": n / 10}
        if layout == "the format":
            told = {"coordinates": TILE["coordinates"], "provenance": {**of_format, "certainty": n / 10}}
        rows.append({**LAYOUTS[layout](n), **told})
    source, chosen = written(tmp_path / f"tiles.{kind}", rows, kind), tmp_path / "chosen.jsonl"
    told = ["--data", str(source), "--output", str(chosen), "--count", "9", "--distance", "coordinates"]
    assert main([*told, "--min-certainty", "0.45"]) == 0, capsys.readouterr().err
    kept = [json.loads(line) for line in chosen.read_text().splitlines()]
    assert sorted(row["provenance"]["certainty"] for row in kept) == [0.5, 0.6, 0.7, 0.8]
    for row in kept:
        assert row["coordinates"] == TILE["coordinates"]
        assert {key: row["provenance"][key] for key in of_format} == of_format
        assert row["reasoning"] == "Two and two.\nThat is four."
    reading = read_corpus(str(chosen))  # what SFT reads
    assert not reading.dropped and all(row.provenance.certainty >= 0.5 for row in reading.rows)
    assert messages_of(kept[0])[-1]["content"].startswith("<think>")
