"""Servers of the OpenEnv kind on loopback: over HTTP, over WebSockets, and of the package itself."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from envs import DataError, Reply, make
from tests.envs.playing import played


def outcome(guess, number):
    right = guess.strip() == str(number)
    return {"observation": {"text": "right" if right else "no"}, "reward": float(right), "done": right}


class GuessServer(BaseHTTPRequestHandler):
    """Guess the number, which is seed % 10."""

    episodes: ClassVar[dict] = {}

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/reset":
            self.episodes[body["episode_id"]] = body["seed"] % 10
            return self.answer({"observation": {"text": "Guess from 0 to 9."}, "reward": None, "done": False})
        if body["episode_id"] not in self.episodes:
            self.send_response(409)
            self.end_headers()
            self.wfile.write(b"no such episode")
            return None
        return self.answer(outcome(body["action"]["guess"], self.episodes[body["episode_id"]]))

    def answer(self, found):
        data = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    found = ThreadingHTTPServer(("127.0.0.1", 0), GuessServer)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()


def test_a_servers_episodes_are_played_over_http(server):
    env = make("openenv", url=server, action="guess", tasks=3, test_tasks=1, instruction="Play.")
    task = env.tasks("train")[2]
    assert task.prompt == "Play.\n\nGuess from 0 to 9." and len(env.tasks("test")) == 1
    wrong, right = played(env, "7", "2", task=task)
    assert wrong == Reply([{"role": "user", "content": "no"}], rewards={"step": 0.0})
    assert right == Reply([{"role": "user", "content": "right"}], done=True, rewards={"step": 1.0})


def test_a_server_that_refuses_says_why(server):
    env = make("openenv", url=server, action="guess", tasks=1, test_tasks=1)
    talk = env.converse(env.tasks("train")[0])
    talk.reply({"role": "assistant", "content": "1"})
    GuessServer.episodes.clear()
    with pytest.raises(RuntimeError, match="HTTP 409: no such episode"):
        talk.reply({"role": "assistant", "content": "1"})


def test_no_server_is_one_line():
    with pytest.raises(DataError, match="reset failed"):
        make("openenv", url="http://127.0.0.1:9", tasks=1)
    with pytest.raises(DataError, match="must begin with http"):
        make("openenv", url="localhost", tasks=1)


@pytest.fixture
def socket_server():
    """The same game, an episode for each WebSocket connection and two at once, as OpenEnv's servers play it."""
    library = pytest.importorskip("websockets.sync.server", reason="needs the extra envs")
    free = threading.Semaphore(2)

    def play(connection):
        if not free.acquire(blocking=False):
            connection.send(json.dumps({"type": "error", "data": {"message": "full", "code": "CAPACITY_REACHED"}}))
            return
        number = None
        try:
            for text in connection:
                message = json.loads(text)
                if message["type"] == "reset":
                    number = message["data"]["seed"] % 10
                    data = {"observation": {"text": "Guess from 0 to 9."}, "reward": None, "done": False}
                elif "guess" in message["data"]:
                    data = outcome(message["data"]["guess"], number)
                else:
                    connection.send(json.dumps({"type": "error", "data": {"message": "no guess"}}))
                    continue
                connection.send(json.dumps({"type": "observation", "data": data}))
        finally:
            free.release()

    with library.serve(play, "127.0.0.1", 0) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.socket.getsockname()[1]}"
        found.shutdown()


def test_a_servers_episodes_are_played_over_web_sockets(socket_server):
    env = make("openenv", url=socket_server, action="guess", tasks=3, test_tasks=1, instruction="Play.")
    task = env.tasks("train")[2]
    assert task.prompt == "Play.\n\nGuess from 0 to 9."
    wrong, right = played(env, "7", "2", task=task)
    assert wrong == Reply([{"role": "user", "content": "no"}], rewards={"step": 0.0})
    assert right == Reply([{"role": "user", "content": "right"}], done=True, rewards={"step": 1.0})


def test_an_episode_waits_for_a_free_session(socket_server):
    env = make("openenv", url=socket_server, action="guess", tasks=1, test_tasks=1, timeout_seconds=5.0)
    first, second, third = (env.converse(env.tasks("train")[0]) for _ in range(3))
    for talk in (first, second):
        assert talk.reply({"role": "assistant", "content": "5"}).messages[0]["content"] == "no"
    threading.Timer(0.6, first.close).start()
    assert third.reply({"role": "assistant", "content": "0"}).done
    for talk in (second, third):
        talk.close()


def test_an_episode_that_is_over_gives_its_session_back(socket_server):
    env = make("openenv", url=socket_server, action="guess", tasks=1, test_tasks=1, timeout_seconds=5.0)
    talks = [env.converse(env.tasks("train")[0]) for _ in range(5)]
    assert all(talk.reply({"role": "assistant", "content": "0"}).done for talk in talks)  # of two sessions


def test_a_socket_server_that_refuses_says_why(socket_server):
    env = make("openenv", url=socket_server, action="move", tasks=1, test_tasks=1)
    talk = env.converse(env.tasks("train")[0])
    with pytest.raises(RuntimeError, match=r"step was answered with .*no guess"):
        talk.reply({"role": "assistant", "content": "1"})
    talk.close()


def test_a_server_of_the_package_openenv_is_played():
    pytest.importorskip("websockets", reason="needs the extra envs")
    server = pytest.importorskip("openenv.core.env_server.http_server", reason="needs the package openenv")
    import uvicorn
    from openenv.core.env_server.interfaces import Environment
    from openenv.core.env_server.types import Action, Observation, State

    class Guess(Action):
        guess: str

    class Said(Observation):
        text: str

    class Game(Environment):
        SUPPORTS_CONCURRENT_SESSIONS = True

        def reset(self, seed=None, episode_id=None, **_):
            self.number = seed % 10
            return Said(text="Guess from 0 to 9.", done=False, reward=0.0)

        def step(self, action, **_):
            right = action.guess == str(self.number)
            return Said(text="right" if right else "no", done=right, reward=float(right))

        @property
        def state(self):
            return State()

    app = server.create_fastapi_app(Game, Guess, Said, max_concurrent_envs=4)
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.05)
    port = running.servers[0].sockets[0].getsockname()[1]
    try:
        env = make("openenv", url=f"http://127.0.0.1:{port}", action="guess", tasks=3, test_tasks=1)
        wrong, right = played(env, "7", "2", task=env.tasks("train")[2])
        assert wrong.messages[0]["content"] == "no" and right.done and right.rewards == {"step": 1.0}
    finally:
        running.should_exit = True
        thread.join(10)
