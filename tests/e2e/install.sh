#!/usr/bin/env bash
# Checks that an installation can be used: another program finds libvjepa through pkg-config and through CMake.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
prefix=$scratch/prefix
cmake --install "$bin/.." --prefix "$prefix" >/dev/null
cat >user.c <<'C'
#include <kernels/kernels.h>
#include <stdio.h>
int main(void)
{
    vj_backend *be;
    if (vj_backend_open(&be, "cpu", VJ_FP32, 1) != VJ_OK) return 1;
    puts(vj_backend_describe(be));
    vj_backend_close(be);
    return 0;
}
C
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$prefix/$(cd "$prefix" && find . -name pkgconfig | head -n 1)
read -ra flags < <(pkg-config --cflags --libs vjepa)
cc user.c -o user "${flags[@]}" && ./user | grep -q cpu || fail "pkg-config"
cmake -S "$source_dir" -B "my build" >blank.log 2>&1 && fail "a build folder with a blank is taken"
grep -q 'build folder has blanks' blank.log || fail "a blank in the build folder: $(tail -n 5 blank.log)"
mkdir cmake_user
cp user.c cmake_user
cat >cmake_user/CMakeLists.txt <<'C'
cmake_minimum_required(VERSION 3.20)
project(user C)
find_package(vjepa REQUIRED)
add_executable(user user.c)
target_link_libraries(user PRIVATE vjepa::vjepa)
C
cmake -S cmake_user -B cmake_build -DCMAKE_PREFIX_PATH="$prefix" >/dev/null && cmake --build cmake_build >/dev/null &&
    cmake_build/user | grep -q cpu || fail "CMake package"
"$prefix/bin/vjepa-pretrain" --version | grep -q 'vjepa 0' || fail "installed program"
[ -n "$(find "$prefix" -path '*/vjepa/hdf5-plugins/libvjepa_jpeg.so')" ] || fail "installed HDF5 plugin"
python3 -c 'import sys; compile(open(sys.argv[1]).read(), sys.argv[1], "exec")' "$prefix/share/vjepa/convert/from_pytorch.py" ||
    fail "installed converters"
finish
