"""Findings about texts: cut, empty, repeated, copied, in another language, longer for nothing, misprompted."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from grpo.doctor.findings.evidence import (
    FORM_REWARDS,
    TASK_REWARDS,
    Evidence,
    Sample,
    correlation,
    groups_of,
    mean,
    share,
)
from grpo.doctor.findings.kinds import Finding, found
from grpo.doctor.findings.paid import success
from grpo.doctor.findings.texts import ROLES, copied, covered, in_script, looped, of_prompt, scripts, words

LOOPED, COPIED, DRIFT, MET = 0.5, 0.6, 0.15, 0.1  # shares
UNKNOWN_TOKENS = re.compile(r"(\d+)% of the tokens of the train prompts are unknown")
FINAL = re.compile(r"</answer>|\\boxed\{")  # an answer is given
HAS_TEMPLATE = "the model has a chat template"


def paying(seen: Evidence, measure: Callable[[Sample], float]) -> str:
    """Return which reward of the user's pays a measure of the text, as an end of a sentence; empty where none does."""
    for name in seen.weights:
        if name in FORM_REWARDS or name in TASK_REWARDS:
            continue
        related, varied = correlation(_with_reward(seen, name, measure))
        if varied >= 6 and related > max(0.5, _by_length(seen, name)[0]):
            return f", and {name} pays it (correlation {related:.2f} within groups)"
    return ""


def _by_length(seen: Evidence, name: str) -> tuple[float, int]:
    """Return how far a reward follows the length in tokens or characters within groups, and how many groups vary."""
    tokens = correlation(_with_reward(seen, name, lambda sample: float(sample.tokens)))
    return max(tokens, correlation(_with_reward(seen, name, lambda sample: float(len(sample.text)))))


def _with_reward(seen: Evidence, name: str, measure: Callable[[Sample], float]) -> list[list[tuple[float, float]]]:
    """Return a measure and a reward's weighted value of each group's samples."""
    weight = seen.weights[name]
    return [
        [(measure(sample), weight * value) for sample in group if (value := sample.rewards.get(name)) is not None]
        for group in groups_of(seen.samples)
    ]


def truncated(seen: Evidence) -> Iterator[Finding]:
    """Hardly any completion ends before its limit."""
    first, now = seen.start("completions/clipped_ratio"), seen.end("completions/clipped_ratio")
    if first is None or now is None or now < 0.5:
        return
    right = success(seen, "end") or 0.0
    if now < first - 0.1 or (right > 0.5 and now < 0.9):  # it learns to stop, or is right before the cut
        return
    limit = seen.number("max_completion_length")
    grew = now - first > 0.3
    yield found(
        "truncated",
        (0.6 if grew else 0.65) + 0.3 * (now - 0.5) * 2 * (not grew),
        f"{now:.0%} of the completions were cut at max_completion_length {limit:.0f} without a stop token"
        + (f" ({first:.0%} at the start)" if grew else ""),
        f"max_completion_length={2 * limit:.0f}",
    )


def stops_at_once(seen: Evidence) -> Iterator[Finding]:
    """The model ends its completions at once."""
    length, start = seen.end("completions/mean_length"), seen.start("completions/mean_length")
    right = success(seen, "end")
    if length is None or start is None or (right is not None and right >= 0.3):
        return
    if seen.number("max_completion_length", 256) <= 4 or (seen.end("completions/clipped_ratio") or 0) > 0.5:
        return
    stops = _stops(seen)
    told = ", ".join(map(repr, stops))
    empty = share(not re.search(r"\w", re.sub(r"</?\w+>", "", sample.text)) for sample in seen.last)
    short = length <= 3.0 and (stops or length < 0.6 * start or not (right or 0.0) > 0.05)
    if short or empty >= 0.5:
        said = f"completions are {length:.1f} tokens long" + (f", {empty:.0%} without a word" if empty else "")
        said += f"; stop texts and tokens are {told}" if stops else ""
        yield found("stops at once", 0.93 if empty >= 0.5 or stops else 0.85, said, "stop=[]", "stop_tokens=[]")
    elif stops and length < 0.5 * start:
        yield found("stops at once", 0.6, f"completions went from {start:.0f} to {length:.0f} tokens")


def stopped_early(seen: Evidence) -> Iterator[Finding]:
    """A stop text or token of the config comes before the answer."""
    stops = _stops(seen)
    for samples, when in ((seen.first, "start"), (seen.last, "end")):
        by_stop = share(_ended_by(sample, stops) for sample in samples)
        if by_stop >= 0.5 and (success(seen, when) or 0.0) < 0.1:
            told = ", ".join(map(repr, stops))
            said = f"at the {when} {by_stop:.0%} of the completions end with a stop ({told}) before an answer"
            yield found("stops at once", 0.94, said, "stop=[]", "stop_tokens=[]")
            return


