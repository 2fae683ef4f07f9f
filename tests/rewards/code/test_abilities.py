"""What honest programs use: it works in the sandbox, under each isolation this machine has."""

import pytest

from rewards.code.reward import CodeReward
from rewards.sandbox import choice
from rewards.sandbox.choice import NO_NAMESPACE

available = [name for name in ("bubblewrap", "landlock") if choice.describe(name).isolation]
PROGRAMS = {
    "an event loop": "import asyncio\nasync def g():\n    await asyncio.sleep(0.01)\n    return 3\n"
    "def f(): return asyncio.run(g())",
    "threads": "from concurrent.futures import ThreadPoolExecutor\n"
    "def f():\n    with ThreadPoolExecutor(8) as e: return sum(e.map(abs, [-1, -2]))",
    "a pool of processes": "import multiprocessing as mp\ndef half(x): return x // 2\n"
    "def f():\n    with mp.Pool(2) as p: return sum(p.map(half, [2, 4]))",
    "processes and a queue": "from multiprocessing import Process, Queue\ndef work(q): q.put(3)\ndef f():\n"
    "    q = Queue()\n    p = Process(target=work, args=(q,))\n    p.start()\n    p.join()\n    return q.get()",
    "an executor of processes": "from concurrent.futures import ProcessPoolExecutor\n"
    "def f():\n    with ProcessPoolExecutor() as e: return e.submit(pow, 3, 1).result()",
    "a context": "import multiprocessing\ndef f():\n    c = multiprocessing.get_context('spawn')\n"
    "    with c.Pool(2) as p: return p.starmap(pow, [(3, 1)])[0]",
    "a data base in memory": "import sqlite3\n"
    "def f(): return sqlite3.connect(':memory:').execute('select 1 + 2').fetchone()[0]",
    "a signal to itself": "import os, signal\nseen = []\nsignal.signal(signal.SIGUSR1, lambda *a: seen.append(3))\n"
    "def f():\n    os.kill(os.getpid(), signal.SIGUSR1)\n    return seen[0]",
    "a pipe": "import os\ndef f():\n    r, w = os.pipe()\n    os.write(w, b'3')\n    return int(os.read(r, 1))",
}
FILES = {
    "temporary files": "import tempfile, pathlib\ndef f():\n    with tempfile.TemporaryDirectory() as d:\n"
    "        p = pathlib.Path(d, 'x')\n        p.write_text('3')\n        return int(p.read_text())",
    "an anonymous file": "import tempfile\ndef f():\n    with tempfile.TemporaryFile() as t:\n        t.write(b'3')\n"
    "        t.seek(0)\n        return int(t.read())",
    "the null device": "import os\ndef f():\n    with open(os.devnull, 'w') as n: return n.write('abc')",
}
ZONES = "import datetime, zoneinfo\ndef f():\n    zone = zoneinfo.ZoneInfo('Asia/Tokyo')\n"
ZONES += "    return datetime.datetime(2024, 1, 1, tzinfo=zone).utcoffset().seconds // 10800"


@pytest.fixture(scope="module", params=available or [pytest.param("none", marks=pytest.mark.skip("no isolation here"))])
def reward(request):
    return CodeReward(isolation=request.param)


def score(reward, codes):
    rows = {"tests": [["assert f() == 3"]] * len(codes)}
    return list(reward(prompts=[""] * len(codes), completions=[f"```python\n{code}\n```" for code in codes], **rows))


def test_what_needs_no_file_works(reward):
    assert dict(zip(PROGRAMS, score(reward, PROGRAMS.values()), strict=True)) == dict.fromkeys(PROGRAMS, 1.0)


def test_temporary_files_work_where_a_program_has_files_of_its_own(reward):
    if NO_NAMESPACE in str(choice.describe(reward.isolation)):
        pytest.skip("no mount namespace here")
    assert dict(zip(FILES, score(reward, FILES.values()), strict=True)) == dict.fromkeys(FILES, 1.0)


def test_time_zones_are_known(reward):
    zoneinfo = pytest.importorskip("zoneinfo")
    if "Asia/Tokyo" not in zoneinfo.available_timezones() or not any("zoneinfo" in p for p in zoneinfo.TZPATH):
        pytest.skip("this machine has no time zones")
    assert score(reward, [ZONES]) == [1.0]


def test_a_hog_of_threads_starves_no_other_program(reward):
    hog = "import threading, time\nthreading.stack_size(32768)\ndef f():\n    try:\n        for _ in range(4000):\n"
    hog += "            threading.Thread(target=time.sleep, args=(3,), daemon=True).start()\n"
    hog += "    except RuntimeError:\n        time.sleep(1)\n    return 0\n"
    assert score(reward, [f"{hog}# {number}" for number in range(3)] + [PROGRAMS["threads"]]) == [0.0] * 3 + [1.0]
