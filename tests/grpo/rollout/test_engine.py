"""Groups of completions: the same whatever they are decoded with, and with the logprobs the trainer will find."""

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest

from grpo.config.sections import ConfigError
from grpo.cpu.lanes import lanes
from grpo.model.forward import completion_logprobs, rows_of
from grpo.rollout import engine as rollout_module
from grpo.rollout.engine import Request, generate, seed_stream
from grpo.rollout.sampler import Sampling

LENGTHS = [9, 3, 6, 4, 12]  # of the prompts


def request(**changes):
    return Request(**{"samples": 4, "max_tokens": 20, "sampling": Sampling(1.0), "seed": 5, "max_rows": 64, **changes})


def sample(policy, prompts, **changes):
    return [group for _, group in sorted(generate(policy, prompts, request(**changes)), key=lambda pair: pair[0])]


def tokens(groups):
    return [[rollout.tokens for rollout in group.rollouts] for group in groups]


def test_the_same_seed_gives_the_same_completions(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    first, second = sample(policy, prompts), sample(policy, prompts)
    assert first == second  # logprobs and entropies to the bit


@pytest.mark.parametrize("change", [{"seed": 6}, {"step": 1}, {"stream": "eval"}])
def test_another_seed_step_or_stream_gives_others(tiny, change):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    same = [a == b for a, b in zip(sample(policy, prompts), sample(policy, prompts, **change), strict=True)]
    assert not any(same)


def test_the_samples_of_a_prompt_differ(tiny):
    for group in sample(tiny.policy(), tiny.prompts(LENGTHS)):
        assert len({rollout.tokens for rollout in group.rollouts}) == 4


@pytest.mark.parametrize("kind", ["llama", "window"])
@pytest.mark.parametrize("max_rows", [4, 6, 8, 13])
def test_completions_do_not_depend_on_what_is_decoded_together(tiny, kind, max_rows):
    # 4 = one group at a time; 6, 8 and 13: waiting prompts join when enough rows have left
    policy, prompts = tiny.policy(kind), tiny.prompts(LENGTHS)
    together, apart = sample(policy, prompts), sample(policy, prompts, max_rows=max_rows)
    assert tokens(apart) == tokens(together)
    for one, other in zip(together, apart, strict=True):
        for a, b in zip(one.rollouts, other.rollouts, strict=True):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-5)
            np.testing.assert_allclose(a.entropies, b.entropies, atol=2e-5)


