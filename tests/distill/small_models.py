"""The tiny models of tests/grpo, a model directory with a chat template, and a corpus, for the tests of distill."""

import importlib.util
import json
from pathlib import Path

import numpy as np

from distill.sft.examples import Example

_SPEC = importlib.util.spec_from_file_location("grpo_conftest", Path(__file__).parents[1] / "grpo" / "conftest.py")
_MODULE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_MODULE)

TINY = _MODULE.Tiny()
TEMPLATE = (
    "{% for m in messages %}{{ 'w3 ' if m['role'] == 'user' else 'w4 ' }}{{ m['content'] }}{{ 'w2 ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'w4 ' }}{% endif %}"
)


def model_directory(folder, kind="llama", **overrides):
    """A model directory of words w0 to w60 with a chat template; w2 ends a turn.

    Use words from w30 on: w1 and w2 are special tokens, which a tokenizer also finds inside w10 and w20.
    """
    TINY.directory(folder, kind, **overrides)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))
    return folder


def corpus(path, rows=24, seed=0):
    """Rows whose answer repeats the question backwards: something to learn."""
    rng = np.random.default_rng(seed)
    lines = []
    for _ in range(rows):
        words = [f"w{i}" for i in rng.integers(30, 60, int(rng.integers(2, 9)))]
        lines.append(json.dumps({"prompt": " ".join(words), "completion": " ".join(reversed(words))}))
    path.write_text("\n".join(lines) + "\n")
    return path


def examples(lengths, seed=0):
    """Random examples of these lengths; the second half of each counts."""
    rng = np.random.default_rng(seed)
    return [
        Example(
            tuple(rng.integers(8, TINY.vocab, n).tolist()), tuple(int(t > 0 and t >= n // 2) for t in range(n)), str(i)
        )
        for i, n in enumerate(lengths)
    ]
