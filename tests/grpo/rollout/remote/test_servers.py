"""What is sent to each kind of server, what is made of its replies, and what is refused."""

import json
from dataclasses import replace

import mlx.core as mx
import pytest

from grpo.config.sections import ConfigError
from grpo.rollout.engine import Request
from grpo.rollout.remote.sending import Sent
from grpo.rollout.remote.servers import SERVERS, Answer, Ask, MlxLm
from grpo.rollout.remote.source import RemoteSource, rollout_of, root, sendable
from grpo.rollout.sampler import Sampling
from grpo.rollout.source import RolloutInputs
from grpo.rollout.stopping import Stops
from rewards.judge.endpoint import EndpointError

SENT = Sent(3, "v000003-abc", "/shared/v000003-abc", 10)
STOPS = Stops(frozenset({2}))


def ask(**changes):
    return replace(Ask("m", SENT, (5, 6, 7), "5 6 7", 8, 1.0, (), (2,)), **changes)


def inputs(policy, prompts, *, samples=2, **changes):
    request = Request(samples=samples, max_tokens=8, sampling=Sampling(1.0), stops=STOPS)
    return RolloutInputs(policy, prompts, replace(request, **changes), lambda _: None)


def source(tiny, policy, output, url, said=None, **rollout):
    config = tiny.config(fine_tune="lora", rollout={"url": url, "model": "base", **rollout})
    return RemoteSource(config, policy, output, (said if said is not None else []).append)


def test_vllm_gets_ids_and_an_adapter_and_gives_ids_with_their_logprobs(tiny, tmp_path, stand_in, vllm_replies):
    server, policy = stand_in(vllm_replies), tiny.policy(fine_tune="lora", adapter_noise=0.1)
    made = source(tiny, policy, tmp_path, f"{server.url}/v1", server="vllm")
    prompts = tiny.prompts([4, 6])
    made.send(policy, 5)
    groups = dict(made(inputs(policy, prompts)))
    assert [rollout.tokens for rollout in groups[1].rollouts] == [(11, 12, 13, 2)] * 2
    one = groups[0].rollouts[0]
    assert one.logprobs == (-0.5, -1.0, -1.5, -2.0) and one.stop_reason == "stop" and one.text == "11 12 13"
    assert one.version == 5 and groups[0].prompt is prompts[0]
    asked = server.asked("/v1/completions")
    assert {tuple(body["prompt"]) for body in asked} == {prompt.tokens for prompt in prompts} and len(asked) == 4
    assert all(body["return_token_ids"] and body["logprobs"] == 0 and body["top_p"] == 1 for body in asked)
    (loaded,) = server.asked("/v1/load_lora_adapter")
    assert loaded["lora_name"].startswith("v000005-") and {body["model"] for body in asked} == {loaded["lora_name"]}


def test_an_adapter_for_vllm_is_in_pefts_layout_with_short_names(tiny, tmp_path, stand_in, vllm_replies):
    server, policy = stand_in(vllm_replies), tiny.policy(fine_tune="lora", adapter_noise=0.1)
    made = source(tiny, policy, tmp_path, server.url, server="vllm")
    made.send(policy, 1)
    folder = tmp_path / "adapters_sent" / made.newest.name
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["peft_type"] == "LORA" and "q_proj" in config["target_modules"]
    assert not any("." in name for name in config["target_modules"])
    written = mx.load(str(folder / "adapter_model.safetensors"))
    mine = policy.trainable()["model.layers.0.self_attn.q_proj.lora_a"]
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert mx.array_equal(written[name], mine.T)


def test_the_same_weights_have_the_same_name_and_old_ones_go(tiny, tmp_path, stand_in, vllm_replies):
    server, policy = stand_in(vllm_replies), tiny.policy(fine_tune="lora", adapter_noise=0.1)
    made = source(tiny, policy, tmp_path, server.url, server="vllm")
    (prompt,) = tiny.prompts([4])
    names = []
    for version in range(5):
        made.send(policy, version)
        names.append(made.newest.name)
        list(made(inputs(policy, [prompt], samples=1)))
    assert len({name.split("-")[1] for name in names}) == 1  # the digest of one and the same adapter
    assert sorted(path.name for path in (tmp_path / "adapters_sent").iterdir()) == names[-2:]
    assert sorted(vllm_replies.loaded) == names[-2:]
    tiny.disturb(policy.model, 0.3, seed=9)
    made.send(policy, 5)
    assert made.newest.name.split("-")[1] != names[0].split("-")[1]


def test_a_server_that_restarted_gets_the_adapter_again(tiny, tmp_path, stand_in, vllm_replies):
    server, policy = stand_in(vllm_replies), tiny.policy(fine_tune="lora")
    made = source(tiny, policy, tmp_path, server.url, server="vllm")
    (prompt,) = tiny.prompts([4])
    made.send(policy, 0)
    list(made(inputs(policy, [prompt])))
    vllm_replies.loaded.clear()
    made._forget(server.url)
    list(made(inputs(policy, [prompt])))
    assert len(server.asked("/v1/load_lora_adapter")) == 2