def test_a_prompt_alone_gives_what_it_gives_in_company(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    assert tokens(sample(policy, prompts[:1])) == tokens(sample(policy, prompts))[:1]


@pytest.mark.parametrize("kind", ["llama", "window", "gemma3", "qwen3"])
@pytest.mark.parametrize("max_rows", [4, 64])
def test_what_all_prompts_begin_with_runs_once(tiny, kind, max_rows, monkeypatch):
    policy, heading = tiny.policy(kind), tuple(range(11, 51))
    prompts = [replace(prompt, tokens=heading + prompt.tokens) for prompt in tiny.prompts(LENGTHS)]
    widths, trunk = [], policy.trunk
    monkeypatch.setattr(policy, "trunk", lambda rows, caches: (widths.append(rows.shape[1]), trunk(rows, caches))[1])
    together = sample(policy, prompts, max_rows=max_rows)
    assert widths[0] == 40 and max(widths[1:]) == max(LENGTHS)
    monkeypatch.setattr("grpo.rollout.engine.SHARED_FROM", 41)
    apart = sample(policy, prompts, max_rows=max_rows)
    assert tokens(together) == tokens(apart)
    for group in together:
        check_logprobs(policy, group, 1.0)


@pytest.mark.skipif(lanes() < 2, reason="one core, or a BLAS whose threads can't be set")
@pytest.mark.parametrize("kind", ["llama", "window"])
def test_prompts_may_run_in_two_parts(tiny, kind, monkeypatch):
    policy, heading = tiny.policy(kind), tuple(range(11, 51))
    prompts = [replace(prompt, tokens=heading + prompt.tokens) for prompt in tiny.prompts(LENGTHS)]
    widths, trunk = [], policy.trunk
    whole = sample(policy, prompts)
    monkeypatch.setattr("grpo.attention.trunk.DIVIDED", 2)
    monkeypatch.setattr(policy, "trunk", lambda rows, caches: (widths.append(rows.shape[1]), trunk(rows, caches))[1])
    divided = sample(policy, prompts)
    assert sum(widths[:2]) == 40 and widths[0] == 22 and sum(widths[2:4]) == max(LENGTHS)
    assert tokens(divided) == tokens(whole)
    for group in divided:
        check_logprobs(policy, group, 1.0)


def test_prompts_that_begin_alike_by_chance_are_run_whole(tiny, monkeypatch):
    policy = tiny.policy()
    widths, trunk = [], policy.trunk
    monkeypatch.setattr(policy, "trunk", lambda rows, caches: (widths.append(rows.shape[1]), trunk(rows, caches))[1])
    sample(policy, [replace(prompt, tokens=(5,) * 31 + prompt.tokens) for prompt in tiny.prompts([2, 3])])
    assert widths[0] == 34


def test_whole_rows_of_prompts_of_one_length_are_decoded_together(tiny, monkeypatch):
    shared, prompts = tiny.policy(), tiny.prompts([3, 5, 3])
    policy, shapes = tiny.policy(shares=False), []
    trunk = policy.trunk
    monkeypatch.setattr(policy, "trunk", lambda rows, caches: (shapes.append(rows.shape), trunk(rows, caches))[1])
    whole = sample(policy, prompts)
    samples = len(whole[0].rollouts)
    assert [shape for shape in shapes if shape[1] > 1] == [(2 * samples, 3), (samples, 5)]
    assert tokens(whole) == tokens(sample(shared, prompts))
    for group in whole:
        check_logprobs(policy, group, 1.0)


def wide(tiny):
    """A policy with heads of 32 numbers."""
    return tiny.policy(hidden_size=64, num_attention_heads=2, num_key_value_heads=1, head_dim=32)


def test_quantised_keys_and_values_sample_nearly_from_the_policy(tiny):
    policy, prompts = wide(tiny), tiny.prompts(LENGTHS)
    off = {}  # by bits, the mean distance of the sampler's logprobs from the policy's
    for bits in (0, 8, 4):
        distances = []
        for group in sample(policy, prompts, max_rows=8, kv_bits=bits):  # rows leave and join
            rows = rows_of([group.prompt.tokens], [rollout.tokens for rollout in group.rollouts])
            scored = completion_logprobs(policy, rows, temperature=1.0, chunk_tokens=7).tolist()
            for row, rollout in zip(scored, group.rollouts, strict=True):
                distances += [abs(mine - its) for mine, its in zip(row, rollout.logprobs, strict=False)]
        off[bits] = float(np.mean(distances))
    assert off[0] < 1e-5 and 1e-4 < off[8] < 0.03 and off[8] * 4 < off[4] < 0.5, off


def test_quantised_keys_and_values_take_less_memory(tiny):
    from grpo.rollout.columns import Columns

    sizes = {}
    for bits in (0, 8, 4):
        columns = Columns(bits)
        for at in range(65):  # two blocks
            columns.write(at, mx.ones((2, 1, 1, 64)))
        assert columns.read(65).shape == (2, 1, 65, 64)
        sizes[bits] = sum(part.nbytes for part in columns.parts)
    # 2 x 128 x 64 numbers: 4 bytes each; 1 byte and 8 bytes in 64 for scale and bias; half a byte and the same
    assert sizes == {0: 65536, 8: 16384 + 2048, 4: 8192 + 2048}


def test_heads_that_cannot_be_quantised_are_refused(tiny):
    with pytest.raises(ConfigError, match="kv_bits needs a head size that is a multiple of 32, this model's is 8"):
        sample(tiny.policy(), tiny.prompts([3]), kv_bits=8)


def test_a_model_that_cannot_share_refuses_quantised_keys_and_values(tiny):
    with pytest.raises(ConfigError, match="kv_bits needs a model whose prompts can be shared"):
        sample(tiny.policy(shares=False), tiny.prompts([3]), kv_bits=8)


def test_rows_join_and_leave_midway(tiny, monkeypatch):
    """What the tests of this file stand on: with max_rows 8 prompts do join while others are being decoded."""
    from grpo.rollout import decoding

    seen = []
    for name in ("join", "keep"):
        plain = getattr(decoding, name)
        monkeypatch.setattr(decoding, name, lambda *a, plain=plain, name=name: (seen.append(name), plain(*a))[1])
    sample(tiny.policy(), tiny.prompts(LENGTHS), max_rows=8)
    assert seen.count("join") >= 2 and seen.count("keep") >= 2


def test_the_plain_engine_gives_the_same_tokens(tiny):
    prompts = tiny.prompts(LENGTHS)
    shared, plain = sample(tiny.policy(), prompts), sample(tiny.policy(shares=False), prompts)
    assert tokens(plain) == tokens(shared)
    for one, other in zip(shared, plain, strict=True):
        assert [r.stop_reason for r in one.rollouts] == [r.stop_reason for r in other.rollouts]
        for a, b in zip(one.rollouts, other.rollouts, strict=True):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-5)


