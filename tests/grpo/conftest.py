"""Models of two layers made on the spot, and records to feed them. Everything hangs on one fixture, `tiny`."""

import importlib
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.utils import linear_to_lora_layers

from envs import Task
from grpo.config import Config, load_config
from grpo.config.sections import ColdStart
from grpo.model.mending import mend
from grpo.model.policy import Policy
from grpo.model.recompute import recompute_blocks
from grpo.types import Group, Prompt, Rollout

VOCAB = 61  # a prime: no block of the sampler divides it
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
STOPS = (2, 3, 5, 7)  # four of 61 tokens end a completion, so that lengths differ

SHAPE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": 256,
    "vocab_size": VOCAB,
    "head_dim": 8,
    "tie_word_embeddings": True,
}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},  # grouped queries, tied head
    "untied": {"model_type": "llama", "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2"},  # biases
    "qwen3": {"model_type": "qwen3"},  # norms of queries and keys
    "window": {
        "model_type": "llama",
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 4,
    },
    "gemma3": {
        "model_type": "gemma3_text",
        "num_hidden_layers": 3,
        "query_pre_attn_scalar": 8,
        "sliding_window": 4,
        "sliding_window_pattern": 2,
    },
    "gemma2": {"model_type": "gemma2", "query_pre_attn_scalar": 8},  # soft-capped scores: attention of its own
    "gpt_oss": {  # attention sinks, windows, routed experts with biases
        "model_type": "gpt_oss",
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 4,
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_scaling": None,
    },
    "qwen3_moe": {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "moe_intermediate_size": 16,
        "norm_topk_prob": True,
    },
    "deepseek_v3": {  # latent keys and values
        "model_type": "deepseek_v3",
        "moe_intermediate_size": 16,
        "n_shared_experts": 1,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "routed_scaling_factor": 1.0,
        "kv_lora_rank": 8,
        "q_lora_rank": 8,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 4,
        "n_group": 2,
        "topk_group": 1,
        "moe_layer_freq": 1,
        "first_k_dense_replace": 1,
    },
    "qwen3_5": {  # gated delta layers and attention, a nested language model
        "model_type": "qwen3_5",
        "text_config": {
            **SHAPE,
            "model_type": "qwen3_5",
            "full_attention_interval": 2,
            "linear_num_value_heads": 4,
            "linear_num_key_heads": 2,
            "linear_key_head_dim": 8,
            "linear_value_head_dim": 8,
            "linear_conv_kernel_dim": 3,
            "partial_rotary_factor": 0.5,
        },
    },
    "falcon_h1": {  # a scan and attention in the same layer
        "model_type": "falcon_h1",
        "mamba_d_conv": 4,
        "mamba_d_head": 8,
        "mamba_d_ssm": 32,
        "mamba_d_state": 8,
        "mamba_n_groups": 1,
        "mamba_n_heads": 4,
        "mamba_rms_norm": False,
    },
    "lfm2": {  # convolutions
        "model_type": "lfm2",
        "norm_eps": 1e-5,
        "conv_bias": True,
        "conv_L_cache": 3,
        "block_dim": 32,
        "block_ff_dim": 64,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1],
    },
    "gemma3n": {  # keys and values shared between layers, capped logits inside the language model
        "model_type": "gemma3n",
        "text_config": {
            **SHAPE,
            "model_type": "gemma3n",
            "num_hidden_layers": 4,
            "num_kv_shared_layers": 2,
            "vocab_size_per_layer_input": VOCAB,
            "sliding_window": 4,
            "rope_local_base_freq": 10000.0,
            "final_logit_softcapping": 3.0,
            "layer_types": ["sliding_attention", "full_attention"] * 2,
            "activation_sparsity_pattern": [0.0] * 4,
            "hidden_size_per_layer_input": 8,
            "altup_num_inputs": 2,
            "altup_coef_clip": 1.0,
            "altup_correct_scale": True,
            "altup_active_idx": 0,
            "laurel_rank": 4,
        },
    },
}


class Tokenizer:
    """Token i is the word `i`."""

    eos_token_ids = frozenset(STOPS)
    has_chat_template = False

    def encode(self, text: str, **_: Any) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        return " ".join(map(str, tokens))


