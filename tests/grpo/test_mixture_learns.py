"""A mixture of experts learns the quickstart's task by adapters, those of its experts included."""

import json

import mlx.core as mx
import pytest

from grpo.config.sections import ColdStart
from grpo.model import miniature
from grpo.train import QUICKSTART, main

MIXTURE = {
    "model_type": "qwen3_moe",
    "head_dim": 32,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 96,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "norm_topk_prob": True,
}
KEYS = ["fine_tune=lora", "learning_rate=1e-3", "min_learning_rate=1e-4", "steps=50", "eval_every=50",
        "eval_greedy=false", "completions_every=0", "save_every=0", "seed=1"]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("replay", ["false", "true"])
def test_a_mixture_of_experts_learns_the_quickstart(tmp_path, monkeypatch, replay):
    monkeypatch.setattr(miniature, "SHAPE", {**miniature.SHAPE, **MIXTURE})
    model, run = tmp_path / "model", tmp_path / "run"
    miniature.build(model, ColdStart(steps=360, wrong=0.3, mixed=0.2, broken=0.3), seed=1)
    keys = [f"model={model}", f"routing_replay={replay}", *KEYS]
    assert main(["--config", str(QUICKSTART), "--output", str(run), *keys]) == 0
    summary = json.loads((run / "summary.json").read_text())
    before, after = summary["before"]["accuracy"], summary["after"]["accuracy"]
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    moved = {name: mx.abs(leaf).max().item() for name, leaf in mx.load(str(run / "adapters.safetensors")).items()}
    experts = [size for name, size in moved.items() if "switch_mlp" in name and name.endswith("lora_b")]
    loads = [metrics[place]["experts/load_max"] for place in (0, -1)]
    print(f"replay {replay}: accuracy {before:.3f} -> {after:.3f}, busiest expert {loads}, {summary['seconds']:.0f} s")
    assert len(experts) == 3 * 4 and min(experts) > 0
    assert min(line["experts/agreement"] for line in metrics) > 0.9
    assert after > before + 0.15
