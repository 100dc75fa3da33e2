#!/usr/bin/env bash
# Checks packing that is killed, has a full disk or failing calls: started again, on another number of ranks, it makes the store of
# an undisturbed packing, and does not touch shards that were complete before. A worker that is killed or suspended only costs time.
#   pack_kill.sh [COUNT [SEED]]          # 16 faults from seed 1 on
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
type -P ffmpeg >/dev/null || { echo "skipped: ffmpeg, which makes the videos, is not installed"; exit 77; }
count=${1:-16} first_seed=${2:-1}
# Killed processes leave files only in this folder and in $scratch.
segments=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "$scratch")/vjepa-pack.XXXXXX")
export OMPI_MCA_btl_vader_backing_directory=$segments
cleanup() {
    if mountpoint -q "$scratch/store"; then umount "$scratch/store" || true; fi
    rm -rf "$segments" "$scratch"
}
trap cleanup EXIT

files=40
mkdir videos
for i in $(seq $files); do
    echo "-filter_complex testsrc2=s=$((96 + i % 3 * 16))x72:r=25:d=2,hue=h=$((9 * i)) -c:v libx264 -preset ultrafast videos/$(printf %02d "$i").mp4"
done | xargs -P 2 -L 1 ffmpeg -nostdin -y -v error
echo 'no video' >videos/text.mp4
: >videos/zero.mp4
{ echo path; (cd videos && ls); } >list.csv && mv list.csv videos
cat >pack.yaml <<'YAML'
pack:
  lists: [videos/list.csv]
  store: store/s.clips
  short_side: 64
  frames: 8
  step: 3
  windows: 2
  random_windows: true
  shard_mb: 1
  workers: 2
  worker_seconds: 5
  max_refused: 1
YAML

# Print everything in a store except times: columns, frames, the ledger without the seconds, and provenance.
cat >content.py <<'PY'
import csv, glob, hashlib, os, sys
import h5py
store, out = sys.argv[1], []
def look(name, node):
    if name == 'files/ledger':
        out.extend(line.rpartition(b',')[0].decode() for line in node[()].splitlines()) # without the seconds
    elif isinstance(node, h5py.Dataset):
        out.append('%s %s %s' % (name, node.shape, hashlib.sha256(node[()].tobytes()).hexdigest()))
    for key, value in sorted(node.attrs.items()): out.append('%s@%s %r' % (name, key, value.tolist() if hasattr(value, 'tolist') else value))
for path in sorted(glob.glob(store + '/*.h5')):
    out.append(os.path.basename(path))
    with h5py.File(path) as f:
        for key, value in sorted(f.attrs.items()): out.append('@%s %r' % (key, value.tolist() if hasattr(value, 'tolist') else value))
        f.visititems(look)
for row in csv.DictReader(open(store + '/ledger.csv')):
    row.pop('seconds')
    out.append(repr(sorted(row.items())))
# A rank that is killed when the store is complete leaves its lease, which means nothing there.
left = sorted(n for n in os.listdir(store) if not n.endswith('.h5') and n != 'lease')
print('\n'.join(out + ['beside: ' + ' '.join(left)]))
PY
content() { /usr/bin/python3 content.py store/s.clips; }

pack() { # RANKS [MPIRUN'S OPTIONS]: in the background
    local ranks=$1
    shift
    mpirun --timeout 300 -n "$ranks" "$@" "$bin/vjepa-pack" pack.yaml >"$log" 2>&1 &
    launcher=$!
}
ended() { code=0; { wait "$launcher" || code=$?; } 2>/dev/null; }
pick() { printf -v "$1" %d $(($2 + (RANDOM * 32768 + RANDOM) % ($3 - $2 + 1))); } # VARIABLE FROM TO
ranks_of() { pgrep -P "$1" -x vjepa-pack || true; }
workers_of() { for rank in $(ranks_of "$1"); do pgrep -P "$rank" || true; done; }

mkdir store
log=$scratch/whole.log
begin=$(date +%s%N)
pack 2
ended
took_ms=$((($(date +%s%N) - begin) / 1000000))
[ "$code" -eq 0 ] || { cat "$log"; exit 1; }
content >whole
shards=$(grep -c '^shard-' whole)
[ "$shards" -ge 8 ] || fail "only $shards shards: faults would find nothing to interrupt"
fingerprint() { run 1 "$bin/vjepa-inspect" "$1" </dev/null | sed -n 's/^fingerprint: *//p'; }

# ------------------------------------------------------------------------------------------------ kinds of faults

at_a_random_moment() {
    pick ms 1 "$took_ms"
    where="after $ms of $took_ms ms"
    pack "$ranks"
    sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}
