import math

import mlx.core as mx
import numpy as np
import pytest

from grpo.logprobs import predicting_hidden, token_logprobs
from grpo.model import chunks as module
from grpo.model.chunks import chunked_logprobs
from grpo.model.head import FrozenHead

TEMPERATURE = 0.7


def oracle(logits, tokens, temperature):
    """float64 logprobs and entropies, one position at a time."""
    logprobs, entropies = [], []
    for row, token in zip(logits.astype(np.float64) / temperature, tokens, strict=True):
        log_softmax = row - row.max() - math.log(np.exp(row - row.max()).sum())
        logprobs.append(log_softmax[token])
        entropies.append(-(np.exp(log_softmax) * log_softmax).sum())
    return np.array(logprobs), np.array(entropies)


# token_logprobs


def test_logprobs_of_known_probabilities():
    # logits log 1, log 2, log 5: probabilities 1/8, 2/8, 5/8
    logits = mx.log(mx.array([[[1.0, 2.0, 5.0], [5.0, 2.0, 1.0]]]))
    logprobs = token_logprobs(logits, mx.array([[2, 2]]), 1.0)
    assert logprobs.tolist()[0] == pytest.approx([math.log(5 / 8), math.log(1 / 8)], rel=1e-6)


def test_temperature_divides_the_logits():
    # temperature 1/2 squares: 1/30, 4/30, 25/30
    logprobs = token_logprobs(mx.log(mx.array([[[1.0, 2.0, 5.0]]])), mx.array([[1]]), 0.5)
    assert logprobs.item() == pytest.approx(math.log(4 / 30), rel=1e-6)


def test_value_against_float64():
    random = np.random.default_rng(0)
    logits = random.normal(0, 6, (3, 4, 11)).astype(np.float32)
    tokens = random.integers(0, 11, (3, 4))
    expected, _ = oracle(logits.reshape(12, 11), tokens.reshape(12), TEMPERATURE)
    logprobs = np.array(token_logprobs(mx.array(logits), mx.array(tokens), TEMPERATURE))
    np.testing.assert_allclose(logprobs, expected.reshape(3, 4), rtol=1e-5, atol=1e-6)


def test_gradient_is_one_hot_minus_softmax_over_temperature():
    logits = mx.log(mx.array([[[1.0, 2.0, 5.0]]]))
    gradient = mx.grad(lambda z: token_logprobs(z / 2, mx.array([[1]]), 0.5).sum())(logits)
    assert gradient.tolist()[0][0] == pytest.approx([-1 / 8, 1 - 2 / 8, -5 / 8])  # z / 2 / 0.5 = z


def test_low_precision_logits_are_normalised_in_float32():
    logits = mx.random.normal((2, 3, 50)).astype(mx.bfloat16)
    tokens = mx.array([[0, 7, 49], [3, 3, 3]])
    logprobs = token_logprobs(logits, tokens, TEMPERATURE)
    assert logprobs.dtype == mx.float32
    expected, _ = oracle(np.array(logits.astype(mx.float32)).reshape(6, 50), np.array(tokens).reshape(6), TEMPERATURE)
    np.testing.assert_allclose(np.array(logprobs).reshape(6), expected, rtol=1e-5)


def test_large_logits_do_not_overflow():
    assert token_logprobs(mx.array([[[1e4, 0.0]]]), mx.array([[0]]), 1.0).item() == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match=r"temperature must be above 0, got"):
        token_logprobs(mx.zeros((1, 1, 2)), mx.array([[0]]), temperature)


# predicting_hidden


def test_the_shift():
    # states 10, 11, 12 at the tokens and 9 at the prompt's end: token 0 is predicted by 9, token 2 by 11, nothing by 12
    hidden = mx.array([[[10.0], [11.0], [12.0]], [[20.0], [21.0], [22.0]]])
    own = predicting_hidden(hidden, mx.array([[9.0], [19.0]]))
    assert own.squeeze(-1).tolist() == [[9.0, 10.0, 11.0], [19.0, 20.0, 21.0]]
    shared = predicting_hidden(hidden, mx.array([[9.0]]))
    assert shared.squeeze(-1).tolist() == [[9.0, 10.0, 11.0], [9.0, 20.0, 21.0]]


def test_the_shift_of_a_single_token_is_the_prompt():
    assert predicting_hidden(mx.array([[[10.0]]]), mx.array([[9.0]])).tolist() == [[[9.0]]]


def test_the_shared_prompt_collects_the_gradient_of_all_rows():
    def first_tokens(prompt_hidden):
        return predicting_hidden(mx.zeros((3, 2, 1)), prompt_hidden)[:, 0].sum()

    assert mx.grad(first_tokens)(mx.array([[9.0]])).item() == 3.0


