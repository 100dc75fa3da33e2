#!/usr/bin/env bash
# From video files to a probe table in one command: ten minutes on two cores with AMX, twenty-five with AVX2.
#   bash jobs/quickstart.sh [--dir DIR] [--ranks N] [--seed S] [--small]
# Makes FM-Motion-48 (photographs of clothes moving in eight ways over real video) as 14,848 video files, packs them
# into clip stores, pretrains a small V-JEPA on N MPI ranks (default 2) while it measures what the features are worth,
# trains probes on the frozen encoder and on two random ones, prints the table, and shows all of it on a page,
# DIR/report.html. Everything lands in DIR (default ./quickstart). Safe to run again: it goes on where it was, or says
# it is done. Where packages are missing, root installs them; anybody else is told which to ask for.
# --small does the same with a tenth of the videos and a fifth of the steps, in a few minutes: it shows the way, not the
# effect.
# Cost: a download of 160 MB (Debian packages of photographs and film), 5 GB of disk.
# Expected: average-pool accuracy far above both random encoders, motion with few labels likewise; see README.md.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
dir=quickstart ranks=2 seed=234 small=
while (($#)); do
    case $1 in
    --dir) dir=${2:?--dir needs a folder}; shift 2 ;;
    --ranks) ranks=${2:?--ranks needs a number}; shift 2 ;;
    --seed) seed=${2:?--seed needs a number}; shift 2 ;;
    --small) small=1; shift ;;
    --help | -h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "quickstart.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
done
case $ranks in [1-4]) ;; *) echo "quickstart.sh: --ranks takes 1 to 4 (four microbatches a step), not $ranks" >&2; exit 2 ;; esac
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

begin=$SECONDS
step() { printf '\n== %s (%d:%02d after the start)\n' "$1" $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)); }

options="seed $seed${small:+, small}"
if [ -f "$dir/options" ] && [ "$(cat "$dir/options")" != "$options" ]; then
    echo "quickstart.sh: $dir was made with $(cat "$dir/options"), not with $options: choose another --dir" >&2
    exit 2
fi
echo "$options" >"$dir/options"
if [ -f "$dir/done" ]; then
    cat "$dir/results.md"
    echo
    echo "Already done: the table is $dir/results.md; remove $dir to start anew."
    exit 0
fi

[ -n "${VJEPA_BIN:-}" ] || (cd "$root" && bash jobs/setup.sh)
# shellcheck source=jobs/mpi_env.sh
. "$root/jobs/mpi_env.sh"
bin=${VJEPA_BIN:-$root/build/bin} # programs in VJEPA_BIN are used as they are
config=$root/jobs/configs/quickstart.yaml
videos=() pretrain=(--set watch.every=1400) probe=()
if [ -n "$small" ]; then
    videos=(--train 1280 --val 512)
    pretrain=(--set watch.every=200 --set train.steps_per_epoch=50 --set train.epochs=20 --set optimizer.warmup_epochs=2)
    probe=(--set probe.pooling='[average]' --set probe.labels='[100]')
fi
run() { mpirun -n "$ranks" "$@"; }

step "1/5 photographs and background videos"
bash "$root/jobs/fetch_demo_media.sh" "$dir"

step "2/5 demonstration videos"
run "$bin/vjepa-demo" --media "$dir/media" --out "$dir/videos" "${videos[@]}"

step "3/5 packing into clip stores"
for split in train val; do
    run "$bin/vjepa-pack" "$config" --set pack.lists="[\"$dir/videos/$split.csv\"]" --set pack.store="$dir/$split.clips"
done

step "4/5 pretraining on $ranks ranks"
run "$bin/vjepa-pretrain" "$config" --set data.train="[\"$dir/train.clips\"]" --set run.dir="$dir/run" --set run.seed="$seed" \
    --set watch.train="[\"$dir/train.clips\"]" --set watch.validation="[\"$dir/val.clips\"]" "${pretrain[@]}"

step "5/5 probes of the frozen encoders"
run "$bin/vjepa-evaluate" "$config" pretrained="$dir/run" \
    random_published=random:published random_fan_in=random:fan_in --train "$dir/train.clips" --validation "$dir/val.clips" \
    --out "$dir" "${probe[@]}"
"$bin/vjepa-report" "$dir" "$dir/run" "$dir/train.clips" "$dir/val.clips" --out "$dir/report.html" --title "vjepa quickstart"

touch "$dir/done"

step "done"
cat <<TEXT
videos       $dir/videos            (any player opens them; labels in train.csv, val.csv)
clip stores  $dir/train.clips, val.clips
run          $dir/run               (checkpoints, metrics.csv)
results      $dir/results.md, results.csv, results.json, predictions.h5 (vjepa-compare)
report       $dir/report.html       (any browser: the run, the table, the clips)
TEXT
