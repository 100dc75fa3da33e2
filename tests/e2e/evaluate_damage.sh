#!/usr/bin/env bash
# Checks damaged clips in an evaluation: their samples are left out, counted and reported once, the same on any number of ranks,
# beside any probes, and however often the evaluation is stopped. Too many end it. A failing file system is not taken for damage.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 60
make_store val.clips 24 1000
damage() { # STORE CLIP...: one bit of each clip's bytes is turned over
    /usr/bin/python3 - "$@" <<'PYTHON'
import glob, sys, h5py
where = {}
index = h5py.File(f"{sys.argv[1]}/index.h5")["clips"]
for clip in map(int, sys.argv[2:]):
    shard, offset = f"{sys.argv[1]}/shard-{index['shard'][clip]:05d}.h5", int(index["offset"][clip]) + 100
    with open(shard, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 1]))
PYTHON
}
damage train.clips 7 40
damage val.clips 13
encoders=(fan_in=random:fan_in:3 published=random:published)
evaluate() { # RANKS OUT [ARGS...]
    local ranks=$1 out=$2
    shift 2
    run "$ranks" "$bin/vjepa-evaluate" "$tiny" "${encoders[@]}" --train train.clips --validation val.clips \
        --out "$scratch/$out" --set checkpoint.every=1 --set probe.epochs=2 --set probe.seeds=1 \
        --set 'probe.pooling=[attentive, tokens2]' "$@"
}
same() { # A B [FILE...]: B's heads have the bits of A's, which may have more; FILEs are equal
    same_heads "$1" "$2"
    local one=$1 other=$2
    shift 2
    for file in "$@"; do cmp -s "$one/$file" "$other/$file" || fail "$other/$file is not that of $one"; done
}

evaluate 1 one >one.log 2>&1 || fail "damaged clips end the evaluation: $(cat one.log)"
[[ $(grep -c 'clip 7 is damaged: checksum' one.log) == 1 && $(grep -c 'clip 7 is damaged: the sample' one.log) == 1 &&
    $(grep -c 'shard-00000.h5: clip 13 is damaged' one.log) == 1 ]] || fail "not reported once: $(cat one.log)"
/usr/bin/python3 - <<'PYTHON' || fail "the results do not count what was lost"
import csv, json, h5py
rows = json.load(open("one/results.json"))
assert all(r["validation_failed"] == 1 and r["validation_clips"] == 23 for r in rows), rows
assert {r["training_failed"] for r in rows if r["labels"] == 100} == {2} >= {r["training_failed"] for r in rows} - {0, 1}, rows
assert any("2 of 60 training samples have damaged clips" in note for note in rows[0]["notes"]), rows[0]["notes"]
assert {(r["validation_failed"], r["validation_clips"]) for r in csv.DictReader(open("one/results.csv"))} == {("1", "23")}
assert {(r["validation_failed"], r["validation_samples"]) for r in csv.DictReader(open("one/heads.csv"))} == {("1", "23")}
for name, table in h5py.File("one/predictions.h5")["heads"].items():
    assert table.attrs["failed"] == 1 and table.attrs["counted"] == 23 and 13 not in table["clip"], name
assert list(h5py.File("one/evaluation.h5")["damaged"][()].nonzero()[0]) == [7, 40]
PYTHON
grep -q 'could not be used: ' one/results.md && grep -Fq '| 60 (2 lost) / 23 (1 lost) |' one/results.md || fail "results.md is silent: $(cat one/results.md)"

evaluate 2 two >/dev/null 2>&1
same one two heads.csv results.json
evaluate 3 three --set evaluate.batch=5 >/dev/null 2>&1
same one three heads.csv results.json

# Beside other probes, and stopped after every round, on another number of ranks each time.
encoders=(published=random:published)
evaluate 2 alone --set 'probe.tasks=[motion]' --set 'probe.labels=[50]' --set evaluate.batch=7 >/dev/null 2>&1
same one alone
encoders=(fan_in=random:fan_in:3 published=random:published)
mkdir stopped
for starts in $(seq 12); do
    [ ! -e stopped/complete ] || break
    touch stopped/stop
    evaluate $((starts % 3 + 1)) stopped --set evaluate.batch=20 >stopped.log 2>&1 || [ $? = 75 ] || fail "$(cat stopped.log)"
done
((starts > 3)) || fail "it was stopped only $starts times"
same one stopped heads.csv results.json


# With features stored for training it is the same, also if only the feature files are left of an earlier start.
evaluate 2 stored --set probe.features=stored:2 --keep-features >/dev/null 2>&1
same one stored
rm stored/evaluation*.h5 stored/predictions.h5 stored/complete
evaluate 1 stored --set probe.features=stored:2 --keep-features >stored.log 2>&1
same one stored
grep -q '2 of 60 training samples have damaged clips' stored/results.md || fail "no word of what was lost: $(cat stored/results.md)"
rm -r stored

