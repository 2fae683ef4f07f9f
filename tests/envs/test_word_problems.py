"""Presets over data sets."""

import pytest

from envs import DataError, make
from envs.word_problems import BOXED_SUFFIX, MATH_SUBJECTS


@pytest.fixture
def loads(monkeypatch):
    """Stands in for `datasets.load_dataset`; remembers what it was asked for."""
    import datasets

    asked = []

    def load(source, config=None, *, split, revision):
        asked.append((source, config, split))
        return [
            {"question": f"{config} {split} {n}?", "problem": f"{config} {split} {n}", **answer}
            for n in range(3)
            for answer in ([{"answer": "x\n#### 1,234"}] if source == "openai/gsm8k" else [{"solution": "\\boxed{5}"}])
        ]

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_gsm8k_is_the_hubs_with_its_own_test_split(loads):
    env = make("gsm8k")
    assert loads == [("openai/gsm8k", "main", "train"), ("openai/gsm8k", "main", "test")]
    assert (len(env.tasks("train")), len(env.tasks("test"))) == (3, 3)
    task = env.tasks("train")[0]
    assert task.prompt.endswith(f"?{BOXED_SUFFIX}")
    assert (task.columns["answer"], task.columns["language"]) == ("1234", "en")


def test_math_is_its_seven_subjects_read_one_after_the_other(loads):
    env = make("math", prompt_column="problem")
    assert [config for _, config, split in loads if split == "train"] == list(MATH_SUBJECTS)
    assert len(env.tasks("train")) == 21
    assert env.tasks("train")[0].columns["answer"] == "5"


def test_a_local_copy_takes_nothing_of_the_hub_from_the_preset(tmp_path, loads):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    task = make("gsm8k", data=str(path), suffix="").tasks("train")[0]
    assert (task.prompt, loads) == ("1+1?", [])


def test_word_problems_need_data():
    with pytest.raises(DataError, match="data is required"):
        make("word_problems")


def test_word_problems_are_asked_as_they_stand_in_english(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n')
    task = make("word_problems", data=str(path)).tasks("train")[0]
    assert (task.prompt, task.columns) == ("1+1?", {"language": "en", "answer": "2"})


def test_a_misspelt_option_of_a_preset_is_named(tmp_path):
    with pytest.raises(DataError, match="gsm8k has no option 'sufix'; did you mean suffix"):
        make("gsm8k", sufix="")
