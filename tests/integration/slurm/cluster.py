"""A real Slurm on this machine: controller and two nodes, each node in a network namespace of its
own with an address of its own. Needs root, and Debian's slurm-wlm, munge and iproute2."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from mpo_core.hardware import free_port
from tests.integration.slurm.accounting import ADDRESSES, Accounting

CPUS = 8
"""Of each node: more than the machine has, so that several small jobs fit."""
BRIDGE = "mpo-slurm"
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY"}

CONFIG = """
ClusterName=mpo
SlurmctldHost={host}({controller})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
{accounting}
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=30
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
SlurmdSpoolDir={folder}/%n
GresTypes=gpu
NodeName=DEFAULT Port={node_port} CPUs={cpus} RealMemory=8000 Gres=gpu:2
NodeName=node1 NodeHostname={host} NodeAddr={node1}
NodeName=node2 NodeHostname={host} NodeAddr={node2}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP
PartitionName=debug Default=YES PriorityTier=1 GraceTime=120
PartitionName=urgent PriorityTier=2
"""


def missing() -> str | None:
    """What a machine lacks for these tests."""
    if os.geteuid() != 0:
        return "needs root"
    for command in ("slurmctld", "slurmd", "munged", "ip"):
        if not shutil.which(command):
            return f"needs {command} (make system)"
    probe = subprocess.run(["ip", "netns", "add", "mpo-probe"], check=False, capture_output=True)
    if probe.returncode:
        return "needs network namespaces"
    subprocess.run(["ip", "netns", "delete", "mpo-probe"], check=True)
    return None


class Slurm:
    """Started by `start`, ended by `stop`; commands find it by SLURM_CONF in `environment`."""

    def __init__(self, folder: Path, accounting: Accounting | None = None) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._accounting = accounting
        self._daemons: list[subprocess.Popen] = []

    def start(self) -> None:
        self._network()
        self._authentication()
        (self.folder / "state").mkdir()
        gpus = [self.folder / f"gpu{number}" for number in range(2)]
        for gpu in gpus:
            # A character device that does nothing, for Slurm to hand out.
            subprocess.run(["mknod", gpu, "c", "1", "3"], check=True)
        (self.folder / "gres.conf").write_text(
            "".join(f"NodeName=node[1-2] Name=gpu File={gpu}\n" for gpu in gpus)
        )
        (self.folder / "slurm.conf").write_text(
            CONFIG.format(
                host=socket.gethostname().split(".")[0],
                folder=self.folder,
                cpus=CPUS,
                port=free_port(),
                node_port=free_port(),
                accounting=self._accounting.settings if self._accounting else "",
                **ADDRESSES,
            )
        )
        if self._accounting:
            self._accounting.start()
            self._spawn("slurmdbd", "-D")
            self.wait_for(lambda: self._answers("sacctmgr", "show", "cluster"), "slurmdbd")
            self.run("sacctmgr", "--immediate", "add", "cluster", "mpo")
        self._spawn("slurmctld", "-D")
        for node in ("node1", "node2"):
            # Not `ip netns exec`, which hides the control groups that slurmd looks for.
            self._spawn("nsenter", f"--net=/run/netns/{node}", "slurmd", "-D", "-N", node)
        self.wait_for(
            lambda: self.run("sinfo", "-h", "-p", "debug", "-o", "%D %t") == "2 idle", "idle nodes"
        )

    def stop(self) -> None:
        # Where it did not start there is nothing to cancel.
        with contextlib.suppress(AssertionError):
            self.run("scancel", "--user=root")
            self.wait_for(lambda: not self.run("squeue", "-h"), "end of all jobs")
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            daemon.wait(30)
        if self._accounting:
            self._accounting.stop()
        _remove_network()

    def run(self, *command: str | Path) -> str:
        """A Slurm command's output."""
        done = subprocess.run(
            command, check=False, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout.strip()

    def _answers(self, *command: str) -> bool:
        done = subprocess.run(command, check=False, env=self.environment, capture_output=True)
        return done.returncode == 0

    def submit(self, *arguments: str | Path, cwd: Path, **variables: str) -> str:
        """sbatch; returns the job's id."""
        done = subprocess.run(
            ["sbatch", "--parsable", *arguments],
            check=False,
            cwd=cwd,
            env=self.environment | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """The fields of `scontrol show job`."""
        shown = self.run("scontrol", "--oneliner", "show", "job", job)
        return dict(field.split("=", 1) for field in shown.split() if "=" in field)

    def ended(self, job: str, timeout_s: float) -> str:
        """Waits for a job's end; returns its state."""
        self.wait_for(lambda: self.job(job)["JobState"] in ENDED, f"end of {job}", timeout_s)
        return self.job(job)["JobState"]

    def wait_for(self, condition, what: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {timeout_s:g} s"
            time.sleep(0.2)

    def _spawn(self, *command: str) -> None:
        log = (self.folder / "daemons.log").open("a")
        self._daemons.append(
            subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        )

    def _network(self) -> None:
        _remove_network()  # Of a test that was killed.
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("address", "add", f"{ADDRESSES['controller']}/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        for number, node in enumerate(("node1", "node2"), 1):
            outer = f"mpo-veth{number}"
            _ip("netns", "add", node)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", node)
            _ip("link", "set", outer, "master", BRIDGE, "up")
            _ip("-n", node, "link", "set", "lo", "up")
            _ip("-n", node, "address", "add", f"{ADDRESSES[node]}/24", "dev", "eth0")
            _ip("-n", node, "link", "set", "eth0", "up")
            _ip("-n", node, "route", "add", "default", "via", ADDRESSES["controller"])

    def _authentication(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        self._spawn(
            "munged",
            "--foreground",
            "--force",
            f"--socket={self.folder}/munge.socket",
            f"--key-file={key}",
            f"--pid-file={self.folder}/munged.pid",
            f"--seed-file={self.folder}/munged.seed",
            f"--log-file={self.folder}/munged.log",
        )
        self.wait_for((self.folder / "munge.socket").exists, "munge socket", 10)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _remove_network() -> None:
    for number, node in enumerate(("node1", "node2"), 1):
        # A namespace lives on until its last process has ended, its link with it.
        for command in (f"link delete mpo-veth{number}", f"netns delete {node}"):
            subprocess.run(["ip", *command.split()], check=False, stderr=subprocess.DEVNULL)
    subprocess.run(["ip", "link", "delete", BRIDGE], check=False, stderr=subprocess.DEVNULL)


def last_lines(files: Sequence[Path], count: int = 30) -> str:
    return "\n".join(
        f"--- {file}\n" + "\n".join(file.read_text(errors="replace").splitlines()[-count:])
        for file in files
        if file.is_file()
    )