def test_an_adapter_that_is_there_already_is_the_same_one(tiny, tmp_path, stand_in, vllm_replies):
    server, policy = stand_in(vllm_replies), tiny.policy(fine_tune="lora")
    made = source(tiny, policy, tmp_path, server.url, server="vllm")
    made.send(policy, 0)
    vllm_replies.loaded[made.newest.name] = "x"
    assert dict(made(inputs(policy, tiny.prompts([4]))))


def test_sglang_gets_ids_and_gives_ids_with_their_logprobs(tiny, tmp_path, stand_in, sglang_replies):
    server, policy = stand_in(sglang_replies), tiny.policy(fine_tune="lora")
    made = source(tiny, policy, tmp_path, f"{server.url}/v1", server="sglang")
    (prompt,) = tiny.prompts([4])
    made.send(policy, 2)
    ((_, group),) = made(inputs(policy, [prompt]))
    assert group.rollouts[0].tokens == (11, 12, 13) and group.rollouts[0].logprobs == (-0.25, -0.5, -0.75)
    assert group.rollouts[0].stop_reason == "length" and group.rollouts[0].version == 2
    body = server.asked("/generate")[0]
    assert tuple(body["input_ids"]) == prompt.tokens and body["return_logprob"]
    assert body["lora_path"] == made.newest.name and body["sampling_params"]["stop_token_ids"] == [2]


def test_ids_that_a_server_does_not_give_are_refused_in_one_line(tiny, tmp_path, stand_in, vllm_replies):
    def without_ids(path, body):
        status, answer = vllm_replies(path, body)
        if path == "/v1/completions":
            del answer["choices"][0]["token_ids"]
        return status, answer

    server, policy = stand_in(without_ids), tiny.policy(fine_tune="lora")
    made = source(tiny, policy, tmp_path, server.url, server="vllm")
    made.send(policy, 0)
    with pytest.raises(ConfigError, match="no token ids"):
        list(made(inputs(policy, tiny.prompts([4]))))


def test_mlx_lm_without_ids_is_refused():
    content = [{"token": "a", "logprob": -1.0}]
    choice = {"text": "a", "finish_reason": "stop", "logprobs": {"content": content}}
    reply = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 3}}).encode()
    with pytest.raises(EndpointError, match="no token ids") as caught:
        MlxLm().ask(lambda path, body: reply, ask())
    assert not caught.value.passing


def test_a_reply_that_was_cut_off_is_worth_another_attempt():
    for kind in SERVERS.values():
        with pytest.raises(EndpointError) as caught:
            kind().ask(lambda path, body: b'{"choices": [{"te', ask())
        assert caught.value.passing


def test_what_a_server_wrote_after_a_stop_token_is_cut(tiny):
    answer = Answer((11, 2, 12), (-1.0, -2.0, -3.0), False, 3)
    made = rollout_of(answer, ask(), STOPS, tiny.tokenizer())
    assert made.tokens == (11, 2) and made.logprobs == (-1.0, -2.0) and made.stop_reason == "stop" and made.text == "11"
    assert made.entropies == (1.0, 2.0)  # surprisals


def test_a_stop_text_ends_a_completion_and_stays(tiny):
    answer = Answer((11, 12, 13), (-1.0,) * 3, True, 3)
    made = rollout_of(answer, ask(), Stops(frozenset({2}), ("12",)), tiny.tokenizer())
    assert made.tokens == (11, 12) and made.text == "11 12" and made.stop_reason == "stop"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer((), (), True), "0 token ids"),
        (Answer((1, 2), (-1.0,), True), "as many ids as logprobs"),
        (Answer((1,) * 9, (-1.0,) * 9, False), "at most 8 tokens"),
        (Answer((1,), (float("nan"),), False), "not finite"),
        (Answer((1,), (-1.0,), False, 4), "must have the same tokenizer"),
    ],
)
def test_an_answer_that_can_not_be_learned_from_is_refused(tiny, answer, reason):
    with pytest.raises(ConfigError, match=reason):
        rollout_of(answer, ask(), STOPS, tiny.tokenizer())


class WithBos:
    bos_token = "<s>"

    def encode(self, text, **_):
        return [1, *([1] if text.startswith("<s>") else []), *map(int, text.removeprefix("<s>").split())]


def test_a_templates_bos_is_left_to_the_server(tiny):
    prompt = replace(tiny.prompt([1, 8, 9]), text="<s>8 9")
    assert sendable(prompt, WithBos()) == "8 9"
    with pytest.raises(ConfigError, match="can't be sent"):
        sendable(replace(prompt, text="<s>8 9 10"), WithBos())


def test_addresses_with_and_without_v1_are_one():
    assert root("http://a:1/v1/") == root("http://a:1") == "http://a:1"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"temperature": 0.7, "fine_tune": "lora"}, "temperature must be 1"),
        ({"fine_tune": "full"}, "fine_tune full"),
    ],
)
def test_runs_that_mlx_lm_can_not_sample_for_are_refused(tiny, tmp_path, settings, reason):
    config = tiny.config(rollout={"url": "http://127.0.0.1:1"}, **settings)
    policy = tiny.policy(fine_tune=settings["fine_tune"])
    with pytest.raises(ConfigError, match=reason):
        RemoteSource(config, policy, tmp_path, print)
