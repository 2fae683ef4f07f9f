"""From a task to tokens."""

import pytest

from envs import Task
from grpo.config import Config, load_config
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
    tasks = [Task(f"task {n}", " ".join(["8"] * n)) for n in (3, 0, 4, 5, 6)]
    tokenizer = tiny.policy().tokenizer
    kept, notes = fitting(tasks, tokenizer, Config(template="plain", max_prompt_length=4), "train")
    assert [len(prompt.tokens) for prompt in kept] == [3, 4]
    too_long = "2 of 5 train prompts are longer than max_prompt_length 4 and are left out"
    assert notes == [
        f"{too_long}, the first task 5; the longest has 6",
        "1 of 5 train prompts have no token and are left out",
    ]


def test_a_last_message_of_the_assistant_is_gone_on_with():
    messages = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "Sum:"}]
    assert rendered(messages).text == "\x01<user>2+3?<assistant>Sum:"


def test_one_system_message_the_configs():
    messages = [{"role": "system", "content": "Be long."}, {"role": "user", "content": "2+3?"}]
    notes = []
    prompt = render(Task("1", messages), Tokenizer(), Config(system_prompt="Be brief."), notes=notes)
    assert prompt.text == "\x01<system>Be brief.<user>2+3?<assistant>"
    assert notes == ["system_prompt takes the place of the tasks' own system message"]


def test_notes_of_many_tasks_are_said_once():
    tasks = [Task(str(n), [{"role": "system", "content": "?"}, {"role": "user", "content": "?"}]) for n in range(5)]
    assert len(fitting(tasks, Tokenizer(), Config(system_prompt="!"), "train")[1]) == 1


@pytest.mark.parametrize("key", ["system_prompt=x", "chat_template_kwargs.x=1"])
def test_what_only_a_chat_template_shows_needs_one(key):
    with pytest.raises(ConfigError, match="need template: chat, got plain"):
        load_config(None, ["template=plain", key])
