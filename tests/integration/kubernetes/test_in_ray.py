"""What the manifests hand to Ray, handed to a real Ray, as they are rendered: the `cpu` overlay's
job runs its pipeline to the end, the `serve` overlay's application answers."""

import json
import os
import shlex
import sys
import time
from pathlib import Path

import pytest
import yaml

from cluster.manifest import render
from jobs.configs import named_config
from tests.commandline import mpo
from tests.integration.kubernetes.manifests import OVERLAYS, needs_kubectl, one, overlay
from tests.integration.kubernetes.pod import Pod, container_environment, needs_namespaces, pod
from tests.tiny_chat import make_chat_model, prompt_texts

pytestmark = [needs_kubectl, needs_namespaces, pytest.mark.timeout(1200)]
# Scripted models: what is tried here is the way in, not the engines, which the service starts.
SMALL = [
    "name=small",
    "envs={scienceworld: {task_types: [find-animal], tasks: {train: 2, seen: 0, unseen: 2}}}",
    "models.planner.scripted=tests.scripted:planner",
    "models.agent.scripted=tests.scripted:agent",
    "planner.model=planner",
    "agent.model=agent",
    "agent.thoughts=true",
    "agent.list_actions=0",
    "planner.per_task=2",
    "evaluation.arms=[none, base, expert]",
]
DASHBOARD = "http://127.0.0.1:8265"


@pytest.fixture(scope="module")
def volumes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("volumes")
    for name in ("runs", "cache", "config"):
        (folder / name).mkdir()
    return folder


@pytest.fixture(scope="module")
def inside(volumes, tmp_path_factory) -> Pod:
    mounts = {f"/mnt/{name}": volumes / name for name in ("runs", "cache", "config")}
    with pod(tmp_path_factory.mktemp("pod"), mounts, empty=["/tmp/ray"]) as made:
        yield made


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """A Ray container's, but for the MLflow server; and what the operator adds."""
    objects = overlay("cpu")
    head = one(objects, "RayJob")["spec"]["rayClusterSpec"]["headGroupSpec"]
    [container] = head["template"]["spec"]["containers"]
    return container_environment(container, objects, {}) | {
        "MLFLOW_TRACKING_URI": "sqlite:////mnt/runs/mlflow.db",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # Of this machine: no model hub, and not behind its other processes.
        "HF_HUB_OFFLINE": "1",
        "RAY_worker_niceness": "0",
    }


@pytest.fixture(scope="module")
def ray(inside, environment, tmp_path_factory) -> Pod:
    """A head and a worker, started as the operator does."""
    spec = one(overlay("cpu"), "RayJob")["spec"]["rayClusterSpec"]
    [group] = spec["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    head = [
        *(f"--{key}={value}" for key, value in spec["headGroupSpec"]["rayStartParams"].items()),
        "--head",
        "--port=6379",
        "--node-ip-address=127.0.0.1",
    ]
    worker = [
        *(f"--{key}={value}" for key, value in group["rayStartParams"].items()),
        "--address=127.0.0.1:6379",
        "--node-ip-address=127.0.0.1",
        f"--num-cpus={limits['cpu']}",
    ]
    logs = tmp_path_factory.mktemp("ray")
    for name, options in (("head", head), ("worker", worker)):
        # Ray gives its raylet half a minute to start, which a busy machine may exceed; a pod that
        # fails is made anew.
        assert any(
            has_started(inside, options, logs / f"{name}-{k}", environment) for k in range(3)
        ), (logs / f"{name}-2").read_text()[-4000:]
    return inside


def has_started(inside: Pod, options: list[str], log: Path, environment: dict[str, str]) -> bool:
    command = ["ray", "start", "--block", "--disable-usage-stats", *options]
    process = inside.start(command, log, environment)
    while process.poll() is None:
        if "Ray runtime started" in log.read_text():
            return True
        time.sleep(0.5)
    return False


