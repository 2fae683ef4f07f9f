"""Text of others does nothing to a terminal."""

import pytest

from rewards.printable import masked, printable, secret_in


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x1b]52;c;aGk=\x07", "\\x1b]52;c;aGk=\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\rb\x08c\x7f", "a\\rb\\x08c\\x7f"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("tab\tand\nline, été 数学 🙂", "tab\tand\nline, été 数学 🙂"),
    ],
)
def test_what_acts_is_escaped_and_the_rest_stays(text, shown):
    assert printable(text) == shown


def test_what_stands_before_the_host_of_a_url_is_masked():
    assert printable("at https://me:hunter2@host/v1: refused") == "at https://***@host/v1: refused"
    assert printable("hf://datasets/me/name@main/a.jsonl") == "hf://datasets/me/name@main/a.jsonl"


@pytest.mark.parametrize(
    "text",
    [
        "judge.api_key=hunter2",
        "{'api-key': 'hunter2'}".replace("-", "_"),
        "password: hunter2",
        "http://host/?token=hunter2",
        "Authorization: Bearer hunter2",
        "ftp://me:hunter2@host",
        "https://me:hunt@hunter2@host/x",
        "Authorization: Basic hunter2",
        "x-api-key: hunter2",
        "{'apiKey': 'hunter2'}",
        "AWS_SECRET_ACCESS_KEY=hunter2",
        "accessToken: hunter2",
        "passphrase=hunter2",
    ],
)
def test_keys_and_passwords_are_masked(text):
    assert "hunter2" not in masked(text) and "***" in masked(text)


@pytest.mark.parametrize("text", ["max_tokens=5", "stop_token: <|end|>", "token_budget=4096", "the next token is 5"])
def test_tokens_of_a_model_are_no_secret(text):
    assert masked(text) == text
    name, _, value = text.partition("=")
    assert secret_in({name: value or text}) is None


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"judge": {"url": "https://me:pw@host/v1"}}, "judge.url"),
        ({"judge": {"extra": {"api_key": "abc"}}}, "judge.extra.api_key"),
        ({"headers": {"Authorization": "Bearer abcdefghij"}}, "headers.Authorization"),
        ({"data": ["hf_" + "a" * 30]}, "data"),
        ({"data": "http://host/rows.jsonl?api_key=abc"}, "data"),
        ({"data": "https://host/rows.jsonl?a=1&key=abc"}, "data"),
        ({"data": "https://host/rows.jsonl?X-Amz-Signature=abc"}, "data"),
        ({"reward_options": {"mine": {"private-key": "abc"}}}, "reward_options.mine.private-key"),
        ({"model": "AKIA" + "B" * 16}, "model"),
        ({"system_prompt": "github_pat_" + "b" * 30}, "system_prompt"),
    ],
)
def test_secrets_among_settings_are_found_by_place(value, place):
    assert secret_in(value) == place
