#!/usr/bin/env bash
# Packs real videos of a dozen codecs, and one of them in every form of tests/data/odd_files.sh that can be decoded. Checks that the
# frames in the store are those that ffmpeg gives for the times of the sampling rule, at native size and scaled. Skipped without
# network (45 MB of Debian packages, which are kept) or without ffmpeg.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
type -P ffmpeg >/dev/null || { echo "skipped: ffmpeg, which decodes for the comparison, is not installed"; exit 77; }
cache=$bin/../demo
bash "$source_dir/tests/data/fetch_videos.sh" "$cache" >fetch.log 2>&1 || { echo "skipped: $(tail -n 2 fetch.log)"; exit 77; }
videos=$(cd "$cache/media/videos" && pwd)
frames=8 step=3 windows=2

compare() { # NAME SHORT_SIDE FOLDER FILE...: pack and compare with ffmpeg
    local name=$1 side=$2 folder=$3
    shift 3
    printf '%s\n' path "$@" >"$name.csv"
    run 2 "$bin/vjepa-pack" --set pack.lists="[$name.csv]" --set pack.store="$name.clips" --set pack.short_side="$side" \
        --set pack.frames=$frames --set pack.step=$step --set pack.windows=$windows pack.yaml </dev/null >pack.log 2>&1 ||
        { fail "packing $name: $(tail -n 3 pack.log)"; return; }
    /usr/bin/python3 "$source_dir/tests/e2e/compare_frames.py" "$name.clips" "$folder" $frames $step $windows \
        >compare.log || fail "$name: frames are not ffmpeg's"
    cat compare.log
    [ "$(tail -n +2 compare.log | wc -l)" -eq $# ] || fail "$name: $(tail -n +2 compare.log | wc -l) of $# files were packed whole"
}
printf 'pack:\n  decode: needed\n' >pack.yaml
for file in "$videos"/*; do ln -s "$file" .; done

compare real 112 . $(ls "$videos")
bash "$source_dir/tests/data/odd_files.sh" odd "$videos/cockatoo.mp4" >made.log 2>&1 || { cat made.log; exit 1; }
compare forms 112 . odd/{vfr.mp4,fps1000.mp4,editlist.mp4,frag.mp4,late.mkv,half_places.avi,dropped.avi,raw_es.h264,bframes.mp4,one_frame.mp4} \
    odd/{short_9.mp4,interlaced.mpg,rotated90.mp4,odd_dims.mp4,sar43.mp4,tiny_8x6.mp4,res_change.ts,two_streams.mkv} \
    odd/{gray.mp4,stream.mjpeg,views.jpg,fullrange.mov,bt709.mp4,tenbit_h264.mp4,tenbit_vp9.webm,hevc.mp4,vp8.webm,mpeg4.avi,msmpeg4.wmv,flv.flv} \
    odd/{theora.ogv,lossless_ffv1.mkv,av1.mkv,anim.gif,prores.mov,dv.avi,alpha_qtrle.mov,alpha_vp9.webm} \
    odd/{photo.png,photo.jpg,photo_alpha.png,photo_16bit.png,huge_8k.mp4}

# At native size nothing is scaled; videos of each short side get their own store.
/usr/bin/python3 - >native.txt <<'PY'
import csv
sides = {}
for row in csv.DictReader(open('real.clips/ledger.csv')):
    sides.setdefault(min(int(row['width']), int(row['height'])), []).append(row['path'])
for side, names in sides.items(): print(side, *names)
PY
while read -r side names; do compare "native-$side" "$side" . $names; done <native.txt
finish