def test_an_architecture_that_cannot_share_is_sampled_all_the_same(tiny):
    policy, prompts = tiny.policy("gemma2"), tiny.prompts([3, 5])
    groups = sample(policy, prompts, max_tokens=6)
    for group in groups:
        check_logprobs(policy, group, 1.0)


def check_logprobs(policy, group, temperature):
    rows = rows_of([group.prompt.tokens], [rollout.tokens for rollout in group.rollouts])
    scored = completion_logprobs(policy, rows, temperature=temperature, chunk_tokens=7).tolist()
    for row, rollout in zip(scored, group.rollouts, strict=True):
        assert rollout.logprobs == pytest.approx(row[: len(rollout.tokens)], abs=1e-4)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "window"])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_sampler_and_policy_agree_on_every_logprob(tiny, kind, temperature):
    policy, prompts = tiny.policy(kind), tiny.prompts(LENGTHS)
    for group in sample(policy, prompts, sampling=Sampling(temperature), max_rows=8):  # rows leave and join
        check_logprobs(policy, group, temperature)


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("quantise", [False, True])
def test_decoding_with_the_adapter_merged_samples_from_the_policy(tiny, temperature, quantise):
    policy = tiny.policy("qwen2", fine_tune="lora", adapter_noise=0.2, quantise=quantise)
    prompts = tiny.prompts(LENGTHS[:3])
    groups = {
        merge: sample(policy, prompts, sampling=Sampling(temperature), merge_adapter=merge) for merge in (True, False)
    }
    assert tokens(groups[True]) == tokens(groups[False])
    for group in groups[True] + groups[False]:
        check_logprobs(policy, group, temperature)


def test_an_adapter_matters_to_what_is_sampled(tiny):
    """The noise of the test above is large enough to be seen."""
    prompts = tiny.prompts(LENGTHS[:3])
    with_it, without = (tiny.policy("qwen2", fine_tune="lora", adapter_noise=noise) for noise in (0.2, 0.0))
    assert tokens(sample(with_it, prompts)) != tokens(sample(without, prompts))


@pytest.mark.skipif(mx.default_device().type != mx.DeviceType.cpu, reason="lanes are for the CPU")
@pytest.mark.parametrize("changes", [{}, {"samples": 5}, {"samples": 1}, {"sampling": Sampling(0.7, top_p=0.9)}])
def test_rows_drawn_in_halves_are_the_same_to_the_bit(tiny, monkeypatch, changes):
    policy, prompts, seen = tiny.policy(), tiny.prompts(LENGTHS[:1]), []
    plain = rollout_module.draw
    monkeypatch.setattr(rollout_module, "lanes", lambda: 2)
    monkeypatch.setattr(rollout_module, "draw", lambda *given: seen.append(given[0].shape[0]) or plain(*given))
    whole, samples = sample(policy, prompts, **changes), changes.get("samples", 4)
    assert max(seen) == samples
    monkeypatch.setattr(rollout_module, "DIVIDED", 0)
    seen.clear()
    assert sample(policy, prompts, **changes) == whole
    assert max(seen) == (samples + 1) // 2


