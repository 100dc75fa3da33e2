# shellcheck shell=bash
# Weak and strong scaling: [options] SITE CONFIG.yaml [options of vjepa-bench step] --out DIR. See jobs/slurm/scale.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job scale "$@"
progress() { echo 0; }
take_out
began
code=0

tensor=$(setting vjepa-pretrain parallel tensor)
counts=()
for ((n = tensor; n < ranks; n *= 2)); do counts+=("$n"); done
counts+=("$ranks")
# Measure all studies one after the other, then all again, so that a long disturbance does not fall on one study alone.
for ((pass = 1; pass <= ${VJEPA_SCALE_PASSES:-2}; pass++)); do
    for n in "${counts[@]}"; do
        for study in weak strong; do
            if [ "$study" = weak ]; then clips=$((n / tensor)); else clips=$((ranks / tensor)); fi
            file=$out/$study.$n.$pass.json
            if [ "$study" = strong ] && ((n == ranks)); then # the same measurement as weak scaling on all ranks
                cp "$out/weak.$n.$pass.json" "$file.new"
            else
                say "$study scaling, $n of $ranks ranks, pass $pass"
                (launch "$n" vjepa-bench step --json --set train.microbatch=1 --set train.batch=$clips "${arguments[@]}") >"$file.new"
            fi
            mv "$file.new" "$file"
        done
    done
done
run_program 1 vjepa-scale points "$out"/weak.*.json "$out"/strong.*.json --out "$out"
cat "$out/scaling.csv"
end_once "$out/scaling.csv"
