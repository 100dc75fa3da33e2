#!/bin/bash
# Makes 40 H.264 videos of 10 s to measure packing with, half of them 1280x720, half 320x240, from the real films that
# jobs/fetch_demo_media.sh fetches. They have 30 frames a second and x264's defaults (groups of up to 250 frames),
# except for a faster preset.
#   make_videos.sh MEDIA OUT         # MEDIA: DIR/media of fetch_demo_media.sh; leaves OUT/*.mp4 and OUT/list.csv
# Two minutes on two cores, 40 MB. Safe to run again: what is there stays.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 MEDIA OUT" >&2; exit 2; }
media=$(cd "$1" && pwd)
mkdir -p "$2"
cd "$2"
films=("$media"/train/{wannaworktogether.mp4,box.mp4,diver.mov,wannaworktogether.mp4,vtest.avi}
    "$media"/val/{cockatoo.mp4,cup.mp4,cityCC0.mpg})
for i in $(seq 0 39); do
    name=$(printf 'video_%02d.mp4' "$i")
    [ ! -s "$name" ] || continue
    film=${films[i / 2 % ${#films[@]}]}
    size=1280:720
    [ $((i % 2)) -eq 0 ] || size=320:240
    start=0
    case $film in *wanna*) start=$((4 * i)) ;; esac
    ffmpeg -nostdin -y -v error -stream_loop -1 -ss "$start" -i "$film" -t 10 -an -vf "scale=$size,setsar=1,fps=30" \
        -c:v libx264 -preset veryfast -pix_fmt yuv420p -f mp4 "$name.part"
    mv "$name.part" "$name"
done
{ echo path; ls -- *.mp4; } >list.csv
echo "$(ls -- *.mp4 | wc -l) videos in $PWD, $(du -sh . | cut -f1)"
