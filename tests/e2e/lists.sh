#!/usr/bin/env bash
# Checks folders as users have them: what is no class is left out and named; a store inside the packed folder does not change what
# is packed, so the same command goes on after a kill; names of classes are in the store, on any number of ranks; and stores that
# number them differently are joined by name.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

"$tools/make_videos" videos 6
mkdir -p tree/{bee,ant,bat,.git,__MACOSX}
mapfile -t files < <(cut -d , -f 1 videos/list.csv | grep -v '^path' | head -n 4)
cp "videos/${files[0]}" tree/ant/a.mp4
cp "videos/${files[1]}" tree/bee/b.mp4
cp "videos/${files[2]}" tree/.git/c.mp4
cp "videos/${files[3]}" tree/__MACOSX/d.mp4
common=("$tiny" --set pack.short_side=32 --set pack.frames=4)
folder=(--set 'pack.datasets=[{name: zoo, format: imagenet, root: .}]')

cd tree
run 2 "$bin/vjepa-pack" "${common[@]}" "${folder[@]}" --set pack.store=zoo.clips >../1.log 2>&1 || fail "pack: $(cat ../1.log)"
grep -q 'label zoo: 2 classes: 0 ant, 1 bee' ../1.log || fail "classes: $(cat ../1.log)"
for stray in .git __MACOSX bat zoo.clips; do grep -q "passed over.*$stray" ../1.log || fail "$stray is not named: $(cat ../1.log)"; done
"$bin/vjepa-inspect" zoo.clips >../inspect.txt
grep -q '^label zoo, names of its 2 classes: 0 ant, 1 bee$' ../inspect.txt || fail "inspect: $(cat ../inspect.txt)"
run 3 "$bin/vjepa-pack" "${common[@]}" "${folder[@]}" --set pack.store=zoo.clips >../2.log 2>&1 || fail "again: $(cat ../2.log)"
grep -q 'packed already' ../2.log || fail "again: $(cat ../2.log)"

# It is killed while the first shard gets its name. Then the store, a log and a run folder are beside the classes.
mpirun -n 1 -x LD_PRELOAD="$shim" -x VJ_FAULT="0 rename shard 1 kill" "$bin/vjepa-pack" "${common[@]}" "${folder[@]}" \
    --set pack.store=cut.clips >../3.log 2>&1 && fail "it was not killed: $(cat ../3.log)"
[ ! -e cut.clips/index.h5 ] || fail "the killed store is finished"
touch slurm-1.out
mkdir run && touch run/config.yaml run/metrics.csv
run 2 "$bin/vjepa-pack" "${common[@]}" "${folder[@]}" --set pack.store=cut.clips >../4.log 2>&1 || fail "after a kill: $(cat ../4.log)"
cmp <(grep fingerprint ../inspect.txt) <("$bin/vjepa-inspect" cut.clips | grep fingerprint) || fail "the store differs after a kill"
cd ..

# If a listed part ends after its video, what there is is packed, and the ledger says so.
printf 'path,start,end\ntree/ant/a.mp4,0,1000\ntree/bee/b.mp4,0,0.2\n' >parts.csv
run 1 "$bin/vjepa-pack" "${common[@]}" --set 'pack.lists=[parts.csv]' --set pack.store=parts.clips >parts.log 2>&1 || fail "parts: $(cat parts.log)"
grep 'a.mp4' parts.clips/ledger.csv | grep -q 'listed to 1000 s, but the video ends at' || fail "parts: $(cat parts.clips/ledger.csv)"
grep 'b.mp4' parts.clips/ledger.csv | grep -q 'listed to' && fail "a part inside its video: $(cat parts.clips/ledger.csv)"

# A list has words as labels; the other store numbers them differently, and a file of names fixes the numbers.
printf 'path;zoo_class\ntree/ant/a.mp4;cow\ntree/bee/b.mp4;bee\n' >words.csv
run 1 "$bin/vjepa-pack" "${common[@]}" --set 'pack.lists=[words.csv]' --set pack.store=words.clips >5.log 2>&1 || fail "words: $(cat 5.log)"
grep -q 'label zoo_class: 2 classes: 0 bee, 1 cow' 5.log || fail "words: $(cat 5.log)"
printf 'path,zoo_class\ntree/ant/a.mp4,cow\ntree/bee/b.mp4,ape\n' >more.csv
run 2 "$bin/vjepa-pack" "${common[@]}" --set 'pack.lists=[more.csv]' --set pack.store=more.clips >more.log 2>&1 || fail "more: $(cat more.log)"
run 3 "$bin/vjepa-pretrain" "$tiny" --set 'data.train=[words.clips, more.clips]' --set data.frames=4 --dry-run >both.log 2>&1 ||
    fail "two stores with other classes: $(cat both.log)"
run 2 "$bin/vjepa-pretrain" "$tiny" --set 'data.train=[words.clips, ./words.clips]' --set data.frames=4 --dry-run >twice.log 2>&1 &&
    fail "a store named twice was accepted"
grep -q 'is the same clip store as words.clips' twice.log || fail "named twice: $(cat twice.log)"
for duplicates in keep:'packed with each' drop:'earlier ones count'; do # b.mp4 has another class in the second list
    run 2 "$bin/vjepa-pack" "${common[@]}" --set 'pack.lists=[words.csv, more.csv]' --set pack.store=no.clips --dry-run \
        --set pack.duplicates=${duplicates%:*} >labels.log 2>&1 || fail "two labels: $(cat labels.log)"
    grep -q "tree/bee/b.mp4 is zoo_class bee in words.csv:3 and ape in more.csv:3 (1 such entries in all).*${duplicates#*:}" labels.log ||
        fail "two labels: $(cat labels.log)"
