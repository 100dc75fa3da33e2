#!/usr/bin/env bash
# walkthrough.sh [--build]
# Runs the commands of docs/cluster.md, one block after the other in one shell, on a cluster of four virtual nodes with an installation
# and without the source. With --build it begins with git clone; otherwise the programs of this build are installed. Then checks what
# the page promises: the table, made from parts by three tasks, has the digits of one vjepa-probe, and the jobs of an installation write
# nothing into it.
# shellcheck source=tests/slurm/cluster.sh
. "$(dirname "$0")/cluster.sh"
unset VJEPA_BIN
export HOME="$scratch/my home"
mkdir -p "$HOME"
if [ "${1:-}" = --build ]; then
    [ -n "${VJEPA_FROM_CLONE:-}" ] || skip "with VJEPA_FROM_CLONE=1: it builds all, some five minutes"
    git -C "$source_dir" rev-parse HEAD >/dev/null 2>&1 || skip "the source is no git repository that can be cloned"
    git config --global url."file://$source_dir".insteadOf https://example.org/vjepa.git
    git config --global --add safe.directory '*'
    module() { echo "module $*" >>"$scratch/modules.log"; } # this machine has none; what they would bring is there
    sed -n '/^```sh-build$/,/^```$/{/^```/!p}' "$source_dir/docs/cluster.md" >build.sh
    # shellcheck disable=SC1091
    . ./build.sh >build.log 2>&1 || fail "the page's build: $(tail -n 30 "$scratch/build.log")"
    grep -q '^module load ' "$scratch/modules.log" && [ "$PWD" = "$scratch/vjepa" ] || fail "the page builds otherwise: $(cat "$scratch/build.sh")"
    bin=$PWD/build/bin
else
    mkdir vjepa
    cd vjepa
    ln -s "$bin/.." build
fi
start_cluster 4
"$tools/make_videos" videos 24 >/dev/null
awk -F, 'NR == 1 || $2 < 16 { print $1 "," (NR == 1 ? "scene" : $2 % 2) }' videos/list.csv >videos/train.csv
awk -F, 'NR == 1 || $2 >= 16 { print $1 "," (NR == 1 ? "scene" : $2 % 2) }' videos/list.csv >videos/val.csv

sed -n '/^```sh$/,/^```$/{/^```/!p}' "$source_dir/docs/cluster.md" >commands.sh
[ "$(grep -c '^submit\|^    submit' commands.sh)" -eq 6 ] || fail "the page has other commands than this test knows: $(cat commands.sh)"
touch before
timeout 900 bash -eu commands.sh >page.log 2>&1 || fail "the page's commands: $(tail -n 30 page.log; tail -n 30 campaign/*/jobs/*.log campaign/*.jobs/*.log)"
cd campaign
grep -q '^| scene | average | 100 % ' ../page.log || fail "no table: $(cat ../page.log)"
grep -q '^run: complete, 40 steps' ../page.log || fail "the pretraining is not complete: $(cat ../page.log)"
grep -q '^results: complete' ../page.log || fail "the probes are not complete: $(cat ../page.log)"
[ "$(find results -name 'part_*_of_3.json' | wc -l)" -eq 3 ] || fail "not three parts: $(ls results)"
run 2 "$bin/vjepa-probe" my.yaml pretrained=pretrained-train.h5,pretrained-val.h5 random=random-train.h5,random-val.h5 --out one >one.log
for file in results.md results.csv results.json; do cmp -s one/$file results/$file || fail "$file: $(diff one/$file results/$file)"; done
[ -z "$(find "$HOME/software" -newer run/complete)" ] || fail "jobs wrote into the installation: $(find "$HOME/software" -newer run/complete)"

# The job that merges names a missing part, and so does status.
rm results/part_2_of_3.json
export PATH="$HOME/software/vjepa/bin:$HOME/software/vjepa/share/vjepa/jobs:$PATH"
sbatch --parsable -W -o merge.log -n 1 "$HOME/software/vjepa/share/vjepa/jobs/slurm/merge.sh" --parts 3 ./site.sh my.yaml --out results >/dev/null 2>&1 &&
    fail "a table was made of two parts"
VJEPA_JOBS="$HOME/software/vjepa/share/vjepa/jobs" sbatch --parsable -W -o merge.log -n 1 "$HOME/software/vjepa/share/vjepa/jobs/slurm/merge.sh" \
    --parts 3 ./site.sh my.yaml --out results >/dev/null 2>&1 && fail "a table was made of two parts"
grep -q '1 of the 3 parts in results are missing: 2' merge.log || fail "a missing part: $(cat merge.log)"
status results >status.log
grep -q '^results: not complete' status.log || fail "status of a table with a missing part: $(cat status.log)"

# The other steps.
submit ./site.sh plan my.yaml --out plan >/dev/null
VJEPA_SCALE_PASSES=1 submit ./site.sh scale my.yaml --repeats 3 --out scaling >/dev/null
timeout 300 status --wait plan scaling >status.log || fail "plan and scaling: $(cat status.log plan/jobs/*.log scaling/jobs/*.log)"
grep -qx 'training' plan/plan.txt || fail "no plan: $(cat plan/plan.txt)"
[ "$(cut -d, -f1,3,4 scaling/scaling.csv | tr '\n' ' ')" = 'ranks,study,source 1,strong,measured 2,strong,measured 1,weak,measured 2,weak,measured ' ] ||
    fail "scaling: $(cat scaling/scaling.csv)"
awk -F, 'NR > 1 && !($9 > 0 && $9 <= $10 && $10 <= $11 && $13 > 0 && $14 > 0) { exit 1 }' scaling/scaling.csv || fail "scaling: $(cat scaling/scaling.csv)"
grep -q '^reduce,weak,1,2,[0-9.e-]*,[0-9.e-]*,[0-9.e-]*,[01],n[0-9]$' scaling/phases.csv || fail "phases: $(cat scaling/phases.csv)"
finish
