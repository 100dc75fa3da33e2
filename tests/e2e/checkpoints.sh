#!/usr/bin/env bash
# Checks that a run with checkpoints in the background ends in the same bits, killed or not, that it survives a full disk, which
# checkpoints are kept, and exported encoders.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
clean_up() {
    for disk in disk room; do ! mountpoint -q "$scratch/$disk" || umount "$scratch/$disk"; done
}
make_store train.clips 40
same() { # DIR WHAT
    "$bin/vjepa-inspect" --compare "whole/step_00000024.h5" "$1/step_00000024.h5" >compare.log || fail "$2: $(tail -n 3 compare.log)"
}
steps() { # DIR
    (cd "$1" && echo step_*.h5)
}

pretrain 2 whole >/dev/null
pretrain 2 background --set checkpoint.async=true --set checkpoint.every=1 --set parallel.zero=1 --set checkpoint.keep_every=7 \
    >background.log
pretrain 2 zero --set parallel.zero=1 >/dev/null
"$bin/vjepa-inspect" --compare zero/step_00000024.h5 background/step_00000024.h5 >compare.log || fail "background: $(cat compare.log)"
[ "$(steps background)" = "step_00000007.h5 step_00000014.h5 step_00000021.h5 step_00000022.h5 step_00000023.h5 step_00000024.h5" ] ||
    fail "kept: $(steps background)"
[ "$(grep -c '^checkpoint of step .* written' background.log)" -eq 24 ] || fail "not all were written: $(cat background.log)"
"$bin/vjepa-inspect" --verify background/step_*.h5 | grep -vq ' 0 damaged' && fail "a checkpoint of the background is damaged"

# The unfinished file of a killed writer takes the space of the next checkpoint, so it is removed first.
touch background/step_00000099.h5.12345678.part
pretrain 2 background --set checkpoint.every=1 --set checkpoint.keep_every=7 >/dev/null || fail "a complete run cannot be started again"
! compgen -G 'background/*.part' >/dev/null || fail "a .part is left: $(ls background)"

# The run is killed while checkpoints are written in the background of every step.
killed=$scratch/killed
pretrain_killed 2 "$killed" --set checkpoint.async=true --set checkpoint.every=1
touch "$killed/latest.12345678.part" "$killed/metrics.csv.12345678.part"
pretrain 2 "$killed" --set checkpoint.async=true >resumed.log
grep -q "resuming from $killed/step_" resumed.log || fail "the killed run did not resume: $(cat resumed.log)"
same "$killed" "killed in the background"
! compgen -G "$killed/*.part" >/dev/null || fail "a .part is left: $(ls "$killed")"

# A disk is full for a while.
# Of a folder that is removed while the run writes to it no checkpoint is said to be there.
pretrain 1 removed --set train.epochs=40 >removed.log 2>&1 &
job=$!
until [ -e removed/step_00000005.h5 ] || ! kill -0 $job 2>/dev/null; do sleep 0.1; done
until rm -r removed 2>/dev/null; do sleep 0.1; done
wait $job && fail "a run without a folder is complete: $(tail -n 3 removed.log)"
grep -Eq 'could not be written; .*removed/step_[0-9]+.h5, the one before it, is not there either' removed.log || fail "removed: $(tail -n 5 removed.log)"

