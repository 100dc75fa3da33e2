#!/usr/bin/env bash
# Checks that packing which is killed, or whose disk is full, at random moments goes on to the same store on any number of ranks, that
# a million files do not need more memory, and that the shipped mixture of published lists can be planned.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
RANDOM=${VJEPA_SEED:-1}

"$tools/make_videos" videos 170
{ cat videos/list.csv; echo 'gone.mp4,0'; echo 'list.csv,1'; sed -n 9p videos/list.csv; } >videos/all.csv
cat >pack.yaml <<END
pack: {lists: [videos/all.csv], short_side: 32, frames: 8, step: 2, windows: 2, random_windows: true, codec: jpeg}
END

pack() { # STORE RANKS [ARGS...]
    local store=$1 ranks=$2
    shift 2
    run "$ranks" "$bin/vjepa-pack" pack.yaml --set pack.store="$store" "$@"
}
content() { # STORE: what must not depend on how it was made
    sed 's/,[^,]*$//' "$1/ledger.csv" # the last column is a time
    "$bin/vjepa-inspect" "$1" | grep '^fingerprint'
}
same() { # STORE WHAT
    content "$1" >got.txt
    cmp -s want.txt got.txt || fail "$2: $(diff want.txt got.txt | head -n 5)"
}
complete() { # shards of a store
    { find "$1" -name 'shard-*.h5' 2>/dev/null || true; } | wc -l
}

pack want.clips 1 >want.log
content want.clips >want.txt
[ "$(complete want.clips)" -eq 11 ] || fail "shards: $(ls want.clips)"
[ "$(wc -l <want.txt)" -eq 175 ] || fail "the ledger does not have a row for each file"
grep -q '  lists: .* clips from 173 files' want.log && grep -q ' missing *1 files' want.log || fail "summary: $(cat want.log)"
for ranks in 2 3 4; do
    pack "ranks-$ranks.clips" "$ranks" --set pack.workers=$((5 - ranks)) >/dev/null
    same "ranks-$ranks.clips" "$ranks ranks"
done
"$bin/vjepa-inspect" --verify ranks-4.clips >/dev/null || fail "the store does not verify"
pack want.clips 2 >again.log
grep -q 'packed already' again.log || fail "again: $(cat again.log)"

# ------------------------------------------------------------------------------------------------ interrupted

