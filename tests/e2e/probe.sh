#!/usr/bin/env bash
# Checks the way from clips to the table, features of a trained encoder and of random ones and probes on them: the number of ranks
# changes nothing, and wrong input is refused with the reason.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 60
make_store val.clips 24 1000
run 2 "$bin/vjepa-pretrain" "$tiny" >/dev/null

embed() { # RANKS OUT STORE ENCODER [OPTION...]
    local ranks=$1 out=$2 store=$3 encoder=$4
    shift 4
    run "$ranks" "$bin/vjepa-embed" "$tiny" --encoder "$encoder" --store "$store" --out "$out" "$@"
}


checkpoint=run/step_00000024.h5
for set in train val; do
    embed 1 pretrained_$set.h5 $set.clips run/ >embed.log # a run's folder is its newest checkpoint
    grep -q 'effective rank' embed.log || fail "no effective rank: $(cat embed.log)"
    grep -q "encoder run: its newest checkpoint is $checkpoint\$" embed.log || fail "which checkpoint? $(cat embed.log)"
    embed 2 published_$set.h5 $set.clips random:published >/dev/null
    embed 2 fan_in_$set.h5 $set.clips random:fan_in:3 >/dev/null
done
encoders=("pretrained=pretrained_train.h5,pretrained_val.h5" "random_published=published_train.h5,published_val.h5"
    "random_fan_in=fan_in_train.h5,fan_in_val.h5")
for ranks in 1 2 3; do
    run "$ranks" "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out "r$ranks" >"r$ranks.log"
    for file in results.json results.csv results.md; do
        cmp -s "r1/$file" "r$ranks/$file" || fail "$file of $ranks ranks differs"
    done
done
grep -q '^| motion | average | 50 %' r1.log || fail "no table: $(cat r1.log)"
[[ $(grep -c '"top1_mean"' r1/results.json) == 24 ]] || fail "results.json has not 2 tasks x 2 poolings x 2 shares x 3 encoders"
[[ $(wc -l <r1/results.csv) == 25 ]] || fail "results.csv has not 24 rows"

# The predictions for each clip are the same too, and two encoders are compared by them, without MPI.
LD_PRELOAD=$tools/libno_mpi_shim.so "$bin/vjepa-compare" r1/predictions.h5:pretrained r3/predictions.h5:pretrained >same.log
[[ $(grep -c 'no difference.$' same.log) == 16 ]] || fail "predictions of 3 ranks differ: $(cat same.log)"
"$bin/vjepa-compare" r1/predictions.h5:pretrained r1/predictions.h5:random_fan_in --json --resamples 100 >compared.json
/usr/bin/python3 - <<'PYTHON' || fail "predictions and table do not agree"
import csv, h5py, json
rows = {(r['task'], r['pooling'], r['labels_percent'], r['encoder']): r for r in csv.DictReader(open('r1/results.csv'))}
heads = h5py.File('r1/predictions.h5')['heads']
assert len(heads) == 48, len(heads)
for (task, pooling, labels, encoder), row in rows.items():
    tables = [h[:] for h in heads.values() if (h.attrs['task'].decode(), h.attrs['kind'].decode(), h.attrs['encoder'].decode()) == (task, pooling, encoder)
              and h.attrs['labels'] == float(labels)]
    assert len(tables) == 2
    for name, best in (('top1_mean_percent', 1), ('top5_mean_percent', 5)):
        assert abs(sum(100 * (t['rank'] < best).mean() for t in tables) / 2 - float(row[name])) < 1e-3
    assert all(((t['class'][:, 0] == t['label']) == (t['rank'] == 0)).all() for t in tables)
compared = json.load(open('compared.json'))
assert len(compared['comparisons']) == 16 and len(compared['groups']) == 8
for group in compared['groups']:
    a, b = (float(rows[group['task'], group['kind'], '%g' % group['labels'], e]['top1_mean_percent']) for e in ('pretrained', 'random_fan_in'))
    assert abs(a - b - group['difference_mean']) < 2e-3
