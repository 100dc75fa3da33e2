#!/usr/bin/env bash
# The simulated scaling study of docs/scaling.md: its tables come from here. Not a measurement.
#   bash analysis/scaling/study.sh FOLDER [largest number of nodes, 32]
#
# Cost: half an hour of a core for 32 nodes; points of 64 and 128 nodes take minutes each, and 1 GB. Safe to run again: what is
# there is kept.
# Expected: FOLDER/NAME/scaling.csv of each question, FOLDER/weak.csv and FOLDER/strong.csv of those that belong together, and
# FOLDER/weak/report.md with plots.
set -euo pipefail
out=${1:?analysis/scaling/study.sh FOLDER [NODES]} most=${2:-32}
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
bin=${VJEPA_BIN:-$source_dir/build/bin} configs=$source_dir/jobs/configs
mkdir -p "$out"

# NAME CONFIG CLUSTER STUDY options...
model() {
    local name=$1 config=$2 cluster=$3 study=$4
    shift 4
    [ -s "$out/$name/scaling.csv" ] || "$bin/vjepa-scale" model "$configs/$config.yaml" --cluster "$configs/cluster_$cluster.yaml" \
        --study "$study" --out "$out/$name" "$@"
}
up_to=1
for ((n = 2; n <= most; n *= 2)); do up_to+=,$n; done

# Weak scaling with the published clips a rank: as the program is, and as if GPUs of several nodes overlapped their sums.
model weak_l224 vitl16_224 h100 'ViT-L 224' --weak 16 --nodes "$up_to"
model weak_h224 vith16_224 h100 'ViT-H 224' --weak 16 --nodes "$up_to"
model weak_h384 vith16_384 h100 'ViT-H 384' --weak 10 --nodes "$up_to"
model direct_l224 vitl16_224 h100 'ViT-L 224 GPU to GPU' --weak 16 --nodes "$up_to" --gpu-to-gpu
model direct_h224 vith16_224 h100 'ViT-H 224 GPU to GPU' --weak 16 --nodes "$up_to" --gpu-to-gpu
model cpu_l224 vitl16_224 example 'CPU nodes ViT-L 224' --weak 6 --nodes "$up_to"
model cpu_h384 vith16_384 example 'CPU nodes ViT-H 384' --weak 5 --nodes "$up_to"
# The published batch on more and more nodes.
model strong_l224 vitl16_224 h100 'ViT-L 224 3072 clips' --nodes 6,12,24,48
model strong_h224 vith16_224 h100 'ViT-H 224 3072 clips' --nodes 6,12,24,48
model strong_h384 vith16_384 h100 'ViT-H 384 2400 clips' --nodes 6,15,30,50
# Tensor groups.
for t in 1 2 4; do model "tensor_$t" vith16_384 h100 "tensor $t" --nodes 30 --set "parallel.tensor=$t"; done
for t in 1 2; do model "cpu_tensor_$t" vith16_384 example "CPU tensor $t" --weak $((5 * t)) --nodes 8 --set "parallel.tensor=$t"; done
# Buckets, slices of moments, and sums without the hierarchy: 64 ranks, each a node of its own with its share of the network.
for b in 1 4 16 64; do model "bucket_$b" vitl16_224 example "bucket $b MiB" --weak 6 --nodes 8 --set "parallel.bucket_mb=$b"; done
for z in 0 1; do
    model "zero_$z" vith16_224 h100 "zero $z" --weak 16 --nodes 8 --set "parallel.zero=$z"
    model "cpu_zero_$z" vitl16_224 example "CPU zero $z" --weak 6 --nodes 8 --set "parallel.zero=$z"
done
model flat vitl16_224 example 'no hierarchy' --weak 6 --nodes 64 --ranks 1 --set cluster.cores_per_node=16 --set cluster.numa_per_node=1 \
    --set cluster.network_gb_s=2.75 --set cluster.memory_gb_s=43.75 --set cluster.sum_gb_s=5
# Networks.
for g in 12.5 25 50 100 200; do
    for way in '' --gpu-to-gpu; do
        model "network_l224_$g$way" vitl16_224 h100 "ViT-L $g GB/s$way" --weak 16 --nodes 8 $way --set "cluster.network_gb_s=$g"
        model "network_h384_$g$way" vith16_384 h100 "ViT-H 384 $g GB/s$way" --weak 10 --nodes 8 $way --set "cluster.network_gb_s=$g"
    done
done

join() { # FILE.csv NAME...
    local file=$1 name
    shift
    head -n 1 "$out/$1/scaling.csv" >"$out/$file"
    for name in "$@"; do tail -n +2 "$out/$name/scaling.csv" >>"$out/$file"; done
}
join weak.csv weak_l224 weak_h224 weak_h384 direct_l224 direct_h224 cpu_l224 cpu_h384
join strong.csv strong_l224 strong_h224 strong_h384
"$bin/vjepa-report" "$out/weak.csv" "$out/strong.csv" --markdown "$out/weak"
