"""Servers on loopback: mlx_lm's own in a process, and stand-ins that answer in the shape of vLLM's and SGLang's."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class MlxServer:
    """`python -m mlx_lm server`; `start` may be called again after `kill`, on the same port."""

    def __init__(self, model):
        self.model, self.port, self.process = model, free_port(), None
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, *, wait=True):
        command = [sys.executable, "-m", "mlx_lm", "server", "--model", str(self.model), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, env=environment, **quiet)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(480 if wait else 0):
            assert self.process.poll() is None, "the server ended"
            try:
                opener.open(f"{self.url}/health", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.25)
        assert not wait, "no answer in two minutes"
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def mlx_server(miniature_model):
    server = MlxServer(miniature_model)
    yield server
    server.kill()


class StandIn(ThreadingHTTPServer):
    """Answers what `reply(path, body)` gives, as (status, object); `said` is what it was sent."""

    daemon_threads = True

    def __init__(self, reply):
        super().__init__(("127.0.0.1", 0), Handler)
        self.reply, self.said, self.guard = reply, [], threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def asked(self, path):
        return [body for where, body in self.said if where == path]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.guard:
            self.server.said.append((self.path, body))
            status, answer = self.server.reply(self.path, body)
        raw = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


@pytest.fixture
def stand_in():
    made = []

    def start(reply):
        server = StandIn(reply)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.append(server)
        return server

    yield start
    for server in made:
        server.shutdown()
        server.server_close()


@pytest.fixture
def vllm_replies():
    """What `vllm serve --enable-lora` answers: adapters by name, refused when they are loaded twice."""
    loaded = {}

    def reply(path, body):
        if path == "/v1/load_lora_adapter":
            name = body["lora_name"]
            if name in loaded:
                return 400, {"error": {"message": f"The lora adapter '{name}' has already been loaded."}}
            loaded[name] = body["lora_path"]
            return 200, f"Success: LoRA adapter '{name}' added successfully."
        if path == "/v1/unload_lora_adapter":
            del loaded[body["lora_name"]]
            return 200, "Success"
        if body["model"] not in loaded:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        ids = [11, 12, 13, 2]
        choice = {
            "index": 0,
            "text": "w11 w12 w13",
            "logprobs": {"tokens": ["w11", "w12", "w13", ""], "token_logprobs": [-0.5, -1.0, -1.5, -2.0]},
            "finish_reason": "stop",
            "token_ids": ids,
            "prompt_token_ids": body["prompt"],
        }
        usage = {"prompt_tokens": len(body["prompt"]), "completion_tokens": 4}
        return 200, {"model": body["model"], "choices": [choice], "usage": usage}

    reply.loaded = loaded
    return reply


@pytest.fixture
def sglang_replies():
    """What SGLang's native routes answer with --enable-lora."""
    loaded = {}

    def reply(path, body):
        if path == "/load_lora_adapter":
            name = body["lora_name"]
            if name in loaded:
                return 400, {"success": False, "error_message": f"LoRA adapter {name} is already loaded"}
            loaded[name] = body["lora_path"]
            return 200, {"success": True, "loaded_adapters": loaded, "error_message": None}
        if path == "/unload_lora_adapter":
            del loaded[body["lora_name"]]
            return 200, {"success": True}
        if body["lora_path"] not in loaded:
            return 400, {"error": {"message": f"adapter {body['lora_path']} is not loaded"}}
        about = {
            "prompt_tokens": len(body["input_ids"]),
            "completion_tokens": 3,
            "finish_reason": {"type": "length", "length": 3},
            "output_token_logprobs": [[-0.25, 11, None], [-0.5, 12, None], [-0.75, 13, None]],
        }
        return 200, {"text": "w11 w12 w13", "output_ids": [11, 12, 13], "meta_info": about}

    reply.loaded = loaded
    return reply
