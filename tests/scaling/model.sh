#!/usr/bin/env bash
# Compares the simulated step with alpha-beta formulas on 8 and 16 ranks: only the network, only memory, only messages, and what computing
# hides. Checks that the table says that it is a model. Needs SimGrid.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
if ! { [ -e "$bin/vjepa-simulated-step" ] && command -v smpirun >/dev/null; }; then
    echo "SKIPPED: built without SimGrid (Debian: libsimgrid-dev; jobs/setup.sh dev installs it)" >&2
    exit 77
fi
cat >check.py <<'PY'
import subprocess, sys
program, V = sys.argv[1], 64 << 20  # bytes of a rank's vector

def simulate(nodes, ranks, bandwidth, message_s, zero=0, rate=1e18, compute=0, link=0, host=1e18, direct=False):
    open('p.xml', 'w').write(f"""<?xml version='1.0'?><!DOCTYPE platform SYSTEM "https://simgrid.org/simgrid.dtd">
<platform version="4.1"><cluster id="c" prefix="n" suffix="" radical="0-{nodes - 1}" speed="1Tf" bw="{bandwidth}Bps" lat="1ns"
sharing_policy="SPLITDUPLEX" loopback_bw="50GBps" loopback_lat="1ns"/></platform>""")
    open('hosts', 'w').write(''.join(f'n{r // ranks}\n' for r in range(nodes * ranks)))
    keys = dict(node_ranks=ranks, tensor=1, zero=zero, floats=V // 4, bucket_floats=1 << 20,
                part_floats=4 << 20, gathered_bytes=V, compute_s=compute, backward_s=compute, update_s=0, sums_rate=rate, tensor_rate=rate,
                gpu_link_bytes_s=link, gpu_host_bytes_s=host, gpu_to_gpu=int(direct), network_bytes_s=bandwidth, message_s=message_s,
                tensor_sums=0, tensor_floats=0, tensor_byte_s=0, small_doubles=8)
    open('work', 'w').write(''.join(f'{k} {v}\n' for k, v in keys.items()))
    out = subprocess.run(['smpirun', '-np', str(nodes * ranks), '-platform', 'p.xml', '-hostfile', 'hosts', '--cfg=smpi/simulate-computation:no',
                          '--cfg=smpi/shared-malloc:local', '--cfg=smpi/bw-factor:0:1', '--cfg=smpi/lat-factor:0:1', '--cfg=network/weight-S:0',
                          '--cfg=network/crosstraffic:0', '--cfg=smpi/test:0', f'--cfg=smpi/os:0:{message_s}:0', f'--cfg=smpi/ois:0:{message_s}:0', '--cfg=smpi/send-is-detached-thresh:0',
                          '--cfg=smpi/coll-selector:ompi', '--log=root.thres:warning', program, 'work'], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-500:]
    return {line.split()[0]: float(line.split()[1]) for line in out.stdout.splitlines()}

def near(what, got, want, tolerance):
    print(f'{what}: {got:.6g} s simulated, {want:.6g} by the formula')
    assert abs(got - want) <= tolerance * want, what

for nodes, ranks in ((2, 4), (4, 4)):
    name, others = f'{nodes} x {ranks}', 2 * (nodes - 1) / nodes * V # bytes out of a node: its sums, and those of its part
    near(f'{name}, buckets, network', simulate(nodes, ranks, 1e9, 0)['step_s'], others / 1e9, 0.1)
    # Memory: the ranks' shares are read and a sum written, and it is copied to the node's others; over nodes the sum of a part.
    S, rate = ranks, 10e9
    memory = V * ((S + 1) / S + 2 * (S - 1) / S + (nodes + 1) / nodes / S) / rate
    near(f'{name}, buckets, memory', simulate(nodes, ranks, 1e18, 0, rate=rate)['step_s'], memory, 0.1)
    # Messages, of a bucket of 4 MiB: one to each other node, of its sums and of those of its part.
    took = simulate(nodes, ranks, 1e18, 1e-3)
    near(f'{name}, buckets, messages', took['step_s'] - took['small_s'], 2 * (nodes - 1) * (V >> 22) * 1e-3, 0.35)
