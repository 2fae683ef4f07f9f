"""The model being trained: loading, adapters, its reference, and the two views of it (deciding, decoding).

mlx_lm builds the network; nothing here knows an architecture's insides beyond "trunk, then projection to the
vocabulary".
"""

import contextlib
import json
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.lora import LoRASwitchLinear

from grpo.attention.caches import CompletionCache, GroupedRepeatedCache, RepeatedCache, RowsCache
from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.attention.routing import install_routing
from grpo.attention.trunk import has_states, rows_after, run_apart, trunk_caches
from grpo.model import pissa
from grpo.model.adapters import MergingLoRA
from grpo.model.adapters import install as install_adapters
from grpo.model.experts import Mixtures
from grpo.model.head import FrozenHead, close, find_head

ADAPTER_FILE, ADAPTER_CONFIG = "adapters.safetensors", "adapter_config.json"


class Policy:
    """A loaded network with its tokenizer and what is trained of it.

    `shares_prefixes` says whether a prompt can be computed once for its group; found out by trying, as is whether the
    hidden states can be had apart from the vocabulary projection (`head` is None where they can't, and hidden states
    are logits). `sharing_refused` is why it can't be, None where it can; `cut_refused` is why a long row can't be run
    in spans.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        *,
        adapter_settings: dict[str, Any] | None,
        fine_tune: str,
        pissa_start: dict[str, mx.array] | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.adapter_settings, self.fine_tune = adapter_settings, fine_tune
        self.trunk, self.head = find_head(model)
        self.rows_cache: type[RowsCache] = CompletionCache
        self.sharing_refused = _sharing_refused(self)
        self.shares_prefixes = self.sharing_refused is None
        self.cut_refused = _cut_refused(self) if self.shares_prefixes else "it shares no prompts"
        self.adapters = install_adapters(model)
        self.mixtures = Mixtures(model)
        self.pissa_start = pissa_start  # the adapters' own, where they began as a part of the weights
        self.reference_parameters: dict[str, mx.array] | None = None
        self.reference_moved = False  # since the run's start, so that a checkpoint has to keep it

    def whole_caches(self) -> list[Any]:
        """Return caches to begin with, for rows that run from their first token on: layers may need one to be right."""
        try:
            return trunk_caches(self.model)
        except NotImplementedError:
            return make_prompt_cache(self.model)

    @property
    def stop_tokens(self) -> set[int]:
        """Ids that end a completion."""
        return set(self.tokenizer.eos_token_ids)

    def trainable(self) -> dict[str, mx.array]:
        """Every trained leaf by its dotted name."""
        return dict(tree_flatten(self.model.trainable_parameters()))

    def saved(self) -> dict[str, mx.array]:
        """Return what is trained as it is written to disk: adapters of the weights as they were loaded."""
        return self.trainable() if self.pissa_start is None else pissa.written(self.trainable(), self.pissa_start)

    def load_saved(self, weights: dict[str, mx.array]) -> None:
        """Restore what `saved` returned; raises ValueError if the names or shapes are another model's."""
        if self.pissa_start is not None:
            weights, start = pissa.read(weights, self.pissa_start)
            self._check(weights)
            pissa.restart(self.adapters, self.pissa_start, start)
            self.pissa_start = start
        self.load_trainable(weights)

    def load_trainable(self, weights: dict[str, mx.array]) -> None:
        """Restore what `trainable` returned; raises ValueError if the names or shapes are another model's."""
        self._check(weights)
        self.model.update(tree_unflatten(list(weights.items())))
        self.unmerge()

    def _check(self, weights: dict[str, mx.array]) -> None:
        mine = self.trainable()
        wrong = [
            name
            for name in mine.keys() | weights.keys()
            if name not in mine or name not in weights or mine[name].shape != weights[name].shape
        ]
        if wrong:
            raise ValueError(
                f"the saved weights are of another model or adapter: {len(wrong)} leaves differ, "
                f"e.g. {sorted(wrong)[0]}"
            )

    def head_parameters(self) -> dict[str, Any]:
        """Return the trained parameters of the head (empty for LoRA), for grpo.logprobs.chunked_logprobs."""
        return self.head.module.trainable_parameters() if self.head else {}

    def frozen_head(self) -> FrozenHead | None:
        """The vocabulary projection in blocks, for grpo.logprobs.chunked_logprobs; None where it can't be had so."""
        return self.head.frozen() if self.head else None

    def project(self, parameters: dict[str, Any], hidden: mx.array) -> mx.array:
        """Logits [n, vocab] of hidden states [n, hidden], with these parameters in place of the trained ones."""
        if self.head is None:
            return hidden
        if not parameters:
            return self.head(hidden)
        kept = self.head.module.trainable_parameters()
        self.head.module.update(parameters)
        logits = self.head(hidden)
        self.head.module.update(kept)
        return logits

    def freeze_reference(self) -> None:
        """Take the weights of this moment as the reference: the start of the run.

        A fresh adapter needs no copy, the network without it is the same; a trained adapter, or the whole network in
        full fine-tuning, is kept (arrays are immutable: memory grows only as the policy moves away).
        """
        fresh = self.fine_tune == "lora" and all(
            not leaf.any().item() for name, leaf in self.trainable().items() if name.endswith("lora_b")
        )
        self.reference_parameters = None if fresh else self.trainable()

    def move_reference(self, share: float) -> None:
        """Move the reference to share * policy + (1 - share) * reference; with adapters, of their matrices A and B."""
        policy, old = self.trainable(), self.reference_parameters
        if share < 1:
            if old is None:  # the network without its adapter: B = 0, and any A
                old = {name: mx.zeros_like(w) if name.endswith("lora_b") else w for name, w in policy.items()}
            policy = {name: share * weights + (1 - share) * old[name] for name, weights in policy.items()}
            mx.eval(policy)
        self.reference_parameters, self.reference_moved = policy, True

    @contextlib.contextmanager
    def as_reference(self) -> Iterator[None]:
        """Within this context, the network is the reference."""
        if self.reference_parameters is None:
            with self._swapped({name: part.linear for name, part in self.adapters.items()}):
                yield
            return
        current = self.trainable()
        self.model.update(tree_unflatten(list(self.reference_parameters.items())))
        try:
            yield
        finally:
            self.model.update(tree_unflatten(list(current.items())))

    @contextlib.contextmanager
    def decoding(self, *, merge: bool) -> Iterator[None]:
        """Within this context, the network samples: no dropout, adapters merged into copies of full-precision weights.

        The copies stay for the learner where it can use them.
        """
        self.model.eval()
        if merge:
            self.merge()
        try:
            yield
        finally:
            self.unmerge(keep=self.learns_merged)

    def merge(self) -> None:
        """Compute with copies of the weights into which the current adapters are merged, where that is possible."""
        parts = [part for part in self.adapters.values() if isinstance(part, MergingLoRA)]
        for part in parts:
            part.merge()
        mx.eval([part.sum.weight for part in parts if part.sum])

    def unmerge(self, *, keep: bool = False) -> None:
        """Stop using the copies; `keep` those that still hold for the next `merge`."""
        for part in self.adapters.values():
            if isinstance(part, MergingLoRA):
                part.unmerge(keep=keep)

    @property
    def learns_merged(self) -> bool:
        """Return whether the learner may use the copies.

        It may in float32, where adding an adapter in loses nothing, without dropout, and where the reference is the
        bare network, so that it and the policy are computed alike.
        """
        return self.reference_parameters is None and all(
            isinstance(part, MergingLoRA) and part.linear.weight.dtype == mx.float32 and not part.has_dropout
            for part in self.adapters.values()
            if not isinstance(part, LoRASwitchLinear)
        )

    @contextlib.contextmanager
    def _swapped(self, parts: dict[str, nn.Module]) -> Iterator[None]:
        if not parts:
            yield
            return
        self.model.update_modules(tree_unflatten(list(parts.items())))
        try:
            yield
        finally:
            self.model.update_modules(tree_unflatten([(name, self.adapters[name]) for name in parts]))

    def save_adapter(self, folder: Path) -> None:
        """Write adapters.safetensors and adapter_config.json as mlx_lm reads them."""
        mx.save_safetensors(str(folder / ADAPTER_FILE), self.saved(), metadata={"format": "mlx"})
        (folder / ADAPTER_CONFIG).write_text(json.dumps(self.adapter_config(), indent=1))

    def adapter_config(self) -> dict[str, Any]:
        """Return what mlx_lm.tuner.utils.load_adapters needs to build the same adapters."""
        if self.fine_tune == "full":
            return {"fine_tune_type": "full", "num_layers": len(self.model.layers), "lora_parameters": {}}
        settings = dict(self.adapter_settings or {})
        if self.pissa_start is not None:
            parameters = settings["lora_parameters"]
            settings["lora_parameters"] = {**parameters, "rank": 2 * parameters["rank"]}
        return {"fine_tune_type": self.fine_tune, **settings}


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def _sharing_refused(policy: Policy) -> str | None:
    """Return why completions run after a shared prompt do not give what whole rows give, None if they do.

    Tried with a shared attention first, then with the model's own; `rows_cache` is what was tried last.
    """
    install_routing(policy.model)
    refused = None
    for policy.rows_cache in (CompletionCache, RepeatedCache, GroupedRepeatedCache):
        try:
            refused = _differs(policy)
        except Exception as error:  # a foreign architecture may refuse a foreign cache in any way; whole rows serve it
            refused = raised_in_layer(error)
        if refused is None:
            return None
    return refused


