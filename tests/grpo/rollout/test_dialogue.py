"""Rows that converse: the same whatever else is decoded, and nothing an environment does stops or delays the batch."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from envs import Env, Reply, Task
from grpo.rollout.dialogue import Dialogues, checked
from grpo.rollout.engine import Request, generate
from grpo.rollout.sampler import Sampling
from grpo.rollout.writing import ChatWriter

LENGTHS = [9, 3, 6, 4, 12]  # of the prompts


class Counting:
    """Replies with as many tokens as the turns so far and the task say, for `turns` turns."""

    tools = ()

    def __init__(self, task, turns, delay=0.0):
        self.seed, self.turns, self.delay, self.heard = len(task.prompt.split()), turns, delay, []

    def reply(self, message):
        self.heard.append(message["content"])
        time.sleep(self.delay)
        turn = len(self.heard)
        if turn == self.turns:
            return Reply(done=True, rewards={"end": 1.0})
        words = [str(8 + (self.seed * 7 + turn * 13 + i + len(message["content"])) % 50) for i in range(1 + turn * 2)]
        return Reply([{"role": "user", "content": " ".join(words)}], rewards={"turn": 0.5})


def dialogues(policy, converse=None, **changes):
    writer = ChatWriter(policy.tokenizer, "plain", policy.stop_tokens, max_reply_tokens=64)
    converse = converse or (lambda task: Counting(task, 2 + len(task.prompt.split()) % 4))
    return Dialogues(converse, writer, **{"max_turns": 6, "timeout_seconds": 20.0, **changes})


def request(policy, **changes):
    given = {"samples": 4, "max_tokens": 7, "sampling": Sampling(1.0), "seed": 5, "max_rows": 64}
    return Request(**{**given, "dialogues": dialogues(policy), **changes})


def sample(policy, prompts, **changes):
    return [g for _, g in sorted(generate(policy, prompts, request(policy, **changes)), key=lambda pair: pair[0])]


def tokens(groups):
    return [[rollout.tokens for rollout in group.rollouts] for group in groups]


def each(groups):
    return [(group, rollout) for group in groups for rollout in group.rollouts]


@pytest.mark.parametrize("kind", ["llama", "window", "gemma3", "qwen3"])
@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1.0)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("shares", [True, False])
def test_transcripts_are_those_of_each_conversation_alone(tiny, kind, sampling, shares):
    policy, prompts = tiny.policy(kind, shares=shares), tiny.prompts(LENGTHS)
    together = sample(policy, prompts, sampling=sampling)
    alone = [sample(policy, [p], sampling=sampling, numbers=[i])[0] for i, p in enumerate(prompts)]
    assert tokens(together) == tokens(alone)
    turns = {len(rollout.dialogue.turns) for _, rollout in each(together)}
    assert turns == {2, 3, 4, 5}


@pytest.mark.parametrize("kind", ["llama", "window", "gemma3"])
@pytest.mark.parametrize("max_rows", [4, 9, 64])
@pytest.mark.parametrize("shares", [True, False])
def test_logprobs_are_those_of_the_whole_conversation(tiny, whole_rows, kind, max_rows, shares):
    policy = tiny.policy(kind, shares=shares)
    for group, rollout in each(sample(policy, tiny.prompts(LENGTHS), max_rows=max_rows)):
        whole = np.array(whole_rows.logprobs(policy.model, group.prompt.tokens, rollout.tokens))
        np.testing.assert_allclose(rollout.trained(rollout.logprobs), rollout.trained(whole), atol=3e-5)
        assert all(value == 0 for value, mine in zip(rollout.logprobs, rollout.mask, strict=True) if not mine)


def test_quantised_keys_follow_a_row_through_its_turns(tiny, whole_rows):
    policy = tiny.policy(head_dim=32)
    for group, rollout in each(sample(policy, tiny.prompts(LENGTHS), kv_bits=8)):
        whole = np.array(whole_rows.logprobs(policy.model, group.prompt.tokens, rollout.tokens))
        np.testing.assert_allclose(rollout.trained(rollout.logprobs), rollout.trained(whole), atol=0.15)


def test_the_mask_holds_the_models_turns_and_the_record_who_said_what(tiny):
    policy = tiny.policy()
    for group, rollout in each(sample(policy, tiny.prompts(LENGTHS))):
        dialogue, turns = rollout.dialogue, 2 + len(group.prompt.tokens) % 4
        assert [m["role"] for m in dialogue.messages] == ["assistant", "user"] * (turns - 1) + ["assistant"]
        written = [rollout.tokens[begin:end] for begin, end in dialogue.turns]
        assert sum(map(len, written)) == rollout.trained_tokens
        assert list(rollout.trained(rollout.tokens)) == [token for turn in written for token in turn]
        assert all(len(turn) <= 7 for turn in written)
        read = [rollout.tokens[a[1] : b[0]] for a, b in zip(dialogue.turns, dialogue.turns[1:], strict=False)]
        said = [policy.tokenizer.encode(m["content"]) for m in dialogue.messages if m["role"] == "user"]
        assert [list(tokens) for tokens in read] == said
        assert [dict(rewards) for rewards in dialogue.rewards] == [{"turn": 0.5}] * (turns - 1) + [{"end": 1.0}]
        assert dialogue.ended == "done" and not dialogue.failed


def test_the_same_seed_gives_the_same_bits_again(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    first, again = sample(policy, prompts), sample(policy, prompts)
    assert [(r.tokens, r.logprobs, r.entropies) for _, r in each(first)] == [
        (r.tokens, r.logprobs, r.entropies) for _, r in each(again)
    ]


def test_with_wait_for_replies_slow_environments_give_the_same_bits_too(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    rng = np.random.default_rng()

    def slowly():
        return dialogues(policy, lambda task: Counting(task, 3, float(rng.random() * 0.04)), wait=True)

    first, again = (sample(policy, prompts, dialogues=slowly()) for _ in range(2))
    assert [(r.tokens, r.logprobs) for _, r in each(first)] == [(r.tokens, r.logprobs) for _, r in each(again)]


def test_turns_and_tokens_are_bounded(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)

    def endless(**bounds):
        return dialogues(policy, lambda task: Counting(task, 99), **bounds)

    by_turns = sample(policy, prompts, dialogues=endless(max_turns=3))
    assert {(len(r.dialogue.turns), r.dialogue.ended) for _, r in each(by_turns)} == {(3, "max_turns")}
    by_tokens = sample(policy, prompts, dialogues=endless(max_turns=50, max_tokens=40))
    assert all(len(r.tokens) <= 40 for _, r in each(by_tokens))
    assert {(r.dialogue.ended, r.stop_reason) for _, r in each(by_tokens)} == {("length", "length")}


def test_a_long_reply_loses_its_middle(tiny):
    seen = []

    class Words(type(tiny.policy().tokenizer)):
        def encode(self, text, **_):
            seen.append(text)
            return [11] * len(text.split())

    writer = ChatWriter(Words(), "plain", {2}, max_reply_tokens=12)
    text = " ".join(["first", *["word"] * 2_000_000, "last"])  # 10 MB
    assert 8 <= len(writer.reply({}, [{"role": "user", "content": text}], stopped=True)) <= 12
    assert max(map(len, seen)) < 1000  # what is tokenised is short from the start
    assert "first" in seen[-1] and "last" in seen[-1] and "characters left out" in seen[-1]


class Failing(Counting):
    """Does something worse than replying, the second time."""

    def __init__(self, task, how):
        super().__init__(task, 4)
        self.how = how

    def reply(self, message):
        if self.heard:
            return self.how(message)
        return super().reply(message)


def raises(message):
    raise RuntimeError("no\nroom")


def hangs(message):
    threading.Event().wait(60)


@pytest.mark.parametrize(
    ("how", "ended", "problem"),
    [
        (raises, "error", "RuntimeError: no room"),
        (hangs, "timeout", "no reply after 0.3 s"),
        (lambda message: "fine", "error", "reply returned str, not a Reply"),
        (lambda message: Reply([{"role": "user"}]), "error", "a message's content must be a text, got NoneType"),
        (
            lambda message: Reply(rewards={"r": float("nan")}),
            "error",
            "the reply's reward r is nan, not a finite number",
        ),
    ],
)
def test_an_environment_that_fails_ends_its_own_row_alone(tiny, how, ended, problem):
    policy, prompts = tiny.policy(), tiny.prompts([4, 5])
    fine = sample(policy, prompts, dialogues=dialogues(policy, lambda task: Counting(task, 4)))

    def converse(task):
        return Failing(task, how) if len(task.prompt.split()) == 4 else Counting(task, 4)

    groups = sample(policy, prompts, dialogues=dialogues(policy, converse, timeout_seconds=0.3))
    assert tokens(groups)[1] == tokens(fine)[1]
    for rollout in groups[0].rollouts:
        assert (rollout.dialogue.ended, rollout.dialogue.problem) == (ended, problem)
        assert len(rollout.dialogue.turns) == 2 and rollout.dialogue.failed


def test_a_conversation_that_can_not_be_made_is_a_failed_one(tiny):
    policy = tiny.policy()

    def converse(task):
        raise KeyError("board")

    (group,) = sample(policy, tiny.prompts([4]), dialogues=dialogues(policy, converse))
    assert {(r.dialogue.ended, r.dialogue.problem) for r in group.rollouts} == {("error", "KeyError: 'board'")}


def test_others_decode_on_while_a_slow_environment_is_waited_for(tiny):
    # one row of 20 waits 0.4 s: the others, six turns each, are all done before it goes on
    policy, prompts, done = tiny.policy(), tiny.prompts(LENGTHS), []

    class Slow(Counting):
        def reply(self, message):
            reply = super().reply(message)
            if reply.done:
                done.append((self.seed, time.monotonic()))
            return reply

    converse = lambda task: Slow(task, 3, 0.4 if len(task.prompt.split()) == 12 else 0.0)  # noqa: E731
    sample(policy, prompts, dialogues=dialogues(policy, converse))
    slow = min(at for seed, at in done if seed == 12)
    assert all(at < slow - 0.3 for seed, at in done if seed != 12)


def test_an_async_reply_is_awaited_and_a_conversation_is_closed(tiny):
    policy, closed = tiny.policy(), threading.Event()

    class Later(Counting):
        async def reply(self, message):
            return Counting.reply(self, message)

        def close(self):
            closed.set()

    (group,) = sample(policy, tiny.prompts([4]), dialogues=dialogues(policy, lambda task: Later(task, 2)))
    assert all(r.dialogue.ended == "done" for r in group.rollouts)
    assert closed.wait(5)


def test_a_task_without_a_conversation_has_one_turn(tiny):
    policy, prompts = tiny.policy(), tiny.prompts([4, 5])
    talking = dialogues(policy, lambda task: Counting(task, 3) if len(task.prompt.split()) == 4 else None)
    groups = sample(policy, prompts, dialogues=talking)
    alone = [g for _, g in generate(policy, prompts[1:], replace(request(policy), dialogues=None, numbers=[1]))]
    assert tokens(groups)[1] == tokens(alone)[0]
    assert all(r.dialogue is None and r.mask is None for r in groups[1].rollouts)
    assert all(r.dialogue is not None for r in groups[0].rollouts)


def test_an_environment_is_single_turn_unless_it_converses(tiny):
    assert Env("one", {"train": [Task("1", "1")]}).converse(Task("1", "1")) is None
    assert checked(Reply()) == Reply()


class Hopeless:
    """An environment that raises, or sleeps, where it is asked."""

    tools = ()

    def __init__(self, seconds):
        self.seconds = seconds

    def reply(self, message):
        if not self.seconds:
            raise KeyError("the board is gone")
        time.sleep(self.seconds)


@pytest.mark.parametrize(("seconds", "said"), [(0, "the board is gone"), (9, "time.sleep(self.seconds)")])
def test_a_failure_says_where_the_environment_was(tiny, seconds, said):
    policy = tiny.policy("llama")
    rules = dialogues(policy, lambda task: Hopeless(seconds), timeout_seconds=0.3)
    ((_, group),) = generate(policy, tiny.prompts([4]), request(policy, samples=1, dialogues=rules))
    dialogue = group.rollouts[0].dialogue
    assert dialogue.failed and said in dialogue.traceback and "test_dialogue.py" in dialogue.traceback
