"""Findings about what is paid: equal groups, and rewards that judge nothing, fail, disagree or are farmed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import pstdev

from grpo.doctor.findings.evidence import (
    FORM_REWARDS,
    FORMATS,
    TASK_REWARDS,
    Evidence,
    Sample,
    correlation,
    groups_of,
    mean,
    share,
)
from grpo.doctor.findings.kinds import Finding, found
from grpo.doctor.findings.rate import collapsed_reward, rising
from grpo.doctor.findings.texts import NUMBER, answers, has_answer, places

JUDGED = "reward_weights.accuracy=1.0"  # a change to try
EQUAL, NEVER, MOSTLY = 0.9, 0.02, 0.85  # share of groups; an accuracy of nothing; one of nearly all
AGREED = 0.55  # share of a task's samples that give one answer: on tasks that are too hard they differ more
ALIKE = 0.75  # share of groups without a wrong answer: three of four samples are spent on nothing
LESSER = 0.2  # of the other's spread: a reward below that can take little of it
SAME_GOLD = 16  # prompts from which one gold answer for all is a fault
UNRELATED = 0.12  # correlation of a reward and the gold answers within groups


def success(seen: Evidence, when: str) -> float | None:
    """Return the accuracy at the `start` or `end`; without such a reward, by the gold answers in the samples."""
    metric = seen.start(seen.accuracy_metric) if when == "start" else seen.end(seen.accuracy_metric)
    if metric is not None:
        return metric
    judged = [sample for sample in (seen.first if when == "start" else seen.last) if sample.gold is not None]
    own = seen.weights.keys() - FORM_REWARDS - TASK_REWARDS
    if own and share(map(has_answer, seen.samples)) < NEVER:  # there may be many right answers, and it knows them
        return None
    return share(map(has_answer, judged)) if len(judged) >= 8 else None


def equal(seen: Evidence) -> tuple[float, str]:
    """Return the share of equal groups of the last steps, and in words."""
    recent = seen.values("frac_reward_zero_std")[-max(3, seen.width) :]
    least = min(recent, default=0.0) if len(recent) >= 3 else (mean(recent) or 0.0)
    many = "all groups" if least == 1 else f"at least {least:.0%} of the groups"
    return least, f"{many} had equal rewards for {len(recent)} steps and teach nothing"


def constant(seen: Evidence, name: str) -> float | None:
    """Return the one value a reward had in all completions of the run; None if it had several."""
    low, high = seen.values(f"rewards/{name}/min"), seen.values(f"rewards/{name}/max")
    return low[0] if low and high and min(low) == max(high) else None


def too_easy(seen: Evidence) -> Iterator[Finding]:
    """Everything is right from the start."""
    least, said = equal(seen)
    start, end = success(seen, "start"), success(seen, "end")
    if seen.count < 3 or start is None or end is None or min(start, end) < MOSTLY:
        return
    if seen.accuracy is None and least >= EQUAL:  # the answers are right, but is that what is paid?
        return
    alike = mean(seen.values(f"rewards/{seen.accuracy}/zero_std") or seen.values("frac_reward_zero_std")) or 0.0
    if max(alike, least) >= ALIKE:
        why = said if least >= EQUAL else f"{alike:.0%} of the groups have equal ones"
        yield found("too easy", 0.85, f"the tasks are too easy (accuracy {start:.2f} from the start): {why}")


def never_right(seen: Evidence) -> bool:
    """Return whether no completion, or hardly one, was right in any step."""
    values = seen.values(seen.accuracy_metric)
    if values:
        return max(values) < 0.1 and (mean(values) or 0) < NEVER
    judged = [sample for sample in seen.samples if sample.gold is not None]
    return len(judged) >= 16 and not seen.weights.keys() - FORM_REWARDS and share(map(has_answer, judged)) < NEVER


def too_hard(seen: Evidence) -> Iterator[Finding]:
    """Nothing is ever right."""
    least, said = equal(seen)
    if seen.count < 3 or seen.accuracy is None:
        return
    if never_right(seen):
        reached = seen.peak(seen.accuracy_metric) or 0.0
        why = f"; {said}" if least >= EQUAL else ""
        yield found("too hard", 0.8, f"the {seen.accuracy} never passed {reached:.2f} in {seen.count} steps{why}")
    elif least >= EQUAL and (success(seen, "end") or 0.0) < 0.15 and (success(seen, "start") or 0.0) < 0.15:
        yield found("too hard", 0.7, f"the tasks are too hard or the answer's format is missed: {said}")


def judges_nothing(seen: Evidence) -> Iterator[Finding]:
    """No reward of the run says whether the task was done."""
    own = [name for name in seen.weights if name not in FORM_REWARDS and name not in TASK_REWARDS]
    tasks = [name for name in seen.weights if name in TASK_REWARDS]
    if seen.count < 2 or tasks:
        return
    values = {name: constant(seen, name) for name in seen.weights}
    if seen.values("reward") and all(value is not None for value in values.values()):
        if all(value == 0 for value in values.values()):
            return  # never fires
        what = ", ".join(f"{name} {value:g}" for name, value in values.items())
        yield found(
            "no reward judges the task",
            0.9,
            f"every completion had the same rewards ({what})",
            JUDGED,
        )
        return
    if not own:
        what = ", ".join(seen.weights)
        yield found("no reward judges the task", 0.7, f"all that is paid is form ({what})", JUDGED)
        return
    related, groups = correlation(
        [
            (float(has_answer(sample)), sample.reward)
            for sample in group
            if sample.gold is not None and sample.reward is not None
        ]
        for group in groups_of(seen.samples)
    )
    said = f"the reward ({', '.join(own)})"
    if groups >= 8 and related < UNRELATED:
        against = related < -UNRELATED
        said += " goes against the gold answers" if against else " does not follow the gold answers"
        sure = 0.85 if against else 0.6 if groups < 24 else 0.7
        said += f": correlation {related:.2f} within {groups} groups"
        yield found("no reward judges the task", sure, said, JUDGED)
    elif (alike := _alike(seen)) >= 8 and seen.values("reward") and seen.spread < 0.02:
        said += (
            f" is the same for all completions of a prompt, though right and wrong ones are among them ({alike} groups)"
        )
        yield found("no reward judges the task", 0.9, said, JUDGED)
    elif rising(seen) and (numbers := [sample for sample in seen.last if _numbers(sample)]) and len(numbers) >= 24:
        right = share(map(has_answer, numbers))
        if right < 0.05:
            said += f" rises, and {right:.0%} of the last completions end with the number that is the gold answer"
            yield found("no reward judges the task", 0.7, said, JUDGED)


def _numbers(sample: Sample) -> bool:
    """Return whether the gold answer is a number and what the completion ends with is one."""
    given = answers(sample.text)
    return sample.gold is not None and all(NUMBER.fullmatch(one) for one in (sample.gold, *given[:1])) and bool(given)


def _alike(seen: Evidence) -> int:
    """Return how many groups have right and wrong completions and one reward for all of them."""
    count = 0
    for group in groups_of(seen.samples):
        right = {has_answer(sample) for sample in group if sample.gold is not None}
        count += len(right) == 2 and len({sample.reward for sample in group}) == 1
    return count


def never_fires(seen: Evidence) -> Iterator[Finding]:
    """A reward is 0 for all."""
    if seen.count < 3:
        return
    for name, weight in seen.weights.items():
        penalty = weight < 0 or name in ("overlong", "repetition", "get_soft_overlong_punishment", "len")
        if penalty or constant(seen, name) != 0.0 or name == seen.accuracy:
            continue
        alone = len(seen.weights) == 1
        yield found(
            "reward never fires",
            0.9 if alone or name not in FORM_REWARDS else 0.7,
            f"{name} is 0 for all completions of {seen.count} steps",
        )


def fails(seen: Evidence) -> Iterator[Finding]:
    """A reward raises, hangs or returns nonsense; or it has no value for most completions."""
    prefix = "rewards/failed/"
    counts: dict[str, float] = {}
    for step in seen.steps:
        for name, count in step.items():
            if name.startswith(prefix) and count:
                counts[name.removeprefix(prefix)] = counts.get(name.removeprefix(prefix), 0.0) + count
    each = seen.number("prompts_per_step", 1) * seen.number("num_generations", 1) * max(seen.count, 1)
    for kind, count in counts.items():
        name, _, how = kind.rpartition("/")
        yield found(
            "reward fails",
            0.65 + 0.3 * min(1.0, count / each),
            f"reward {name or how} reported {how if name else 'failed'} for {count:.0f} completion(s)",
        )
    missing = sum(seen.values("rewards/missing"))
    if not counts and missing > 0.5 * each:
        yield found("reward has no value", 0.8, f"{missing / each:.0%} of the completions have no reward")


def random_reward(seen: Evidence) -> Iterator[Finding]:
    """The same text is paid differently."""
    if seen.setting("control") == "random_reward":
        yield found("reward is random", 0.99, "control is random_reward: it trains on coin flips", "control=none")
        return
    pairs, unlike = 0, 0
    for group in groups_of(seen.samples):
        paid: dict[str, list[float]] = {}
        for sample in group:
            if sample.reward is not None:
                paid.setdefault(sample.text, []).append(sample.reward)
        for values in paid.values():
            pairs += len(values) - 1
            unlike += sum(abs(value - values[0]) > 1e-6 for value in values[1:])
    if pairs >= 10 and unlike > 0.25 * pairs:
        yield found("reward is random", 0.92, f"{unlike} of {pairs} equal completions of one task had other rewards")


def disagree(seen: Evidence) -> Iterator[Finding]:
    """Rewards that take what others pay."""
    negative = [
        name for name, weight in seen.weights.items() if weight < 0 and name in {*TASK_REWARDS, *FORMATS, "language"}
    ]
    if negative:
        yield found(
            "rewards disagree", 0.95, f"the weight of {negative[0]} is negative", f"reward_weights.{negative[0]}=1.0"
        )
        return
    named = list(seen.weights)
    for place, one in enumerate(named):
        for other in named[place + 1 :]:
            pairs = _parts(seen, one, other)
            related, groups = correlation(pairs)
            if groups >= 6 and related < -0.5 and _lesser_part(pairs) >= LESSER:
                yield found(
                    "rewards disagree",
                    0.6 + 0.35 * min(1.0, -related),
                    f"{one} and {other} go against each other: correlation {related:.2f} within {groups} groups",
                    f"reward_weights.{other}=0",
                )


def _parts(seen: Evidence, one: str, other: str) -> list[list[tuple[float, float]]]:
    """Return two rewards, weighted, of each group's samples."""
    weights = seen.weights
    found_pairs = []
    for group in groups_of(seen.samples):
        pairs = [(sample.rewards.get(one), sample.rewards.get(other)) for sample in group]
        found_pairs.append(
            [(weights[one] * a, weights[other] * b) for a, b in pairs if a is not None and b is not None]
        )
    return found_pairs


