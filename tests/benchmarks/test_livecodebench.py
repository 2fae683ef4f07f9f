"""The hidden tests of LiveCodeBench come packed three times over: what a row unpacks to is bounded."""

import base64
import json
import pickle
import tracemalloc
import zlib

import pytest

from benchmarks import livecodebench
from benchmarks.harness.problems import load_problems
from benchmarks.harness.settings import Settings

PROTOCOL = b"\x80\x04"
TERABYTE = (1 << 40).to_bytes(8, "little")


def packed(content):
    """Zlib and base64 over a pickle, or over bytes that may be none."""
    content = content if isinstance(content, bytes) else pickle.dumps(content)
    return base64.b64encode(zlib.compress(content)).decode()


BOMBS = {
    "zeros": packed(bytes(30 << 20)),
    "a memo of thirty gigabytes": packed(PROTOCOL + b"\x8c\x01[r\x00\x00\x00\x70."),
    "bytes of a terabyte": packed(PROTOCOL + b"\x8e" + TERABYTE + b"."),
    "a text of a terabyte": packed(PROTOCOL + b"\x8d" + TERABYTE + b"."),
    "opcodes without end": packed(PROTOCOL + b"\x8c\x02[]" + b"\x94" * 1000 + b"."),
    "two texts": packed(PROTOCOL + b"\x8c\x01[\x8c\x01]."),
    "a digit of many": packed(b"V[]\np" + b"9" * 10_000 + b"\n."),
    "nested lists": packed("[" * 100_000 + "]" * 100_000),
    "nested objects": packed("[" + '{"a": ' * 100_000),
    "many lists": packed("[" + ",".join(["[]"] * 10**6) + "]"),
    "many objects": packed("[" + ",".join(["{}"] * 10**6) + "]"),
    "many texts": packed("[" + ",".join(['{"a": ""}'] * 10**6) + "]"),
    "many lists before a text": packed("[" + "[]," * (5 * 10**6) + '{"a": ""}]'),
    "a pickle of a list": packed(["[]"]),
    "numbers": packed('[{"input": 1, "output": 2}]'),
    "lists of texts": packed('[["a", "b"]]'),
    "one object": packed('{"input": "1", "output": "2"}'),
    "no base64": "A",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_more_than_tests_is_read(name, monkeypatch):
    monkeypatch.setattr(livecodebench, "MOST_BYTES", 20 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"private_test_cases|tests|Expecting"):
            livecodebench.tests_of(BOMBS[name])
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_long_texts_are_read_as_they_are():
    tests = [{"input": '[1, {"a": [2]}]\n' * 10**5, "output": "é\n\\", "testtype": "stdin"}, {}] * 3
    for text in (json.dumps(tests, indent=4), packed(json.dumps(tests))):
        assert livecodebench.tests_of(text) == tests
    for protocol in range(5):
        assert livecodebench.tests_of(packed(pickle.dumps(json.dumps(tests), protocol))) == tests
    assert livecodebench.tests_of("[]") == []


def row(**changes):
    tests = [{"input": "3\n", "output": "6\n", "testtype": "stdin"}]
    fixed = {"question_content": "Double it.", "starter_code": "", "metadata": "{}", "contest_date": "2024-10-01T00:00"}
    return {
        **fixed,
        "public_test_cases": json.dumps(tests),
        "private_test_cases": packed(json.dumps(tests)),
        **changes,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"metadata": "[" * 100_000},
        {"metadata": "[1]"},
        {"question_content": 5},
        {"private_test_cases": None},
        {"public_test_cases": 1},
        {"private_test_cases": packed("[{}]")},
    ],
)
def test_a_row_that_can_not_be_read_is_left_out_and_said(tmp_path, changes):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (row(), row(**changes))))
    found = load_problems(livecodebench.benchmark("", "9"), Settings(model="m", data=str(path)))
    assert len(found.tasks) == 1 and found.notes[0].startswith(f"left out: {path}:2: ")
