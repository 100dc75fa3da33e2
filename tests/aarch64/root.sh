#!/usr/bin/env bash
# Unpacks the arm64 packages of this Debian that vjepa needs into a folder. cmake/aarch64-linux-gnu.cmake compiles against it, and qemu
# runs programs with it. Nothing is installed, no special right is needed, and the system's own list of packages does not change.
#   bash tests/aarch64/root.sh FOLDER      # about 100 MB to get, 400 MB in FOLDER; a minute. Does nothing where it is done.
set -euo pipefail
root=${1:?usage: root.sh FOLDER}
packages=(libc6-dev libgomp1 libopenmpi-dev libhdf5-openmpi-dev liblapack-dev
    libavformat-dev libavcodec-dev libswscale-dev libavutil-dev
    libyaml-dev libjansson-dev librandom123-dev libxxhash-dev zlib1g-dev libturbojpeg0-dev libseccomp-dev libcmocka-dev)
[ "$(cat "$root/packages" 2>/dev/null)" != "${packages[*]}" ] || exit 0

rm -rf "$root"
mkdir -p "$root"/apt/{state/lists,cache/archives}/partial "$root/apt/packages" "$root/usr/lib"
root=$(cd "$root" && pwd)
ln -s usr/lib "$root/lib" # as on an installed system

# An apt that knows this system's sources, another processor, and no installed package.
touch "$root/apt/status"
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$root/apt/state"
    -o Dir::State::status="$root/apt/status" -o Dir::Cache="$root/apt/cache" -o APT::Sandbox::User="$(id -un)")
"${apt[@]}" update
# What they depend on, less compilers and what only a running system needs.
all=$("${apt[@]}" install --simulate --no-install-recommends "${packages[@]}" | awk '/^Inst/ {print $2}')
mapfile -t needed < <(grep -vE '^(gcc|g[+][+]|gfortran|cpp|binutils|libbinutils|perl|libperl|libgcc-12-dev|lib(ts|a|l|hwa)san|libgfortran-12-dev|fonts|dpkg|passwd|openssh|debconf|tar)' <<<"$all")
(cd "$root/apt/packages" && "${apt[@]}" download "${needed[@]}")
for package in "$root"/apt/packages/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C "$root" --keep-directory-symlink --anchored \
        --exclude=./{bin,sbin,var,usr/bin,usr/sbin,usr/share/doc,usr/share/man,usr/share/locale}
done

# What installing would do: links lead into the folder, and the one BLAS and LAPACK have their names.
while IFS= read -r link; do
    ln -snf "$root$(readlink "$link")" "$link"
done < <(find "$root" -type l -lname '/*')
for name in blas lapack; do
    ln -s $name/lib$name.so "$root/usr/lib/aarch64-linux-gnu/lib$name.so"
    ln -s $name/lib$name.so.3 "$root/usr/lib/aarch64-linux-gnu/lib$name.so.3"
done
rm -r "$root/apt"
echo "${packages[*]}" >"$root/packages"
