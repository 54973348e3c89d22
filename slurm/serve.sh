#!/bin/bash
# Planner and agents behind an OpenAI-compatible HTTP server, until the job ends:
#
#     sbatch slurm/serve.sh CONFIG [key=value ...]
#
# The log says where they answer and under which names. The server listens on loopback of the first
# node, for a tunnel (ssh -L 8000:127.0.0.1:8000 NODE); cluster.http_host=0.0.0.0 opens it to
# everyone who reaches the node, without a password.
#
# With `--proxy self` among the arguments, a proxy on port 8100 (proxy.port) stands before them and
# gives each new conversation a plan of the planner; docs/proxy.md.
#SBATCH --job-name=mpo-serve
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --mem=0
#SBATCH --time=8:00:00
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

# What a job needs before it starts:
# module load cuda
# export MPO_CONTAINER="apptainer exec --nv --bind /scratch mpo.sif"

# shellcheck source=/dev/null
. "${MPO_HOME:-$SLURM_SUBMIT_DIR}/slurm/ray_cluster.sh"
ray_cluster mpo serve "$1" cluster.http_port=8000 "${@:2}"
