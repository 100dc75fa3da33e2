# shellcheck shell=bash
# Scripts that take files from Debian packages source this: fetch PACKAGE FOLDER:FILE... copies files into $media, once.
# It needs no root: packages are downloaded and unpacked in a temporary folder, not installed. Their licences stay in
# $media/copyright.
set -euo pipefail

media=${media:?set media to the folder to fill before sourcing this}
mkdir -p "$media/copyright"
media=$(cd "$media" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { echo "$0: $*" >&2; exit 1; }

# have FOLDER:FILE...: succeed if all of them are already in place.
have() {
  local item
  for item in "$@"; do [ -s "$media/${item%%:*}/$(basename "$item")" ] || return 1; done
}

# Download a package. A fresh system has no package lists yet: when the first try fails, root fetches the lists.
download() {
  (cd "$scratch" && apt-get -qq download "$1") >"$scratch/log" 2>&1 && return 0
  [ "$(id -u)" -eq 0 ] || return 1
  apt-get -o DPkg::Lock::Timeout=300 -qq update >/dev/null 2>&1 || return 1
  (cd "$scratch" && apt-get -qq download "$1") >"$scratch/log" 2>&1
}

# fetch PACKAGE FOLDER:FILE...: copy each FILE of the package to $media/FOLDER; unpack it where the package has FILE.gz.
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
