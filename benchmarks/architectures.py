"""Architectures of mlx_lm, tiny and random: is the prompt shared, are experts trained, how fast against whole rows.

    python -m benchmarks.architectures --data ROWS.jsonl --only qwen3_5 gpt_oss --output benchmarks/results

A row of the data is {"model_type": "qwen3_5", "config": {...}}, the settings mlx_lm builds the network from. A step is
one prompt with a group of samples: decoding, then the gradient of its logprobs by the adapters. `same` says that both
paths give the same gradient; the speed is that of the gradient, medians of runs in turn.
"""

import argparse
import importlib
import json
import statistics
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.speed import process

if TYPE_CHECKING:
    from grpo.model.policy import Policy


class Words:
    """Token i is the word `i`."""

    eos_token_ids = frozenset({2})
    has_chat_template = False


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.architectures",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="JSONL of model_type and config")
    parser.add_argument("--only", nargs="*", help="model types (all)")
    parser.add_argument("--prompt", type=int, default=512, help="tokens (512)")
    parser.add_argument("--samples", type=int, default=16, help="samples of the prompt (16)")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of a completion (32)")
    process.add_options(parser, rounds=3)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """All architectures, the table and the record."""
    options = parse(arguments)
    rows = [json.loads(line) for line in options.data.read_text(encoding="utf-8").splitlines()]
    chosen = [row for row in rows if not options.only or row["model_type"] in options.only]
    if not chosen:
        print(f"error: {options.data} has none of {', '.join(options.only)}", file=sys.stderr)
        return 2
    found = {}
    for row in chosen:
        found[row["model_type"]] = measure(row, options)
        print(f"{row['model_type']}: {found[row['model_type']]}", flush=True)
    shape = {"prompt": options.prompt, "samples": options.samples, "tokens": options.tokens}
    process.write("architectures", {"settings": shape, "rounds": options.rounds, "found": found}, table(found), options)
    return 0


def measure(row: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return what one architecture does; `refused` is why its prompt is not shared."""
    from grpo.cpu.blas import load_blas

    load_blas()
    import mlx.core as mx
    import numpy as np

    from grpo.config import Config
    from grpo.model.loading import adapt
    from grpo.model.targets import described

    module = importlib.import_module(f"mlx_lm.models.{row['model_type']}")
    mx.random.seed(0)
    model = module.Model(module.ModelArgs.from_dict(row["config"]))
    policy = adapt(Config(model="x", lora={"rank": 4, "alpha": 8}), model, Words(), name=row["model_type"])
    experts = "of the experts" in described(policy.model)
    if not policy.shares_prefixes:
        return {"shared": False, "refused": policy.sharing_refused, "experts": experts}
    seconds: dict[bool, list[float]] = {True: [], False: []}
    gradients: dict[bool, dict[str, Any]] = {}
    for number in range(options.rounds + 1):  # the first warms up
        for shares in (True, False):
            policy.shares_prefixes = shares
            start = time.perf_counter()
            gradients[shares] = _gradient(policy, options)
            if number:
                seconds[shares].append(time.perf_counter() - start)
    pairs = [(np.array(gradients[True][name]), np.array(leaf)) for name, leaf in gradients[False].items()]
    size = sum(float((whole**2).sum()) for _, whole in pairs)
    apart = sum(float(((shared - whole) ** 2).sum()) for shared, whole in pairs)
    faster = statistics.median(seconds[False]) / statistics.median(seconds[True])
    return {"shared": True, "same": apart <= 1e-6 * size, "experts": experts, "faster": round(faster, 2)}


def _gradient(policy: "Policy", options: argparse.Namespace) -> dict[str, Any]:
    import mlx.core as mx
    import mlx.nn as nn
    import numpy as np
    from mlx.utils import tree_flatten

    from grpo.model.forward import completion_logprobs, rows_of

    rng = np.random.default_rng(0)
    shape = (options.samples, options.tokens)
    rows = rows_of([rng.integers(8, 100, options.prompt).tolist()], rng.integers(8, 100, shape).tolist())
    weights = mx.array(rng.normal(size=shape).astype(np.float32))
    policy.model.train()

    def score(_: Any) -> mx.array:
        return (completion_logprobs(policy, rows, temperature=1.0, chunk_tokens=256) * weights).sum()

    gradient = dict(tree_flatten(nn.value_and_grad(policy.model, score)({})[1]))
    mx.eval(gradient)
    return gradient


def table(found: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "| architecture | shared | same gradient | experts trained | faster than whole rows |",
        "|---|---|---|---|---:|",
    ]
    for name, one in found.items():
        shared = "yes" if one["shared"] else f"no: {textwrap.shorten(one['refused'], 100, placeholder=' ...')}"
        same = "" if "same" not in one else "yes" if one["same"] else "NO"
        faster = f"{one['faster']:.1f}x" if "faster" in one else ""
        lines.append(f"| {name} | {shared} | {same} | {'yes' if one['experts'] else ''} | {faster} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
