#!/usr/bin/env bash
# Checks two jobs on one folder, a file system without locks, one that loses writes, and rows of metrics that were lost with a
# node.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40

wait_for() { # FILE PID: until it is there, or the process has ended
    for _ in $(seq 1000); do
        if [ -e "$1" ] || ! kill -0 "$2" 2>/dev/null; then break; fi
        sleep 0.05
    done
    [ -e "$1" ] || fail "$1 never came"
}

# Two jobs on one run folder: the second is refused with the name of the first, which is not disturbed.
pretrain 1 "$scratch/shared" --set checkpoint.every=5 --set train.backend=strict >first.log 2>&1 &
first=$!
wait_for shared/step_00000005.h5 $first
kill -STOP "$(sed -n 's/^pid //p' shared/lease)" # so that it does not end before the second
code=0
pretrain 2 "$scratch/shared" --set optimizer.lr=0.002 >second.log 2>&1 || code=$?
[ $code -eq 1 ] || fail "a second job on a run folder: exit $code: $(cat second.log)"
grep -q "another job is at work in this folder: .*shared/lease is held by process $(sed -n 's/^pid //p' shared/lease) on " second.log ||
    fail "the second job does not name the first: $(cat second.log)"
kill -CONT "$(sed -n 's/^pid //p' shared/lease)"
wait $first || fail "the first job was disturbed: $(cat first.log)"
[ -e shared/complete ] && [ ! -e shared/lease ] || fail "the first job did not end as it should: $(ls shared)"

# After a killed job the next one starts at once, and a job whose lease was taken publishes nothing more.
pretrain_killed 1 "$scratch/killed"
[ -e killed/lease ] || fail "a killed job left no lease"
pretrain 1 "$scratch/killed" >next.log 2>&1 || fail "after a kill: $(cat next.log)"
grep -q 'was left by process .*: taken over' next.log || fail "taking over is not said: $(cat next.log)"
pretrain 1 "$scratch/taken" --set checkpoint.every=5 --set train.backend=strict >taken.log 2>&1 &
first=$!
wait_for taken/step_00000005.h5 $first
sed -i 's/^token .*/token 00000000000000aa/' taken/lease
code=0
wait $first || code=$?
[ $code -eq 1 ] && [ ! -e taken/complete ] || fail "a job whose lease was taken: exit $code: $(cat taken.log)"
grep -q "lease is not this job's any more" taken.log || fail "the lost lease is not said: $(cat taken.log)"

# A lease that cannot be created.
VJ_FAULT="0 open /lease 1 ENOSPC+" \
    refused 1 'full/lease cannot be created, by which a job .*(make room there, or choose another folder): No space left' pretrain 1 full

# Two jobs on one store.
mkdir -p half.clips
cp shared/config.yaml . # any file will do as a list that is never read
printf 'path,label\nconfig.yaml,0\n' >list.csv
sleep 1000 &
other=$!
{
    printf 'host there\npid %d\nstarted %d\nboot %s\n' "$other" "$(awk '{print $22}' "/proc/$other/stat")" "$(cat /proc/sys/kernel/random/boot_id)"
    printf 'namespace %s\njob 4711\nsince 2026-01-01T00:00:00Z\ntoken 00000000000000aa\n' "$(readlink /proc/self/ns/pid)"
} >half.clips/lease
touch half.clips/shard-00000.h5.1234abcd.part
code=0
run 2 "$bin/vjepa-pack" "$tiny" --set pack.lists='[list.csv]' --set pack.store=half.clips >pack.log 2>&1 || code=$?
[ $code -eq 1 ] || fail "a second job on a store: exit $code: $(cat pack.log)"
grep -q 'half.clips/lease is held by process .* batch job 4711' pack.log || fail "the other job is not named: $(cat pack.log)"
[ -e half.clips/shard-00000.h5.1234abcd.part ] || fail "the part of a live job was removed"
kill $other
wait $other 2>/dev/null || true

# A file system without locks, with HDF5's own defaults.
newest=shared/$(cd shared && ls step_*.h5 | tail -n 1)
env -u HDF5_USE_FILE_LOCKING mpirun -n 1 -x LD_PRELOAD="$shim" -x VJ_FAULT="0 lock .h5 1 ENOLCK+" \
    "$bin/vjepa-inspect" "$newest" >locks.log 2>&1 || fail "without locks a checkpoint cannot be read: $(cat locks.log)"
