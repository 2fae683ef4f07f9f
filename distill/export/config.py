"""Define what an export can be told."""

from pydantic import Field, model_validator

from grpo.config.sections import Section


class ExportConfig(Section):
    """The model to export and the formats to write."""

    model: str = Field(description="hub id or local MLX directory of the base")
    revision: str | None = Field(None, description="branch, tag or commit of a hub model")
    adapter: str | None = Field(None, description="directory of the adapter, often the run directory; none = the base")
    output: str = Field(description="directory to write; must be new or empty")
    peft: bool = Field(False, description="only the adapter, as a directory of Hugging Face's PEFT")
    dequantise: bool | None = Field(
        None,
        description="full-precision weights from a quantised base; none = where an adapter is fused, whose effect "
        "4 bits would swallow",
    )
    bits: int | None = Field(None, description="bits a weight to quantise to: 2, 3, 4, 5, 6 or 8")
    group_size: int = Field(64, description="weights that share a scale: 32, 64 or 128")
    gguf: bool = Field(False, description="also model.gguf: Llama, Mistral, Qwen2 and Qwen3 types")
    run: str | None = Field(None, description="run directory the model card is filled from; none = the adapter's")
    licence: str | None = Field(
        None, description="of the exported model, as the hub names it (apache-2.0); none = the model card gives none"
    )
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
        if self.peft and self.adapter is None:
            raise ValueError("peft writes an adapter: add --adapter")
        if self.peft and (self.bits is not None or self.gguf):
            raise ValueError("peft writes the adapter alone: bits and gguf are of a whole model")
        if self.push is not None and self.push.count("/") != 1:
            raise ValueError(f"push must be owner/name, got {self.push}")
        return self
