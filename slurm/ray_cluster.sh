# shellcheck shell=bash
# Ray across a Slurm allocation, and one command on its first node. The other scripts source it:
#
#     . "$MPO_HOME/slurm/ray_cluster.sh"
#     ray_cluster mpo run demo
#
# ray_cluster starts one job step in which every node runs this file as a script. The first node
# starts Ray's head, waits until all nodes have joined, runs the command with RAY_ADDRESS set, and
# ends Ray; the others start a worker and end it when the head has ended.
#
# - Ports are free ones and the head's address travels through a file, so that jobs on one node
#   never meet. Only processes of this job are ever ended.
# - Ray asks every client for a token that only the job's owner can read.
# - What was started carries MPO_RAY_CLUSTER in its environment, and is found by it at the end even
#   where its parent has died and Slurm does not use cgroups.
#
# Variables, all optional:
#   MPO_HOME       checkout of the suite, on storage that all nodes see; the folder sbatch ran in
#   MPO_LOGS       folder for logs, on such storage too; $MPO_HOME/runs/slurm
#   MPO_CONTAINER  command that runs the rest in a container, such as
#                  "apptainer exec --nv --bind /scratch mpo.sif" or "enroot start --rw mpo"
#   MPO_CPUS       CPUs of a node for Ray to count; by default those that Slurm gave
#   MPO_INTERFACE  network interface for Ray's traffic between nodes, such as ib0
#   MPO_TMPDIR     node-local folder with a short name for Ray's sockets; /tmp

export MPO_HOME=${MPO_HOME:-${SLURM_SUBMIT_DIR:-$PWD}}
export MPO_LOGS=${MPO_LOGS:-$MPO_HOME/runs/slurm}
logs=$MPO_LOGS/${SLURM_JOB_ID:?not in a Slurm job}/attempt_${SLURM_RESTART_COUNT:-0}
[ -d "$MPO_HOME/.venv" ] && PATH=$MPO_HOME/.venv/bin:$PATH

# Takes the place of the shell, so that signals reach the program: call it in a subshell.
in_container() {
    # shellcheck disable=SC2086  # The variable is a command and its arguments.
    exec ${MPO_CONTAINER:-} "$@"
}

# --- in the batch script -------------------------------------------------------------------------

# Run a command on a Ray cluster of the whole allocation; returns its exit code. USR1, which Slurm
# sends ahead of the time limit, stops the command at its next safe point and requeues the job,
# which then goes on from there; a preempted job is requeued too.
ray_cluster() {
    mkdir -p "$logs"
    rm -f "$logs/stop"
    echo "logs: $logs"
    local step code warned=''
    # Where a job step submitted this job, its binding came along: those are not this job's CPUs.
    unset "${!SLURM_CPU_BIND@}" "${!SLURM_MEM_BIND@}"
    # A second signal to srun would end the step at once, so the step is told by a file.
    trap 'warned=1; echo "warned by Slurm: stopping"; touch "$logs/stop"' USR1
    srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
        --cpus-per-task="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --kill-on-bad-exit=1 \
        bash "$MPO_HOME/slurm/ray_cluster.sh" "$@" &
    step=$!
    while true; do
        wait "$step"
        code=$?
        # A trapped signal ends `wait`, not the step.
        kill -0 "$step" 2>/dev/null || break
    done
    if [ "$code" -ne 0 ] && { [ -n "$warned" ] || preempted; }; then
        echo "not done: requeueing"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    return "$code"
}

# Whether the job must make room: where Slurm is not set to warn by --signal, it ends the step and
# leaves it to the script what becomes of the job.
preempted() {
    scontrol --oneliner show job "$SLURM_JOB_ID" | grep --quiet ' PreemptTime=[0-9]'
}

if [ "${BASH_SOURCE[0]}" != "$0" ]; then return 0; fi

# --- in the job step, on every node --------------------------------------------------------------

set -u
mkdir -p "$logs"
export MPO_RAY_CLUSTER=$SLURM_JOB_ID.$SLURM_STEP_ID.${SLURM_RESTART_COUNT:-0}.$SLURM_NODEID
meeting=$logs/.step_$SLURM_STEP_ID
log=$logs/ray-${SLURMD_NODENAME:-$HOSTNAME}.log
# Ray's workers use the path of the head.
scratch=${MPO_TMPDIR:-/tmp}/mpo-$SLURM_JOB_ID.$SLURM_STEP_ID
ray='' command=''
# An overloaded node does not start Ray within Ray's own half minute.
TRIES="first second last"
# Slurm sends a step's signals to each of its processes; these two are for the command alone.
trap '' USR1 USR2
trap 'end 143' TERM INT

