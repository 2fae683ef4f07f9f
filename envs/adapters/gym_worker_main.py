"""The program behind `envs.adapters.gym_worker`: a JSON request a line in, a JSON reply a line out."""

import functools
import json
import os
import random
import sys
from collections.abc import Callable
from typing import Any

MEMORY_BYTES = 4 << 30


def generate(task: str, options: dict[str, Any]) -> dict[str, Any]:
    """Every entry of a data set, from the same state of Python's global generator each time."""
    import reasoning_gym

    random.seed(0)
    try:
        dataset = reasoning_gym.create_dataset(task, **options)
        entries = [dataset[index] for index in range(options["size"])]
    except Exception as error:  # a configuration its own checks let through can fail anywhere in the generator
        return {"problem": " ".join(f"{type(error).__name__}: {error}".split())[:300]}
    names = ("question", "answer", "metadata")
    plain = [
        json.loads(json.dumps({name: entry[name] for name in names}, default=str, skipkeys=True)) for entry in entries
    ]
    return {"entries": plain}


@functools.lru_cache(maxsize=8)
def dataset_of(task: str, options: str) -> Any:
    """The data set an entry came from, made again from its options."""
    import reasoning_gym

    return reasoning_gym.create_dataset(task, **json.loads(options))


def score(entry: dict[str, Any], answer: str) -> dict[str, float | None]:
    """The task's score of an answer; None if its scorer raises.

    Scorers expect what JSON can't carry, such as tuples, so the entry is generated again by its index; where that
    gives another problem, the one that was asked is scored as it is.
    """
    try:
        dataset = dataset_of(entry["task"], json.dumps(entry["options"], sort_keys=True))
        again = dataset[entry["index"]]
        same = again["question"] == entry["question"] and again["answer"] == entry["answer"]
        return {"score": float(dataset.score_answer(answer, again if same else entry))}
    except Exception:  # written for well-behaved answers, the scorers raise anything on others; the parent counts it
        return {"score": None}


def limit_resources() -> None:
    """Memory is capped where the system can (not on macOS); no core files."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main() -> None:
    """Serves requests until standard input ends."""
    limit_resources()
    sys.path.pop(0)  # this folder, whose gymnasium.py would be found first
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a task prints must not be taken for a reply
    import reasoning_gym  # noqa: F401  the slow part, before a score is on the clock

    handlers: dict[str, Callable[..., dict[str, Any]]] = {"start": dict, "generate": generate, "score": score}
    for line in sys.stdin:
        request = json.loads(line)
        reply = handlers[request.pop("do")](**request)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