def test_the_stop_token_is_kept_with_its_logprob(tiny):
    rollouts = [r for group in sample(tiny.policy(), tiny.prompts(LENGTHS)) for r in group.rollouts]
    assert {r.stop_reason for r in rollouts} == {"stop", "length"}
    for rollout in rollouts:
        assert len(rollout.tokens) == len(rollout.logprobs) == len(rollout.entropies) <= 20
        assert not set(rollout.tokens[:-1]) & set(tiny.stops)
        if rollout.stop_reason == "stop":
            assert rollout.tokens[-1] in tiny.stops
            assert rollout.text == " ".join(map(str, rollout.tokens[:-1]))  # text without it
        else:
            assert len(rollout.tokens) == 20 and rollout.tokens[-1] not in tiny.stops
            assert rollout.text == " ".join(map(str, rollout.tokens))


def test_a_stop_token_in_the_last_place_is_a_stop(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    row = next(r for g in sample(policy, prompts) for r in g.rollouts if r.stop_reason == "stop" and len(r.tokens) > 1)
    again = [r for g in sample(policy, prompts, max_tokens=len(row.tokens)) for r in g.rollouts]
    assert next(r for r in again if r.tokens == row.tokens).stop_reason == "stop"


def test_a_shorter_limit_cuts_the_same_completions(tiny):
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    long, short = tokens(sample(policy, prompts)), tokens(sample(policy, prompts, max_tokens=7))
    assert short == [[row[:7] for row in group] for group in long]


def test_one_token_is_a_completion(tiny):
    for group in sample(tiny.policy(), tiny.prompts(LENGTHS), max_tokens=1):
        assert [len(rollout.tokens) for rollout in group.rollouts] == [1] * 4


def test_greedy_follows_the_likeliest_token(tiny):
    policy, (prompt,) = tiny.policy(), tiny.prompts([6])
    (group,) = sample(policy, [prompt], samples=1, sampling=Sampling(0.0), max_tokens=5)
    row = list(prompt.tokens)
    for token in group.rollouts[0].tokens:
        assert token == policy.model(mx.array([row]))[0, -1].argmax().item()
        row.append(token)


def test_every_token_is_reported_once(tiny):
    heard = []
    groups = [g for _, g in generate(tiny.policy(), tiny.prompts(LENGTHS), request(max_rows=8), heard.append)]
    assert sum(heard) == sum(len(rollout.tokens) for group in groups for rollout in group.rollouts)


def test_groups_come_as_they_finish(tiny):
    # with room for one group the first must be out before the second has begun
    policy, prompts = tiny.policy(), tiny.prompts(LENGTHS)
    assert [index for index, _ in generate(policy, prompts, request(max_rows=4))] == [0, 1, 2, 3, 4]


def test_no_prompts_give_no_groups(tiny):
    assert list(generate(tiny.policy(), [], request())) == []


def test_a_row_has_a_stream_of_its_own():
    base = seed_stream(request(), 3, 2)
    assert base.dtype == np.uint32 and base.shape == (20,) and len(set(base)) == 20
    np.testing.assert_array_equal(base, seed_stream(request(), 3, 2))
    others = [
        seed_stream(request(), 2, 3),
        seed_stream(request(step=1), 3, 2),
        seed_stream(request(seed=4), 3, 2),
    ]
    assert all((other != base).any() for other in others)
    np.testing.assert_array_equal(seed_stream(request(max_tokens=7), 3, 2), base[:7])


@pytest.mark.parametrize("when", ["first token", "later"])
def test_a_caller_that_stops_listening_leaves_the_adapter_in_place(tiny, when):
    policy = tiny.policy(fine_tune="lora", adapter_noise=0.2)
    before = dict(policy.model.named_modules())

    def stop(_):
        raise KeyboardInterrupt

    running = generate(policy, tiny.prompts(LENGTHS), request(max_rows=4), stop if when == "first token" else None)
    if when == "first token":
        with pytest.raises(KeyboardInterrupt):
            next(running)
    else:
        next(running)
        running.close()
    assert dict(policy.model.named_modules()) == before
