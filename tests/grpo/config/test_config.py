"""Every key does something, every wrong one is a single clear line, and --help is quick."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from grpo.algorithms.estimators import ADVANTAGES
from grpo.config import Config, load_config
from grpo.config.algorithm import ADVANTAGES as ADVANTAGE_NAMES
from grpo.config.algorithm import LOSS_TYPES
from grpo.config.layers import build
from grpo.config.loading import to_yaml
from grpo.config.reference import describe, keys
from grpo.config.sections import ColdStart, ConfigError, LoRA, Section
from grpo.losses import LOSSES

ROOT = Path(__file__).parents[3]
GRPO = ROOT / "grpo"


def refused(overrides=(), path=None) -> str:
    """The one line with which a config is refused."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# What is refused


def test_an_unknown_key_names_the_nearest():
    assert "unknown key learning_rat (did you mean learning_rate?)" in refused(["learning_rat=1"])


def test_an_unknown_nested_key_names_the_nearest():
    assert "unknown key lora.rnk (did you mean lora.rank?)" in refused(["lora.rnk=8"])


def test_an_unknown_key_like_no_other_points_to_help():
    assert "unknown key zzzzzz, see --help" in refused(["zzzzzz=1"])


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("steps=many", ["steps", "'many'"]),
        ("steps=1.5", ["steps", "1.5"]),
        ("lora.rank=[1]", ["lora.rank", "[1]"]),
        ("learning_rate=fast", ["learning_rate", "'fast'"]),
        ("learning_rate=.nan", ["learning_rate", "nan"]),
        ("gradient_checkpointing=maybe", ["gradient_checkpointing", "'maybe'"]),
        ("reward_weights=1", ["reward_weights", "1"]),
        ("reward_weights.accuracy=high", ["reward_weights.accuracy", "'high'"]),
        ("loss_type=ppo", ["loss_type", "'dapo'", "'ppo'"]),
        ("adam_betas=[0.9]", ["adam_betas"]),
        ("model=null", ["model", "None"]),
    ],
)
def test_a_wrong_type_names_key_and_value(override, parts):
    message = refused([override])
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("num_generations=1", "num_generations"),
        ("temperature=0", "temperature"),
        ("steps=0", "steps"),
        ("beta=-1", "beta"),
        ("lora.dropout=1", "lora.dropout"),
        ("delta=1", "delta"),
        ("eval_top_p=0", "eval_top_p"),
        ("cold_start.wrong=2", "cold_start.wrong"),
    ],
)
def test_a_value_out_of_range_names_its_key(override, key):
    assert f"{key}: " in refused([override])


