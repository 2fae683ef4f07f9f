import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.algorithms.surrogates import Limits
from grpo.losses import LOSSES, clip_fractions, policy_loss, step_denominator

LOSS_TYPES = list(LOSSES)
BUDGET = 9  # max_completion_length
GARBAGE = (math.nan, math.inf, -math.inf, 1e30, -7.0)


def one_token(ratio, advantage, **options):
    """The loss of a single token; at ratio r the policy's probability is r times the sampler's 1/10."""
    policy, sampler = mx.array([[math.log(0.1 * ratio)]]), mx.array([[math.log(0.1)]])
    return policy_loss(policy, sampler, mx.array([advantage]), mx.array([[1]]), **{"loss_type": "grpo", **options})


# Hand-computed numbers


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.5, 2.0, -2.4),  # min(3.0, 1.2 * 2 = 2.4): a good token is capped
        (1.5, -2.0, 3.0),  # min(-3.0, -2.4): a bad token is not
        (0.5, 2.0, -1.0),  # min(1.0, 0.8 * 2 = 1.6)
        (0.5, -2.0, 1.6),  # min(-1.0, -1.6): capped
        (1.1, 2.0, -2.2),  # inside the range nothing is clipped
    ],
)
def test_clip_is_one_sided(ratio, advantage, loss):
    assert one_token(ratio, advantage).item() == pytest.approx(loss)


@pytest.mark.parametrize(("ratio", "advantage", "clipped"), [(1.5, 2.0, True), (1.5, -2.0, False), (0.5, -2.0, True)])
def test_a_clipped_token_has_no_gradient(ratio, advantage, clipped):
    # unclipped: d(-ratio * A) / d logprob = -ratio * A
    def loss(policy):
        return policy_loss(policy, mx.zeros((1, 1)), mx.array([advantage]), mx.array([[1]]), loss_type="grpo")

    gradient = mx.grad(loss)(mx.log(mx.array([[ratio]]))).item()
    assert gradient == pytest.approx(0.0 if clipped else -ratio * advantage)


def test_clip_low_and_clip_high_are_apart():
    assert one_token(1.5, 1.0, clip_low=0.1, clip_high=0.28).item() == pytest.approx(-1.28)
    assert one_token(0.5, -1.0, clip_low=0.1, clip_high=0.28).item() == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (5.0, -2.0, 6.0),  # min(3 * -2, 1.2 * -2): a bad token is now capped at dual_clip
        (2.0, -2.0, 4.0),  # below dual_clip nothing changes
        (5.0, 2.0, -2.4),  # min(3 * 2, 1.2 * 2): nor for a good token
    ],
)
def test_dual_clip_bounds_the_unclipped_term(ratio, advantage, loss):
    assert one_token(ratio, advantage, dual_clip=3.0).item() == pytest.approx(loss)


@pytest.mark.parametrize(
    ("ratio", "weight"),
    [(5.0, 3.0), (2.0, 2.0), (0.1, 0.1)],  # min(ratio, 3): clip_high is the bound itself, and there is none below
)
@pytest.mark.parametrize("advantage", [2.0, -2.0])
def test_cispo_weighs_the_logprob(ratio, weight, advantage):
    def loss(policy):
        sampler = mx.log(mx.array([[0.1]]))
        return policy_loss(policy, sampler, mx.array([advantage]), mx.array([[1]]), loss_type="cispo", clip_high=3.0)

    value, gradient = mx.value_and_grad(loss)(mx.array([[math.log(0.1 * ratio)]]))
    assert value.item() == pytest.approx(-weight * advantage * math.log(0.1 * ratio), rel=1e-5)
    assert gradient.item() == pytest.approx(-weight * advantage, rel=1e-5)  # never 0: no token is dropped


def test_kl_is_added_after_the_clip():
    # clipped part -2.4; policy 0.15, reference 0.3: k3 = 2 - log 2 - 1; 0.5 times that
    loss = one_token(1.5, 2.0, reference_logprobs=mx.array([[math.log(0.3)]]), beta=0.5)
    assert loss.item() == pytest.approx(-2.4 + 0.5 * (1 - math.log(2)))


