#!/usr/bin/env bash
# The simulated scaling study of docs/scaling.md: its tables and its figure come from here. Not a measurement.
#   bash analysis/scaling/study.sh FOLDER [largest number of nodes, 128]
#
# Cost: half an hour of a core, most of it for 64 and 128 nodes, and 400 MB. Safe to run again: what is there is kept.
# Expected: FOLDER/NAME/scaling.csv of each question, FOLDER/study.csv of all together (docs/scaling.csv), FOLDER/weak.csv of weak
# scaling and FOLDER/strong.csv of the published batch, and FOLDER/weak/ and FOLDER/strong/ with report.md and its plots
# (docs/scaling_efficiency.svg, docs/scaling_batch.svg).
set -euo pipefail
out=${1:?analysis/scaling/study.sh FOLDER [NODES]} most=${2:-128}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
bin=${VJEPA_BIN:-$source_dir/build/bin} configs=$source_dir/jobs/configs
mkdir -p "$out"
names=()

# The rate of an H100 that docs/scaling.md was made with. When the one of cluster_h100.yaml has gone far from it, write it here and run all of this again.
h100_tflops=390

# NAME CONFIG CLUSTER STUDY options...
model() {
    local name=$1 config=$2 cluster=$3 study=$4
    shift 4
    [ "$cluster" != h100 ] || set -- --set "cluster.gpu_tflops_bf16=$h100_tflops" "$@"
    names+=("$name")
    [ -s "$out/$name/scaling.csv" ] || "$bin/vjepa-scale" model "$configs/$config.yaml" --cluster "$configs/cluster_$cluster.yaml" \
        --study "$study" --out "$out/$name" "$@"
}
direct=(--set cluster.gpu_to_gpu=true)

# Weak scaling with the published clips a rank: messages through the hosts' memory, and from GPU to GPU; then CPU nodes. A point a
# file, the small ones first.
for ((n = 1; n <= most; n *= 2)); do
    model weak_l224_$n vitl16_224 h100 'ViT-L 224' --weak 16 --nodes $n
    model weak_h224_$n vith16_224 h100 'ViT-H 224' --weak 16 --nodes $n
    model weak_h384_$n vith16_384 h100 'ViT-H 384' --weak 10 --nodes $n
    model direct_l224_$n vitl16_224 h100 'ViT-L 224 GPU to GPU' --weak 16 --nodes $n "${direct[@]}"
    model direct_h224_$n vith16_224 h100 'ViT-H 224 GPU to GPU' --weak 16 --nodes $n "${direct[@]}"
    model direct_h384_$n vith16_384 h100 'ViT-H 384 GPU to GPU' --weak 10 --nodes $n "${direct[@]}"
    model cpu_l224_$n vitl16_224 example 'CPU nodes ViT-L 224' --weak 6 --nodes $n
    model cpu_h224_$n vith16_224 example 'CPU nodes ViT-H 224' --weak 6 --nodes $n
    model cpu_h384_$n vith16_384 example 'CPU nodes ViT-H 384' --weak 5 --nodes $n
done
weak=("${names[@]}")
# The published batch on more and more nodes, as far as every GPU has a clip: with the network of the site, and with 50 GB/s.
for g in 360 50; do
    slow=(--set "cluster.network_gb_s=$g") name=''
    [ "$g" = 360 ] || name=" $g GB/s"
    for n in 6 12 24 48 96 128; do
        ((n <= most && (g == 360 || n <= 48))) || continue
        model strong_l224_${g}_$n vitl16_224 h100 "ViT-L 224 of 3072 clips$name" --nodes $n "${slow[@]}"
        model strong_h224_${g}_$n vith16_224 h100 "ViT-H 224 of 3072 clips$name" --nodes $n "${slow[@]}"
    done
    for n in 6 15 30 60 100; do
        ((n <= most)) || continue
        model strong_h384_${g}_$n vith16_384 h100 "ViT-H 384 of 2400 clips$name" --nodes $n "${slow[@]}"
    done
