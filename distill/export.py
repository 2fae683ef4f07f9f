"""`python -m distill.export`:

a trained adapter as a model of its own: fused, de-quantised, quantised, as GGUF, with a model card, on the hub. Every
directory is loaded again and its logprobs are compared before it is called done.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pydantic import Field, model_validator

from distill.command import guarded, refuse, say
from grpo.config import ConfigError, Section, build


class ExportConfig(Section):
    """What is exported, and as what."""

    model: str = Field(description="hub id or local MLX directory of the base")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    adapter: str | None = Field(None, description="directory of the adapter, often the run directory; none = the base")
    output: str = Field(description="directory to write; must not exist or be empty")
    dequantise: bool = Field(False, description="full-precision weights from a quantised base")
    bits: int | None = Field(None, description="quantise to so many bits a weight: 2, 3, 4, 5, 6 or 8")
    group_size: int = Field(64, description="weights that share a scale: 32, 64 or 128")
    gguf: bool = Field(False, description="also model.gguf (Llama and Mistral types with a SentencePiece vocabulary)")
    run: str | None = Field(None, description="run directory the model card is filled from; none = the adapter's")
    push: str | None = Field(None, description="hub repository (owner/name) to push to")
    private: bool = Field(False, description="of a repository that is made for it")

    @model_validator(mode="after")
    def _possible(self) -> "ExportConfig":
        if self.bits not in (None, 2, 3, 4, 5, 6, 8):
            raise ValueError(f"bits must be 2, 3, 4, 5, 6 or 8, got {self.bits}")
        if self.group_size not in (32, 64, 128):
            raise ValueError(f"group_size must be 32, 64 or 128, got {self.group_size}")
        if self.gguf and self.bits is not None:
            raise ValueError("gguf needs full-precision weights: quantise the GGUF with llama.cpp instead of bits")
        if self.push is not None and self.push.count("/") != 1:
            raise ValueError(f"push must be owner/name, got {self.push}")
        return self


def run_export(config: ExportConfig) -> dict[str, Any]:
    """Write the model; returns what export.json holds: how far its logprobs are from the adapter's, and where it is.

    Raises ConfigError, one line, for what the user can put right, and if the written model is not the one meant.
    """
    from distill.exporting import export

    return export(config)


def parse(arguments: Sequence[str] | None) -> ExportConfig:
    """The command line as a config."""
    parser = argparse.ArgumentParser(prog="python -m distill.export", description=__doc__)
    for name, field in ExportConfig.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        if field.annotation is bool:
            parser.add_argument(flag, action="store_true", help=field.description)
        else:
            parser.add_argument(flag, required=field.is_required(), help=field.description)
    given = {name: value for name, value in vars(parser.parse_args(arguments)).items() if value is not None}
    return build(ExportConfig, given, source="arguments")


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 done, 2 the input is wrong."""
    try:
        config = parse(arguments)
    except ConfigError as error:
        return refuse(error)

    def work() -> None:
        record = run_export(config)
        say(json.dumps(record, indent=1))

    return guarded(work)


if __name__ == "__main__":
    sys.exit(main())
