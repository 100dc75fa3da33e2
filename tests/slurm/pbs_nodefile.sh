#!/usr/bin/env bash
# Slurm's TaskProlog on the test cluster: gives PBS jobs what Slurm's PBS plugin leaves out, PBS_NODEFILE, one line for each rank.
# What it prints as "export NAME=value" enters the job's environment. NODE_LOCAL names a folder of the node.
set -euo pipefail
[ "${SLURM_PROCID:-0}" = 0 ] || exit 0
file=$NODE_LOCAL/nodefile.$SLURM_JOB_ID

# SLURM_TASKS_PER_NODE: "2(x3),1" is two on each of three nodes, then one.
counts=()
IFS=, read -ra parts <<<"${SLURM_TASKS_PER_NODE:-1}"
for part in "${parts[@]}"; do
    repeat=1
    if [[ $part =~ \(x([0-9]+)\) ]]; then repeat=${BASH_REMATCH[1]}; fi
    for ((k = 0; k < repeat; k++)); do counts+=("${part%%(*}"); done
done
node=0
for host in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    for ((k = 0; k < ${counts[node]:-1}; k++)); do echo "$host"; done
    node=$((node + 1))
done >"$file"
echo "export PBS_NODEFILE=$file"
