#!/usr/bin/env bash
# Test the recipes in modules/ with the tools that they are for, which come from the Python package index (20 to 40 MB).
#   tools.sh reframe      # run the ReFrame suite on this machine against a fresh installation
#   tools.sh easybuild    # check the style of the easyconfigs, and find all dependencies in EasyBuild's collection.
#                         # With VJEPA_EASYBUILD_BUILD=1 EasyBuild also builds, with this machine's compiler and
#                         # libraries in place of the toolchain's, in 5 to 15 minutes
#   tools.sh apptainer    # run the last stage of the definition in a root of Debian 12, without Apptainer; downloads
#                         # 200 MB, takes 1 GB of disk. With VJEPA_IMAGE_BUILD=1 also run the first stage, which builds;
#                         # otherwise an installation of this build takes its place
set -euo pipefail
what=${1:?usage: tools.sh reframe|easybuild|apptainer}
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
    # ReFrame reads only the suite from the source folder, nothing else.
    reframe=("$python" -B tools/bin/reframe --prefix reframe -C "$suite/site_example.py" -c "$suite/vjepa_checks.py" --system=workstation --nocolor)
    "${reframe[@]}" -S vjepa_home="$prefix" -r >suite.log 2>&1 || fail "the suite: $(tail -n 80 suite.log)"
    grep -qE 'PASSED .* Ran 6/6 test case\(s\) from 6 check\(s\) \(0 failure' suite.log || fail "not all ran: $(tail -n 40 suite.log)"
    "${reframe[@]}" -S vjepa_home="$prefix" -n VjepaScaling -P ranks=1,2 -r --performance-report >scaling.log 2>&1 || fail "$(tail -n 40 scaling.log)"
    grep -qE 'Ran 2/2 .*0 failure' scaling.log || fail "scaling over ranks: $(tail -n 40 scaling.log)"
    grep -q 'clips/s' scaling.log || fail "no speed in: $(tail -n 40 scaling.log)"
    # The suite must fail if expected numbers are damaged, or if the installation cannot train.
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

    # Archive the checkout as it is now, with changes that are not committed.
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

# Apptainer itself is neither in Debian nor in the Python package index. This does by hand what Apptainer would do with
# the sections of the definition: copy %files, run %post in the root folder as root, and run %test and %runscript with
# %environment as another user, who can write only to /tmp.
check_apptainer() {
    local definition=$source_dir/modules/apptainer/vjepa.def stage from file to root more
    [ "$(id -u)" -eq 0 ] && unshare --mount --pid --fork true 2>/dev/null || skip "only root may work in a root folder of its own"
    apt-get download debootstrap >debootstrap.log 2>&1 && dpkg -x debootstrap_*.deb tools || skip "debootstrap cannot be had: $(tail -n 1 debootstrap.log)"
    # Split the definition as Apptainer does (pkg/build/types/parser): Bootstrap begins a stage; a line whose first word
    # begins with % begins a section.
    awk '$1 == "Bootstrap:" { stage++; section = "header" }
        stage && $1 ~ /^%/ { section = substr($1, 2); if ($2 == "from") print $3 > (stage "-from"); next }
        stage { print > (stage "-" section) }' "$definition"
    [ "$(echo [0-9]-header)" = '1-header 2-header' ] || fail "not two stages: $(ls)"
    for file in [0-9]-*; do
        case ${file#?-} in header | from | files | post | environment | runscript | test | help) ;; *) fail "$definition has a section %${file#?-}" ;; esac
    done
    ! grep -vE '^(Bootstrap: docker|From: debian:12|Stage: (build|final)|)$' ./?-header || fail "another header than this test knows"

    DEBOOTSTRAP_DIR=$scratch/tools/usr/share/debootstrap timeout 1800 tools/usr/sbin/debootstrap --variant=minbase bookworm base >debootstrap.log 2>&1 ||
        skip "Debian 12 cannot be had: $(tail -n 1 debootstrap.log)"
    rm -rf base/etc/apt && cp -rL /etc/apt base/etc/apt # get packages from where this machine gets them
    mkdir checkout && (cd "$source_dir" && git ls-files -z -co --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null) | tar -C checkout -xf -
    inside() { # ROOT COMMAND...: run in ROOT, with the parts of the system that a container has
        # shellcheck disable=SC2016
        timeout 1800 unshare --mount --pid --fork bash -euc 'cd "$1"; mount -t proc proc proc; mount --rbind /dev dev; cp -L /etc/resolv.conf etc
            exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp "${@:2}"' root "$@"
    }
    for stage in 1 2; do
        root=root-$(sed -n 's/^Stage: //p' $stage-header) from=checkout
        if [ $stage = 1 ] && [ -z "${VJEPA_IMAGE_BUILD:-}" ]; then
            cmake --install "$build" --prefix "$scratch/$root/opt/vjepa" >/dev/null
            # Libraries that a developer's build is linked with, and the image's is not.
            mapfile -t more < <(ldd "$build"/bin/vjepa-* | grep -oE '/[^ ]*/lib(dnnl|simgrid)[^ ]*' | sort -u | xargs -r realpath | xargs -r dpkg -S | cut -d: -f1 | sort -u)
            inside base /bin/sh -ec 'apt-get update -qq; [ $# -eq 0 ] || apt-get install -y -qq --no-install-recommends "$@"' more "${more[@]}" >more.log 2>&1 ||
                fail "packages ${more[*]}: $(tail -n 5 more.log)"
            continue
        fi
        cp -a base "$root"
        [ ! -e $stage-from ] || from=root-$(cat $stage-from)
        while read -r file to; do
            [ -n "$file" ] || continue
            mkdir -p "$(dirname "$root$to")" && cp -a "$from/$file" "$root$to" || fail "%files of stage $stage: $file"
        done <$stage-files
        inside "$root" /bin/sh -ec "$(cat $stage-post)" >post.log 2>&1 || fail "%post of stage $stage: $(tail -n 20 post.log)"
    done
    as_user() { # SECTION ARGUMENTS...: run a section of the last stage
        inside root-final setpriv --reuid 65534 --regid 65534 --clear-groups /bin/sh -ec "$(cat 2-environment 2-"$1")" "$@"
    }
    as_user test >test.log 2>&1 || fail "%test: $(tail -n 20 test.log)"
    grep -qE '[1-9][0-9]* passed, 0 failed' test.log || fail "no parity in %test: $(tail -n 5 test.log)"
    as_user runscript pretrain --version | grep -q '^vjepa-pretrain' || fail "%runscript"
}

"check_$what"
echo "all checks passed"
