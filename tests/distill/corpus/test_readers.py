"""Anybody's rows as corpus rows."""

import json
import re
from pathlib import Path

import pytest

from distill.corpus.readers import corpus_row, messages_of, read_corpus, tools_of

MEDICAL = Path(__file__).parents[4] / "shared" / "data" / "medical_o1_sample.jsonl"
THOUGHT = "<think>\nc\n</think>\n\nb"


def chat(*pairs):
    return [{"role": role, "content": text} for role, text in pairs]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"messages": chat(("user", "a"), ("assistant", "b"))}, ["a", "b"]),
        ({"messages": None, "prompt": "a", "completion": "b"}, ["a", "b"]),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, ["a", "b"]),
        ({"Question": "a", "Complex_CoT": "c", "Response": "b"}, ["a", THOUGHT]),
        ({"problem": "a", "thinking": "c", "response": "b", "answer": "9"}, ["a", THOUGHT]),
        ({"question": "a", "thinking": "c", "response": "b"}, ["a", THOUGHT]),
        ({"instruction": "a", "input": "i", "output": "b"}, ["a\n\ni", "b"]),
        ({"instruction": "a", "input": "", "output": "b"}, ["a", "b"]),
        ({"question": "a", "solution": "b", "answer": "9"}, ["a", "b"]),
        ({"problem": "a", "answer": "b"}, ["a", "b"]),
        ({"messages": chat(("user", [{"type": "text", "text": "a"}]), ("assistant", "b"))}, ["a", "b"]),
    ],
)
def test_each_layout(row, said):
    assert [message["content"] for message in messages_of(row)] == said
    made = corpus_row(row)
    assert (made.asked, made.said) == tuple(said)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([], "must be an object, got a list"),
        ({"text": "x"}, "got text"),
        ({"prompt": "a", "completion": {"b": 3}}, "must have a role and a content, got str 'b'"),
        ({"conversations": ["x"]}, "message 1 of conversations must have a role and a content, got str 'x'"),
        ({"messages": "x"}, "messages must be a list of {role, content}, got 'x'"),
        ({"messages": chat(("user", "a"))}, "the last message must be the assistant's"),
        ({"messages": chat(("robot", "a"), ("assistant", "b"))}, "messages.0.role"),
        ({"prompt": "a", "completion": ""}, "the assistant's text is empty"),
    ],
)
def test_what_is_no_row_says_why(row, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        corpus_row(row)


def test_what_a_row_says_of_itself_stays_and_defaults_fill_the_rest():
    row = {"prompt": "a", "completion": "b", "domain": "Medical", "difficulty": 9, "language": "de"}
    made = corpus_row(row, source="s", language="en")
    assert (made.domain, made.difficulty, made.language, made.source) == ("medical", None, "de", "s")
    assert made.requires_reasoning is False and made.answer == "b"


def test_a_conversation_of_several_turns_stays_whole():
    turns = chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "<think>t</think>d"))
    made = corpus_row({"messages": turns})
    assert made.prompt is None and len(made.messages) == 5
    assert (made.asked, made.reasoning, made.answer) == ("a\nc", "t", "d")


def test_dropped_rows_have_their_place_and_reason(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": \n{"schema_version": 3}\n')
    reading = read_corpus(str(path))
    assert len(reading.rows) == 1
    assert [line.split(": ")[0].rpartition(":")[2] for line in reading.dropped] == ["2", "3"]
    assert "is not JSON" in reading.dropped[0] and "schema_version 3" in reading.dropped[1]


@pytest.mark.skipif(not MEDICAL.exists(), reason="the medical sample is not here")
def test_the_medical_sample_reads_whole():
    reading = read_corpus(str(MEDICAL), domain="medical")
    raw = [json.loads(line) for line in MEDICAL.read_text().splitlines()]
    assert len(reading.rows) == len(raw) == 198 and not reading.dropped
    assert all(row.reasoning == one["Complex_CoT"].strip() for row, one in zip(reading.rows, raw, strict=True))
    assert all(row.answer == one["Response"].strip() for row, one in zip(reading.rows, raw, strict=True))
    assert {row.domain for row in reading.rows} == {"medical"} and reading.rows[0].reference


def test_a_text_that_reads_none_is_a_text():
    made = corpus_row({"prompt": "a", "completion": "None", "reference": "null"})
    assert (made.said, made.answer, made.reference) == ("None", "None", "null")


@pytest.mark.parametrize("tools", [[{"name": "add"}], '[{"name": "add"}]', ['{"name": "add"}']])
def test_tools_are_schemas_or_their_json(tools):
    assert tools_of({"tools": tools}) == [{"name": "add"}]


def test_tools_that_are_none_and_those_that_are_not_tools():
    assert tools_of({"tools": None}) == tools_of({}) == tools_of({"tools": ""}) == []
    with pytest.raises(ValueError, match="tools must be a list of JSON schemas, got int"):
        tools_of({"tools": 3})


@pytest.mark.parametrize("tools", ["[" * 100_000, ["[" * 100_000], ["{"]])
def test_tools_that_can_not_be_read_are_one_line(tools):
    with pytest.raises(ValueError, match=r"^tools .*no JSON"):
        tools_of({"tools": tools})


TILE = {
    "coordinates": {"x": 0.1, "y": 0.5, "z": 0.9},
    "certainty": 0.75,
    "expert_id": "0000-0002-1825-0097",
    "citations": ["arXiv 2501.12948"],
    "verdicts": [{"judge": "helpfulness", "value": 0.5}],
    "reasoning_chain": ["Two and two.", "That is four."],
}


@pytest.mark.parametrize(
    "layout",
    [
        {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]},
        {"prompt": "2 + 2?", "completion": "4"},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"instruction": "2 + 2?", "output": "4"},
        {"question": "2 + 2?", "solution": "4"},
    ],
)
def test_what_a_knowledge_tile_says_survives_every_layout(layout):
    row = corpus_row({**layout, **TILE})
    assert row.coordinates.z == 0.9
    made = row.provenance
    assert (made.certainty, made.expert_id, made.citations) == (0.75, TILE["expert_id"], TILE["citations"])
    assert made.verdicts[0].value == 0.5
    assert row.reasoning == "Two and two.\nThat is four." and row.answer == "4" and row.requires_reasoning
    assert row.said.startswith("<think>\nTwo and two.")


def test_what_does_not_fit_the_format_is_left_and_the_rest_kept():
    row = corpus_row({"prompt": "?", "completion": "4", **TILE, "expert_id": "nobody", "certainty": 7})
    assert row.provenance.expert_id is None and row.provenance.certainty is None and row.provenance.citations
    assert corpus_row({"prompt": "?", "completion": "4", "coordinates": "here"}).coordinates is None


def test_a_row_of_the_format_without_parts_is_taken_apart():
    row = corpus_row({"schema_version": 1, "prompt": "?", "completion": "<think>two</think>4"})
    assert (row.reasoning, row.answer) == ("two", "4")