PYTHON
refused 2 'several encoders (pretrained, random_published, random_fan_in)' "$bin/vjepa-compare" r1/predictions.h5 r1/predictions.h5:pretrained
"$bin/vjepa-compare" r1:pretrained r3/:pretrained >folders.log || fail "folders stand for predictions: $(cat folders.log)"
[[ $(grep -c 'no difference.$' folders.log) == 16 ]] || fail "folders stand for predictions: $(cat folders.log)"
refused 2 "no head and no encoder 'x'" "$bin/vjepa-compare" r1/predictions.h5:x r1/predictions.h5:pretrained
refused 1 'vjepa-features' "$bin/vjepa-compare" pretrained_val.h5 r1/predictions.h5:pretrained

# The splits of a campaign, given to another one, give the same table; splits of another store or task are refused.
run 2 "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out split --set probe.split_files=r1/splits >/dev/null
cmp -s <(cut -d, -f1-21 r1/results.csv) <(cut -d, -f1-21 split/results.csv) || fail "split files make another table"
# Of published numbers, as a spreadsheet writes them, those with the same views are used and the others are named.
printf '\xef\xbb\xbf"table",row,column,value,model,views\r\n6,pretrained,motion,82.0,ViT-T,16x8x3\r\n' >paper.csv
printf '8,pretrained,motion,83.0,ViT-T,4x1x1\r\n7,pretrained,motion 50%%,70,x,16x2x3\r\n' >>paper.csv
run 1 "$bin/vjepa-probe" "$tiny" "${encoders[0]}" --out uniform --set probe.split=uniform --set probe.seeds=1 \
    --set probe.paper=paper.csv >uniform.log
grep -q '^| motion | attentive | 50 % | pretrained | table 7, pretrained, x | 70 | ' uniform/results.md || fail "paper: $(cat uniform/results.md)"
[[ $(grep -c 'table [78]' uniform/results.csv) == 2 ]] || fail "paper: $(cat uniform/results.csv)"
grep -q 'motion of pretrained: published with 16x2x3 views (table 7, pretrained, x), measured here with 4x1x1' uniform/results.md &&
    ! grep -q 16x8x3 uniform/results.md && grep -q 'Views: 4x1x1 (frames x clips x crops). Precision: fp32' uniform/results.md ||
    fail "views: $(cat uniform/results.md)"
refused 2 "'a/b' and 'a|b' have the same name in files" "$bin/vjepa-probe" "$tiny" "a/b=${encoders[0]#*=}" "a|b=${encoders[0]#*=}" --out x --dry-run
refused 1 'none.csv' "$bin/vjepa-probe" "$tiny" "${encoders[0]}" --out x --dry-run --set probe.paper=none.csv
grep -q 'Labels drawn by: uniform' uniform.log || fail "uniform: $(cat uniform.log)"
[[ $(grep -vc '#' uniform/splits/motion_uniform_50_7.split) == 30 ]] || fail "half of 60 clips: $(cat uniform/splits/motion_uniform_50_7.split)"
cp -r r1/splits bad && sed -i '2s/.*/-1/' bad/motion_class_50_8.split
refused 1 'motion_class_50_8.split, line 2: sample -1 is not in' "$bin/vjepa-probe" "$tiny" "${encoders[0]}" --out x --set probe.split_files=bad

