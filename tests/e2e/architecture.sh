#!/usr/bin/env bash
# Checks that a checkpoint, and an exported encoder, describes its encoder, and that one which differs from the configuration
# is refused with the difference. Older checkpoints without the description are judged by the configuration in them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
make_store train.clips 24
pretrain 2 run --set train.epochs=1 >/dev/null
checkpoint=run/step_00000008.h5

embed() { # CODE WORDS ENCODER [OPTION...]
    local want=$1 words=$2 encoder=$3 code=0
    shift 3
    rm -f features.h5
    timeout 100 "$bin/vjepa-embed" "$tiny" --encoder "$encoder" --store train.clips --out features.h5 "$@" >embed.log 2>&1 || code=$?
    [ $code -eq "$want" ] || fail "embed $encoder $*: exit $code, expected $want: $(cat embed.log)"
    grep -q "$words" embed.log || fail "embed $encoder $* does not say '$words': $(cat embed.log)"
}
change() { # COPY PYTHON: what becomes of the attributes `a` of its architecture
    cp $checkpoint "$1"
    /usr/bin/python3 -c "import h5py; f = h5py.File('$1', 'r+'); a = f['architecture'].attrs
word = lambda name, text: a.create(name, text, dtype=h5py.string_dtype('utf-8', len(text) + 1))
$2"
}

"$bin/vjepa-inspect" $checkpoint >print.log
line='  encoder    vit, width 48, depth 2, heads 3, hidden 192, patch 8, tubelet 2, channels 3, prefix_tokens 0, positions sincos, uniform_power 1, eps 1e-06, frames 4, height 32, width_px 32'
grep -qxF "$line" print.log || fail "the architecture is not printed: $(head -n 12 print.log)"
embed 0 'effective rank' $checkpoint
embed 1 'holds an encoder with model.heads 3, the configuration says 6' $checkpoint --set model.heads=6
embed 1 'holds an encoder with hidden width .* 192, the configuration says 96' $checkpoint --set model.mlp_ratio=2
embed 0 'effective rank' $checkpoint --set data.crop=24 # positions are computed for any clip

# Encoders that no configuration of this version can have.
change kind.h5 "word('kind', b'hiera')"
embed 1 'holds an encoder with architecture hiera, the configuration says vit' kind.h5
change rotary.h5 "word('positions', b'rotary')"
embed 1 'with positions rotary, the configuration says sincos' rotary.h5
change eps.h5 "a['eps'] = a['eps'] * 10"
change lost.h5 "del a['patch']"
embed 1 'no attribute patch' lost.h5
change word.h5 "word('positions', b'somewhere along the way')"
embed 1 'positions is .somewhere along the way., a word of 1 to 15 letters expected' word.h5
"$bin/vjepa-inspect" --compare eps.h5 $checkpoint >compare.log || fail "equal tensors: $(cat compare.log)"
grep -q '^architecture eps: 1e-05, 1e-06$' compare.log || fail "another architecture is not said: $(cat compare.log)"

# Training does not continue with another encoder.
mkdir other
mv eps.h5 other/step_00000008.h5
code=0
pretrain 2 other >other.log 2>&1 || code=$?
[ $code -eq 1 ] && grep -q 'with eps 1e-05, the configuration says 1e-06' other.log || fail "going on: exit $code: $(cat other.log)"

# Files of older versions.
change old.h5 "del f['architecture']"
embed 0 'effective rank' old.h5
embed 1 'holds an encoder with model.heads 3, the configuration says 6' old.h5 --set model.heads=6
"$bin/vjepa-inspect" old.h5 >print.log
grep -q '^  encoder    not described' print.log || fail "an older file is not printed as such: $(head -n 12 print.log)"

for from in $checkpoint old.h5; do
    "$bin/vjepa-inspect" --export export.h5 --dtype bf16 $from >/dev/null
    "$bin/vjepa-inspect" export.h5 >export.log
    [ "$(grep '^  encoder ' export.log)" = "$("$bin/vjepa-inspect" $from | grep '^  encoder ')" ] || fail "exported: $(head -n 12 export.log)"
    embed 1 'holds an encoder with model.heads 3, the configuration says 6' export.h5 --set model.heads=6
    rm export.h5
done
finish
