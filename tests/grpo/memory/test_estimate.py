"""Facts are read without loading a model, and the estimate meets measured peaks."""

import json
import os
import struct
from pathlib import Path

import pytest

from grpo.config import Config
from grpo.config.sections import ConfigError
from grpo.memory import estimate as module
from grpo.memory.available import available_bytes
from grpo.memory.estimate import estimate, knob, micro_batch
from grpo.memory.plan import fitting_token_budget, longest_conversation, plan
from grpo.model import chunks
from grpo.model.facts import ModelFacts, facts_of_directory, facts_of_model, facts_of_name, facts_of_settings

SETTINGS = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 10,
    "tie_word_embeddings": True,
}
SMOLLM2 = facts_of_name("SmolLM2-135M-Instruct")
HERE = {
    "model": "x",
    "num_generations": 8,
    "prompts_per_step": 1,
    "max_completion_length": 60,
    "beta": 0.0,
    "merge_adapter": False,
}


def safetensors(path: Path, tensors: dict[str, tuple[str, list[int], int]]) -> None:
    """A file of zeros with a true header; name -> (dtype, shape, bytes)."""
    header, at = {"__metadata__": {"format": "mlx"}}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


def directory(folder: Path, tensors, **settings) -> Path:
    (folder / "config.json").write_text(json.dumps(SETTINGS | settings))
    safetensors(folder / "model.safetensors", tensors)
    return folder


def test_facts_of_settings():
    # a block: q 8x8, k and v 8x4, o 8x8, gate and up 8x16, down 16x8 = 64 + 64 + 64 + 384 = 576; two blocks and 8 x 10
    facts = facts_of_settings(SETTINGS)
    assert facts.parameters == 2 * 576 + 80
    assert facts.outputs == 2 * (8 + 4 + 4 + 8 + 16 + 16 + 8)
    assert (facts.head_dim, facts.kv_heads, facts.quantised) == (2, 2, False)


def test_facts_of_full_precision_files(tmp_path):
    tensors = {
        "model.embed_tokens.weight": ("BF16", [10, 8], 160),
        "model.layers.0.self_attn.q_proj.weight": ("BF16", [8, 8], 128),
        "model.layers.1.input_layernorm.weight": ("BF16", [8], 16),
        "lm_head.weight": ("BF16", [10, 8], 160),  # tied: mlx_lm drops it
    }
    facts = facts_of_directory(directory(tmp_path, tensors))
    assert (facts.parameters, facts.stored_bytes, facts.stored_item_bytes) == (80 + 64 + 8, 304, 2)
    assert [(part.name, part.block, part.inputs, part.outputs) for part in facts.linears] == [("q_proj", 0, 8, 8)]


def test_facts_of_quantised_files(tmp_path):
    # 64 x 128 weights of 4 bits: 128 * 4 / 32 = 16 words a row; two groups of 64 a row, each a scale and a bias
    base = "model.layers.0.mlp.up_proj"
    tensors = {
        f"{base}.weight": ("U32", [64, 16], 4096),
        f"{base}.scales": ("F16", [64, 2], 256),
        f"{base}.biases": ("F16", [64, 2], 256),
    }
    facts = facts_of_directory(directory(tmp_path, tensors, quantization={"group_size": 64, "bits": 4}))
    assert (facts.bits, facts.parameters, facts.packed_bytes, facts.float_values) == (4, 64 * 128, 4096, 256)
    assert facts.linears[0].inputs == 128
    assert facts.stored_bytes == 4608


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json can't be read"),
        (lambda folder: (folder / "config.json").write_text("{}"), "no hidden_size"),
        (lambda folder: (folder / "model.safetensors").unlink(), "weights are missing"),
        (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"), "only a pointer"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b""), "no safetensors file"),
        (lambda folder: os.truncate(folder / "model.safetensors", 150), "cut short"),
    ],
)
def test_what_is_no_whole_model_is_said_in_a_line(tmp_path, break_it, reason):
    directory(tmp_path, {"model.embed_tokens.weight": ("F32", [10, 8], 320)})
    break_it(tmp_path)
    with pytest.raises(ValueError, match=reason) as caught:
        facts_of_directory(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "millions", "bits"),
    [
        ("Qwen/Qwen2.5-0.5B-Instruct", 494, None),
        ("mlx-community/Qwen2.5-1.5B-Instruct-4bit", 1543, 4),
        ("Qwen/Qwen3-0.6B", 596, None),
        ("mlx-community/Llama-3.2-1B-Instruct-8bit", 1236, 8),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", 135, None),
    ],
)
def test_well_known_names_tell_their_size(name, millions, bits):
    facts = facts_of_name(name)  # the published parameter counts
    assert facts is not None and facts.bits == bits
    assert facts.parameters / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", ["owner/model", "Qwen/Qwen2.5-0.5Bx", "Qwen/MyQwen3-0.6B"])
