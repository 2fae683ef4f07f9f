"""The keys of rollouts that servers sample: who is asked, and how adapters get there. Needs no mlx."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from grpo.config.sections import Section

if TYPE_CHECKING:
    from grpo.config.training import Config

REMOTE_CAP = 2.0  # of the importance weights, where none is given
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class RolloutSettings(Section):
    """Servers that sample in the engine's place: see docs/scaling.md."""

    url: str | list[str] | None = Field(
        None, description="address, or addresses, of servers that sample, e.g. http://127.0.0.1:8080; none = the engine"
    )
    server: Literal["mlx_lm", "vllm", "sglang"] = Field("mlx_lm", description="what answers there")
    model: str | None = Field(None, description="the base model's name or path there; none = model, as a whole path")
    sync: str | None = Field(
        None, description="folder that this machine and the servers share, for each step's adapter; none = in output"
    )
    sync_there: str | None = Field(None, description="that folder's path as the servers see it; none = the same")
    concurrency: int = Field(32, ge=1, description="requests to each server at a time")
    timeout_seconds: float = Field(600.0, gt=0, description="for one completion")
    processed_logprobs: bool = Field(
        False, description="the servers' logprobs are of the logits over the temperature: see docs/scaling.md"
    )

    @field_validator("url")
    @classmethod
    def _addresses(cls, given: str | list[str] | None) -> str | list[str] | None:
        for url in [given] if isinstance(given, str) else given or []:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"must look like http://127.0.0.1:8080, got {url!r}")
        if given == []:
            raise ValueError("must name at least one server, got an empty list")
        return given

    @property
    def addresses(self) -> list[str]:
        """The servers, none where the engine samples."""
        return [self.url] if isinstance(self.url, str) else self.url or []


def with_correction(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config's keys with importance weights where servers or older adapters sample, unless it has its own."""
    tree = dict(given)
    rollout = tree.get("rollout")
    remote = isinstance(rollout, Mapping) and bool(rollout.get("url"))
    stale = str(tree.get("max_staleness", 0)) != "0"
    if (remote or stale) and tree.get("importance_sampling_cap", "auto") == "auto":
        tree["importance_sampling_cap"] = REMOTE_CAP
    return tree


def rollout_rules(config: "Config") -> list[tuple[bool, str]]:
    """What must hold between the keys of rollouts, and the reason given where it does not."""
    remote = config.rollout.url is not None
    far = [url for url in config.rollout.addresses if urlsplit(url).hostname not in LOOPBACK]
    alone = [name for name in ("model", "sync", "sync_there") if getattr(config.rollout, name) is not None]
    return [
        (remote or not alone, f"rollout.{alone[0] if alone else ''} needs rollout.url: the engine samples here"),
        (
            config.rollout.sync is not None or config.rollout.sync_there is None,
            "rollout.sync_there needs rollout.sync: it is the same folder as the servers see it",
        ),
        (
            not remote or config.rollout_source == "engine",
            f"rollout.url and rollout_source {config.rollout_source} both say who samples: leave one out",
        ),
        (
            config.rollout.server == "vllm" or not config.rollout.processed_logprobs,
            f"rollout.processed_logprobs is of vLLM, got rollout.server {config.rollout.server}",
        ),
        (
            config.rollout.sync is not None or not far,
            f"rollout.sync must name a folder that this machine and {far[0] if far else ''} share: adapters go there",
        ),
        (
            not remote or config.kv_bits == 0,
            f"kv_bits must be 0 with rollout.url, got {config.kv_bits}: the servers keep their own keys and values",
        ),
        (
            not remote or config.top_entropy_quantile == 1,
            f"top_entropy_quantile must be 1 with rollout.url, got {config.top_entropy_quantile:g}: servers give no "
            "entropies",
        ),
    ]
