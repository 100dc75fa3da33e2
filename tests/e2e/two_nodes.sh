#!/usr/bin/env bash
# Makes two nodes on one machine: network, mount and host name namespaces with their own /dev/shm, joined by a virtual cable. MPI starts
# ranks on both, which share memory on each and send messages between them. Checks that packing and training give the same bits as on
# one node, for all placements of ranks (2 + 2, 1 + 3, alternating), and after a rank of the second node was killed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
nodes=(alpha beta)

node_processes() { # NODE: all with its host name
    local space process
    space=$(readlink "/proc/$(cat "$1.pid")/ns/uts") || return 0
    for process in /proc/[0-9]*; do
        if [ "$(readlink "$process/ns/uts" 2>/dev/null)" = "$space" ]; then echo "${process#/proc/}"; fi
    done
}

clean_up() { # stop the nodes
    local node pids
    cd "$scratch"
    for node in "${nodes[@]}"; do
        [ -s "$node.pid" ] || continue
        mapfile -t pids < <(node_processes "$node")
        ((${#pids[@]} == 0)) || kill -9 "${pids[@]}" 2>/dev/null || true
    done
}

start_nodes() {
    local i node
    printf '127.0.0.1 localhost\n' >hosts
    for i in 0 1; do echo "10.213.7.$((i + 1)) ${nodes[i]}" >>hosts; done
    for node in "${nodes[@]}"; do
        # The node ends when this script ends, in whatever way.
        unshare --mount --uts --net bash -c '
            set -e
            mount --make-rprivate /
            mount -t tmpfs -o size=1g shm /dev/shm
            mount --bind hosts /etc/hosts
            hostname "$1"
            ip link set lo up
            touch "$1.up"
            exec setpriv --pdeathsig KILL sleep infinity' node "$node" 2>"$node.log" &
        echo $! >"$node.pid"
        disown
    done
    for node in "${nodes[@]}"; do
        until [ -e "$node.up" ]; do
            kill -0 "$(cat "$node.pid")" 2>/dev/null || { cat "$node.log"; return 1; }
            sleep 0.02
        done
    done
    ip link add cable netns "$(cat alpha.pid)" type veth peer name cable netns "$(cat beta.pid)" || return 1
    for i in 0 1; do
        nsenter -t "$(cat "${nodes[i]}.pid")" -n sh -c "ip addr add 10.213.7.$((i + 1))/24 dev cable && ip link set cable up" || return 1
    done
}

[ "$(id -u)" -eq 0 ] || { echo "skipped: only root may make two nodes of one machine"; exit 77; }
for tool in unshare nsenter ip setpriv; do
    command -v $tool >/dev/null || { echo "skipped: no program '$tool'"; exit 77; }
done
start_nodes >start.log 2>&1 || { echo "skipped: this system permits no namespaces or virtual network: $(cat start.log)"; exit 77; }

# Open MPI calls this in place of ssh: HOST COMMAND...
printf '#!/bin/sh\nhost=$1\nshift\nexec nsenter -t "$(cat "%s/$host.pid")" -m -u -n -- sh -c "$*"\n' "$scratch" >shell
chmod +x shell

on_nodes() { # RANKS_ON_ALPHA RANKS_ON_BETA [mpirun options] -- COMMAND...
    local a=$1 b=$2 options=()
    shift 2
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    nsenter -t "$(cat alpha.pid)" -m -u -n -- env -C "$scratch" OMPI_MCA_plm_rsh_agent="$scratch/shell" OMPI_MCA_btl=self,vader,tcp \
        OMPI_MCA_btl_tcp_if_include=cable OMPI_MCA_oob_tcp_if_include=cable \
        timeout 600 mpirun --host "alpha:$a,beta:$b" -n $((a + b)) "${options[@]}" "$@"
}
train_on_nodes() { # DIR RANKS_ON_ALPHA RANKS_ON_BETA [mpirun options] -- [ARGS]
    local dir=$1 a=$2 b=$3 options=()
    shift 3
    while [ "$1" != -- ]; do
        options+=("$1")
        shift
    done
    shift
    on_nodes "$a" "$b" "${options[@]}" -- "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" "$@"
}
placed() { # LOG TEXT: how ranks lie on nodes, and which way sums go
    grep -qF "4 ranks on 2 nodes ($2; sums: shared memory on a node, MPI between nodes" "$1" || fail "$1 does not say '$2': $(grep ' on .* node' "$1")"
}
same() { # WANT GOT WHAT: their last checkpoints
    local step
    step=$(basename "$(compgen -G "$1/step_*.h5" | tail -n 1)")
    "$bin/vjepa-inspect" --compare "$1/$step" "$2/$step" >compare.log || fail "$3: $(tail -n 3 compare.log)"
}

# ------------------------------------------------------------------------------------------------ packing

"$tools/make_videos" videos 12
cat >pack.yaml <<END
pack: {lists: [videos/list.csv], short_side: 32, frames: 8, step: 2, codec: jpeg}
END
run 2 "$bin/vjepa-pack" pack.yaml --set pack.store=one.clips >one.log 2>&1 || fail "packing on one node: $(tail -n 5 one.log)"
on_nodes 1 2 -- "$bin/vjepa-pack" pack.yaml --set pack.store=two.clips >two.log 2>&1 || fail "packing on two nodes: $(tail -n 5 two.log)"
for store in one two; do "$bin/vjepa-inspect" $store.clips | grep '^fingerprint' >$store.txt; done
cmp -s one.txt two.txt || fail "two nodes pack something else: $(diff one.txt two.txt)"
[ "$(cut -d, -f1-3 one.clips/ledger.csv | sort)" = "$(cut -d, -f1-3 two.clips/ledger.csv | sort)" ] || fail "two nodes have another ledger"

# ------------------------------------------------------------------------------------------------ training

make_store train.clips 40
pretrain 4 one >one.log 2>&1 || fail "4 ranks on one node: $(tail -n 5 one.log)"
grep -q "4 ranks on 1 node ($(hostname)); sums: shared memory\$" one.log || fail "one node: $(grep ' on .* node' one.log)"
train_on_nodes even 2 2 -- >even.log 2>&1 || fail "2 + 2 ranks: $(tail -n 5 even.log)"
placed even.log 'alpha, beta), 2 on each'
same one even "2 + 2 ranks"
train_on_nodes uneven 1 3 -- --set parallel.zero=1 >uneven.log 2>&1 || fail "1 + 3 ranks: $(tail -n 5 uneven.log)"
placed uneven.log '1 on alpha, 3 on beta)'
same one uneven "1 + 3 ranks, sharded"
train_on_nodes turns 2 2 --map-by node -- >turns.log 2>&1 || fail "ranks in turn: $(tail -n 5 turns.log)"
placed turns.log 'alpha, beta), 2 on each'
same one turns "ranks in turn"
# The ranks of a tensor group are on one node, also if the launcher places ranks alternately.
train_on_nodes groups 2 2 --map-by node -- --set parallel.tensor=2 --set model.heads=4 --dry-run >groups.log 2>&1 ||
    fail "tensor groups, ranks in turn: $(tail -n 5 groups.log)"

# With parallel.reduction reproducible it has the bits of one rank, here with two microbatches a rank.
exact=(--set parallel.reduction=reproducible --set train.batch=16 --set train.epochs=1)
pretrain 1 exact "${exact[@]}" >exact.log 2>&1 || fail "reproducible on one rank: $(tail -n 5 exact.log)"
train_on_nodes exact31 3 1 -- "${exact[@]}" --set parallel.zero=1 >exact31.log 2>&1 || fail "reproducible on 3 + 1 ranks: $(tail -n 5 exact31.log)"
same exact exact31 "reproducible, 3 + 1 ranks"

# Features have the same rows.
embed=("$bin/vjepa-embed" "$tiny" --encoder random:published --store train.clips)
run 1 "${embed[@]}" --out one.h5 >embed.log 2>&1 || fail "embedding on one rank: $(tail -n 5 embed.log)"
on_nodes 2 1 -- "${embed[@]}" --out two.h5 >embed.log 2>&1 || fail "embedding on two nodes: $(tail -n 5 embed.log)"
/usr/bin/python3 - <<'PY' || fail "features of two nodes differ from one rank's"
import h5py
def data(path):
    found = {}
    h5py.File(path).visititems(lambda name, node: found.update({name: node[()].tobytes()}) if isinstance(node, h5py.Dataset) else None)
    return found
assert len(data('one.h5')) > 3 and data('one.h5') == data('two.h5')
PY

# On three ranks only the same bits in each run are promised.
for again in 1 2; do
    train_on_nodes three$again 2 1 -- --set train.epochs=1 >three.log 2>&1 || fail "2 + 1 ranks: $(tail -n 5 three.log)"
done
same three1 three2 "2 + 1 ranks again"

# ------------------------------------------------------------------------------------------------ killed

killed=$scratch/killed
train_on_nodes "$killed" 2 2 -- --set train.backend=strict >killed.log 2>&1 &
job=$!
for _ in $(seq 3000); do
    [ ! -e "$killed/step_00000005.h5" ] || break
    sleep 0.02
done
victim=
for process in $(node_processes beta); do
    if grep -qs '^vjepa-pretrain' "/proc/$process/comm"; then victim=$process; fi
done
[ -n "$victim" ] && kill -9 "$victim" || fail "no rank on beta to kill: $(tail -n 5 killed.log)"
code=0
wait "$job" || code=$?
[ "$code" -ne 0 ] && [ ! -e "$killed/complete" ] || fail "a run that lost a rank ended with $code: $(tail -n 5 killed.log)"
train_on_nodes "$killed" 3 1 -- >resumed.log 2>&1 || fail "after the kill: $(tail -n 5 resumed.log)"
grep -q "resuming from $killed/step_" resumed.log || fail "the second start did not resume: $(cat resumed.log)"
same one "$killed" "killed on 2 + 2 ranks, continued on 3 + 1"
finish
