"""From rows to tokens: what is shown, what counts, what is kept together."""

import pytest

from distill.sft.examples import Renderer, Rendering, messages_of, split_by_prompt, tokenised
from grpo.config.sections import ConfigError
from tests.distill.small_models import model_directory


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    from mlx_lm.utils import load_tokenizer

    return load_tokenizer(model_directory(tmp_path_factory.mktemp("m") / "model"), eos_token_ids=2)


def said(example):
    return [token for token, counts in zip(example.tokens, example.trained_mask, strict=True) if counts]


def row(*contents):
    roles = ["user", "assistant"] * 3
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


def test_only_the_assistant_and_its_stop_token_count(tokenizer):
    [example] = Renderer(tokenizer, Rendering()).examples(row("w30 w31", "w40 w41"))
    assert example.tokens == (3, 30, 31, 2, 4, 40, 41, 2)
    assert said(example) == [40, 41, 2]


def test_all_counts_but_the_first_token(tokenizer):
    [example] = Renderer(tokenizer, Rendering(train_on="all")).examples(row("w30", "w40"))
    assert example.trained_mask == (0, 1, 1, 1, 1, 1)


def test_every_turn_of_the_assistant_counts(tokenizer):
    [example] = Renderer(tokenizer, Rendering()).examples(row("w30", "w40", "w31", "w41"))
    assert said(example) == [40, 2, 41, 2]


class Rewriting:
    """A template that strips what was thought from earlier turns, and opens the think text itself."""

    has_chat_template, eos_token_id, eos_token_ids = True, 0, {0}

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt=False):
        turns = [f"[{m['role'][0]}]{m['content'].split('</think>')[-1]}" for m in messages]
        return "".join(turns) + ("[a]<think>" if add_generation_prompt else "")

    def encode(self, text, add_special_tokens=True):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))


def test_think_text_is_kept_once_and_turns_that_history_rewrites_are_rows_of_their_own():
    conversation = row("a?", "<think>b</think>c", "d?", "<think>e</think>f")
    texts = ["".join(map(chr, example.tokens)) for example in Renderer(Rewriting(), Rendering()).examples(conversation)]
    assert texts == ["[u]a?[a]<think>b</think>c\x00", "[u]a?[a]c[u]d?[a]<think>e</think>f\x00"]


def test_a_system_prompt_is_added_where_there_is_none():
    [example] = Renderer(Rewriting(), Rendering(system_prompt="s")).examples(row("a", "b"))
    assert "".join(map(chr, example.tokens)).startswith("[s]s[u]a")


def test_a_model_without_a_template_is_told_so():
    tokenizer = Rewriting()
    tokenizer.has_chat_template = False
    with pytest.raises(ConfigError, match="template: plain"):
        Renderer(tokenizer, Rendering())


def test_texts_that_never_close_the_thinking_the_template_opened_are_counted():
    renderer = Renderer(Rewriting(), Rendering())
    for said in ("<think>b</think>c", "c", "b</think>c"):
        renderer.examples(row("a?", said))
    [note] = renderer.notes()
    assert note.startswith("warning: the chat template opens <think>, and 1 of 3 texts never close it")
    assert Renderer(Rewriting(), Rendering()).notes() == []


class Calling(Rewriting):
    """A template that shows tools, and calls in the text of a turn; a turn ends with character 0."""

    def apply_chat_template(self, messages, *, tokenize, add_generation_prompt=False, tools=None, upper=False):
        calls = [[call["function"]["name"] for call in m.get("tool_calls", [])] for m in messages]
        turns = [f"[{m['role'][0]}]{m['content']}{'!'.join(c)}\x00" for m, c in zip(messages, calls, strict=True)]
        text = "".join([f"({tool['name']})" for tool in tools or []] + turns) + ("[a]" if add_generation_prompt else "")
        return text.upper() if upper else text


def test_tools_and_calls_are_shown_as_the_template_writes_them():
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add"}}]}
    messages = [*row("2+3?"), call, {"role": "tool", "content": "5"}, {"role": "assistant", "content": "It is 5."}]
    given = {"messages": messages, "tools": [{"name": "add"}]}
    [example] = tokenised([("f:1", given)], Renderer(Calling(), Rendering()), max_length=99)[0]
    assert "".join(map(chr, example.tokens)) == "(add)[u]2+3?\x00[a]add\x00[t]5\x00[a]It is 5.\x00"
    assert "".join(map(chr, said(example))) == "add\x00It is 5.\x00"  # the tool's reply is context


def test_arguments_reach_the_template():
    [example] = Renderer(Calling(), Rendering(chat_template_kwargs={"upper": True})).examples(row("a", "b"))
    assert "".join(map(chr, example.tokens)) == "[U]A\x00[A]b\x00"


def test_a_tokenizer_without_an_end_token_is_refused():
    endless = Rewriting()
    endless.eos_token_id, endless.eos_token_ids = None, set()
    with pytest.raises(ConfigError, match="names no end token"):
        Renderer(endless, Rendering())


@pytest.mark.parametrize(
    ("given", "contents"),
    [
        ({"messages": row("a", "b")}, ["a", "b"]),
        ({"prompt": "a", "completion": "b"}, ["a", "b"]),
        ({"prompt": row("a"), "completion": [{"role": "assistant", "content": "b"}]}, ["a", "b"]),
        ({"Question": "a", "Complex_CoT": "c", "Response": "b"}, ["a", "<think>\nc\n</think>\n\nb"]),
    ],
)
def test_each_layout_of_rows_is_read(given, contents):
    assert [message["content"] for message in messages_of(given)] == contents


@pytest.mark.parametrize("given", [{}, [], {"messages": row("a")}, {"messages": [{"role": "assistant"}]}])
def test_a_row_that_teaches_nothing_is_left_out_with_its_place(tokenizer, given):
    examples, skipped = tokenised([("f:3", given)], Renderer(tokenizer, Rendering()), max_length=99)
    assert examples == [] and len(skipped) == 1 and skipped[0].startswith("f:3: ")


def test_a_long_example_is_left_out_and_said(tokenizer):
    given = [("f:1", {"prompt": "w9", "completion": "w8 w8 w8"})]  # 3 9 2 4 8 8 8 2: 8 tokens
    assert tokenised(given, Renderer(tokenizer, Rendering()), max_length=8)[1] == []
    assert tokenised(given, Renderer(tokenizer, Rendering()), max_length=7)[1] == [
        "f:1: 8 tokens, more than max_length 7"
    ]


def test_rows_of_a_prompt_stay_on_one_side(tokenizer):
    rows = [(str(i), {"prompt": f"w{30 + i % 10}", "completion": f"w{30 + i}"}) for i in range(30)]
    examples = tokenised(rows, Renderer(tokenizer, Rendering()), max_length=99)[0]
    train, held_out = split_by_prompt(examples, 0.2, seed=0)
    assert (len(train), len(held_out)) == (24, 6)  # 2 of 10 prompts, 3 rows each
    assert not {example.prompt for example in train} & {example.prompt for example in held_out}
