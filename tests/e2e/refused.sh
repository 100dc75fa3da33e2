#!/usr/bin/env bash
# Checks that temporary trouble gives no verdict on files: a missing folder, reads that fail, files that are absent for a while. A
# store in which many files are absent for such a reason is not published. Started again without the trouble, packing makes the store
# of an undisturbed packing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

"$tools/make_videos" videos 60
cp videos/list.csv list.csv
cat >pack.yaml <<'END'
pack:
  datasets: [{name: films, list: list.csv, root: videos}]
  short_side: 32
  frames: 8
  step: 2
  shard_mb: 1
  worker_seconds: 20
END
code=0
pack() { # STORE RANKS [ARGS...]: exit code in $code, output in pack.log
    local store=$1 ranks=$2
    shift 2
    code=0
    run "$ranks" "$bin/vjepa-pack" pack.yaml --set pack.store="$store" "$@" >pack.log 2>&1 || code=$?
}
content() { # STORE
    sed 's/,[^,]*$//' "$1/ledger.csv" # the last column is a time
    "$bin/vjepa-inspect" "$1" | grep '^fingerprint'
}
same() { # STORE WHAT
    content "$1" >got.txt
    cmp -s want.txt got.txt || fail "$2: $(diff want.txt got.txt | head -n 5)"
}
pack want.clips 2
[ "$code" -eq 0 ] || fail "packing: $(cat pack.log)"
content want.clips >want.txt

# If the root is not there nothing is begun.
mv videos elsewhere
pack root.clips 2
[ "$code" -eq 1 ] || fail "a root that is not there: exit $code: $(cat pack.log)"
grep -q 'videos .*No such file' pack.log && ! compgen -G 'root.clips/shard-*' >/dev/null || fail "a root that is not there: $(cat pack.log)"

# With an empty folder in its place (nothing is mounted) the store is not published; packing goes on when the files are back.
mkdir videos
pack root.clips 3
[ "$code" -eq 1 ] || fail "an empty root: exit $code: $(cat pack.log)"
grep -q "films: .* files could not be had on $(hostname), .*No such file.* root: videos" pack.log || fail "an empty root: $(cat pack.log)"
[ ! -e root.clips/index.h5 ] || fail "an empty root: a store was published"
rmdir videos
mv elsewhere videos
pack root.clips 2
[ "$code" -eq 0 ] || fail "a root that is back: $(cat pack.log)"
same root.clips "a root that is back"

# A few files of every shard are absent, too few for any rank to stop. This is found at the end; then the files are back.
mapfile -t away < <(cd videos && find . -name '*.*' -type f ! -name '*.csv' | sort | awk 'NR % 6 == 0')
mkdir elsewhere
for f in "${away[@]}"; do mkdir -p "elsewhere/$(dirname "$f")" && mv "videos/$f" "elsewhere/$f"; done
pack some.clips 4 --set pack.max_refused=0.1
[ "$code" -eq 1 ] || fail "${#away[@]} files away: exit $code: $(cat pack.log)"
[ ! -e some.clips/index.h5 ] || fail "${#away[@]} files away: a store was published"
cp -r some.clips kept.clips
# If they are gone for good a setting says so, which does not make it another store.
pack kept.clips 1 --set pack.max_refused=0.5
[ "$code" -eq 0 ] || fail "max_refused is raised: $(cat pack.log)"
[ "$(grep -c ',missing,"No such file' kept.clips/ledger.csv)" -eq ${#away[@]} ] || fail "the ledger does not name ${#away[@]} files"
grep -q "missing *${#away[@]} files" pack.log || fail "the summary does not name them: $(cat pack.log)"
for f in "${away[@]}"; do mv "elsewhere/$f" "videos/$f"; done
pack some.clips 2
[ "$code" -eq 0 ] || fail "files that are back: $(cat pack.log)"
same some.clips "files that are back"
# Afterwards it can be packed again, as the README says.
rm kept.clips/index.h5
pack kept.clips 2
[ "$code" -eq 0 ] || fail "tried again afterwards: $(cat pack.log)"
same kept.clips "tried again afterwards"

# A file that cannot be opened once, and one that can never be opened.
film=$(cd videos && find . -name '*.*' -type f ! -name '*.csv' | sort | sed -n 7p)
film=${film#./}
code=0
VJ_FAULT="0 open $film 1 EIO" run 2 "$bin/vjepa-pack" pack.yaml --set pack.store=once.clips \
    --set pack.max_refused=0 >pack.log 2>&1 || code=$?
[ "$code" -eq 0 ] || fail "EIO once: $(cat pack.log)"
same once.clips "EIO once"
VJ_FAULT="0 open $film 1 EIO+" run 1 "$bin/vjepa-pack" pack.yaml --set pack.store=always.clips \
    >pack.log 2>&1 || fail "EIO always: $(cat pack.log)"
[ "$(grep -c ',unreadable,"Input/output error"' always.clips/ledger.csv)" -eq 1 ] || fail "EIO always: $(grep "$film" always.clips/ledger.csv)"
code=0
VJ_FAULT="0 open $film 1 EIO+" run 1 "$bin/vjepa-pack" pack.yaml --set pack.store=never.clips \
    --set pack.max_refused=0 >pack.log 2>&1 || code=$?
[ "$code" -eq 1 ] && grep -q "$film (unreadable: Input/output error)" pack.log || fail "EIO with max_refused=0: exit $code: $(cat pack.log)"
finish
