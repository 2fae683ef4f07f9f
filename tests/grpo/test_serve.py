"""A run's model behind mlx_lm's server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from grpo.config.sections import ConfigError
from grpo.serve import main, served


def test_a_run_is_its_model_with_its_adapter(tmp_path):
    (tmp_path / "config.yaml").write_text("model: owner/name\n")
    (tmp_path / "adapters.safetensors").touch()
    assert served(tmp_path) == ["--model", "owner/name", "--adapter-path", str(tmp_path)]
    (tmp_path / "config.yaml").write_text("model: miniature\n")
    assert served(tmp_path)[1] == str(tmp_path / "miniature")


def test_what_is_no_run_is_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "config.yaml").write_text("model: m\n")
    with pytest.raises(ConfigError, match=r"no adapters\.safetensors yet"):
        served(tmp_path)


def test_it_answers(runs):
    assert runs.run("steps=1", name="served").code == 0
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "grpo", "serve", str(runs.folder("served")), "--port", str(port)]
    path = os.pathsep.join(sys.path)
    server = subprocess.Popen(
        command,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )
    body = json.dumps({"prompt": "1 2 + 3 4 =", "max_tokens": 4}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/completions", body, headers={"Content-Type": "application/json"}
    )
    try:
        for _ in range(240):
            assert server.poll() is None
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    assert json.load(answer)["usage"]["completion_tokens"] >= 1
                    break
            except urllib.error.URLError:
                time.sleep(0.5)
        else:
            raise AssertionError("no answer in two minutes")
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
    finally:
        server.kill()
