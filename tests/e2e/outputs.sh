#!/usr/bin/env bash
# Checks that no file of the user's is overwritten, that a run whose checkpoints are gone does not start again from scratch, and that
# clips which cannot be read count in short runs too.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 24

train=("$bin/vjepa-pretrain" "$tiny" --set train.stop_after=6)

# ------------------------------------------------------------------------------------------------ whose folder?

mkdir own && cp -r train.clips own/ && { echo '# my reasons'; cat "$tiny"; } >own/config.yaml && cp own/config.yaml config.kept
(cd own && refused 2 'config.yaml was not written by' "$bin/vjepa-pretrain" config.yaml --set run.dir=.)
cmp -s own/config.yaml config.kept || fail "the user's configuration was written over"
mkdir numbers && echo 'day,hours' >numbers/metrics.csv
refused 2 'metrics.csv was not written by' "${train[@]}" --set run.dir=numbers
[[ $(cat numbers/metrics.csv) == day,hours ]] || fail "the user's numbers were written over"
refused 2 'is a clip store' "${train[@]}" --set run.dir=train.clips
refused 2 'run.dir train.clips/run: train.clips/ is a clip store, where only vjepa-pack writes' "${train[@]}" --set run.dir=train.clips/run
refused 2 'is a clip store' "$bin/vjepa-embed" "$tiny" --encoder random:fan_in --store train.clips --out train.clips/f.h5
refused 2 'is a clip store' "$bin/vjepa-inspect" --contact-sheet train.clips/sheet.png train.clips
refused 2 'sheet.jpg: the picture is a PNG, and the name does not end in .png' "$bin/vjepa-inspect" --contact-sheet sheet.jpg train.clips
if [ -x "$bin/vjepa-spectrum" ]; then
    refused 2 'is a clip store' "$bin/vjepa-spectrum" spectrum "$tiny" --encoder random:fan_in --store train.clips --out train.clips/s.h5
fi
[[ $(ls train.clips) == "$(cd own/train.clips && ls)" ]] || fail "something was written into a clip store: $(ls train.clips)"