done
refused 1 'create a temporary file in /not/there (TMPDIR, if it is no store): No such file' env TMPDIR=/not/there \
    "$bin/vjepa-pack" "${common[@]}" --set 'pack.lists=[words.csv]' --set pack.store=no.clips --dry-run
printf 'cow\n' >names.txt
run 1 "$bin/vjepa-pack" "${common[@]}" --set 'pack.datasets=[{name: d, list: words.csv, labels: names.txt}]' \
    --set pack.store=no.clips >6.log 2>&1 && fail "a class that is not among the names was accepted"
grep -q 'words.csv:3: class "bee" is not in the labels names.txt' 6.log || fail "names: $(cat 6.log)"
# The published lists of Kinetics: a byte order mark, carriage returns, quoted commas, ids without files, a blank in the folder. The
# classes are in the order of their names, or in that of a file of labels with underscores; the digest distinguishes both.
mkdir 'k 400' && cp tree/ant/a.mp4 'k 400/aaaaaaaaaaa_000001_000011.mp4' && cp tree/bee/b.mp4 'k 400/-bbbbbbbbbb_000002_000012.mp4'
printf '\xef\xbb\xbflabel,youtube_id,time_start,time_end,split\r\nzumba,aaaaaaaaaaa,1,11,train\r\n"tossing, salad",-bbbbbbbbbb,2,12,train\r\n' >k400.csv
printf 'abseiling,ccccccccccc,5,15,train\r\n' >>k400.csv
kinetics=(--set pack.max_refused=0.5 --set 'pack.datasets=[{name: k400, list: k400.csv, root: k 400}]')
run 2 "$bin/vjepa-pack" "${common[@]}" "${kinetics[@]}" --set pack.store=k400.clips >k400.log 2>&1 || fail "k400: $(cat k400.log)"
grep -q 'label k400: 3 classes: 0 abseiling, 1 tossing, salad, 2 zumba' k400.log || fail "k400: $(cat k400.log)"
grep -q 'k400: 2 clips from 3 files, 2 of them found' k400.log || fail "k400: $(cat k400.log)"
grep -q 'missing  *1 files, the first k 400/ccccccccccc_000005_000015.mp4' k400.log || fail "k400: $(cat k400.log)"
printf '{"0": "zumba", "1": "tossing,_salad", "2": "abseiling"}' >order.json
run 1 "$bin/vjepa-pack" "${common[@]}" --set pack.max_refused=0.5 --set pack.store=other.clips \
    --set 'pack.datasets=[{name: k400, list: k400.csv, root: k 400, labels: order.json}]' >other.log 2>&1 || fail "labels: $(cat other.log)"
grep -q 'label k400: 3 classes: 0 zumba, 1 tossing,_salad, 2 abseiling' other.log || fail "labels: $(cat other.log)"
# The paper's evaluation on them: eight overlapping windows of a short video, in three crops (docs/evaluation.md).
video=$source_dir/jobs/configs/evaluate_video.yaml
run 2 "$bin/vjepa-pack" "$video" "${kinetics[@]}" --set pack.short_side=32 --set pack.store=views.clips >views.log 2>&1 || fail "views: $(cat views.log)"
grep -q 'k400: 16 clips from 3 files' views.log || fail "views: $(cat views.log)"
run 1 "$bin/vjepa-evaluate" "$video" a=random:fan_in --train views.clips --validation views.clips --out x --dry-run --set model.size=custom \
    --set model.width=48 --set model.depth=1 --set model.heads=3 --set data.crop=32 >views.log 2>&1 || fail "views: $(cat views.log)"
grep -q ' 2 samples of 3 views to measure; a sample is 8 segments, 256 tokens' views.log || fail "views: $(cat views.log)"
# The published lists of Something-Something: templates have brackets in the list and none in the file of labels, whose numbers are
# texts.
mkdir ssv2 && cp tree/ant/a.mp4 ssv2/78687.webm && cp tree/bee/b.mp4 ssv2/42326.webm
cat >something-something-v2-train.json <<'JSON'
[{"id": "78687", "label": "holding potato next to vicks", "template": "Holding [something] next to [something]", "placeholders": ["potato", "vicks"]},
 {"id":"42326","label":"putting pen on desk","template":"Putting [something] on a surface","placeholders":["pen"]}]
JSON
printf '{"Approaching something with your camera": "0", "Holding something next to something":"1","Putting something on a surface":"2"}' >ssv2.json
run 2 "$bin/vjepa-pack" "${common[@]}" --set pack.store=ssv2.clips \
    --set 'pack.datasets=[{name: ssv2, list: something-something-v2-train.json, root: ssv2, labels: ssv2.json}]' >ssv2.log 2>&1 ||
    fail "ssv2: $(cat ssv2.log)"
"$bin/vjepa-inspect" ssv2.clips >ssv2.txt
grep -q '^label ssv2, names of its 3 classes: 0 Approaching something with your camera, 1 Holding something' ssv2.txt &&
    grep -q '^label ssv2 (value:clips): 1:1 2:1' ssv2.txt || fail "ssv2: $(cat ssv2.txt)"
for store in k400 other; do "$bin/vjepa-inspect" $store.clips | grep '^label k400, digest of these names' >$store.digest; done
[ -s k400.digest ] && ! cmp -s k400.digest other.digest || fail "digests: $(cat k400.digest other.digest)"
finish
