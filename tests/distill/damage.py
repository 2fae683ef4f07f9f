"""Model directories of which one file is damaged, of another kind or absurdly large, for commands that read them."""

import json
import os

TORN = {
    "torn": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda data: b"",
    "noise": lambda data: bytes(range(256)) * 20,
    "a header of 10^18 bytes": lambda data: (10**18).to_bytes(8, "little") + data[8:],
}
WEIGHTS = [("model.safetensors", how) for how in (*TORN, "a pipe", "a directory", "a link to nothing")]
SETTINGS = [("config.json", how) for how in ("torn", "empty", "deep", "a list", "a pipe", "a directory", "10^9 blocks")]
TOKENIZER = [("tokenizer.json", how) for how in ("torn", "deep", "a list", "a pipe", "a directory")]


def damage(folder, name, how):
    """Damage a file of a model directory."""
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if how in TORN:
        path.write_bytes(TORN[how](data))
    elif how == "deep":
        path.write_text("[" * 100_000)
    elif how == "a list":
        path.write_text("[1, 2]")
    elif how == "a pipe":
        os.mkfifo(path)
    elif how == "a directory":
        path.mkdir()
    elif how == "a link to nothing":
        path.symlink_to(folder / "gone")
    else:
        path.write_text(json.dumps({**json.loads(data), "num_hidden_layers": 10**9}))