# In feature stores damaged clips have no row, whichever rank found them, the others do not change, and the table counts them.
embed() { # RANKS STORE OUT
    run "$1" "$bin/vjepa-embed" "$tiny" --encoder random:published --store "$2" --out "$3" --set embed.batch=4
}
make_store whole.clips 60
embed 1 whole.clips whole.h5 >/dev/null
embed 1 train.clips train.h5 >embed.log 2>&1 || fail "damaged clips end vjepa-embed: $(cat embed.log)"
grep -q 'damaged clips are left out; encoding the other 58' embed.log || fail "nothing is said of damaged clips: $(cat embed.log)"
embed 3 train.clips train3.h5 >/dev/null 2>&1
embed 2 val.clips val.h5 >/dev/null 2>&1
compgen -G '*.part' >/dev/null && fail "parts of files are left: $(ls)"
/usr/bin/python3 - <<'PYTHON' || fail "features of a store with damaged clips"
import h5py
whole, one, three = (h5py.File(f"{name}.h5") for name in ("whole", "train", "train3"))
kept = [i for i in range(60) if i not in (7, 40)]
for name in "features", "label", "clip", "xxh3":
    assert (one[name][()] == whole[name][()][kept]).all() and (one[name][()] == three[name][()]).all(), name
assert list(one.attrs["failed"]) == [2, 2] and "failed" not in whole.attrs
PYTHON
refused 2 'one has the results of vjepa-evaluate' "$bin/vjepa-probe" "$tiny" pretrained=train.h5,val.h5 --out one
run 1 "$bin/vjepa-probe" "$tiny" pretrained=train.h5,val.h5 --out stored --set probe.epochs=1 >probe.log 2>&1 || fail "probe: $(cat probe.log)"
/usr/bin/python3 - <<'PYTHON' || fail "the probe's table does not count what was lost"
import json, h5py
rows = json.load(open("stored/results.json"))
assert all(r["validation_failed"] == 1 and r["validation_clips"] == 23 and r["training_failed"] == 2 for r in rows), rows
assert all(t.attrs["failed"] == 1 for t in h5py.File("stored/predictions.h5")["heads"].values())
PYTHON

# vjepa-spectrum with an encoder leaves them out too: it has the numbers of the stored features on any number of ranks, and the
# rows of a ridge probe are joined with those of vjepa-evaluate for the same weights, under their name and on the same clips.
if [[ -x $bin/vjepa-spectrum ]]; then
    live=("$tiny" --encoder random:published --store train.clips)
    spectrum() { # RANKS ARGUMENT...
        run "$1" "$bin/vjepa-spectrum" "${@:2}" >spectrum.log 2>&1 || fail "vjepa-spectrum ${*:2}: $(cat spectrum.log)"
    }
    spectrum 1 spectrum train.h5 --out stored.h5
    for ranks in 1 3; do
        spectrum $ranks spectrum "${live[@]}" --out live$ranks.h5 --set embed.batch=4
        [[ $(grep -c '2 damaged clips are left out; beginning anew with the other 58' spectrum.log) == 1 &&
            $(grep -c 'clip 7 is damaged' spectrum.log) == 1 ]] || fail "not said once: $(cat spectrum.log)"
    done
    cp -r one joined
    spectrum 2 ridge "${live[@]}" --validation val.clips --set probe.seeds=1 --table joined
    run 1 "$bin/vjepa-report" joined --out joined.html >/dev/null || fail "no page of joined results"
    /usr/bin/python3 - <<'PYTHON' || fail "an analysis of damaged clips: $(cat spectrum.log joined/results.md)"
import csv, json, h5py, numpy as np
stored = h5py.File("stored.h5")
for ranks in 1, 3:
    live = h5py.File(f"live{ranks}.h5")
    assert (live["clip"][()] == stored["clip"][()]).all() and (live["label"][()] == stored["label"][()]).all()
    x, y = (next(iter(f["representations"].values()))["eigenvalues"][()] for f in (live, stored))
    assert np.allclose(x, y, 1e-6, 1e-9 * y[0]), (x, y)
    assert json.load(open(f"live{ranks}.json"))["damaged_clips_left_out"] == 2
rows = json.load(open("joined/results.json"))
ridge = [r for r in rows if r["pooling"] == "ridge"]
others = {(r["task"], r["labels"]): r for r in rows if r["pooling"] == "attentive" and r["encoder"] == "published"}
assert [r for r in rows if r["pooling"] != "ridge"] == json.load(open("one/results.json"))
assert len(ridge) == len(others) > 0, rows
for r in ridge:
    assert r["encoder"] == "published" and r["validation_failed"] == 1 and r["validation_clips"] == 23, r
    assert (r["task"], r["labels"]) in others and r["training_clips"] == (58 if r["labels"] == 100 else 30), r
page = open("joined.html").read()
assert "published" in page and ">ridge<" in page and ">attentive<" in page
PYTHON
fi

# More than a hundredth, and more than ten, are too many.
damage val.clips 0 1 2 3 4 5 6 7 8 9
code=0
evaluate 2 many >many.log 2>&1 || code=$?
[[ $code == 1 ]] && grep -q 'val.clips: 11 of 24 samples cannot be used.*vjepa-inspect --verify' many.log ||
    fail "exit $code with too many damaged clips: $(cat many.log)"
code=0
embed 2 val.clips many.h5 >many.log 2>&1 || code=$?
[[ $code == 1 && ! -e many.h5 ]] && grep -q '11 of 24 clips are damaged.*vjepa-inspect --verify' many.log ||
    fail "exit $code of vjepa-embed with too many damaged clips: $(cat many.log)"
finish