# Start with a fault, each time on another number of ranks, until there is no fault left.
faults=0
interrupted() { # STORE RANKS FAULT|SECONDS
    local store=$1 ranks=$2 fault=$3 before ranks_of launcher code=0
    before=$(complete "$store")
    if [[ $fault == *' '* ]]; then
        mpirun -n "$ranks" -x LD_PRELOAD="$shim" -x VJ_FAULT="$fault" "$bin/vjepa-pack" pack.yaml \
            --set pack.store="$store" >fault.log 2>&1 || code=$?
    else
        mpirun -n "$ranks" "$bin/vjepa-pack" pack.yaml --set pack.store="$store" >fault.log 2>&1 &
        launcher=$!
        sleep "$fault"
        mapfile -t ranks_of < <(pgrep -P "$launcher" || true)
        ((${#ranks_of[@]} == 0)) || kill -9 "${ranks_of[RANDOM % ${#ranks_of[@]}]}" 2>/dev/null || true
        { wait "$launcher" || code=$?; } 2>/dev/null
    fi
    faults=$((faults + (code != 0)))
    [ "$(complete "$store")" -ge "$before" ] || fail "$fault: complete shards were lost"
    return "$code"
}

# One store is interrupted again and again; pack_kill.sh has the other kinds of faults, and more of them.
store=killed.clips
# The first three always come before the store is complete, the others mostly.
interrupted "$store" $((RANDOM % 4 + 1)) "0 any $store $((RANDOM % 40 + 1)) kill" || true
interrupted "$store" $((RANDOM % 4 + 1)) "0 rename $store $((RANDOM % 3 + 1)) kill" || true
interrupted "$store" $((RANDOM % 4 + 1)) "0 write .part $((RANDOM % 40 + 1)) ENOSPC+" || true
interrupted "$store" $((RANDOM % 3 + 2)) "1 write .part $((RANDOM % 80 + 1)) kill" || true
for seconds in "0.$((RANDOM % 9 + 1))" "1.$((RANDOM % 9))"; do
    interrupted "$store" $((RANDOM % 4 + 1)) "$seconds" || true
done
pack "$store" $((RANDOM % 4 + 1)) >/dev/null
same "$store" "killed"
if compgen -G "$store/*.part" >/dev/null || compgen -G "$store/catalogue.*" >/dev/null; then
    fail "$store: remains: $(ls "$store")"
fi
[ "$faults" -ge 3 ] || fail "only $faults faults struck"

# A full disk is an error that names the shard and says how to go on. Then faults in the steps of the commit.
if interrupted full.clips 2 "0 write shard-00004.h5. 1 ENOSPC+"; then fail "a full disk was not noticed"; fi
grep -q 'shard-00004.h5.' fault.log || fail "the shard is not named: $(cat fault.log)"
grep -q 'the same command goes on from there' fault.log || fail "how to go on is not said: $(cat fault.log)"
[ "$(complete full.clips)" -ge 1 ] || fail "complete shards did not stay"
for fault in "0 write ledger.csv. 1 ENOSPC+" "0 write index.h5. 2 ENOSPC+" "0 rename index.h5 1 kill" "0 sync index.h5 1 EIO"; do
    if interrupted full.clips 3 "$fault"; then fail "$fault: not noticed"; fi
    grep -q '^fault: ' fault.log || fail "$fault: did not happen: $(cat fault.log)"
    [ "$(complete full.clips)" -eq 11 ] || fail "$fault: shards were lost"
    [ ! -e full.clips/index.h5 ] || fail "$fault: a store that is not finished"
done
pack full.clips 1 >full.log
grep -q 'going on, 0 of 173 files are left' full.log || fail "the commit alone: $(cat full.log)"
same full.clips "after full disks"

# No decoding process is left over.
for exe in /proc/[0-9]*/exe; do
    if [ "$(readlink "$exe" 2>/dev/null)" = "$(readlink -f "$bin/vjepa-decode")" ] &&
        [ "$(readlink "${exe%exe}cwd" 2>/dev/null)" = "$PWD" ]; then
        fail "a decoder survived: ${exe%/exe}"
    fi
done

# ------------------------------------------------------------------------------------------------ a million files

cat >watched.sh <<'END' # COMMAND...: run it and say the most memory it had of its own
"$@" &
most=0
while kilobytes=$(awk '/^RssAnon/ { print $2 }' /proc/$!/status 2>/dev/null) && [ -n "$kilobytes" ]; do
    ((kilobytes <= most)) || most=$kilobytes
    sleep 0.05
done
wait $! && code=0 || code=$?
echo "most of its own memory: $most kB"
exit $code
END
awk 'BEGIN { print "path,label"; for (i = 0; i < 1000000; i++) printf "folder/video_%07d.mp4,%d\n", i, i % 400 }' >million.csv
head -n 1001 million.csv >thousand.csv
memory() { # LIST STORE [ARGS...]
    local list=$1 store=$2
    shift 2
    run 1 bash watched.sh "$bin/vjepa-pack" pack.yaml --set pack.lists="[$list]" --set pack.store="$store" "$@" \
        >memory.log 2>&1 || true # no clip from any file is an error
    sed -n 's/^most of its own memory: \([0-9]*\) kB$/\1/p' memory.log
}
small=$(memory thousand.csv few.clips --dry-run) large=$(memory million.csv many.clips --dry-run)
grep -q '  lists: 1000000 files' memory.log || fail "planning a million files: $(cat memory.log)"
((large - small < 8000)) || fail "planning a million files takes $large kB, a thousand $small kB"
echo "planning: $small kB for a thousand files, $large kB for a million"
[ ! -e many.clips ] || fail "a dry run left something"
small=$(memory thousand.csv few.clips --set pack.duplicates=drop --set pack.max_refused=1)
large=$(memory million.csv many.clips --set pack.duplicates=drop --set pack.max_refused=1)
grep -q 'missing *1000000 files' memory.log || fail "packing a million files: $(tail -n 20 memory.log)"
((large - small < 24000)) || fail "packing a million files takes $large kB, a thousand $small kB"
echo "packing: $small kB for a thousand files, $large kB for a million"
[ "$(wc -l <many.clips/ledger.csv)" -eq 1000001 ] || fail "the ledger does not have a row for each of a million files"
rm -r many.clips

# ------------------------------------------------------------------------------------------------ VideoMix2M

# The shipped configuration with small lists: three of Kinetics that overlap, and ids that are held out in all datasets.
mix=$source_dir/jobs/configs/videomix2m.yaml
mkdir lists
header=label,youtube_id,time_start,time_end,split
printf '%s\n' $header zumba,aaaaaaaaaaa,1,11,train yoga,bbbbbbbbbbb,2,12,train >lists/kinetics400_train.csv
printf '%s\n' $header zumba,aaaaaaaaaaa,1,11,train yoga,ccccccccccc,2,12,train >lists/kinetics600_train.csv
printf '%s\n' $header zumba,aaaaaaaaaaa,1,11,train yoga,ddddddddddd,2,12,train >lists/kinetics700_train.csv
for year in 400 600 700; do printf '%s\n' $header yoga,ddddddddddd,9,19,val zumba,eeeeeeeeeee,1,11,val >lists/kinetics${year}_val.csv; done
printf 'video_id,category_1\neeeeeeeeeee,Food\nfffffffffff,Food\n' >lists/HowTo100M_v1.csv
echo '[{"id": "1", "template": "Holding [something]"}, {"id": "2"}, {"id": "3"}]' >lists/something-something-v2-train.json
echo '[{"id": "3"}]' >lists/something-something-v2-validation.json
run 1 "$bin/vjepa-pack" "$mix" --print-config >mix.yaml || fail "videomix2m.yaml: $(cat mix.yaml)"
run 2 "$bin/vjepa-pack" mix.yaml --dry-run >mix.log 2>&1 || fail "planning videomix2m.yaml: $(cat mix.log)"
for line in 'k710: 6 files, 1 of them held out by id, 2 listed before and dropped' 'ssv2: 3 files, 1 of them held out' \
    'howto100m: 2 files, 1 of them held out' 'at most 12 clips of 16 frames, short side 256, codec jpeg'; do
    grep -q "$line" mix.log || fail "planning videomix2m.yaml does not say \"$line\": $(cat mix.log)"
done

finish
