#!/usr/bin/env bash
# Checks the conversion of published PyTorch checkpoints to ours and back: a random model of the published layout has the same outputs
# in both, passes through both converters without a changed bit, and training goes on in both. Wrong files get a message.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
python=/usr/bin/python3
missing=$("$python" -c '
import importlib.util as u
print(*(m for m in ("torch", "h5py", "xxhash", "yaml") if not u.find_spec(m)))')
if [ -n "$missing" ]; then
    echo "SKIPPED: the converters are not tested, $python has no $missing (bash jobs/setup.sh dev installs it)"
    exit 77
fi
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$source_dir/io/convert
coproc server { "$python" "$source_dir/tests/convert/forked.py" "$scratch/server"; }
for _ in $(seq 600); do
    [ -e server ] && break
    kill -0 "$server_PID" || { fail "forked.py does not start" && finish; }
    sleep 0.1
done
forked() { "$python" -S "$source_dir/tests/convert/forked.py" "$scratch/server" "$@"; }
from_pytorch() { forked "$source_dir/io/convert/from_pytorch.py" "$@"; }
to_pytorch() { forked "$source_dir/io/convert/to_pytorch.py" "$@"; }
check() { forked "$source_dir/tests/convert/check.py" "$@" || fail "check.py $*"; }
verify() { "$bin/vjepa-inspect" --verify "$1" >verify.log || fail "$1: $(cat verify.log)"; }
same() { "$bin/vjepa-inspect" --compare "$1" "$2" >compare.log || fail "$1 and $2: $(cat compare.log)"; }

# Position tables of these widths are cut: from 66 columns to 64 and from 36 to 32.
run 1 "$bin/vjepa-pretrain" "$tiny" --set model.width=64 --set model.heads=4 --set predictor.width=32 \
    --set predictor.heads=4 --set 'data.train=[a.clips, b.clips]' --print-config >config.yaml
cat >shape.json <<'J'
{"width": 64, "depth": 2, "heads": 4, "patch": 8, "tubelet": 2, "frames": 4, "crop": 32, "uniform_power": true,
 "predictor_width": 32, "predictor_depth": 2}
J
run 1 "$tools/make_store" a.clips 16 4 32 32
run 1 "$tools/make_store" b.clips 8 4 32 32 100
mkdir run

# One epoch of 8 steps; in one of them the loss scaler skipped the update.
check make published.pth.tar shape.json 7
from_pytorch published.pth.tar run --config config.yaml --clips a.clips,b.clips >from.log || fail "from_pytorch: $(cat from.log)"
cp run/step_00000008.h5 first.h5 # because the run removes old checkpoints
first=first.h5
verify "$first"
"$bin/vjepa-inspect" "$first" >inspect.log || fail "$first cannot be printed"
for line in 'step +8' 'samples +96' 'seed +7' 'bad steps +1'; do
    grep -Eq "^ *$line$" inspect.log || fail "state: no $line in $(head -n 8 inspect.log)"
done
check moments "$first" published.pth.tar
encoder() { "$bin/vjepa-inspect" "$1" | grep '^  encoder '; }
encoder "$first" | grep -q '  encoder    vit, width 64, depth 2, heads 4, ' || fail "the architecture: $(encoder "$first")"

# Outputs are the same: features by vjepa-embed; encoder, predictor, loss and gradients by vjepa-parity.
run 2 "$bin/vjepa-embed" config.yaml --encoder "$first" --store a.clips --out a.h5 >embed.log || fail "embed: $(cat embed.log)"
check features published.pth.tar shape.json a.clips a.h5
check fixture "$first" published.pth.tar shape.json forward.h5
run 1 "$bin/vjepa-parity" forward.h5 >parity.log || fail "parity: $(grep -v ' ok$' parity.log)"
run 2 "$bin/vjepa-embed" config.yaml --encoder "$first" --store b.clips --out b.h5 >/dev/null
run 2 "$bin/vjepa-probe" config.yaml converted=a.h5,b.h5 --set probe.seeds=1 --set probe.epochs=1 --out probe >probe.log ||
    fail "probe: $(cat probe.log)"

# Conversion there and back, in both directions.
to_pytorch "$first" back.pth.tar >to.log || fail "to_pytorch: $(cat to.log)"
check same published.pth.tar back.pth.tar
check go_on published.pth.tar back.pth.tar shape.json
from_pytorch back.pth.tar again.h5 --config config.yaml --clips a.clips,b.clips >/dev/null
same "$first" again.h5
[ "$(wc -l <compare.log)" -eq 1 ] || fail "state or configuration changed: $(cat compare.log)"

# vjepa goes on training from it, and its checkpoint can be converted for PyTorch again.
run 2 "$bin/vjepa-pretrain" config.yaml --set train.epochs=2 >train.log || fail "resume: $(cat train.log)"
grep -q 'resuming from run/step_00000008.h5: 8 of 16 steps' train.log || fail "not resumed: $(cat train.log)"
to_pytorch run/step_00000016.h5 trained.pth.tar >/dev/null
to_pytorch run/step_00000010.h5 within.pth.tar >to.log
grep -q 'step 10 is 2 steps after epoch 1' to.log || fail "within an epoch: $(cat to.log)"
check go_on trained.pth.tar trained.pth.tar shape.json
[ "$(encoder "$first")" = "$(encoder run/step_00000016.h5)" ] || fail "another architecture: $(encoder run/step_00000016.h5)"
cp run/step_00000016.h5 rotary.h5
"$python" -c "import h5py; h5py.File('rotary.h5', 'r+')['architecture'].attrs.modify('positions', b'rotary')"
if to_pytorch rotary.h5 rotary.pth.tar >to.log 2>&1 || ! grep -q 'with positions rotary, .* sincos' to.log; then
    fail "an encoder that PyTorch's code does not have: $(cat to.log)"
fi
run 1 "$bin/vjepa-embed" config.yaml --encoder run/step_00000016.h5 --store a.clips --out trained.h5 >/dev/null
check features trained.pth.tar shape.json a.clips trained.h5
to_pytorch --encoder-only run encoder.pth.tar >/dev/null # of its newest checkpoint
check features encoder.pth.tar shape.json a.clips trained.h5
from_pytorch encoder.pth.tar encoder.h5 --config config.yaml >/dev/null
run 1 "$bin/vjepa-embed" config.yaml --encoder encoder.h5 --store a.clips --out encoder-features.h5 >/dev/null
check features encoder.pth.tar shape.json a.clips encoder-features.h5
# An exported encoder, which bf16 has rounded.
"$bin/vjepa-inspect" --export half.h5 --dtype bf16 run >/dev/null || fail "--export --dtype bf16 fails"
to_pytorch --encoder-only half.h5 half.pth.tar >to.log 2>&1 || fail "to_pytorch of bf16: $(cat to.log)"
run 1 "$bin/vjepa-embed" config.yaml --encoder half.h5 --store a.clips --out half-features.h5 >/dev/null
check features half.pth.tar shape.json a.clips half-features.h5

# A published size needs no configuration: the size gives the heads, the tables give clips and kind of table.
cat >size.json <<'J'
{"width": 192, "depth": 12, "heads": 3, "patch": 16, "tubelet": 2, "frames": 8, "crop": 48, "uniform_power": false,
 "predictor_width": 48, "predictor_depth": 1}
J
sized=(--set model.size=tiny --set model.width=0 --set model.depth=0 --set model.heads=0 --set model.patch=16
    --set model.uniform_power=false --set data.frames=8 --set data.crop=48 --set predictor.width=48 --set predictor.heads=3)
check make sized.pth.tar size.json 1
from_pytorch --no-optimizer sized.pth.tar sized.h5 >sized.log || fail "sized: $(cat sized.log)"
grep -q '8 frames of 48 x 48, uniform_power false' sized.log || fail "what the tables tell: $(cat sized.log)"
verify sized.h5
run 1 "$tools/make_store" sized.clips 6 8 48 48
run 1 "$bin/vjepa-embed" config.yaml "${sized[@]}" --encoder sized.h5 --store sized.clips --out sized-features.h5 >embed.log 2>&1 ||
    fail "embed: $(cat embed.log)"
check features sized.pth.tar size.json sized.clips sized-features.h5
# A converted checkpoint has the settings of the published configuration, with which it goes on.
mkdir sized-run
check spoil sized.pth.tar epoch.pth.tar epoch
from_pytorch epoch.pth.tar sized-run --clips sized.clips >sized.log || fail "sized: $(cat sized.log)"
run 2 "$bin/vjepa-pretrain" "$source_dir/jobs/configs/vitl16_224.yaml" "${sized[@]}" --set run.dir=sized-run \
    --set 'data.train=[sized.clips]' --set predictor.depth=1 --set train.batch=12 --set train.microbatch=6 \
    --set mask.group=6 --set train.stop_after=301 >train.log 2>&1 || fail "sized resume: $(cat train.log)"
grep -q 'step_00000300.h5: 300 of 301 steps' train.log || fail "not resumed: $(cat train.log)"
to_pytorch sized.h5 sized-back.pth.tar >to.log
grep -q 'no moments' to.log || fail "without moments: $(cat to.log)"

# The converters have the same settings as the programs.
: >empty.yaml
run 1 "$bin/vjepa-pretrain" empty.yaml --print-config >plain.yaml
for size in tiny small base large huge giant; do
    run 1 "$bin/vjepa-pretrain" empty.yaml --set model.size=$size --print-config >$size.yaml
done
check settings plain.yaml tiny.yaml small.yaml base.yaml large.yaml huge.yaml giant.yaml

# Every unknown key and every contradiction is refused, and a refused file leaves no output.
refuse() { # EXIT_CODE PATTERN COMMAND...
    local want=$1 pattern=$2 got=0
    shift 2
    rm -f refused.h5
    "$@" >out.log 2>&1 || got=$?
    [ "$got" -eq "$want" ] || fail "$* ended with $got, not $want: $(tail -n 3 out.log)"
    grep -Eq -e "$pattern" out.log || fail "$* did not say /$pattern/: $(cat out.log)"
    if compgen -G 'refused.h5*' >/dev/null; then fail "$* left a file"; fi
}
spoiled() { # EXIT_CODE WHAT PATTERN [OPTIONS]
    local want=$1 what=$2 pattern=$3
    shift 3
    check spoil published.pth.tar spoiled.pth.tar "$what"
    refuse "$want" "$pattern" from_pytorch spoiled.pth.tar refused.h5 --config config.yaml "$@"
}
spoiled 1 key 'unexpected keys: ema; .* has encoder, predictor'
spoiled 1 missing 'encoder: blocks\.0\.attn\.qkv\.bias is missing'
spoiled 1 unexpected 'target_encoder: cls_token \[1, 1, 8\] is unexpected'
spoiled 1 dims 'predictor: predictor_norm\.bias is \[5\], expected \[32\]'
spoiled 1 type 'encoder: blocks\.0\.attn\.qkv\.bias is of torch\.float16'
spoiled 1 table 'predictor: predictor_pos_embed \[1, 32, 32\] is not the .* off by 0\.001 from that of 4 frames of 32 x 32'
spoiled 1 moment 'exp_avg_sq of predictor\..* is missing.*expected'
spoiled 1 groups 'groups of .* parameters, expected'
spoiled 2 updates '90000 updates, but 1 epochs of train\.steps_per_epoch 8 .* are 8'
spoiled 1 object 'refers to _*builtins?_*\.eval, .*give --trust'
for what in drift target; do
    check spoil published.pth.tar spoiled.pth.tar $what
    from_pytorch spoiled.pth.tar $what.h5 --config config.yaml >out.log || fail "$what: $(cat out.log)"
    verify $what.h5
done
sed 's/heads: 4/heads: 3/' config.yaml >other.yaml
sed 's/depth: 2/depth: 3/' config.yaml >deeper.yaml
sed 's/batch: 12/batch: 24/' config.yaml >batch.yaml
sed 's/crop: 32/crop: 64/' config.yaml >crop.yaml
refuse 2 'number of heads cannot be known.*--config' from_pytorch published.pth.tar refused.h5
refuse 2 'deeper\.yaml: model\.depth is 3, the checkpoint has 2' from_pytorch published.pth.tar refused.h5 --config deeper.yaml
refuse 2 'batch\.yaml: train\.batch is 24, .* 6 clips on each of 2 devices, 12' from_pytorch published.pth.tar refused.h5 --config batch.yaml
refuse 1 'target_encoder|pos_embed .* is not the' from_pytorch published.pth.tar refused.h5 --config crop.yaml
refuse 1 'nowhere\.pth\.tar' from_pytorch nowhere.pth.tar refused.h5
refuse 1 'No such file|nowhere' from_pytorch published.pth.tar refused.h5 --config config.yaml --clips nowhere.clips
refuse 1 'config\.yaml is not a file of torch\.save' from_pytorch config.yaml refused.h5
refuse 1 'config\.yaml cannot be read by torch' from_pytorch config.yaml refused.h5 --trust
refuse 1 'has no torch, h5py, .*apt-get install python3-torch' "$python" -S "$source_dir/io/convert/from_pytorch.py"
refuse 2 'usage' from_pytorch published.pth.tar
refuse 2 'unrecognized arguments: --confg' from_pytorch published.pth.tar refused.h5 --confg config.yaml
before=$(sha256sum published.pth.tar "$first")
refuse 2 'published.pth.tar exists: it is not replaced' from_pytorch published.pth.tar published.pth.tar --config config.yaml
refuse 2 'first.h5 exists: it is not replaced' to_pytorch "$first" "$first"
[ "$before" = "$(sha256sum published.pth.tar "$first")" ] || fail "an input was replaced"
refuse 0 'exit codes: 0 done' from_pytorch --help
refuse 0 'exit codes: 0 done' to_pytorch --help
refuse 1 'nowhere\.h5' to_pytorch nowhere.h5 refused.h5
refuse 1 'is not an HDF5 file' to_pytorch config.yaml refused.h5
refuse 1 'is a vjepa-features of version' to_pytorch a.h5 refused.h5
cp "$first" damaged.h5
"$python" -c 'import h5py; h5py.File("damaged.h5", "r+")["model/target/norm.bias"][3] = 7'
refuse 1 'damaged: block 0 of model/target/norm\.bias' to_pytorch damaged.h5 refused.h5
cp "$first" lacking.h5
"$python" -c 'import h5py; del h5py.File("lacking.h5", "r+")["model/predictor/mask_tokens.1"]'
refuse 2 '9 updates, but 1 epochs' from_pytorch within.pth.tar refused.h5 --config config.yaml
cp "$first" stateless.h5
"$python" -c 'import h5py; del h5py.File("stateless.h5", "r+")["state"].attrs["seed"]'
refuse 1 'lacks its configuration or the state' to_pytorch stateless.h5 refused.h5
cp "$first" unchecked.h5
"$python" -c 'import h5py; del h5py.File("unchecked.h5", "r+")["model/target/norm.bias"].attrs["xxh3"]'
refuse 1 'model/target/norm\.bias has 0 checksums, expected 1' to_pytorch unchecked.h5 refused.h5
refuse 1 'model/predictor/mask_tokens\.1 is missing' to_pytorch lacking.h5 refused.h5

# Attentive probes are the same classifier in both, and there and back no bit changes.
printf '%s\n' apple pear plum fig quince >names.txt
named=(--task fruit --class-names names.txt)
for kind in 1.first 3.second; do
    depth=${kind%.*} version=${kind#*.} chosen=()
    [ "$version" = second ] && chosen=(--head 1)
    rm -f probe.h5 probe-back.pth.tar
    check make_probe probe.pth.tar "$depth" "$version"
    from_pytorch probe.pth.tar probe.h5 --heads 3 "${chosen[@]}" "${named[@]}" >from.log || fail "$kind: $(cat from.log)"
    verify probe.h5
    check probe_fixture probe.pth.tar probe.h5 "$depth" "$version" probe-parity.h5
    "$bin/vjepa-parity" probe-parity.h5 >parity.log || fail "$kind: $(grep -v ' ok$' parity.log)"
    to_pytorch probe.h5 probe-back.pth.tar >to.log || fail "$kind: $(cat to.log)"
    check same_probe probe.pth.tar probe-back.pth.tar
done
"$bin/vjepa-inspect" probe.h5 >inspect.log || fail "a probe cannot be printed: $(cat inspect.log)"
for line in 'kind +attentive, depth 3 \(blocks on the tokens\), 3 heads' 'classes +5 of fruit, names with digest .*' '1  pear' \
    'pooler\.blocks\.1\.attn\.qkv\.weight +\[72, 24\]' '39 tensors, .* elements'; do
    grep -Eq "^ *$line$" inspect.log || fail "a probe: no $line in $(cat inspect.log)"
done
check probe_refusals probe.pth.tar probe.h5 published.pth.tar "$first"
if compgen -G 'refused*' >/dev/null; then fail "a refused probe left a file"; fi

# Of the pixel baseline only the encoder can be converted for PyTorch.
run 1 "$bin/vjepa-pretrain" config.yaml --set objective.kind=pixel --set run.dir=pixel --set train.stop_after=1 >/dev/null
refuse 1 'objective\.kind pixel.*--encoder-only' to_pytorch pixel/step_00000001.h5 refused.h5
to_pytorch --encoder-only pixel/step_00000001.h5 pixel.pth.tar | grep -q ': encoder, epoch' || fail "pixel encoder"
finish
