"""Logs a run as the pipeline does, to the environment's server; prints what is there then."""

import json
import os
import sys
from pathlib import Path

from mlflow import MlflowClient

from mpo_core.config import TrackingConfig
from mpo_core.tracking import MlflowTracker

runs = Path(sys.argv[1])
run = runs / "tracked"
(run / "report").mkdir(parents=True)
(run / "report" / "report.md").write_text("# Done\n")
tracker = MlflowTracker(TrackingConfig(system_metrics=False), runs, run, {"training.beta": 0.1})
for step, loss in enumerate((3.0, 2.0, 1.0)):
    tracker.log_metrics({"loss": loss}, step)
tracker.log_table("pairs", [{"task": "a", "margin": 0.5}])
tracker.log_folder(run / "report", "report")
tracker.end("FINISHED")

client = MlflowClient(os.environ["MLFLOW_TRACKING_URI"])
found = client.get_run(tracker.run_id)
print(
    json.dumps(
        {
            "name": found.info.run_name,
            "status": found.info.status,
            "params": found.data.params,
            "loss": [m.value for m in client.get_metric_history(tracker.run_id, "loss")],
            "artifacts": sorted(a.path for a in client.list_artifacts(tracker.run_id)),
            "report": Path(
                client.download_artifacts(tracker.run_id, "report/report.md", str(runs))
            ).read_text(),
        }
    )
)
