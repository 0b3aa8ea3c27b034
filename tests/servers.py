"""Servers that tests start and stop themselves: a real PostgreSQL, a real Slurm of one node."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from pathlib import Path

import sqlalchemy as sa


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Postgres:
    """A PostgreSQL that can be stopped and started; it refuses to run as root, so it runs as its own user."""

    def __init__(self, folder: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        self._programs = (
            programs[-1] if programs else Path(shutil.which("initdb") or "/nowhere/initdb").parent
        )
        self._user = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if not os.getuid() else []
        )
        self._data = folder / "data"
        if self._user:
            shutil.chown(folder, "postgres", "postgres")
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
        self.port = free_port()
        self._options = (
            f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        )
        self.start()

    @staticmethod
    def installed() -> bool:
        return bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb"))

    def _run(self, program: str, *arguments: object) -> None:
        subprocess.run(
            [*self._user, str(self._programs / program), *map(str, arguments)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
        )

    def start(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-o", self._options, "-l", f"{self._data}.log", "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def sql(self, statement: str, database: str = "postgres") -> None:
        engine = sa.create_engine(self.url(database), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.execute(sa.text(statement))

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"


CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=10
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=1
KillWait=10
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Slurm:
    """A Slurm of one node with two cores, which is this machine; needs root. Jobs may be requeued at once."""

    def __init__(self, folder: Path) -> None:
        self.host = socket.gethostname().partition(".")[0]
        self._folder = folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(
            CONFIGURATION.format(
                host=self.host, folder=folder, controller=free_port(), daemon=free_port()
            ).lstrip()
        )
        self.environment = {**os.environ, "SLURM_CONF": str(self.configuration)}
        self._start(
            *("munged", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket"),
            *(f"--{kind}-file={folder}/munge.{kind}" for kind in ("pid", "log", "seed")),
        )
        self._start("slurmctld", "-f", self.configuration)
        self._start("slurmd", "-f", self.configuration, "-N", self.host)
        for _ in range(150):
            if self.run("sinfo", "-h", "-o", "%T", check=False) == "idle":
                return
            time.sleep(0.2)
        raise RuntimeError((folder / "slurmctld.log").read_text() + (folder / "slurmd.log").read_text())

    @staticmethod
    def installed() -> bool:
        return bool(os.getuid() == 0 and shutil.which("slurmctld") and shutil.which("munged"))

    def _start(self, program: str, *arguments: object) -> None:
        subprocess.run([program, *map(str, arguments)], check=True, env=self.environment, cwd="/")

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=check)
        return done.stdout.strip()

    def listed(self) -> list[str]:
        """The states of the jobs that go on."""
        return self.run("squeue", "-h", "-r", "-o", "%T").split()

    def shown(self, job: str, name: str) -> str:
        """What Slurm says of a job under a name, as Restarts; also once it has ended."""
        (value,) = re.findall(rf"\b{name}=(\S+)", self.run("scontrol", "show", "job", job))
        return value

    def steps(self, job: str) -> list[Path]:
        """The sockets of a job's steps that have not quite ended on the node."""
        return list((self._folder / "spool").glob(f"{self.host}_{job}.*"))

    def node(self, state: str) -> None:
        """Set the node down, or have it back."""
        self.run("scontrol", "update", f"NodeName={self.host}", f"State={state}", "Reason=test")

    def stop(self) -> None:
        self.run("scancel", "-u", "root", check=False)
        for name in ("slurmd", "slurmctld", "munge"):
            try:
                pid = int((self._folder / f"{name}.pid").read_text())
                os.kill(pid, 15)
            except (OSError, ValueError):
                continue
            for _ in range(50):
                if not Path(f"/proc/{pid}").exists():
                    break
                time.sleep(0.1)