def _stops(seen: Evidence) -> list[str]:
    return [*seen.setting("stop", []), *map(str, seen.setting("stop_tokens", []))]


def _ended_by(sample: Sample, stops: Sequence[str]) -> bool:
    """Return whether a completion ends with one of the run's stop texts or tokens and has no answer yet."""
    if FINAL.search(sample.text):
        return False
    return any(text in sample.text[-len(text) - 2 :] or sample.last_token.strip() == text.strip() for text in stops)


def shrinks(seen: Evidence) -> Iterator[Finding]:
    """Brevity is paid and the answers go."""
    length, start = seen.end("completions/mean_length"), seen.start("completions/mean_length")
    first, now = success(seen, "start"), success(seen, "end")
    if length is None or start is None or seen.count < 6 or length > 0.75 * start:
        return
    payers = [
        name
        for name in seen.weights
        if name not in FORM_REWARDS and correlation(_with_reward(seen, name, lambda one: -float(one.tokens)))[0] > 0.8
    ]
    lost = first is not None and now is not None and now < first - 0.1
    kept = first is not None and now is not None and now >= max(0.1, first - 0.05)
    if not kept and (payers or lost) and (seen.gain("reward") or 0.0) > 0:
        how = f"{payers[0]} pays brevity" if payers else "brevity is paid"
        right = f", the accuracy from {first:.2f} to {now:.2f}" if first is not None and now is not None else ""
        said = f"completions shrank from {start:.0f} to {length:.0f} tokens{right}, and the reward rose: {how}"
        yield found("stops at once", 0.9 if payers else 0.8, said)


def repetition(seen: Evidence) -> Iterator[Finding]:
    """The same words again and again."""
    if not seen.last:
        return
    first = share(looped(sample.text) >= LOOPED for sample in seen.first)
    now = share(looped(sample.text) >= LOOPED for sample in seen.last)
    if now >= 0.3:
        grew = seen.saved_span > 0 and now - first > 0.2
        payer = paying(seen, lambda sample: looped(sample.text) * len(words(sample.text)))
        said = f"{now:.0%} of the last completions repeat themselves" + (f", {first:.0%} of the first" if grew else "")
        yield found(
            "repetition",
            0.97 if payer else 0.88 if grew else 0.6 + 0.25 * now,
            f"{said}{payer}",
            "reward_weights.repetition=0.5",
        )


def copies(seen: Evidence) -> Iterator[Finding]:
    """The prompt comes back."""
    if not seen.last:
        return
    first, now = share(map(_is_copy, seen.first)), share(map(_is_copy, seen.last))
    payer = paying(seen, lambda sample: float(of_prompt(sample.text, sample.prompt)))
    more = _from_prompt(seen.last) - _from_prompt(seen.first)
    met = [mean(covered(sample.text, sample.prompt) for sample in side) or 0.0 for side in (seen.first, seen.last)]
    if not payer and met[1] - met[0] > MET:
        payer = paying(seen, lambda sample: covered(sample.text, sample.prompt))
    right, gained = success(seen, "end") or 0.0, (success(seen, "end") or 0.0) - (success(seen, "start") or 0.0)
    if gained > 0.05 if payer else right > 0.5:  # tasks whose answers are made of their prompts
        return
    if now >= 0.4 or (payer and max(now - first, more, met[1] - met[0]) > MET):
        said = f"{now:.0%} of the last completions are made of the prompt's words, {first:.0%} of the first"
        if payer:
            held = f"the last completions hold {met[1]:.0%} of their prompt's words, the first {met[0]:.0%}"
            said = f"{held if now < COPIED else said}{payer}"
        yield found("copies the prompt", 0.97 if payer else 0.92 if now - first > 0.2 else 0.75, said)


def _is_copy(sample: Sample) -> bool:
    """Return whether a completion goes through its prompt, or is made of its words alone."""
    whole = len(words(sample.text))
    alone = whole >= 4 and of_prompt(sample.text, sample.prompt) >= 0.9 * whole
    return alone or copied(sample.text, sample.prompt) >= COPIED


def _from_prompt(samples: Sequence[Sample]) -> float:
    """Return the share of the completions' words that are words of their prompts."""
    parts = [of_prompt(one.text, one.prompt) / len(words(one.text)) for one in samples if words(one.text)]
    return mean(parts) or 0.0


