"""transformers' kind of callbacks: told of what happens here, refused by name for what does not."""

import json
from pathlib import Path
from typing import ClassVar

import pytest

from grpo import GRPOConfig, GRPOTrainer
from grpo.config.sections import ConfigError
from tests.grpo.api.conftest import ROWS, even


class TrainerCallback:
    """As transformers' base class: every event, empty."""

    def on_substep_end(self, args, state, control, **kwargs):
        pass

    def on_step_end(self, args, state, control, **kwargs):
        pass

    def on_prediction_step(self, args, state, control, **kwargs):
        pass


def trained(model, settings, *callbacks, **more):
    trainer = GRPOTrainer(model, even, GRPOConfig(**settings), ROWS, callbacks=list(callbacks), **more)
    return trainer, trainer.train()


class Everything(TrainerCallback):
    """Knows all events that happen here, by methods of its own."""

    seen: ClassVar[list] = []

    def on_init_end(self, args, state, control, **kwargs):
        self.seen.append(("init", state.global_step))

    def on_train_begin(self, args, state, control, model=None, processing_class=None, **kwargs):
        assert model is not None and processing_class.encode("w9") and args.output_dir and args.max_steps == 2
        self.seen.append(("begin", state.global_step))

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.seen.append(("epoch", state.global_step))

    def on_step_begin(self, args, state, control, optimizer, **kwargs):
        self.seen.append(("step", state.global_step))

    def on_step_end(self, args, state, control, **kwargs):
        self.seen.append(("stepped", state.global_step))

    def on_log(self, args, state, control, logs=None, **kwargs):
        assert logs["reward"] == state.log_history[-1]["reward"] and state.log_history[-1]["step"] == state.global_step
        self.seen.append(("log", state.global_step))

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        assert 0 <= metrics["eval_reward"] == metrics["eval_rewards/even/mean"] <= 1
        self.seen.append(("evaluate", state.global_step))

    def on_save(self, args, state, control, **kwargs):
        assert (Path(args.output_dir) / "checkpoints" / f"step_{state.global_step:06d}").is_dir()
        self.seen.append(("save", state.global_step))

    def on_train_end(self, args, state, control, **kwargs):
        self.seen.append(("end", state.global_step))


@pytest.mark.parametrize("given", [Everything, Everything()])
def test_every_event_comes_in_order(model, settings, given):
    Everything.seen.clear()
    trained(model, {**settings, "save_steps": 1, "eval_steps": 1}, given, eval_dataset=ROWS[:2])
    assert Everything.seen == [
        ("init", 0), ("begin", 0), ("evaluate", 0), ("epoch", 0),
        ("step", 0), ("stepped", 1), ("evaluate", 1), ("log", 1), ("save", 1),
        ("step", 1), ("stepped", 2), ("log", 2), ("save", 2),
        ("evaluate", 2), ("save", 2), ("end", 2),
    ]  # fmt: skip


def test_a_class_of_transformers_own_is_told_too(model, settings, capsys):
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "PrinterCallback"):
        pytest.skip("this transformers has no callbacks without torch")
    trained(model, settings, transformers.PrinterCallback)
    assert capsys.readouterr().out.count("'reward':") == 2


def test_a_callback_stops_saves_and_evaluates(model, settings, tmp_path):
    class Asking(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_save = control.should_evaluate = state.global_step == 1
            control.should_training_stop = state.global_step == 2
            return control

    seen = []

    class Seeing(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(state.global_step)

    settings |= {"max_steps": 9, "eval_steps": 9}
    _, summary = trained(model, settings, Asking(), Seeing(), eval_dataset=ROWS[:2])
    assert summary["steps"] == 2 and seen == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == ["step_000001", "step_000002"]


def test_one_that_stops_early_by_the_best_held_out_figure(model, settings):
    class Patience(TrainerCallback):
        """What transformers' EarlyStoppingCallback does, in short."""

        worse = 0

        def on_train_begin(self, args, state, control, **kwargs):
            assert (
                args.load_best_model_at_end and args.metric_for_best_model == "reward" and args.eval_strategy == "steps"
            )

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            better = state.best_metric is None or metrics["eval_reward"] > state.best_metric
            self.worse = 0 if better else self.worse + 1
            control.should_training_stop = self.worse >= 2

    settings |= {"max_steps": 30, "eval_steps": 1, "learning_rate": 1e-9}
    _, summary = trained(model, settings, Patience(), eval_dataset=ROWS[:2])
    assert summary["steps"] < 30


def test_a_resumed_run_has_its_history(model, settings):
    lengths = []

    class Counting(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            lengths.append((len(state.log_history), state.global_step))

    trained(model, settings)
    trainer = GRPOTrainer(model, even, GRPOConfig(**{**settings, "max_steps": 3}), ROWS, callbacks=[Counting()])
    trainer.train(resume_from_checkpoint=True)
    assert lengths == [(2, 2)]


def test_callbacks_change_nothing_of_what_is_learned(model, settings, tmp_path):
    trained(model, settings)
    settings["output_dir"] = str(tmp_path / "other")
    trained(model, settings, Everything)
    one, other = ((tmp_path / name / "adapters.safetensors").read_bytes() for name in ("run", "other"))
    assert one == other


def of(event, arguments="args, state, control, **kwargs"):
    space = {}
    exec(f"def {event}(self, {arguments}): pass", space)
    return type("Mine", (TrainerCallback,), {event: space[event]})


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (of("on_substep_end"), "callback Mine has on_substep_end, which has no equivalent here"),
        (of("on_optimizer_step"), "use on_step_end"),
        (of("on_pre_optimizer_step"), "max_grad_norm clips"),
        (of("on_prediction_step"), "on_evaluate comes after"),
        (
            of("on_log", "args, state, control, lr_scheduler, **kwargs"),
            "Mine.on_log needs lr_scheduler, which there is not",
        ),
        (object(), "an object with on_step_end, on_log, ..., got object"),
        (3, "got int"),
        (type("Plain", (), {}), "got Plain"),
    ],
)
def test_what_can_not_be_told_is_refused_by_name(model, settings, callback, said):
    with pytest.raises(ConfigError) as refused:
        GRPOTrainer(model, even, GRPOConfig(**settings), ROWS, callbacks=[callback])
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_wish_that_can_not_be_granted_is_said_once(model, settings, capsys):
    class Asking(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = True

    trained(model, settings, Asking())
    assert capsys.readouterr().out.count("should_epoch_stop does nothing here") == 1


def test_args_have_no_silent_defaults(model, settings):
    class Asking(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            args.deepspeed  # noqa: B018

    with pytest.raises(AttributeError, match="which has no deepspeed"):
        trained(model, settings, Asking())


def test_the_state_is_plain(model, settings):
    states = []

    class Asking(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            states.append(json.dumps(vars(state)))

    trained(model, settings, Asking())
    assert json.loads(states[0])["num_train_epochs"] == pytest.approx(2 * 2 / 10)  # 2 steps of 2 prompts, 10 rows
