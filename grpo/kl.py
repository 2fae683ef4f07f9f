"""Per-token estimators of KL(policy || reference) from the policy's samples (Schulman, joschu.net/blog/kl-approx.html).

As numbers, k1 and k3 have the KL as their mean under the policy, and k3 is never negative. As terms of a loss, only the
derivative of the summand counts, not that of the sampling, and the order changes (arXiv 2512.21852):

    k1: 0 in expectation · k2: the gradient of KL(policy || reference) · k3: the gradient of KL(reference || policy)

GRPO puts k3 in the loss, and so do we: both KLs are 0 at the same policy and agree to second order around it.
"""

import mlx.core as mx


def k1(policy_logprobs: mx.array, reference_logprobs: mx.array) -> mx.array:
    """The log-ratio: unbiased, of either sign, no gradient in expectation.

    k1 = policy - reference.

    Args:
        policy_logprobs, reference_logprobs: [batch, time], natural logarithms.
    Returns:
        [batch, time] in nats; 0 where both agree.
    """
    return policy_logprobs - reference_logprobs


def k2(policy_logprobs: mx.array, reference_logprobs: mx.array) -> mx.array:
    """Half the squared log-ratio: biased, never negative, its gradient that of KL(policy || reference) in expectation.

    k2 = (policy - reference)^2 / 2.

    Args:
        policy_logprobs, reference_logprobs: [batch, time], natural logarithms.
    Returns:
        [batch, time] in nats; 0 where both agree.
    """
    return (policy_logprobs - reference_logprobs).square() / 2


def k3(policy_logprobs: mx.array, reference_logprobs: mx.array) -> mx.array:
    """The estimator in GRPO's loss: unbiased, never negative (DeepSeekMath, arXiv 2402.03300).

    k3 = exp(reference - policy) - (reference - policy) - 1.

    Args:
        policy_logprobs, reference_logprobs: [batch, time], natural logarithms.
    Returns:
        [batch, time] in nats; 0 where both agree, infinite where the reference is more than e^88 times likelier.
    """
    difference = reference_logprobs - policy_logprobs
    return mx.expm1(difference) - difference  # expm1: exp(d) - 1 loses every digit of a small k3
