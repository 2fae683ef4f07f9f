"""What stands between two of the model's messages, by chat templates of several families."""

# ruff: noqa: E501  templates are as long as they are
import json

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from envs.tools.calls import DEEPSEEK, HARMONY, LLAMA
from grpo.rollout.writing import ChatWriter, call_format

QWEN = """
{%- for m in messages %}
{%- if m.role == 'tool' %}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' %}{{ '<|im_start|>user' }}{% endif %}
{{- '\\n<tool_response>\\n' + m.content + '\\n</tool_response>' }}
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}
{%- elif m.role == 'assistant' %}
{{- '<|im_start|>assistant\\n' }}
{%- if loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- m.content.split('</think>')[-1] }}
{%- for call in m.tool_calls or [] %}
{{- '\\n<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' + call.function.arguments | tojson + '}\\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""
LLAMA3 = """
{%- for m in messages %}
{%- if m.role == 'tool' %}
{{- '<|start_header_id|>ipython<|end_header_id|>\\n\\n' + m.content | tojson + '<|eot_id|>' }}
{%- elif m.tool_calls %}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{{- '{"name": "' + m.tool_calls[0].function.name + '", "parameters": ' + m.tool_calls[0].function.arguments | tojson + '}' }}
{{- '<|eot_id|>' }}
{%- else %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""
MISTRAL = """{{ '<s>' }}
{%- for m in messages %}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}
{%- elif m.role == 'tool' %}{{ '[TOOL_RESULTS] {"content": ' + m.content + ', "call_id": "' + m.tool_call_id + '"}[/TOOL_RESULTS]' }}
{%- elif m.tool_calls %}
{{- '[TOOL_CALLS] [' }}
{%- for c in m.tool_calls %}{{ '{"name": "' + c.function.name + '", "arguments": ' + c.function.arguments | tojson + ', "id": "' + c.id + '"}' }}{% endfor %}
{{- ']</s>' }}
{%- elif m.role == 'assistant' %}{{ ' ' + m.content + '</s>' }}
{%- else %}{{ raise_exception('only user, assistant and tool') }}{% endif %}
{%- endfor %}"""
NO_TOOLS = """
{%- for m in messages %}
{%- if m.role not in ('user', 'assistant') %}{{ raise_exception('no ' + m.role) }}{% endif %}
{{- '<' + m.role + '>' + m.content + '<end>' }}
{%- endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"""


class Tokenizer:
    """Tokens are characters; token -1 is the stop text."""

    has_chat_template = True

    def __init__(self, template, stop):
        environment = ImmutableSandboxedEnvironment()
        environment.globals["raise_exception"] = self.refuse
        environment.filters["tojson"] = json.dumps  # as transformers has it
        self.chat_template, self.stop = template, stop
        self.compiled = environment.from_string(template)

    def refuse(self, text):
        raise ValueError(text)

    def apply_chat_template(self, messages, *, tokenize, **more):
        assert tokenize is False
        return self.compiled.render(messages=messages, **more)

    def encode(self, text, **_):
        return list(map(ord, text))

    def decode(self, tokens):
        return "".join(self.stop if token == -1 else chr(token) for token in tokens)


def between(template, stop, replies, *, stopped=True, calls=()):
    writer = ChatWriter(Tokenizer(template, stop), "chat", {-1}, max_reply_tokens=500)
    message = {"role": "assistant", "content": "<think>a</think>b", "tool_calls": list(calls)}
    tokens = writer.reply(message, replies, stopped=stopped)
    return "".join(map(chr, tokens))


USER = [{"role": "user", "content": "more"}]
CALL = {"id": "call00000", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = [{"role": "tool", "name": "add", "content": "3", "tool_call_id": "call00000"}]
CASES = [
    (QWEN, "<|im_end|>", USER, (), "\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"),
    (
        QWEN,
        "<|im_end|>",
        TOOL,
        (CALL,),
        "\n<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
    ),
    (
        LLAMA3,
        "<|eot_id|>",
        TOOL,
        (CALL,),
        '<|start_header_id|>ipython<|end_header_id|>\n\n"3"<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
    ),
    (MISTRAL, "</s>", USER, (), "[INST] more[/INST]"),
    (MISTRAL, "</s>", TOOL, (CALL,), '[TOOL_RESULTS] {"content": 3, "call_id": "call00000"}[/TOOL_RESULTS]'),
    (NO_TOOLS, "<end>", TOOL, (CALL,), "<user>3<end><assistant>"),  # said by the user
    (NO_TOOLS, "<end>", [], (), "<assistant>"),
]


@pytest.mark.parametrize(("template", "stop", "replies", "calls", "expected"), CASES)
def test_a_reply_is_what_the_template_writes_after_the_stop_token(template, stop, replies, calls, expected):
    assert between(template, stop, replies, calls=calls) == expected


@pytest.mark.parametrize(("template", "stop", "replies", "calls", "expected"), CASES)
def test_a_turn_that_was_cut_is_ended_first(template, stop, replies, calls, expected):
    assert between(template, stop, replies, calls=calls, stopped=False) == stop + expected


def test_without_a_chat_template_replies_are_plain():
    for template, expected in (("plain", "\n\nmore\n\n"), ("r1_zero", " User: more Assistant:")):
        writer = ChatWriter(Tokenizer(NO_TOOLS, "<end>"), template, {-1}, max_reply_tokens=500)
        assert "".join(map(chr, writer.reply({}, USER, stopped=True))) == expected


class Known(Tokenizer):
    has_tool_calling = True
    tool_call_start, tool_call_end = "<tool_call>", "</tool_call>"

    @staticmethod
    def tool_parser(text, tools):
        from mlx_lm.tool_parsers.json_tools import parse_tool_call

        return parse_tool_call(text, tools)


def test_calls_are_read_as_mlx_lm_reads_them():
    tokenizer = Known(QWEN, "<|im_end|>")
    writer = ChatWriter(tokenizer, "chat", {-1}, max_reply_tokens=500)
    text = 'Well. <tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'

    class Add:
        name, schema = "add", {"type": "function", "function": {"name": "add"}}

    message = writer.message(tokenizer.encode(text), [Add()])
    assert message == {"role": "assistant", "content": text, "tool_calls": [CALL]}
    assert "tool_calls" not in writer.message(tokenizer.encode(text), [])
    assert call_format(tokenizer).shown


@pytest.mark.parametrize("parser", ["mistral", "qwen3_coder", "glm47", "pythonic", "gemma4"])
def test_every_parser_of_mlx_lm_gives_calls_or_faults(parser):
    import importlib

    from envs.tools.calls import CallFormat, said

    module = importlib.import_module(f"mlx_lm.tool_parsers.{parser}")
    calls = CallFormat(module.tool_call_start, module.tool_call_end, module.parse_tool_call)
    broken = said(f"{module.tool_call_start}?!{module.tool_call_end}", calls, [])
    assert broken.get("tool_faults") or broken.get("tool_calls")  # to be answered with an error either way
    assert "tool_calls" not in said("no call", calls, [])


def test_other_families_are_known_by_their_template():
    assert call_format(Tokenizer("<|python_tag|>", "x")) is LLAMA
    assert call_format(Tokenizer("<|channel|>functions.", "x")) is HARMONY
    assert call_format(Tokenizer("<｜tool▁call▁begin｜>", "x")) is DEEPSEEK
