"""What is left of a collective that a lost peer will never end."""

import threading
import time

import mlx.core as mx

from grpo.ranks import line


def test_errors_of_collectives_under_way_are_taken_before_the_run_saves(monkeypatch):
    faults = [RuntimeError("[ring] connection to a peer was lost")] * 2

    def synchronize(_stream):
        if faults:
            raise faults.pop()

    monkeypatch.setattr(mx, "synchronize", synchronize)
    line.settle()
    assert not faults


def test_a_silent_peer_holds_nobody_for_ever(monkeypatch):
    never = threading.Event()
    monkeypatch.setattr(mx, "synchronize", lambda _stream: never.wait(30))
    monkeypatch.setattr(line, "SETTLE_SECONDS", 0.2)
    began = time.monotonic()
    line.settle()
    never.set()
    assert 0.2 <= time.monotonic() - began < 5
