"""The table of findings: what each looks like in a run, and what to do. docs/troubleshooting.md is made from it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One fault that a run can show."""

    sign: str  # what it looks like
    remedy: str  # what to do, the most likely help first
    explains: tuple[str, ...] = ()  # findings that are symptoms of this one


DAMAGE = ("too hard", "truncated", "repetition", "entropy collapse", "KL blow-up", "gradient spikes", "stops at once")
GARBLED = ("too hard", "truncated", "repetition", "strict/lenient gap", "reward never fires", "language drift")

KINDS: dict[str, Kind] = {
    "learning rate too high": Kind(
        "The reward was there and fell, while the KL, the clipped share or the entropy jumped.",
        "Lower learning_rate by a factor of 5 to 10, add warmup_steps, and start again or go back to a checkpoint from "
        "before the fall.",
        (*DAMAGE, "language drift", "copies the prompt", "reward never fires", "strict/lenient gap", "too easy"),
    ),
    "learning rate too low": Kind(
        "Rewards differ and gradients flow, but the policy stays where it began and the reward is flat.",
        "Raise learning_rate by a factor of 10 (adapters often want 1e-5 to 1e-4), and look whether warmup_steps is "
        "longer than the run.",
    ),
    "dead adapters": Kind(
        "Rewards differ, but the gradient or its effect is 0: nothing that is trained reaches the output.",
        "Check lora.targets, lora.layers, lora.alpha and a loss of your own; log.txt names the layers that have "
        "adapters.",
        ("learning rate too low",),
    ),
    "KL penalty too strong": Kind(
        "beta is large, the policy stays at the start of the run and the reward is flat.",
        "Lower beta: 0.01 is the default, 0 leaves the penalty out.",
        ("learning rate too low", "gradient spikes"),
    ),
    "entropy bonus too strong": Kind(
        "entropy_coef is large: the policy is pushed towards random words and the reward does not rise.",
        "Lower entropy_coef to 0.001, or leave it out.",
        (*DAMAGE, *GARBLED, "learning rate too high", "wrong template"),
    ),
    "KL blow-up": Kind(
        "The KL to the start of the run is many times what a run that learns shows.",
        "Lower learning_rate or raise beta.",
    ),
    "gradient spikes": Kind(
        "The gradient norm of some steps is ten times the usual one, or updates were not finite.",
        "Lower max_grad_norm or learning_rate, and look for rewards with rare huge values (reward_clip bounds them).",
        ("learning rate too low",),
    ),
    "mismatch": Kind(
        "Sampler and trainer give the same tokens different logprobs before the first update of a batch.",
        "Try dtype: float32, kv_bits: 0, merge_adapter: false and lora.dropout: 0; a rollout source of your own must "
        "return logprobs at the training temperature. importance_sampling_cap bounds the harm.",
    ),
    "entropy collapse": Kind(
        "The entropy fell to a fraction of its start before the answers were right: a group's samples are alike.",
        "Lower learning_rate, raise beta, or set epsilon_high: 0.28.",
        ("too hard",),
    ),
    "temperature too high": Kind(
        "The samples are close to random words because temperature is far above 1.",
        "Set temperature to 1.0.",
        (*GARBLED, "wrong template", "learning rate too low", "entropy collapse", "stops at once", "mismatch"),
    ),
    "temperature too low": Kind(
        "A group's samples are nearly the same because temperature is far below 1: nothing to compare.",
        "Set temperature to 1.0.",
        ("entropy collapse", "too hard", "too easy", "learning rate too low"),
    ),
    "too easy": Kind(
        "Nearly all completions are right from the start: groups are equal and teach nothing.",
        "Use harder tasks (data, data_options), or raise num_generations so that rare failures show.",
    ),
    "too hard": Kind(
        "No completion is right: the task's reward is 0 from the first step to the last.",
        "Use easier tasks, a stronger model, or an adapter from supervised fine-tuning that is right now and then; "
        "read completions/ first.",
        ("format farmed", "strict/lenient gap"),
    ),
    "no reward judges the task": Kind(
        "The rewards pay the form, or are the same for every completion: none says whether the task was done.",
        "Add a reward that judges the answer, such as reward_weights.accuracy=1.0, or mend your own.",
        ("too easy", "learning rate too low", "too hard"),
    ),
    "reward never fires": Kind(
        "One reward is 0 for every completion of the run.",
        "Call it on a completion you wrote (python -m rewards.score); check the columns and the format it reads, or "
        "take it out.",
        ("too hard", "learning rate too low"),
    ),
    "reward fails": Kind(
        "A reward raises, times out or returns nonsense.",
        "log.txt has its tracebacks: mend it, raise reward_timeout_seconds, or take it out.",
        ("reward never fires", "learning rate too low", "no reward judges the task"),
    ),
    "reward has no value": Kind(
        "The rewards give most completions no value (None) though none of them failed.",
        "Look at what they answer None to (python -m rewards.score). If such a completion deserves nothing, "
        "missing_rewards: zero pays it 0; if another reward judges it, missing_rewards: ignore.",
        ("reward never fires", "learning rate too low", "no reward judges the task", "too hard"),
    ),
    "reward is random": Kind(
        "The same completion of the same task is paid differently.",
        "Make the reward depend on the completion alone; control: random_reward is meant for comparison only.",
        ("learning rate too low", "rewards disagree", "no reward judges the task", "format farmed"),
    ),
    "wrong gold answers": Kind(
        "Samples of a task agree with one another and are well formed, but not with the gold answer.",
        "Read a few tasks beside their answer column; look for shifted or shuffled rows and other units.",
        ("too hard", "reward never fires", "format farmed", "strict/lenient gap", "learning rate too low"),
    ),
    "strict/lenient gap": Kind(
        "The right answer stands in the completions, but the reward does not find it there.",
        "Fit reward_options.accuracy.extract to how the model answers, or teach the format first (format reward, cold "
        "start).",
        ("too hard", "reward never fires", "format farmed", "wrong gold answers"),
    ),
    "answer in the prompt": Kind(
        "The prompt contains the gold answer: the model copies it.",
        "Take the answer out of the prompt column.",
        ("too easy", "copies the prompt", "memorised prompts", "no reward judges the task"),
    ),
    "format farmed": Kind(
        "The form's reward is high or rises while the answers do not get better.",
        "Gate the form by the answer (reward_gates: {format: accuracy}), lower its weight, or use easier tasks.",
        ("no reward judges the task", "too hard", "entropy collapse", "reward never fires"),
    ),
    "length without gain": Kind(
        "Completions grow longer, or are paid for length, without more right answers.",
        "Take out or gate the reward that pays length, add overlong, or lower max_completion_length.",
        (
            "no reward judges the task",
            "truncated",
            "repetition",
            "too hard",
            "format farmed",
            "KL blow-up",
            "language drift",  # where length is paid for sure: another language may take more words
        ),
    ),
    "rewards disagree": Kind(
        "What one reward pays another takes: within a group they go against each other, or a task reward is negative.",
        "Change the weights or gate one reward by the other (reward_gates); look at rewards/NAME/mean one by one.",
        ("no reward judges the task", "too hard", "learning rate too low", "format farmed", "learning rate too high"),
    ),
    "memorised prompts": Kind(
        "The tasks trained on are answered much better than held-out ones, or a handful of tasks is seen many times.",
        "Use more tasks, fewer steps or a lower learning_rate; the checkpoint with the best held-out figure is the "
        "one to keep.",
        ("too easy", "entropy collapse"),
    ),
    "truncated": Kind(
        "Most completions are cut at max_completion_length without a stop token.",
        "Raise max_completion_length; where the model never stops, check template, stop and stop_tokens.",
        ("too hard", "strict/lenient gap", "reward never fires", "format farmed", "learning rate too low"),
    ),
    "stops at once": Kind(
        "Completions are empty or a word or two long, and wrong.",
        "Check stop and stop_tokens; look for a reward that pays brevity.",
        ("too hard", "reward never fires", "no reward judges the task", "entropy collapse", "strict/lenient gap"),
    ),
    "repetition": Kind(
        "Completions repeat the same words over and over.",
        "Add the repetition reward, lower learning_rate, or begin from an earlier checkpoint.",
        ("truncated", "no reward judges the task", "length without gain", "KL blow-up", "entropy collapse"),
    ),
    "copies the prompt": Kind(
        "Completions repeat the prompt instead of answering it.",
        "Look for a reward that pays overlap with the prompt; check that template fits the model.",
        (
            "too hard",
            "no reward judges the task",
            "entropy collapse",
            "length without gain",
            "KL blow-up",
            "repetition",
            "truncated",
            "language drift",
        ),
    ),
    "language drift": Kind(
        "The completions leave the language they began in.",
        "Give the language reward a weight (reward_weights.language=0.2), raise beta, or lower learning_rate.",
        ("no reward judges the task", "length without gain", "KL blow-up", "truncated", "repetition"),
    ),
    "wrong template": Kind(
        "The prompts are not written as the model knows them: it meets unknown words, or plays both sides.",
        "Set template: chat for a model that has a chat template, plain or r1_zero for a base model.",
        (
            *GARBLED,
            "learning rate too high",
            "wrong gold answers",
            "stops at once",
            "copies the prompt",
            "temperature too high",
            "format farmed",
        ),
    ),
    "environment fails": Kind(
        "The environment or its tools fail, or the model's calls cannot be read.",
        "log.txt has the tracebacks; for malformed calls use a model with tool calling, or show an example call in "
        "the prompt.",
        (
            "too hard",
            "reward fails",
            "reward has no value",
            "reward never fires",
            "no reward judges the task",
            "strict/lenient gap",
            "learning rate too low",
        ),
    ),
}


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a run."""

    name: str  # one of KINDS
    confidence: float  # 0 to 1
    evidence: str  # what was seen, with its numbers
    remedy: str
    changes: tuple[str, ...] = ()  # key=value to try first

    @property
    def line(self) -> str:
        """Name, evidence and remedy as one line."""
        tried = f" Try {' '.join(self.changes)}." if self.changes else ""
        return " ".join(f"{self.name}: {self.evidence}. {self.remedy}{tried}".split())


def found(name: str, confidence: float, evidence: str, *changes: str) -> Finding:
    """Return the finding of a kind; its remedy is the table's."""
    return Finding(name, round(min(max(confidence, 0.0), 1.0), 2), evidence, KINDS[name].remedy, changes)
