"""What is read of a peer's process, what becomes of one that fails, and the table; no peer is run here."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import peers
from benchmarks.peers import OURS, Peer, Run


def test_the_first_step_warms_up_and_is_not_counted():
    log = "bar: 50%\nSTEP 90.0 ROLLOUT 10.0 1024\n\nSTEP 40.5 ROLLOUT 8.0 1000\nnot STEP 1.0\nSTEP 50.0\n"
    # 1000 tokens in 8 seconds; the last driver could not tell
    assert peers.counted(log) == [(40.5, 125.0), (50.0, None)]


def python(code):
    return [sys.executable, "-c", code]


def test_a_process_is_timed_under_the_blas_of_ours_and_its_memory_is_seen(tmp_path):
    code = "import os; x = bytearray(900_000_000); x[::4096] = b'1' * len(x[::4096]); print(os.environ['LD_PRELOAD'])"
    exit_code, peak = peers.timed(python(code), tmp_path / "log", 1, "LD_PRELOAD")
    blas = peers.load_blas().path
    if blas is None:
        assert exit_code == 1  # no such variable
    else:
        assert (exit_code, (tmp_path / "log").read_text().strip()) == (0, blas)
    assert 900e6 < peak < 1.2e9  # well above what this process holds: a child begins with its parent's peak


def test_a_process_that_takes_too_long_is_ended(tmp_path):
    exit_code, _ = peers.timed(python("import time; time.sleep(60)"), tmp_path / "log", 0.01, "LD_PRELOAD")
    assert exit_code == -9
    assert peers.last_line(tmp_path / "log") == "ended after 0.01 minutes"


def test_the_error_of_a_peer_is_the_line_that_says_what_went_wrong(tmp_path):
    log = tmp_path / "log"
    log.write_text("Traceback ...\n  File x\nImportError: no module named torch\nhint: see above\n")
    assert peers.last_line(log) == "ImportError: no module named torch"


def test_a_peer_that_can_not_be_installed_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(peers.venv, "create", lambda home, **_: None)
    made = peers.python_of("none", tmp_path)
    made.parent.mkdir(parents=True)
    made.write_text("#!/bin/sh\necho 'ERROR: No matching distribution' >&2\nexit 1\n")
    made.chmod(0o755)
    peer = Peer("None 1", "none", (("nothing==1",),), "drive_none.py", "everything")
    assert peers.environment(peer, tmp_path) == "can't be installed: ERROR: No matching distribution"
    assert not (tmp_path / "venv_none" / "installed").exists()


def test_the_others_go_on_when_a_peer_fails(tmp_path, monkeypatch, byte_model, capsys):
    monkeypatch.setattr(peers, "environment", lambda peer, folder: "no wheel" if peer.environment == "trl" else None)
    monkeypatch.setattr(peers, "ours", lambda *_: Run((2.0, 4.0), (100.0, 120.0), 10**9))
    monkeypatch.setattr(peers, "theirs", lambda *_: Run((9.0, 15.0), (), 3 * 10**9))
    arguments = ["--model", str(byte_model), "--environments", str(tmp_path / "envs"), "--output", str(tmp_path)]
    assert peers.main([*arguments, "--peers", "trl", "mlxrl", "--rounds", "2"]) == 0
    shown = capsys.readouterr().out
    assert f"| {OURS} | 3.0 | 1.00x | 110 | 1.0 GB |  |" in shown
    assert "| 12.0 | 4.00x |  | 3.0 GB | nothing |" in shown
    assert "error: no wheel |" in shown
    record = json.loads((tmp_path / "peers.json").read_text())
    assert len(record["runs"][OURS]) == 2 and record["summary"]["TRL 1.16.0, torch 2.13.0"]["errors"] == ["no wheel"]


@pytest.mark.parametrize("peer", peers.PEERS.values(), ids=list(peers.PEERS))
def test_every_peer_has_a_driver_that_hides_no_package(peer):
    assert (peers.RUNNERS / peer.runner).exists()
    packages = {name.split("==")[0].replace("-", "_") for call in peer.packages for name in call}
    assert Path(peer.runner).stem not in packages | {"mlxrl", "textpolicy", "trl", "mlx_lm_lora"}


def test_a_model_that_is_not_there_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        peers.main(["--model", str(tmp_path / "no"), "--environments", str(tmp_path), "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "no config.json there" in capsys.readouterr().err


def test_an_interrupted_benchmark_leaves_its_whole_rounds(tmp_path, monkeypatch, byte_model):
    left = iter([Run((9.0,), (), 10**9)])

    def theirs(*_):
        try:
            return next(left)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(peers, "environment", lambda *_: None)
    monkeypatch.setattr(peers, "ours", lambda *_: Run((3.0,), (), 10**9))
    monkeypatch.setattr(peers, "theirs", theirs)
    arguments = ["--model", str(byte_model), "--environments", str(tmp_path / "envs"), "--output", str(tmp_path)]
    with pytest.raises(KeyboardInterrupt):
        peers.main([*arguments, "--peers", "mlxrl", "--rounds", "3"])
    record = json.loads((tmp_path / "peers.json").read_text())
    assert record["rounds"] == 1 and record["summary"][OURS]["step_seconds"] == 3.0
