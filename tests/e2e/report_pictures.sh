#!/usr/bin/env bash
# Makes pictures of pages of vjepa-report in a browser, at two widths in the light and the dark theme, and printed. They are for
# people to look at and are kept in VJEPA_PICTURES if it is set. One page has all parts that a page can have. Checks what a program
# can see: the background of the theme, margins at both sides, that there is content, and on paper that no part is lost.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
for tool in gnuplot chromium pdftotext; do
    command -v $tool >/dev/null || { echo "SKIPPED: $tool is missing (Debian: gnuplot-nox, chromium, poppler-utils); nobody has looked at a report"; exit 77; }
done
"$python" -c 'import PIL, h5py' 2>/dev/null || { echo "SKIPPED: PIL or h5py is missing for $python (Debian: python3-pil, python3-h5py)"; exit 77; }
out=${VJEPA_PICTURES:-$scratch/pictures}
mkdir -p "$out"
high=12000 # of a picture; what is below it is in the next one

browse() { # ARGS...
    timeout 120 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/chromium" "$@" >chromium.log 2>&1 ||
        fail "chromium: $(tail -n 3 chromium.log)"
}

# NAME WIDTH THEME PART. A browser's window cannot be narrow, so the page is shown in a frame of that width.
picture() {
    local name=$1 width=$2 theme=$3 part=$4 scheme=1
    [ "$theme" = light ] || scheme=0
    printf '<!DOCTYPE html><body style="margin:0;overflow:hidden"><iframe src="%s.html" style="border:0;width:%dpx;height:48000px;margin-top:-%dpx"></iframe>' \
        "$name" "$width" $((high * part)) >frame.html
    browse --blink-settings=preferredColorScheme=$scheme --window-size=$((width > 600 ? width : 600)),$high \
        --screenshot="$out/$name-$width-$theme-$part.png" "file://$PWD/frame.html"
}

# FILE WIDTH THEME: exit code 3 if the page has ended above it, 4 if it ends in it.
look() {
    "$python" - "$@" <<'PY'
import sys
from PIL import Image
path, width, theme = sys.argv[1], int(sys.argv[2]), sys.argv[3]
picture = Image.open(path).convert('RGB')
picture = picture.crop((0, 0, width, picture.height))
background = {'light': (255, 255, 255), 'dark': (0x14, 0x18, 0x1c)}[theme]
assert picture.getpixel((2, 2)) == background, picture.getpixel((2, 2))
for x in (4, width - 5):
    assert picture.crop((x, 0, x + 1, picture.height)).getcolors() == [(picture.height, background)], 'something runs over the side'
picture.save(path)
colours = len(picture.getcolors(1 << 24))
bottom = picture.crop((0, picture.height - 400, width, picture.height))
ends = bottom.getcolors() == [(400 * width, background)]  # more than any gap inside a page
sys.exit(3 if colours == 1 else 'an empty page' if colours <= 50 else 4 if ends else 0)
PY
}

pictures() { # NAME
    local theme width part code
    for theme in light dark; do
        for width in 1400 400; do
            for part in 0 1 2 3; do
                picture "$1" $width $theme $part
                code=0
                look "$out/$1-$width-$theme-$part.png" $width $theme || code=$?
                [ $code = 0 ] && continue
                [ $code = 4 ] && break
                [ $code = 3 ] && ((part > 0)) || fail "$1-$width-$theme-$part.png is not as it should be"
                rm -f "$out/$1-$width-$theme-$part.png"
                break
            done
        done
    done
}

printed() { # NAME TEXT...: words that must be on paper
    local name=$1
    shift
    browse --no-pdf-header-footer --print-to-pdf="$out/$name.pdf" "file://$PWD/$name.html"
    pdftotext -layout "$out/$name.pdf" printed.txt || fail "$name.pdf is none"
    for text in "$@"; do grep -qE -- "$text" printed.txt || fail "$name.pdf does not say \"$text\""; done
}

# A page of two runs in a folder with a long name, and one with all parts: a run, clips, a campaign, analyses, benches and scaling studies.
long=$(printf 'x%.0s' {1..200})
"$python" "$source_dir/tests/data/report.py" runs "$long"
"$bin/vjepa-report" "$long/seed-0" "$long/seed-1" --out two.html
make_store train.clips 40
make_store val.clips 24 1000
pretrain 1 run --set watch.every=6 --set 'watch.train=[train.clips]' --set 'watch.validation=[val.clips]' --set watch.epochs=2 >run.log 2>&1 ||
    fail "pretrain: $(tail -n 3 run.log)"
run 1 "$bin/vjepa-evaluate" "$tiny" pretrained=run/step_00000024.h5 random=random:published --train train.clips --validation val.clips \
    --out results >results.log 2>&1 || fail "evaluate: $(tail -n 3 results.log)"
OMP_NUM_THREADS=1 "$bin/vjepa-bench" step "$tiny" --profile --repeats 3 --json >bench.json
"$python" "$source_dir/tests/data/report_pages.py" make train.clips
"$bin/vjepa-report" run train.clips results campaign spectra.h5 compare.h5 ridge.h5 knn.h5 bench.json scaling.csv model.csv phases.csv \
    --paper paper.csv --out all.html
pictures two
printed two ' code *$' # the last column of the widest table
pictures all
printed all 'Loss and representation' 'In-run watch' 'Data: train.clips' 'Probes: results' 'Probes: campaign' 'Published numbers' \
    'Spectra' 'Analysis: compare' 'Analysis: ridge' 'Bench: step' 'Roofline' 'Scaling: scaling.csv' 'its node' ' 40\.5 *$' # last column
finish
