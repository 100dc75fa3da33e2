#!/usr/bin/env bash
# Checks the pages of vjepa-report on clip stores, probe campaigns, files of vjepa-spectrum, benches and scaling studies: numbers are
# those that Python computes, pictures show what is in the files, and damaged files give notes.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
maker=$source_dir/tests/data/report_pages.py
for tool in gnuplot tidy; do
    command -v $tool >/dev/null || { echo "$tool is missing (Debian: gnuplot-nox, tidy)"; exit 77; }
done

report() { # ARGS...: its output in report.log
    timeout 300 "$bin/vjepa-report" "$@" >report.log 2>&1 || fail "vjepa-report $*: $(tail -n 3 report.log)"
    if grep -q 'vjepa: ' report.log; then fail "messages beside the page: $(grep 'vjepa: ' report.log)"; fi
}
valid() { # FILE.html
    "$python" "$source_dir/tests/data/report.py" check-html "$1" >check.log 2>&1 || fail "$1: $(tail -n 3 check.log)"
    tidy -q -e --drop-empty-elements no "$1" >tidy.log 2>&1 || fail "tidy of $1: $(head -n 5 tidy.log)"
}
same_picture() { # PNG JPEG
    "$python" - "$@" <<'PYTHON'
import sys
import numpy as np
from PIL import Image
png, jpeg = (np.asarray(Image.open(path).convert('RGB')).astype(int) for path in sys.argv[1:])
sys.exit(0 if png.shape == jpeg.shape and np.abs(png - jpeg).mean() < 3 else 1)
PYTHON
}
says() { # FILE TEXT
    grep -aqF -- "$2" "$1" || fail "$1 does not say \"$2\""
}

make_store train.clips 40
pretrain 1 run --set train.stop_after=4 >/dev/null
OMP_NUM_THREADS=1 "$bin/vjepa-bench" step "$tiny" --profile --repeats 3 --json >bench.json
"$python" "$maker" make train.clips

# All on one page. train.clips is an input, and gives the frames beside the tokens; the run gives its masks.
report run train.clips campaign spectra.h5 compare.h5 ridge.h5 knn.h5 bench.json scaling.csv model.csv phases.csv --paper paper.csv \
    --out all.html --markdown all-md --csv all
valid all.html
says report.log '11 of 11 inputs'
says all.html 'MODEL, not a measurement'
[[ $(stat -c %s all.html) -lt 5000000 ]] || fail "a page of $(stat -c %s all.html) bytes"
"$python" "$maker" check all all-md >check.log 2>&1 || fail "numbers: $(tail -n 3 check.log)"
says all.html 'colour &#60;b&#62;'
says all.html '3 validation clips are training clips'
says all-md/report.md 'Colours: from 0, nearly the background, to 1.'
grep -aqF -- '>-0.00<' all.html && fail "a heat map says -0.00"
says all.html 'pretrained: the first three principal components of the tokens as red, green and blue, 2 x 4 x 4 tokens a clip (guessed from their number)'
says all.html 'random: the first three principal components of the tokens as red, green and blue, 2 x 4 x 4 tokens a clip.'
clips=$(awk -F, 'NR > 1 { sum += $3 } END { print sum }' all/sizes.csv)
[[ $clips == 40 ]] || fail "the sizes are of $clips clips, not 40"
for shown in 8 4 2 1; do # as many as the page takes
    rm -f sheet.png
    "$bin/vjepa-inspect" --contact-sheet sheet.png --clips $shown --masks run/config.yaml train.clips >/dev/null
    ! same_picture sheet.png all-md/contact-sheet.jpg || break
done
same_picture sheet.png all-md/contact-sheet.jpg || fail "the contact sheet is not that of vjepa-inspect"

# For a store packed from videos the page says what became of each file.
"$tools/make_videos" videos 12
{ cat videos/list.csv; echo 'gone.mp4,0'; sed -n 3p videos/list.csv; } >videos/all.csv
printf 'pack: {lists: [videos/all.csv], short_side: 32, frames: 8, step: 2, windows: 2, store: packed.clips}\n' >pack.yaml
run 1 "$bin/vjepa-pack" pack.yaml >/dev/null
report packed.clips --csv packed --out packed.html
valid packed.html
"$python" - <<'PYTHON' || fail "verdicts: $(cat packed/verdicts.csv)"
import collections, csv
want = collections.Counter(row['verdict'] for row in csv.DictReader(open('packed.clips/ledger.csv')))
got = {row['verdict']: int(float(row['files'])) for row in csv.DictReader(open('packed/verdicts.csv'))}
assert got == dict(want) and got['missing'] == 1, (got, want)
PYTHON
mkdir unfinished.clips && touch unfinished.clips/pack.yaml unfinished.clips/lease
mkdir unmeasured pipe && echo '[]' >unmeasured/results.json && mkfifo pipe/results.json

# Each damaged file gives a note, and the others are shown; representations of equal names are named with their files.
mkdir again && cp spectra.h5 again
report broken/*.h5 broken/*.json broken/*.csv broken/results broken/store.clips classes.h5 unfinished.clips unmeasured pipe nowhere compare.h5 spectra.h5 again/spectra.h5 \
    --paper spectra.h5 --out broken.html --csv broken-csv
valid broken.html
says broken.html 'half.h5 is incomplete'
says broken.html '/compare/cka is 3 x 3, with 2 names'
says broken.html 'a has no eigenvalues'
says broken.html '10 of 10 numbers of /ridge/e/t/top1 not finite'
says broken.html 'pretrained, again/spectra.h5'
says broken.html 'does not fit /labels and /ratio'
says broken.html 'cut.h5'
says broken.html 'broken/bench.json, line'
says broken.html 'broken/scaling.csv: lines with another number of cells than the first, which are left out: 1.'
says broken.html 'broken/scaling.csv: rows without a number of ranks, which are left out: 1.'
says broken.html 'broken/scaling.csv: rows without a rate, which are not in the plots: 1.'
says broken.html 'rates.csv has no column clips_per_s'
says broken.html 'or with another number of cells, which are left out: 3.'
says broken.html 'or with another number of cells, which are left out: 2.'
says broken.html 'The passport cannot be read'
says broken.html 'classes.json'
says broken.html 'unfinished.clips is not finished'
says broken.html 'unmeasured/results.json has no results: no probe was measured'
says broken.html 'pipe/results.json is not a file'
says broken.html 'nowhere is not there'
says broken.html 'Published numbers are not shown'
[[ $(wc -l <broken-csv/cka.csv) == 10 ]] || fail "the whole file is not shown beside broken ones"
finish
