"""Slurm's accounting for the tests: MariaDB and slurmdbd, without which sacct knows nothing."""

import shutil
import socket
import subprocess
import time
from pathlib import Path

from mpo_core.hardware import free_port

ADDRESSES = {"controller": "10.213.0.1", "node1": "10.213.0.2", "node2": "10.213.0.3"}
DATABASE_CONFIG = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr={controller}
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""


def missing() -> str | None:
    """What a machine lacks for accounting."""
    for program in ("mariadbd", "slurmdbd"):
        if not shutil.which(program):
            return f"needs {program} (make system)"
    return None


class Accounting:
    """Started after munge, before slurmctld; `settings` are its lines of slurm.conf."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self.settings = (
            "AccountingStorageType=accounting_storage/slurmdbd\n"
            f"AccountingStorageHost={ADDRESSES['controller']}\n"
            f"AccountingStoragePort={self._port}\n"
            # With munge, the path of its socket.
            f"AccountingStoragePass={folder}/munge.socket"
        )
        self._processes: list[subprocess.Popen] = []

    def start(self) -> None:
        data, database_port = self.folder / "mariadb", free_port()
        local = [f"--socket={self.folder}/mariadb.sock", "--user=root"]
        log = (self.folder / "accounting.log").open("a")
        install = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}"]
        subprocess.run(install, check=True, stdout=log, stderr=log)
        server = ["mariadbd", "--no-defaults", *local, f"--datadir={data}"]
        server += ["--bind-address=127.0.0.1", f"--port={database_port}"]
        self._processes.append(subprocess.Popen(server, stdout=log, stderr=log))
        grant = "GRANT ALL ON slurm.* TO slurm@localhost IDENTIFIED BY 'slurm'"
        deadline = time.monotonic() + 60
        while subprocess.run(
            ["mariadb", "--no-defaults", *local, "-e", grant], check=False, stderr=log
        ).returncode:
            assert time.monotonic() < deadline, "MariaDB did not start"
            time.sleep(0.2)
        config = self.folder / "slurmdbd.conf"
        config.write_text(
            DATABASE_CONFIG.format(
                folder=self.folder,
                host=socket.gethostname().split(".")[0],
                port=self._port,
                database_port=database_port,
                **ADDRESSES,
            )
        )
        config.chmod(0o600)

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(60)