# This node's address for the others.
own_address() {
    if [ "$SLURM_STEP_NUM_NODES" = 1 ]; then
        echo 127.0.0.1
    elif [ -n "${MPO_INTERFACE:-}" ]; then
        # An interface may have several.
        ip -4 -oneline address show "$MPO_INTERFACE" | sed -n 's/.* inet \([0-9.]*\).*/\1/p' |
            head -n 1
    else
        local name
        name=$(scontrol show node "$SLURMD_NODENAME" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
        getent ahostsv4 "$name" | sed -n '1s/ .*//p'
    fi
}

start_ray() {
    export RAY_TMPDIR=$scratch RAY_worker_niceness=0 RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S=50
    in_container ray start --block --disable-usage-stats \
        --node-ip-address="$address" \
        --num-cpus="${MPO_CPUS:-$SLURM_CPUS_ON_NODE}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
        --object-store-memory=1000000000 \
        --node-manager-port=0 --object-manager-port=0 --runtime-env-agent-port=0 \
        --min-worker-port=0 --max-worker-port=0 --metrics-export-port=0 \
        --dashboard-agent-listen-port=0 --dashboard-agent-grpc-port=0 \
        "$@" >>"$log" 2>&1 &
    ray=$!
}

# End what this node has started, by name of the cluster where it lost its parent.
stop_all() {
    # shellcheck disable=SC2086  # Ids that are there.
    kill -TERM $command $ray 2>/dev/null
    local deadline=$((SECONDS + 15))
    while [ -n "$(left_over)" ] && [ $SECONDS -lt $deadline ]; do sleep 0.2; done
    # shellcheck disable=SC2046  # A process id a word.
    kill -KILL $(left_over) 2>/dev/null
    wait 2>/dev/null
}

# The head leaves last: Slurm ends the step of the others when it fails, and an end that takes long
# to reach a node can reach a requeued job's next attempt there.
end() {
    trap '' TERM INT
    local deadline=$((SECONDS + 20))
    [ "$SLURM_PROCID" = 0 ] && touch "$meeting.done"
    stop_all
    rm -rf "$scratch"
    touch "$meeting.left.$SLURM_PROCID"
    if [ "$SLURM_PROCID" = 0 ]; then
        until [ "$(how_many_left)" = "$SLURM_STEP_NUM_NODES" ] || [ $SECONDS -ge $deadline ]; do
            sleep 0.2
        done
        rm -f "$meeting".left.* "$meeting".address "$meeting".token
    fi
    exit "$1"
}

how_many_left() {
    local left=("$meeting".left.*)
    echo ${#left[@]}
}

# Ids of this cluster's processes on this node, but for the shells of this script.
left_over() {
    local pid
    grep --files-with-matches --text --no-messages \
            "MPO_RAY_CLUSTER=$MPO_RAY_CLUSTER" /proc/[0-9]*/environ | while IFS=/ read -r _ _ pid _; do
        # Of this pipeline's own processes, these are shells and the other has ended.
        grep --quiet --text ray_cluster.sh "/proc/$pid/cmdline" 2>/dev/null && continue
        [ -e "/proc/$pid" ] && echo "$pid"
    done
}

alive() { kill -0 "$1" 2>/dev/null; }

fail() {
    echo "${SLURMD_NODENAME:-$HOSTNAME}: $1" >&2
    end 1
}

# The path of a Unix socket has at most 107 bytes, of which Ray's own part takes 68, and that of
# vLLM and Python's multiprocessing less.
LONGEST=39

make_scratch() {
    local LC_ALL=C
    [ ${#scratch} -le $LONGEST ] || fail "$scratch: too long for Ray's sockets; set MPO_TMPDIR to \
a folder of at most $((LONGEST - ${#scratch} + ${#MPO_TMPDIR})) bytes"
    mkdir -m 700 "$scratch" 2>/dev/null || [ -O "$scratch" ] ||
        fail "$scratch: cannot be made, or belongs to someone else; set MPO_TMPDIR"
    # A job's long folder is reached by a short name.
    if [ -n "${TMPDIR:-}" ] && [ ${#TMPDIR} -gt $LONGEST ]; then
        ln -sfn "$TMPDIR" "$scratch/t" && export TMPDIR=$scratch/t
    fi
}

# A node that is alone stays on loopback: else Ray takes 127.0.0.1 for its public address.
export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=$((SLURM_STEP_NUM_NODES > 1))
make_scratch
address=$(own_address)
[ -n "$address" ] || fail "no address found; set MPO_INTERFACE"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$meeting.token

if [ "$SLURM_PROCID" = 0 ]; then
    free_ports='
from socket import socket
one, other = socket(), socket()
one.bind(("", 0)), other.bind(("", 0))
print(one.getsockname()[1], other.getsockname()[1])'
    ports=$(in_container python -c "$free_ports") || fail "no Python; see MPO_HOME and MPO_CONTAINER"
    read -r port client_port <<<"$ports"
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
    export RAY_ADDRESS=$address:$port
    echo "$RAY_ADDRESS" >"$meeting.tmp" && mv "$meeting.tmp" "$meeting.address"
    for try in $TRIES; do
        start_ray --head --port="$port" --ray-client-server-port="$client_port" \
            --include-dashboard=false
        in_container python -m cluster.ready "$SLURM_STEP_NUM_NODES" >>"$log" 2>&1 &
        command=$!
        wait -n "$ray" "$command" && break
        [ "$try" = last ] && fail "Ray did not start: $(tail -n 3 "$log")"
        stop_all
    done
    in_container "$@" &
    command=$!
    while alive "$command" && alive "$ray"; do
        # Again and again, since a program that still starts does not listen yet.
        [ -e "$logs/stop" ] && kill -USR1 "$command"
        sleep 1
    done
    alive "$command" && fail "Ray's head has ended; see $log"
    wait "$command"
    end $?
fi

until [ -s "$meeting.address" ]; do
    [ -e "$meeting.done" ] && end 0
    sleep 0.5
done
for try in $TRIES; do
    start_ray --address="$(cat "$meeting.address")"
    while alive "$ray" && [ ! -e "$meeting.done" ]; do sleep 0.5; done
    [ -e "$meeting.done" ] && end 0
    stop_all
done
fail "Ray's worker has ended; see $log"
