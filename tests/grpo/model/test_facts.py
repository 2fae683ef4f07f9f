"""What a model directory says of its sizes, read without loading it; hostile headers are one line."""

import json

import pytest

from grpo.model.facts import facts_of_settings, read_header

WHOLE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_of(folder, header):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path = folder / "model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    return path


def test_dtype_and_shape_of_every_tensor(tmp_path):
    path = file_of(tmp_path, {"__metadata__": {"format": "mlx"}, "a": WHOLE})
    assert read_header(path) == {"a": ("F32", [2])}


@pytest.mark.parametrize(
    "header",
    [
        "[" * 100_000,
        "[1]",
        {"a": 5},
        {"a": None},
        {"a": {}},
        {"a": {**WHOLE, "data_offsets": [0]}},
        {"a": {**WHOLE, "data_offsets": [0, "8"]}},
        {"a": {**WHOLE, "dtype": 3}},
        {"a": {**WHOLE, "shape": [-1]}},
        {"a": {**WHOLE, "shape": "ab"}},
        {"a": {**WHOLE, "shape": None}},
        {"a": {**WHOLE, "data_offsets": [0, 10**18]}},
    ],
)
def test_a_hostile_header_is_one_line(tmp_path, header):
    with pytest.raises(ValueError, match=r"model\.safetensors.*(safetensors file|no dtype|cut short)") as caught:
        read_header(file_of(tmp_path, header))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


SETTINGS = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
}


@pytest.mark.parametrize("value", ["2", 2.5, None, -1, 0, [2]])
@pytest.mark.parametrize("name", [*SETTINGS])
def test_a_size_that_is_none_is_one_line(name, value):
    assert facts_of_settings(SETTINGS).blocks == 2
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got "):
        facts_of_settings({**SETTINGS, name: value})


def test_a_part_that_is_no_object_is_one_line():
    with pytest.raises(ValueError, match="text_config must be an object, got a list"):
        facts_of_settings({**SETTINGS, "text_config": [1]})