def _cut_refused(policy: Policy) -> str | None:
    """Return why a row that is cut along time does not give what the whole row gives, None if it does."""
    row, caches = mx.array([[1, 2, 3, 4, 5, 3]]), trunk_caches(policy.model)
    try:
        parts = mx.concatenate([policy.trunk(row[:, :4], caches), policy.trunk(row[:, 4:], caches)], axis=1)
        same = close(parts, policy.trunk(row, trunk_caches(policy.model)))
    except Exception as error:  # as with a shared prompt: whole rows serve it
        return raised_in_layer(error)
    return None if same else "a row in two spans differs from the whole row"


def _differs(policy: Policy) -> str | None:
    prompts, rows = [[1, 2, 3, 4, 5], [3, 1, 2]], [[4, 5, 6], [2, 2, 1]]
    layout = PrefixLayout(tuple(map(len, prompts)), (1, 1))
    caches = trunk_caches(policy.model)
    if has_states(caches):
        _, caches = run_apart(policy.trunk, prompts, lambda _: trunk_caches(policy.model))
    else:
        policy.trunk(pad_rows(prompts), caches)
    shared = policy.trunk(mx.array(rows), rows_after(caches, layout, policy.rows_cache))
    whole = [
        policy.trunk(mx.array([prompt + row]), make_prompt_cache(policy.model))[0, -3:]
        for prompt, row in zip(prompts, rows, strict=True)
    ]
    return None if close(shared, mx.stack(whole)) else "completions after a shared prompt differ from whole rows"


def raised_in_layer(error: Exception) -> str:
    """Return an error in one line, after the layer's code that it comes from."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "mlx_lm" in frame.filename]
    place = f"{Path(frames[-1].filename).name} line {frames[-1].lineno} ({frames[-1].line}): " if frames else ""
    return f"{place}{type(error).__name__}: {' '.join(str(error).split())[:300]}"
