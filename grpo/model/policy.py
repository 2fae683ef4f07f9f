"""The model being trained: loading, adapters, its reference, and the two views of it (deciding, decoding).

mlx_lm builds the network; nothing here knows an architecture's insides beyond "trunk, then projection to the
vocabulary".
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten

from grpo.attention.caches import CompletionCache, trunk_caches
from grpo.attention.layout import PrefixLayout, pad_rows
from grpo.attention.routing import install_routing
from grpo.cpu import norm, rotary
from grpo.cpu.switch import serves
from grpo.model.adapters import MergingLoRA
from grpo.model.adapters import install as install_adapters
from grpo.model.head import FrozenHead, close, find_head

ADAPTER_FILE, ADAPTER_CONFIG = "adapters.safetensors", "adapter_config.json"


class Policy:
    """A loaded network with its tokenizer and what is trained of it.

    `shares_prefixes` says whether a prompt can be computed once for its group; found out by trying, as is whether the
    hidden states can be had apart from the vocabulary projection (`head` is None where they can't, and hidden states
    are logits). `sharing_refused` is why it can't be, None where it can.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, *, adapter_settings: dict[str, Any] | None, fine_tune: str
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.adapter_settings, self.fine_tune = adapter_settings, fine_tune
        if serves():
            rotary.install(model)
            norm.install(model)
        self.trunk, self.head = find_head(model)
        self.sharing_refused = _sharing_refused(self)
        self.shares_prefixes = self.sharing_refused is None
        self.adapters = install_adapters(model)
        self.reference_parameters: dict[str, mx.array] | None = None

    @property
    def stop_tokens(self) -> set[int]:
        """Ids that end a completion."""
        return set(self.tokenizer.eos_token_ids)

    def trainable(self) -> dict[str, mx.array]:
        """Every trained leaf by its dotted name."""
        return dict(tree_flatten(self.model.trainable_parameters()))

    def load_trainable(self, weights: dict[str, mx.array]) -> None:
        """Restore what `trainable` returned; raises ValueError if the names or shapes are another model's."""
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
        self.model.update(tree_unflatten(list(weights.items())))
        self.unmerge()

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
        """Whether the learner may use the copies.

        It may in float32, where adding an adapter in loses nothing, without dropout, and where the reference is the
        bare network, so that it and the policy are computed alike.
        """
        return self.reference_parameters is None and all(
            isinstance(part, MergingLoRA) and part.linear.weight.dtype == mx.float32 and not part.has_dropout
            for part in self.adapters.values()
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
        mx.save_safetensors(str(folder / ADAPTER_FILE), self.trainable(), metadata={"format": "mlx"})
        (folder / ADAPTER_CONFIG).write_text(json.dumps(self.adapter_config(), indent=1))

    def adapter_config(self) -> dict[str, Any]:
        """What mlx_lm.tuner.utils.load_adapters needs to build the same adapters."""
        if self.fine_tune == "full":
            return {"fine_tune_type": "full", "num_layers": len(self.model.layers), "lora_parameters": {}}
        return {"fine_tune_type": self.fine_tune, **(self.adapter_settings or {})}


def _on_cpu() -> bool:
    return mx.default_device().type == mx.DeviceType.cpu


def _sharing_refused(policy: Policy) -> str | None:
    """Return why completions run after a shared prompt do not give what whole rows give, None if they do."""
    if not install_routing(policy.model):
        return "its attention is not mlx_lm's scaled_dot_product_attention"
    prompts, rows = [[1, 2, 3, 4, 5], [3, 1, 2]], [[4, 5, 6], [2, 2, 1]]
    layout = PrefixLayout(tuple(map(len, prompts)), (1, 1))
    try:
        caches = trunk_caches(policy.model)
        policy.trunk(pad_rows(prompts), caches)
        shared = policy.trunk(mx.array(rows), [CompletionCache(cache, layout) for cache in caches])
        whole = [policy.trunk(mx.array([prompt + row]))[0, -3:] for prompt, row in zip(prompts, rows, strict=True)]
        same = close(shared, mx.stack(whole))
    except Exception as error:  # a foreign architecture may refuse a foreign cache in any way; whole rows serve it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return None if same else "completions after a shared prompt differ from whole rows"