bytes=$(stat -c %s whole/step_00000024.h5)
mkdir disk
if mount -t tmpfs -o size=$((bytes * 7 / 2)) tmpfs disk 2>/dev/null; then
    for async in false true; do
        code=0
        head -c $((bytes * 2)) /dev/zero >disk/filler
        pretrain 2 disk/run --set checkpoint.async=$async --set checkpoint.keep=1 >full.log 2>&1 || code=$?
        [ "$code" -eq 1 ] || fail "a run whose last checkpoint failed ended with $code: $(tail -n 5 full.log)"
        [ ! -e disk/run/complete ] || fail "a run whose last checkpoint failed says that it is complete"
        [ "$(steps disk/run)" = step_00000005.h5 ] || fail "full disk, async $async: kept $(steps disk/run)"
        "$bin/vjepa-inspect" --verify disk/run/step_00000005.h5 >/dev/null || fail "the checkpoint before is damaged"
        grep -Eq 'rank 0 of 2 .*step_00000010.h5.*needs [0-9.]+ MiB, [0-9.]+ MiB are free: No space left' full.log ||
            fail "no word on space: $(cat full.log)"
        grep -q 'ERROR: the checkpoint of step 10 was not written.*step_00000005.h5 stands' full.log || fail "no ERROR line: $(cat full.log)"
        grep -q 'the last checkpoint, of step 24, could not be written' full.log || fail "no last word: $(tail -n 3 full.log)"
        awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "failed_checkpoints") at = i } END { exit !(NR == 25 && $at == 3) }' \
            disk/run/metrics.csv || fail "metrics of a full disk: $(tail -n 1 disk/run/metrics.csv)"
        rm disk/filler
        pretrain 2 disk/run --set checkpoint.async=$async --set checkpoint.keep=1 >/dev/null || fail "no end after space was made"
        same disk/run "after a full disk"
        rm -r disk/run
    done

    # While the run goes on the disk gets free space; before, it has not even room for a row of metrics.
    mkdir room
    mount -t tmpfs -o size=$((bytes * 7 / 2)) tmpfs room
    mkdir room/run
    head -c $((bytes * 4)) /dev/zero >room/filler 2>/dev/null || true # until it is full
    truncate -s -65536 room/filler                                    # for config.yaml and empty metrics
    (
        for _ in $(seq 3000); do
            grep -q 'ERROR: the checkpoint of step 1 ' room.log 2>/dev/null && break
            sleep 0.01
        done
        rm -f room/filler
    ) &
    pretrain 2 room/run --set checkpoint.async=true --set checkpoint.every=1 --set checkpoint.keep=1 --set train.backend=strict \
        >room.log 2>&1 || fail "the run did not go on when there was room again: $(tail -n 3 room.log)"
    wait
    [ -e room/run/complete ] || fail "no completion marker when there was room again"
    "$bin/vjepa-inspect" --compare whole/step_00000024.h5 room/run/step_00000024.h5 >compare.log || fail "room: $(tail -n 3 compare.log)"
    [ "$(wc -l <room/run/metrics.csv)" -eq 25 ] && [ "$(wc -l <room/run/metrics.jsonl)" -eq 24 ] || fail "rows of metrics are missing"
    umount room
else
    echo "skipped: the full disk needs the right to mount a tmpfs"
fi

# Exported encoders.
inspect=$bin/vjepa-inspect
"$inspect" --export fp32.h5 whole >/dev/null || fail "--export fails"
"$inspect" --export bf16.h5 --dtype bf16 whole/step_00000024.h5 >said.log || fail "--export --dtype bf16 fails"
grep -q 'bf16.h5: the encoder of whole/step_00000024.h5 in bf16' said.log || fail "--export says: $(cat said.log)"
"$inspect" bf16.h5 >said.log
grep -q '^ *model/target/norm.weight .*bf16' said.log || fail "printed: $(cat said.log)"
grep -q '^  origin .*whole/step_00000024.h5 of 20' said.log || fail "an exported file does not say where it is from: $(cat said.log)"
"$inspect" --verify fp32.h5 bf16.h5 >/dev/null || fail "exported files do not verify"
! "$inspect" --export fp32.h5 whole 2>/dev/null || fail "--export replaced a file"
! "$inspect" --export new.h5 --dtype fp16 whole 2>/dev/null || fail "--dtype fp16 was accepted"
for encoder in whole/step_00000024.h5 fp32.h5 bf16.h5; do
    run 1 "$bin/vjepa-embed" "$tiny" --encoder $encoder --store train.clips --out "features-$(basename $encoder)" >/dev/null ||
        fail "vjepa-embed does not read $encoder"
done
python=/usr/bin/python3
if "$python" -c 'import h5py' 2>/dev/null; then
    "$python" - <<'PYTHON' || fail "h5py reads something else"
import h5py, numpy
whole, fp32, bf16 = (h5py.File(name) for name in ('whole/step_00000024.h5', 'fp32.h5', 'bf16.h5'))
names = []
whole['model/target'].visititems(lambda name, t: names.append('model/target/' + name) if isinstance(t, h5py.Dataset) else None)
assert len(names) > 20 and sorted(fp32['model']) == ['target'] and 'optimizer' not in fp32
for name in names:
    want = whole[name][...]
    assert want.dtype == numpy.float32 and (fp32[name][...] == want).all(), name
    bits = want.view(numpy.uint32).astype(numpy.uint64)
    rounded = ((bits + 0x7fff + (bits >> 16 & 1)) >> 16 << 16).astype(numpy.uint32).view(numpy.float32)
    got = bf16[name][...]
    assert bf16[name].id.get_type().get_size() == 2 and (got.astype(numpy.float32) == rounded).all(), name
assert bf16['state'].attrs['step'] == 24 and bf16.attrs['complete'] == 1 and 'whole/step' in str(bf16.attrs['origin'])
a, b, c = (h5py.File(f'features-{name}')['features'][...] for name in ('step_00000024.h5', 'fp32.h5', 'bf16.h5'))
assert (a == b).all() and not (a == c).all() and abs(a - c).max() < 0.1 * abs(a).max()
PYTHON
else
    echo "skipped: h5py is missing for $python"
fi
finish
