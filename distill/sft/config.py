"""Config of SFT, shared by students. Same tree, loader and errors as `grpo.config`; no mlx."""

from typing import Any, Literal

from pydantic import Field, model_validator

from grpo.config.sections import BenchmarkSettings, LoggedRun, ModelSettings, OptimizerSettings, RunSettings


class SFTConfig(ModelSettings, OptimizerSettings, RunSettings, BenchmarkSettings):
    """One run of `python -m distill.sft`."""

    fine_tune: Literal["lora", "dora", "full"] = Field(
        "lora", description="train adapters (on a quantised model too), or all weights of one that is not quantised"
    )

    data: str = Field(description="corpus: a JSONL, JSON, parquet or CSV file, or a hub data set")
    data_config: str | None = Field(None, description="configuration (subset) of a hub data set")
    data_revision: str | None = Field(None, description="branch, tag or commit of a hub data set")
    validation_data: str | None = Field(None, description="another corpus to validate on; its prompts are not trained")
    validation_share: float = Field(
        0.1, ge=0, lt=1, description="of the prompts, held out of training when there is no validation_data; 0 = none"
    )
    max_rows: int | None = Field(None, ge=1, description="rows read of the corpus, from its start")
    template: Literal["chat", "plain"] = Field("chat", description="the model's chat template, or texts as they are")
    system_prompt: str | None = Field(None, description="system message of rows that have none")
    chat_template_kwargs: dict[str, Any] = Field(
        default_factory=dict, description="arguments of the chat template, e.g. {enable_thinking: false}"
    )
    train_on: Literal["assistant", "all"] = Field("assistant", description="whose tokens count in the loss")
    max_length: int = Field(2048, ge=2, description="tokens; a longer example is left out and counted")

    epochs: float = Field(1.0, gt=0, description="passes over the examples, if steps is not given")
    total_steps: int | None = Field(None, ge=1, description="optimizer steps, in place of epochs")
    examples_per_step: int = Field(8, ge=1, description="of an optimizer step, in as many micro-batches as it takes")
    token_budget: int = Field(2048, ge=1, description="positions of a micro-batch; less = less memory, same gradient")
    packing: bool = Field(True, description="examples in one row, attention kept inside each, where the model allows")
    logits_chunk: int = Field(256, ge=1, description="positions whose vocabulary row exists at a time")

    learning_rate: float = Field(1e-4, gt=0, description="peak rate of AdamW")
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        "cosine", description="after the warm-up, down to min_learning_rate"
    )
    adam_betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's")

    eval_every: int = Field(100, ge=0, description="steps between validations (one before, one after); 0 = none")
    eval_examples: int = Field(200, ge=1, description="validation examples, if there are that many")
    patience: int = Field(0, ge=0, description="validations without a better loss before the run stops; 0 = never")
    save_every: int = Field(100, ge=0, description="steps between checkpoints; 0 = only when stopped and at the end")

    @model_validator(mode="after")
    def _possible(self) -> "SFTConfig":
        if self.fine_tune != "lora" and self.adapter is not None:
            raise ValueError(f"adapter needs fine_tune: lora, got {self.fine_tune}: fuse it first (distill.export)")
        if self.min_learning_rate > self.learning_rate:
            raise ValueError(
                f"min_learning_rate must be at most learning_rate, got {self.min_learning_rate} and "
                f"{self.learning_rate}"
            )
        if self.template != "chat" and (self.system_prompt or self.chat_template_kwargs):
            raise ValueError(f"system_prompt and chat_template_kwargs need template: chat, got {self.template}")
        if self.patience and not self.eval_every:
            raise ValueError("patience needs eval_every: without validations nothing can get worse")
        return self


class ResolvedSFT(SFTConfig, LoggedRun):
    """An SFTConfig whose length is known: what the optimizer's schedule needs."""