SERVER = "rollout.url=http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["top_p=0.9"], "top_p must be 1 in training, got 0.9"),
        (["credit=turn", "scale_rewards=batch"], "credit turn needs advantage group and scale_rewards group or none"),
        (["top_k=5"], "top_k must be 0 in training, got 5"),
        (
            ["template=plain", "system_prompt=x"],
            "chat_template_kwargs need template: chat, got plain",
        ),
        (["stop=['']"], "stop must hold texts that are not empty"),
        (["prompts_per_step=3", "num_updates=2"], "prompts_per_step must be a multiple of num_updates, got 3 and 2"),
        (["max_rows=8"], "max_rows must be at least num_generations, got 8 and 16"),
        (["fine_tune=full", "adapter=somewhere"], "adapter needs fine_tune: lora"),
        (["min_learning_rate=1.0"], "min_learning_rate must be at most learning_rate"),
        (["loss_type=cispo"], "loss_type cispo needs epsilon_high"),
        (
            ["multi_objective_aggregation=normalize_then_sum", "scale_rewards=none"],
            "multi_objective_aggregation normalize_then_sum needs scale_rewards: group, got none",
        ),
        (
            ["multi_objective_aggregation=normalize_then_sum", "advantage=rloo"],
            "multi_objective_aggregation normalize_then_sum needs advantage: group, got rloo",
        ),
        (["scale_rewards=batch", "advantage=rloo"], "scale_rewards batch needs advantage: group, got rloo"),
        (["advantage=pass_at_k", "pass_k=17"], "pass_k must be at most num_generations, got 17 and 16"),
        (["group_filter=mine:f"], "group_filter must be spread, or module:function with dynamic_sampling"),
        (["replay_size=4", "pass_reward=format_tag_count"], "pass_reward must be one of reward_weights"),
        (["curriculum_hopeless=0.5", "curriculum_mastered=0.5"], "curriculum_hopeless must be below"),
        (["length_schedule=[[5, 8], [0, 16]]"], "length_schedule must have rising steps"),
        (["importance_sampling_min=0.5"], "importance_sampling_min needs importance_sampling_cap"),
        (["importance_sampling_cap=1", "importance_sampling_min=2"], "importance_sampling_min must be below"),
        (["beta=0", "sync_ref_model=true"], "need beta above 0"),
        (["loss_type=mine:loss", "use_bias_correction_kl=true"], "needs a built-in loss_type, got mine:loss"),
        (["full_layers=1"], "full_layers needs fine_tune: full"),
        (["fine_tune=full", "lora_plus_ratio=4"], "lora_plus_ratio needs adapters"),
        (["process_reward=steps"], "process_reward must be module:function, got steps"),
        (["rollout_source=server"], "rollout_source must be engine or module:function, got server"),
        (["rollout.model=x"], "rollout.model needs rollout.url: the engine samples here"),
        ([SERVER, "rollout.sync_there=/x"], "rollout.sync_there needs rollout.sync"),
        ([SERVER, "rollout_source=a:b"], "rollout.url and rollout_source a:b both say who samples"),
        (
            [SERVER, "rollout.processed_logprobs=true"],
            "rollout.processed_logprobs is of vLLM, got rollout.server mlx_lm",
        ),
        (["rollout.url=[http://127.0.0.1:1,http://10.0.0.9:1]"], "and http://10.0.0.9:1 share"),
        ([SERVER, "kv_bits=8"], "kv_bits must be 0 with rollout.url, got 8"),
        ([SERVER, "top_entropy_quantile=0.5"], "top_entropy_quantile must be 1 with rollout.url, got 0.5"),
        (["tensor_parallel=true", "fine_tune=full"], "tensor_parallel needs fine_tune: lora"),
        (["tensor_parallel=true", "eval_every=5", "eval_benchmarks=[gsm8k]"], "tensor_parallel has no eval_benchmarks"),
        (["reward_weights={accuracy: 0}"], "at least one reward needs a weight other than 0"),
    ],
)
def test_an_impossible_combination_gives_its_reason(overrides, reason):
    assert reason in refused(overrides)


def test_every_rule_has_a_case_above():
    cases = next(m for m in test_an_impossible_combination_gives_its_reason.pytestmark if m.name == "parametrize")
    assert len(cases.args[1]) == len(Config()._rules()) + 1  # and the validator of reward_weights


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [1", "is no valid YAML"),
        ("- a\n- b", "must hold `key: value` lines, got a list"),
        ("just words", "got a str"),
        ("steps: 1\n  beta: 2", "is no valid YAML"),
        ("steps: 1\nbeta: 0\nsteps: 2", "steps is there twice"),
        ("lora: {rank: 1, rank: 2}", "rank is there twice"),
    ],
)
def test_broken_yaml_is_one_line(tmp_path, text, reason):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    message = refused(path=path)
    assert reason in message and str(path) in message


def test_a_missing_file_is_named(tmp_path):
    assert "No such file" in refused(path=tmp_path / "none.yaml")


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in refused(path=path)


def test_a_file_s_fault_names_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("stepz: 3")
    assert refused(path=path).startswith(f"{path}: unknown key stepz")