# Divided over jobs with any ranks the table has the same digits. Parts that are missing, of another campaign or damaged are named.
for part in 1 2 3; do run "$((part % 2 + 1))" "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out parts --part $part/3 >part.log; done
grep -q 'part 3 of 3 trains [0-9]* of them' part.log || fail "a part does not say what it trains: $(cat part.log)"
run 2 "$bin/vjepa-probe" "$tiny" --out parts --merge 3 >merge.log
for file in results.json results.csv results.md; do cmp -s "r1/$file" "parts/$file" || fail "$file of 3 parts differs"; done
cmp -s <(grep '^|' r1.log) <(grep '^|' merge.log) || fail "merged: $(cat merge.log)"
"$bin/vjepa-compare" r1/predictions.h5:random_fan_in parts/predictions.h5:random_fan_in >same.log
[[ $(grep -c 'no difference.$' same.log) == 16 ]] || fail "predictions of 3 parts differ: $(cat same.log)"
"$bin/vjepa-inspect" parts/predictions.h5 >inspect.log
[[ $(grep -c ' 24 clips (0 failed), top-1 ' inspect.log) == 48 ]] || fail "inspect: $(cat inspect.log)"
"$bin/vjepa-inspect" --verify parts/predictions.h5 | grep -q '48 blocks, 0 damaged' || fail "verify"
rm -r parts/results.*
run 1 "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out few --part 40/40 >/dev/null
grep -q '"rows": \[\]' few/part_40_of_40.json || fail "more parts than rows: $(cat few/*)"
refused 1 '39 of the 40 parts in few are missing: 1 2 3' "$bin/vjepa-probe" "$tiny" --out few --merge 40
mv parts/part_2_of_3.json kept.json
refused 1 '1 of the 3 parts in parts are missing: 2;' "$bin/vjepa-probe" "$tiny" --out parts --merge 3
run 1 "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out parts --part 2/3 --set probe.epochs=1 >/dev/null
refused 1 'part_2_of_3.json: its settings, .* which have "probe.epochs: 5", and it "probe.epochs: 1"' "$bin/vjepa-probe" "$tiny" --out parts --merge 3
sed 's/"part": 2/"part": 3/' kept.json >parts/part_2_of_3.json
refused 1 'part_2_of_3.json: it is no part' "$bin/vjepa-probe" "$tiny" --out parts --merge 3
head -c 2000 kept.json >parts/part_2_of_3.json
refused 1 'part_2_of_3.json: line ' "$bin/vjepa-probe" "$tiny" --out parts --merge 3
[ ! -e parts/results.csv ] || fail "a table was made of wrong parts"
for wrong in 0/3 4/3 2 2/3x; do refused 2 'takes K/N' "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out parts --part $wrong; done
refused 2 'no features are named' "$bin/vjepa-probe" "$tiny" --out parts --part 1/3
refused 2 'expected a whole number from 1' "$bin/vjepa-probe" "$tiny" --out parts --merge all

# Features do not depend on the number of ranks. embed.limit draws clips, and --pool keeps only the mean token.
embed 3 again.h5 val.clips $checkpoint >/dev/null
run 1 "$bin/vjepa-probe" "$tiny" pretrained=pretrained_train.h5,again.h5 --out again >/dev/null
numbers_of() { sed -n '/"pretrained"/,/"class_count"/p' "$1/results.json" | grep -E 'top|mean_class'; }
cmp -s <(numbers_of again) <(numbers_of r1) || fail "3 ranks embed other features"
embed 2 few.h5 train.clips random:fan_in --pool average --set embed.limit=20 --set embed.dtype=f16 >few.log
grep -q '20 clips' few.log || fail "embed.limit: $(cat few.log)"

refused 2 'random:published' "$bin/vjepa-embed" "$tiny" --encoder random:other --store val.clips --out x.h5
refused 2 'no clips are named' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --out x.h5
refused 1 'missing.clips' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store missing.clips --out x.h5
refused 1 'missing.h5' "$bin/vjepa-embed" "$tiny" --encoder missing.h5 --store val.clips --out x.h5
refused 1 'the features of clip [0-9]* are not finite' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store val.clips \
    --out x.h5 --set 'data.std=[1e-40, 1e-40, 1e-40]'
