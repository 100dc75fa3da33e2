#!/usr/bin/env bash
# Checks what programs read when they start on 4 ranks of 2 nodes: each byte of settings, lists, index, checkpoint, and of feature
# files outside their rows, is read only once, by the first rank of a node, and no other rank reads these files. When packing, ranks
# find their media files in the catalogue, and read each entry once.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# count PROGRAM ARGS...: writes counts.RANK. libcount_mpi simulates nodes of 2 ranks.
count() {
    rm -f counts.* messages.*
    VJEPA_COUNT_FOLDER=$scratch/in VJEPA_IO_COUNTS=$scratch/counts VJEPA_COUNTS=$scratch/messages VJEPA_NODE_RANKS=2 \
        run 4 env LD_PRELOAD="$tools/libcount_io.so $tools/libcount_mpi.so" "$@" >count.log 2>&1 ||
        fail "$1 on 4 ranks: $(tail -n 5 count.log)"
}

cat >look.py <<'PY'
# look.py WHAT PATTERN...: each pattern names files of which every byte may be read once, only by first ranks of nodes, or with
# =PATTERN by any rank.
import fnmatch, glob, os, sys
read = {}
for rank in range(4):
    for line in open(f'counts.{rank}'):
        path, opens, size = line.strip().rsplit(',', 2)
        before = read.setdefault(path, {}).get(rank, (0, 0)) # by the rank itself, or by a process it started
        read[path][rank] = (before[0] + int(opens), before[1] + int(size))
bad = 0
for pattern in sys.argv[2:]:
    readers = {0, 1, 2, 3} if pattern[0] == '=' else {0, 2}
    found = [path for path in read if fnmatch.fnmatch(path, '*/' + pattern.lstrip('='))]
    bad += not found
    if not found: print(f'{sys.argv[1]}: nobody has read {pattern}')
    for path in found:
        total = sum(n for opens, n in read[path].values())
        size = os.path.getsize(path) if os.path.exists(path) else total # removed by now
        print(f'{sys.argv[1]}: {os.path.basename(path)}, {size} bytes: rank {read[path]} opened, read')
        # HDF5 reads its own structures twice, a few KiB
        bad += not {rank for rank in read[path] if read[path][rank][1] > 0} <= readers or total > 1.1 * size + 8192
sys.exit(bad > 0)
PY
look() { /usr/bin/python3 look.py "$@" || fail "$1 reads what it should not"; }

mkdir in
make_store in/train.clips 40
make_store in/val.clips 20 40
cp "$tiny" in/tiny.yaml
tiny=$scratch/in/tiny.yaml
large=(--set model.width=192 --set model.heads=4 --set predictor.heads=2 --set data.train='[in/train.clips]') # a checkpoint larger than what HDF5 reads beside it
pretrain 1 in/run "${large[@]}" --set train.epochs=1 >run.log 2>&1 || fail "training: $(tail -n 5 run.log)"
# The run is complete, so starting it again reads all this and does no step.
for layout in "" "--set parallel.zero=1" "--set parallel.tensor=2 --set parallel.zero=1"; do
    # shellcheck disable=SC2086 # settings
    count "$bin/vjepa-pretrain" in/tiny.yaml --set run.dir=in/run "${large[@]}" --set train.epochs=1 $layout
    look "vjepa-pretrain $layout" tiny.yaml index.h5 step_00000008.h5
done
encoder=(--encoder in/run/step_00000008.h5)
run 1 "$bin/vjepa-embed" in/tiny.yaml "${large[@]}" "${encoder[@]}" --store in/train.clips --out in/train.h5 >embed.log 2>&1 ||
    fail "features: $(tail -n 5 embed.log)"
count "$bin/vjepa-embed" in/tiny.yaml "${large[@]}" "${encoder[@]}" --store in/val.clips --out in/val.h5
look vjepa-embed tiny.yaml index.h5 step_00000008.h5 =shard-*.h5
count "$bin/vjepa-probe" in/tiny.yaml "${large[@]}" --dry-run --out table a=in/train.h5,in/val.h5
look vjepa-probe tiny.yaml train.h5 val.h5
if [ -e "$bin/vjepa-spectrum" ]; then
    count "$bin/vjepa-spectrum" spectrum --dry-run in/train.h5
    look vjepa-spectrum train.h5
fi

# In packing only the first rank reads settings, lists, labels and held-out ids, also if shards of a killed job exist.
"$tools/make_videos" in/videos 6
sed 's/^\([^,]*\),.*/\1/' in/videos/list.csv | sed -n 2,3p >in/held.txt
cat >in/pack.yaml <<'END'
pack: {lists: [in/videos/list.csv], held_out_ids: [in/held.txt], short_side: 32, frames: 4, step: 1, workers: 1, shard_mb: 1}
END
for start in new again; do
    count "$bin/vjepa-pack" in/pack.yaml --set pack.store=in/packed.clips
    look "vjepa-pack, $start" pack.yaml list.csv
    [ "$start" = again ] || look "vjepa-pack, $start" held.txt '=catalogue.*' '=v0*.*'
done

# When twelve ranks warn of the same thing two lines are printed, one of the first rank and one for the others.
run 12 "$bin/vjepa-pretrain" in/tiny.yaml --set run.dir=many --set data.train='[in/train.clips]' --set train.microbatch=1 \
    --set train.stop_after=1 --set data.cache=/dev/null/cache >many.log 2>&1 || fail "12 ranks: $(tail -n 5 many.log)"
[ "$(grep -c 'warning: rank .*data.cache' many.log)" -eq 2 ] && grep -q 'warning: rank 1 and 10 others: data.cache' many.log ||
    fail "12 ranks say: $(grep data.cache many.log)"
finish