def test_the_shift_agrees_with_the_one_over_the_whole_row():
    # next-token logprobs of prompt + completion, computed the textbook way, at the completion's positions
    random = np.random.default_rng(1)
    states, head = mx.array(random.normal(size=(1, 6, 4))), mx.array(random.normal(size=(4, 9)))  # prompt of 2, 4 more
    tokens = mx.array(random.integers(0, 9, (1, 6)))
    textbook = token_logprobs(states[:, :-1] @ head, tokens[:, 1:], TEMPERATURE)[:, 1:]
    aligned = predicting_hidden(states[:, 2:], states[:, 1])
    np.testing.assert_allclose(
        np.array(token_logprobs(aligned @ head, tokens[:, 2:], TEMPERATURE)), np.array(textbook), rtol=1e-6
    )


# chunked_logprobs

POSITIONS, WIDTH, VOCAB = 23, 5, 13


def make_problem(seed=0):
    random = np.random.default_rng(seed)
    hidden = random.normal(size=(POSITIONS, WIDTH)).astype(np.float32)
    parameters = {
        "head": {"weight": random.normal(size=(WIDTH, VOCAB)).astype(np.float32)},
        "lora": [random.normal(size=(WIDTH, 2)).astype(np.float32), random.normal(size=(2, VOCAB)).astype(np.float32)],
    }
    tokens = random.integers(0, VOCAB, POSITIONS)
    weights = random.normal(size=POSITIONS).astype(np.float32)  # the loss's own derivative, different at each token
    parameters = {
        "head": {"weight": mx.array(parameters["head"]["weight"])},
        "lora": [*map(mx.array, parameters["lora"])],
    }
    return mx.array(hidden), mx.array(tokens), parameters, mx.array(weights)


def project(parameters, hidden):
    first, second = parameters["lora"]
    return hidden @ parameters["head"]["weight"] + 0.5 * (hidden @ first) @ second


def leaves(parameters):
    return [parameters["head"]["weight"], *parameters["lora"]]


CHUNKS = [1, 4, 8, POSITIONS, 100]


