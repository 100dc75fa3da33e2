#!/usr/bin/env bash
# Checks that still pictures are stored as they should be viewed (rotated, at full range, with square pixels), that damage is
# noticed, and that what cannot be read is named; PIL is the reference. Videos are rotated by any angle, and those of RGB scaled, as
# ffmpeg does it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
pictures=$source_dir/tests/data/pictures.py
/usr/bin/python3 "$pictures" make pictures
cat >pack.yaml <<'YAML'
pack: {lists: [pictures/list.csv], store: pictures.clips, short_side: 96, frames: 1, step: 1, windows: 1, workers: 2}
YAML
run 2 "$bin/vjepa-pack" pack.yaml >pack.log 2>&1 || fail "packing pictures: $(cat pack.log)"
/usr/bin/python3 "$pictures" check pictures.clips pictures >check.log 2>&1 || fail "pictures: $(cat check.log)"

# In their own sizes, as an evaluation needs them, they have the bytes that PIL shows.
/usr/bin/python3 - <<'PY'
import numpy as np
from PIL import Image
import os
os.makedirs('full')
y, x = np.mgrid[0:75, 0:131]
picture = Image.fromarray(np.stack([(x * 7 + y * 3) % 256, (x * y) % 256, 255 - x], 2).astype(np.uint8))
turned = Image.Exif()
turned[0x0112] = 6
picture.save('full/444.jpg', quality=95, subsampling=0)
picture.save('full/420.jpg', quality=80, subsampling=2)
picture.save('full/progressive.jpg', quality=75, progressive=True)
picture.save('full/turned.jpg', exif=turned.tobytes())
picture.convert('L').save('full/grey.jpg')
picture.save('full/plain.png')
picture.quantize(37).save('full/palette.png')
picture.convert('L').save('full/grey.png')
picture.resize((5, 300)).save('full/narrow.png')
PY
run 2 "$bin/vjepa-pack" pack.yaml --set pack.short_side=0 --set 'pack.datasets=[{name: full, format: folder, root: full}]' \
    --set 'pack.lists=[]' --set pack.store=full.clips >full.log 2>&1 || fail "packing pictures of their own size: $(cat full.log)"
/usr/bin/python3 - >check.log 2>&1 <<'PY' || fail "pictures of their own size: $(cat check.log)"
import csv, sys, h5py, numpy as np
from PIL import Image, ImageOps
rows = {int(r['source']): r['path'] for r in csv.DictReader(open('full.clips/ledger.csv'))}
index = h5py.File('full.clips/index.h5')['clips']
bad = 0
for i in range(len(index['row'])):
    h, w = int(index['height'][i]), int(index['width'][i])
    got = h5py.File('full.clips/shard-%05d.h5' % index['shard'][i])[f'clips/{h}x{w}/frames'][index['row'][i]][0]
    path = rows[int(index['source'][i])]
    want = np.asarray(ImageOps.exif_transpose(Image.open('full/' + path.split('/')[-1])).convert('RGB'))
    wrong = -1 if want.shape != got.shape else int(abs(want.astype(int) - got).max())
    print(path, got.shape, 'largest difference', wrong)
    bad += wrong != 0
sys.exit(bad or len(index['row']) != 9)
PY

# In an evaluation an image is repeated, and has one test view.
cat >views.yaml <<'YAML'
data: {train: [pictures.clips], crop: 64, threads: 2}
train: {batch: 4, microbatch: 4}
evaluate: {views: 3}
YAML
"$bin/vjepa-inspect" --contact-sheet views.png --clips 2 --views views.yaml pictures.clips >out.log 2>&1 || fail "views: $(cat out.log)"
run 1 "$bin/vjepa-bench" load views.yaml --views --repeats 3 >out.log 2>&1 || fail "views are not loaded: $(cat out.log)"
grep -Eq '^training_views +16 equal frames of 64 x 64, autoaugment, random crop, flip 0.5, erasing 0.25$' out.log &&
    grep -Eq '^test_views +16 equal frames of 64 x 64, centre of short side 73$' out.log || fail "views are others: $(cat out.log)"
if command -v ffmpeg >/dev/null; then
    ffmpeg -nostdin -y -v error -f lavfi -i testsrc2=s=144x96:r=10:d=1 -vf gblur=sigma=5 -c:v mpeg4 -q:v 2 plain.mp4
    /usr/bin/python3 - <<'PY'
