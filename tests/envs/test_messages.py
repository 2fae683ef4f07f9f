"""Messages as data sets write them."""

import pytest

from envs.messages import read_messages


def test_content_in_parts_is_joined():
    parts = [{"type": "text", "text": "1"}, {"type": "text", "text": "+1?"}]
    assert read_messages([{"role": "user", "content": parts}], "prompt") == [{"role": "user", "content": "1+1?"}]


def test_an_image_is_refused():
    parts = [{"type": "image", "image": "x.png"}, {"type": "text", "text": "What?"}]
    with pytest.raises(ValueError, match="message 1 of prompt has a part of type image: only text can be trained on"):
        read_messages([{"role": "user", "content": parts}], "prompt")


def test_tool_calls_and_names_are_kept_and_empty_keys_are_not():
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call], "name": None},
        {"role": "tool", "content": "2", "name": "add", "tool_calls": []},
    ]
    assert read_messages(messages, "prompt") == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "2", "name": "add"},
    ]


def test_the_columns_of_a_sequence_are_messages():
    columns = {"role": ["user", "assistant"], "content": ["1+1?", "2"], "name": None}
    assert read_messages(columns, "messages") == [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
    ]


def test_the_names_of_sharegpt_are_roles():
    messages = [{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]
    assert [message["role"] for message in read_messages(messages, "conversations")] == ["user", "assistant"]
