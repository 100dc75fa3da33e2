#!/usr/bin/env bash
# Checks features that are encoded once and read in every epoch: with as many copies as epochs they give the bits of an online
# campaign, on any number of ranks; after a restart nothing is encoded again; the files are removed at the end; the free space of
# the disk is checked.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 60
make_store val.clips 24 1000
encoders=(fan_in=random:fan_in:3 a/b=random:published)

evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips --validation val.clips \
        --out "$scratch/$out" --set checkpoint.every=1 --set probe.epochs=3 --set probe.seeds=1 "$@"
}
same() { # A B
    /usr/bin/python3 - "$1" "$2" <<'PYTHON' || fail "$2 has other bits than $1"
import sys, h5py
for name in "evaluation.h5", "predictions.h5":
    a, b = (h5py.File(f"{folder}/{name}")["heads"] for folder in sys.argv[1:3])
    if set(a) != set(b) or not len(a) or any(a[head][()].tobytes() != b[head][()].tobytes() for head in a):
        sys.exit(f"{name} differs")
PYTHON
}
files() { find "$1/features" -type f -printf '%f\n' 2>/dev/null | LC_ALL=C sort | tr '\n' ' '; }

# As many copies as epochs.
evaluate 2 online --set evaluate.batch=3 >/dev/null
evaluate 1 kept --set probe.features=stored:9 --keep-features >kept.log
same online kept
[[ $(files kept) == 'a|b-0-0.h5 a|b-1-0.h5 a|b-2-0.h5 fan_in-0-0.h5 fan_in-1-0.h5 fan_in-2-0.h5 ' ]] || fail "files: $(files kept)"
grep -q 'features of 180 samples are stored in 6 files in .*MiB are free' kept.log || fail "no size: $(cat kept.log)"
grep -q '^Features: stored:9. Preset' kept/results.md || fail "the table does not name the mode: $(cat kept/results.md)"
evaluate 3 ranks --set probe.features=stored:9 --set evaluate.batch=7 >ranks.log
same kept ranks
cmp -s kept/results.json ranks/results.json || fail "3 ranks make another table"
[[ ! -e ranks/features && -e ranks/complete ]] || fail "features were left: $(files ranks)"
"$bin/vjepa-inspect" --verify 'kept/features/a|b-2-0.h5' >/dev/null || fail 'features that vjepa-inspect refuses'

# Some files exist from an earlier start, one is unfinished: only the missing ones are made.
mkdir -p half/features
cp kept/features/fan_in-* 'kept/features/a|b-0-0.h5' half/features
echo >'half/features/a|b-1-0.h5.77.part'
evaluate 2 half --set probe.features=stored:9 >half.log
grep -q 'features of 120 samples are stored in 2 files' half.log || fail "not two files: $(cat half.log)"
same kept half
[[ ! -e half/features ]] || fail "left: $(files half)"

# It is stopped while features are stored, continued by a version that has more settings, as in evaluate.sh, and killed while
# probes learn. Nothing is encoded again.
mkdir late && touch late/stop
refused 75 'by the file stop' evaluate 2 late --set probe.features=stored:9
[[ -z $(files late) ]] || fail "a stop left $(files late)"
/usr/bin/python3 - <<'PYTHON'
import h5py, numpy
attributes = h5py.File('late/evaluation.h5', 'r+').attrs
lines = attributes['evaluation'].decode().split('\n')
attributes['evaluation'] = numpy.bytes_('\n'.join(line for line in lines if not line.startswith('evaluate.average: ')))
PYTHON
killed_at "rename /evaluation.h5 2" evaluate 2 late --set probe.features=stored:9 --set evaluate.batch=1
[[ ! -e late/complete && -e late/features ]] || fail "it was not killed in the middle: $(cat killed.log)"
evaluate 1 late --set probe.features=stored:9 >late.log
grep -q 'going on from' late.log && ! grep -q 'are stored in' late.log || fail "encoded again: $(cat late.log)"
same kept late
[[ ! -e late/evaluation-before.h5 ]] || fail "a complete evaluation keeps the checkpoint before the last one"