# A configuration called pack.yaml is not taken for that of a store, and not written over.
mkdir films && printf 'path\n' >films/list.csv
printf 'pack:\n  lists: [list.csv] # films that I have\n  store: .\n' >films/pack.yaml && cp films/pack.yaml pack.kept
(cd films && refused 2 'pack.yaml was not written by vjepa-pack, which would replace it' "$bin/vjepa-pack" pack.yaml)
cmp -s films/pack.yaml pack.kept && [ ! -e films/lease ] || fail "the user's pack.yaml was written over: $(ls films)"
refused 2 'is not a folder' "${train[@]}" --set run.dir=config.kept --dry-run
refused 2 'cannot be used' "${train[@]}" --set run.dir=not/there --dry-run
deep=$scratch/$(printf 'd%.0s' $(seq 200))/$(printf 'e%.0s' $(seq 200))
mkdir -p "$deep" && deep+=/$(printf 'f%.0s' $(seq $((490 - ${#deep}))))
refused 2 'the path has 491 bytes, at most 472 leave room' "${train[@]}" --set run.dir="$deep"
[ ! -e "$deep" ] || fail "a run began in a folder with too long a path"

# Nothing is written into a run's files if standard output and error are closed, so that other files get their descriptors.
"$bin/vjepa-inspect" --verify train.clips <&- >&- 2>&- || fail "inspect with closed descriptors"
"${train[@]}" --set run.dir=closed <&- >&- 2>&- || fail "a run with closed descriptors"
"$bin/vjepa-inspect" --verify closed >closed.log 2>&1 || fail "closed descriptors: $(cat closed.log)"
[[ $(wc -l <closed/metrics.csv) == 7 && $(head -c 5 closed/metrics.csv) == step, ]] || fail "printed into metrics.csv: $(cat closed/metrics.csv)"
[[ $(wc -l <closed/history.csv) == 3 ]] || fail "printed into history.csv: $(cat closed/history.csv)"
mkdir pipes && mkfifo pipes/metrics.csv
refused 2 'metrics.csv: this is a special file' "${train[@]}" --set run.dir=pipes

refused 2 'data.train names no clip store' "${train[@]}" --set 'data.train=[]' --set run.dir=none --dry-run
refused 2 'leave no .* tokens on a grid' "${train[@]}" --set data.crop=8 --set model.patch=8 --set run.dir=none --dry-run
refused 1 'is not a clip store, .*it is a file' "${train[@]}" --set 'data.train=[config.kept]' --set run.dir=none --dry-run

# The configuration in a run folder may be the one that is read; then it is not written.
"${train[@]}" --set run.dir=run >/dev/null
[[ $(cat run/latest) == step_00000006.h5 ]] || fail "latest: $(cat run/latest)"
cp run/config.yaml config.kept
"$bin/vjepa-pretrain" run/config.yaml --set train.stop_after=8 >/dev/null || fail "a run's own configuration is refused"
cmp -s run/config.yaml config.kept || fail "the configuration that is read was written over"

# A checkpoint or metrics beside a user's configuration do not make this one the run's.
mkdir beside && cp run/step_00000008.h5 beside/ && echo '# mine' >beside/config.yaml
refused 2 'config.yaml was not written by' "${train[@]}" --set run.dir=beside --set train.stop_after=9
rm beside/config.yaml && echo 'day,hours' >beside/metrics.csv
refused 2 'metrics.csv was not written by' "${train[@]}" --set run.dir=beside --set train.stop_after=9
[[ $(cat beside/metrics.csv) == day,hours ]] || fail "the user's numbers beside a checkpoint were written over"
mkdir copied && cp run/metrics.csv copied/ && echo '# mine' >copied/config.yaml
refused 2 'config.yaml was not written by' "${train[@]}" --set run.dir=copied
[[ $(cat copied/config.yaml) == '# mine' ]] || fail "the user's configuration beside metrics was written over"
# Runs of earlier versions, whose config.yaml lacks its first line, go on, and so does one whose own file was edited and is read.
cp -r run earlier && sed -i 1d earlier/config.yaml
"${train[@]}" --set run.dir=earlier --set train.stop_after=9 >earlier.log || fail "a run of an earlier release does not go on"
cp -r run edited && { echo '# my reasons'; cat run/config.yaml; } >edited/config.yaml
"$bin/vjepa-pretrain" edited/config.yaml --set run.dir=edited --set train.stop_after=9 >edited.log || fail "an edited configuration is refused"
[[ $(head -1 edited/config.yaml) == '# my reasons' ]] || fail "the configuration that is read was written over"

# ------------------------------------------------------------------------------------------------ gone

rm run/step_*.h5
cp run/metrics.csv metrics.kept
refused 1 'came to step 8 .* holds no checkpoint' "${train[@]}" --set run.dir=run
cmp -s run/metrics.csv metrics.kept && [ -e run/complete ] || fail "what was left of a run was written over"
rm run/complete run/latest
"${train[@]}" --set run.dir=run >anew.log || fail "told to, it does not begin anew"
cmp -s run/metrics.csv.1 metrics.kept || fail "the numbers before were not kept"

# ------------------------------------------------------------------------------------------------ clips

cp -r train.clips bad.clips
shard=(bad.clips/shard-*.h5)
chmod 000 "${shard[0]}"
if [ "$(id -u)" -eq 0 ]; then # root can read every file
    mkdir free && chmod 777 free && chmod a+rx . "$scratch"
    chmod 700 bad.clips
    refused 1 'read bad.clips/index.h5: Permission denied' setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp \
        "${train[@]}" --set data.train='[bad.clips]' --set run.dir=free/run --dry-run
    chmod 755 bad.clips
    refused 1 'shard of the store cannot be read' setpriv --reuid=65534 --regid=65534 --clear-groups env HOME=/tmp \
        "${train[@]}" --set data.train='[bad.clips]' --set run.dir=free/run
else
    refused 1 'shard of the store cannot be read' "${train[@]}" --set data.train='[bad.clips]' --set run.dir=closed
fi
chmod 644 "${shard[0]}"
# One clip of 24 is damaged; a run of 12 batches of 12 reads it.
place=$(/usr/bin/python3 -c 'import h5py, sys; print(h5py.File(sys.argv[1])["clips/offset"][3])' "${shard[0]}")
printf 'xxxx' | dd of="${shard[0]}" bs=1 seek=$((place + 100)) conv=notrunc status=none
refused 1 'more than 1 % is too many' "${train[@]}" --set data.train='[bad.clips]' --set run.dir=short --set data.verify=1 --set train.stop_after=12
[ ! -e short/complete ] || fail "a short run on substituted clips is complete"
finish
