"""reasoning-gym's tasks as environments."""

import json

import pytest

pytest.importorskip("reasoning_gym")

from envs import DataError, make
from envs.adapters.gym_worker import GymWorker, shared_worker
from envs.reasoning_gym import evaluating_call, reasoning_gym_reward, task_names

SLOW = {"ab", "arc_agi", "figlet_font", "group_anagrams", "knight_swap", "quantum_lock", "zebra_puzzles"}


def rewards_of(env, answers):
    tasks = env.tasks("train")[: len(answers)]
    completions = [f"<answer>{answer}</answer>" for answer in answers]
    return reasoning_gym_reward(
        [task.prompt for task in tasks], completions, entry=[task.columns["entry"] for task in tasks]
    )


def message_of(name, **options):
    with pytest.raises(DataError) as raised:
        make(name, **options)
    text = str(raised.value)
    assert "\n" not in text
    return text


def test_at_least_sixty_tasks_give_prompts():
    built = 0
    for name in task_names():
        if name not in SLOW:
            env = make(f"reasoning_gym:{name}", size=2, trust_scorer=True)
            built += all(isinstance(task.prompt, str) and task.prompt.strip() for task in env.tasks("train"))
    assert built >= 60


@pytest.mark.parametrize("name", ["chain_sum", "word_ladder", "ransom_note", "list_functions"])
def test_the_problems_are_the_same_in_a_process_started_afresh(name):
    # word_ladder and ransom_note depend on the hash seed, list_functions on Python's global generator
    first = make(f"reasoning_gym:{name}", size=20, seed=1).splits
    shared_worker().close()
    assert make(f"reasoning_gym:{name}", size=20, seed=1).splits == first


def test_the_tasks_own_scorer_judges():
    env = make("reasoning_gym:chain_sum", size=4, test_size=0)
    answers = [task.columns["answer"] for task in env.tasks("train")]
    judged = rewards_of(env, [answers[0], answers[1] + ".00", "nothing", ""])
    assert judged == [1.0, 1.0, 0.0, 0.0]
    assert judged.outcomes == {"ok": 4}


def test_a_scorer_sees_the_problem_as_it_was_generated():
    # arc_agi compares the answer with tuples of its metadata, which are lists after a journey through JSON
    env = make("reasoning_gym:arc_agi", size=2, test_size=0)
    assert rewards_of(env, [task.columns["answer"] for task in env.tasks("train")]) == [1.0, 1.0]


def test_a_problem_without_a_single_answer_takes_any_that_solves_it():
    env = make("reasoning_gym:graph_color", size=2, test_size=0)
    colours = [task.columns["entry"]["metadata"]["possible_answer"] for task in env.tasks("train")]
    assert [task.columns["answer"] for task in env.tasks("train")] == [None, None]
    assert rewards_of(env, [json.dumps(colour) for colour in colours]) == [1.0, 1.0]


def test_no_answer_earns_nothing_and_other_tasks_are_left_out():
    env = make("reasoning_gym:gcd", size=2, test_size=0)
    entry = env.tasks("train")[0].columns["entry"]
    assert reasoning_gym_reward(["p", "p"], ["no idea", "no idea"], entry=[entry, None]) == [0.0, None]
    assert reasoning_gym_reward(["p"], ["no idea"], answer=["1"]) == [None]


def test_an_answer_that_fills_the_memory_costs_its_reward_and_nothing_else():
    # R999999999 is expanded to a list of 10^9 moves: 8 GB
    env = make("reasoning_gym:rubiks_cube", size=2, test_size=0)
    assert rewards_of(env, ["R999999999", "R"])[0] <= 0.01
    assert rewards_of(env, ["R"])[0] > 0


def test_a_scorer_that_hangs_is_killed_and_the_next_one_runs():
    entry = make("reasoning_gym:coin_flip", size=2, test_size=0).tasks("train")[0].columns["entry"]
    worker = GymWorker(timeout_seconds=1.0)
    assert worker.score(entry, "1e999999999") == (0.0, "timeout")  # Fraction computes the power
    score, outcome = worker.score(entry, entry["answer"])
    assert (score, outcome) == (1.0, "ok")
    worker.close()


def test_an_endless_answer_is_not_sent():
    entry = {"task": "gcd", "options": {}, "index": 0}
    assert GymWorker().score(entry, "9" * 10_001) == (0.0, "long")


def test_a_scorer_that_evaluates_text_is_refused_unless_trusted():
    assert "its scorer calls parse_expr" in message_of("reasoning_gym:puzzle24")
    assert make("reasoning_gym:puzzle24", size=2, trust_scorer=True).tasks("train")


def test_evaluation_is_found_wherever_it_hides():
    from reasoning_gym.factory import DATASETS

    found = {name for name in task_names() if evaluating_call(DATASETS[name][0])}
    assert {"countdown", "n_queens", "spiral_matrix", "bitwise_arithmetic", "simple_integration"} <= found
    assert not {"chain_sum", "propositional_logic", "basic_arithmetic", "sudoku"} & found


def test_an_unknown_task_lists_its_neighbours():
    assert "did you mean chain_sum" in message_of("reasoning_gym:chain_sums")


def test_an_unknown_option_is_named_with_those_of_the_task():
    text = message_of("reasoning_gym:chain_sum", max_term=3)
    assert "no option 'max_term'" in text and "max_terms" in text


def test_a_configuration_the_task_refuses_is_one_line():
    assert message_of("reasoning_gym:chain_sum", min_terms=5, max_terms=2).startswith("reasoning_gym:chain_sum: ")