class Tiny:
    """Makers of tiny models, policies, configs and groups."""

    kinds = tuple(KINDS)
    vocab, stops = VOCAB, STOPS
    tokenizer = Tokenizer

    def shape(self, kind: str = "llama", **overrides: Any) -> dict[str, Any]:
        return {**SHAPE, **KINDS[kind], **overrides}

    def model(self, kind: str = "llama", *, seed: int = 0, **overrides: Any) -> nn.Module:
        """Random weights, about twice as large as at initialisation, so that every part has a say."""
        shape = self.shape(kind, **overrides)
        module = importlib.import_module(f"mlx_lm.models.{shape['model_type']}")
        mx.random.seed(seed)
        model = module.Model(module.ModelArgs.from_dict(shape))
        mend(model)
        leaves = [
            (
                name,
                leaf * 2 + 0.1 * mx.random.normal(leaf.shape)
                if leaf.ndim > 1
                else leaf + 0.2 * mx.random.normal(leaf.shape),
            )
            for name, leaf in tree_flatten(model.parameters())
        ]
        model.update(tree_unflatten(leaves))
        mx.eval(model.parameters())
        return model

    def policy(
        self,
        kind: str = "llama",
        *,
        fine_tune: str = "full",
        seed: int = 0,
        adapter_noise: float = 0.0,
        quantise: bool = False,
        shares: bool = True,
        recompute: bool = False,
        blocks: int = 2,
        **overrides: Any,
    ) -> Policy:
        """A policy around a tiny model; `adapter_noise` is the size of lora_b, 0 = a fresh adapter."""
        model = self.model(kind, seed=seed, **overrides)
        if quantise:
            nn.quantize(model, group_size=32, bits=4)
        model.freeze()
        settings = None
        if fine_tune == "full":
            model.unfreeze()
        else:
            names = [
                n for n, part in model.layers[0].named_modules() if isinstance(part, nn.Linear | nn.QuantizedLinear)
            ]
            parameters = {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": names}
            linear_to_lora_layers(model, blocks, parameters)
            settings = {"num_layers": blocks, "lora_parameters": parameters}
            if adapter_noise:
                self.disturb(model, adapter_noise, seed)
        if recompute:
            recompute_blocks(model)
        mx.eval(model.parameters())
        policy = Policy(model, Tokenizer(), adapter_settings=settings, fine_tune=fine_tune)
        if not shares:
            policy.shares_prefixes = False
        return policy

    def disturb(self, model: nn.Module, size: float, seed: int = 0) -> None:
        """Give every lora_b random values."""
        mx.random.seed(seed + 1)
        leaves = [
            (name, size * mx.random.normal(leaf.shape))
            for name, leaf in tree_flatten(model.trainable_parameters())
            if name.endswith("lora_b")
        ]
        model.update(tree_unflatten(leaves))

    def directory(self, folder: Path, kind: str = "llama", *, seed: int = 0, **overrides: Any) -> Path:
        """A model directory that mlx_lm loads; its words are w0 to w60, w2 ends a completion."""
        from tokenizers import Tokenizer as Words
        from tokenizers import models, pre_tokenizers

        folder.mkdir(parents=True, exist_ok=True)
        model = self.model(kind, seed=seed, **overrides)
        words = Words(models.WordLevel(vocab={f"w{i}": i for i in range(VOCAB)}, unk_token="w1"))
        words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        words.save(str(folder / "tokenizer.json"))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "w2", "unk_token": "w1"}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "config.json").write_text(json.dumps({**self.shape(kind, **overrides), "eos_token_id": 2}))
        weights = dict(tree_flatten(model.parameters()))
        mx.save_safetensors(str(folder / "model.safetensors"), weights, metadata={"format": "mlx"})
        return folder

    def config(self, **overrides: Any) -> Config:
        """A config for whole-step tests: one update on two groups of four."""
        small = {"prompts_per_step": 2, "num_generations": 4, "max_completion_length": 12, "learning_rate": 1e-3}
        return Config(**{**small, **overrides})

    def prompt(self, tokens: Sequence[int], **columns: Any) -> Prompt:
        text = " ".join(map(str, tokens))
        return Prompt(Task(text, text, columns), tuple(tokens), text)

    def prompts(self, lengths: Sequence[int], *, seed: int = 0) -> list[Prompt]:
        """Prompts of random tokens of these lengths, no two alike."""
        rng = np.random.default_rng(seed)
        return [self.prompt(rng.integers(8, VOCAB, length).tolist()) for length in lengths]

    def rollout(self, tokens: Sequence[int], logprobs: Sequence[float] | None = None) -> Rollout:
        logprobs = [-1.0] * len(tokens) if logprobs is None else logprobs
        ended = tokens[-1] in STOPS
        return Rollout(tuple(tokens), tuple(logprobs), (1.0,) * len(tokens), "", "stop" if ended else "length")

    def group(self, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> Group:
        return Group(self.prompt(prompt), tuple(self.rollout(tokens) for tokens in completions))


@pytest.fixture(scope="session")
def tiny() -> Tiny:
    return Tiny()


# Whole runs

RUN_CONFIG = """
fine_tune: full
data: digit_sums
template: plain
prompts_per_step: 2
num_generations: 4
max_completion_length: 8
temperature: 1.0
learning_rate: 0.001
save_every: 2
completions_every: 1
reward_weights: {"checked:evens": 1.0}
"""
CHECKED = """
def evens(completion_ids, **_):
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]
"""


class Run:
    """A run of the command in this process: its exit code, what it said, what it left."""

    def __init__(self, folder: Path, code: int, out: str, err: str) -> None:
        self.folder, self.code, self.out, self.err = folder, code, out, err

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.folder / "summary.json").read_text())

    @property
    def completions(self) -> dict[str, list[dict[str, Any]]]:
        files = sorted((self.folder / "completions").iterdir())
        return {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in files}


