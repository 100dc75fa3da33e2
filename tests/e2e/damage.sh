#!/usr/bin/env bash
# Checks videos of which a part is damaged: frames that the decoder had to make up are counted, clips of good frames are packed,
# and files that are only unusual (trimmed by an edit list, joined, of variable rate, refreshed part by part) count as whole. The
# brightness of each frame is its number, so that the frames of a clip can be recognised. FFmpeg's own count is the reference.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
command -v ffmpeg >/dev/null || { echo "skipped: no ffmpeg"; exit 77; }

film() { # FRAMES FILE [OPTIONS...]
    ffmpeg -nostdin -y -v error -f lavfi -i "color=black:s=96x64:r=25:d=$(($1 / 25)),geq=lum='16+2*N':cb=128:cr=128" \
        -c:v libx264 -preset veryfast -pix_fmt yuv420p -qp 6 "${@:3}" "$2"
}
copy() { ffmpeg -nostdin -y -v error "$@"; }
film 100 whole.mp4 -bf 2 -g 25
film 100 whole.ts -bf 0 -g 50
copy -i whole.mp4 -ss 0.4 -t 3 -c copy -copyinkf begins_between.ts
copy -i whole.mp4 -ss 0.4 -t 3 -c copy -copyinkf begins_between.mkv
film 50 joined.ts -bf 2 -g 25
cat joined.ts joined.ts >joined_twice.ts && rm joined.ts
film 100 refreshed.mp4 -x264-params intra-refresh=1:keyint=25:bframes=0
film 100 open.mkv -x264-params open-gop=1:keyint=20:bframes=3
coded() { # CODEC FILE: by a codec whose decoder does not notice what is missing; and without twelve frames
    ffmpeg -nostdin -y -v error -i whole.mp4 -s 128x96 -an -c:v "$1" -g 25 -bf 0 -sc_threshold 1000000000 -qscale:v 2 -b:v 2M "$2"
    copy -i "$2" -c copy -bsf:v "noise=drop='between(n,28,39)'" "lost_$2"
}
coded mpeg4 part2.avi
coded flv sorenson.flv
coded libvpx vp8.webm
coded mpeg2video part2.ts
coded h263 all_key.avi # its container calls all frames key frames
film 100 variable.mkv -vf "select='not(between(mod(n\,20)\,5\,12))'" -vsync vfr
/usr/bin/python3 - <<'PY'
import struct, subprocess
b = bytearray(open('whole.mp4', 'rb').read()); i = b.index(b'elst'); struct.pack_into('>I', b, i + 12, 2000)
open('trimmed.mp4', 'wb').write(b) # an edit list that ends after 2 s
d = open('whole.ts', 'rb').read(); p = [d[i:i + 188] for i in range(0, len(d), 188)]
pid = lambda x: (x[1] & 31) << 8 | x[2]
video = [i for i, x in enumerate(p) if pid(x) == 0x100]
lost = {i for n, i in enumerate(video) if len(video) * .15 < n < len(video) * .3 and n % 3 == 0}
open('lost.ts', 'wb').write(b''.join(x for i, x in enumerate(p) if i not in lost))
at = [int(x.strip(',')) for x in subprocess.check_output(['ffprobe', '-v', 'quiet', '-select_streams', 'v', '-show_entries',
      'packet=pos', '-of', 'csv=p=0', 'whole.mp4'], text=True).split()]
