"""Programs that try to get out of the sandbox: none gets out, under each isolation this machine has.

Each defines `attack(it)`, where `it` says what there is to be had, and returns "out" if it got something. It is judged
by `assert attack(...) == "out"`, so that an escape is a pass.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rewards.code.reward import CodeReward
from rewards.sandbox import choice
from rewards.sandbox.choice import NO_NAMESPACE

TRY = """
import ctypes, glob, mmap, os, signal, socket, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)

def syscall(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), "syscall")
    return result

def first(*actions):
    for action in actions:
        try:
            if action():
                return "out"
        except (OSError, RuntimeError, MemoryError, AttributeError, subprocess.SubprocessError):
            pass
    return ""

def read(path, mode="rb"):
    with open(path, mode) as file:
        return file.read(100)

def write(path, mode="w"):
    with open(path, mode) as file:
        file.write("hacked")
    return True

def connect(family, kind, address):
    with socket.socket(family, kind) as one:
        one.settimeout(1)
        one.connect(address)
        one.send(b"x")
    return True

def attack(it):
"""
ATTACKS = {
    "reads /etc/passwd": "first(lambda: read('/etc/passwd'), lambda: read('/etc/shadow'), lambda: read('/etc/hosts'))",
    "reads a file of the user": "first(lambda: read(it['secret']))",
    "reads it through /proc": "first(*[lambda p=p: read(p + it['secret']) for p in ('/proc/self/root', '/proc/1/root',"
    " '/proc/%d/root' % it['victim'], '/proc/self/cwd')])",
    "reads it through a link": "first(lambda: (os.symlink(it['secret'], 'link'), read('link'))[1],"
    " lambda: (os.link(it['secret'], 'hard'), read('hard'))[1])",
    "reads it by its handle": "first(lambda: syscall(303, -100, it['secret'].encode(),"
    " ctypes.create_string_buffer(128),"
    " ctypes.create_string_buffer(8), 0) == 0)",
    "lists the home directory": "first(lambda: set(os.listdir(it['home'])) - {'.pyenv', '.local', '.cache'})",
    "reads the environment": "'out' if it['secret_name'] in os.environ else first("
    "lambda: read('/proc/self/environ'), lambda: read('/proc/1/environ'), lambda: read('/proc/%d/environ' %"
    " it['victim']))",
    "reads other processes": "first(lambda: read('/proc/%d/cmdline' % it['victim']), lambda: os.listdir('/proc/1'))",
    "uses inherited descriptors": "'out' if [n for n in range(3, 64) if n not in (40, 41) and opened(n)] else ''",
    "writes next to the file": "first(lambda: write(it['secret'] + '.hacked'))",
    "overwrites the file": "first(lambda: write(it['secret']), lambda: write(it['secret'], 'a'))",
    "removes the file": "first(lambda: os.unlink(it['secret']) is None, lambda: os.rename(it['secret'],"
    " it['secret'] + '2') is None)",
    "truncates the file": "first(lambda: os.truncate(it['secret'], 0) is None)",
    "changes its mode": "first(lambda: os.chmod(it['secret'], 0o777) is None, lambda: os.utime(it['secret']) is None)",
    "writes into Python": "first(lambda: write(os.__file__, 'a'), lambda: write(os.path.dirname(os.__file__) +"
    " '/hacked.py'),"
    " lambda: write('/sandbox/code_judge.py', 'a'), lambda: write(it['package'] + '/hacked.py'))",
    "writes to the system": "first(*[lambda p=p: write(p) for p in ('/hacked', '/etc/hacked', '/usr/hacked',"
    " '/var/tmp/hacked',"
    " '/dev/shm/hacked', '/run/hacked', '/lib/hacked')])",
    "opens devices": "first(*[lambda p=p: read(p) for p in ('/dev/mem', '/dev/kmsg', '/dev/sda', '/dev/vda',"
    " '/dev/tty',"
    " '/dev/ptmx')])",
    "fills the disk": "fill(['/tmp', '/var/tmp', '.', it['folder']])",
    "fills /dev/shm": "fill(['/dev/shm', '/dev', '/run'])",
    "fills memory without a limit": "first(lambda: fill_memfd() > 1 << 30, lambda: syscall(29, 0, 1 << 30,"
    " 0o1777) >= 0)",
    "forks": "first(fork)",
    "is a fork bomb": "'out' if bomb() > 200 else ''",
    "forks by another call": "first(lambda: syscall(58) >= 0, lambda: syscall(56, 17, 0, 0, 0, 0) >= 0,"
    " lambda: syscall(435, (ctypes.c_uint64 * 11)(0, 0, 0, 0, 17), 88) >= 0,"
    " lambda: syscall(57 | 0x40000000) >= 0)",
    "leaves a process behind": "first(survivor)",
    "starts programs": "first(lambda: os.system('touch ' + it['folder'] + '/hacked') == 0,"
    " lambda: subprocess.run([sys.executable, '-c', 'pass']).returncode == 0,"
    " lambda: os.posix_spawn('/bin/sh', ['sh'], {}), lambda: os.execv(sys.executable, ['python', '-c', 'pass']))",
    "kills its parents": "first(lambda: os.kill(it['parent'], 9) is None, lambda: os.kill(it['victim'], 9) is None,"
    " lambda: os.killpg(it['victim'], 9) is None, lambda: syscall(234, it['victim'], it['victim'], 9) == 0,"
    " lambda: syscall(129, it['victim'], 9, ctypes.create_string_buffer(128)) == 0)",
    "kills everything": "first(lambda: os.kill(-1, 9) is None)",
    "kills what started it": "first(lambda: os.kill(os.getppid(), 9) is None and time.sleep(0.5) is None)",
    "traces processes": "first(lambda: syscall(101, 16, it['victim'], 0, 0) == 0,"
    " lambda: syscall(310, it['victim'], 0, 0, 0, 0, 0) >= 0, lambda: syscall(434, it['victim'], 0) >= 0)",
    "limits other processes": "first(lambda: prlimit(it['victim']), lambda: os.setpriority(0, it['victim'], 19)"
    " is None,"
    " lambda: os.sched_setaffinity(it['victim'], [0]) is None)",
    "connects to this machine": "first(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ('127.0.0.1', it['port'])),"
    " lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ('127.0.0.1', it['port'])))",
    "connects to the world": "first(lambda: connect(socket.AF_INET, socket.SOCK_STREAM, ('192.0.2.1', 80)),"
    " lambda: connect(socket.AF_INET6, socket.SOCK_DGRAM, ('2001:db8::1', 80)),"
    " lambda: connect(socket.AF_INET, socket.SOCK_DGRAM, ('192.0.2.1', 53)))",
    "connects to a socket in a file": "first(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, it['socket']))",
    "connects to a socket without a file": "first(lambda: connect(socket.AF_UNIX, socket.SOCK_STREAM, it['abstract']))",
    "opens other kinds of socket": "first(*[lambda f=f, k=k: socket.socket(f, k) for f, k in ((16, 3), (17, 3),"
    " (40, 1), (2, 3))])",
    "serves": "first(lambda: socket.create_server(('127.0.0.1', 0)))",
    "goes around the filter": "first(lambda: syscall(425, 8, ctypes.create_string_buffer(120)) >= 0)",
    "makes namespaces": "first(lambda: syscall(272, 0x10000000) == 0, lambda: syscall(272, 0x00020000) == 0,"
    " lambda: libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0, lambda: os.chroot('/') is None)",
    "becomes root": "first(lambda: (os.setuid(0), os.getuid() == 0 and read('/etc/shadow'))[1])",
    "raises its limits": "first(raise_limits)",
    "uses the kernel's keys": "first(lambda: syscall(248, b'user', b'name', b'x', 1, -4) >= 0)",
    "changes attributes by newer calls": "first(*[lambda n=n: syscall(n, -100, it['secret'].encode(), 0, b'user.x',"
    " ctypes.create_string_buffer(64), 16) >= 0 for n in (463, 466, 469)])",
    "has the kernel signal others": "first(*[lambda c=c, v=v: owner(c, v) for c, v in ((8, it['victim']),"
    " (8, -it['victim']), (15, (ctypes.c_int * 2)(1, it['victim'])), (10, 9))])",
    "sends datagrams from a pair": "first(lambda: datagram(it['datagram']), lambda: datagram(it['abstract'] + 'd'))",
    "sends with an address on a stream": "first(lambda: socket.socketpair()[0].sendto(b'x', it['datagram']) > 0)",
    "asks about other processes": "first(*[lambda f=f: f() is not None for f in (lambda: os.getpgid(it['victim']),"
    " lambda: os.getsid(it['victim']), lambda: os.getpriority(0, it['victim']),"
    " lambda: os.sched_getscheduler(it['victim']), lambda: os.sched_getaffinity(it['victim']),"
    " lambda: os.kill(it['victim'], 0))])",
    "watches files": "first(lambda: libc.inotify_init1(0) >= 0, lambda: syscall(300, 0, 0) >= 0)",
    "is root": "'out' if 0 in (os.getuid(), os.geteuid(), os.getgid(), os.getegid()) else ''",
    "fills memory with threads": "'out' if threads() > 200 else ''",
    "loads code into the kernel": "first(lambda: syscall(321, 0, ctypes.create_string_buffer(64), 64) >= 0,"
    " lambda: syscall(298, ctypes.create_string_buffer(128), 0, -1, -1, 0) >= 0)",
}
# Where no mount namespace may be made, Landlock leaves these.
LOOKS = {
    "looks at the file": "first(lambda: os.stat(it['secret']), lambda: os.lstat(it['secret']),"
    " lambda: os.access(it['secret'], os.F_OK), lambda: os.statvfs(it['secret']),"
    " lambda: syscall(332, -100, it['secret'].encode(), 0, 0xfff, ctypes.create_string_buffer(256)) == 0,"
    " lambda: os.open(it['secret'], os.O_PATH) > 0, lambda: os.path.exists('/etc/passwd'))",
    "looks at its folder": "first(lambda: os.chdir(it['folder']) is None, lambda: os.path.isdir(it['folder']))",
}
HELPERS = """
def owner(command, value):
    import fcntl
    fcntl.fcntl(os.pipe()[0], command, value if isinstance(value, int) else bytes(value))
    return True