# Slices of parallel.zero: parts of sums to all nodes, and sums to one owner's node after the other, which is slowest if the next one
# does not begin meanwhile; and weights from each node to the others, one node at a time.
zero = simulate(4, 4, 1e9, 0, zero=1)
assert 3 / 4 * V / 1e9 < zero['exposed_s'] < 1.02 * 2 * 3 / 4 * V / 1e9, zero
near('zero, weights, network', zero['gather_s'], V / 1e9, 0.1)
# Computing hides all but the last buckets.
step = simulate(4, 4, 10e9, 0, compute=1.0)
near('hidden', step['step_s'], 1.0, 0.01)
assert simulate(4, 4, 10e9, 0, compute=1.0) == step, 'not deterministic'
# GPUs: shares are read over the links and a sum is written to the others; to the host a rank's share, its part of the sum, and
# back what came for its part and what the others made of theirs. MPI that takes memory of GPUs needs no copies.
for nodes in (1, 2, 4):
    others = 3 - 1 / nodes
    near(f'{nodes} x 4, links', simulate(nodes, 4, 1e18, 0, link=1e9)['step_s'], 2 * 3 / 4 * V / 1e9, 0.1)
    if nodes > 1: near(f'{nodes} x 4, copies', simulate(nodes, 4, 1e18, 0, link=1e18, host=1e9)['step_s'], others / 4 * V / 1e9, 0.1)
    near(f'{nodes} x 4, no copies', 1 + simulate(nodes, 4, 1e18, 0, link=1e18, host=1e9, direct=True)['step_s'], 1, 0.001)
# Weights that come back to GPUs: over the links to the neighbours, over the network from each node to the others at the same time,
# to the host a rank's share of its slice and back all others', and a message to each other node for each round of pieces.
gather = lambda nodes, bandwidth, message_s, **machine: simulate(nodes, 4, bandwidth, message_s, zero=1, **machine)['gather_s']
near('1 x 4, gather, links', gather(1, 1e18, 0, link=1e9), 3 / 4 * V / 1e9, 0.01)
near('4 x 4, gather, links', gather(4, 1e18, 0, link=1e9), 3 / 4 * V / 1e9, 0.1)
near('4 x 4, gather, network', gather(4, 1e9, 0, link=1e18), 3 / 4 * V / 1e9, 0.15)
near('4 x 4, gather, copies', gather(4, 1e18, 0, link=1e18, host=1e9), V / 4 / 1e9, 0.1)
near('4 x 4, gather, messages', gather(4, 1e18, 1e-3, link=1e18), (4 - 1) * (V >> 22) * 1e-3, 0.35)
# Beside computing, but for the kernels that sum.
near('GPUs, hidden', simulate(4, 4, 10e9, 1e-6, compute=1.0, link=1e9, host=10e9)['step_s'] - 1, 3 / 4 * V / 1e9, 0.2)
PY
/usr/bin/python3 check.py "$bin/vjepa-simulated-step" || fail "the model is not near the formulas"

"$bin/vjepa-scale" model "$source_dir/jobs/configs/vitl16_224.yaml" --cluster "$source_dir/jobs/configs/cluster_h100.yaml" --weak 16 \
    --nodes 1,2 --out model >log 2>&1 || fail "model: $(cat log)"
[ "$(cut -d, -f1-4 model/scaling.csv | tr '\n' ' ')" = 'ranks,nodes,study,source 8,1,vitl16_224 weak,model 16,2,vitl16_224 weak,model ' ] || fail "$(cat model/scaling.csv)"
grep -q 'MODEL, not a measurement' model/report.md || fail "the page does not say that it is a model: $(cat model/report.md)"
# vjepa-plan's formula on some machines: hidden sums, a network that sets the pace, messages without copies, processors.
near_forecast() { # CLUSTER options...
    local cluster=$1
    shift
    "$bin/vjepa-scale" model "$source_dir/jobs/configs/vitl16_224.yaml" --cluster "$source_dir/jobs/configs/cluster_$cluster.yaml" \
        --weak 6 --out near "$@" >log 2>&1 || fail "model $*: $(cat log)"
    awk -F, 'NR > 1 && !($10 > 0.98 * $18 && $10 < 1.02 * $18) { exit 1 }' near/scaling.csv || fail "far from the forecast: $* $(cat near/scaling.csv)"
}
near_forecast h100 --nodes 1,2
near_forecast h100 --nodes 2 --set cluster.network_gb_s=6 --set cluster.gpu_to_gpu=true
near_forecast h100 --nodes 1,2 --set parallel.zero=1
near_forecast h100 --nodes 2 --set parallel.tensor=2
near_forecast example --nodes 1,2
finish