# If all probes average, only the mean token of each clip is stored, and the bits are the same.
averages=(--set 'probe.pooling=[average]' --set 'probe.tasks=[motion]')
evaluate 2 means --set probe.features=stored:9 "${averages[@]}" --keep-features >means.log
same_heads online means
"$bin/vjepa-inspect" --verify 'means/features/a|b-2-0.h5' >/dev/null && "$bin/vjepa-inspect" 'means/features/a|b-2-0.h5' >inspect.log
grep -q '1 tokens of width 48, f32' inspect.log || fail "more than means are stored: $(cat inspect.log)"

# Fewer copies than epochs, as bf16, which takes half the bytes; the size is the one that was printed.
evaluate 2 two --set probe.features=stored:2 --set embed.dtype=bf16 --keep-features >two.log
grep -q 'tokens of width 48, bf16' <("$bin/vjepa-inspect" two/features/fan_in-1-0.h5) || fail "features are no bf16"
[[ $(files two | wc -w) == 4 ]] || fail "files: $(files two)"
said=$(sed -n 's/.*files in .*features: \([0-9.]*\) MiB.*/\1/p' two.log)
/usr/bin/python3 - "$said" two/features/* <<'PYTHON' || fail "$said MiB said of $(du -b two/features/*)"
import os, sys
made = sum(os.path.getsize(path) for path in sys.argv[2:]) / 2**20
assert float(sys.argv[1]) - 0.05 <= made <= float(sys.argv[1]) + 0.05 + 0.2 * len(sys.argv[2:]), made  # and HDF5's structures
PYTHON

# One centre view: for clips of its size these are the features of vjepa-embed. They are compared by the clip's number, because
# samples have other numbers.
run 1 "$tools/make_store" square.clips 20 4 32 32
run 2 "$bin/vjepa-evaluate" "$tiny" one=random:fan_in:3 --train square.clips --validation val.clips --out centre --keep-features \
    --set probe.features=stored --set evaluate.short_side=32 --set evaluate.limit=12 --set probe.epochs=2 --set probe.labels='[100]' \
    --set probe.tasks='[motion]' >centre.log
run 1 "$bin/vjepa-embed" "$tiny" --encoder random:fan_in:3 --store square.clips --out square.h5 >/dev/null
/usr/bin/python3 - <<'PYTHON' || fail "other features than vjepa-embed's: $(cat centre.log)"
import h5py
ours, embed = h5py.File('centre/features/one-0-0.h5'), h5py.File('square.h5')
row = {clip: i for i, clip in enumerate(embed['clip'][:])}
assert len(ours['clip']) == 12, len(ours['clip'])
for i, clip in enumerate(ours['clip'][:]):
    for name in 'features', 'label', 'clip_xxh3':
        assert ours[name][i].tobytes() == embed[name][row[clip]].tobytes(), (name, clip)
PYTHON

# What does not fit is refused.
mkdir -p other/features && cp kept/features/* other/features
refused 2 'made in another way .*of evaluation' evaluate 1 other --set probe.features=stored:9 --set probe.lr=0.1
grep -q 'or remove the folder, and all features are stored anew' refused.log || fail "nothing says what to do: $(cat refused.log)"
printf x | dd of='other/features/a|b-1-0.h5' bs=1 seek=400000 conv=notrunc status=none
refused 1 'a|b-1-0.h5 is damaged: row' evaluate 2 other --set probe.features=stored:9
refused 2 'it has "probe.features: "stored:9""' evaluate 1 half --set probe.features=stored:8
for features in stored:0 stored:x stored: offline; do
    refused 2 'is none of online, stored and stored:K' evaluate 1 x --set "probe.features=$features"
done
refused 2 'is less than data.crop' evaluate 1 x --set evaluate.short_side=31
evaluate 1 x --set probe.features=stored:2 --dry-run >dry.log
grep -q 'features of 2 copies take' dry.log && [ ! -e x ] || fail "a dry run: $(cat dry.log)"

# If there is no room, nothing is begun.
mkdir small
if mount -t tmpfs -o size=1m tmpfs small 2>/dev/null; then
    clean_up() { umount "$scratch/small"; }
    refused 2 'small/x/features needs 2.1 MiB, .* are free: fewer copies' evaluate 2 small/x --set probe.features=stored:9
    [[ -z $(files small/x) ]] || fail "left: $(files small/x)"
else
    echo "skipped: too little room needs the right to mount a tmpfs"
fi
finish