def test_the_kl_alone_has_a_gradient_where_the_clip_has_removed_the_rest():
    # d k3 / d policy = 1 - exp(reference - policy) = 1 - 2
    def loss(policy):
        reference, sampler = mx.log(mx.array([[3.0]])), mx.zeros((1, 1))
        options = {"loss_type": "grpo", "reference_logprobs": reference, "beta": 0.5}
        return policy_loss(policy, sampler, mx.array([2.0]), mx.array([[1]]), **options)

    assert mx.grad(loss)(mx.log(mx.array([[1.5]]))).item() == pytest.approx(-0.5)


TWO_ROWS = mx.zeros((2, 4))
FOUR_AND_ONE = mx.array([[1, 1, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("loss_type", "loss"),
    [
        ("grpo", -2.0),  # at ratio 1 a token's loss is -A: means -1 and -3 over 2 sequences
        ("gspo", -2.0),
        ("bnpo", -1.4),  # (4 * -1 + 1 * -3) / 5 tokens
        ("dapo", -1.4),
        ("dr_grpo", -0.35),  # -7 / (2 * 10)
    ],
)
def test_lengths_weigh_as_the_loss_says(loss_type, loss):
    value = policy_loss(
        TWO_ROWS, TWO_ROWS, mx.array([1.0, 3.0]), FOUR_AND_ONE, loss_type=loss_type, max_completion_length=10
    )
    assert value.item() == pytest.approx(loss)


def test_gspo_clips_whole_sequences():
    # token ratios 2 and 1/2: sequence ratio 1, so nothing is clipped: -(1 * 1); token-level: -(1.2 + 0.5) / 2
    policy = mx.log(mx.array([[2.0, 0.5]]))
    options = {"sampler_logprobs": mx.zeros((1, 2)), "advantages": mx.array([1.0]), "mask": mx.ones((1, 2))}
    assert policy_loss(policy, **options, loss_type="gspo").item() == pytest.approx(-1.0)
    assert policy_loss(policy, **options, loss_type="grpo", importance="sequence").item() == pytest.approx(-1.0)
    assert policy_loss(policy, **options, loss_type="grpo").item() == pytest.approx(-0.85)


def test_a_ratio_on_the_edge_of_the_range_still_has_its_gradient():
    # with both clips 0 the range is the point 1, where every on-policy token stands
    def loss(policy):
        options = {"loss_type": "grpo", "clip_low": 0.0, "clip_high": 0.0}
        return policy_loss(policy, mx.zeros((1, 1)), mx.array([2.0]), mx.array([[1]]), **options)

    assert mx.grad(loss)(mx.zeros((1, 1))).item() == pytest.approx(-2.0)


@pytest.mark.parametrize("loss_type", [name for name in LOSS_TYPES if name not in ("cispo", "sapo", "luspo")])
def test_loss_zero_at_ratio_one_is_no_bug(loss_type):
    # group advantages add up to 0, so equal lengths at ratio 1 give loss 0; the gradient is not
    policy = mx.full((2, 3), -1.0)

    def loss(policy):
        options = {"loss_type": loss_type, "max_completion_length": 3}
        return policy_loss(policy, mx.stop_gradient(policy), mx.array([1.0, -1.0]), mx.ones((2, 3)), **options)

    value, gradient = mx.value_and_grad(loss)(policy)
    assert value.item() == pytest.approx(0.0, abs=1e-7)
    np.testing.assert_allclose(np.array(gradient), [[-1 / 6] * 3, [1 / 6] * 3], rtol=1e-6)


def test_only_the_policy_has_a_gradient():
    # sampler and reference may be made from the very same array: -A / 2 tokens at ratio 1, and the KL's
    # 0.1 * (1 - exp(reference - policy)) / 2 tokens with a reference twice as likely: 0.1 * -1 / 2
    policy = mx.array([[-1.0, -2.0]])
    options = {"loss_type": "grpo", "beta": 0.1}

    def loss(policy):
        reference = policy + math.log(2)
        return policy_loss(policy, policy, mx.array([1.0]), mx.ones((1, 2)), reference_logprobs=reference, **options)

    np.testing.assert_allclose(np.array(mx.grad(loss)(policy)), [[-0.55, -0.55]], rtol=1e-6)


# A float64 oracle, one token at a time


def oracle(policy, batch, loss_type, options, weights_at=None):
    """The loss as written in the papers. `weights_at`: the policy whose ratios weigh cispo's logprobs (no gradient)."""
    weights_at = policy if weights_at is None else weights_at
    token_losses = []
    for row, mask in enumerate(batch["mask"]):
        trained = [column for column, counts in enumerate(mask) if counts]
        losses = []
        for column in trained:
            columns = trained if loss_type in ("gspo", "luspo") or options.get("importance") == "sequence" else [column]

            def ratio_of(logprobs, row=row, columns=columns):
                return math.exp(np.mean([logprobs[row][c] - batch["sampler"][row][c] for c in columns]))

            advantage = np.broadcast_to(np.atleast_2d(batch["advantages"].T).T, batch["mask"].shape)[row][column]
            ratio, low, high = ratio_of(policy), options.get("clip_low", 0.2), options.get("clip_high", 0.2)
            if loss_type == "cispo":
                loss = -min(ratio_of(weights_at), high) * advantage * policy[row][column]
            elif loss_type == "sapo":
                tau = 1.0 if advantage > 0 else 1.05
                loss = -4 / tau / (1 + math.exp(-tau * (ratio - 1))) * advantage
            elif loss_type == "dppo":
                held = far(weights_at[row][column], batch["sampler"][row][column], advantage, low, high, options)
                first = min(ratio, options["dual_clip"]) if "dual_clip" in options else ratio
                loss = 0.0 if held else -first * advantage
            elif loss_type == "gmpo":
                loss = gmpo_row(policy[row], batch, row, trained, low, high)
            else:
                first = min(ratio, options["dual_clip"]) if "dual_clip" in options else ratio
                loss = -min(first * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)
            if options.get("beta"):
                difference = batch["reference"][row][column] - policy[row][column]
                loss += options["beta"] * (math.exp(difference) - difference - 1)
            losses.append(loss * len(trained) if loss_type == "luspo" else loss)
        if losses:
            token_losses.append(losses)
    if not token_losses:
        return 0.0
    if loss_type in ("grpo", "gspo", "sapo", "gmpo", "luspo"):
        return sum(sum(losses) / len(losses) for losses in token_losses) / options.get("denominator", len(token_losses))
    counts = BUDGET * len(token_losses) if loss_type == "dr_grpo" else sum(map(len, token_losses))
    return sum(map(sum, token_losses)) / options.get("denominator", counts)


def far(policy, sampler, advantage, low, high, options):
    """dppo: whether a token's probability has moved too far the way its advantage pushes it."""
    p, q = math.exp(policy), math.exp(sampler)
    if options.get("divergence") == "kl":
        rest_q, rest_p = max(1 - q, 1e-8), max(1 - p, 1e-8)  # made-up logprobs may be above 0
        distance = q * math.log(q / p) + rest_q * math.log(rest_q / rest_p)
    else:
        distance = abs(p - q)
    return (advantage > 0 and p > q and distance > high) or (advantage < 0 and p < q and distance > low)


def gmpo_row(policy, batch, row, trained, low, high):
    """gmpo: minus the row's mean advantage times the geometric mean of its ratios, clipped the way A pushes."""
    advantages = np.broadcast_to(np.atleast_2d(batch["advantages"].T).T, batch["mask"].shape)[row]
    logs = []
    for column in trained:
        log_ratio = policy[column] - batch["sampler"][row][column]
        logs.append(min(log_ratio, high) if advantages[column] > 0 else max(log_ratio, -low))
    return -math.exp(np.mean(logs)) * np.mean(advantages[trained])


def oracle_gradient(policy, batch, loss_type, options, step=1e-6):
    gradient = np.zeros_like(policy)
    for index in zip(*np.nonzero(batch["mask"]), strict=True):
        sides = []
        for sign in (1, -1):
            moved = policy.copy()
            moved[index] += sign * step
            sides.append(oracle(moved, batch, loss_type, options, weights_at=policy))
        gradient[index] = (sides[0] - sides[1]) / (2 * step)
    return gradient


def make_batch(seed, lengths=(5, 1, 0, 7, 3), time=7, advantage_shape="row"):
    """Ragged rows with garbage at masked positions; a third of the ratios outside 0.8 to 1.2."""
    random = np.random.default_rng(seed)
    shape = (len(lengths), time)
    policy = random.uniform(-3, -0.2, shape)
    batch = {
        "policy": policy,
        "sampler": policy + random.normal(0, 0.25, shape),
        "reference": policy + random.normal(0, 0.4, shape),
        "advantages": random.normal(0, 1, {"row": shape[:1], "column": (shape[0], 1), "token": shape}[advantage_shape]),
        "mask": (np.arange(time) < np.array(lengths)[:, None]).astype(np.int32),
    }
    for position, index in enumerate(zip(*np.nonzero(batch["mask"] == 0), strict=True)):
        for offset, name in enumerate(("policy", "sampler", "reference")):
            batch[name][index] = GARBAGE[(position + offset) % len(GARBAGE)]
    return {name: array if name == "mask" else array.astype(np.float32) for name, array in batch.items()}


def value_and_gradient(batch, loss_type, options, rows=slice(None)):
    arrays = {name: mx.array(array[rows]) for name, array in batch.items()}

    def loss(policy):
        return policy_loss(
            policy,
            arrays["sampler"],
            arrays["advantages"],
            arrays["mask"],
            loss_type=loss_type,
            max_completion_length=BUDGET,
            reference_logprobs=arrays["reference"] if options.get("beta") else None,
            **options,
        )

    value, gradient = mx.value_and_grad(loss)(arrays["policy"])
    return value.item(), np.array(gradient)


OPTIONS = [
    {},
    {"beta": 0.04},
    {"importance": "sequence"},
    {"clip_low": 0.1, "clip_high": 0.28, "dual_clip": 1.3},
    {"clip_high": 1.1, "beta": 0.3, "denominator": 37.0},
    {"divergence": "kl", "clip_low": 0.01, "clip_high": 0.02},
    {"clip_low": 0.05, "clip_high": 0.08, "beta": 0.04},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_value_and_gradient_against_float64(seed, loss_type, options):
    batch = make_batch(seed, advantage_shape=("row", "column", "token")[seed])
    value, gradient = value_and_gradient(batch, loss_type, options)
    exact = {name: array.astype(np.float64) for name, array in batch.items()}
    assert value == pytest.approx(oracle(exact["policy"], exact, loss_type, options), rel=1e-5, abs=1e-6)
    expected = oracle_gradient(exact["policy"], exact, loss_type, options)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(gradient).max() > 1e-3


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("split", [[5], [4, 1], [2, 3], [1, 1, 1, 1, 1]], ids=str)
def test_micro_batches_add_up_to_the_whole(loss_type, split):
    batch, lengths = make_batch(7), [5, 1, 0, 7, 3]
    denominator = step_denominator(lengths, loss_type=loss_type, max_completion_length=BUDGET)
    value, gradient = value_and_gradient(batch, loss_type, {"beta": 0.04})
    parts, start = [], 0
    for size in split:
        rows = slice(start, start + size)
        parts.append(value_and_gradient(batch, loss_type, {"beta": 0.04, "denominator": denominator}, rows))
        start += size
    assert sum(part[0] for part in parts) == pytest.approx(value, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(np.concatenate([part[1] for part in parts]), gradient, rtol=1e-5, atol=1e-7)


# What stands at masked positions, and what is not there at all


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("importance", ["token", "sequence"])
def test_garbage_at_masked_positions_changes_nothing(loss_type, importance):
    batch = make_batch(3, advantage_shape="token")
    options = {"beta": 0.04, "importance": importance, "dual_clip": 2.0}
    value, gradient = value_and_gradient(batch, loss_type, options)
    masked = batch["mask"] == 0
    for garbage in (0.0, *GARBAGE):
        dirty = {name: array if name == "mask" else np.where(masked, garbage, array) for name, array in batch.items()}
        dirty = {name: array.astype(batch[name].dtype) for name, array in dirty.items()}
        other_value, other_gradient = value_and_gradient(dirty, loss_type, options)
        assert other_value == value
        np.testing.assert_array_equal(other_gradient, gradient)
    assert (gradient[masked] == 0).all()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_a_longer_neighbour_changes_nothing(loss_type):
    # extra pad columns, then a row left out of the loss: the same value, the same gradient at the old positions
    batch = make_batch(4)
    value, gradient = value_and_gradient(batch, loss_type, {"beta": 0.04})
    wider = {
        name: np.pad(array, [(0, 1), (0, 4)] if array.ndim == 2 else [(0, 1)], constant_values=fill)
        for (name, array), fill in zip(batch.items(), (math.nan, math.inf, 3.0, math.nan, 0), strict=True)
    }
    wider_value, wider_gradient = value_and_gradient(wider, loss_type, {"beta": 0.04})
    assert wider_value == pytest.approx(value, rel=1e-6)
    np.testing.assert_allclose(wider_gradient[:-1, :-4], gradient, rtol=1e-6)
    assert (wider_gradient[-1] == 0).all() and (wider_gradient[:, -4:] == 0).all()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
@pytest.mark.parametrize("denominator", [None, 0.0, 12.0])
def test_everything_masked_is_loss_zero_with_gradient_zero(loss_type, denominator):
    batch = make_batch(5, lengths=(0, 0, 0), time=4)
    value, gradient = value_and_gradient(batch, loss_type, {"beta": 0.04, "denominator": denominator})
    assert value == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_zero_advantages_leave_only_the_kl(loss_type):
    batch = make_batch(6)
    batch["advantages"] = np.zeros_like(batch["advantages"])
    value, gradient = value_and_gradient(batch, loss_type, {})
    assert value == 0.0
    assert (gradient == 0).all()


@pytest.mark.parametrize("dtype", [mx.bool_, mx.int32, mx.float32])
def test_the_mask_may_be_of_any_dtype(dtype):
    loss = policy_loss(TWO_ROWS, TWO_ROWS, mx.array([1.0, 3.0]), FOUR_AND_ONE.astype(dtype), loss_type="bnpo")
    assert loss.item() == pytest.approx(-1.4)


def test_low_precision_logprobs_are_summed_in_float32():
    # 4096 tokens of -1: a bfloat16 sum stops growing at 256
    policy = mx.zeros((1, 4096), dtype=mx.bfloat16)
    loss = policy_loss(policy, policy, mx.array([1.0]), mx.ones((1, 4096)), loss_type="dapo", denominator=1.0)
    assert loss.dtype == mx.float32
    assert loss.item() == -4096


def test_low_precision_logprobs_give_a_float32_ratio():
    # both are exact in bfloat16, and their difference; exp(0.1015625) = 1.106899 is not: it would round to 1.109375
    policy, sampler = (mx.array([[logprob]], dtype=mx.bfloat16) for logprob in (-1.0, -1.1015625))
    loss = policy_loss(policy, sampler, mx.array([1.0]), mx.array([[1]]), loss_type="grpo")
    assert loss.item() == pytest.approx(-math.exp(0.1015625), rel=1e-6)


# Errors


def test_beta_without_a_reference_is_refused():
    with pytest.raises(
        ValueError, match=r"reference_logprobs must be given when beta is not 0, got None with beta 0.1"
    ):
        one_token(1.0, 1.0, beta=0.1)


def test_the_loss_type_must_be_known():
    with pytest.raises(ValueError, match=r"loss_type must be one of grpo, bnpo, .*luspo, got 'ppo'"):
        one_token(1.0, 1.0, loss_type="ppo")


def test_the_importance_must_be_known():
    with pytest.raises(ValueError, match=r"importance must be one of token, sequence, got 'word'"):
        one_token(1.0, 1.0, importance="word")


def test_dr_grpo_needs_its_budget():
    with pytest.raises(ValueError, match=r"max_completion_length must be at least 1 with loss_type dr_grpo, got None"):
        one_token(1.0, 1.0, loss_type="dr_grpo")
    assert one_token(1.0, 1.0, loss_type="dr_grpo", denominator=4).item() == pytest.approx(-0.25)


def test_shapes_that_would_broadcast_by_accident_are_refused():
    with pytest.raises(ValueError, match=r"advantages must be \[batch\], \[batch, 1\] or \[batch, time\]"):
        policy_loss(TWO_ROWS, TWO_ROWS, mx.ones((1, 4)), FOUR_AND_ONE, loss_type="grpo")
    with pytest.raises(ValueError, match=r"logprobs must have the shape of mask"):
        policy_loss(TWO_ROWS, mx.zeros((2, 1)), mx.ones((2,)), FOUR_AND_ONE, loss_type="grpo")


# Counts


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [("grpo", 2.0), ("gspo", 2.0), ("bnpo", 5.0), ("dapo", 5.0), ("cispo", 5.0), ("dr_grpo", 20.0)],
)
def test_step_denominator_of_four_tokens_one_token_and_a_row_left_out(loss_type, expected):
    assert step_denominator([4, 1, 0], loss_type=loss_type, max_completion_length=10) == expected
    assert step_denominator([0, 0], loss_type=loss_type, max_completion_length=10) == 0.0


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_step_denominator_is_that_of_the_whole_batch(loss_type):
    batch = make_batch(8)
    denominator = step_denominator([5, 1, 0, 7, 3], loss_type=loss_type, max_completion_length=BUDGET)
    assert value_and_gradient(batch, loss_type, {"denominator": denominator})[0] == pytest.approx(
        value_and_gradient(batch, loss_type, {})[0], rel=1e-6
    )


def test_step_denominator_refuses_what_policy_loss_refuses():
    with pytest.raises(ValueError, match="loss_type must be one of"):
        step_denominator([1], loss_type="ppo")
    with pytest.raises(ValueError, match="max_completion_length must be at least 1"):
        step_denominator([1], loss_type="dr_grpo")


# ratios of good tokens (first row) and bad ones (second); the last column is masked
RATIOS = mx.array([[1.5, 1.1, 0.5, 1.25, 9.0], [1.5, 0.7, 0.5, 0.9, 0.1]])
SIGNS = mx.array([2.0, -2.0])
FOUR_TOKENS = mx.array([[1, 1, 1, 1, 0]] * 2)


def counted(ratios, mask, **options):
    return [
        count.item()
        for count in clip_fractions(mx.log(ratios), mx.zeros(ratios.shape), SIGNS, mask, limits=Limits(**options))
    ]


def test_clip_counts():
    # low: 0.7 and 0.5 of the bad row; high: 1.5 and 1.25 of the good row
    assert counted(RATIOS, FOUR_TOKENS, clip_low=0.2, clip_high=0.2) == [2, 2]
    assert counted(RATIOS, FOUR_TOKENS, clip_low=0.4, clip_high=0.3) == [1, 1]


def test_clip_counts_of_sequences_are_their_tokens():
    # geometric means: good (1.5 * 1.1 * 0.5 * 1.25)^(1/4) = 1.008, bad (1.5 * 0.7 * 0.5 * 0.9)^(1/4) = 0.829
    assert counted(RATIOS, FOUR_TOKENS, clip_low=0.1, clip_high=0.1, importance="sequence") == [4, 0]


def test_clip_counts_add_up_over_micro_batches():
    parts = [
        clip_fractions(mx.log(RATIOS[row]), mx.zeros((1, 5)), SIGNS[row], FOUR_TOKENS[row], limits=Limits())
        for row in (slice(0, 1), slice(1, 2))
    ]
    assert [sum(part[side].item() for part in parts) for side in (0, 1)] == [2, 2]


def test_clip_counts_skip_masked_garbage():
    garbage = mx.where(FOUR_TOKENS == 1, RATIOS, math.nan)
    assert counted(garbage, FOUR_TOKENS) == [2, 2]
    assert counted(garbage, mx.zeros((2, 5))) == [0, 0]


def test_luspo_is_gspo_times_the_length():
    # at ratio 1: 4 tokens of advantage 1, 1 token of advantage 3: -(4 * 1 + 1 * 3) / 2 sequences
    loss = policy_loss(TWO_ROWS, TWO_ROWS, mx.array([1.0, 3.0]), FOUR_AND_ONE, loss_type="luspo")
    assert loss.item() == pytest.approx(-3.5)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (1.0, 1.0, -2.0),  # sigmoid(0) * 4 / 1
        (1.0, -1.0, 2 / 1.05),
        (2.0, 1.0, -4 / (1 + math.exp(-1.0))),
    ],
)
def test_sapo_fades(ratio, advantage, loss):
    assert one_token(ratio, advantage, loss_type="sapo").item() == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss"),
    [
        (2.9, 1.0, -2.9),  # 0.1 -> 0.29 is 0.19 away: within 0.2 although the ratio is far out
        (3.1, 1.0, 0.0),  # 0.21 away, the way the advantage pushes
        (3.1, -1.0, 3.1),  # and against it
        (0.1, -1.0, 0.1),  # 0.1 -> 0.01: a rare token may fall
    ],
)
def test_dppo_holds_probabilities_not_ratios(ratio, advantage, loss):
    assert one_token(ratio, advantage, loss_type="dppo").item() == pytest.approx(loss, rel=1e-6)


def test_gmpo_is_not_moved_by_one_extreme_ratio():
    # ratios e^2, 1 and A = 1: the first log-ratio is held at 0.4, the mean is 0.2
    policy = mx.array([[1.0, -1.0]])
    loss = policy_loss(
        policy, mx.array([[-1.0, -1.0]]), mx.array([1.0]), mx.ones((1, 2)), loss_type="gmpo", clip_high=0.4
    )
    assert loss.item() == pytest.approx(-math.exp(0.2), rel=1e-6)
