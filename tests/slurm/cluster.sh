# shellcheck shell=bash disable=SC2034 # tests that source this read what it sets
# Sourced by the tests of jobs/: starts a Slurm cluster of virtual nodes on this machine for the time of a test. It has munged,
# slurmctld and a slurmd for each node, on the loopback. A node has its own host name, /dev/shm and local folder (namespaces), so MPI
# takes it for a machine. A machine can have only one such cluster at a time, so the next test waits. All ends with the test.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.sh"
cluster=$scratch/cluster
jobs=$source_dir/jobs

skip() {
    echo "skipped: $*"
    exit 77
}
[ "$(id -u)" -eq 0 ] || skip "only root may make several nodes of one machine"
for tool in slurmctld slurmd sbatch munged mungekey unshare setpriv flock; do
    PATH=$PATH:/usr/sbin command -v $tool >/dev/null || skip "no program '$tool'; Debian: slurm-wlm munge util-linux (jobs/setup.sh dev installs them)"
done
PATH=$PATH:/usr/sbin

node_processes() { # NODE: all with its host name
    local space process
    space=$(readlink "/proc/$(cat "$cluster/run/slurmd-$1.pid" 2>/dev/null)/ns/uts" 2>/dev/null) || return 0
    [ "$space" != "$(readlink /proc/self/ns/uts)" ] || return 0
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/ns/uts" 2>/dev/null)" = "$space" ]; then echo "${process#/proc/}"; fi
    done
}