def test_the_cpu_overlays_job_continues_a_run_from_elsewhere_and_finishes_it(
    ray, volumes, environment
):
    run = volumes / "runs" / "small"
    for stage in ("plans", "rollout"):
        done = mpo(stage, "demo-llm", *SMALL, f"runs_dir={run.parent}", "cluster.enabled=false")
        assert done.returncode == 0, done.stderr
    scored = (run / "episodes" / "scoring.jsonl").read_bytes()
    objects = list(yaml.safe_load_all(render(named_config(str(run), ["cluster.enabled=true"]))))
    config = one(objects, "ConfigMap", "small")["data"]["config.yaml"]
    (volumes / "config" / "config.yaml").write_text(config)
    spec = one(objects, "RayJob")["spec"]
    runtime = json.dumps(yaml.safe_load(spec["runtimeEnvYAML"]))
    # As the operator's submitter says it: a line for a shell, the entrypoint as it is.
    line = (
        f"ray job submit --address {DASHBOARD} --runtime-env-json {shlex.quote(runtime)} "
        f"--submission-id small -- {spec['entrypoint']}"
    )
    ray.run("bash", "-c", line, env=environment)
    assert asked(ray, environment, "/api/jobs/small")["status"] == "SUCCEEDED"
    summary = json.loads((run / "report" / "summary.json").read_text())
    assert {row["arm"] for row in summary["table"]} == {"none", "base", "expert"}
    assert (run / "episodes" / "scoring.jsonl").read_bytes() == scored
    assert (volumes / "runs" / "mlflow.db").is_file()


@pytest.mark.long
def test_the_serve_overlays_application_answers_and_so_does_a_trained_planner(
    ray, volumes, environment
):
    config = tiny_service(volumes)
    (volumes / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    serve = one(overlay("serve"), "RayService")["spec"]["serveConfigV2"]
    (volumes / "config" / "serve.yaml").write_text(serve)
    ray.run("serve", "deploy", f"--address={DASHBOARD}", "/mnt/config/serve.yaml", env=environment)
    deadline = time.monotonic() + 600
    while True:
        [state] = asked(ray, environment, "/api/serve/applications/")["applications"].values()
        if state["status"] == "RUNNING":
            break
        assert state["status"] == "DEPLOYING" and time.monotonic() < deadline, state
        time.sleep(2)
    replies = {}
    for model in ("llama-8b", "llama-8b:mpo"):
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 12,
            "temperature": 0,
        }
        url = "http://127.0.0.1:8000/v1/chat/completions"
        header = "Content-Type: application/json"
        answer = ray.run("curl", "--silent", url, "--header", header, "--data", json.dumps(body))
        replies[model] = json.loads(answer)["choices"][0]["message"]["content"]
    assert replies["llama-8b"] and replies["llama-8b:mpo"] != replies["llama-8b"]


def asked(ray: Pod, environment: dict[str, str], path: str) -> dict:
    """What the dashboard says, asked as the operator does."""
    token = f"Authorization: Bearer {environment['RAY_AUTH_TOKEN']}"
    return json.loads(ray.run("curl", "--silent", f"{DASHBOARD}{path}", "--header", token))


def tiny_service(volumes: Path) -> dict:
    """The overlay's config with a tiny model in the cache, and a run with a planner of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    source = volumes / "cache" / "tiny"
    make_chat_model(
        source, [("Hello", "Action: look around")], epochs=20, texts=prompt_texts("scienceworld")
    )
    config = yaml.safe_load((OVERLAYS / "serve" / "config.yaml").read_text())
    lora = get_peft_model(
        AutoModelForCausalLM.from_pretrained(source), LoraConfig(r=8, target_modules="all-linear")
    )
    for name, weight in lora.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    lora.save_pretrained(volumes / "runs" / config["name"] / "planner" / "mpo")
    config["models"]["llama-8b"] |= {
        "source": "/mnt/cache/tiny",
        "gpus_per_replica": 0,
        "max_model_len": 1024,
        "max_lora_rank": 16,
    }
    return config