done
model "strong_l224_direct_$most" vitl16_224 h100 'ViT-L 224 of 3072 clips GPU to GPU' --nodes "$most" "${direct[@]}"
# Tensor groups: as many clips a rank, and more ranks than clips.
for n in 4 8; do model "few_cpu_1_$n" vith16_384 example 'CPU nodes ViT-H 384 of 64 clips' --nodes $n --set train.batch=64 --set train.microbatch=4; done
model few_cpu_2 vith16_384 example 'CPU nodes ViT-H 384 of 64 clips tensor 2' --nodes 16 --set train.batch=64 --set train.microbatch=4 --set parallel.tensor=2
model few_cpu_4 vith16_384 example 'CPU nodes ViT-H 384 of 64 clips tensor 4' --nodes 32 --set train.batch=64 --set train.microbatch=4 --set parallel.tensor=4
model few_1 vith16_384 h100 'ViT-H 384 of 64 clips' --nodes 8 --set train.batch=64 --set train.microbatch=4
model few_2 vith16_384 h100 'ViT-H 384 of 64 clips tensor 2' --nodes 16 --set train.batch=64 --set train.microbatch=4 --set parallel.tensor=2
for t in 1 2 4; do model "tensor_$t" vith16_384 h100 "ViT-H 384 tensor $t" --weak $((10 * t)) --nodes 8 --set "parallel.tensor=$t"; done
for t in 1 2; do model "cpu_tensor_$t" vith16_384 example "CPU nodes ViT-H 384 tensor $t" --weak $((5 * t)) --nodes 8 --set "parallel.tensor=$t"; done
# Buckets; slices of moments; sums without the hierarchy: each rank a node of its own with its share of the machine.
for b in 1 4 16 64; do
    model "bucket_$b" vitl16_224 h100 "ViT-L 224 bucket_mb $b" --weak 16 --nodes 8 --set "parallel.bucket_mb=$b"
    model "cpu_bucket_$b" vitl16_224 example "CPU nodes ViT-L 224 bucket_mb $b" --weak 6 --nodes 8 --set "parallel.bucket_mb=$b"
done
for n in 1 2 4 8 32 128; do
    ((n <= most)) || continue
    model "zero_l224_$n" vitl16_224 h100 'ViT-L 224 zero' --weak 16 --nodes $n --set parallel.zero=1
    model "zero_h224_$n" vith16_224 h100 'ViT-H 224 zero' --weak 16 --nodes $n --set parallel.zero=1
    model "zero_h384_$n" vith16_384 h100 'ViT-H 384 zero' --weak 10 --nodes $n --set parallel.zero=1
done
model flat vitl16_224 example 'CPU nodes ViT-L 224 no hierarchy' --weak 6 --nodes 8,16,32,64 --ranks 1 --set cluster.cores_per_node=16 \
    --set cluster.numa_per_node=1 --set cluster.network_gb_s=2.75 --set cluster.memory_gb_s=43.75 --set cluster.sum_gb_s=5
# Networks.
for g in 12.5 25 50 100 200; do
    model "network_l224_$g" vitl16_224 h100 "ViT-L 224 $g GB/s" --weak 16 --nodes 8 --set "cluster.network_gb_s=$g"
    model "network_h224_$g" vith16_224 h100 "ViT-H 224 $g GB/s" --weak 16 --nodes 8 --set "cluster.network_gb_s=$g"
    model "network_h384_$g" vith16_384 h100 "ViT-H 384 $g GB/s" --weak 10 --nodes 8 --set "cluster.network_gb_s=$g"
    case $g in 100 | 200) continue ;; esac
    model "network_${most}_$g" vitl16_224 h100 "ViT-L 224 $g GB/s" --weak 16 --nodes "$most" --set "cluster.network_gb_s=$g"
done

join() { # FILE.csv NAME...: rows of a study together
    local file=$1 name
    shift
    head -n 1 "$out/$1/scaling.csv" >"$out/$file"
    for name in "$@"; do tail -n +2 "$out/$name/scaling.csv"; done | sort -s -t, -k3,3 -k2,2n >>"$out/$file"
}
join study.csv "${names[@]}"
mapfile -t shown < <(printf "%s\n" "${weak[@]}" | grep -v cpu_h224) # a figure has eight lines at most
join weak.csv "${shown[@]}"
mapfile -t shown < <(printf "%s\n" "${names[@]}" | grep '^strong_.*_\(360\|50\)_')
join strong.csv "${shown[@]}"
# Each point is the first one of its file: efficiency is against the fewest nodes of its study.
for file in study.csv weak.csv strong.csv; do
    awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; print; next }
        $at["study"] != study { study = $at["study"]; base = $at["clips_per_s"] / $at["ranks"] }
        { $at["efficiency"] = sprintf("%.4f", $at["clips_per_s"] / $at["ranks"] / base); print }' "$out/$file" >"$out/$file.new"
    mv "$out/$file.new" "$out/$file"
done
for figure in weak strong; do "$bin/vjepa-report" "$out/$figure.csv" --markdown "$out/$figure"; done