def test_other_names_tell_nothing(name):
    assert facts_of_name(name) is None


def test_a_quantised_base_is_small_and_not_merged():
    facts = facts_of_name("Qwen2.5-1.5B-4bit")
    need = estimate(Config(model="x"), facts, on_cpu=False)
    # 1.54e9 / 2 bytes and 2 of 64 scales and biases of 2 bytes: 0.77 + 0.10
    assert need.weights / 1e9 == pytest.approx(0.87, abs=0.01)
    assert need.merged == 0


# Peaks measured with mx.get_peak_memory over a step of the learner: SmolLM2-135M, float32, CPU, bytes in 1e6
RANK_8 = {"lora": {"rank": 8, "alpha": 80}}


@pytest.mark.parametrize(
    ("prompt", "samples", "length", "budget", "chunk", "changes", "peak"),
    [
        (130, 16, 64, 128, 32, RANK_8, 1367),
        (130, 16, 64, 256, 64, RANK_8, 1476),
        (130, 16, 64, 512, 64, RANK_8, 1829),
        (130, 16, 64, 512, 128, RANK_8, 1829),
        (130, 16, 64, 512, 128, RANK_8 | {"merge_adapter": False}, 1140),
        (130, 16, 64, 1024, 128, RANK_8, 2760),
        (130, 16, 64, 1024, 128, RANK_8 | {"merge_adapter": False}, 1790),
        (250, 16, 64, 1024, 128, RANK_8, 3077),
        (130, 16, 64, 2048, 64, RANK_8, 2755),
        (40, 16, 24, 512, 128, RANK_8 | {"prompts_per_step": 4}, 1604),
        (600, 8, 64, 256, 64, RANK_8, 1621),  # the prompt in spans
        (1000, 16, 64, 1024, 128, RANK_8, 3645),
        (500, 16, 128, 2048, 128, RANK_8, 5926),
        (30, 4, 256, 512, 64, RANK_8, 1858),
        (130, 16, 64, 512, 64, {"gradient_checkpointing": True}, 1181),
        (64, 16, 32, 600, 64, {}, 1845),
        (64, 16, 32, 600, 64, {"adapter": "earlier"}, 1207),
        (64, 16, 32, 350, 64, {"fine_tune": "full"}, 3794),
        (64, 16, 32, 1200, 64, {"fine_tune": "full"}, 3743),
    ],
)
def test_the_estimate_meets_measured_peaks(prompt, samples, length, budget, chunk, changes, peak):
    shape = {"num_generations": samples, "max_completion_length": length, "token_budget": budget, "logits_chunk": chunk}
    config = Config(**({"model": "x", "prompts_per_step": 1, "beta": 0.01} | shape | changes))
    need = estimate(config, SMOLLM2, on_cpu=True, prompt_tokens=prompt)
    assert need.peak_bytes / 1e6 == pytest.approx(peak, rel=0.12)


@pytest.mark.parametrize(("prompts", "prompt", "length", "extra"), [(1, 64, 80, 531.9), (2, 200, 48, 557.3)])
def test_sampling_meets_measured_peaks(prompts, prompt, length, extra):
    config = Config(model="x", num_generations=16, prompts_per_step=prompts, max_completion_length=length)
    need = estimate(config, SMOLLM2, on_cpu=True, prompt_tokens=prompt)
    assert need.sampling / 1e6 == pytest.approx(extra, rel=0.1)


def test_the_largest_micro_batch():
    # a group is 10 + 4 * 20 = 90 tokens; two of three fit into 200
    config = Config(model="x", num_generations=4, max_completion_length=20, prompts_per_step=3, token_budget=200)
    assert micro_batch(config, 10, 1) == (180, 160, 2)


def test_a_group_that_is_cut_runs_its_prompt_apart():
    # 10 + 4 * 20 = 90 > 50: two rows of 20
    config = Config(model="x", num_generations=4, max_completion_length=20, token_budget=50)
    assert micro_batch(config, 10, 1) == (40, 40, 0)


def test_a_row_longer_than_the_budget_is_cut():
    config = Config(model="x", num_generations=4, max_completion_length=500, token_budget=100)
    assert micro_batch(config, 10, 1) == (100, 100, 0)
    assert micro_batch(config, 10, 2) == (100, 100, 0)  # two rows side by side, 50 tokens of each


def test_two_lanes_share_the_budget():
    # 16 x 64 after 130: one group is cut, 512 tokens a lane; of two groups after 30 each 1054, one a lane
    config = Config(model="x", num_generations=16, max_completion_length=64, prompts_per_step=1)
    assert micro_batch(config, 130, 2) == (1024, 1024, 0)
    two = config.model_copy(update={"prompts_per_step": 2, "token_budget": 2200})
    assert micro_batch(two, 30, 2) == (2 * 1054, 2 * 1024, 2)


