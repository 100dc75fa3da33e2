#!/usr/bin/env bash
# A report as a browser shows it, at two widths in the light and the dark theme, as pictures to be looked at: they are left in
# VJEPA_PICTURES, if that is set. What a program can see of them is checked: the theme's background, room at both sides, and that
# there is something.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
for tool in gnuplot chromium; do
    command -v $tool >/dev/null || { echo "SKIPPED: $tool is missing (Debian: gnuplot-nox, chromium); nobody has looked at a report"; exit 77; }
done
"$python" -c 'import PIL' 2>/dev/null || { echo "SKIPPED: PIL is missing for $python (Debian: python3-pil)"; exit 77; }
out=${VJEPA_PICTURES:-$scratch/pictures}
mkdir -p "$out"

# WIDTH THEME NAME: a browser's window is never narrow, so the page is in a frame of that width.
picture() {
    local width=$1 theme=$2 name=$3 scheme=1
    [ "$theme" = light ] || scheme=0
    printf '<!DOCTYPE html><body style="margin:0"><iframe src="%s.html" style="border:0;width:%dpx;height:2400px"></iframe>' "$name" "$width" >frame.html
    timeout 120 chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/chromium" \
        --blink-settings=preferredColorScheme=$scheme --window-size=$((width > 600 ? width : 600)),2400 \
        --screenshot="$out/$name-$width-$theme.png" "file://$PWD/frame.html" >chromium.log 2>&1 || fail "chromium: $(tail -n 3 chromium.log)"
}

"$python" "$source_dir/tests/data/report.py" runs runs
"$bin/vjepa-report" runs/seed-0 --out one.html
"$bin/vjepa-report" runs/seed-0 runs/seed-1 --out two.html
for name in one two; do
    for theme in light dark; do
        picture 1400 $theme $name
        picture 400 $theme $name
    done
done
"$python" - "$out" <<'PY' || fail "the pictures are not as they should be"
import sys
from PIL import Image
for name in ('one', 'two'):
    for theme, background in (('light', (255, 255, 255)), ('dark', (0x14, 0x18, 0x1c))):
        for width in (1400, 400):
            picture = Image.open(f'{sys.argv[1]}/{name}-{width}-{theme}.png').convert('RGB').crop((0, 0, width, 2400))
            assert picture.getpixel((2, 2)) == background, (name, theme, width, picture.getpixel((2, 2)))
            for x in (4, width - 5):
                column = picture.crop((x, 0, x + 1, 2400)).getcolors()
                assert len(column) == 1, f'{name} {theme}: something runs over the side of a page of {width} pixels'
            assert len(picture.getcolors(1 << 24)) > 50, 'an empty page'
PY
finish