env -u HDF5_USE_FILE_LOCKING mpirun -n 1 -x LD_PRELOAD="$shim" -x VJ_FAULT="0 lock .h5 1 ENOLCK+" \
    "$bin/vjepa-inspect" train.clips >locks.log 2>&1 || fail "without locks a store cannot be read: $(cat locks.log)"

code=0
HDF5_USE_FILE_LOCKING=TRUE mpirun -n 1 -x LD_PRELOAD="$shim" -x VJ_FAULT="0 lock .h5 1 ENOLCK+" \
    "$bin/vjepa-inspect" "$newest" >locks.log 2>&1 || code=$?
[ $code -eq 1 ] && grep -q 'HDF5_USE_FILE_LOCKING' locks.log && ! grep -q 'damaged' locks.log ||
    fail "locks that are asked for and missing: exit $code: $(cat locks.log)"

# If a write is lost, as when two nodes write to one page, the checkpoint is not published.
for async in false true; do
    code=0
    timeout 100 mpirun -n 2 -x LD_PRELOAD="$shim" -x VJ_FAULT="1 write .part 3 lost" "$bin/vjepa-pretrain" "$tiny" \
        --set run.dir="lost-$async" --set checkpoint.every=5 --set checkpoint.async=$async >lost.log 2>&1 || code=$?
    grep -q '^fault: ' lost.log || fail "no write was lost: $(cat lost.log)"
    grep -q 'are not what this rank wrote there' lost.log || fail "a lost write was not noticed: $(cat lost.log)"
    [ ! -e lost-$async/step_00000005.h5 ] || fail "a checkpoint that lost a write was published"
done

# If the disk reports an error while it is waited for, the checkpoint is not published either.
VJ_FAULT="0 wait .part 1 EIO" run 1 "$bin/vjepa-pretrain" "$tiny" --set run.dir=waited --set checkpoint.every=5 \
    --set train.stop_after=6 >waited.log 2>&1 || fail "an error of the disk ends the run: $(cat waited.log)"
grep -q '^fault: ' waited.log && grep -q 'write .*step_00000005.h5.*part to disk: Input/output error' waited.log &&
    grep -q 'the checkpoint of step 5 was not written' waited.log && [ ! -e waited/step_00000005.h5 ] ||
    fail "an error of the disk was not noticed: $(ls waited; cat waited.log)"

# Rows that were lost with a node are reported, and the table is on disk before it gets its name.
grep -v '^3,' shared/metrics.csv >rows && cp rows shared/metrics.csv
pretrain 1 shared --set train.epochs=4 >hole.log 2>&1 || fail "going on without a row: $(cat hole.log)"
grep -q 'metrics.csv lacks the rows of 1 steps .* beginning with step 3' hole.log || fail "a hole in the metrics is not said: $(cat hole.log)"
# An HDF5 with another file layout is refused before the first step, and before the first clip is encoded.
code=0
run 2 -x LD_PRELOAD="$tools/libother_hdf5_shim.so" "$bin/vjepa-pretrain" "$tiny" --set run.dir=other >other.log 2>&1 || code=$?
[ $code -eq 1 ] || fail "another layout of HDF5's: exit $code: $(cat other.log)"
grep -q "HDF5 [0-9.]* puts .* otherwise than 1.10 to 2.0 do" other.log || fail "another layout is not said: $(cat other.log)"
grep -q '^step ' other.log && fail "another layout was found out after the first step: $(cat other.log)"
code=0
run 2 -x LD_PRELOAD="$tools/libother_hdf5_shim.so" "$bin/vjepa-embed" "$tiny" --encoder random:published --store train.clips \
    --out other.h5 >other.log 2>&1 || code=$?
[ $code -eq 1 ] && [ ! -e other.h5 ] || fail "another layout in vjepa-embed: exit $code: $(cat other.log)"
grep -q "HDF5 [0-9.]* puts .* otherwise than 1.10 to 2.0 do" other.log || fail "another layout is not said: $(cat other.log)"
finish
