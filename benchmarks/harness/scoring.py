"""From a group of completions to its items: rewards, the answer taken, votes, thinking tokens."""

from collections.abc import Callable, Sequence

from benchmarks.harness.items import Item
from benchmarks.harness.spec import Benchmark
from grpo.scoring import Scorer, as_messages
from grpo.types import Group, Rollout
from rewards import RewardSet
from rewards.maths.final_answer import Answer, final_answer
from rewards.sections import opened_by_prompt

Decode = Callable[[Sequence[int]], str]
MARKED = ("boxed", "tag")
LONGEST_REFERENCE = 2000  # characters; tests of code are longer and say nothing in a line


def items_of(group: Group, place: int, benchmark: Benchmark, scorer: Scorer, decode: Decode | None) -> list[Item]:
    """The items of one problem, which stands at `place` among all; no `decode` where there are no token ids."""
    task, opened = group.prompt.task, opened_by_prompt(group.prompt.text)
    values = scorer.score(group).values
    taken = [final_answer(last_message(one), opened=opened) if benchmark.votes else None for one in group.rollouts]
    if benchmark.votes:
        _only_what_is_marked(group, taken, values)
    answers = [None if one is None else one.text for one in taken]
    right = [value is not None and value >= 1 for value in values[benchmark.rewards[0]]]
    votes = vote_classes(answers, right) if benchmark.votes else [None] * len(answers)
    reference = task.columns.get("answer")
    return [
        Item(
            id=task.id,
            problem=place,
            sample=sample,
            labels={name: str(task.columns[name]) for name in benchmark.groups if task.columns.get(name) is not None},
            prompt=group.prompt.text,
            completion=rollout.text,
            reference=None if reference is None else str(reference)[:LONGEST_REFERENCE],
            answer=answers[sample],
            vote=votes[sample],
            scores={name: of_reward[sample] for name, of_reward in values.items()},
            tokens=rollout.trained_tokens,
            thinking_tokens=None if decode is None else thinking_tokens(rollout, decode, opened=opened),
            stop_reason=rollout.stop_reason,
            messages=None if rollout.dialogue is None else as_messages(rollout),
        )
        for sample, rollout in enumerate(group.rollouts)
    ]


def last_message(rollout: Rollout) -> str:
    """Return the model's last message, which holds its answer."""
    said = [message for message in as_messages(rollout) if message["role"] == "assistant"]
    return str(said[-1]["content"]) if said else ""


def _only_what_is_marked(group: Group, taken: list[Answer | None], values: dict[str, list[float | None]]) -> None:
    """Take no answer from a completion that was cut unless it is boxed or tagged: the last number so far is none."""
    for sample, rollout in enumerate(group.rollouts):
        answer = taken[sample]
        if rollout.stop_reason == "length" and answer is not None and answer.source not in MARKED:
            taken[sample] = None
            for name in values:
                if name.startswith("accuracy") and values[name][sample] is not None:
                    values[name][sample] = 0.0


def vote_classes(answers: Sequence[str | None], right: Sequence[bool]) -> list[int | None]:
    """Answers that the verifier takes for the same get the same number: 0 for the right ones, then as they come.

    A wrong answer joins the first class whose first answer it equals under the strict profile (equality is not quite
    transitive: rounded decimals). No answer, no vote.
    """
    classes: list[int | None] = [0 if ok else None for ok in right]
    left = [place for place, answer in enumerate(answers) if answer is not None and not right[place]]
    same, number = RewardSet({"accuracy": 1.0}), 0  # which survives whatever the verifier makes of an answer
    while left:
        number += 1
        first = answers[left[0]]
        assert first is not None
        distinct = list(dict.fromkeys(answers[place] for place in left))
        equal = {one for one, ok in zip(distinct, _same(same, first, distinct), strict=True) if ok} | {first}
        for place in left:
            if answers[place] in equal:
                classes[place] = number
        left = [place for place in left if classes[place] is None]
    return classes


def _same(rewards: RewardSet, first: str, others: Sequence[str | None]) -> list[bool]:
    """Return whether each of these equals the first, read as a boxed answer; an unreadable one equals nothing else."""
    boxed = [f"\\boxed{{{other}}}" for other in others]
    scores = rewards.score([""] * len(boxed), boxed, columns={"answer": [first] * len(boxed)})
    return [value == 1.0 for value in scores.totals]


def thinking_tokens(rollout: Rollout, decode: Decode, *, opened: bool) -> int | None:
    """Return the number of tokens before `</think>` (or the end, if it never comes).

    Counted from the start of the completion where the prompt wrote `<think>`, else from after the completion's own;
    None if there is none. A token that holds a piece of a tag is the tag's.
    """
    ids, start = rollout.tokens, 0
    if not opened:
        found = _tag(ids, decode, "<think>")
        if found is None:
            return None
        start = found[1]
    end = _tag(ids[start:], decode, "</think>")
    return end[0] if end is not None else len(ids) - (rollout.stop_reason == "stop") - start


def _tag(ids: Sequence[int], decode: Decode, tag: str) -> tuple[int, int] | None:
    """The tokens of the first `tag`: the place of its first one, and the place after its last one."""
    if tag not in decode(list(ids)):
        return None
    low, high = 1, len(ids)  # the fewest first tokens that hold it
    while low < high:
        middle = (low + high) // 2
        if tag in decode(list(ids[:middle])):
            high = middle
        else:
            low = middle + 1
    first = low - 1
    while first > 0 and tag not in decode(list(ids[first:low])):
        first -= 1
    return first, low