def drift(seen: Evidence) -> Iterator[Finding]:
    """Another language comes in."""
    named = "rewards/language/mean"
    before, after, best = seen.start(named), seen.end(named), seen.best(named)
    change = "reward_weights.language=0.5"
    if after is not None and best is not None and best - after > max(DRIFT, 4 * seen.noise(named)):
        yield found("language drift", 0.85, f"the language reward fell from {best:.2f} to {after:.2f}", change)
        return
    if seen.saved_span == 0:
        return
    first, last = scripts([s.text for s in seen.first]), scripts([s.text for s in seen.last])
    asked_first, asked_last = scripts([s.prompt for s in seen.first]), scripts([s.prompt for s in seen.last])
    for script, part in last.items():
        was, name = first.get(script, 0.0), script if script == "CJK" else script.title()
        home = script == "LATIN" and (before is not None or was > 0.5)
        asked = asked_last.get(script, 0.0) - asked_first.get(script, 0.0)  # other tasks were drawn
        if part - was - max(0.0, asked) > DRIFT and not home:
            payer = paying(seen, partial(_spoken, script))
            said = f"words in {name} letters rose from {was:.0%} to {part:.0%}{payer}"
            yield found("language drift", 0.97 if payer else 0.9, said, change)
            return


def _spoken(script: str, sample: Sample) -> float:
    return float(in_script(sample.text, script))


def paid_for_length(seen: Evidence) -> Iterator[Finding]:
    """Length is paid, or grows, and the answers stay."""
    start, end = seen.start("completions/mean_length"), seen.end("completions/mean_length")
    first, now = success(seen, "start"), success(seen, "end")
    if start is None or end is None or seen.count < 3:
        return
    stays = first is None or now is None or now - first < 0.05
    best: tuple[float, str] = (0.0, "")
    for name in seen.weights:
        related, groups = _by_length(seen, name)
        own = name not in FORM_REWARDS and name not in ("accuracy", "code")
        if groups >= 6 and related > 0.8 and (own or name in ("len", "cosine", "reasoning_steps")):
            best = max(best, (related, name))
    grew = end > 1.25 * start and end - start > 2
    if best[1] and (stays or best[0] > 0.95):
        said = f"{best[1]} pays length (correlation {best[0]:.2f} within groups)"
        said += f"; completions went from {start:.0f} to {end:.0f} tokens"
        sure = 0.93 if best[0] > 0.95 or grew else 0.8
        yield found("length without gain", sure, said, f"reward_weights.{best[1]}=0")
    elif grew and stays and seen.count >= 8 and first is not None and now is not None:
        yield found(
            "length without gain",
            0.7,
            f"completions grew from {start:.0f} to {end:.0f} tokens, the accuracy went from {first:.2f} to {now:.2f}",
            "reward_weights.overlong=1.0",
        )


def template(seen: Evidence) -> Iterator[Finding]:
    """The prompt is not in the model's language."""
    given = seen.setting("template", "chat")
    unknown = [int(part) for part in UNKNOWN_TOKENS.findall(seen.log)]
    if unknown and unknown[-1] >= 25:
        misread = f"template is {given}, and {unknown[-1]}% of the tokens of its prompts are unknown to the model"
        yield found("wrong template", 0.95, misread, *(["template=plain"] if given != "plain" else []))
        return
    played = share(_plays_both(sample) for sample in seen.first)
    cut = seen.start("completions/clipped_ratio") or 0.0
    other = HAS_TEMPLATE in seen.log and given == "plain"
    if played >= 0.25 or (other and cut >= 0.5):
        said = [f"template is {given}"]
        said += ["the model has a chat template"] if other else []
        said += [f"{played:.0%} of the first completions write the marks of a conversation"] if played >= 0.25 else []
        said += [f"{cut:.0%} of them do not end"] if cut >= 0.5 else []
        confidence = 0.92 if other else 0.8
        yield found(
            "wrong template", confidence, ", ".join(said), "template=chat" if given != "chat" else "template=plain"
        )


def _plays_both(sample: Sample) -> bool:
    return ROLES.search(sample.text) is not None


def environment(seen: Evidence) -> Iterator[Finding]:
    """The other side of the conversation fails."""
    for name, limit, what in (
        ("environment/failed", 0.2, "of the conversations ended with a failure of the environment"),
        ("tools/malformed", 0.5, "of the tool calls could not be read"),
        ("tools/failure_frequency", 0.8, "of the tool calls failed"),
    ):
        part = mean(seen.values(name))
        if part is not None and part > limit:
            yield found("environment fails", 0.6 + 0.35 * part, f"{part:.0%} {what}")
            return


RULES = (
    template,
    truncated,
    stopped_early,
    stops_at_once,
    shrinks,
    repetition,
    copies,
    drift,
    paid_for_length,
    environment,
)
