#!/usr/bin/env bash
# Checks vjepa-inspect --compare of clip stores and feature files: differences are printed and counted; files of two kinds are
# refused.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

compare() { # CODE A B PATTERN...: each is a line that it prints
    local want=$1 a=$2 b=$3 code=0 pattern
    shift 3
    "$bin/vjepa-inspect" --compare "$a" "$b" >compare.log 2>&1 || code=$?
    [ $code -eq "$want" ] || fail "$a and $b: exit $code, expected $want: $(cat compare.log)"
    for pattern in "$@"; do grep -Eqx "$pattern" compare.log || fail "$a and $b: no line '$pattern': $(cat compare.log)"; done
}
embed() { # OUT ENCODER STORE [OPTION...]
    local out=$1 encoder=$2 store=$3
    shift 3
    "$bin/vjepa-embed" "$tiny" --out "$out" --encoder "$encoder" --store "$store" "$@" >embed.log 2>&1 || fail "embed: $(cat embed.log)"
    grep -Eq '^embed: this takes about [0-9.]+ (us|ms|s|minutes|hours|days) in products alone$' embed.log || fail "embed says not how long it takes: $(cat embed.log)"
}

make_store a.clips 40
make_store same.clips 40
make_store moved.clips 40 1
make_store fewer.clips 24
run 1 "$tools/make_store" jpeg.clips 40 4 36 40 0 90
run 1 "$tools/make_store" small.clips 40 4 32 40
run 1 "$tools/make_store" short.clips 40 3 36 40
compare 0 a.clips same.clips '40 clips equal, 0 different'
[ "$(wc -l <compare.log)" -eq 1 ] || fail "equal stores: $(cat compare.log)"
compare 1 a.clips jpeg.clips 'pixels: of 40 clips, by at most [0-9]+ of 255' 'fingerprints: .*' '0 clips equal, 40 different'
compare 1 a.clips moved.clips 'labels: of 40 clips' '0 clips equal, 40 different'
compare 1 a.clips fewer.clips 'number of clips: 40, 24; the first ones are compared' '24 clips equal, 0 different'
compare 1 a.clips small.clips 'sizes: of 40 clips' '0 clips equal, 40 different'
compare 1 a.clips short.clips 'frames a clip: 4, 3' '0 clips equal, 40 different'

embed f32.h5 random:published a.clips
embed again.h5 random:published same.clips
embed f16.h5 random:published a.clips --set embed.dtype=f16
embed other.h5 random:published:9 a.clips
embed moved.h5 random:published moved.clips
embed fewer.h5 random:published a.clips --set embed.limit=24
embed pooled.h5 random:published a.clips --pool average
compare 0 f32.h5 again.h5 '40 rows equal, 0 different'
[ "$(wc -l <compare.log)" -eq 1 ] || fail "equal features: $(cat compare.log)"
compare 1 f32.h5 f16.h5 'stored as: f32, f16' 'configurations differ' 'features: of 40 rows, by at most .*' '0 rows equal, 40 different'
compare 1 f32.h5 other.h5 'encoder: random published seed 7, random published seed 9' 'digest of the encoder: .*' '0 rows equal, 40 different'
compare 1 f32.h5 moved.h5 'content of clips, by checksum: of 40 rows' 'labels: of 40 rows' 'fingerprint of the clips: .*'
compare 1 f32.h5 fewer.h5 'number of clips: 40, 24; the first ones are compared' 'numbers of clips: of [0-9]+ rows'
compare 1 f32.h5 pooled.h5 'a clip: 32 tokens of width 48, 1 of 48' '40 rows equal, 0 different'

# A damaged file is an error and not a difference.
cp f32.h5 damaged.h5
/usr/bin/python3 -c "import h5py; f = h5py.File('damaged.h5', 'r+'); f['features'][7, 0, 0] += 1"
compare 1 f32.h5 damaged.h5 '.*damaged.h5 is damaged: row 7 of 40 does not fit its checksum'

compare 2 a.clips f32.h5 '.*a.clips is a clip store, f32.h5 a feature file: --compare takes two of one kind'
code=0
"$bin/vjepa-inspect" --compare a.clips >compare.log 2>&1 || code=$?
[ $code -eq 2 ] && grep -q 'takes two files of one kind' compare.log || fail "one store: exit $code: $(cat compare.log)"
finish
