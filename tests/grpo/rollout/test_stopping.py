"""What ends a completion."""

import pytest

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
from grpo.rollout.stopping import Stops, stops


class Letters:
    """Token i is the letter chr(i)."""

    has_chat_template, eos_token_ids = False, {0}

    def encode(self, text, add_special_tokens=True):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def test_a_text_ends_a_completion_once_it_stands_in_it():
    made = stops(Config(stop=["</answer>", "\n\n"]), Letters())
    tokens = Letters().encode("a <answer>7</answer>")
    assert [made.ends(tokens[: n + 1], Letters()) for n in range(len(tokens))] == [False] * (len(tokens) - 1) + [True]
    assert made.ends(Letters().encode("x" * 50 + "\n\n"), Letters()) and made.ends([0], Letters())


def test_extra_tokens_by_id_and_by_text():
    assert stops(Config(stop_tokens=[7, "#"]), Letters()).tokens == {0, 7, ord("#")}
    with pytest.raises(ConfigError, match="'##' is 2 tokens of this model, not one: give it as stop"):
        stops(Config(stop_tokens=["##"]), Letters())


def test_a_tokenizer_without_an_end_token_needs_another_stop():
    endless = Letters()
    endless.eos_token_ids = set()
    with pytest.raises(ConfigError, match="its tokenizer names no end token, so no completion would ever end"):
        stops(Config(), endless)
    assert stops(Config(stop=["\n"]), endless) == Stops(frozenset(), ("\n",))


def test_the_templates_end_of_turn_is_one_too():
    chatting = Letters()
    chatting.has_chat_template, chatting.all_special_ids = True, (ord("|"),)
    chatting.apply_chat_template = lambda messages, tokenize, **_: "".join(m["content"] + "|" for m in messages)
    assert stops(Config(), chatting).tokens == {0, ord("|")}
    assert stops(Config(template="plain"), chatting).tokens == {0}


def test_rollouts_end_at_a_stop_text_and_keep_it(tiny):
    policy = tiny.policy()
    request = Request(4, 24, Sampling(1.0), stops=Stops(frozenset(), ("1",)))  # a word with a 1 in it ends a completion
    [(_, group)] = generate(policy, [tiny.prompt([11, 12])], request)
    for rollout in group.rollouts:
        assert ["1" in str(token) for token in rollout.tokens] == [False] * (len(rollout.tokens) - 1) + [True]
        assert rollout.stop_reason == "stop" and rollout.text == " ".join(map(str, rollout.tokens))
