#!/usr/bin/env bash
# Checks vjepa-plan with every shipped configuration: numbers are consistent, the same each time and in JSON; memory is what training
# predicts; energy, jobs and failures; given layouts, and ones that do not fit, are explained; nonsense is refused. Also checks
# vjepa-inspect --contact-sheet. (tests/plan compares the messages with those of a run, e2e_memory the memory.)
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
plan=$bin/vjepa-plan
configs=$source_dir/jobs/configs
cluster=$configs/cluster_example.yaml

cat >check.py <<'PY'
import json, sys
r = json.load(open(sys.argv[1]))
t, best = r['training'], r['layouts'][0]
assert t['parameters'] > 0 and t['steps'] > 0 and t['tflop_a_step'] > 0, t
assert best['data'] * best['tensor'] == best['nodes'] * best['ranks_a_node'] == t['ranks'], best
assert t['memory_gb_a_rank'] < t['memory_gb_a_node'] or best['ranks_a_node'] == 1
parts = best['products_s'] + best['memory_s'] + best['sums_s']
assert abs(best['step_s'] / max(parts, best['read_s']) - 1) < 1e-9, best
assert abs(t['walltime_h'] * 3600 - t['steps'] * t['step_s']) < 0.2 * t['walltime_h'] * 3600, t
assert abs(t['tflops'] * t['step_s'] / t['tflop_a_step'] - 1) < 1e-9, t
assert 'best' in best['verdict'] and len(r['layouts']) > 1, r['layouts']
p, d = r['packing'], r['data']
assert d['files'] > 0 and p['clips'] >= d['files'] and p['shards'] > 0 and p['core_hours'] > 0, p
for section in ('data', 'packing', 'training'):
    for key in r[section]:
        assert r['how'][section + '.' + key], key
settings = {a['setting']: a for a in r['assumptions']}
assert settings['cluster.nodes']['from'].endswith('cluster_example.yaml:7'), settings['cluster.nodes']
assert settings['cluster.memory_gb']['value'] == '640' and settings['cluster.memory_gb']['from'] == '--set'
PY

printf 'path,label\nholiday.mp4,0\nbirthday.mov,1\n' >my.csv # the list of own_videos.yaml, as in the README
count=0
for config in "$configs"/*.yaml; do
    [[ $config != */cluster_* && $config != */evaluate_* ]] || continue # only configurations for training
    name=$(basename "$config" .yaml)
    count=$((count + 1))
    args=("$config" --cluster "$cluster" --set cluster.memory_gb=640)
    "$plan" "${args[@]}" --json >"$name.json" 2>err.log || fail "$name: $(tail -n 3 err.log)"
    /usr/bin/python3 check.py "$name.json" 2>err.log || fail "$name: $(tail -n 3 err.log)"
    "$plan" "${args[@]}" >"$name.txt" || fail "$name as text"
    grep -q '^  walltime ' "$name.txt" && grep -q '^  cluster.nodes  *64 ' "$name.txt" || fail "$name: $(cat "$name.txt")"
done
((count >= 4)) || fail "$count configurations"

# On machines with GPUs each GPU has a rank, and its memory decides. The main job is planned on each shipped machine.
for machine in h100 grace_hopper a100; do
    "$plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_$machine.yaml" --set train.precision=bf16 --json >"$machine.json" 2>err.log ||
        fail "$machine: $(tail -n 3 err.log)"
    /usr/bin/python3 - "$machine.json" <<'PY' || fail "$machine: $(cat "$machine.json")"
import json, sys
r = json.load(open(sys.argv[1]))
t, best = r['training'], r['layouts'][0]
value = {a['setting']: float(a['value']) for a in r['assumptions'] if a['setting'].startswith('cluster.gpu') and a['value'] not in ('true', 'false')}
assert 'best' in best['verdict'] and best['ranks_a_node'] <= value['cluster.gpus_per_node'], best
assert 10 < t['memory_gb_a_gpu'] <= 0.95 * value['cluster.gpu_memory_gb'], t
assert abs(t['memory_gb_a_gpu'] - best['gb_a_gpu']) < 1e-9 and t['gpu_hours'] > 0
per_gpu = t['tflops'] / (best['nodes'] * best['ranks_a_node'])
assert 0.3 * value['cluster.gpu_tflops_bf16'] < per_gpu < value['cluster.gpu_tflops_bf16'], per_gpu
PY
done

