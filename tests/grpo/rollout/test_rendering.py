"""Chat templates are rendered in bounded time and memory, and honest ones to the text that transformers makes."""

import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jinja2
import pytest

from grpo.config.sections import ConfigError
from grpo.rollout import rendering
from grpo.rollout.rendering import BoundedTemplate, Renderer, TemplateBeyond, bound_templates
from grpo.rollout.template import ChatTemplate, variables_of
from grpo.rollout.writing import ChatWriter
from tests.grpo.rollout.tool_templates import FAMILIES

DOUBLED = "{% set s = namespace(t='xxxx') %}{% for i in range(60) %}{% set s.t = s.t ~ s.t %}{% endfor %}{{ s.t }}"
MEMORY = {
    "repeated": "{{ 'x' * 10**10 }}",
    "repeated late": "{% if messages | length > 1 %}{{ messages[0].content * 10**10 }}{% endif %}{{ '[A]' }}",
    "list": "{{ [0] * 10**10 }}",
    "centred": "{{ 'x' | center(10**10) }}",
    "method": "{{ 'x'.ljust(10**10) }}",
    "percent": "{{ '%10000000000d' % 1 }}",
    "format": "{{ '{:>10000000000}'.format(1) }}",
    "indented json": "{{ [1] | tojson(indent=10**10) }}",
    "indented": "{{ 'a\\nb' | indent(10**10) }}",
    "bytes": "{{ (1).to_bytes(10**10, 'big') }}",
    "doubled": DOUBLED,
    "replaced": "{% set x = 'x' * 10**5 %}{{ x.replace('x', x) }}",
    "joined": "{% set x = 'x' * 10**5 %}{{ x | join(x) }}",
    "batch": "{{ [1] | batch(10**10, 0) | list }}",
    "lorem ipsum": "{{ lipsum(n=10**8) }}",
    "text": "{% for i in range(10**5) %}{{ 'x' * 500 }}{% endfor %}",
}
TIME = {
    "power": "{{ 10 ** (10 ** 10) }}",
    "power of a variable": "{{ 7 ** (messages[0].content | length * 10**9) }}",
    "loops": "{% for i in range(10**5) %}{% for j in range(10**5) %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(64) }}",
    "sorting": "{% for i in range(10**5) %}{% set x = range(10**5) | sort %}{% endfor %}",
    "recursive loop": "{% for i in [2, 2] recursive %}{{ loop([2, 2]) if loop.depth < 60 }}{% endfor %}",
}
REFUSED = {
    "endless macro": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "range": "{% for i in range(10**9) %}{% endfor %}",
    "include": "{% include 'itself' %}",
    "nested": "{{ " + "(" * 100_000 + ")" * 100_000 + " }}",
    "digits": "{{ 10 ** 10000 }}",
}
CHAT = [{"role": "user", "content": "2+3?"}, {"role": "assistant", "content": "4711"}]


class Tokenizer:
    """Renders as transformers does, without loading anything."""

    has_chat_template = True

    def __init__(self, template):
        self.chat_template = template

    def encode(self, text, add_special_tokens=True):
        return [ord(letter) for letter in text]

    def decode(self, tokens):
        return "".join(map(chr, tokens))

    def apply_chat_template(self, messages, tokenize, **options):
        from transformers.utils.chat_template_utils import render_jinja_template

        return render_jinja_template([messages], chat_template=self.chat_template, **options)[0][0]


@pytest.fixture
def bounded(monkeypatch):
    """A renderer with a second of CPU time; this process may take 4 GB more than it has, so that nothing is filled."""
    monkeypatch.setattr(rendering, "CPU_SECONDS", 1)
    made = Renderer()
    monkeypatch.setattr(rendering, "renderer", lambda: made)
    monkeypatch.setattr("grpo.rollout.template.renderer", lambda: made)
    before, statm = resource.getrlimit(resource.RLIMIT_AS), Path("/proc/self/statm")
    if statm.exists():
        size = int(statm.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + (4 << 30), before[1]))
    yield made
    resource.setrlimit(resource.RLIMIT_AS, before)
    made.close()


@pytest.mark.parametrize("name", MEMORY)
def test_a_template_that_fills_the_memory_is_refused_in_one_line(bounded, name):
    with pytest.raises(
        ConfigError, match=r"rendering it (takes more memory|takes more than 1 s|writes more than 16,777,216)"
    ) as caught:
        ChatTemplate(Tokenizer(MEMORY[name])).whole(CHAT)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 800


@pytest.mark.skipif(sys.platform != "linux", reason="macOS does not limit a process's memory")
def test_the_process_itself_refuses_memory_beyond_its_limit():
    request = pickle.dumps(("{{ ('x' * 1200000000) | length }}", {}))
    command = [sys.executable, "-m", "grpo.rollout.template_worker", "20", str(1 << 30), "1000"]
    done = subprocess.run(command, input=len(request).to_bytes(8, "big") + request, capture_output=True, check=True)
    assert done.stdout.splitlines()[1:] == [b'{"beyond": "takes more memory than it may"}']


