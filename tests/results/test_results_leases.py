import os
import platform
import subprocess
import sys

from harness.results import leases


def test_this_process_is_alive():
    assert leases.owner_id() == leases.owner_id()
    assert leases.owner_id().startswith(f"{platform.node()}:{os.getpid()}:")
    assert leases.is_alive(leases.owner_id())


def test_a_reused_pid_is_another_process():
    assert not leases.is_alive(leases.owner_id() + "0")


def test_ended_and_unreaped_processes_are_dead():
    code = "from harness.results.leases import owner_id; print(owner_id(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        owner = process.stdout.readline().strip()
        assert leases.is_alive(owner)
        process.stdin.write("\n")
        process.stdin.flush()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not leases.is_alive(owner)
    assert not leases.is_alive(owner)


def test_only_processes_of_this_host_and_container_can_be_known_to_be_dead():
    host, pid, started = leases.owner_id().rsplit(":", 2)
    namespace, start = started.split(".")
    assert leases.is_alive(f"another-{host}:{pid}:{namespace}.1")
    assert leases.is_alive(f"{host}:{pid}:{namespace}0.1")
    assert leases.is_alive(f"{host}:{pid}:{namespace}.unknown")
    assert leases.is_alive("nobody")
    assert not leases.is_alive(f"{host}:{pid}:{namespace}.{int(start) + 1}")
