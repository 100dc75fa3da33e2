#!/usr/bin/env bash
# Checks the installed modulefiles under one of the two module systems: what loading sets, that unloading and swapping restore the
# environment exactly, that two versions are never loaded together, help and whatis, a prefix with a blank, one that was moved, and
# a modulefile that is reached through a symbolic link.
#   check.sh tcl        # environment-modules
#   check.sh lmod       # where the package lmod is not installed (it conflicts with the other) it is unpacked into the scratch folder
set -eo pipefail
system=${1:?usage: check.sh tcl|lmod}
build=${VJEPA_BIN:?run through ctest, or set VJEPA_BIN to build/bin}/..
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-modules.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

skip() {
    echo "SKIPPED: $*; the modulefiles were not tested with $system" >&2
    exit 77
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

# Lmod's package cannot be installed elsewhere: its scripts name /usr/share/lmod, which is replaced by the folder it is unpacked in.
unpack_lmod() {
    local needed
    for needed in lua5.3 lua-posix lua-filesystem lua-term lua-json; do
        dpkg-query -W -f='${Status}' "$needed" 2>/dev/null | grep -q 'ok installed' || skip "the package $needed is missing"
    done
    apt-get download lmod >download.log 2>&1 || skip "the package lmod is not installed and cannot be downloaded: $(tail -n 1 download.log)"
    dpkg -x lmod_*.deb lmod
    grep -rIlE '/(usr/share|etc)/lmod' lmod | xargs sed -i -E "s,/(usr/share|etc)/lmod,$scratch/lmod/\1/lmod,g"
    init=$scratch/lmod/usr/share/lmod/lmod/init/bash
}

# Only the modules of this test are visible, and none that the machine's administrator or the caller has loaded.
unset MODULEPATH LOADEDMODULES _LMFILES_ VJEPA_HOME
case $system in
tcl)
    init=/usr/share/modules/init/bash
    [ -r "$init" ] || skip "the package environment-modules is missing"
    ;;
lmod)
    init=/usr/share/lmod/lmod/init/bash
    [ -r "$init" ] || unpack_lmod
    ;;
esac

