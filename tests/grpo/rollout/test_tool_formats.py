"""Tools through the chat templates of five families: shown, called, answered, the sampled tokens left as they are."""

import json

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from envs import Task
from envs.tools.conversation import ToolConversation
from grpo.config import Config
from grpo.rollout.prompts import render
from grpo.rollout.template import ChatTemplate
from grpo.rollout.writing import ChatWriter
from tests.grpo.rollout.tool_templates import FAMILIES, GPT_OSS

CONFIG = Config(template="chat")


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def load(tmp_path):
    """A family's tokenizer as mlx_lm loads it: bytes and a few merges, so that a text has several encodings."""

    def made(family):
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        merges = [("a", "d"), ("ad", "d"), ("t", "o"), ("n", "a"), ("m", "e")]
        vocab = {text: number for number, text in enumerate([*letters, *("".join(pair) for pair in merges)])}
        tokenizer = Tokenizer(models.BPE(vocab, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens([AddedToken(text, special=True) for text in family.specials])
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "chat_template": family.template,
            "bos_token": family.specials[0],
            "eos_token": family.stops[0],
            "clean_up_tokenization_spaces": False,
        }
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        from mlx_lm.tokenizer_utils import load as load_tokenizer

        found = load_tokenizer(tmp_path)
        found.eos_token_ids = {found.convert_tokens_to_ids(stop) for stop in family.stops}
        return found

    return made


def sampled(tokenizer, family, text):
    """The tokens of a text as a model may sample them: special tokens whole, the rest letter by letter."""
    tokens = []
    while text:
        special = next((one for one in family.specials if text.startswith(one)), None)
        piece = special or text[0]
        tokens += tokenizer.encode(piece, add_special_tokens=False)
        text = text[len(piece) :]
    return tokens


@pytest.mark.parametrize("name", FAMILIES)
def test_a_call_is_shown_read_and_answered(load, name):
    family = FAMILIES[name]
    tokenizer, talk = load(family), ToolConversation([add])
    notes = []
    prompt = render(Task("1", "What is 2 + 3?"), tokenizer, CONFIG, tools=talk.tools, notes=notes)
    assert "Add two numbers." in prompt.text and "What is 2 + 3?" in prompt.text
    assert ("To call one, write a JSON object" in prompt.text) == (not family.shows_tools)
    writer = ChatWriter(tokenizer, "chat", tokenizer.eos_token_ids, max_reply_tokens=500)
    said = sampled(tokenizer, family, family.called)
    message = writer.message(said, talk.tools)
    (call,) = message["tool_calls"]
    assert call["function"] == {"name": "add", "arguments": {"a": 2, "b": 3}} and "tool_faults" not in message
    reply = talk.reply(message)
    assert [one["content"] for one in reply.messages] == ["5"] and not reply.done
    stop = tokenizer.convert_tokens_to_ids(family.stops[0])
    read = writer.reply(message, reply.messages, stopped=True)
    assert tokenizer.decode(read) == family.answered
    row = [*prompt.tokens, *said, stop, *read]
    # as the template itself writes the conversation, but in the tokens that were sampled
    history = [
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": "", "tool_calls": message["tool_calls"]},
        *reply.messages,
    ]
    if family.shows_tools:
        schemas = [tool.schema for tool in talk.tools]
        assert tokenizer.decode(row) == ChatTemplate(tokenizer).opening(history, schemas)
    assert tokenizer.encode(tokenizer.decode(said), add_special_tokens=False) != said
    assert row[len(prompt.tokens) :][: len(said)] == said


@pytest.mark.parametrize("name", FAMILIES)
def test_two_calls_and_a_malformed_one_are_answered_in_order(load, name):
    family = FAMILIES[name]
    tokenizer, talk = load(family), ToolConversation([add])
    writer = ChatWriter(tokenizer, "chat", tokenizer.eos_token_ids, max_reply_tokens=500)
    calls = [
        {"id": f"call0000{n}", "type": "function", "function": {"name": "add", "arguments": {"a": n, "b": 40}}}
        for n in (1, 2)
    ]
    for message in ({"tool_calls": calls}, {"tool_faults": ["no JSON"]}):
        reply = talk.reply({"role": "assistant", "content": "", **message})
        text = tokenizer.decode(writer.reply(message, reply.messages, stopped=True))
        shown = [text.find(str(one["content"]).split("\n")[0][:20]) for one in reply.messages]
        assert shown == sorted(shown) and min(shown) >= 0
        assert family.stops[0] not in text.split(str(reply.messages[0]["content"])[:10])[0]


def test_tools_that_a_template_does_not_show_are_called_by_tags(load):
    tokenizer = load(FAMILIES["deepseek"])
    writer = ChatWriter(tokenizer, "chat", tokenizer.eos_token_ids, max_reply_tokens=500)
    said = tokenizer.encode('<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>')
    (call,) = writer.message(said, ToolConversation([add]).tools)["tool_calls"]
    assert call["function"]["arguments"] == {"a": 2, "b": 3}


def test_a_user_who_goes_on_after_gpt_oss_has_returned_ends_no_turn_twice(load):
    tokenizer = load(GPT_OSS)
    writer = ChatWriter(tokenizer, "chat", tokenizer.eos_token_ids, max_reply_tokens=500)
    user = [{"role": "user", "content": "more"}]
    message = {"role": "assistant", "content": "<|channel|>final<|message|>5"}
    after = "<|start|>user<|message|>more<|end|><|start|>assistant"
    assert tokenizer.decode(writer.reply(message, user, stopped=True)) == after
    assert tokenizer.decode(writer.reply(message, user, stopped=False)) == f"<|end|>{after}"


@pytest.mark.parametrize("arguments", [{"a": 2, "b": 3}, '{"a": 2, "b": 3}'], ids=["object", "text"])
@pytest.mark.parametrize("name", FAMILIES)
def test_calls_of_a_data_set_are_written_with_either_kind_of_arguments(load, name, arguments):
    family = FAMILIES[name]
    call = {"id": "k3Vt9qLm2", "type": "function", "function": {"name": "add", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "What is 2 + 3?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
    ]
    assert f"{family.called}{family.stops[0]}" in ChatTemplate(load(family)).whole(messages)
