#!/usr/bin/env bash
# The recipes in modules/ by the tools they are for, which come from the Python package index (20 to 40 MB).
#   tools.sh reframe      # the ReFrame suite runs on this machine against a fresh installation
#   tools.sh easybuild    # style of the easyconfigs, and all dependencies found in EasyBuild's collection; with VJEPA_EASYBUILD_BUILD=1
#                         # also a build by EasyBuild with this machine's compiler and libraries in place of the toolchain's, 5 to 15 minutes
set -euo pipefail
what=${1:?usage: tools.sh reframe|easybuild}
source_dir=${VJEPA_SOURCE:?run through ctest, or set VJEPA_SOURCE to the checkout}
build=${VJEPA_BIN:?run through ctest, or set VJEPA_BIN to build/bin}/..
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-packaging.XXXXXX")
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
cd "$scratch"
python=/usr/bin/python3

skip() {
    echo "SKIPPED: $*" >&2
    exit 77
}

fail() {
    echo "FAIL: $*" >&2
    exit 1
}

get() { # PACKAGE==VERSION...
    timeout 120 "$python" -m pip install --quiet --target tools "$@" >pip.log 2>&1 || skip "$what cannot be had from the Python package index: $(tail -n 1 pip.log)"
    export PYTHONPATH=$scratch/tools PATH=$scratch/tools/bin:$PATH HOME=$scratch
}

check_reframe() {
    local prefix="$scratch/a prefix" suite=$source_dir/modules/reframe
    get reframe-hpc==4.10.4
    cmake --install "$build" --prefix "$prefix" >/dev/null
    # Nothing of it is read from the source folder but the suite.
    reframe=("$python" -B tools/bin/reframe --prefix reframe -C "$suite/site_example.py" -c "$suite/vjepa_checks.py" --system=workstation --nocolor)
    "${reframe[@]}" -S vjepa_home="$prefix" -r >suite.log 2>&1 || fail "the suite: $(tail -n 80 suite.log)"
    grep -qE 'PASSED .* Ran 6/6 test case\(s\) from 6 check\(s\) \(0 failure' suite.log || fail "not all ran: $(tail -n 40 suite.log)"
    "${reframe[@]}" -S vjepa_home="$prefix" -n VjepaScaling -P ranks=1,2 -r --performance-report >scaling.log 2>&1 || fail "$(tail -n 40 scaling.log)"
    grep -qE 'Ran 2/2 .*0 failure' scaling.log || fail "scaling over ranks: $(tail -n 40 scaling.log)"
    grep -q 'clips/s' scaling.log || fail "no speed in: $(tail -n 40 scaling.log)"
    # It can fail: expected numbers that are damaged, and an installation that cannot train.
    printf 'broken' | dd of="$prefix/share/vjepa/parity/square_step5.h5" bs=1 seek=1500000 conv=notrunc status=none
    printf '#!/bin/sh\nexit 0\n' >false && chmod +x false && rm "$prefix/bin/vjepa-pretrain" && mv false "$prefix/bin/vjepa-pretrain"
    "${reframe[@]}" -S vjepa_home="$prefix" -t 'smoke|restart' -r >broken.log 2>&1 && fail "a broken installation passes"
    for name in VjepaSmoke VjepaRestart VjepaParity; do
        grep -qE "FAIL .* $name" broken.log || fail "$name passes with a broken installation: $(cat broken.log)"
    done
}

check_easybuild() {
    local recipes=$source_dir/modules/easybuild name collection
    [ -r /usr/share/modules/init/bash ] || skip "EasyBuild needs a module system, here environment-modules"
    # shellcheck disable=SC1091
    . /usr/share/modules/init/bash
    get easybuild-framework==5.4.1 easybuild-easyblocks==5.4.1 pycodestyle
    timeout 120 "$python" -m pip download --quiet --no-deps --dest collection easybuild-easyconfigs==5.4.1 >pip.log 2>&1 ||
        skip "EasyBuild's easyconfigs cannot be had from the Python package index: $(tail -n 1 pip.log)"
    case $(echo collection/*) in
    *.whl) "$python" -m zipfile -e collection/*.whl collection ;;
    *) tar -C collection -xf collection/*.tar.gz ;;
    esac
    export EASYBUILD_PREFIX=$scratch/easybuild EASYBUILD_MODULES_TOOL=EnvironmentModules EASYBUILD_MODULE_SYNTAX=Tcl EB_PYTHON=$python
    export EASYBUILD_ALLOW_USE_AS_ROOT_AND_ACCEPT_CONSEQUENCES=1 EASYBUILD_OPTARCH=GENERIC EASYBUILD_PARALLEL=2
    eb --check-style "$recipes"/*.eb >style.log 2>&1 || fail "style: $(cat style.log)"
    collection=$(find "$scratch/collection" -path '*/f/foss/foss-2023b.eb' | head -n 1)
    [ -n "$collection" ] || fail "foss-2023b is not in EasyBuild's easyconfigs: $(ls collection)"
    eb "$recipes"/vjepa-*.eb --robot="$recipes:${collection%/f/foss/*}" --dry-run >robot.log 2>&1 || fail "dependencies: $(tail -n 20 robot.log)"
    for name in vjepa HDF5 OpenMPI FFmpeg Random123 libseccomp libyaml Jansson xxHash; do
        grep -q "(module: $name/" robot.log || fail "$name is not among the dependencies: $(cat robot.log)"
    done

    [ -n "${VJEPA_EASYBUILD_BUILD:-}" ] || return 0

    # What the checkout has now, not only what is committed.
    [ -d "$source_dir/.git" ] || [ -f "$source_dir/.git" ] || skip "no Git checkout to make an archive of; style and dependencies are good"
    (cd "$source_dir" && git ls-files -z -co --exclude-standard | tar --null -T - --ignore-failed-read --transform 's,^,vjepa-0.1.0/,' -czf "$scratch/vjepa-0.1.0.tar.gz" 2>/dev/null) ||
        fail "an archive of the checkout"
    sed 's/^toolchain = .*/toolchain = SYSTEM/; /FlexiBLAS/d' "$recipes"/vjepa-*.eb >vjepa-0.1.0.eb
    eb vjepa-0.1.0.eb --disable-rpath --filter-deps="$(sed -n "s/^    ('\([A-Za-z0-9-]*\)', '[0-9].*/\1/p" vjepa-0.1.0.eb | paste -sd,)" --sourcepath="$scratch" \
        >build.log 2>&1 || fail "a build by EasyBuild: $(tail -n 40 build.log)"
    module use easybuild/modules/all
    module load vjepa
    vjepa-pretrain --version | grep -q 'vjepa 0' || fail "the module that EasyBuild wrote"
    [ -e "$HDF5_PLUGIN_PATH/libvjepa_jpeg.so" ] || fail "HDF5_PLUGIN_PATH of EasyBuild's module is $HDF5_PLUGIN_PATH"
}

"check_$what"
echo "all checks passed"
