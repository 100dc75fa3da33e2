#!/usr/bin/env bash
# Checks training with other orders of clips and with copies of clips on a local disk: the bits are the same on any number of
# ranks, with copies and without, resumed or not. Wrong settings of the order, or settings changed within a run, are refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 40
make_store more.clips 30 40
pretrain() { # RANKS DIR [ARGS]
    local ranks=$1 dir=$2
    shift 2
    run "$ranks" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$dir" --set parallel.reduction=reproducible \
        --set 'data.train=[train.clips, more.clips]' --set data.shuffle=block --set data.block_shards=1 \
        --set 'data.weights=[made=0.3]' "$@"
}
same() { # DIR
    "$bin/vjepa-inspect" --compare plain/step_00000024.h5 "$1/step_00000024.h5" >compare.log ||
        fail "$1: $(tail -n 3 compare.log)"
}

pretrain 1 plain >plain.log || fail "plain: $(tail -n 3 plain.log)"
grep -q '1 shards at a time' plain.log || fail "nothing is said of the order: $(cat plain.log)"
pretrain 2 copies --set data.cache=copies.d --set train.stop_after=10 >copies.log || fail "copies: $(tail -n 3 copies.log)"
pretrain 2 copies --set data.cache=copies.d --set data.threads=3 >copies.log || fail "copies: $(tail -n 3 copies.log)"
grep -Eq 'data.cache: [1-9][0-9]* of this rank' copies.log || fail "no clip came from the copies: $(cat copies.log)"
[ "$(find copies.d -name '*.data' -size +100k | wc -l)" -eq 1 ] || fail "there are no copies: $(ls -l copies.d)"
same copies

# Damaged copies, and a cache folder that is a file: the run is the same, with a warning.
for f in copies.d/*.data; do head -c "$(stat -c %s "$f")" /dev/zero >zero.bin && cat zero.bin >"$f"; done
pretrain 2 zeros --set data.cache=copies.d >zeros.log 2>&1 || fail "zeros: $(tail -n 3 zeros.log)"
grep -q 'warning.*copy of clip .* is damaged' zeros.log || fail "nothing is said of damaged copies: $(cat zeros.log)"
same zeros
pretrain 1 none --set data.cache=train.clips/index.h5 >none.log 2>&1 || fail "none: $(tail -n 3 none.log)"
[ "$(grep -c 'warning.*data.cache' none.log)" -eq 1 ] || fail "one warning, please: $(grep data.cache none.log)"
same none

# A file system that fails for a while is waited for: the bits are the same and no clip is replaced. A failure that lasts ends the
# run and is named.
with_fault() { # DIR FAULT [ARGS]
    code=0
    timeout 300 mpirun -n 2 -x LD_PRELOAD="$shim" -x VJ_FAULT="$2" "$bin/vjepa-pretrain" "$tiny" --set run.dir="$1" \
        --set parallel.reduction=reproducible --set 'data.train=[train.clips, more.clips]' --set data.shuffle=block \
        --set data.block_shards=1 --set 'data.weights=[made=0.3]' "${@:3}" >fault.log 2>&1 || code=$?
    grep -aq '^fault: ' fault.log || fail "$2 never came: $(tail -n 3 fault.log)"
    ! grep -aq 'replaces one' fault.log || fail "$2: a clip was replaced: $(cat fault.log)"
}
# Rank 0 opens every second shard once before it reads clips.
looked_at=$(((1 + $(find train.clips more.clips -name 'shard-*.h5' | wc -l)) / 2))
for fault in "1 read shard- 20 stale" "0 open shard- $((looked_at + 2)) EIO"; do
    rm -rf trouble
    with_fault trouble "$fault"
    [ $code -eq 0 ] || fail "$fault: exit $code: $(cat fault.log)"
    grep -aq 'warning: .*shard-[0-9]*.h5 cannot be read on .*trying again for up to 300 s' fault.log || fail "$fault: nothing is said: $(cat fault.log)"
    grep -aq 'clips can be read again after' fault.log || fail "$fault: its end is not said: $(cat fault.log)"
    same trouble
done
with_fault dead "1 read shard- 20 EIO+" --set data.io_patience_s=0.5
[ $code -eq 1 ] && grep -aq 'rank 1 of 2 on .*shard-[0-9]*.h5: Input/output error; given up after [0-9.]* s (data.io_patience_s)' fault.log ||
    fail "EIO for ever: exit $code: $(cat fault.log)"
[ ! -e dead/complete ] || fail "a run without its clips is complete"

refuse() { # CODE PATTERN ARGUMENTS...
    local got=0
    pretrain 2 "${@:3}" >out.log 2>&1 || got=$?
    [ "$got" -eq "$1" ] || fail "${*:3} ended with $got, not $1: $(tail -n 3 out.log)"
    grep -q "$2" out.log || fail "${*:3} did not say '$2': $(cat out.log)"
}
refuse 2 "no such dataset" wrong --set 'data.weights=[k400=1]' --dry-run
refuse 2 "names each dataset of the stores once: made" wrong --set 'data.weights=[made=1, k400=1]'
[ ! -e wrong ] || fail "a run folder was made before the weights were looked at"
refuse 2 "data.io_patience_s: 60 is not less than run.watchdog_s, 60" wrong --set data.io_patience_s=60 --set run.watchdog_s=60
refuse 1 "with data.shuffle block, this run has global: give" plain --set data.shuffle=global
refuse 1 "with data.block_shards 1, this run has 2: give" plain --set data.block_shards=2
refuse 1 "with data.weights .*made=0.3.*, this run has \[\]: give" plain --set 'data.weights=[]'
finish
