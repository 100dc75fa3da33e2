#!/usr/bin/env bash
# Installs the Debian packages that vjepa needs, and builds it. jobs/quickstart.sh and tests/run.sh do this first.
#   bash jobs/setup.sh [PRESET]      # release, dev, asan or cuda-emulated; binaries land in build/bin (build-asan/bin ...)
#   bash jobs/setup.sh cuda          # also get NVIDIA's compiler from the Python package index, and build with it
#   bash jobs/setup.sh aarch64       # for ARM processors, on any Debian: a cross compiler, qemu, arm64 packages in build-aarch64-root
# Without PRESET the configuration in build/ is kept; if there is none, it is release.
# As root, it installs missing packages; for any other user it prints the command that installs them. Safe to run again.
set -euo pipefail
preset=${1:-}
case $preset in
--help | -h) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 0 ;;
'' | release | dev | asan | cuda-emulated | cuda | aarch64) ;;
*) echo "setup.sh: no preset '$preset'; see --help" >&2; exit 2 ;;
esac
cd "$(dirname "$0")/.."

packages=(build-essential cmake ninja-build pkg-config ca-certificates
    openmpi-bin libopenmpi-dev libhdf5-openmpi-dev liblapack-dev
    libavformat-dev libavcodec-dev libswscale-dev libavutil-dev
    libyaml-dev libjansson-dev librandom123-dev libxxhash-dev zlib1g-dev libturbojpeg0-dev libseccomp-dev
    libcmocka-dev procps hdf5-tools python3-h5py python3-pil gnuplot-nox
    libscalapack-openmpi-dev libopenblas0-openmp) # for vjepa-spectrum, and a fast BLAS
[ "$preset" != cuda ] || packages+=(python3-pip)
case $preset in dev | asan) packages+=(libdnnl-dev libopenblas-openmp-dev ffmpeg) ;; esac # for tests: train.products, packing

# For tests alone: python3-torch, -xxhash and -yaml for tests/convert, tidy for HTML pages, iproute2 for runs on two
# nodes, slurm and munge for tests/slurm, shellcheck for the job scripts.
[ "$preset" != dev ] || packages+=(valgrind iproute2 tidy python3-torch python3-xxhash python3-yaml
    slurm-wlm slurm-wlm-basic-plugins slurm-wlm-torque munge shellcheck)
[ "$preset" != dev ] || packages+=(libsimgrid-dev) # the simulated scaling study

# pip is for tests/packaging. tests/modules needs both module systems, which exclude each other as packages: install
# one, and what the other one needs.
if [ "$preset" = dev ]; then
    packages+=(python3-pip tcl lua5.3 lua-posix lua-filesystem lua-term lua-json)
    dpkg-query -W -f='${Status}\n' lmod 2>/dev/null | grep -q 'ok installed' || packages+=(environment-modules)
fi

[ "$preset" != aarch64 ] || packages+=(gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static python3)

missing=() options=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
    if [ "$(id -u)" -ne 0 ]; then
        echo "These packages are missing; ask for them, then run this again:" >&2
        echo "  sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "== installing ${#missing[@]} packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 update -qq
    apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# Where there is no nvcc, the preset cuda gets NVIDIA's compiler: 109 MB, in a folder of the checkout. The disassembler
# (6 MB) is for tests/cuda_compile; the preset dev also gets it where nvcc is. Running on a GPU needs the driver, and
# cuBLASLt for speed.
there() { command -v "$1" >/dev/null || [ -x "/usr/local/cuda/bin/$1" ]; }
wheels=()
[ "$preset" != cuda ] || there nvcc || wheels+=(nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85)
if [ "$preset" = cuda ] || { [ "$preset" = dev ] && there nvcc; }; then
    there cuobjdump || wheels+=(nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.86)
fi
folder=build-cuda-compiler
if ((${#wheels[@]})) && [ "$(cat $folder/wheels 2>/dev/null)" != "${wheels[*]}" ]; then
    echo "== getting from the Python package index: ${wheels[*]}"
    rm -rf $folder # pip does not replace what is already there
    if python3 -m pip install --quiet --no-deps --target $folder "${wheels[@]}"; then
        echo "${wheels[*]}" >$folder/wheels
    elif [ "$preset" = cuda ]; then
        exit 1
    else
        echo "the disassembler could not be got: tests/cuda_compile will say what it cannot look at" >&2
    fi
fi
if [ "$preset" = cuda ]; then
    preset=release
    options=(-D VJEPA_CUDA=ON)
    if [ -x build-cuda-compiler/nvidia/cu13/bin/nvcc ]; then options+=(-D "VJEPA_NVCC=$PWD/build-cuda-compiler/nvidia/cu13/bin/nvcc"); fi
fi

if [ "$preset" = aarch64 ]; then
    echo "== unpacking arm64 packages in build-aarch64-root: 100 MB to get, the first time"
    bash tests/aarch64/root.sh build-aarch64-root
fi

if [ -z "$preset" ] && [ ! -f build/CMakeCache.txt ]; then preset=release; fi
echo "== building${preset:+ (preset $preset)}: one to three minutes the first time, three more where nvcc is"
dir=build
case $preset in asan | cuda-emulated | aarch64) dir=build-$preset ;; esac
mkdir -p "$dir"
if ! { { [ -z "$preset" ] || cmake --preset "$preset" "${options[@]}"; } && cmake --build "$dir"; } >"$dir/build.log" 2>&1; then
    grep -A 15 -E 'FAILED|CMake Error|error:' "$dir/build.log" >&2 || tail -n 30 "$dir/build.log" >&2
    echo "the build failed; all of it is in $dir/build.log" >&2
    exit 1
fi
