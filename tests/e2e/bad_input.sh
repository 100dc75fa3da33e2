#!/usr/bin/env bash
# Checks wrong input of all kinds: the message names what is wrong, the exit code is right, nothing is lost, nothing hangs.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 24

refuse() { # EXIT_CODE PATTERN RANKS COMMAND...; one rank needs no launcher, and starts sooner without
    local want=$1 pattern=$2 ranks=$3 got=0 launch=(timeout 600)
    shift 3
    [ "$ranks" -eq 1 ] || launch=(run "$ranks")
    "${launch[@]}" "$@" >out.log 2>&1 || got=$?
    [ "$got" -eq "$want" ] || fail "$* ended with $got, not $want: $(tail -n 3 out.log)"
    grep -Eq -e "$pattern" out.log || fail "$* did not say /$pattern/: $(head -n 5 out.log)"
}

pretrain=$bin/vjepa-pretrain
refuse 2 'config|CONFIG' 1 "$pretrain"
refuse 2 'missing\.yaml.*No such file' 2 "$pretrain" missing.yaml
refuse 2 'unknown option.*--sett' 1 "$pretrain" "$tiny" --sett a=b
refuse 2 'model\.widht.*model\.width' 1 "$pretrain" "$tiny" --set model.widht=4
refuse 2 'train\.batch' 1 "$pretrain" "$tiny" --set train.batch=many
refuse 2 'heads' 2 "$pretrain" "$tiny" --set model.heads=5
refuse 2 'microbatch' 1 "$pretrain" "$tiny" --set train.microbatch=5
refuse 2 'ranks' 4 "$pretrain" "$tiny" --set train.microbatch=6
refuse 2 'data\.frames' 2 "$pretrain" "$tiny" --set data.frames=8
printf 'model:\n  width: 48\n\tdepth: 2\n' >tabs.yaml
refuse 2 'tabs\.yaml:3.*begins with a tab: indent by blanks' 1 "$pretrain" tabs.yaml
printf 'train:\n  batch: 16\n  precision: fp8\n' >precision.yaml
refuse 2 'precision\.yaml:3.*fp32.*bf16' 1 "$pretrain" precision.yaml

# A configuration may come through a pipe, and a pipe that nobody writes to is said.
mkfifo pipe.yaml
"$pretrain" pipe.yaml --dry-run >pipe.log 2>&1 &
reader=$!
for _ in $(seq 600); do
    if grep -q 'pipe.yaml is a pipe, and nobody has written to it yet' pipe.log || ! kill -0 $reader 2>/dev/null; then break; fi
    sleep 0.1
done
kill -0 $reader 2>/dev/null || fail "nobody wrote to a pipe: $(cat pipe.log)"
timeout 60 tee pipe.yaml <"$tiny" >/dev/null
wait $reader || fail "a configuration through a pipe: $(cat pipe.log)"

refuse 1 'nowhere\.clips' 2 "$pretrain" "$tiny" --set data.train='[nowhere.clips]'
mkdir foreign.clips && echo rubbish >foreign.clips/index.h5
refuse 1 'foreign\.clips' 2 "$pretrain" "$tiny" --set data.train='[foreign.clips]'
cp -r train.clips cut.clips && truncate -s 20000 cut.clips/shard-00000.h5
refuse 1 'cut\.clips/shard-00000\.h5' 2 "$pretrain" "$tiny" --set data.train='[cut.clips]'

# If the newest checkpoint is damaged, no older one is used and training does not start from scratch; the file is left alone.
run 1 "$pretrain" "$tiny" --set run.dir=run >/dev/null
for damage in truncate overwrite text; do
    cp -r run "run-$damage"
    newest=run-$damage/step_00000024.h5
    case $damage in
    truncate) truncate -s 60% "$newest" 2>/dev/null || truncate -s $(($(stat -c %s "$newest") * 6 / 10)) "$newest" ;;
    overwrite) printf 'damage' | dd of="$newest" bs=1 seek=$(($(stat -c %s "$newest") / 2)) conv=notrunc status=none ;;
    text) echo "not a checkpoint" >"$newest" ;;
    esac
    before=$(sha256sum "$newest")
    refuse 1 'step_00000024\.h5' 2 "$pretrain" "$tiny" --set run.dir="run-$damage" --set train.epochs=4
    grep -q "no good copy of $newest, move it away: .* goes on from .*run-$damage/step_00000020.h5\$" out.log || fail "no advice: $(cat out.log)"
    [ "$before" = "$(sha256sum "$newest")" ] || fail "$newest was changed"
    [ -e "run-$damage/step_00000020.h5" ] || fail "the older checkpoint of run-$damage is gone"