def _lesser_part(pairs: Sequence[Sequence[tuple[float, float]]]) -> float:
    """Return how much the reward that varies less in the groups varies, as a share of the other."""
    spreads = [mean(pstdev([pair[side] for pair in group]) for group in pairs if group) or 0.0 for side in (0, 1)]
    return min(spreads) / max(spreads) if max(spreads) > 0 else 0.0


def farmed(seen: Evidence) -> Iterator[Finding]:
    """The form is paid and comes; the answers do not get better."""
    start, end = success(seen, "start"), success(seen, "end")
    forms = [name for name in seen.weights if name in FORMATS and seen.weights[name] > 0]
    tasks = sum(weight for name, weight in seen.weights.items() if name not in FORM_REWARDS)
    if seen.count < 6 or not forms:
        return
    form = forms[0]
    before, now = seen.start(f"rewards/{form}/mean"), seen.end(f"rewards/{form}/mean")
    if before is None or now is None or (now - before < 0.1 and not (now > 0.9 and tasks == 0)):
        return
    stays = start is None or end is None or end - start < 0.05
    said = f"the {form} reward rose from {before:.2f} to {now:.2f}" + (
        f" while the accuracy went from {start:.2f} to {end:.2f}" if start is not None and end is not None else ""
    )
    if tasks == 0 and stays:
        yield found("format farmed", 0.9, f"{said}; no other reward judges the answer", JUDGED)
    elif now - before >= 0.2 and end is not None and end < NEVER and stays:
        yield found("format farmed", 0.65, said, f"reward_weights.{form}=0.1")
    elif tasks < sum(seen.weights[name] for name in forms) and stays and now - before >= 0.1:
        yield found("format farmed", 0.85, f"{said}; its weight is the larger one", f"reward_weights.{form}=0.1")