# The memory of a rank is the one that vjepa-pretrain predicts, except for what the two processes have before.
make_store train.clips 8
cat >small.yaml <<'END'
pack: {frames: 4, short_side: 36}
data: {train: [train.clips], frames: 4, crop: 32, threads: 1, read_ahead: 1}
model: {size: base, patch: 16}
predictor: {depth: 4}
mask: {group: 2, generators: [{kind: tube, ratio: 0.5}]}
train: {batch: 8, microbatch: 2, steps_per_epoch: 2, epochs: 1}
cluster: {cores_per_node: 2, memory_gb: 100, memory_gb_s: 1000000}
END
run 1 "$bin/vjepa-pretrain" small.yaml --set train.backend=cpu --dry-run >pretrain.log 2>&1 || fail "$(tail -n 3 pretrain.log)"
"$plan" small.yaml --set cluster.cores_per_node=1 --set plan.files=8 --json >small.json || fail "plan of one rank"
/usr/bin/python3 - pretrain.log small.json <<'PY' || fail "memory: $(grep 'memory a rank' pretrain.log) $(cat small.json)"
import json, re, sys
said = float(re.search(r'memory a rank: (\d+) MiB', open(sys.argv[1]).read())[1]) * 2**20
layout = json.load(open(sys.argv[2]))['layouts'][0]
assert layout['microbatch'] == 2 and layout['data'] == 1, layout
assert abs(layout['gb_a_rank'] * 1e9 / said - 1) < 0.03, (layout, said)
PY

# Failures of nodes, their power, and a queue with a time limit.
"$plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_h100.yaml" --set train.precision=bf16 --set cluster.nodes=16 \
    --set cluster.job_hours=6 --set cluster.checkpoint_s=40 --json >failures.json || fail "failures"
/usr/bin/python3 - failures.json <<'PY' || fail "failures: $(cat failures.json)"
import json, math, sys
r = json.load(open(sys.argv[1]))
t, best = r['training'], r['layouts'][0]
nodes = best['nodes']
assert abs(t['energy_mwh'] - nodes * 10200 * t['walltime_h'] * 1e-6) < 1e-6 * t['energy_mwh'], t
mtbf_s = 6300 * 3600 / nodes
interval_s = t['checkpoint_every'] * t['step_s']
assert abs(interval_s / (math.sqrt(2 * 40 * mtbf_s) - 40) - 1) < 0.05, interval_s
assert t['walltime_h'] < t['expected_h'] < 1.2 * t['walltime_h'] and t['failures'] > 0, t
assert t['jobs'] >= math.ceil(t['walltime_h'] / 6) and t['jobs'] < t['walltime_h'] / 6 * 1.1 + 1, t
assert sum(row['bytes'] for row in r['messages'] if row['communicator'] == 'vjepa between nodes') > t['gradient_gb'] * 1e9
PY
"$plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_h100.yaml" >failures.txt 2>&1 || fail "failures as text"
grep -q '^  checkpoint every .* Young 1974' failures.txt && grep -q '^  vjepa between nodes ' failures.txt || fail "$(cat failures.txt)"

# The slices of parallel.zero do not need more messages for gradients, however many ranks there are.
for zero in 0 1; do
    "$plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_h100.yaml" --layout 30x8 --set train.precision=bf16 --set parallel.zero=$zero --json >"zero$zero.json" ||
        fail "zero $zero"
done
/usr/bin/python3 - <<'PY' || fail "messages of gradients with parallel.zero"
import json
rows = [next(r for r in json.load(open(f'zero{z}.json'))['messages'] if r['what'].startswith('gradients')) for z in (0, 1)]
print(rows)
assert 0 < rows[1]['messages'] < 0.6 * rows[0]['messages'] and 0 < rows[1]['bytes'] < 0.6 * rows[0]['bytes'], rows
PY