done
before=$(sha256sum run/config.yaml run/complete run/metrics.csv run/step_*.h5)
refuse 1 'with run.seed 7, this run has 8: give it the same, or another run.dir' 1 "$pretrain" "$tiny" --set run.dir=run --set run.seed=8
run 1 "$tools/make_store" other.clips 24 4 36 40 100
refuse 1 'fingerprint' 1 "$pretrain" "$tiny" --set run.dir=run --set data.train='[other.clips]'
refuse 1 'with model.width 48, this run has 24: give' 1 "$pretrain" "$tiny" --set run.dir=run --set model.width=24 --set model.heads=3
refuse 1 'with predictor.heads 3, this run has 2: give' 2 "$pretrain" "$tiny" --set run.dir=run --set predictor.heads=2
refuse 1 'with mask.cut group, this run has none: give' 2 "$pretrain" "$tiny" --set run.dir=run --set mask.cut=none
# A dry run finds the same, and says where the run would begin.
refuse 1 'with predictor.heads 3, this run has 2: give' 2 "$pretrain" "$tiny" --set run.dir=run --set predictor.heads=2 --dry-run
refuse 0 'would go on from run/step_00000024.h5: 24 of 32 steps are done' 2 "$pretrain" "$tiny" --set run.dir=run --set train.epochs=4 --dry-run
grep -q '^dry run: all was checked, nothing was written$' out.log || fail "a dry run: $(cat out.log)"
refuse 0 'would start from scratch: none has no checkpoint' 1 "$pretrain" "$tiny" --set run.dir=none --dry-run
files=$(stat -c '%n %i %y' run/{config.yaml,metrics.csv,metrics.jsonl,history.csv})
refuse 0 'done: all 24 steps had been done before; to go on, raise train.epochs' 1 "$pretrain" "$tiny" --set run.dir=run --set optimizer.lr=0.5
[ "$files" = "$(stat -c '%n %i %y' run/{config.yaml,metrics.csv,metrics.jsonl,history.csv})" ] || fail "a finished run was written to: $(cat out.log)"
[ "$before" = "$(sha256sum run/config.yaml run/complete run/metrics.csv run/step_*.h5)" ] || fail "a refused start changed the run"

# What cannot go well is said before it does not.
refuse 0 'warning: .*a rank needs about [0-9]* MiB of its node.s memory, and [0-9]* MiB are free there for each' 1 "$pretrain" "$tiny" \
    --set run.dir=none --set train.batch=16777212 --set data.read_ahead=64 --dry-run
OMP_NUM_THREADS=1000 refuse 0 'warning: .*OMP_NUM_THREADS gives a rank 1000 threads, its share of the node is [0-9]* processor' 1 \
    "$pretrain" "$tiny" --set run.dir=none --dry-run
refuse 0 'warms up for 9 steps .*the schedule has 8' 1 "$pretrain" "$tiny" --set run.dir=none --set train.epochs=1 --set optimizer.warmup_epochs=1.125 --dry-run
refuse 0 'no checkpoint will be written, and all that is learned is lost' 1 "$pretrain" "$tiny" --set run.dir=none \
    --set checkpoint.every=25 --set checkpoint.at_end=false --dry-run
refuse 2 "train.products: 'mkl' is not allowed" 1 "$pretrain" "$tiny" --set train.products=mkl
refuse 0 'would start' 1 "$pretrain" "$tiny" --set run.dir=none --set train.epochs=1 --set optimizer.warmup_epochs=1 --dry-run
if grep -q 'warms up' out.log; then fail "a warm-up as long as the schedule reaches optimizer.lr: $(cat out.log)"; fi

# Steps with numbers that are not finite (Adam without eps divides zero by zero) are skipped and counted, then the run stops.
# Such numbers are never written, and the last checkpoint is good.
cp -r run nan
before=$(sha256sum nan/step_*.h5)
refuse 1 'max_bad_steps' 2 "$pretrain" "$tiny" --set run.dir=nan --set train.epochs=6 --set optimizer.eps=1e-300 \
    --set train.max_bad_steps=3 --set checkpoint.every=0
