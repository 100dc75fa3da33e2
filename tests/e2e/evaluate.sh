#!/usr/bin/env bash
# Checks a campaign from clips: probes have the same weights on any number of ranks, beside any other probes, with any batch, and
# after a kill. Checks a sweep, probes that are kept and measured again, and that what does not fit is refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 60
make_store val.clips 24 1000
encoders=(fan_in=random:fan_in:3 published=random:published)

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips --validation val.clips \
        --out "$scratch/$out" --set checkpoint.every=1 --set probe.epochs=3 "$@"
}

evaluate 1 one --keep-probes --set probe.as_published=true >one.log
grep -q '^| motion | average | 50 %' one.log || fail "no table: $(cat one.log)"
[[ -e one/complete && $(wc -l <one/heads.csv) == 33 && $(ls one/splits | wc -l) == 8 ]] || fail "not all is there: $(ls one one/splits)"
python "$here/check_differences.py" one || fail "the differences of the encoders are not those of the predictions"
"$bin/vjepa-inspect" --classes 1 one/predictions.h5:published >classes.log || fail "no classes: $(cat classes.log)"
[[ $(grep -c 'classes have clips' classes.log) == 8 && $(wc -l <classes.log) == 40 ]] || fail "classes: $(cat classes.log)"
grep -q '^| motion | average | 50 % | fan_in | [0-9.]* | [0-9.]* |$' one/results.md || fail "nothing is counted as published: $(cat one/results.md)"
/usr/bin/python3 - <<'PYTHON' || fail "what is counted as published"
import csv
for r in csv.DictReader(open('one/results.csv')): # 64 places for 24 samples: 16 count three times, 8 twice
    right = float(r['top1_mean_percent']) * 24 / 100
    least, most = (2 * right + max(0, right - 8)) / 0.64, (2 * right + min(right, 16)) / 0.64
    assert least - 0.01 <= float(r['top1_as_published_percent']) <= most + 0.01, r
PYTHON
evaluate 3 three --set evaluate.batch=5 --set probe.as_published=true >/dev/null
same_heads one three
cmp -s one/heads.csv three/heads.csv && cmp -s one/results.json three/results.json || fail "3 ranks make another table"
evaluate 2 one >again.log
grep -q 'one is complete' again.log || fail "a complete evaluation was done again: $(cat again.log)"

# It is killed twice, when a checkpoint gets its name, and then continued on another number of ranks.
for ranks in 2 1; do
    rm -f killed/evaluation-before.h5
    killed_at "rename /evaluation.h5 2" evaluate "$ranks" killed --set evaluate.batch=2
    [[ -e killed/evaluation-before.h5 && ! -e killed/complete ]] || fail "the evaluation was not killed in the middle"
done
cp -r killed damaged
touch killed/{results.csv,heads.csv,predictions.h5}.0123abcd.part # as a job leaves that is killed at its end
evaluate 4 killed --set probe.as_published=true >killed.log
grep -q 'going on from' killed.log || fail "it began anew: $(cat killed.log)"
same_heads one killed
cmp -s one/results.json killed/results.json || fail "a killed evaluation has another table"
! compgen -G 'killed/*.part' >/dev/null || fail "what killed jobs left stays: $(ls killed)"
[ ! -e killed/evaluation-before.h5 ] || fail "a complete evaluation keeps the checkpoint before the last one"

