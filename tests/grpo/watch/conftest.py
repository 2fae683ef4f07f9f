"""A server of `grpo watch` in a thread, on a port of its own."""

import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
import uvicorn

from grpo.watch.server import application
from grpo.watch.state import Watched


class Served:
    """What is watched, and where it is answered."""

    def __init__(self, watched, address):
        self.watched, self.address = watched, address

    def get(self, path, host=None, **query):
        """Status, headers and text of an answer."""
        given = "?" + urllib.parse.urlencode(query) if query else ""
        request = urllib.request.Request(f"{self.address}{path}{given}", headers={"Host": host} if host else {})
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()


@pytest.fixture
def serve():
    """Serves runs; `follow` reads on in a thread, else `watched.refresh()` does it."""
    ended = []

    def start(*runs, follow=False):
        watched = Watched(runs)
        listening = socket.socket()
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application(watched), log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        watched.start() if follow else watched.refresh()
        ended.append((watched, server, thread))
        return Served(watched, f"http://127.0.0.1:{listening.getsockname()[1]}")

    yield start
    for watched, server, thread in ended:
        watched.stop()
        server.should_exit = True
        thread.join(timeout=10)