def gap(seen: Evidence) -> Iterator[Finding]:
    """The answer is there and is not found."""
    if seen.accuracy is None:
        return
    judged = [
        sample for sample in seen.last if sample.gold is not None and sample.rewards.get(seen.accuracy) is not None
    ]
    if len(judged) < 12:
        return
    strict = share((sample.rewards[seen.accuracy] or 0) >= 0.5 for sample in judged)
    missed = share(has_answer(sample) and (sample.rewards[seen.accuracy] or 0) < 0.5 for sample in judged)
    if missed >= 0.15 and strict < missed:
        yield found(
            "strict/lenient gap",
            0.7 + 0.25 * (1 - strict / missed),
            f"{missed:.0%} of the completions end with the gold answer and get no {seen.accuracy}, {strict:.0%} get it",
            "reward_weights.accuracy_lenient=0",
        )


def wrong_gold(seen: Evidence) -> Iterator[Finding]:
    """The samples agree on another answer than the gold one, or all tasks have the same one."""
    judged = [sample for sample in seen.samples if sample.gold is not None]
    prompts, golds = {sample.prompt for sample in judged}, {sample.gold for sample in judged}
    if seen.accuracy is not None and len(prompts) >= SAME_GOLD and len(golds) == 1:
        yield found("wrong gold answers", 0.9, f"all of {len(prompts)} prompts have the gold answer {golds.pop()}")
        return
    right = seen.values(seen.accuracy_metric)
    if seen.accuracy is None or len(judged) < 32 or not right or right[0] > 0.2 or (mean(right) or 0.0) > 0.15:
        return
    tops, agree = [], []
    for group in groups_of(judged):
        given = [_formal(sample) for sample in group]
        top = max(set(given), key=given.count)
        if top is not None:
            tops.append(given.count(top) / len(given))
            agree.append(top == group[0].gold)
    agreed = mean(tops) or 0.0
    if len(tops) >= 6 and agreed >= AGREED and share(agree) < 0.2:
        yield found(
            "wrong gold answers",
            0.88,
            f"{agreed:.0%} of a task's samples give one answer, the gold one in {share(agree):.0%} of the tasks",
        )