kill_all() { # ranks and launcher; workers must not stay
    local workers
    at_a_random_moment
    workers=$(workers_of "$launcher")
    # shellcheck disable=SC2046
    kill -9 $(ranks_of "$launcher") "$launcher" 2>/dev/null || true
    ended
    for _ in $(seq 50); do
        # shellcheck disable=SC2086
        if [ -z "$workers" ] || ! ps -o pid= -o comm= -p "$(echo $workers | tr ' ' ,)" | grep -q vjepa-decode; then return; fi
        sleep 0.1
    done
    problem="workers outlive their ranks"
}
kill_rank() {
    at_a_random_moment
    victim=$(ranks_of "$launcher" | shuf -n 1 --random-source=<(yes "$seed"))
    [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
    ended
}
terminate() { # as a batch system does it
    at_a_random_moment
    kill -TERM "$launcher" 2>/dev/null || true
    ended
}
inject() { # CALL TEXT MOST ACTION: at the K-th call of a random rank; one that never comes so far is tried with fewer
    local call=$1 text=$2 most=$3 action=$4 k victim
    pick victim 0 $((ranks - 1))
    case $text in index* | ledger*) victim=0 ;; esac
    while :; do
        pick k 1 "$most"
        where="rank $victim, call $k: $call $text $action"
        rm -rf store/s.clips
        pack "$ranks" -x LD_PRELOAD="$shim" -x VJ_FAULT="$victim $call $text $k $action"
        ended
        ! grep -aq '^fault:' "$log" || return 0
        if [ "$most" -eq 1 ]; then
            problem="the fault never came"
            return
        fi
        most=$((most / 3 + 1))
        if [ "$most" -lt 3 ]; then most=1; fi
    done
}
die_in_shard() { inject any shard- 120 kill; }
die_committing() { inject any index.h5 30 kill; }
die_renaming() { inject rename .part 6 kill; }
die_at_ledger() { inject any ledger.csv 6 kill; }
no_space() { inject write shard- 60 ENOSPC+; named 'No space left'; }
no_space_for_index() { inject write index.h5 8 ENOSPC+; named 'No space left'; }
failing_disk() { inject write shard- 60 EIO; named 'Input/output error'; }
failing_sync() { inject sync shard- 3 EIO; named 'Input/output error'; }
named() { # TEXT: the error says what and where
    [ "$code" -ne 0 ] || problem="it did not fail"
    grep -aq "vjepa: rank .*$1" "$log" || problem="the error does not say $1"
}
full_disk() { # a file system that is too small
    if ! mount -t tmpfs -o size=3m vjepa-pack store 2>/dev/null; then
        no_space
        return
    fi
    where="tmpfs of 3 MB"
    pack "$ranks"
    ended
    named 'No space left'
    mount -o remount,size=64m store
}
kinds=(kill_all die_in_shard kill_rank no_space die_committing terminate failing_disk die_renaming kill_all full_disk failing_sync
    die_at_ledger kill_rank no_space_for_index die_in_shard kill_all)

# ------------------------------------------------------------------------------------------------ verdict

printf '%4s  %-18s %5s  %-44s %4s %6s %5s  %s\n' seed fault ranks where code shards again ''
for ((seed = first_seed; seed < first_seed + count; seed++)); do
    RANDOM=$((seed * 7919 % 32768))
    pick ranks 0 9 # the first numbers of neighbouring seeds are alike
    pick ranks 1 3
    again=$((ranks % 3 + 1))
    rm -rf store/s.clips
    problem="" where="" log=$scratch/fault.log
    kind=${kinds[seed % ${#kinds[@]}]}
    $kind
    first_code=$code
    if grep -aq 'time limit for job execution' "$log"; then problem="it hung"; fi
    stat -c '%n %i %y' store/s.clips/shard-*.h5 >before 2>/dev/null || true # the complete ones
    log=$scratch/again.log
    pack "$again"
    ended
    [ "$code" -eq 0 ] || problem="the next start ends with $code"
    content >now 2>&1 || problem="no store"
    cmp -s whole now || problem="${problem:-the store is another}"
    stat -c '%n %i %y' store/s.clips/shard-*.h5 >after
    [ -z "$(comm -23 before after)" ] || problem="complete shards were made again"
    printf '%4d  %-18s %5d  %-44s %4d %6d %5d  %s\n' "$seed" "$kind" "$ranks" "$where" "$first_code" "$(wc -l <before)" "$again" \
        "${problem:-ok}"
    if [ -n "$problem" ]; then
        { tail -n 15 fault.log again.log; diff whole now | head -n 10; } 2>/dev/null | sed 's/^/      | /'
        fail "seed $seed"
    fi
    if mountpoint -q store; then umount store; fi
done

# Workers that are killed, as by the system when it has no memory, or that stop for a while, as when a file server does: their files
# are decoded again, and the store is the same.
for signal in KILL STOP; do
    rm -rf store/s.clips
    log=$scratch/workers.log
    pack 2
    sent=0
    for _ in $(seq 400); do
        kill -0 "$launcher" 2>/dev/null || break
        victim=$(workers_of "$launcher" | sed -n "$((sent % 2 + 1))p")
        if [ -n "$victim" ] && [ "$sent" -lt 3 ] && kill -$signal "$victim" 2>/dev/null; then sent=$((sent + 1)); fi
        sleep 0.1
    done
    ended
    [ "$code" -eq 0 ] || fail "workers that got SIG$signal end the job: $(tail -n 3 "$log")"
    content >now 2>&1 || true
    cmp -s whole now || fail "workers that got SIG$signal: the store is another: $(diff whole now | head -n 10)"
    echo "$sent workers got SIG$signal: $(grep -ac 'tried again' "$log") files were tried again"
done
run 1 "$bin/vjepa-inspect" --verify store/s.clips >/dev/null || fail "the store does not verify"
finish
