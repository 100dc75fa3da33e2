#!/usr/bin/env bash
# Checks vjepa-spectrum classes on one to four ranks: variances and measures of neural collapse of each task agree with numpy on whole
# matrices; collapsed classes are recognised; classes of one clip are named and left out.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
needs_spectrum

python "$here/check_classes.py" make
for ranks in 1 2 3 4; do
    run "$ranks" "$bin/vjepa-spectrum" classes plain.h5 collapsed.h5 narrow.h5 --out r$ranks.h5 >log
    python "$here/check_classes.py" r$ranks.h5 || fail "$ranks ranks"
done
grep -q '^b  *2  *two  *1' log || fail "the class of one clip is not named: $(cat log)"

refused 1 'bare.h5 has no labels' "$bin/vjepa-spectrum" classes bare.h5
refused 1 "no clip has a label of task 'a'" "$bin/vjepa-spectrum" classes unlabelled.h5
refused 1 "task 'a' has 1 classes of two clips or more" "$bin/vjepa-spectrum" classes single.h5
refused 2 "'taste' is not among the labels" "$bin/vjepa-spectrum" classes plain.h5 --set 'probe.tasks=[taste]'
refused 2 'leave out --tokens' "$bin/vjepa-spectrum" classes plain.h5 --tokens
refused 1 'the mean features of all 5 classes are the same' "$bin/vjepa-spectrum" classes constant.h5 --set 'probe.tasks=[a]'
run 1 "$bin/vjepa-spectrum" classes plain.h5 --set 'probe.tasks=[b]' --out one.h5 >one.log
[[ $(/usr/bin/python3 -c 'import h5py; print(list(h5py.File("one.h5")["measures/tasks"]))') == "[b'b']" ]] || fail "probe.tasks"
finish
