#!/usr/bin/env bash
# Checks that long work says how far it is, and how long it takes, also within one microbatch or batch. On a clock that is a second
# later each time it is read (tests/faults/clock.c) a few clips take minutes on any machine. On a usual clock nothing more is said.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 12
make_store val.clips 8 1000
slow=(-x "LD_PRELOAD=$tools/libclock_shim.so")
time='[0-9.]+ (us|ms|s|minutes|hours|days)'
one=(--set run.watchdog_s=0 --set train.batch=2 --set mask.group=2 --set train.stop_after=3)
says() { # LOG PATTERN: a line of the log is that
    grep -Eq "^$2\$" "$1" || fail "$1 has no line '$2': $(cat "$1")"
}

# The first step, in several microbatches, or of one microbatch, on both kinds of memory; after a restart again. Bits are the same.
run 2 "${slow[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=many --set run.watchdog_s=0 --set train.stop_after=2 \
    --set model.depth=4 >many.log 2>&1 ||
    fail "many: $(cat many.log)"
says many.log "initial weights: [0-9]+ % done, about $time left"
says many.log "step 1/2: microbatch 1 of 3, [0-9]+ % of the step done, about $time a step; the 2 steps to go, about $time"
for backend in cpu strict; do
    run 1 "${slow[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=$backend "${one[@]}" --set train.stop_after=2 \
        --set train.backend=$backend >$backend.log 2>&1 || fail "$backend: $(cat $backend.log)"
    says $backend.log "step 1/2: [0-9]+ % of the step done, about $time a step; the 2 steps to go, about $time"
    ! grep -q 'step 2/2: [0-9]* %' $backend.log || fail "the second step says more than its line: $(cat $backend.log)"
done
run 1 "${slow[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=cpu "${one[@]}" >again.log 2>&1 || fail "again: $(cat again.log)"
says again.log "reading cpu/step_00000002.h5: [0-9]+ % done, about $time left"
says again.log "writing cpu/step_00000003.h5: [0-9]+ % done, about $time left"
says again.log "step 3/3: [0-9]+ % of the step done, about $time a step; the 1 steps to go, about $time"
pretrain 1 usual "${one[@]}" >usual.log 2>&1 || fail "usual: $(cat usual.log)"
! grep -q '% of the step done' usual.log || fail "a short run says how far its steps are: $(cat usual.log)"
"$bin/vjepa-inspect" --compare usual/step_00000003.h5 cpu/step_00000003.h5 >compare.log 2>&1 || fail "other bits: $(cat compare.log)"
run 1 "${slow[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=silent "${one[@]}" --set log.print_every=0 >silent.log 2>&1 ||
    fail "silent: $(cat silent.log)"
! grep -q '^step ' silent.log || fail "log.print_every=0 says: $(cat silent.log)"

# The in-run watch.
run 1 "${slow[@]}" "$bin/vjepa-pretrain" "$tiny" --set run.dir=watch "${one[@]}" --set watch.every=2 --set 'watch.train=[train.clips]' \
    --set 'watch.validation=[val.clips]' --set watch.task=motion --set watch.clips=8 --set watch.epochs=4 >watch.log 2>&1 ||
    fail "watch: $(cat watch.log)"
says watch.log "watch: clips encoded: [0-9]+ % done, about $time left"
says watch.log "watch: attentive probe trained: [0-9]+ % done, about $time left"

# Features in one batch, their statistics, and a check of all files.
embed=(vjepa-embed "$tiny" --encoder random:published --store train.clips --set embed.batch=12)
run 1 "${slow[@]}" "$bin/${embed[0]}" "${embed[@]:1}" --out train.h5 >embed.log 2>&1 || fail "embed: $(cat embed.log)"
says embed.log "embed: +[1-9]?[0-9] % of 12 clips, [0-9.e-]+ clips/s, [0-9]+ % of the time waiting for clips, $time left"
run 1 "$bin/${embed[0]}" "${embed[@]:1}" --out usual.h5 >usual.log 2>&1 || fail "embed: $(cat usual.log)"
[ "$(grep -c '^embed: .* % of 12 clips' usual.log)" -eq 1 ] || fail "a short embedding has several lines: $(cat usual.log)"
"$bin/vjepa-inspect" --compare train.h5 usual.h5 >compare.log 2>&1 || fail "other features: $(cat compare.log)"
LD_PRELOAD=$tools/libclock_shim.so "$bin/vjepa-inspect" --verify train.clips usual/step_00000003.h5 >verify.txt 2>verify.log ||
    fail "verify: $(cat verify.log)"
