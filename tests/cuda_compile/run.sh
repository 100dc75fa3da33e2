#!/usr/bin/env bash
# What NVIDIA's compiler makes of src/kernels/cuda, without a GPU: spills and local memory are errors, registers are held
# against registers.txt, and the machine code has the instructions that it is meant to have (report.py).
#   run.sh [--update] [--newer]      # --update writes registers.txt and the tables of docs/roofline.md anew; --newer also compiles the PTX for sm_100 and sm_120
# VJEPA_NVCC names the compiler (default: nvcc). What it made is kept in ./cuda_compile and used again while it is
# newer than the sources.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source_dir=$(cd "$here/../.." && pwd)
update='' newer=''
for argument; do
    case $argument in
    --update) update=--update ;;
    --newer) newer="-gencode arch=compute_80,code=sm_100 -gencode arch=compute_80,code=sm_120" ;;
    *) echo "run.sh: what is $argument? Known: --update, --newer" >&2 && exit 2 ;;
    esac
done
nvcc=${VJEPA_NVCC:-$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)}
if [ ! -x "$nvcc" ]; then
    echo "skipped: no nvcc ($nvcc); 'bash jobs/setup.sh cuda' gets it"
    exit 77
fi

begin=$SECONDS
out=$PWD/cuda_compile
mkdir -p "$out"
export nvcc out source_dir
export options="-std=c++17 -O3 -gencode arch=compute_80,code=[sm_80,compute_80] -gencode arch=compute_90a,code=sm_90a $newer \
    -Xptxas -v,-warn-spills,-warn-lmem-usage -Werror all-warnings -I$source_dir/src -c"

compile() # FILE.cu: FILE.log, FILE.o and, in FILE.d, the PTX and machine code of each architecture
{
    local name
    name=$(basename "$1" .cu)
    local object=$out/$name.o log=$out/$name.log
    if [ -f "$object" ] && [ "$(cat "$out/$name.options")" = "$nvcc $options" ] &&
        [ -z "$(find "$source_dir/src/kernels" \( -path '*/cuda/*.h' -o -path '*/cuda/*.cuh' -o -name kernels.h -o -name backend.h \
            -o -path "*/cuda/$name.cu" \) -newer "$object")" ]; then
        return 0
    fi
    rm -rf "$object" "$out/$name.d"
    mkdir "$out/$name.d"
    # shellcheck disable=SC2086
    if ! "$nvcc" $options --keep --keep-dir "$out/$name.d" "$1" -o "$object" >"$log" 2>&1; then
        echo "FAILED: $(basename "$1") does not compile without warnings; spills and local memory are errors:" >&2
        grep -v -E 'ptxas info|bytes stack frame, 0 bytes spill' "$log" | tail -n 20 >&2
        rm -f "$object"
        return 1
    fi
    echo "$nvcc $options" >"$out/$name.options"
    find "$out/$name.d" -type f ! -name '*.ptx' ! -name '*.cubin' -delete
}
export -f compile

# What is left of sources that are gone.
for log in "$out"/*.log; do
    name=$(basename "$log" .log)
    [ -f "$source_dir/src/kernels/cuda/$name.cu" ] || rm -rf "$out/$name".*
done

# An error on purpose must be one: an array that no register can hold.
cat >"$out/planted.cu" <<'CU'
__global__ void planted(int *to, int n)
{
    int local[64] = {};
    for (int i = 0; i < n; i++) local[to[i] & 63] += i;
    for (int i = 0; i < 64; i++) to[i] = local[i];
}
CU
if compile "$out/planted.cu" 2>"$out/planted.txt" || ! grep -q -i 'local memory' "$out/planted.txt"; then
    echo "FAILED: a kernel that needs local memory, planted, was not refused: $(cat "$out/planted.txt")" >&2
    exit 1
fi
rm -rf "$out"/planted.*

# The largest first, so that two processors end at about the same time.
# shellcheck disable=SC2011,SC2012,SC2016
ls -S "$source_dir"/src/kernels/cuda/*.cu | xargs -n 1 -P "${VJ_COMPILE_JOBS:-2}" bash -c 'set -uo pipefail; compile "$0"'

# The disassembler: where the compiler is, in the PATH, or where jobs/setup.sh puts it.
for folder in "$(dirname "$nvcc")" "$source_dir/build-cuda-compiler/nvidia/cu13/bin"; do PATH=$PATH:$folder; done
export PATH
rc=0
"$nvcc" --version | sed -n 's/.*release .*, V\([0-9.]*\).*/nvcc \1/p' >"$out/compiler.txt"
python3 "$here/report.py" $update "$here/registers.txt" "$out" || rc=$?
if command -v cuobjdump >/dev/null; then
    python3 "$here/roofline.py" "$([ "$update" ] && echo --write || echo --check)" "$out" || rc=1
elif [ $rc = 0 ]; then
    echo "SKIPPED: the compiler found nothing wrong, but there is no cuobjdump: nobody looked for local memory (LDL, STL) and tensor cores (HMMA," >&2
    echo "HGMMA) in the machine code, nor whether docs/roofline.md is of it. 'bash jobs/setup.sh cuda' gets it" >&2
    rc=77
fi
echo "took $((SECONDS - begin)) s"
exit "$rc"
