"""The run's own files of pairs and demonstrations are TRL datasets as they are."""

from tests.integration.training.torchrun import run

TRL_ALONE = """
import sys
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

model, pairs, demonstrations, out = sys.argv[1:]
kinds = [(DPOTrainer, DPOConfig, pairs), (SFTTrainer, SFTConfig, demonstrations)]
for trainer, config, rows in kinds:
    arguments = config(
        output_dir=out, max_steps=2, use_cpu=True, bf16=False, report_to="none", logging_steps=1
    )
    data = load_dataset("json", data_files=rows, split="train", cache_dir=out)
    trained = trainer(model=model, args=arguments, train_dataset=data)
    trained.train()
    print("steps", trained.state.global_step, len(trained.train_dataset))
"""


def test_trl_trains_on_our_files_without_us(model, pairs, demonstrations, tmp_path):
    (tmp_path / "trl_alone.py").write_text(TRL_ALONE)
    done = run(tmp_path / "trl_alone.py", model, pairs, demonstrations, tmp_path / "out")
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("steps")] == [
        "steps 2 24",
        "steps 2 24",
    ]
