"""Logit distillation: the student learns the distribution a live teacher has at each counted token of a corpus.

The teacher runs on the same rows. With `top_k` its likeliest tokens are kept on disk, one file an example, so every
later epoch (and run) needs no teacher.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from distill.sft.cross_entropy import Head
from distill.sft.examples import Example
from distill.sft.packing import packed_hidden, packing_refused, padded_hidden
from distill.sft.step import predicting_places
from distill.student.divergence import Divergence, bucketed, divergence, log_softmax, unbucketed
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.runs import checkpoint

WEIGHTS_FILE = "teacher.txt"  # of a cache: the fingerprint of the weights whose tokens it holds
DIGEST = "sha256"  # of the arrays, in the metadata of a cache's file


@dataclass(frozen=True)
class Matching:
    """The distribution to match, and how."""

    kind: Divergence
    temperature: float  # both sides' logits are divided by it; the loss is times its square (arXiv 1503.02531)
    top_k: int | None  # None = the whole vocabulary, nothing kept


class LogitObjective:
    """`distill.sft.step.Objective`: the divergence from the teacher in place of the cross-entropy."""

    def __init__(self, load: Callable[[], Policy], matching: Matching, cache: Path, *, logits_chunk: int) -> None:
        """`load` is called when a row is met that the cache does not hold."""
        self.load, self.matching, self.cache, self.logits_chunk = load, matching, cache, logits_chunk

    @cached_property
    def teacher(self) -> Policy:
        """Loaded when first needed."""
        policy = self.load()
        self.packed = packing_refused(policy) is None
        return policy

    def __call__(self, examples: Sequence[Example], tokens: mx.array) -> Head:
        if self.matching.top_k is None:
            return self._whole(self._states(examples))
        kept = [self._kept(example) for example in examples]
        return self._top(mx.concatenate([ids for ids, _ in kept]), mx.concatenate([logs for _, logs in kept]))

    def _states(self, examples: Sequence[Example]) -> mx.array:
        """The teacher's states that predict the counted tokens, [n, hidden]."""
        rows = [example.tokens for example in examples]
        teacher = self.teacher
        hidden = (packed_hidden if self.packed else padded_hidden)(teacher, rows)
        states = hidden[mx.array(predicting_places(examples))]
        mx.eval(states)
        return states

    def _logprobs(self, states: mx.array) -> mx.array:
        return log_softmax(self.teacher.project({}, states).astype(mx.float32) / self.matching.temperature)

    def _whole(self, states: mx.array) -> Head:
        t, kind = self.matching.temperature, self.matching.kind

        def head(logits: mx.array, chunk: slice) -> tuple[mx.array, mx.array]:
            log_p, n = self._logprobs(states[chunk]), logits.shape[-1]
            width = min(n, log_p.shape[-1])  # embeddings of one family are padded to different sizes
            log_q = log_softmax(logits[:, :width] / t)
            losses, by_logits = divergence(log_softmax(log_p[:, :width]), log_q, kind)
            return losses * t**2, mx.pad(by_logits * t, [(0, 0), (0, n - width)])

        return head

    def _top(self, ids: mx.array, log_teacher: mx.array) -> Head:
        t, kind = self.matching.temperature, self.matching.kind

        def head(logits: mx.array, chunk: slice) -> tuple[mx.array, mx.array]:
            log_q = log_softmax(logits / t)
            losses, by_bucket = divergence(log_teacher[chunk], bucketed(log_q, ids[chunk]), kind)
            return losses * t**2, unbucketed(by_bucket, log_q, ids[chunk]) * t

        return head

    def _kept(self, example: Example) -> tuple[mx.array, mx.array]:
        """The teacher's top tokens at the counted places, [n, k], and their logprobs with the rest's, [n, k + 1]."""
        name = hashlib.sha256(json.dumps([example.tokens, example.trained_mask]).encode()).hexdigest()[:24]
        path = self.cache / f"{name}.safetensors"
        arrays = _read(path) or self._keep(example, path)
        return arrays["ids"], arrays["logprobs"]

    def _keep(self, example: Example, path: Path) -> dict[str, mx.array]:
        states, k = self._states([example]), self.matching.top_k
        assert k is not None
        parts = []
        for start in range(0, states.shape[0], self.logits_chunk):
            logprobs = self._logprobs(states[start : start + self.logits_chunk])
            ids = mx.argpartition(-logprobs, kth=min(k, logprobs.shape[-1]) - 1, axis=-1)[:, :k].astype(mx.int32)
            parts.append((ids, bucketed(logprobs, ids)))
            mx.eval(parts[-1])
        self.cache.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{_unfinished()}{os.getpid()}_{path.name}")  # ranks may meet the same row
        whole = {
            "ids": mx.concatenate([ids for ids, _ in parts]),
            "logprobs": mx.concatenate([logs for _, logs in parts]),
        }
        mx.save_safetensors(str(unfinished), whole, metadata={DIGEST: _digest(whole)})
        unfinished.rename(path)
        return whole


def _digest(arrays: Mapping[str, mx.array]) -> str:
    return hashlib.sha256(b"".join(np.asarray(arrays[name]).tobytes() for name in sorted(arrays))).hexdigest()


def _read(path: Path) -> dict[str, mx.array] | None:
    """Return what `_keep` wrote; None where it is not there, or is not what was written: the teacher is asked again."""
    if not path.is_file():
        return None
    try:
        read: Any = mx.load(str(path), return_metadata=True)
        arrays, metadata = read
        whole = metadata.get(DIGEST) == _digest(arrays)
    except (RuntimeError, ValueError, TypeError, AttributeError):  # as mlx says that a file is torn
        return None
    return dict(arrays) if whole else None


def cache_folder(root: Path, teacher: str, adapter: str | None, matching: Matching, weights: str | None) -> Path:
    """Return the folder of a teacher's top tokens; another teacher, temperature or k has another folder.

    `weights`: the fingerprint of the teacher, None if it is not here. Tokens of other weights under the same name go.
    """
    adapted = Path(adapter) / checkpoint.ADAPTER_FILE if adapter is not None else None
    key = [teacher, checkpoint.sha256(adapted) if adapted is not None and adapted.exists() else None]
    settings = json.dumps([*key, matching.temperature, matching.top_k])
    folder = root / hashlib.sha256(settings.encode()).hexdigest()[:16]
    if matching.top_k is not None:
        here().first_before_others(partial(_keep_of, folder, weights))
    return folder


def _keep_of(folder: Path, weights: str | None) -> None:
    """Empty a folder of top tokens unless they are of these weights; take away what killed processes left in it."""
    for path in folder.glob(f"{_unfinished()}*"):
        process = path.name.removeprefix(_unfinished()).partition("_")[0]
        if process.isdecimal() and not _runs(int(process)):
            path.unlink(missing_ok=True)
    if weights is None:
        return
    record = folder / WEIGHTS_FILE
    if record.is_file() and record.read_text() == weights:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write_text(record, weights)


def _unfinished() -> str:
    """Return how the names of files begin that a process of this machine is writing; the machine may share a cache."""
    return f".partial_{platform.node()}_"


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True
