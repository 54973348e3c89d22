#!/bin/bash
# An evaluation a job, over agents, seeds, tasks or any other setting:
#
#     sbatch --array=0-2 slurm/evaluate_array.sh CONFIG --over seed=0,1,2 [--plans FILE] [key=value ...]
#     sbatch --array=0-3 slurm/evaluate_array.sh CONFIG \
#         --over agent.model=llama-8b,llama-70b --over 'envs.scienceworld.task_types=[boil],[melt]'
#
# Each job is a run of its own, named after its settings; `mpo report runs/A runs/B --out both`
# puts seeds of one config into one table. --array counts the points, from 0.
#SBATCH --job-name=mpo-evaluate
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --gpus-per-node=4
#SBATCH --mem=0
#SBATCH --time=8:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log

# What a job needs before it starts:
# module load cuda
# export MPO_CONTAINER="apptainer exec --nv --bind /scratch mpo.sif"

# shellcheck source=/dev/null
. "${MPO_HOME:-$SLURM_SUBMIT_DIR}/slurm/ray_cluster.sh"
over=() rest=()
while [ $# -gt 0 ]; do
    case $1 in
        --over) over+=(--over "$2"); shift 2 ;;
        *) rest+=("$1"); shift ;;
    esac
done
point=$(in_container mpo sweep "${rest[0]}" "${over[@]}" --point "$SLURM_ARRAY_TASK_ID") || exit
mapfile -t settings <<<"$point"
ray_cluster mpo evaluate "${rest[@]}" "${settings[@]}"