[ "$(grep -c ': verified: ' verify.txt)" -eq "$(wc -l <verify.txt)" ] || fail "more than the result on standard output: $(cat verify.txt)"
says verify.log "usual/step_00000003.h5: [0-9]+ % done, about $time left"

# A long list, and a folder of many files.
seq -f 'videos/%012.0f.mp4 0' 100000 >long.list
mkdir folder && (cd folder && seq -f '%g.mp4' 50 | xargs touch)
for list in long.list folder; do
    run 1 "${slow[@]}" "$bin/vjepa-pack" "$tiny" --set pack.lists="[$list]" --set pack.store=no.clips --dry-run >list.log 2>&1 ||
        fail "$list: $(cat list.log)"
    case $list in
    folder) says list.log 'looking for media in folder/: [0-9]+ files so far' ;;
    *) says list.log "reading $list: [0-9]+ % done, about $time left" ;;
    esac
done

# An evaluation whose rounds are one batch: training, measuring, and storing features.
for features in online stored:1; do
    run 1 "${slow[@]}" "$bin/vjepa-evaluate" "$tiny" a=random:fan_in b=random:published --train train.clips --validation val.clips --out "$features" \
        --set evaluate.batch=12 --set probe.epochs=2 --set probe.features=$features --set probe.labels='[100]' >$features.log 2>&1 ||
        fail "evaluate: $(cat $features.log)"
    says $features.log "evaluate: measured +[1-9]?[0-9] % of 8 validation samples, [0-9.e-]+ samples/s, $time left"
done
says online.log "evaluate: epoch 1 of 2, +[1-9]?[0-9] % of it, [0-9.e-]+ samples/s, .*, at most $time left to train"
says stored:1.log "evaluate: features of +[1-9]?[0-9] % of 12 samples are stored, [0-9.e-]+ samples/s, .*, $time left to store"

# Packing, while no file is done: the worker, whose clock is as fast, says how far it is.
"$tools/make_videos" videos 2
printf 'pack: {lists: [videos/list.csv], store: two.clips, short_side: 32, frames: 8, windows: 2, workers: 1, worker_seconds: 86400}\n' >pack.yaml
run 1 "${slow[@]}" "$bin/vjepa-pack" pack.yaml >pack.log 2>&1 || fail "pack: $(cat pack.log)"
says pack.log "packed none of 2 files in $time; [1-9][0-9]? % of all are decoded, about $time left"
# Making the store of the shards, of many files that are empty.
for i in {10..60}; do
    touch "videos/$i.mp4"
    echo "$i.mp4,0" >>videos/list.csv
done
run 1 "${slow[@]}" "$bin/vjepa-pack" pack.yaml --set pack.store=many.clips --set pack.duplicates=drop >commit.log 2>&1 ||
    fail "many files: $(cat commit.log)"
says commit.log "looking for copies: [0-9]+ % done, about $time left"
says commit.log "writing ledger.csv: [0-9]+ % done, about $time left"

# One step of the bench, and a pass of encoders for an analysis.
run 1 "${slow[@]}" "$bin/vjepa-bench" step "$tiny" --repeats 3 >bench.log 2>&1 || fail "bench: $(cat bench.log)"
says bench.log "bench: step 1, of at least 4: [0-9]+ % done, about $time left"
if [ -x "$bin/vjepa-spectrum" ]; then
    run 1 "${slow[@]}" "$bin/vjepa-spectrum" spectrum "$tiny" --encoder random:fan_in --store train.clips --set embed.batch=12 \
        --out spectrum.h5 >spectrum.log 2>&1 || fail "spectrum: $(cat spectrum.log)"
    says spectrum.log "spectrum: +[1-9]?[0-9] %, [0-9]+ of 12 clips read, in all passes, [0-9.e-]+ clips/s, $time left"
fi
finish