class Runs:
    """Runs in a temporary directory, on a miniature model that is made once a session."""

    def __init__(self, root: Path, model: Path, monkeypatch: Any, capsys: Any) -> None:
        self.root, self.model, self.monkeypatch, self.capsys = root, model, monkeypatch, capsys
        self.modules = root / "modules"
        self.modules.mkdir()
        monkeypatch.syspath_prepend(str(self.modules))
        self.module("checked", CHECKED)
        self.file("run.yaml", f"model: {model}\n{RUN_CONFIG}")

    def module(self, name: str, code: str) -> None:
        """A module of the user's, new to this test."""
        self.monkeypatch.delitem(sys.modules, name, raising=False)
        self.file(f"{name}.py", textwrap.dedent(code))
        importlib.invalidate_caches()

    def file(self, name: str, text: str) -> Path:
        path = self.modules / name
        path.write_text(text)
        return path

    def folder(self, name: str) -> Path:
        return self.root / name

    def config(self) -> Config:
        return load_config(self.modules / "run.yaml")

    def arguments(self, name: str, *overrides: str) -> list[str]:
        return ["--config", str(self.modules / "run.yaml"), "--output", str(self.folder(name)), *overrides]

    def run(self, *overrides: str, name: str = "run", resume: bool = False) -> Run:
        return self.main(*self.arguments(name, *overrides), *(["--resume"] if resume else []))

    def main(self, *arguments: str) -> Run:
        from grpo.train import main

        self.monkeypatch.chdir(self.modules)
        self.capsys.readouterr()
        code = main(list(arguments))
        return Run(Path(arguments[arguments.index("--output") + 1]), code, *self.capsys.readouterr())


@pytest.fixture(scope="session")
def miniature_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A miniature model after a handful of cold-start steps."""
    from grpo.model import miniature

    folder = tmp_path_factory.mktemp("models") / "miniature"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(miniature, "SHAPE", {**miniature.SHAPE, **SMALL})
        miniature.build(folder, ColdStart(steps=20, batch=8), seed=0)
    return folder


@pytest.fixture
def runs(
    tmp_path: Path, miniature_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Runs:
    return Runs(tmp_path, miniature_model, monkeypatch, capsys)


@pytest.fixture
def whole_rows() -> Any:
    """The oracle of everything that shares prompts: prompt and completion in one row, mlx_lm's caches, row by row."""

    def logprobs(
        model: nn.Module, prompt: Sequence[int], completion: Sequence[int], temperature: float = 1.0
    ) -> mx.array:
        """Logprobs of the completion's tokens, [time]."""
        logits = (
            model(mx.array([[*prompt, *completion]]), cache=make_prompt_cache(model))[0].astype(mx.float32)
            / temperature
        )  # [time, vocab]
        places = mx.arange(len(completion)) + len(prompt) - 1  # a token is predicted one position earlier
        scores = logits[places]
        chosen = mx.take_along_axis(scores, mx.array(list(completion))[:, None], axis=-1)[:, 0]
        return chosen - mx.logsumexp(scores, axis=-1)

    def leaves(tree: Any) -> dict[str, mx.array]:
        return dict(tree_flatten(tree))

    return SimpleNamespace(logprobs=logprobs, leaves=leaves)
