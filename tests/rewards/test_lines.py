"""Lines with a hash: what was torn or has changed is not taken for a value, whatever else is appended."""

import json

import pytest

from rewards.lines import KEY, append, intact


def test_a_row_is_read_back_with_its_hash(tmp_path):
    path = tmp_path / "rows.jsonl"
    append(path, ['{"text": "a, \\"sha256\\": \\"b\\"}", "n": 1}', '{"n": 2}'])
    lines = path.read_bytes().splitlines(keepends=True)
    assert all(map(intact, lines)) and [json.loads(line)["n"] for line in lines] == [1, 2]
    assert all(len(json.loads(line)[KEY]) == 64 for line in lines)
    assert intact(b'{"n": 3}\n')  # of an earlier version


@pytest.mark.parametrize("place", [6, 7, 20, 60, 84, -2])  # key, value, hash, closing signs
def test_one_changed_byte_is_seen(tmp_path, place):
    path = tmp_path / "rows.jsonl"
    append(path, ['{"n": 2}'])
    line = bytearray(path.read_bytes())
    line[place] ^= 1
    assert not intact(bytes(line))


def test_what_follows_a_torn_line_begins_on_its_own(tmp_path):
    path = tmp_path / "rows.jsonl"
    append(path, ['{"n": 1}'])
    path.write_bytes(path.read_bytes()[:-5])
    append(path, ['{"n": 2}'])
    assert [intact(line) for line in path.read_bytes().splitlines(keepends=True)] == [False, True]
