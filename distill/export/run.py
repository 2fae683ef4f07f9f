"""From base and adapter to a directory that mlx_lm loads, checked by loading it."""

import contextlib
import io
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import dequantize_model, quantize_model, save

from distill.export import gguf, hub
from distill.export.config import ExportConfig
from distill.export.model_card import card
from grpo.config.sections import ConfigError
from grpo.logprobs import token_logprobs
from grpo.model.adapter_files import AdapterFiles, attach, write_peft
from grpo.model.files import load_files
from grpo.runs.checkpoint import write_text
from grpo.runs.interrupt import TrainingFailed

PROBES = (
    "The capital of France is Paris. Two and two make four, and 12 * 12 = 144.",
    "def add(a, b):\n    return a + b\n",
    "<think>\nFirst I look at what is asked, then I answer.\n</think>\n",
)
TOLERANCE = {mx.float32: 1e-4}  # logprobs of the written model against the one in memory; else HALF
HALF = 5e-2


@dataclass(frozen=True)
class Record:
    """The files written and their distance from the trained model: largest logprob difference of the probes, nats."""

    output: str
    adapter_effect: float | None  # base and adapter against the base alone; None without an adapter
    reload_difference: float  # the directory against the model in memory
    adapter_difference: float  # the directory against base and adapter side by side
    bytes: int
    gguf: str | None
    pushed: str | None


def run_export(config: ExportConfig) -> dict[str, Any]:
    """Write the model; returns what export.json holds: how far its logprobs are from the adapter's, and where it is.

    Raises ConfigError, one line, for what the user can put right, and if the written model is not the one meant;
    TrainingFailed if fusing and quantising change the logprobs more than the adapter does.
    """
    output = Path(config.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ConfigError(f"output {output} is not empty: choose another --output")
    partial = output.with_name(f".partial_{output.name}")
    shutil.rmtree(partial, ignore_errors=True)
    model, tokenizer, settings = _load(config)
    probes = [tokens for tokens in (tokenizer.encode(text) for text in PROBES) if len(tokens) > 1]
    base = logprobs(model, probes)
    if config.adapter is not None:
        adapter = attach(model, config.adapter)
        if config.peft:
            return _peft(config, adapter, output, partial)
    adapted = logprobs(model, probes)
    effect = None if config.adapter is None else _distance(adapted, base)
    model, settings = _transformed(config, model, settings)
    meant = logprobs(model, probes)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            save(partial, config.model, model, tokenizer, settings, donate_model=False)
        found = _reloaded(partial, probes)
        difference, tolerance = _distance(found, meant), _tolerance(model)
        if not difference <= tolerance:
            raise ConfigError(
                f"the model written for {output} gives other logprobs than the one in memory: they differ by "
                f"{difference:.2g}, at most {tolerance:.2g} is rounding; nothing was exported"
            )
        figures = {"reload_difference": difference, "adapter_difference": _distance(found, adapted)}
        if effect is not None and figures["adapter_difference"] > max(effect, tolerance):
            raise TrainingFailed(
                f"the exported model would lose what the adapter learned: its logprobs are "
                f"{figures['adapter_difference']:.2g} nats from the trained ones, the adapter moved them by "
                f"{effect:.2g}; {_remedy(config)}; nothing was exported"
            )
        write_text(partial / "README.md", card(config, settings, figures))
        if config.gguf:
            gguf.write(partial, model, settings)
        size = sum(path.stat().st_size for path in partial.iterdir())
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    written = str(output / gguf.FILE) if config.gguf else None
    pushed = hub.push(output, config.push, private=config.private) if config.push is not None else None
    return asdict(Record(output=str(output), adapter_effect=effect, bytes=size, gguf=written, pushed=pushed, **figures))


def logprobs(model: nn.Module, probes: Sequence[Sequence[int]]) -> list[mx.array]:
    """Logprob of each probe's tokens but the first, [probes][time - 1]."""
    model.eval()
    scored = []
    for tokens in probes:
        logits = model(mx.array([list(tokens)]))[0, :-1]  # [time - 1, vocab]
        scored.append(token_logprobs(logits, mx.array(list(tokens[1:])), 1.0))
        mx.eval(scored[-1])
    return scored


def _remedy(config: ExportConfig) -> str:
    if config.bits is not None:
        return f"quantise to more than {config.bits} bits, or not at all"
    return "leave out --no-dequantise" if config.dequantise is False else "train with dtype float32"


def _peft(config: ExportConfig, adapter: AdapterFiles, output: Path, partial: Path) -> dict[str, Any]:
    """Write the adapter alone as PEFT reads it."""
    partial.mkdir(parents=True)
    try:
        write_peft(adapter, partial, config.model)
        if output.exists():
            output.rmdir()
        partial.rename(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    pushed = hub.push(output, config.push, private=config.private) if config.push is not None else None
    return {"output": str(output), "tensors": len(adapter.weights), "pushed": pushed}


def _load(config: ExportConfig) -> tuple[nn.Module, Any, dict[str, Any]]:
    try:
        return load_files(config.model, revision=config.revision)
    except Exception as error:  # whatever the hub client, json, safetensors or mlx_lm raise on a bad model
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ConfigError(f"model {config.model} can't be loaded: {reason}") from error


def _transformed(config: ExportConfig, model: nn.Module, settings: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """Fused, de-quantised, quantised as asked, and the config.json that says so."""
    dequantise = config.adapter is not None if config.dequantise is None else config.dequantise
    fused = [(name, part.fuse(dequantize=dequantise)) for name, part in model.named_modules() if hasattr(part, "fuse")]
    if fused:
        model.update_modules(tree_unflatten(fused))
    if dequantise:
        model = dequantize_model(model)
        settings = {key: value for key, value in settings.items() if not key.startswith("quantization")}
    if config.bits is not None:
        if any(isinstance(part, nn.QuantizedLinear) for part in model.modules()):
            raise ConfigError(f"model {config.model} is quantised already: add --dequantise to quantise it otherwise")
        with contextlib.redirect_stdout(io.StringIO()):
            model, settings = quantize_model(model, settings, config.group_size, config.bits)
        if not any(isinstance(part, nn.QuantizedLinear) for part in model.modules()):
            raise ConfigError(f"no layer's width is a multiple of group_size {config.group_size}: choose a smaller one")
    mx.eval(model.parameters())
    return model, settings


def _reloaded(folder: Path, probes: Sequence[Sequence[int]]) -> list[mx.array]:
    return logprobs(load_files(str(folder))[0], probes)


def _distance(first: Sequence[mx.array], second: Sequence[mx.array]) -> float:
    pairs = zip(first, second, strict=True)
    return max(float(mx.abs(one - other).max().item()) for one, other in pairs)  # type: ignore[arg-type]


def _tolerance(model: nn.Module) -> float:
    leaves = cast("dict[str, mx.array]", dict(tree_flatten(model.parameters()))).values()
    kinds = {leaf.dtype for leaf in leaves if mx.issubdtype(leaf.dtype, mx.floating)}
    return max(TOLERANCE.get(kind, HALF) for kind in kinds)
