"""The corpus format: what is a row, what is refused, how rows are split."""

import json
import re

import pytest

from distill.corpus.row import (
    CorpusRow,
    Provenance,
    is_orcid,
    parts,
    read_row,
    split_by_prompt,
    to_line,
    write_corpus,
)

ROW = {"schema_version": 1, "prompt": "a?", "completion": "<think>b</think>c"}


def test_a_row_comes_back_from_its_line():
    made = {"model": "m", "rewards": {"accuracy": 1.0, "judge": None}, "expert_id": "0000-0002-1825-0097"}
    row = read_row({**ROW, "domain": "medical", "coordinates": {"x": 0, "y": 1, "z": 0.5}, "provenance": made})
    assert read_row(json.loads(to_line(row))) == row


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"schema_version": 2}, "schema_version 2: this program reads version 1"),
        ({"schema_version": None}, "schema_version None"),
        ({"domain": "cooking"}, "domain: Input should be 'medical'"),
        ({"difficulty": 6}, "difficulty: "),
        ({"dificulty": 3}, "dificulty: Extra inputs are not permitted"),
        ({"completion": " "}, "the assistant's text is empty"),
        ({"completion": None}, "either messages or both prompt and completion"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "either messages or both"),
        ({"provenance": {"certainty": 1.5}}, "provenance.certainty: "),
        ({"provenance": {"expert_id": "0000-0002-1825-0098"}}, "must be an ORCID"),
        ({"coordinates": {"x": 2, "y": 0, "z": 0}}, "coordinates.x: "),
    ],
)
def test_what_does_not_fit_is_one_line(changed, said):
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        read_row({**ROW, **changed})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("0000-0002-1825-0097", True),  # the example of orcid.org
        ("0000-0002-1694-233X", True),
        ("0000-0002-1694-2330", False),
        ("0000-0002-1825-007", False),
        ("0000000218250097", False),
        ("٠000-0002-1825-0097", False),  # a digit of another script
    ],
)
def test_the_last_character_of_an_orcid_is_checked(text, valid):
    assert is_orcid(text) is valid


@pytest.mark.parametrize(
    ("text", "apart"),
    [
        ("<think> b </think> <answer> 4 </answer>", ("b", "4")),
        ("<think>b</think>So it is 4.", ("b", "So it is 4.")),
        ("It is 4.", (None, "It is 4.")),
        ("<think>never ends", ("never ends", None)),
        ("|special_token|b|special_token|4", ("b", "4")),
    ],
)
def test_reasoning_and_answer_are_taken_apart(text, apart):
    assert parts(text) == apart


def rows(prompts, each=3):
    return [CorpusRow(prompt=f"p{n}", completion=f"c{n} {k}") for n in range(prompts) for k in range(each)]


def test_a_split_is_8_1_1_by_prompt_never_by_row():
    cut = split_by_prompt(rows(50))
    assert {name: len(part) for name, part in cut.items()} == {"train": 120, "valid": 15, "test": 15}  # 40, 5, 5 x 3
    prompts = [{row.prompt for row in part} for part in cut.values()]
    assert sum(map(len, prompts)) == len(set.union(*prompts)) == 50


def test_a_split_depends_on_the_seed_and_not_on_the_order():
    first, again = split_by_prompt(rows(50)), split_by_prompt(rows(50)[::-1])
    assert {row.prompt for row in first["test"]} == {row.prompt for row in again["test"]}
    assert {row.prompt for row in split_by_prompt(rows(50), seed=1)["test"]} != {row.prompt for row in first["test"]}


def test_prompts_stay_where_they_were_when_a_corpus_grows():
    before = {row.prompt for row in split_by_prompt(rows(200))["train"]}
    after = {row.prompt for row in split_by_prompt(rows(210))["train"]}
    assert len(before - after) <= 5  # 160 of 200, then 168 of 210: only the edge moves


def test_a_file_is_replaced_at_once(tmp_path):
    path = tmp_path / "corpus.jsonl"
    write_corpus(path, rows(2))

    def broken():
        yield rows(1)[0]
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_corpus(path, broken())
    assert len(path.read_text().splitlines()) == 6


def test_provenance_takes_a_sha256_only():
    with pytest.raises(ValueError, match="adapter_sha256"):
        Provenance(adapter_sha256="abc")
