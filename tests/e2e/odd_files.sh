#!/usr/bin/env bash
# Packs a hundred unusual, damaged and hostile files (tests/data/odd_files.sh). Each gets one row in the ledger with the verdict of
# the table below, whether only needed frames are decoded or all. Nothing crashes, hangs or is changed, and neither the network nor
# other files are accessed.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
type -P ffmpeg >/dev/null || { echo "skipped: ffmpeg, which makes the files, is not installed"; exit 77; }

# A listener at the address in the hostile files records every connection.
python3 - <<'PY' &
import socket
s = socket.create_server(('127.0.0.1', 0))
open('port.part', 'w').write(str(s.getsockname()[1]))
__import__('os').rename('port.part', 'port')
while True:
    with s.accept()[0], open('callers', 'a') as f: f.write('a call\n')
PY
listener=$!
clean_up() { kill $listener; }
for _ in $(seq 100); do [ -s port ] || sleep 0.1; done
port=$(<port)
: >callers
ODD_URL=http://127.0.0.1:$port bash "$source_dir/tests/data/odd_files.sh" odd >made.log 2>&1 || { cat made.log; exit 1; }
cd odd
timeout 20 ffprobe -v quiet "http://127.0.0.1:$port/video.mp4" || true
cd ..
[ -s callers ] || fail "the trap does not work: a program that takes names for addresses was not noticed"
: >callers

# The columns of the table: the file as the ledger writes it, the verdict if all frames are decoded, the verdict if only needed ones
# are (empty: the same), the size as shown, the number of frames. Files that cannot be opened have no size and frames.
cat >expected.csv <<'CSV'
file,verdict,needed,size,frames
ok.mp4,ok,,320x240,90
ok_fast.mp4,ok,,320x240,90
source.mp4,ok,,320x240,90
zero.mp4,empty,,,
text.mp4,unrecognised,,,
random.mp4,unrecognised,,,
licence.webm,unrecognised,,,
packed.mp4,forbidden,,,
program.mp4,unrecognised,,,
subtitles.mp4,forbidden,,,
trunc_nomoov.mp4,unrecognised,,,
trunc_faststart.mp4,damaged,,320x240,55
bitflip.mp4,corrupt,,320x240,90
hole.mp4,corrupt,,320x240,90
index_hole.mp4,unrecognised,,,
nested.mp4,unrecognised,,,
bomb.png,corrupt,,,
bomb.pgm,too_short,,,
bomb.y4m,unrecognised,,,
sparse.mp4,too_large,,,
audio_only.mp4,no_stream,,,
coverart.mp3,forbidden,,,
photo.png,ok,,320x240,1
photo.jpg,ok,,320x240,1
photo_alpha.png,ok,,320x240,1
photo_16bit.png,ok,,320x240,1
vfr.mp4,short,,320x240,43
fps1000.mp4,ok,,320x240,90
editlist.mp4,ok,,320x240,75
frag.mp4,ok,,320x240,90
late.mkv,ok,,320x240,90
half_places.avi,ok,,320x240,90
dropped.avi,ok,,320x240,81
raw_es.h264,ok,,320x240,90
bframes.mp4,ok,,320x240,90
one_frame.mp4,short,,320x240,1
short_9.mp4,short,,320x240,9
interlaced.mpg,short,,320x240,45
rotated90.mp4,ok,,240x320,90
odd_dims.mp4,ok,,321x241,90
sar43.mp4,ok,,427x180,90
tiny_8x6.mp4,ok,,8x6,90
huge_8k.mp4,too_large,,,
res_change.ts,short,,320x240,60
two_streams.mkv,ok,,320x240,90
gray.mp4,ok,,320x240,90
stream.mjpeg,ok,,320x240,90
views.jpg,ok,,320x240,1
fullrange.mov,ok,,320x240,90
bt709.mp4,ok,,320x240,90
tenbit_h264.mp4,ok,,320x240,90
tenbit_vp9.webm,ok,,320x240,90
hevc.mp4,ok,,320x240,90
vp8.webm,ok,,320x240,90
mpeg4.avi,ok,,320x240,90
msmpeg4.wmv,ok,,320x240,90
flv.flv,ok,,320x240,90
theora.ogv,ok,,320x240,90
lossless_ffv1.mkv,short,,320x240,10
av1.mkv,short,,320x240,10
anim.gif,short,,320x240,10
prores.mov,short,,320x240,10
dv.avi,short,,768x576,10
alpha_qtrle.mov,short,,320x240,10
alpha_vp9.webm,short,,320x240,10
black.mp4,short,,320x240,30
wrong_ext.avi,ok,,320x240,90
noext,ok,,320x240,90
-dash.mp4,ok,,320x240,90
pct%03d.mp4,ok,,320x240,90
"comma, blank.mp4",ok,,320x240,90
bad_\xff\xfe_latin\xe9.mp4,ok,,320x240,90
new\x0aline.mp4,ok,,320x240,90
 blanks .mp4,ok,,320x240,90