b = bytearray(open('whole.mp4', 'rb').read()); b[at[28]:at[40]] = bytes(at[40] - at[28]) # twelve frames of the second quarter
open('hole.mp4', 'wb').write(b)
open('cut.mkv', 'wb').write(open('open.mkv', 'rb').read()[:-len(open('open.mkv', 'rb').read()) // 3])
PY
ls ./*.ts ./*.mp4 ./*.mkv ./*.avi ./*.flv ./*.webm | sed 's,^\./,,; 1ipath' >list.csv
cat >pack.yaml <<'YAML'
pack: {lists: [list.csv], store: s.clips, short_side: 64, frames: 8, step: 2, windows: 4, workers: 2}
YAML
for decode in all needed; do
    rm -rf s.clips
    run 1 "$bin/vjepa-pack" pack.yaml --set pack.decode=$decode >pack.log 2>&1 || fail "packing: $(cat pack.log)"
    /usr/bin/python3 - $decode >check.log 2>&1 <<'PY' || fail "decode=$decode: $(cat check.log)"
import csv, subprocess, sys, h5py, numpy as np
everything = sys.argv[1] == 'all'
rows = {r['path']: r for r in csv.DictReader(open('s.clips/ledger.csv'))}
index = h5py.File('s.clips/index.h5')['clips']
shard = lambda i: h5py.File(f"s.clips/shard-{index['shard'][i]:05d}.h5")[f"clips/{index['height'][i]}x{index['width'][i]}/frames"]
source = {int(r['source']): p for p, r in rows.items()}
numbers = {p: [] for p in rows} # of the frames in each clip
for i in range(len(index['row'])):
    luma = shard(i)[index['row'][i]].astype(float).mean((1, 2, 3)) * 219 / 255
    numbers[source[int(index['source'][i])]].append(np.rint(luma / 2).astype(int).tolist())
def ffprobe(path):
    return int(subprocess.check_output(['ffprobe', '-v', 'quiet', '-select_streams', 'v', '-count_frames', '-show_entries',
                                        'stream=nb_read_frames', '-of', 'csv=p=0', path]).split()[0].strip(b','))
bad = []
def expect(what, good): bad.extend([] if good else [what])
for p, r in sorted(rows.items()): print(p, r['verdict'], r['reason'], r['frames'], r['clips'], numbers[p])
for p in ('whole.mp4', 'whole.ts', 'trimmed.mp4', 'joined_twice.ts', 'refreshed.mp4', 'open.mkv', 'variable.mkv', 'part2.avi',
          'sorenson.flv', 'vp8.webm', 'part2.ts', 'all_key.avi'):
    expect(p + ' is whole', rows[p]['verdict'] in ('ok', 'short') and int(rows[p]['clips']) == 4)
    expect(p + ' has as many frames as FFmpeg counts', int(rows[p]['frames']) == ffprobe(p))
    for n in numbers[p]:
        expect(f'{p}: {n}', p in ('variable.mkv', 'trimmed.mp4') or all(abs(b - a - 2) <= 1 for a, b in zip(n, n[1:])))
for p in ('begins_between.ts', 'begins_between.mkv'): # the first key frame is number 25
    expect(p + ' says what is missing', rows[p]['verdict'] == 'damaged' and int(rows[p]['missing']) > 10)
    expect(p + ' is used from its first key frame', rows[p]['clips'] == '4' and numbers[p][0][0] == 25 and
           all(n == sorted(n) for n in numbers[p]))
for p in ('lost.ts', 'hole.mp4'):
    expect(p + ' is damaged', rows[p]['verdict'] == 'damaged' or not everything and rows[p]['verdict'] == 'ok')
    expect(p + ' has good clips', 1 <= int(rows[p]['clips']) <= 4 - everything)
    for n in numbers[p]: # what is packed shows the frames that it says
        expect(f'{p}: {n}', all(abs(b - a - 2) <= 1 for a, b in zip(n, n[1:])))
for p in [p for p in rows if p.startswith('lost_')]: # frames behind the hole are made from the wrong ones
    expect(p + ' is damaged', rows[p]['verdict'] == 'damaged' and rows[p]['missing'] == '12' and rows[p]['clips'] == '3')
expect('cut.mkv lacks its end', int(rows['cut.mkv']['missing']) > 10)
expect('cut.mkv has good clips', int(rows['cut.mkv']['clips']) >= 2)
sys.exit('\n'.join(bad) if bad else 0)
PY
done
finish