def test_the_logits_of_a_few_blocks_are_alive():
    # 8 x 60 tokens in two lanes, by 2048 columns, or by the 49152 // 240 that are no more than one token's row
    budget = HERE | {"token_budget": 4096}
    two, one = (estimate(Config(**budget, logits_chunk=n), SMOLLM2, on_cpu=True, prompt_tokens=64) for n in (64, 1))
    assert two.logits == 2 * 8 * 240 * 2048 * 4
    assert one.logits == 2 * 8 * 240 * 204 * 4
    assert (module.BLOCK_ROWS, module.BLOCK_COLUMNS) == (chunks.ROWS, chunks.COLUMNS)


def test_the_logits_of_a_few_chunks_are_alive_where_the_head_is_trained():
    # 16 x 480 completion tokens, but of 20 arrays of a chunk of 64 only; 49152 float32 each
    changes = HERE | {"logits_chunk": 64, "token_budget": 4096, "fine_tune": "full"}
    assert estimate(Config(**changes), SMOLLM2, on_cpu=True, prompt_tokens=64).logits == 20 * 64 * 49152 * 4


def test_checkpointing_needs_less():
    plain = estimate(Config(model="x"), SMOLLM2, on_cpu=True, prompt_tokens=64)
    less = estimate(Config(model="x", gradient_checkpointing=True), SMOLLM2, on_cpu=True, prompt_tokens=64)
    assert less.activations < plain.activations / 4


def test_no_reference_without_kl():
    full = {"model": "x", "fine_tune": "full"}
    with_kl = estimate(Config(**full), SMOLLM2, on_cpu=True)
    assert with_kl.reference == with_kl.weights
    assert estimate(Config(**full, beta=0.0), SMOLLM2, on_cpu=True).reference == 0


def test_fewer_targets_are_fewer_weights():
    every = estimate(Config(model="x"), SMOLLM2, on_cpu=True).trained
    some = estimate(Config(model="x", lora={"targets": ["q_proj"], "layers": 4}), SMOLLM2, on_cpu=True).trained
    # 4 blocks, rank 16, (576 + 576) inputs and outputs, 4 bytes
    assert some == 4 * 16 * 1152 * 4
    assert every > some


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"token_budget": 8192, "prompts_per_step": 8}, "token_budget"),
        ({"fine_tune": "full", "token_budget": 64, "max_completion_length": 8}, "fine_tune: lora"),
        ({"max_completion_length": 4096, "token_budget": 64, "gradient_checkpointing": True}, "max_completion_length"),
        ({"max_completion_length": 4, "token_budget": 16, "num_generations": 2}, "merge_adapter: false"),
    ],
)
def test_the_knob_turns_what_is_large(changes, key):
    config = Config(**({"model": "x", "prompts_per_step": 8} | changes))
    assert key in knob(config, SMOLLM2, estimate(config, SMOLLM2, on_cpu=True, prompt_tokens=16))


def test_a_budget_that_fits_is_found():
    config = Config(model="x", token_budget=8192, prompts_per_step=8)
    budget = fitting_token_budget(config, SMOLLM2, int(6e9), on_cpu=True, prompt_tokens=64)
    assert budget is not None
    smaller = config.model_copy(update={"token_budget": budget})
    assert estimate(smaller, SMOLLM2, on_cpu=True, prompt_tokens=64).total_bytes <= 6e9
    larger = config.model_copy(update={"token_budget": 2 * budget})
    assert estimate(larger, SMOLLM2, on_cpu=True, prompt_tokens=64).total_bytes > 6e9


def test_a_plan_lowers_the_token_budget_to_what_is_allowed():
    config = Config(model="x", token_budget=8192, prompts_per_step=8, memory_gb=6.0)
    made = plan(config, SMOLLM2, on_cpu=True, prompt_tokens=64)
    assert made.config.token_budget == fitting_token_budget(config, SMOLLM2, int(6e9), on_cpu=True, prompt_tokens=64)
    assert f"token_budget {made.config.token_budget}" in made.said


def test_a_plan_that_cannot_be_made_says_what_to_try():
    config = Config(model="x", memory_gb=1.0)
    with pytest.raises(ConfigError, match=r"memory_gb 1 is too little: about .* GB with the smallest .*; try "):
        plan(config, SMOLLM2, on_cpu=True, prompt_tokens=64)


def test_without_a_limit_nothing_is_changed():
    config = Config(
        model="x", token_budget=1 << 20, prompts_per_step=8, max_completion_length=4096, gradient_checkpointing=False
    )
    made = plan(config, SMOLLM2, on_cpu=True, prompt_tokens=64)
    assert made.config == config
    assert "more than the" in made.said and "try" in made.said  # over a hundred GB of activations


