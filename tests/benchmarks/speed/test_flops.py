"""Flops and limits: counted by hand for a model of two tiny blocks."""

import pytest

from benchmarks.speed.flops import Work, attention, cache_bytes, decoding_bound, decoding_step, learning
from grpo.config.sections import LoRA
from grpo.model.facts import facts_of_settings

# a block: q and o 8 x 8, k and v 8 x 4 (1 of 2 heads), gate, up and down 8 x 10: 128 + 64 + 240 = 432 weights
FACTS = facts_of_settings(
    {
        "model_type": "llama",
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 10,
        "vocab_size": 20,
        "tie_word_embeddings": True,
    },
    item_bytes=4,
)


def test_the_prompt_is_counted_once_and_attention_is_causal():
    work = Work(prompt=3, completions=(2, 1))
    # own: 1 + 2 + 3 = 6; two tokens after three: 4 + 5 = 9; one: 4
    assert (work.tokens, work.pairs) == (6, 19)


def test_attention_is_two_products_a_pair_head_and_block():
    # scores and values: 2 products x 2 flops x head_dim 4 = 16, 2 heads, 2 blocks: 64 a pair
    assert attention(FACTS, 19) == 64 * 19


@pytest.mark.parametrize(
    ("lora", "reference", "expected"),
    [
        # forward: 2 x 864 x 6 tokens + 2 x 8 x 20 x 3 predicted = 10368 + 960 = 11328; scores 1216
        # all weights: forward + twice that backward = 33984, scores three times = 3648
        (None, False, 33984 + 3648),
        (None, True, 33984 + 3648 + 11328 + 1216),
        # adapters only: forward + backward by the input = 22656, scores 3648, and three times 2 x rank x (in + out)
        # x tokens, in + out of a block: 16 + 16 + 12 + 12 + 18 x 3 = 110: 3 x 2 x 2 x 220 x 6 = 15840
        (LoRA(rank=2), False, 22656 + 3648 + 15840),
    ],
)
def test_learning_counts_what_has_to_be_computed(lora, reference, expected):
    assert learning(FACTS, [Work(3, (2, 1))], lora=lora, reference=reference) == expected


def test_keys_and_values_of_a_prompt_are_kept_once():
    # two groups of 6 tokens, 2 x 2 blocks x 1 head of 4 values of 4 bytes: 64 a token
    assert cache_bytes(FACTS, [Work(3, (2, 1))] * 2) == 12 * 64


def test_a_decoding_step_multiplies_all_weights_and_sees_every_context():
    # 2 x (864 + 160) x 2 rows = 4096; 64 x (5 + 7) pairs = 768
    assert decoding_step(FACTS, [5, 7]) == 4096 + 768


@pytest.mark.parametrize(
    ("gflops", "bandwidth", "seconds"),
    [
        (1e-9, 1e9, 4864.0),  # one flop a second: arithmetic binds
        (1e9, 4.0, 1024.0),  # one weight of 4 bytes a second: 864 + 160 weights to read
    ],
)
def test_the_bound_is_the_larger_of_reading_and_multiplying(gflops, bandwidth, seconds):
    assert decoding_bound(FACTS, [5, 7], gflops=gflops, bandwidth=bandwidth) == pytest.approx(seconds)