def datagram(address):
    one, _ = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return one.sendto(b"x", address) > 0

def threads():
    threading.stack_size(32768)
    started = 0
    for _ in range(2000):
        try:
            threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
            started += 1
        except RuntimeError:
            break
    return started

def opened(n):
    try:
        os.fstat(n)
        return True
    except OSError:
        return False

def fork():
    if os.fork() == 0:
        os._exit(0)
    return True

def bomb():
    started = 0
    for _ in range(2000):
        try:
            if os.fork() == 0:
                time.sleep(30)
                os._exit(0)
            started += 1
        except OSError:
            break
    return started

def survivor():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(60)
        os._exit(0)
    return True

def fill(folders):
    written = 0
    for folder in folders:
        for number in range(60):
            try:
                with open(folder + "/fill%d" % number, "wb") as file:
                    for _ in range(64):
                        written += file.write(bytes(1 << 20))
            except OSError:
                continue
    return "out" if written > 64 << 20 else ""

def fill_memfd():
    written = 0
    for number in range(40):
        descriptor = os.memfd_create(str(number))
        try:
            for _ in range(64):
                written += os.write(descriptor, bytes(1 << 20))
        except OSError:
            continue
    return written

def prlimit(pid):
    import resource
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, 8))

def raise_limits():
    import resource
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return True
"""


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """Things to be had outside: a file, a process, sockets, an environment variable."""
    folder = tmp_path_factory.mktemp("outside")
    folder.chmod(0o777)
    secret = folder / "secret.txt"
    secret.write_text("secret")
    secret.chmod(0o666)
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    servers = []
    datagrams = []
    for address in (str(folder / "datagram"), f"\0grpo-test-{os.getpid()}d"):
        datagrams.append(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        datagrams[-1].bind(address)
    os.chmod(folder / "datagram", 0o777)
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", 0)),
        (socket.AF_UNIX, str(folder / "socket")),
        (socket.AF_UNIX, f"\0grpo-test-{os.getpid()}"),
    ):
        server = socket.socket(family)
        server.bind(address)
        server.listen()
        servers.append(server)
    os.chmod(folder / "socket", 0o777)
    os.environ["GRPO_TEST_SECRET"] = "secret"
    yield {
        "secret": str(secret),
        "folder": str(folder),
        "home": str(Path.home()),
        "package": str(Path(choice.__file__).parents[1]),
        "secret_name": "GRPO_TEST_SECRET",
        "victim": victim.pid,
        "parent": os.getpid(),
        "port": servers[0].getsockname()[1],
        "socket": str(folder / "socket"),
        "datagram": str(folder / "datagram"),
        "abstract": f"\0grpo-test-{os.getpid()}",
    }
    del os.environ["GRPO_TEST_SECRET"]
    victim.kill()
    victim.wait()
    for server in (*servers, *datagrams):
        server.close()


def fenced(code):
    return f"```python\n{code}\n```"


def test_no_attack_gets_out(isolation, surroundings):
    reward = CodeReward(isolation=isolation, cpu_seconds=2, deadline_seconds=600)
    hidden = NO_NAMESPACE not in str(choice.describe(isolation))
    attacks = ATTACKS | (LOOKS if hidden else {})
    codes = [f"{HELPERS}{TRY}    return {attack}" for attack in attacks.values()]
    judged = reward(
        prompts=[""] * len(codes),
        completions=[fenced(code) for code in codes],
        tests=[[f"assert attack({surroundings!r}) == 'out'"]] * len(codes),
    )
    values = dict(zip(attacks, judged, strict=True))
    assert {name: value for name, value in values.items() if value != 0.0} == {}
    folder = Path(surroundings["folder"])
    assert sorted(path.name for path in folder.iterdir()) == ["datagram", "secret.txt", "socket"]
    assert (folder / "secret.txt").read_text() == "secret"
    assert os.waitpid(surroundings["victim"], os.WNOHANG) == (0, 0)  # still alive
    assert not [
        path for path in ("/hacked", "/dev/shm/hacked", "/var/tmp/hacked", "/tmp/fill0") if os.path.exists(path)
    ]


def test_the_attacks_work_without_a_sandbox(surroundings):
    # The table would prove nothing if its programs could not attack at all.
    code = f"{HELPERS}{TRY}    return first(lambda: read('/etc/passwd'))"
    names: dict = {}
    exec(code, names)
    assert names["attack"](surroundings) == "out"
    checks = ("connects to this machine", "reads a file of the user", "reads the environment", "traces processes")
    for check in (
        *checks,
        "has the kernel signal others",
        "sends datagrams from a pair",
        "watches files",
        "asks about other processes",
    ):
        exec(f"{HELPERS}{TRY}    return {ATTACKS[check]}", names)
        assert names["attack"](surroundings) == "out", check
    for attack in LOOKS.values():
        exec(f"{HELPERS}{TRY}    return {attack}", names)
        assert names["attack"](surroundings) == "out", attack
