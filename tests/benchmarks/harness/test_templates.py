"""How a benchmark's problems become prompts."""

import pytest

from benchmarks.harness.settings import parser, settings_of
from benchmarks.harness.spec import Benchmark
from benchmarks.harness.templates import render
from envs import Task
from grpo.config.sections import ConfigError

GIVEN = ["--model", "m", "--output", "o"]


class Tokenizer:
    has_chat_template, chat_template = True, "{{ messages }}{{ add_generation_prompt }}{{ enable_thinking }}"

    def encode(self, text, add_special_tokens=True):
        return list(map(ord, text))

    def apply_chat_template(self, messages, tokenize, add_generation_prompt, enable_thinking=True):
        return f"[{messages[-1]['content']}]" + ("<think>" if enable_thinking else "")


def settings(*flags):
    benchmark = Benchmark("b", None)
    return settings_of(benchmark, parser(benchmark, "").parse_args([*GIVEN, *flags]))


def test_arguments_of_the_chat_template_are_a_flag():
    chosen = settings("--chat-template-kwargs", '{"enable_thinking": false}')
    assert render(Task("1", "2+3?"), Tokenizer(), chosen).text == "[2+3?]"
    assert render(Task("1", "2+3?"), Tokenizer(), settings()).text == "[2+3?]<think>"


def test_arguments_without_a_chat_template_are_refused():
    with pytest.raises(ConfigError, match="need template chat or r1, got plain"):
        settings("--template", "plain", "--chat-template-kwargs", '{"a": 1}')
    with pytest.raises(SystemExit):
        settings("--chat-template-kwargs", "[1]")