import math, struct
plain = bytearray(open('plain.mp4', 'rb').read())
at = plain.index(b'tkhd') + 4 + 40 # the matrix: a b u c d v x y w
for angle in (30, 90, 135, 180, 270, 345):
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    struct.pack_into('>9i', plain, at, *(round(v * 65536) for v in (c, s, 0, -s, c, 0, 0, 0)), 1 << 30)
    open(f'turned{angle}.mp4', 'wb').write(plain)
PY
    ls turned*.mp4 | sed '1ipath' >turned.csv
    run 1 "$bin/vjepa-pack" pack.yaml --set pack.lists='[turned.csv]' --set pack.store=turned.clips >pack.log 2>&1 ||
        fail "packing turned videos: $(cat pack.log)"
    /usr/bin/python3 - >check.log 2>&1 <<'PY' || fail "turned videos: $(cat check.log)"
import csv, subprocess, sys, h5py, numpy as np
rows = {int(r['source']): r['path'] for r in csv.DictReader(open('turned.clips/ledger.csv'))}
index = h5py.File('turned.clips/index.h5')['clips']
bad = 0
for i in range(len(index['row'])):
    h, w = int(index['height'][i]), int(index['width'][i])
    got = h5py.File('turned.clips/shard-%05d.h5' % index['shard'][i])[f'clips/{h}x{w}/frames'][index['row'][i]][0].astype(float)
    path = rows[int(index['source'][i])]
    raw = subprocess.check_output(['ffmpeg', '-nostdin', '-v', 'error', '-i', path, '-frames:v', '1', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'])
    same = len(raw) == h * w * 3
    error = abs(np.frombuffer(raw, np.uint8).reshape(h, w, 3).astype(float) - got).mean() if same else 999
    print(path, (h, w), 'mean error %.2f' % error)
    bad += error > 8 # edges of turned pictures differ in their rounding; the wrong way round gives 20 and more
sys.exit(bad or len(index['row']) != 6)
PY
    # Videos of RGB keep their colours when they are scaled, also if they say that their matrix is that of RGB.
    for format in bgra gbrp gbrp10le yuv420p; do
        ffmpeg -nostdin -y -v error -f lavfi -i testsrc2=s=144x96:r=10:d=1 -c:v ffv1 -pix_fmt $format rgb_$format.mkv
    done
    ffmpeg -nostdin -y -v error -f lavfi -i testsrc2=s=144x96:r=10:d=1 -c:v png -pix_fmt rgba rgb_png.mov
    printf '%s\n' path rgb_* >rgb.csv
    for side in 48 96 120; do
        run 1 "$bin/vjepa-pack" pack.yaml --set pack.lists='[rgb.csv]' --set pack.short_side=$side --set pack.store=rgb$side.clips >pack.log 2>&1 ||
            fail "packing videos of RGB: $(cat pack.log)"
        /usr/bin/python3 - rgb$side.clips >check.log 2>&1 <<'PY' || fail "videos of RGB, scaled to $side: $(cat check.log)"
import csv, subprocess, sys, h5py, numpy as np
store = sys.argv[1]
rows = {int(r['source']): r['path'] for r in csv.DictReader(open(store + '/ledger.csv'))}
index = h5py.File(store + '/index.h5')['clips']
bad = 0
for i in range(len(index['row'])):
    h, w = int(index['height'][i]), int(index['width'][i])
    got = h5py.File(store + '/shard-%05d.h5' % index['shard'][i])[f'clips/{h}x{w}/frames'][index['row'][i]][0].astype(float)
    scale = f'scale={w}:{h}:flags=bilinear+accurate_rnd+full_chroma_int+bitexact'
    raw = subprocess.check_output(['ffmpeg', '-nostdin', '-v', 'error', '-i', rows[int(index['source'][i])], '-vf', scale, '-frames:v', '1',
                                   '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-'])
    error = abs(np.frombuffer(raw, np.uint8).reshape(h, w, 3).astype(float) - got).mean()
    print(rows[int(index['source'][i])], (h, w), 'mean error %.2f' % error)
    bad += error > 1 # another matrix or range changes colours by 8 on the average
sys.exit(bad or len(index['row']) != 5)
PY
    done
fi
finish