@pytest.mark.parametrize("chunk_tokens", CHUNKS)
def test_chunked_values_against_float64(chunk_tokens):
    hidden, tokens, parameters, _ = make_problem()
    options = {"temperature": TEMPERATURE, "chunk_tokens": chunk_tokens}
    logprobs, entropies = chunked_logprobs(hidden, tokens, project, parameters, **options)
    expected = oracle(np.array(project(parameters, hidden)), np.array(tokens), TEMPERATURE)
    np.testing.assert_allclose(np.array(logprobs), expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(np.array(entropies), expected[1], rtol=1e-5, atol=1e-6)


def chunked_loss(tokens, weights, chunk_tokens, entropy_weight=0.0):
    def loss(parameters, hidden):
        options = {"temperature": TEMPERATURE, "chunk_tokens": chunk_tokens}
        logprobs, entropies = chunked_logprobs(hidden, tokens, project, parameters, **options)
        return (weights * logprobs).sum() + entropy_weight * entropies.sum()

    return loss


@pytest.mark.parametrize("chunk_tokens", CHUNKS)
@pytest.mark.parametrize("compiled", [False, True])
def test_chunked_gradients_equal_those_of_all_logits_at_once(chunk_tokens, compiled):
    hidden, tokens, parameters, weights = make_problem(1)

    def whole(parameters, hidden):
        return (weights * token_logprobs(project(parameters, hidden), tokens, TEMPERATURE)).sum()

    gradient = mx.grad(chunked_loss(tokens, weights, chunk_tokens), argnums=(0, 1))
    chunked = (mx.compile(gradient) if compiled else gradient)(parameters, hidden)
    expected = mx.grad(whole, argnums=(0, 1))(parameters, hidden)
    np.testing.assert_allclose(np.array(chunked[1]), np.array(expected[1]), rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(leaves(chunked[0]), leaves(expected[0]), strict=True):
        assert np.abs(np.array(theirs)).max() > 0.1  # each parameter is trained
        np.testing.assert_allclose(np.array(ours), np.array(theirs), rtol=1e-5, atol=1e-5)


def test_chunked_gradient_of_the_head_against_float64():
    # d sum w_i logprob_i / d W = sum_i w_i / T * hidden_i (one_hot(token_i) - softmax_i)
    hidden, tokens, parameters, weights = make_problem(2)
    logits = np.array(project(parameters, hidden)).astype(np.float64) / TEMPERATURE
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    error = (np.eye(VOCAB)[np.array(tokens)] - softmax) * np.array(weights)[:, None] / TEMPERATURE
    gradient = mx.grad(chunked_loss(tokens, weights, 4))(parameters, hidden)
    expected = np.array(hidden).astype(np.float64).T @ error
    np.testing.assert_allclose(np.array(gradient["head"]["weight"]), expected, rtol=1e-5, atol=1e-5)


def test_a_head_that_is_closed_over_is_not_trained():
    # why chunked_logprobs takes parameters: mlx has no gradient for what a custom function or a checkpoint closes over
    hidden, tokens, parameters, _ = make_problem(4)

    def loss(weight):
        options = {"temperature": TEMPERATURE, "chunk_tokens": 4}
        return chunked_logprobs(hidden, tokens, lambda _, hidden: hidden @ weight, {}, **options)[0].sum()

    assert not mx.grad(loss)(parameters["head"]["weight"]).any().item()


def test_entropies_have_no_gradient():
    hidden, tokens, parameters, weights = make_problem(3)
    with_entropy = mx.grad(chunked_loss(tokens, weights, 4, entropy_weight=5.0), argnums=1)(parameters, hidden)
    without = mx.grad(chunked_loss(tokens, weights, 4), argnums=1)(parameters, hidden)
    assert mx.array_equal(with_entropy, without)


def test_entropy_of_known_distributions():
    # uniform over 4: log 4; probabilities 1/2, 1/2 and two impossible tokens: log 2
    logits = mx.array([[0.0, 0.0, 0.0, 0.0], [3.0, 3.0, -math.inf, -math.inf]])
    _, entropies = chunked_logprobs(
        logits, mx.array([0, 1]), lambda _, hidden: hidden, {}, temperature=1.0, chunk_tokens=1
    )
    assert entropies.tolist() == pytest.approx([math.log(4), math.log(2)], rel=1e-6)


def test_a_frozen_quantised_head_stays_in_the_closure():
    hidden, tokens = mx.random.normal((9, 64)), mx.arange(9)
    packed = mx.quantize(mx.random.normal((32, 64)), group_size=64, bits=4)

    def frozen(_, hidden):
        return mx.quantized_matmul(hidden, *packed, group_size=64, bits=4)

    def loss(hidden):
        return chunked_logprobs(hidden, tokens, frozen, {}, temperature=1.0, chunk_tokens=4)[0].sum()

    expected = mx.grad(lambda hidden: token_logprobs(frozen(None, hidden), tokens, 1.0).sum())(hidden)
    np.testing.assert_allclose(np.array(mx.grad(loss)(hidden)), np.array(expected), rtol=1e-5, atol=1e-5)


def frozen_head(weight, bias=0.0):
    """hidden @ weight' + bias, of any part of the vocabulary; counts the blocks asked for."""

    def block(hidden, ids):
        asked.append(ids)
        return hidden @ weight[ids].T + mx.broadcast_to(mx.array(bias), (weight.shape[0],))[ids]

    asked = []
    return FrozenHead(weight.shape[0], block, lambda hidden, ids: (hidden * weight[ids]).sum(axis=-1)), asked


def in_blocks(hidden, tokens, head, chunk_tokens, *, gradient=True):
    return chunked_logprobs(
        hidden,
        tokens,
        lambda _, hidden: head.project(hidden, slice(None)),
        {},
        temperature=TEMPERATURE,
        chunk_tokens=chunk_tokens,
        head=head,
        gradient=gradient,
    )[0]


@pytest.mark.parametrize("scale", [1.0, 100.0])  # logits of a few, and of hundreds: block after block a higher one
@pytest.mark.parametrize("rows", [4, 1024])
@pytest.mark.parametrize(("chunk_tokens", "blocks"), [(1, 13), (4, 7), (100, 1)])
def test_blocks_of_the_vocabulary_give_values_and_gradients_of_all_logits(
    monkeypatch, scale, rows, chunk_tokens, blocks
):
    # 23 positions at a time: 1 x 13 // 23 -> 1 column, 4 x 13 // 23 = 2, all; 4 at a time: 3, all, all
    monkeypatch.setattr(module, "ROWS", rows)
    random = np.random.default_rng(5)
    hidden, weight = (mx.array(random.normal(size=(n, WIDTH)).astype(np.float32)) for n in (POSITIONS, VOCAB))
    tokens, weights = mx.array(random.integers(0, VOCAB, POSITIONS)), mx.array(random.normal(size=POSITIONS))
    weight = weight * scale
    head, asked = frozen_head(weight)
    scored = in_blocks(hidden, tokens, head, chunk_tokens)
    if rows > POSITIONS:
        assert len({ids.start for ids in asked if ids.stop}) == blocks
    expected = oracle(np.array(hidden @ weight.T), np.array(tokens), TEMPERATURE)[0]
    np.testing.assert_allclose(np.array(scored), expected, rtol=1e-5, atol=1e-6 * scale)
    gradient = mx.grad(lambda hidden: (weights * in_blocks(hidden, tokens, head, chunk_tokens)).sum())(hidden)
    whole = mx.grad(lambda hidden: (weights * token_logprobs(hidden @ weight.T, tokens, TEMPERATURE)).sum())(hidden)
    np.testing.assert_allclose(np.array(gradient), np.array(whole), rtol=1e-4, atol=3e-5 * scale)
    assert mx.array_equal(in_blocks(hidden, tokens, head, chunk_tokens, gradient=False), scored)


def test_tokens_that_a_bias_forbids_change_nothing_in_any_block():
    # a whole block of them comes first: nothing is divided by its sum of 0
    bias = mx.array([-math.inf] * 4 + [0.0] * (VOCAB - 4))
    hidden, weight = mx.random.normal((3, WIDTH)), mx.random.normal((VOCAB, WIDTH))
    tokens = mx.array([5, 6, 12])
    head, _ = frozen_head(weight, bias)
    allowed, _ = frozen_head(weight[4:])
    scored, slopes = mx.value_and_grad(lambda hidden: in_blocks(hidden, tokens, head, 1).sum())(hidden)
    expected, expected_slopes = mx.value_and_grad(lambda hidden: in_blocks(hidden, tokens - 4, allowed, 1).sum())(
        hidden
    )
    assert scored.item() == pytest.approx(expected.item(), rel=1e-5)
    np.testing.assert_allclose(np.array(slopes), np.array(expected_slopes), rtol=1e-4, atol=1e-5)


def test_blocks_keep_the_memory_of_few_logits():
    # all logits: 2048 x 8192 x 4 bytes = 67 MB; a block of as many as 64 positions have 2 MB, about 15 at a time
    positions, width, vocab = 2048, 8, 8192
    hidden, weight = mx.random.normal((positions, width)), mx.random.normal((vocab, width))
    tokens = mx.random.randint(0, vocab, (positions,))
    mx.eval(hidden, weight, tokens)
    head, _ = frozen_head(weight)
    slopes = mx.value_and_grad(lambda hidden: in_blocks(hidden, tokens, head, 64).sum())
    assert peak_bytes(slopes, hidden) < 0.5 * 4 * positions * vocab


def test_no_positions_give_no_logprobs():
    logprobs, entropies = chunked_logprobs(
        mx.zeros((0, 4)), mx.zeros((0,), dtype=mx.int32), project, {}, temperature=1.0, chunk_tokens=8
    )
    assert logprobs.shape == entropies.shape == (0,)


def test_chunk_tokens_must_be_positive():
    with pytest.raises(ValueError, match="chunk_tokens must be at least 1, got 0"):
        chunked_logprobs(mx.zeros((1, 2)), mx.array([0]), project, {}, temperature=1.0, chunk_tokens=0)


def peak_bytes(function, *arguments):
    """On the CPU, where buffers are freed as soon as they are used; a GPU keeps those of a whole command buffer."""
    with mx.stream(mx.cpu):
        mx.clear_cache()
        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(function(*arguments))
    return mx.get_peak_memory() - before


def test_memory_is_that_of_a_chunk_not_of_all_logits():
    # all logits: 4096 x 4096 x 4 bytes = 67 MB, and their gradient as much again; a chunk of 32: 0.5 MB.
    # mlx has about 25 arrays of a chunk at a time, 13 MB, and without an order between the chunks several times that.
    positions, width, vocab = 4096, 8, 4096
    hidden, head = mx.random.normal((positions, width)), {"weight": mx.random.normal((width, vocab))}
    tokens = mx.random.randint(0, vocab, (positions,))
    mx.eval(hidden, head, tokens)

    def linear(parameters, hidden):
        return hidden @ parameters["weight"]

    def chunked(parameters, hidden):
        logprobs, entropies = chunked_logprobs(hidden, tokens, linear, parameters, temperature=1.0, chunk_tokens=32)
        return logprobs.sum(), entropies

    def whole(parameters, hidden):
        return token_logprobs(linear(parameters, hidden), tokens, 1.0).sum()

    logits_bytes = 4 * positions * vocab
    assert peak_bytes(mx.value_and_grad(whole, argnums=(0, 1)), head, hidden) > 1.5 * logits_bytes
    assert peak_bytes(mx.value_and_grad(chunked, argnums=(0, 1)), head, hidden) < 0.3 * logits_bytes
