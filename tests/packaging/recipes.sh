#!/usr/bin/env bash
# Test the recipes in modules/ without the tools that they are for. The Spack recipe runs under
# tests/packaging/spack_stub.py, which checks that it names what cmake/VjepaDependencies.cmake needs. The shell parts of
# the Apptainer definition are checked, and its packages must have the libraries that the programs of this build are
# linked with.
set -euo pipefail
source_dir=${VJEPA_SOURCE:?run through ctest, or set VJEPA_SOURCE to the checkout}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-packaging.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

/usr/bin/python3 -m py_compile "$source_dir"/modules/reframe/*.py "$source_dir"/tests/packaging/spack_stub.py || fail "no Python"
rm -rf "$source_dir"/modules/reframe/__pycache__ "$source_dir"/tests/packaging/__pycache__
/usr/bin/python3 -B "$source_dir/tests/packaging/spack_stub.py" "$source_dir" || fail "the Spack recipe"

# Check the sections of the definition that are scripts; sh runs an image's %post and %environment.
definition=$source_dir/modules/apptainer/vjepa.def
awk -v out=section '/^%/ { n++; name = $1; next } /^Bootstrap:/ { name = "" } name ~ /^%(post|environment|runscript|test)$/ { print > (out n ".sh") }' "$definition"
[ "$(cat section*.sh | wc -l)" -gt 20 ] || fail "the sections of $definition were not found"
for section in section*.sh; do
    sh -n "$section" || fail "$definition: $section"
    command -v shellcheck >/dev/null || continue
    shellcheck --shell=sh --exclude=SC2034 "$section" || fail "$definition: $section"
done
command -v shellcheck >/dev/null || echo "not tested: shellcheck is not installed, so the definition's scripts were only parsed"

# The final image must install the libraries that the programs of this build are linked with.
if [ -r /etc/debian_version ] && [[ $(cat /etc/debian_version) == 12.* ]] && [ -z "${VJEPA_SANITIZE:-}" ]; then
    installed=$(sed -n '/^Stage: final/,$p' "$definition" | grep -oE '\b(lib[a-z0-9.+-]+|zlib1g)\b' | sort -u)
    for library in mpi gomp hdf5_openmpi avformat avcodec swscale avutil yaml-0 jansson xxhash z turbojpeg seccomp; do
        path=$(ldd "$VJEPA_BIN"/vjepa-{pack,decode,embed} | grep -oE "/[^ ]*/lib$library\.so[^ ]*" | head -n 1) || continue
        package=$(dpkg -S "$(realpath "$path")" 2>/dev/null | cut -d: -f1) || package=$(dpkg -S "$path" 2>/dev/null | cut -d: -f1) || continue
        grep -qxF "$package" <<<"$installed" || fail "the image has no $package, which the programs need for $path"
    done
else
    echo "not tested: the image's libraries, since this is not Debian 12"
fi
echo "all checks passed"