# It is stopped by a file, with the exit code for that. Then a version with more settings continues it: their defaults have the
# effect of the earlier version.
mkdir stopped && touch stopped/stop
refused 75 'by the file stop' evaluate 2 stopped
/usr/bin/python3 - <<'PYTHON'
import h5py, numpy
attributes = h5py.File('stopped/evaluation.h5', 'r+').attrs
text = attributes['evaluation'].decode()
lines = text.split('\n')
kept = [line for line in lines if not line.startswith(('evaluate.average: ', 'probe.start_lr: '))]
assert len(kept) == len(lines) - 2, lines
attributes['evaluation'] = numpy.bytes_('\n'.join(kept))
PYTHON
refused 2 'of another evaluation, without "evaluate.average: logits"' evaluate 1 stopped --set evaluate.average=logits
refused 2 'of another evaluation, without "evaluate.average: logits"' evaluate 2 stopped --set evaluate.average=logits --dry-run
before=$(sha256sum stopped/*.h5)
evaluate 2 stopped --dry-run >dry.log
grep -q 'going on from .*stopped in epoch' dry.log && [ "$before" = "$(sha256sum stopped/*.h5)" ] || fail "a dry run: $(cat dry.log)"
evaluate 1 stopped >stopped.log
grep -q 'going on from' stopped.log || fail "it began anew: $(cat stopped.log)"
same_heads one stopped

# In parts, on different numbers of ranks and one of them stopped, it gives the table of one evaluation; missing parts are named.
for part in 1 2 3; do
    if ((part == 2)); then
        mkdir parts/part_2_of_3 && touch parts/part_2_of_3/stop
        refused 75 'by the file stop' evaluate 2 parts --part 2/3 --keep-probes --set probe.as_published=true
        refused 1 '2 of the 3 parts in .*parts are missing: 2 3' run 1 "$bin/vjepa-evaluate" "$tiny" --merge 3 --out parts
    fi
    evaluate "$((part % 2 + 1))" parts --part $part/3 --keep-probes --set probe.as_published=true >part.log
done
[ ! -e parts/complete ] || fail "three parts are complete before they are merged"
run 1 "$bin/vjepa-evaluate" "$tiny" --merge 3 --out parts >merge.log
for file in results.json results.csv results.md heads.csv differences.csv; do
    cmp -s one/$file parts/$file || fail "$file of three parts: $(diff one/$file parts/$file)"
done
[ "$(ls one/splits one/probes)" = "$(ls parts/splits parts/probes | sed 's/^parts/one/')" ] && [ -e parts/complete ] || fail "parts left: $(ls parts parts/*)"
/usr/bin/python3 - <<'PYTHON' || fail "predictions and attention of three parts"
import h5py
a, b = (h5py.File(f'{folder}/predictions.h5')['heads'] for folder in ('one', 'parts'))
assert set(a) == set(b) and all(a[h][()].tobytes() == b[h][()].tobytes() and a[h].attrs['number'] == b[h].attrs['number'] for h in a)
a, b = (h5py.File(f'{folder}/attention.h5') for folder in ('one', 'parts'))
assert set(a['heads']) <= set(b['heads']) and all(a['heads'][h][()].tobytes() == b['heads'][h][()].tobytes() for h in a['heads'])
assert a['frames'][()].tobytes() == b['frames'][()].tobytes()
PYTHON
evaluate 1 parts --part 17/17 >few.log
grep -q 'part 17 of 17 has none of the 16 rows' few.log && [ -e parts/part_17_of_17/complete ] || fail "more parts than rows: $(cat few.log)"
refused 2 'divides probes to train' run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --validation val.clips --probe one/probes --out x --part 1/2
refused 2 "'a|b' and 'a/b' have the same name in files" run 1 "$bin/vjepa-evaluate" "$tiny" 'a|b=random:fan_in' a/b=random:fan_in --train train.clips \
    --validation val.clips --out x
refused 2 'no encoders are named' run 1 "$bin/vjepa-evaluate" "$tiny" --train train.clips --validation val.clips --out x

# If the newest checkpoint is damaged, the one before it is used and the damaged one is renamed.
head -c 4096 /dev/zero | tr '\0' y | dd of=damaged/evaluation.h5 bs=1 seek=$(($(stat -c %s damaged/evaluation.h5) / 2)) conv=notrunc status=none
evaluate 2 damaged --set probe.as_published=true >damaged.log 2>&1
grep -q 'is damaged and now called damaged/evaluation-damaged.h5' <(sed "s|$scratch/||g" damaged.log) ||
    fail "no word of a damaged checkpoint: $(cat damaged.log)"
cmp -s one/results.json damaged/results.json || fail "after a damaged checkpoint another table"

# Probes have the same bits beside other probes; with another library for products the bits do not depend on batches either.
encoders=(published=random:published)
alone=(--set 'probe.tasks=[motion]' --set 'probe.labels=[50]' --set probe.seeds=1)
evaluate 2 alone "${alone[@]}" --set evaluate.batch=7 >/dev/null
same_heads one alone

# In a sweep the best probe is chosen on held-out samples.
evaluate 2 sweep "${alone[@]}" --set 'evaluate.sweep_lr=[0.0001, 0.01]' --set 'evaluate.sweep_wd=[0.01, 0.1]' --set evaluate.sweep_more=true \
    --set probe.weight_decay=0.003 >sweep.log
[[ $(grep -c ',1$' sweep/heads.csv) == 2 && $(wc -l <sweep/heads.csv) == 11 && $(grep -c 'lr2.wd0,.*,0.002,0.003,' sweep/heads.csv) == 2 ]] ||
    fail "sweep: $(cat sweep/heads.csv)"
grep -q 'in brackets below' sweep.log || fail "no honest number beside the best: $(cat sweep.log)"
refused 2 'evaluate.sweep_more.* adds to the combinations of a sweep' evaluate 1 x --set evaluate.sweep_more=true
refused 2 'it has "evaluate.sweep_lr: \[0.0001, 0.01\]"' evaluate 1 sweep "${alone[@]}" --set probe.weight_decay=0.003

# Kept probes are measured without training.
encoders=(fan_in=random:fan_in:3 published=random:published)
run 2 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --validation val.clips --probe one/probes --out measured >/dev/null
cmp -s <(cut -d, -f1,12-14 one/heads.csv | sort) <(cut -d, -f1,12-14 measured/heads.csv | sort) ||
    fail "kept probes give other numbers: $(cat measured/heads.csv)"
"$bin/vjepa-inspect" one/probes/motion.attentive.50.published.7.h5 >inspect.log
encoders=(published=random:published:9)
refused 2 'was trained on features of encoder' run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --validation val.clips \
    --probe one/probes/motion.attentive.50.published.7.h5 --out other
refused 2 "no label 'taste'" evaluate 1 x --set 'probe.tasks=[taste]'
refused 2 'is not NAME=CHECKPOINT' run 1 "$bin/vjepa-evaluate" "$tiny" random:fan_in --train train.clips --validation val.clips --out x
refused 2 'train.clips is a clip store' run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips \
    --validation val.clips --out train.clips
refused 1 'none.csv' evaluate 1 x --dry-run --set probe.paper=none.csv
mkdir run && touch run/metrics.csv
refused 2 'run is of a pretraining' run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips --validation val.clips
refused 2 'set parallel.tensor=1' evaluate 2 x --set parallel.tensor=2
evaluate 2 x --dry-run >dry.log 2>&1
grep -Eq 'in products alone, to train takes about [0-9.]+ (us|ms|s|minutes|hours|days), to measure about [0-9.]+ ' dry.log && grep -q 'MiB' dry.log || fail "no plan: $(cat dry.log)"
grep -q 'are training clips' dry.log && fail "clips on both sides: $(cat dry.log)"
run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips,val.clips --validation val.clips --out x --dry-run >dry.log 2>&1
grep -q '24 of the 24 validation clips of val.clips are training clips of train.clips,val.clips too' dry.log || fail "clips on both sides: $(cat dry.log)"
run 1 "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train val.clips --validation val.clips --out x --dry-run >dry.log 2>&1
grep -q 'are training clips' dry.log || fail "the same clips on both sides: $(cat dry.log)"
if grep -q 'was not checked' dry.log; then fail "numbers of one store mean the same: $(cat dry.log)"; fi
[ ! -e x ] || fail "a dry run left files"
finish