def _formal(sample: Sample) -> str | None:
    """Return the answer of a completion that ended before its limit; None otherwise."""
    given = answers(sample.text)
    return given[0] if given and sample.stop_reason == "stop" else None


def leaked(seen: Evidence) -> Iterator[Finding]:
    """The prompt holds the answer."""
    tasks = {sample.task: sample for sample in seen.samples if sample.gold is not None}
    golds = {sample.gold for sample in tasks.values()}
    if len(tasks) < 4 or len(golds) < 4 or all(len(str(gold)) == 1 and str(gold).isalpha() for gold in golds):
        return
    found_at = [places(sample.prompt, str(sample.gold)) for sample in tasks.values()]
    there = share(map(bool, found_at))
    counted = Counter(place for found in found_at for place in found)
    alike = max(counted.values(), default=0) / len(tasks)  # elsewhere in each: a question about its own text
    if there >= 0.85 and alike >= 0.7:
        yield found("answer in the prompt", 0.92, f"the gold answer stands in {there:.0%} of {len(tasks)} prompts")


def memorised(seen: Evidence) -> Iterator[Finding]:
    """Trained tasks are known by heart."""
    before, after = seen.figures.get("before", {}), seen.figures.get("after", {})
    now, held, was = seen.end(seen.accuracy_metric), after.get(seen.accuracy or ""), before.get(seen.accuracy or "")
    start = seen.start(seen.accuracy_metric)
    tasks = {sample.prompt or sample.task for sample in seen.samples}  # the same row may stand there several times
    drawn = seen.count * seen.number("prompts_per_step", 1)
    repeats = drawn / len(tasks) if tasks else 0.0
    steps = len({sample.step for sample in seen.samples})
    few = steps >= 3 and len(tasks) <= seen.number("prompts_per_step", 1) * max(1, steps) / 2
    if (
        isinstance(held, int | float)
        and now is not None
        and start is not None
        and now - held > 0.2
        and now - start > 0.1
    ):
        grew = held - was if isinstance(was, int | float) else 0.0
        if grew < 0.5 * (now - start):
            yield found(
                "memorised prompts",
                0.85,
                f"accuracy {now:.2f} on the tasks trained on, {held:.2f} on held-out ones",
            )
            return
    if isinstance(held, int | float) and now is not None and now - held <= 0.1:
        return  # it does as well on tasks it has not seen
    if few and repeats >= 4 and len(tasks) <= 64:
        yield found("memorised prompts", 0.75, f"{len(tasks)} tasks were drawn about {repeats:.0f} times each")


def reward_fell(seen: Evidence) -> Iterator[Finding]:
    """The reward is far below its best and nothing else says why."""
    said = collapsed_reward(seen)
    if said is not None:
        yield found("learning rate too high", 0.6, said, f"learning_rate={seen.number('learning_rate') / 5:.2g}")


RULES = (
    leaked,
    too_easy,
    too_hard,
    judges_nothing,
    never_fires,
    fails,
    random_reward,
    disagree,
    farmed,
    gap,
    wrong_gold,
    memorised,
    reward_fell,
)