refused 2 'name of the encoder is empty' "$bin/vjepa-embed" "$tiny" --encoder '' --store val.clips --out x.h5
refused 2 "'val.clips,,' is no list" "$bin/vjepa-embed" "$tiny" --encoder run --store val.clips,, --out x.h5
refused 2 'val.clips is a folder without a checkpoint' run 2 "$bin/vjepa-embed" "$tiny" --encoder val.clips --store val.clips --out x.h5
refused 2 'data.frames' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store val.clips --out x.h5 --set data.frames=8
[[ ! -e x.h5 ]] || fail "a refused embedding left a file"
refused 2 'NAME=TRAIN' "$bin/vjepa-probe" "$tiny" pretrained_train.h5 --out x
refused 1 'missing.h5' "$bin/vjepa-probe" "$tiny" a=pretrained_train.h5,missing.h5 --out x
refused 2 "has no label 'taste' .*; it has: colour, motion" "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out x --set 'probe.tasks=[taste]'
refused 2 'needs all tokens' "$bin/vjepa-probe" "$tiny" a=few.h5,few.h5 --out x
# Features that do not belong together, and existing outputs, are refused.
embed 1 early_val.h5 val.clips run/step_00000020.h5 >/dev/null
refused 2 'different encoders: .*step_00000024.* and .*step_00000020' \
    "$bin/vjepa-probe" "$tiny" a=pretrained_train.h5,early_val.h5 --out x --dry-run
embed 1 crop_val.h5 val.clips $checkpoint --set 'data.mean=[0.5, 0.5, 0.5]' >/dev/null
refused 2 'prepared otherwise' "$bin/vjepa-probe" "$tiny" a=pretrained_train.h5,crop_val.h5 --out x --dry-run
cp "$checkpoint" kept.h5
refused 2 'not replaced by features' "$bin/vjepa-embed" "$tiny" --encoder kept.h5 --store val.clips --out kept.h5
cmp -s "$checkpoint" kept.h5 || fail "features took the place of a checkpoint"
cp pretrained_val.h5 kept.h5
refused 2 'another encoder' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store val.clips --out kept.h5
refused 2 'another clip store' "$bin/vjepa-embed" "$tiny" --encoder $checkpoint --store train.clips --out kept.h5
cmp -s pretrained_val.h5 kept.h5 || fail "features took the place of others"
refused 2 'is not a folder' "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out kept.h5 --dry-run
mkdir notes && echo mine >notes/results.md
refused 2 'results.md was not written by' "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out notes --dry-run
mkdir -p folder/results.csv
refused 2 'folder/results.csv: this is a folder' "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out folder --dry-run
mkdir mine && echo mine >mine/predictions.h5
refused 2 'predictions.h5 is no file of predictions' "$bin/vjepa-probe" "$tiny" "${encoders[@]}" --out mine --dry-run
run 1 "$bin/vjepa-probe" "$tiny" a=pretrained_train.h5,pretrained_train.h5 --out twice --set probe.seeds=1 >twice.log 2>&1
grep -q '60 of the 60 validation clips .* are training clips' twice/results.md || fail "clips on both sides: $(cat twice/results.md)"
# Paths need not be UTF-8, also where a note of the table names them; names of encoders are.
odd=$(printf 'caf\xe9')
mkdir "$odd" && cp pretrained_train.h5 "$odd/t.h5"
run 1 "$bin/vjepa-probe" "$tiny" a="$odd/t.h5,$odd/t.h5" --out odd --set probe.seeds=1 --set probe.epochs=1 >odd.log 2>&1 ||
    fail "a path that is not UTF-8: $(cat odd.log)"
grep -q 'caf.*/t.h5 are training clips' odd/results.json || fail "a path that is not UTF-8: $(cat odd/results.json)"
refused 2 'the name of an encoder is text in UTF-8' "$bin/vjepa-probe" "$tiny" "$odd=pretrained_train.h5,pretrained_val.h5" --out x
head -c 20000 pretrained_val.h5 >cut.h5
refused 1 'cut.h5' "$bin/vjepa-probe" "$tiny" a=pretrained_train.h5,cut.h5 --out x
finish
