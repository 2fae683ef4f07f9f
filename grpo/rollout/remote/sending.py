"""Put each step's adapter where the servers can read it, under a path that holds its version."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grpo.config.sections import ConfigError
from grpo.model.adapter_files import AdapterFiles, write_peft
from grpo.model.policy import Policy
from grpo.ranks import here
from grpo.runs.checkpoint import sha256

PARTIAL = ".partial"


@dataclass(frozen=True)
class Sent:
    """An adapter in the shared folder."""

    version: int  # steps whose updates it has seen
    name: str  # vNNNNNN-DIGEST: the same name is the same weights, whoever wrote it
    path: str  # as the servers see it
    bytes: int


class Sender:
    """Writes a run's adapters to a folder of its own in `folder`, which servers see as `there`."""

    def __init__(self, folder: Path, there: str, layout: Literal["mlx_lm", "peft"], base: str, *, keep: int) -> None:
        """`base` is the base model's name, `keep` how many of the newest versions stay; earlier ones go."""
        self.folder, self.there, self.layout, self.base, self.keep = folder, there, layout, base, keep
        self.sent: list[Sent] = []
        if not here().writes:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in [*folder.glob("v*"), *folder.glob(f"{PARTIAL}*")]:  # of an earlier sitting
                shutil.rmtree(old, ignore_errors=True)
        except OSError as error:
            raise ConfigError(f"rollout.sync {folder} can't be written: {error.strerror}") from error

    def send(self, policy: Policy, version: int) -> Sent:
        """Write the policy's adapter as it is now; a folder appears whole or not at all."""
        partial = self.folder / f"{PARTIAL}-{version:06d}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if self.layout == "mlx_lm":
            policy.save_adapter(partial)
        else:
            settings = policy.adapter_config()
            weights = policy.trainable()
            adapter = AdapterFiles("lora", settings["num_layers"], settings["lora_parameters"], weights)
            write_peft(adapter, partial, self.base, short_names=True)
        weights_file = next(partial.glob("*.safetensors"))
        name = f"v{version:06d}-{sha256(weights_file)[:12]}"
        target = self.folder / name
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        size = sum(path.stat().st_size for path in target.iterdir())
        return Sent(version, name, f"{self.there}/{name}", size)

    def keep_newest(self, sent: Sent) -> None:
        """Remember what rank 0 sent, on every rank, and let it delete what nobody asks for any more."""
        self.sent.append(sent)
        for old in self.sent[: -self.keep] if here().writes else ():
            shutil.rmtree(self.folder / old.name, ignore_errors=True)
        self.sent = self.sent[-self.keep :]
