"""`mpo proxy` as a user starts it: killed and started again, with several workers, with a key."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import httpx
import psutil

from jobs.configs import named_config
from jobs.serve import proxy_process
from mpo_core.hardware import free_port
from mpo_core.proxy.planners import Planners
from mpo_core.proxy.store import Store
from tests.commandline import ROOT
from tests.planning_proxy import TASK, chat, file_of_plans, recording_upstream, wait_until
from tests.processes import gone

PLANS = [f"Step 1: Way {k}." for k in range(5)]


@contextmanager
def started(folder, upstream, *arguments, environment=None):
    """The process of `mpo proxy` once it is ready, in a session of its own, and its base URL."""
    plans = file_of_plans(folder, {TASK: PLANS}).plans
    command = [sys.executable, "-m", "jobs.cli", "proxy", str(plans), f"--upstream={upstream}"]
    command += [f"proxy.folder={folder / 'proxy'}", *arguments]
    variables = {"PYTHONPATH": str(ROOT), "COLUMNS": "300"} | (environment or {})
    with (folder / "log").open("a") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | variables,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        ready = process.stdout.readline()
        found = re.match(r"ready at (\S+), for ", ready)
        assert found, ready + (folder / "log").read_text()
        yield process, found[1]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
        process.stdout.close()


class Load:
    """Callers that begin conversations and report rewards, each again until it is acknowledged."""

    def __init__(self, url):
        self.url = url
        self.plans, self.acknowledged, self.unexpected = {}, {}, []
        self.ends = threading.Event()
        self._threads = [threading.Thread(target=self._call, args=(k,)) for k in range(6)]
        for thread in self._threads:
            thread.start()

    def end(self):
        self.ends.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number):
        count = 0
        with httpx.Client(timeout=10) as client:
            while not self.ends.is_set():
                count += 1
                id, reward = f"{number}-{count}", (count % 5) / 4
                said = {"conversation": id, "reward": reward}
                for turn in range(2):
                    body = chat(TASK, *["a", "b"][: 2 * turn])
                    answer = self._surely(client, "/chat/completions", body, id)
                    if answer is not None:
                        self.plans.setdefault(id, set()).add(answer.headers["x-mpo-plan"])
                answer = self._surely(client, "/mpo/feedback", said, id)
                if answer is not None:
                    self.acknowledged[id] = reward
                    if answer.json()["result"] not in ("stored", "repeated"):
                        self.unexpected.append((id, answer.text))

    def _surely(self, client, path, body, id):
        while not self.ends.is_set():
            with suppress(httpx.TransportError):
                headers = {"x-mpo-conversation": id}
                answer = client.post(self.url + path, json=body, headers=headers)
                if answer.status_code != 200:
                    self.unexpected.append((id, answer.status_code, answer.text))
                return answer
            time.sleep(0.05)
        return None


def test_killed_under_load_no_feedback_is_lost_or_doubled_and_conversations_keep_their_plan(
    tmp_path,
):
    port = free_port()
    arguments = (f"--port={port}", "--workers=2", "proxy.explore=3")
    with recording_upstream() as upstream:
        load = None
        for killed in ("all", "the first alone", "none"):
            with started(tmp_path, upstream.url, *arguments) as (process, url):
                load = load or Load(url)
                before = len(load.acknowledged)
                deadline = time.monotonic() + 30
                while len(load.acknowledged) < before + 60:
                    assert time.monotonic() < deadline, "the load makes no way"
                    time.sleep(0.05)
                workers = psutil.Process(process.pid).children(recursive=True)
                if killed == "all":
                    os.killpg(process.pid, signal.SIGKILL)
                elif killed == "the first alone":
                    process.kill()
                else:
                    load.end()
                process.poll()
            assert all(gone(worker.pid, 40) for worker in workers)
    assert load.unexpected == []
    with Store(tmp_path / "proxy", create=False) as store:
        kept = {id: feedback.reward for id, feedback in store.rewards().items()}
        given = {c.id: c.plan_id for c in store.conversations()}
        assert store.late() == [] and store.unfinished() == set()
    assert load.acknowledged.items() <= kept.items() and len(load.acknowledged) > 150
    assert all(plans == {given[id]} for id, plans in load.plans.items())
    assert len(set(given.values())) == 3


def test_a_worker_that_dies_is_replaced_and_counts_are_those_of_all(tmp_path):
    with (
        recording_upstream() as upstream,
        started(tmp_path, upstream.url, "--port=0", "--workers=2") as (process, url),
        httpx.Client(timeout=30) as client,
    ):
        for k in range(12):
            headers = {"x-mpo-conversation": f"c{k}", "connection": "close"}
            answer = client.post(f"{url}/chat/completions", json=chat(TASK), headers=headers)
            assert answer.status_code == 200
        metrics = client.get(url.removesuffix("/v1") + "/metrics").text
        assert 'mpo_proxy_conversations_total{arm="v1"} 12.0' in metrics
        client.close()
        log = tmp_path / "log"
        killed = kill_a_worker(process)
        wait_until(lambda: f"worker {killed} has ended (SIGKILL); " in log.read_text(), 30)
        all_answered(url, "with_plans")
        # One that finds no planner is no reason for the others to end.
        plans = tmp_path / "plans.jsonl"
        plans.rename(tmp_path / "moved.jsonl")
        kill_a_worker(process)
        wait_until(lambda: "no conversation gets a plan: " in log.read_text(), 60)
        all_answered(url, "without")
        (tmp_path / "moved.jsonl").rename(plans)
        wait_until(lambda: "takes up planner v1: " in log.read_text(), 30)
        all_answered(url, "again")
        assert "Traceback" not in log.read_text()
        # Streams end, and who comes meanwhile is refused.
        upstream.chunks, upstream.pause_s = [b"data: {}\n\n"] * 8, 0.5
        with httpx.stream("POST", f"{url}/chat/completions", json=chat(TASK)) as stream:
            parts = stream.iter_raw()
            next(parts)
            process.terminate()
            port = urlsplit(url).port
            wait_until(lambda: refused(port), 10)
            assert process.poll() is None
            assert b"".join(parts).count(b"data: ") == 7
        assert process.wait(40) == 0


def kill_a_worker(process):
    """Returns its id."""
    worker = next(
        one
        for one in psutil.Process(process.pid).children()
        if "spawn_main" in " ".join(one.cmdline())
    )
    worker.kill()
    return worker.pid


def all_answered(url, name):
    for k in range(20):
        headers = {"x-mpo-conversation": f"{name}{k}", "connection": "close"}
        with suppress(httpx.TransportError):
            answer = httpx.post(f"{url}/chat/completions", json=chat(TASK), headers=headers)
            assert answer.status_code == 200


def refused(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_proxy_beside_what_is_served_ends_where_it_cannot_start_and_leaves_nothing(tmp_path):
    source = file_of_plans(tmp_path)
    planners = Planners(current="v1", versions={"v1": source})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = tmp_path / "proxy"
        config = named_config("demo-llm", [f"proxy.folder={folder}", f"proxy.port={port}"])
        with proxy_process(config, planners, "http://127.0.0.1:9/v1") as process:
            process.join(60)
            assert process.exitcode == 2 and not folder.exists()