kill_node() { # NODE: all its processes, at once
    local pids
    mapfile -t pids < <(node_processes "$1")
    ((${#pids[@]})) || { fail "node $1 has no processes to kill"; return; }
    kill -9 "${pids[@]}" 2>/dev/null || true
}

clean_up() { # stop the cluster
    local node daemon pid
    for daemon in slurmctld munged; do
        pid=$(cat "$cluster/run/$daemon.pid" 2>/dev/null) && kill -9 "$pid" 2>/dev/null || true
    done
    for node in "${all_nodes[@]:-}"; do
        while read -r pid; do kill -9 "$pid" 2>/dev/null || true; done < <(node_processes "$node")
    done
}
all_nodes=()
trap 'exit 1' INT TERM

# Find a range of ports that are not in use.
free_ports() {
    local base used
    used=$(awk 'NR > 1 { split($2, a, ":"); print strtonum("0x" a[2]) }' /proc/net/tcp /proc/net/tcp6 2>/dev/null || true)
    for ((base = 17000; base < 30000; base += 50)); do
        awk -v b="$base" '$1 >= b && $1 < b + 50 { exit 1 }' <<<"$used" && break
    done
    echo "$base"
}

write_config() { # PORT NODES
    local i port=$1 count=$2 plugins
    plugins=$(dirname "$(find /usr/lib -name auth_munge.so -path '*slurm*' 2>/dev/null | head -n 1)")
    cat >"$cluster/slurm.conf" <<CONF
ClusterName=vjepa
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=$port
# All ports are on the loopback.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job waits for cred_expire before it starts again.
AuthInfo=socket=$cluster/run/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation=$cluster/state
SlurmdSpoolDir=$cluster/run/spool-%n
SlurmctldPidFile=$cluster/run/slurmctld.pid
SlurmdPidFile=$cluster/run/slurmd-%n.pid
SlurmctldLogFile=$cluster/log/slurmctld.log
SlurmdLogFile=$cluster/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_min_interval=100000,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdTimeout=10
SlurmctldTimeout=60
ReturnToService=2
InactiveLimit=0
MinJobAge=600
KillWait=5
JobRequeue=1
SwitchType=switch/none
# A node may claim more processors than the machine has.
SlurmdParameters=config_overrides
TmpFS=$cluster/node-local
CONF
    if [ -e "$plugins/job_submit_pbs.so" ] && [ -e "$plugins/spank_pbs.so" ]; then
        echo "JobSubmitPlugins=pbs" >>"$cluster/slurm.conf"
        echo "PlugStackConfig=$cluster/plugstack.conf" >>"$cluster/slurm.conf"
        echo "TaskProlog=$cluster/task_prolog.sh" >>"$cluster/slurm.conf"
        echo "optional $plugins/spank_pbs.so" >"$cluster/plugstack.conf"
        printf '#!/bin/bash\nNODE_LOCAL=%q exec bash %q\n' "$cluster/node-local" "$source_dir/tests/slurm/pbs_nodefile.sh" >"$cluster/task_prolog.sh"
        chmod 755 "$cluster/task_prolog.sh"
    fi
    for ((i = 0; i < count; i++)); do
        echo "NodeName=n$i NodeHostname=n$i NodeAddr=127.0.0.1 Port=$((port + 10 + i)) CPUs=4 RealMemory=4000 State=UNKNOWN"
    done >>"$cluster/slurm.conf"
    cat >>"$cluster/slurm.conf" <<CONF
PartitionName=main Nodes=ALL Default=YES MaxTime=1-0 State=UP DefMemPerCPU=100 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=1-0 State=UP DefMemPerCPU=100 PriorityTier=9 PreemptMode=off
CONF
}

start_node() { # NODE
    mkdir -p "$cluster/local/$1"
    # The node has its own host name, to which slurmd binds and by which MPI tells nodes apart, and its own /dev/shm, because the
    # segments of two nodes have the same names.
    # shellcheck disable=SC2016 # the inner shell expands it
    unshare --uts --mount bash -c 'set -e
        mount --make-rprivate /
        hostname "$1"
        mount -t tmpfs -o size=2g shm /dev/shm
        mount --bind "$2/local/$1" "$2/node-local"
        mount --bind "$2/hosts" /etc/hosts
        exec slurmd -N "$1" -f "$2/slurm.conf"' node "$1" "$cluster" >>"$cluster/log/start-$1.log" 2>&1
}

# start_cluster NODES: start it, and return when all nodes are idle. Skips the test if the system does not permit it.
start_cluster() {
    local i port
    exec 9>/tmp/vjepa-test-cluster.lock
    flock -w 1500 9 || { echo "another test's cluster did not end in 25 minutes" >&2; exit 1; }
    mkdir -p "$cluster"/{log,run,state,munge,node-local}
    chmod 755 "$scratch" "$cluster" "$cluster/run"
    chmod 700 "$cluster/munge"
    mungekey --create --keyfile="$cluster/munge/key"
    chmod 600 "$cluster/munge/key"
    { cat /etc/hosts; for ((i = 0; i < $1; i++)); do echo "127.0.0.1 n$i"; done; } >"$cluster/hosts"
    port=$(free_ports)
    write_config "$port" "$1"
    export SLURM_CONF=$cluster/slurm.conf
    munged --force --key-file="$cluster/munge/key" --socket="$cluster/run/munge.sock" --pid-file="$cluster/run/munged.pid" \
        --log-file="$cluster/log/munged.log" --seed-file="$cluster/munge/seed" --num-threads=2 9>&-
    slurmctld -c -f "$SLURM_CONF" 9>&-
    for ((i = 0; i < $1; i++)); do
        all_nodes+=("n$i")
        start_node "n$i" 9>&- || skip "this system permits no nodes: $(cat "$cluster/log/start-n$i.log")"
    done
    until_true 120 idle_nodes "$1" || { tail -n 20 "$cluster"/log/*.log; echo "the cluster did not come up: $(sinfo)" >&2; exit 1; }
}
idle_nodes() { [ "$(sinfo -h -N -p main -t idle -o %N 2>/dev/null | wc -l)" -ge "$1" ]; }

# until_true SECONDS COMMAND...: try until it succeeds; false when the time is over, which only a failure brings about.
until_true() {
    local until_true_end=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < until_true_end)) || return 1
        sleep 0.02
    done
}

# Variables that jobs need on this machine; sbatch passes them on.
export OMPI_MCA_btl=self,vader,tcp OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_oob_tcp_if_include=lo VJEPA_LEASE_S=30
export VJEPA_BIN=$bin

site() { # FILE LAUNCHER NODES RANKS_PER_NODE: a site file of this cluster
    cat >"$1" <<SITE
scheduler=${scheduler:-slurm}
nodes=$3
ranks_per_node=$4
walltime=0:30:00
launcher=($2)
SITE
}

# What a run is doing; RUN is its folder's name.
rank_of() { # RUN RANK: its process
    local pid
    for pid in $(pgrep -f "^[^ ]*/vjepa-pretrain .*run.dir=(.*/)?$1( |\$)"); do
        [[ $(readlink "/proc/$pid/cwd") == "$scratch"* ]] || continue
        if grep -qzx "PMIX_RANK=$2" "/proc/$pid/environ" 2>/dev/null; then echo "$pid"; fi
    done | grep .
}
has_steps() { [ -f "$1/metrics.csv" ] && [ "$(wc -l <"$1/metrics.csv")" -gt "$2" ]; } # RUN STEPS