@pytest.mark.parametrize("override", ["steps", "=3", "steps.a=1.b", "lora=5"])
def test_an_override_that_is_none_is_refused(override):
    assert refused([override])


def test_an_override_into_a_single_value_is_refused():
    assert "model is a single value" in refused(["model=x", "model.name=y"])


# What is understood


def test_overrides_come_after_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("steps: 3\nlora: {rank: 4}\n")
    config = load_config(path, ["steps=5", "lora.alpha=8"])
    assert (config.steps, config.lora.rank, config.lora.alpha) == (5, 4, 8.0)


def test_an_empty_file_is_the_defaults(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("# nothing\n")
    assert load_config(path) == Config()


@pytest.mark.parametrize(
    ("override", "field", "value"),
    [
        ("learning_rate=1.0e-4", "learning_rate", 1e-4),
        ("learning_rate=1e-4", "learning_rate", 1e-4),  # YAML 1.1 reads a text, pydantic the number
        ("model=a=b", "model", "a=b"),
        ("system_prompt=Think, then answer.", "system_prompt", "Think, then answer."),
        ("system_prompt='Think: then answer.'", "system_prompt", "Think: then answer."),  # else YAML reads a section
        ("revision=", "revision", None),
        ("epsilon_high=null", "epsilon_high", None),
        ("adam_betas=[0.8, 0.95]", "adam_betas", (0.8, 0.95)),
        ("gradient_checkpointing=true", "gradient_checkpointing", True),
    ],
)
def test_an_override_is_read_as_yaml(override, field, value):
    assert getattr(load_config(None, [override]), field) == value


def test_lora_targets_may_be_a_list():
    assert load_config(None, ["lora.targets=[q_proj, v_proj]"]).lora.targets == ["q_proj", "v_proj"]


def test_one_reward_s_weight_keeps_the_others():
    weights = load_config(None, ["reward_weights.format=0.5"]).reward_weights
    assert weights == {"accuracy": 1.0, "format": 0.5, "language": 0.2}


def test_null_takes_a_reward_out():
    assert load_config(None, ["reward_weights.language=null"]).reward_weights == {"accuracy": 1.0, "format": 0.3}


def test_a_reward_s_name_may_have_dots():
    assert load_config(None, ["reward_weights.my.module:score=2"]).reward_weights["my.module:score"] == 2.0


def test_options_nest():
    config = load_config(None, ["data_options.test_size=50", "reward_options.accuracy.extract=last_number"])
    assert config.data_options == {"test_size": 50}
    assert config.reward_options == {"accuracy": {"extract": "last_number"}}


def test_a_config_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        Config().steps = 3


def test_clip_high_is_epsilon_unless_given():
    assert Config(epsilon=0.3).clip_high == 0.3
    assert Config(epsilon=0.3, epsilon_high=0.5).clip_high == 0.5


def test_batch_is_prompts_by_samples():
    assert Config(prompts_per_step=3, num_generations=4).batch == 12


def test_what_is_written_is_read_back(tmp_path):
    config = load_config(
        None,
        [
            "lora.targets=[q_proj]",
            "reward_weights.a.b:c=2",
            "reward_gates.a.b:c=language>=0.8",
            "reward_clip.a.b:c=[0, 1]",
            "system_prompt='数: one'",
            "adam_betas=[0.8, 0.9]",
            "epsilon_high=0.28",
        ],
    )
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(path) == config
    assert build(Config, yaml.safe_load(to_yaml(Config())), source="x") == Config()


# What is said about it


def test_describe_names_every_key_with_its_default_and_meaning():
    text = describe(Config)
    for key in keys(Config):
        among = f" ({' | '.join(key.choices)})" if key.choices else ""
        assert f"  {key.name} = {key.default}{among}\n      {key.meaning}" in text
        assert key.meaning, f"{key.name} has no description"


def test_keys_reach_into_the_sections():
    names = [key.name for key in keys(Config)]
    assert {"lora.rank", "cold_start.steps", "model"} <= set(names)
    assert "lora" not in names and len(names) == len(set(names))


def test_losses_and_advantages_are_those_of_the_maths():
    assert tuple(LOSSES) == LOSS_TYPES
    assert tuple(ADVANTAGES) == ADVANTAGE_NAMES


def recipes() -> list[Path]:
    """Checked-in configs of grpo.train; a file of another command says so in its first line (`# command: ...`)."""
    found = sorted([*(ROOT / "configs").rglob("*.yaml"), *(GRPO / "recipes").rglob("*.yaml")])
    first = {path: path.read_text(encoding="utf-8").partition("\n")[0] for path in found}
    return [path for path in found if "command:" not in first[path] or "grpo.train" in first[path]]


def test_there_are_recipes():
    assert recipes()


@pytest.mark.parametrize("path", recipes(), ids=lambda path: path.stem)
def test_every_recipe_loads(path):
    load_config(path)


@pytest.mark.parametrize("path", recipes(), ids=lambda path: path.stem)
def test_every_recipe_begins_with_what_it_is(path):
    assert path.read_text(encoding="utf-8").startswith("#")


def used_beyond_rules() -> set[str]:
    """Every `.name` that is read in grpo; of what only checks or describes a config, its properties alone."""
    tree = ast.parse((GRPO / "config" / "training.py").read_text(encoding="utf-8"))
    rules = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "_rules")
    for node in ast.walk(rules):
        if isinstance(node, ast.Attribute):
            node.attr = ""
    own = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    # these only talk about a run; what they alone read has no effect on it
    talk = {"config/", "memory/estimate.py", "doctor/", "runs/coach.py"}
    others = {
        node.attr
        for path in GRPO.rglob("*.py")
        if not path.relative_to(GRPO).as_posix().startswith(tuple(talk))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    return own | others


@pytest.mark.parametrize(
    ("section", "name"),
    [(section, name) for section in (Config, LoRA, ColdStart) for name in section.model_fields],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_key_is_read_somewhere(section: type[Section], name: str):
    assert name in used_beyond_rules(), f"{section.__name__}.{name} is accepted and does nothing"


def test_the_scan_sees_a_key_that_is_not_read():
    assert "no_such_key_is_read" not in used_beyond_rules()


@pytest.mark.parametrize("command", ["grpo.train", "grpo.doctor"])
def test_help_is_quick_and_needs_no_mlx(command):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{command}', '--help']\n"
        "try:\n"
        f"    runpy.run_module('{command}', run_name='__main__')\n"
        "finally:\n"
        "    slow = ('mlx', 'mlx.core', 'mlx_lm', 'datasets', 'transformers')\n"
        "    heavy = [name for name in slow if name in sys.modules]\n"
        "    import time\n"
        "    print('imported:', heavy, 'seconds:', time.process_time(), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "imported: []" in done.stderr
    assert "learning_rate = " in done.stdout and "lora.rank = " in done.stdout
    assert float(done.stderr.rpartition("seconds:")[2]) < 1  # of its own: the machine may be busy


def test_an_option_of_the_data_that_is_given_as_a_key_says_where_it_belongs():
    said = refused(["answer_column=gold"])
    assert "unknown key answer_column (it is an option of the data: data_options.answer_column=...)" in said


@pytest.mark.parametrize(
    "overrides",
    [
        ["reward_weights.judge=1", "reward_options.judge.url=https://me:hunter2@host/v1"],
        ["reward_weights.judge=1", "reward_options.judge.api_key=hunter2"],
        ["data=https://me:hunter2@host/rows.jsonl"],
        ["data_options.token=hunter2"],
    ],
)
def test_a_key_or_password_is_refused_and_not_repeated(overrides):
    with pytest.raises(ConfigError, match="holds a key or password") as caught:
        load_config(None, overrides)
    assert "hunter2" not in str(caught.value)
