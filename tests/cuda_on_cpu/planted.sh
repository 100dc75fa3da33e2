#!/bin/bash
# planted.sh PROGRAM NAME PATTERN: the error NAME of planted.cu is found by a report that matches PATTERN, whatever the
# order of threads, and the same program without the error passes, whatever the order of streams.
set -u
program=$1 name=$2 pattern=$3
ulimit -c 0
export TSAN_OPTIONS=halt_on_error=1:atexit_sleep_ms=0
for order in 0 1 6; do
    export EMU_ORDER=$order
    if ! text=$(EMU_STREAMS=$order "$program" "$name" right 2>&1); then
        printf '%s without the error fails (EMU_ORDER=%s):\n%s\n' "$name" $order "$text"
        exit 1
    fi
    text=$("$program" "$name" wrong 2>&1)
    code=$?
    if [ $code -eq 0 ]; then
        echo "$name was not found (EMU_ORDER=$order)"
        exit 1
    fi
    if ! grep -qE "$pattern" <<<"$text"; then
        printf '%s: the report (exit code %d) does not say "%s":\n%s\n' "$name" $code "$pattern" "$text"
        exit 1
    fi
done
grep -E "$pattern" <<<"$text" | head -1
