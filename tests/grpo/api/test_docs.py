"""The examples of docs/python.md and docs/rewards.md are run, and their tables are true."""

import re
from pathlib import Path

import grpo
from grpo.api.trl_names import RENAMED, TRANSLATED, WITHOUT_EFFECT
from grpo.config import Config

DOCS = Path(__file__).parents[3] / "docs"
ROWS = [{"prompt": "w20 w9"}, {"prompt": "w21 w9"}]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.S)


def test_the_program_runs(tiny, tmp_path, monkeypatch, capsys):
    (code,) = blocks("python.md")
    model = str(tiny.directory(tmp_path / "model"))
    code = code.replace("PATH_OR_HUB_ID", model).replace("max_steps=10", "max_steps=1, template='plain'")
    code = re.sub(r"train_dataset=\[.*?\]", f"train_dataset={ROWS}", code)
    code = re.sub(r'"Why is snow white\?"', "'w22 w9'", code)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "python.md", "exec"), {"__name__": "page"})
    assert "curves, rollouts, warnings: runs/short/report.html" in capsys.readouterr().out


def test_the_reward_runs(runs):
    (code,) = blocks("rewards.md")
    runs.module("my_rewards", code)
    run = runs.run("steps=1", "eval_every=0", "reward_weights.my_rewards:short=0.1")
    assert run.code == 0, run.err
    assert run.metrics[0]["longest"] > 0
    assert "rewards/failed" not in str(run.metrics[0])


def test_the_table_names_what_there_is():
    page = (DOCS / "python.md").read_text()
    table = page[page.index("| TRL | here |") : page.index("Some change nothing")]
    for theirs in {*RENAMED, *TRANSLATED}:
        assert f"`{theirs}`" in table or theirs.startswith("vllm_"), theirs
    ours = {word for line in table.splitlines()[2:] for word in re.findall(r"`(\w+)`", line.split(" | ")[-1])}
    unknown = ours - set(Config.model_fields) - {"epoch", "wandb"}
    assert not unknown
    same = page[page.index("taken as it is:") : page.index("Others are translated")]
    assert set(re.findall(r"`(\w+)`", same)) <= set(Config.model_fields)
    noted = page[page.index("Some change nothing") : page.index("Those without an equivalent")]
    assert {name for name in re.findall(r"`(\w+)`", noted)} <= set(WITHOUT_EFFECT)


def test_the_methods_are_there():
    page = (DOCS / "python.md").read_text()
    table = page[page.index("| method | gives |") : page.index("Anything that can be put right")]
    for line in table.splitlines()[2:]:
        for name in re.findall(r"`(\w+)", line.split(" | ")[0]):
            assert hasattr(grpo.GRPOTrainer, name), name
