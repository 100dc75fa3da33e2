# shellcheck shell=bash
# Sourced by scripts that take files from Debian packages: fetch PACKAGE FOLDER:FILE... into $media, once. Needs no root:
# packages are downloaded and unpacked in a temporary folder, not installed. Their licences stay in $media/copyright.
set -euo pipefail

media=${media:?set media to the folder to fill before sourcing this}
mkdir -p "$media/copyright"
media=$(cd "$media" && pwd)
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
