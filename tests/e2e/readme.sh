#!/usr/bin/env bash
# Checks that the README's script opens a checkpoint and a clip and is the one in analysis/look.py, and that its commands exist.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
"$python" -c 'import h5py, PIL' 2>/dev/null || { echo "h5py or Pillow is missing for $python"; exit 77; }
make_store train.clips 24
run 1 "$bin/vjepa-pretrain" "$tiny" --set run.dir=run >/dev/null
"$python" "$source_dir/analysis/look.py" run/step_00000024.h5 train.clips clip.png >look.log || fail "look.py: $(cat look.log)"
grep -q 'blocks.0.attn.qkv.weight *(144, 48)' look.log || fail "look.py does not show tensors: $(head -n 3 look.log)"
grep -q 'step 24' look.log && grep -q 'clip (4, 36, 40, 3) uint8' look.log || fail "look.py: $(tail -n 3 look.log)"
file_head=$(head -c 4 clip.png | tail -c 3)
[ "$file_head" = PNG ] || fail "clip.png is no picture"
sed -n '/^```python$/,/^```$/p' "$source_dir/README.md" | sed '1d;$d' | cmp -s - <(sed 1d "$source_dir/analysis/look.py") ||
    fail "the script in README.md is not analysis/look.py"
mapfile -t commands < <(grep -A1 '^```sh$' "$source_dir/README.md" | grep -v '^```sh$' | grep -v '^--$')
[ "${commands[0]}" = "bash jobs/quickstart.sh" ] && [ "${commands[1]}" = "bash tests/run.sh" ] ||
    fail "the README's first two commands are ${commands[0]} and ${commands[1]}"
for config in "$source_dir"/jobs/configs/*.yaml; do
    run 1 "$bin/vjepa-pretrain" "$config" --print-config >once.yaml || fail "$config"
    run 1 "$bin/vjepa-pretrain" once.yaml --print-config | cmp -s - once.yaml || fail "$config does not round-trip"
done
finish