# There are two versions in two prefixes, of which the second is a copy of the first, and two modules that they need.
first="$scratch/a prefix" second=$scratch/second
cmake --install "$build" --prefix "$first" >/dev/null
version=$(basename "$first"/share/modulefiles/vjepa/*.lua .lua)
mkdir -p "$second/share"
cp -r "$first/share/modulefiles" "$second/share"
for file in "" .lua; do
    mv "$second/share/modulefiles/vjepa/$version$file" "$second/share/modulefiles/vjepa/99$file"
done
sed -i "s/$version/99/g" "$second"/share/modulefiles/vjepa/99*
for name in mpi hdf5; do
    mkdir -p "needed/$name"
    printf '#%%Module1.0\nprepend-path PATH /somewhere/%s\n' $name >needed/$name/1
    printf 'prepend_path("PATH", "/somewhere/%s")\n' $name >needed/$name/1.lua
done
sed -i -E 's/\{[^}]*\} \{ module load/{mpi\/1 hdf5\/1} { module load/' "$first/share/modulefiles/vjepa/$version"
sed -i -E 's/\("[^"]*"\):gmatch\("%S\+"\)/("mpi\/1 hdf5\/1"):gmatch("%S+")/' "$first/share/modulefiles/vjepa/$version.lua"

# PATH has something, LD_LIBRARY_PATH something with a blank, the others nothing.
export LD_LIBRARY_PATH="/some where/lib"
unset HDF5_PLUGIN_PATH CMAKE_PREFIX_PATH PKG_CONFIG_PATH
# shellcheck disable=SC1090
. "$init"
module use "$first/share/modulefiles" "$second/share/modulefiles" "$scratch/needed"
# A first load and unload: Lmod then has in the environment what it keeps there for itself.
module load mpi/1 && module unload mpi

state() { env | grep -vE '^(_|_ModuleTable.*|__LMOD.*|LMOD_.*|__MODULES_.*)=' | sort; }
unchanged() { diff "$1" <(state) || fail "$2 left the environment changed (< before, > after)"; }
loaded() { # PREFIX : its programs are found, and no other prefix is in any variable
    local other=$first
    [ "$1" != "$first" ] || other=$second
    [ "$VJEPA_HOME" = "$1" ] || fail "VJEPA_HOME is $VJEPA_HOME, not $1"
    case ":$PATH" in *":$1/bin:"*) ;; *) fail "PATH is $PATH" ;; esac
    case $LD_LIBRARY_PATH in "$1"/lib*":/some where/lib") ;; *) fail "LD_LIBRARY_PATH is $LD_LIBRARY_PATH" ;; esac
    [ "$CMAKE_PREFIX_PATH" = "$1" ] || fail "CMAKE_PREFIX_PATH is $CMAKE_PREFIX_PATH"
    if state | grep -E '^(PATH|LD_LIBRARY_PATH|HDF5_PLUGIN_PATH|CMAKE_PREFIX_PATH|PKG_CONFIG_PATH|VJEPA_HOME)=' | grep -F "$other/"; then
        fail "$other is still there"
    fi
}
says() { grep -qF -- "$1" out.log || fail "$2 does not say \"$1\": $(cat out.log)"; }

state >before
module load "vjepa/$version"
loaded "$first"
[ "$(command -v vjepa-pretrain)" = "$first/bin/vjepa-pretrain" ] || fail "vjepa-pretrain is $(command -v vjepa-pretrain)"
vjepa-pretrain --version | grep -qF "$version" || fail "vjepa-pretrain --version"
[ -e "$HDF5_PLUGIN_PATH/libvjepa_jpeg.so" ] || fail "HDF5_PLUGIN_PATH is $HDF5_PLUGIN_PATH"
pkg-config --exists vjepa || fail "pkg-config does not find vjepa"
case $PATH in *somewhere/hdf5*) ;; *) fail "the modules that vjepa needs were not loaded: $PATH" ;; esac
module unload vjepa
unchanged before "load and unload"

# Modules that were loaded before stay loaded.
module load mpi/1
state >with_mpi
module load "vjepa/$version" && module unload vjepa
unchanged with_mpi "load and unload beside a loaded mpi"
module unload mpi
unchanged before "unloading mpi"

module load vjepa/99
loaded "$second"
state >with_second
module swap vjepa "vjepa/$version"
loaded "$first"
module swap vjepa vjepa/99
loaded "$second"
unchanged with_second "swap there and back"

# A second version is refused (environment-modules) or takes the place of the first (Lmod); never both.
module load "vjepa/$version" >out.log 2>&1 || true
if [ "$system" = tcl ]; then
    says conflict "loading a second version"
    loaded "$second"
else
    loaded "$first"
fi
module purge >/dev/null 2>&1
unchanged before "purge"

module help "vjepa/$version" >out.log 2>&1 && says vjepa-pretrain help && says --help help
module whatis "vjepa/$version" >out.log 2>&1 && says "Version: $version" whatis && says HDF5 whatis
module avail vjepa >out.log 2>&1 && says "$version" avail
if grep -qF "$version.lua" out.log; then fail "avail shows the file for the other system: $(cat out.log)"; fi

# The prefix is moved, and the site's own folder of modulefiles has a link to it.
mv "$second" "$scratch/moved"
second=$scratch/moved
mkdir -p site/vjepa
ln -s "$second"/share/modulefiles/vjepa/99* site/vjepa
module unuse "$scratch/second/share/modulefiles" "$first/share/modulefiles"
module use "$scratch/site"
state >before
module load vjepa
loaded "$second"
module unload vjepa
unchanged before "load and unload through a link"
echo "all checks passed"