# A given layout is judged; for one that does not fit the reason, the missing memory and a layout that would fit are printed.
ask=("$plan" "$configs/vith16_384.yaml" --cluster "$configs/cluster_a100.yaml" --layout 32x4)
"${ask[@]}" --set train.precision=bf16 --set train.microbatch=2 >asked.txt 2>&1 || fail "a layout that fits: $(tail -n 5 asked.txt)"
grep -q 'as configured: it fits' asked.txt || fail "$(cat asked.txt)"
got=0
"${ask[@]}" --set train.microbatch=15 --set train.recompute=none >asked.txt 2>&1 || got=$?
[ $got -eq 1 ] || fail "a layout that does not fit ended with $got"
grep -qE 'DOES NOT FIT: [0-9.]+ GB a GPU, [0-9.]+ more than a job may use; most of it activations' asked.txt || fail "$(cat asked.txt)"
read -ra would < <(sed -n 's/^would fit: \(.*\) on 32 nodes of 4 ranks.*/\1/p' asked.txt)
[ ${#would[@]} -eq 4 ] || fail "no advice: $(cat asked.txt)"
changes=()
for change in "${would[@]}"; do changes+=(--set "$change"); done
"${ask[@]}" "${changes[@]}" >asked.txt 2>&1 ||
    fail "what would fit, ${would[*]}, does not: $(cat asked.txt)"

refuse() { # EXIT_CODE PATTERN ARGUMENTS...
    local want=$1 got=0
    "$plan" "${@:3}" >out.log 2>&1 || got=$?
    [ "$got" -eq "$want" ] || fail "$* ended with $got, not $want: $(tail -n 3 out.log)"
    grep -Eq -e "$2" out.log || fail "$* did not say /$2/: $(head -n 5 out.log)"
}
refuse 2 'cluster\.nodes.*\[1, 1000000\]' small.yaml --set cluster.nodes=0
refuse 2 'cluster\.gflops_fp32' small.yaml --set cluster.gflops_fp32=0
refuse 2 'CONFIG' --cluster "$cluster"
refuse 2 'nowhere\.yaml' small.yaml --cluster nowhere.yaml
refuse 2 'only settings of cluster' small.yaml --cluster small.yaml
refuse 2 'a node of 2 cores cannot have 3 memory domains' small.yaml --set cluster.cores_per_node=2 --set cluster.numa_per_node=3
refuse 2 '4by8.*such as 4x8' small.yaml --layout 4by8
refuse 2 '0x4' small.yaml --layout 0x4
refuse 2 'tensor groups of 3' small.yaml --layout 1x4 --set parallel.tensor=3 --set cluster.cores_per_node=4
refuse 2 'cluster.node_mtbf_hours' small.yaml --set cluster.node_mtbf_hours=-1
refuse 1 'nothing fits here, not even' small.yaml --set cluster.memory_gb=0.1
refuse 1 'NOTHING FITS' small.yaml --set cluster.memory_gb=0.1
refuse 1 'plan\.files=N' small.yaml --set 'pack.lists=[missing.csv]'

# Contact sheets.
inspect=$bin/vjepa-inspect
"$inspect" --contact-sheet sheet.png --clips 3 --from 4 --masks small.yaml train.clips >out.log || fail "contact sheet"
grep -q '^sheet.png: 3 clips of train.clips from clip 4$' out.log || fail "contact sheet says $(cat out.log)"
[ "$(head -c 4 sheet.png | tail -c 3)" = PNG ] || fail "sheet.png is no PNG"
"$inspect" --contact-sheet views.png --clips 3 --masks small.yaml --views small.yaml train.clips >out.log || fail "views: $(cat out.log)"
[ "$(stat -c %s views.png)" -gt "$(stat -c %s sheet.png)" ] || fail "views are not drawn"
refuse_sheet() { # PATTERN ARGUMENTS...
    local got=0
    "$inspect" "${@:2}" >out.log 2>&1 || got=$?
    [ "$got" -eq 2 ] || fail "${*:2} ended with $got, not 2"
    grep -Eq -e "$1" out.log || fail "${*:2} did not say /$1/: $(cat out.log)"
}
refuse_sheet 'clips 0 to 7' --contact-sheet no.png --from 8 train.clips
refuse_sheet '--clips none' --contact-sheet no.png --clips none train.clips
refuse_sheet 'belong to --contact-sheet' --clips 2 train.clips
refuse_sheet 'is not a clip store' --contact-sheet no.png small.json
refuse_sheet 'data\.frames is 16' --contact-sheet no.png --masks "$configs/vitl16_224.yaml" train.clips
cp small.yaml mine.png
refuse_sheet 'mine.png exists' --contact-sheet mine.png train.clips
cmp -s small.yaml mine.png || fail "a contact sheet took the place of another file"
[ ! -e no.png ] || fail "a refused contact sheet was drawn"
finish
