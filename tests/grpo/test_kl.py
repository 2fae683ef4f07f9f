import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.kl import k1, k2, k3

FORMULAS = {
    k1: lambda policy, reference: policy - reference,
    k2: lambda policy, reference: (policy - reference) ** 2 / 2,
    k3: lambda policy, reference: np.exp(reference - policy) - (reference - policy) - 1,
}
DERIVATIVES = {  # with respect to policy
    k1: lambda policy, reference: np.ones_like(policy),
    k2: lambda policy, reference: policy - reference,
    k3: lambda policy, reference: 1 - np.exp(reference - policy),
}
ESTIMATORS = list(FORMULAS)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (k1, math.log(2)),  # log(1/2) - log(1/4)
        (k2, math.log(2) ** 2 / 2),
        (k3, math.log(2) - 0.5),  # (1/4) / (1/2) + log 2 - 1
    ],
)
def test_policy_one_half_reference_one_quarter(estimator, expected):
    assert estimator(mx.array([[math.log(0.5)]]), mx.array([[math.log(0.25)]])).item() == pytest.approx(expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_zero_where_policy_and_reference_agree(estimator):
    logprobs = mx.array([[-0.1, -3.0, 0.0]])
    assert estimator(logprobs, logprobs).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_value_and_gradient_against_float64(estimator):
    random = np.random.default_rng(0)
    policy, reference = (random.uniform(-6, 0, (3, 5)).astype(np.float32) for _ in range(2))
    value, gradient = mx.value_and_grad(lambda p: estimator(p, mx.array(reference)).sum())(mx.array(policy))
    exact = (policy.astype(np.float64), reference.astype(np.float64))
    tokens = np.array(estimator(mx.array(policy), mx.array(reference)))
    np.testing.assert_allclose(tokens, FORMULAS[estimator](*exact), rtol=1e-5, atol=1e-6)
    assert value.item() == pytest.approx(FORMULAS[estimator](*exact).sum(), rel=1e-5)
    np.testing.assert_allclose(np.array(gradient), DERIVATIVES[estimator](*exact), rtol=1e-5, atol=1e-6)


def test_k3_is_never_negative_and_keeps_its_digits_near_zero():
    # k3 of a difference d is d^2 / 2 + d^3 / 6 + ...; exp(d) - d - 1 in float32 is off by up to 1e-7
    differences = np.array([-1e-2, -1e-3, -1e-4, 1e-5, 1e-4, 1e-3, 1e-2], dtype=np.float32)
    values = np.array(k3(mx.zeros((7,)), mx.array(differences)))
    assert (values >= 0).all()
    exact = np.expm1(differences.astype(np.float64)) - differences.astype(np.float64)
    np.testing.assert_allclose(values, exact, atol=1e-9)


# The KL in the loss: what gradient does each estimator have in expectation? On 3 tokens the expectation is a sum.
# p = softmax(z), dlogp_a/dz = e_a - p; the sampling is not differentiated: sum_a p_a * dk/dlogp_a * dlogp_a/dz.
POLICY_LOGITS = np.array([0.3, -0.5, 0.9])
REFERENCE = np.array([0.5, 0.2, 0.3])
POLICY = np.exp(POLICY_LOGITS) / np.exp(POLICY_LOGITS).sum()


def gradient_in_expectation(estimator) -> np.ndarray:
    def expected_estimate(logits):
        logprobs = logits - mx.logsumexp(logits)
        return (mx.stop_gradient(mx.exp(logprobs)) * estimator(logprobs, mx.log(mx.array(REFERENCE)))).sum()

    return np.array(mx.grad(expected_estimate)(mx.array(POLICY_LOGITS)))


def exact_gradient(kl) -> np.ndarray:
    """Central differences in float64 of a function of the policy's probabilities."""

    def at(logits):
        return kl(np.exp(logits) / np.exp(logits).sum())

    steps = np.eye(3) * 1e-5
    return np.array([(at(POLICY_LOGITS + step) - at(POLICY_LOGITS - step)) / 2e-5 for step in steps])


REVERSE = exact_gradient(lambda policy: (policy * np.log(policy / REFERENCE)).sum())  # of KL(policy || reference)
FORWARD = exact_gradient(lambda policy: (REFERENCE * np.log(REFERENCE / policy)).sum())  # of KL(reference || policy)


def test_k1_in_a_loss_has_no_gradient():
    np.testing.assert_allclose(gradient_in_expectation(k1), np.zeros(3), atol=1e-6)
    assert np.abs(REVERSE).max() > 0.05


def test_k2_in_a_loss_has_the_gradient_of_kl_policy_reference():
    np.testing.assert_allclose(gradient_in_expectation(k2), REVERSE, rtol=1e-5, atol=1e-6)


def test_k3_in_a_loss_has_the_gradient_of_kl_reference_policy():
    # sum_a p_a (1 - q_a / p_a) (e_a - p) = sum_a (p_a - q_a) e_a - 0 = p - q, which is that of KL(q || p)
    np.testing.assert_allclose(gradient_in_expectation(k3), POLICY - REFERENCE, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient_in_expectation(k3), FORWARD, rtol=1e-5, atol=1e-6)
    assert np.abs(FORWARD - REVERSE).max() > 0.005  # and is another one


def test_k1_and_k3_have_the_kl_as_their_mean():
    exact = (POLICY * np.log(POLICY / REFERENCE)).sum()
    for estimator in (k1, k3):
        estimates = np.array(estimator(mx.log(mx.array(POLICY)), mx.log(mx.array(REFERENCE))))
        assert (POLICY * estimates).sum() == pytest.approx(exact, rel=1e-5)
