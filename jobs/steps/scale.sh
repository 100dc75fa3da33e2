# shellcheck shell=bash
# Weak scaling: [options] SITE CONFIG.yaml [options of vjepa-bench step] --out DIR. See jobs/slurm/scale.sh.
# shellcheck source=jobs/steps/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
begin_job scale "$@"
progress() { echo 0; }
take_out
began
code=0

counts=()
for ((n = 1; n < ranks; n *= 2)); do counts+=("$n"); done
counts+=("$ranks")
number() { sed -n "/^ \"$2\"/,/}/s/.*\"$3\": \([0-9.e+-]*\).*/\1/p" "$1" | head -n 1; } # FILE OBJECT KEY
echo 'ranks,step_s_median,step_s_min,step_s_max,clips_per_s,efficiency' >"$out/scaling.csv.new"
for n in "${counts[@]}"; do
    file=$out/ranks_$n.json
    say "$n of $ranks ranks"
    (launch "$n" vjepa-bench step --json "${arguments[@]}") >"$file.new"
    mv "$file.new" "$file"
    [ "$n" != 1 ] || one=$(number "$file" step_s median)
    awk -v n="$n" -v one="$one" -v t="$(number "$file" step_s median)" -v min="$(number "$file" step_s min)" \
        -v max="$(number "$file" step_s max)" -v clips="$(sed -n 's/^ "clips": \([0-9]*\),/\1/p' "$file")" \
        'BEGIN { printf "%d,%.6g,%.6g,%.6g,%.6g,%.3f\n", n, t, min, max, clips / t, one / t }' >>"$out/scaling.csv.new"
done
mv "$out/scaling.csv.new" "$out/scaling.csv"
cat "$out/scaling.csv"
end_once "$out/scaling.csv"