@pytest.mark.parametrize(
    ("changes", "recomputed"),
    [
        ({}, False),  # 2.2 GB of activations
        ({"max_completion_length": 4096}, True),
        ({"max_completion_length": 4096, "gradient_checkpointing": False}, False),  # the user has decided
        (
            {"max_completion_length": 4096, "num_generations": 4, "max_rows": 4, "memory_gb": 6.0},
            True,
        ),
        ({"token_budget": 8192, "prompts_per_step": 8, "memory_gb": 6.0}, False),
    ],
)
def test_blocks_are_recomputed_where_activations_are_large(changes, recomputed):
    made = plan(Config(model="x", **changes), SMOLLM2, on_cpu=True, prompt_tokens=64)
    assert made.config.gradient_checkpointing is recomputed
    assert ("gradient_checkpointing on (auto)" in made.said) == recomputed


def test_an_unknown_architecture_is_recomputed_from_2048_tokens_on():
    short, long = (
        plan(Config(model="x", max_completion_length=n), None, on_cpu=True, prompt_tokens=64) for n in (64, 4096)
    )
    assert (short.config.gradient_checkpointing, long.config.gradient_checkpointing) == (False, True)
    assert "not known" in long.said


def test_memory_of_recomputed_blocks_grows_no_faster_than_the_completion():
    needs = [
        estimate(
            Config(model="x", gradient_checkpointing=True, max_completion_length=n), SMOLLM2, on_cpu=True
        ).activations
        for n in (2048, 8192)
    ]
    assert needs[1] < 4 * needs[0]


@pytest.mark.parametrize("quantise", [False, True])
def test_a_loaded_network_has_the_facts_of_its_files(tiny, tmp_path, quantise):
    policy = tiny.policy(fine_tune="lora", quantise=quantise)
    found = facts_of_model(policy.model)
    tiny.directory(tmp_path / "model")
    written = facts_of_directory(tmp_path / "model")
    assert found is not None and found.quantised == quantise
    shapes = [(part.name, part.block, part.inputs, part.outputs) for part in found.linears]
    assert sorted(shapes) == sorted((part.name, part.block, part.inputs, part.outputs) for part in written.linears)
    assert (found.hidden, found.vocab, found.kv_heads) == (written.hidden, written.vocab, written.kv_heads)


def test_the_parts_add_up():
    need = estimate(Config(model="x", fine_tune="full"), SMOLLM2, on_cpu=True, prompt_tokens=64)
    assert need.peak_bytes == need.always + max(need.sampling, need.training)
    assert [line.split()[0] for line in need.lines()] == ["always", "while", "while"]


def test_there_is_some_memory_here():
    size, meaning = available_bytes()
    assert size > 1e8 and meaning


@pytest.mark.model
def test_facts_of_a_real_model():
    folder = os.environ.get("GRPO_TEST_MODEL")
    if not folder:
        pytest.skip("GRPO_TEST_MODEL names no SmolLM2 directory")
    facts = facts_of_directory(Path(folder).expanduser())
    assert isinstance(facts, ModelFacts)
    assert SMOLLM2 is not None and set(facts.linears) == set(SMOLLM2.linears)
    assert facts.parameters == pytest.approx(SMOLLM2.parameters, rel=0.001)  # the norms


def test_conversations_are_planned_by_their_longest_row():
    # 3 turns of 100 and 2 replies of 50: 400 tokens
    config = Config(model="x", max_completion_length=100, max_turns=3, max_reply_length=50)
    assert longest_conversation(config) == 400
    assert longest_conversation(config.model_copy(update={"max_conversation_length": 300})) == 300
    made = plan(config, SMOLLM2, on_cpu=True, prompt_tokens=64, row_tokens=400)
    whole = config.model_copy(update={"max_completion_length": 400})
    assert made.said.startswith(plan(whole, SMOLLM2, on_cpu=True, prompt_tokens=64).said)
    assert made.config.max_completion_length == 100


@pytest.mark.parametrize("prompt", [64, 3000])
def test_a_row_that_is_cut_needs_its_keys_and_values_and_one_span(prompt):
    config = Config(model="x", max_completion_length=8192, num_generations=2, prompts_per_step=1, beta=0.0)
    assert micro_batch(config, prompt, 1) == (1024, 1024, 0)
    two, one = (
        estimate(config.model_copy(update={"max_completion_length": n}), SMOLLM2, on_cpu=False, prompt_tokens=prompt)
        for n in (8192, 4096)
    )
    # SPAN_COPIES x keys and values of 3 heads x 64 in 30 layers, 2 bytes each on a GPU
    assert two.activations - one.activations == module.SPAN_COPIES * 2 * 3 * 64 * 30 * 4096 * 2
