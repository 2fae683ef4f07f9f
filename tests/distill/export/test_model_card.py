"""What a model card tells of the machine that it was made on: nothing."""

import pytest

from distill.export.model_card import _shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/home/me/data/rows.jsonl", "rows.jsonl"),
        ("~/data/rows.jsonl", "rows.jsonl"),
        ({"path": "/home/me/rows.jsonl", "n": [1, "/a/b"]}, {"path": "rows.jsonl", "n": [1, "b"]}),
        ("owner/name", "owner/name"),
        ("https://host/a/b.jsonl", "https://host/a/b.jsonl"),
        ("Think. <think>...</think> and/or <answer>", "Think. <think>...</think> and/or <answer>"),
        ("https://me:hunter2@host/v1", "https://***@host/v1"),
        (3, 3),
    ],
)
def test_paths_lose_their_directories_and_secrets_are_masked(value, shown):
    assert _shown("data_options", value) == shown
