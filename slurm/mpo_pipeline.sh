#!/bin/bash
# The whole loop, or any other mpo command, on one or many nodes:
#
#     sbatch slurm/mpo_pipeline.sh CONFIG [key=value ...]
#
# Edit what follows, or override it on the command line: sbatch --nodes=2 --gpus-per-node=4 ...
#SBATCH --job-name=mpo
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --gpus-per-node=8
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log

# What a job needs before it starts:
# module load cuda
# export MPO_CONTAINER="apptainer exec --nv --bind /scratch mpo.sif"

# shellcheck source=/dev/null
. "${MPO_HOME:-$SLURM_SUBMIT_DIR}/slurm/ray_cluster.sh"
ray_cluster mpo run "$@"