# After three such steps it returns to the checkpoint, once; after three more it stops.
[ "$(grep -c 'step .* skipped: ' out.log)" -eq 6 ] && [ "$(grep -c 'ROLL-BACK 1 of 1.*step_00000024' out.log)" -eq 1 ] || fail "skipped steps are not reported: $(cat out.log)"
refuse 1 'weights are not finite' 2 "$pretrain" "$tiny" --set run.dir=nan --set train.epochs=6 --set optimizer.eps=1e-300 \
    --set checkpoint.every=1
[ "$(grep -c 'ROLL-BACK 1 of 1.*step_00000024' out.log)" -eq 1 ] || fail "no return from weights that are not finite: $(cat out.log)"
[ "$before" = "$(sha256sum nan/step_*.h5)" ] || fail "bad numbers reached a checkpoint"
run 2 "$pretrain" "$tiny" --set run.dir=nan --set train.epochs=4 >/dev/null || fail "the run does not go on after bad numbers"

inspect=$bin/vjepa-inspect
refuse 1 'missing\.h5' 1 "$inspect" missing.h5
refuse 1 'step_00000024\.h5' 1 "$inspect" --verify run-overwrite/step_00000024.h5
refuse 1 'shard-00000.h5 is a file of a clip store: name the folder' 1 "$inspect" train.clips/shard-00000.h5
refuse 1 'differ' 1 "$inspect" --compare run/step_00000020.h5 run/step_00000024.h5
run 1 "$inspect" --verify run/step_00000024.h5 train.clips >/dev/null || fail "a good checkpoint and store do not verify"

pack=$bin/vjepa-pack
refuse 2 'pack\.(lists|store)' 1 "$pack" "$tiny"
refuse 1 'nolist\.csv' 2 "$pack" "$tiny" --set pack.lists='[nolist.csv]' --set pack.store=a.clips
: >empty.csv
refuse 1 'empty\.csv' 1 "$pack" "$tiny" --set pack.lists='[empty.csv]' --set pack.store=b.clips
printf 'path,colour\nnofile.mp4,0\nrubbish.mp4,1\n' >bad.csv
echo "not a video" >rubbish.mp4
refuse 1 'no clip' 2 "$pack" "$tiny" --set pack.lists='[bad.csv]' --set pack.store=c.clips
printf 'path,colour\nrubbish.mp4,red\n' >label.csv
refuse 1 'label\.csv:2' 1 "$pack" "$tiny" --set pack.lists='[label.csv]' --set pack.store=d.clips

refuse 1 'missing\.h5' 1 "$bin/vjepa-embed" "$tiny" --encoder missing.h5 --store train.clips --out f.h5
refuse 2 '--out no/f.h5: the folder no cannot be used' 1 "$bin/vjepa-embed" "$tiny" --encoder missing.h5 --store train.clips --out no/f.h5
refuse 1 'nowhere\.clips' 1 "$bin/vjepa-embed" "$tiny" --encoder random:published --store nowhere.clips --out f.h5
refuse 2 'random:' 1 "$bin/vjepa-embed" "$tiny" --encoder random:other --store train.clips --out f.h5
refuse 1 'missing\.h5' 1 "$bin/vjepa-probe" "$tiny" pretrained=missing.h5,missing.h5 --out results
refuse 1 'run-truncate' 2 "$bin/vjepa-embed" "$tiny" --encoder run-truncate/step_00000024.h5 --store train.clips --out f.h5
[ ! -e f.h5 ] || fail "a refused vjepa-embed left f.h5"
refuse 1 'step_00000024\.h5' 2 "$bin/vjepa-probe" "$tiny" pretrained=run/step_00000024.h5,run/step_00000024.h5 --out results
refuse 1 'missing\.h5: No such file' 1 "$bin/vjepa-parity" missing.h5
refuse 1 'index\.h5|foreign' 1 "$bin/vjepa-parity" foreign.clips/index.h5
refuse 1 'no-media' 2 "$bin/vjepa-demo" --media no-media --out videos
refuse 2 '--media' 1 "$bin/vjepa-demo" --out videos
finish