"quote'""s.mp4",ok,,320x240,90
back\\slash.mp4,ok,,320x240,90
$(touch owned).mp4,ok,,320x240,90
вид.mp4,ok,,320x240,90
LONG.mp4,ok,,320x240,90
http:colon.mp4,ok,,320x240,90
http://127.0.0.1:PORT/video.mp4,ok,,320x240,90
link.mp4,ok,,320x240,90
loop,not_regular,,,
dir.mp4,not_regular,,,
selfy.mp4,not_regular,,,
device.mp4,not_regular,,,
fifo.mp4,not_regular,,,
socket.mp4,not_regular,,,
kernel.mp4,empty,,,
dangling.mp4,missing,,,
gone.mp4,missing,,,
secret.mp4,SECRET,,,
playlist.m3u8,forbidden,,,
playlist.mp4,forbidden,,,
playlist_local.m3u8,forbidden,,,
concat.mp4,forbidden,,,
session.sdp,forbidden,,,
redirect.mp4,forbidden,,,
dash.mpd,forbidden,,,
data_url.mp4,ok,,320x240,90
data_alias.mov,too_short,,,
data_alias_near.mov,too_short,,,
subtitle_list.avi,short,,16x16,2
CSV

cd odd
python3 - "$port" <<'PY'
import os, sys
names = sorted(set(os.listdir(b'.')) - {b'http:'}) + [b'gone.mp4', b'http://127.0.0.1:%s/video.mp4' % sys.argv[1].encode()]
with open('../list.csv', 'wb') as f:
    f.write(b'path\n' + b''.join(b'"' + n.replace(b'"', b'""') + b'"\n' for n in names))
PY
mv ../list.csv . # names are relative to the list
state() { find . -printf '%p %y %s %T@ %m\n' | sort | sha256sum; }
before=$(state)

check() { # STORE COLUMN
    run 1 "$bin/vjepa-inspect" --verify "$1" >../inspect.log 2>&1 || fail "$1 does not verify: $(tail -n 3 ../inspect.log)"
    python3 - "$1" "$2" "$port" <<'PY' || fail "$1: the ledger is not as expected"
import csv, os, sys
store, column, port = sys.argv[1:]
expected = {}
for row in csv.DictReader(open('../expected.csv')):
    name = row['file'].replace('PORT', port).replace('LONG', 'n' * 251)
    row['verdict'] = row['verdict'].replace('SECRET', 'ok' if os.getuid() == 0 else 'missing')
    if column == 'needed' and row['needed']: row['verdict'] = row['needed']
    expected[name] = row
found = list(csv.DictReader(open(store + '/ledger.csv')))
errors = []
if sorted(r['path'] for r in found) != sorted(expected):
    errors.append('rows are not one for each file: ' + str(set(r['path'] for r in found) ^ set(expected)))
for row in found:
    want = expected.get(row['path'])
    if not want: continue
    got = (row['verdict'], '%sx%s' % (row['width'], row['height']) if want['size'] else '', row['frames'] if want['frames'] else '')
    if got != (want['verdict'], want['size'], want['frames']):
        errors.append('%s: %s (%s), expected %s' % (row['path'], got, row['reason'], tuple(want.values())[1:]))
    packed = row['verdict'] in ('ok', 'short', 'damaged')
    if packed != (int(row['clips']) > 0): errors.append('%s: %s with %s clips' % (row['path'], row['verdict'], row['clips']))
    if (row['verdict'] == 'ok') != (row['reason'] == ''): errors.append('%s: reason %r' % (row['path'], row['reason']))
print('\n'.join(errors), file=sys.stderr)
sys.exit(bool(errors))
PY
}

cat >../odd.yaml <<'YAML'
pack:
  lists: [list.csv]
  short_side: 64
  step: 2
  windows: 2
  max_pixels_m: 16
  max_refused: 0.1
YAML
for decode in all needed; do
    run 2 "$bin/vjepa-pack" ../odd.yaml --set pack.decode=$decode --set pack.store=../$decode.clips >../pack.log 2>&1 ||
        fail "packing (decode $decode) ended with $?: $(tail -n 5 ../pack.log)"
    check ../$decode.clips $decode
done
[ "$before" = "$(state)" ] || fail "packing changed the folder of its sources"
[ ! -s ../callers ] || fail "packing opened $(wc -l <../callers) connections"
cd ..
finish
