#!/usr/bin/env bash
# Compares the memory that vjepa-evaluate forecasts with the growth of its ranks, online and with stored features: the growth is at
# most 1.1 times the forecast and 8 MiB, and at least half of it. Neither depends on speed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
run 1 "$tools/make_store" square.clips 40 4 64 64

check() { # RANKS [ARGS...]
    local ranks=$1
    shift
    rm -rf out
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" a=random:fan_in:3 b=random:published --train square.clips --validation square.clips \
        --out out --set model.width=384 --set model.heads=6 --set data.crop=64 --set probe.epochs=1 --set probe.seeds=1 "$@" >memory.log 2>&1 ||
        fail "$(tail -n 5 memory.log)"
    local numbers grown forecast
    numbers=$(sed -n 's/.*memory of a rank has grown by \([0-9]*\) MiB; at most \([0-9]*\) were forecast/\1 \2/p' memory.log)
    read -r grown forecast <<<"$numbers"
    echo "$ranks ranks, $*: grown by $grown MiB, forecast $forecast"
    ((forecast >= 150 && grown <= forecast + forecast / 10 + 8 && 2 * grown >= forecast)) || fail "$numbers with $*: $(grep 'memory of' memory.log)"
}
check 1 --set evaluate.batch=4
check 2 --set evaluate.batch=24
check 2 --set evaluate.batch=24 --set probe.features=stored:2 --set probe.epochs=2 --set embed.dtype=f16
check 1 --set evaluate.views=3 --set evaluate.batch=12 --set probe.pooling='[attentive]'
finish
