"""Chat templates: what they refuse, what they read, how a turn ends."""

import jinja2
import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.template import ChatTemplate

CHATML = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)
REFUSES = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "[{{ m.role }}]{{ m.content | trim }}{% endfor %}{% if add_generation_prompt %}[model]{% endif %}"
)
DROPS = "{% for m in messages if m.role == 'user' %}[U]{{ m.content }}{% endfor %}[A]"
TOOLS = "{% for t in tools or [] %}({{ t.name }}){% endfor %}{% for m in messages %}{{ m.content }}{% endfor %}>"


class Tokenizer:
    """One token a character; `|` is the id of a special one."""

    has_chat_template = True
    all_special_ids = (ord("<"),)

    def __init__(self, template):
        self.chat_template = template

    def encode(self, text, add_special_tokens=True):
        return [ord(letter) for letter in text]

    def apply_chat_template(self, messages, tokenize, add_generation_prompt=False, tools=None, **arguments):
        def refuse(text):
            raise jinja2.TemplateError(text)

        template = jinja2.Environment().from_string(self.chat_template)
        return template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, tools=tools, raise_exception=refuse,
            **arguments,
        )  # fmt: skip


def chat(*contents, roles=("system", "user", "assistant")):
    return [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]


@pytest.mark.parametrize(
    ("template", "text"), [(REFUSES, "[user]Be brief.\n\n2+3?[model]"), (DROPS, "[U]Be brief.\n\n2+3?[A]")]
)
def test_a_system_message_that_is_refused_or_dropped_begins_the_users_turn_and_that_is_said_once(template, text):
    made = ChatTemplate(Tokenizer(template))
    assert [made.opening(chat("Be brief.", "2+3?")) for _ in range(2)] == [text] * 2
    assert made.notes == ["the chat template takes no system message: it begins the user's first message instead"]


def test_a_template_that_takes_a_system_message_gets_it():
    made = ChatTemplate(Tokenizer(CHATML))
    assert made.opening(chat("A", "B")) == "<|start|>system\nA<|end|>\n<|start|>user\nB<|end|>\n<|start|>assistant\n"
    assert made.notes == []


def test_what_a_template_raises_is_one_line():
    broken = "{{ raise_exception('roles must\n alternate') }}"
    with pytest.raises(ConfigError, match=r"can't render messages of the roles user: Templ.* roles must alternate"):
        ChatTemplate(Tokenizer(broken)).opening(chat("2+3?", roles=["user"]))


def test_arguments_reach_the_template_and_unknown_ones_are_refused():
    opened = ChatTemplate(Tokenizer(CHATML), {"enable_thinking": True})
    assert opened.opening(chat("2+3?", roles=["user"])).endswith("<|start|>assistant\n<think>\n")
    with pytest.raises(ConfigError, match="enable_thinkin: the chat template does not read it; it reads enable_thi"):
        ChatTemplate(Tokenizer(CHATML), {"enable_thinkin": True})
    with pytest.raises(ConfigError, match=r"chat_template_kwargs\.tools is the trainer's own"):
        ChatTemplate(Tokenizer(CHATML), {"tools": []})


def test_a_beginning_that_the_template_has_opened_is_not_opened_twice():
    made = ChatTemplate(Tokenizer(CHATML), {"enable_thinking": True})
    text = made.opening(chat("2+3?", "<think>\nSum:", roles=["user", "assistant"]))
    assert text.endswith("<|start|>assistant\n<think>\nSum:") and text.count("<think>") == 1


def test_tools_are_shown():
    made = ChatTemplate(Tokenizer(TOOLS))
    assert made.opening(chat("2+3?", roles=["user"]), [{"name": "add"}]) == "(add)2+3?>"
    assert made.opening(chat("2+3?", roles=["user"])) == "2+3?>"


def test_the_token_after_the_assistants_text_ends_its_turn_if_it_is_special():
    assert ChatTemplate(Tokenizer(CHATML)).end_of_turn() == ord("<")
    assert ChatTemplate(Tokenizer(REFUSES)).end_of_turn() is None  # nothing is written after it
    assert ChatTemplate(Tokenizer("{% for m in messages %}{{ m.content }}\n{% endfor %}")).end_of_turn() is None