@pytest.mark.parametrize("name", TIME)
def test_a_template_that_never_ends_is_refused_and_not_tried_again(bounded, name):
    made = ChatTemplate(Tokenizer(TIME[name]))
    with pytest.raises(TemplateBeyond, match=r"rendering it takes more than 1 s of CPU time\. Use template: plain"):
        made.whole(CHAT)
    start = time.monotonic()
    with pytest.raises(TemplateBeyond):
        made.whole(CHAT)
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("name", REFUSED)
def test_what_jinja2_itself_refuses_is_one_line(bounded, name):
    with pytest.raises(ConfigError, match="the model's chat template") as caught:
        ChatTemplate(Tokenizer(REFUSED[name])).whole(CHAT)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_looking_for_the_variables_of_a_template_is_bounded_too(bounded):
    with pytest.raises(TemplateBeyond):
        ChatTemplate(Tokenizer("{{ 10 ** (10**10) }}{{ thinking }}"), {"thinking": True})


def test_a_template_that_is_hostile_to_replies_only_is_refused_there(bounded):
    hostile = (
        "{% for m in messages %}{{ m.content }}|{% endfor %}{% if messages | length > 2 %}{{ 'x' * 10**10 }}{% endif %}"
    )
    writer = ChatWriter(Tokenizer(hostile), "chat", [ord("|")], max_reply_tokens=100)
    with pytest.raises(TemplateBeyond):
        writer.reply(CHAT[1], [{"role": "user", "content": "more"}], stopped=True)


def test_an_interrupted_rendering_leaves_no_reply_behind(bounded):
    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            bounded.render(TIME["loops"], {})
    finally:
        signal.signal(signal.SIGALRM, before)
    assert bounded.render("{{ 1 + 1 }}", {}) == "2"


def test_the_process_is_started_once_and_again_after_it_was_killed(bounded):
    assert bounded.render("a", {}) == "a"
    first = bounded._child.pid
    assert bounded.render("b", {}) == "b" and bounded._child.pid == first
    os.kill(first, signal.SIGKILL)
    with pytest.raises(TemplateBeyond, match=r"ends its process \(signal 9\)"):
        bounded.render("c", {})
    assert bounded.render("a", {}) == "a"


# What honest templates use
# ruff: noqa: E501  templates are as long as they are

HONEST = {
    **{name: family.template for name, family in FAMILIES.items()},
    "generation": "{% for m in messages %}{% generation %}{% set a = m.content %}{{ a }}{% endgeneration %}{{ a }};{% endfor %}",
    "loop controls": "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.role }}{% break %}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages[0] | tojson(indent=2) }}{{ {'é': '<&\\'>'} | tojson(ensure_ascii=true) }}"
    "{{ {'b': 1, 'a': 2} | tojson(sort_keys=true, separators=(',', ':')) }}",
    "date": "{{ strftime_now('%d %b %Y') }}",
    "blocks": "  {% if true %}\n  a\n  {% endif %}\nb\n  {%- if false %} c {% else %} d {% endif -%}  \n e\n",
    "names": "{{ bos_token }}{{ none }}{{ missing }}{{ missing is defined }}{{ documents }}{{ tools }}{{ pair }}{{ table }}",
    "words": "{{ 'a b'.split(' ')[-1].strip() | upper | trim }}{{ messages | map(attribute='role') | join(',') }}"
    "{{ dict(a=1).items() | list }}{{ '%s-%02d' | format('x', 7) }}{{ ('🙂é' * 3)[::-1] }}{{ '<b>' | e }}",
}
VARIABLES = {
    "messages": [{"role": "system", "content": "Be brief."}, *CHAT, {"role": "user", "content": "<é 🙂 \ud800>"}],
    "tools": None,
    "documents": None,
    "add_generation_prompt": True,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pair": (1, 2.5),
    "table": {1: float("inf"), "a": None},
}


def plain(source):
    from transformers.utils import chat_template_utils

    bound_templates()
    return chat_template_utils._compile_jinja_template.keywords["plain"](source)


def outcome(template):
    try:
        return template.render(**VARIABLES)
    except jinja2.TemplateError as error:  # Mistral wants no system message here
        return str(error)


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_template_gives_the_text_of_transformers(name):
    assert outcome(BoundedTemplate(HONEST[name], plain)) == outcome(plain(HONEST[name]))


def test_transformers_renders_through_the_bounded_one_and_keeps_its_other_uses():
    from transformers.utils import chat_template_utils

    bound_templates()
    bound_templates()
    made = chat_template_utils._compile_jinja_template("{{ messages[0].content }}")
    assert type(made) is BoundedTemplate and type(made._plain("x")) is not BoundedTemplate
    assert made.environment.extensions  # as for masks of the assistant's tokens
    source = "{% for m in messages %}{{ m.role }}:{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    chat_template_utils.render_jinja_template([CHAT], chat_template=source, return_assistant_tokens_mask=True)


def test_a_transformers_that_cannot_be_bounded_renders_nothing(monkeypatch):
    from transformers.utils import chat_template_utils

    monkeypatch.delattr(chat_template_utils, "_compile_jinja_template")
    with pytest.raises(ConfigError, match=r"transformers .* can't bound them: use template: plain"):
        bound_templates()


def test_what_a_template_raises_is_a_template_error_with_its_text():
    with pytest.raises(jinja2.TemplateError, match=r"^roles must alternate$"):
        BoundedTemplate("{{ raise_exception('roles must alternate') }}", plain).render()
    with pytest.raises(jinja2.TemplateError, match=re.escape("TypeError: can only concatenate str")):
        BoundedTemplate("{{ 'a' + 1 }}", plain).render()


def test_the_variables_of_a_template_are_read_with_the_blocks_that_transformers_adds():
    assert variables_of("{% generation %}{{ thinking }}{% endgeneration %}{{ messages }}") == {"thinking", "messages"}
    assert variables_of("{% if %}") is None
