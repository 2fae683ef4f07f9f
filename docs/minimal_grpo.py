"""GRPO on a screen and a half: the algorithm in plain MLX, without this project's machinery.

    python docs/minimal_grpo.py

A transformer of one block with random weights learns to repeat two digits backwards and then to stop. Nobody shows it
an answer: it sees rewards only. Read `group_advantages` and `grpo_loss` first, which are the algorithm (DeepSeekMath,
arXiv 2402.03300), then `train` for the order of events. `grpo/` does the same for language models; most of its code is
about memory, speed and runs that survive a kill. A test checks that both give the same loss.
"""

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

DIGITS, STOP, VOCAB = 10, 10, 11  # tokens 0 to 9 are digits, token 10 ends a completion
PROMPT, COMPLETION = 2, 4  # lengths in tokens; a completion may be shorter
PROMPTS, SAMPLES = 8, 8  # prompts a step and completions a prompt: batch = 64 rows


class Model(nn.Module):
    """Map tokens [batch, time] to the logits of each next token [batch, time, vocab], as mlx_lm's models do."""

    def __init__(self, dims: int = 32) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(VOCAB, dims), nn.Embedding(PROMPT + COMPLETION, dims)
        self.blocks = nn.TransformerEncoder(num_layers=1, dims=dims, num_heads=4, mlp_dims=2 * dims, norm_first=True)
        self.head = nn.Linear(dims, VOCAB)

    def __call__(self, tokens: mx.array) -> mx.array:
        time = tokens.shape[1]
        hidden = self.tokens(tokens) + self.positions(mx.arange(time))  # [batch, time, dims]
        return self.head(self.blocks(hidden, nn.MultiHeadAttention.create_additive_causal_mask(time)))


def sample(model: nn.Module, prompts: mx.array) -> tuple[mx.array, mx.array, mx.array]:
    """Draw one completion a row: its tokens, their logprobs and the mask of those up to STOP, all [batch, time]."""
    tokens, logprobs, mask = prompts, [], []
    running = mx.ones(len(prompts))  # 1 until the row has stopped
    for _ in range(COMPLETION):
        scores = nn.log_softmax(model(tokens)[:, -1])  # [batch, vocab]
        drawn = mx.random.categorical(scores)[:, None]  # [batch, 1]
        logprobs.append(mx.take_along_axis(scores, drawn, axis=-1)[:, 0])
        mask.append(running)  # STOP itself is trained on, what follows it is not
        running = running * (drawn[:, 0] != STOP)
        tokens = mx.concatenate([tokens, drawn], axis=1)
    return tokens[:, prompts.shape[1] :], mx.stack(logprobs, axis=1), mx.stack(mask, axis=1)


def completion_logprobs(model: nn.Module, prompts: mx.array, completions: mx.array) -> mx.array:
    """Return the logprob of each completion token, [batch, time]."""
    logits = model(mx.concatenate([prompts, completions], axis=1))  # [batch, prompt + time, vocab]
    before = nn.log_softmax(logits[:, prompts.shape[1] - 1 : -1])  # a token is predicted at the position before it
    return mx.take_along_axis(before, completions[..., None], axis=-1)[..., 0]


def reward(prompt: list[int], completion: list[int]) -> float:
    """Return the share of places that are right: the prompt backwards, then STOP."""
    wanted = [*reversed(prompt), STOP]
    return sum(got == want for got, want in zip(completion, wanted, strict=False)) / len(wanted)


def group_advantages(rewards: mx.array) -> mx.array:
    """Return (r - mean) / (std + 1e-4) within each group, [prompts, samples]; std is the sample's (ddof 1).

    The group's mean takes the place of a learned critic: a completion is good if it beats its siblings.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    return centred / (mx.std(rewards, axis=1, keepdims=True, ddof=1) + 1e-4)


def grpo_loss(
    policy_logprobs: mx.array,  # [batch, time], the only argument with a gradient
    sampler_logprobs: mx.array,  # [batch, time], of the policy that drew the tokens
    reference_logprobs: mx.array,  # [batch, time], of the frozen model that training began with
    advantages: mx.array,  # [batch]
    mask: mx.array,  # [batch, time], 1 at trained tokens
    *,
    clip: float = 0.2,
    beta: float = 0.01,
) -> mx.array:
    """Mean over completions of the mean over tokens of -min(ratio A, clip(ratio) A) + beta k3."""
    ratio, advantages = mx.exp(policy_logprobs - sampler_logprobs), advantages[:, None]
    surrogate = mx.minimum(ratio * advantages, mx.clip(ratio, 1 - clip, 1 + clip) * advantages)
    away = reference_logprobs - policy_logprobs
    k3 = mx.exp(away) - away - 1  # estimates KL(policy || reference), never negative
    losses = (beta * k3 - surrogate) * mask
    return (losses.sum(axis=1) / mx.maximum(mask.sum(axis=1), 1)).mean()


def train(steps: int = 80, updates: int = 2, seed: int = 0) -> list[float]:
    """Run GRPO from random weights; return the mean reward of each step."""
    mx.random.seed(seed)
    model, reference, optimizer = Model(), Model(), optim.Adam(learning_rate=2e-3)
    reference.update(model.parameters())  # arrays are never changed in place, so this is a copy
    loss_and_gradient = nn.value_and_grad(model, lambda score, *given: grpo_loss(score(model), *given))
    history = []
    for step in range(steps):
        prompts = mx.repeat(mx.random.randint(0, DIGITS, (PROMPTS, PROMPT)), SAMPLES, axis=0)  # [batch, prompt]
        completions, sampler_logprobs, mask = sample(model, prompts)
        lengths = mask.sum(axis=1).astype(mx.int32).tolist()
        texts = [row[:length] for row, length in zip(completions.tolist(), lengths, strict=True)]
        rewards = mx.array([reward(p, c) for p, c in zip(prompts.tolist(), texts, strict=True)])  # [batch]
        advantages = group_advantages(rewards.reshape(PROMPTS, SAMPLES)).reshape(-1)  # [batch]
        score = partial(completion_logprobs, prompts=prompts, completions=completions)
        given = (sampler_logprobs, score(reference), advantages, mask)
        for _ in range(updates):  # at the first the ratio is 1; the clip matters from the second on
            loss, gradient = loss_and_gradient(score, *given)
            optimizer.update(model, gradient)
            mx.eval(model.parameters(), optimizer.state, loss)
        history.append(rewards.mean().item())
        if step % 10 == 0:
            print(f"step {step:2d}  reward {history[-1]:.3f}  loss {loss.item():+.4f}")
    return history


if __name__ == "__main__":
    train()
