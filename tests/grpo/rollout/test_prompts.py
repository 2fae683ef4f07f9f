"""From a task to tokens."""

import pytest

from envs import Task
from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.rollout.prompts import R1_ZERO, fitting, render


class Tokenizer:
    """One token a character, 1 in front unless told otherwise; its template writes the BOS (character 1) itself."""

    has_chat_template = True

    def encode(self, text, add_special_tokens=True):
        return [1] * add_special_tokens + [ord(letter) for letter in text]

    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert not tokenize and add_generation_prompt
        return "\x01" + "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def rendered(prompt, **config):
    return render(Task("1", prompt), Tokenizer(), Config(**config))


def test_a_string_becomes_the_users_message():
    assert rendered("2+3?").text == "\x01<user>2+3?<assistant>"


def test_messages_are_taken_as_they_are():
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert rendered(messages).text == "\x01<user>a<assistant>b<user>c<assistant>"


def test_the_system_prompt_comes_first():
    assert rendered("2+3?", system_prompt="Be brief.").text == "\x01<system>Be brief.<user>2+3?<assistant>"


def test_the_template_and_the_tokenizer_do_not_both_write_a_bos():
    prompt = rendered("2+3?")  # trap 4
    assert prompt.tokens.count(1) == 1 and prompt.tokens[0] == 1


def test_a_plain_prompt_gets_the_tokenizers_bos():
    prompt = rendered("2+3?", template="plain")
    assert (prompt.text, prompt.tokens) == ("2+3?", (1, *map(ord, "2+3?")))


def test_the_r1_zero_prompt():
    prompt = rendered("a {b} c", template="r1_zero")  # braces of a task are no fields of the template
    assert prompt.text == R1_ZERO.replace("{prompt}", "a {b} c")
    assert prompt.text.endswith("User: a {b} c Assistant:")


def test_a_conversation_without_a_template_is_its_contents():
    messages = [{"role": "system", "content": "Add."}, {"role": "user", "content": "2+3?"}]
    assert rendered(messages, template="plain").text == "Add.\n\n2+3?"


def test_a_model_without_a_chat_template_is_refused_one():
    tokenizer = Tokenizer()
    tokenizer.has_chat_template = False
    with pytest.raises(ConfigError, match="use template: plain or r1_zero"):
        render(Task("1", "2+3?"), tokenizer, Config())


def test_prompts_that_are_too_long_or_empty_are_left_out_and_counted(tiny):
    prompts = [tiny.prompt([8] * length) for length in (3, 0, 4, 5)]
    kept, left_out = fitting(prompts, Config(max_prompt_length=4))
    assert ([len(prompt.tokens) for prompt in kept], left_out) == ([3, 4], 2)
