#!/usr/bin/env bash
# Test which LAPACK and ScaLAPACK cmake/VjepaLapack.cmake finds: this system's, and the same libraries under the names
# and in the folders of LibSci and MKL. A library that does not link is passed over; one that the user named and that
# does not link is refused. One configuration tries all cases, each with another environment.
set -euo pipefail
source_dir=${VJEPA_SOURCE:?run through ctest, or set VJEPA_SOURCE to the checkout}
scratch=$(mktemp -d "${TMPDIR:-/tmp}/vjepa-lapack.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

fail() {
    echo "FAIL: $*" >&2
    exit 1
}
library() { # NAME: print the path at which the compiler finds it
    local path
    path=$(${CC:-cc} -print-file-name="lib$1.so")
    [[ $path == /* ]] || { echo "SKIPPED: there is no $1 (Debian: libscalapack-openmpi-dev)"; exit 77; }
    echo "$path"
}
scalapack=$(library scalapack-openmpi)
lapack=$(library lapack)
blas=$(library blas)
mkdir -p libsci/lib serial/lib other/lib mkl/lib/intel64
for name in libsci/lib/libsci_gnu_mpi_mp libsci/lib/libsci_gnu_mpi serial/lib/libsci_cray_mpi mkl/lib/intel64/libmkl_scalapack_lp64 \
    mkl/lib/intel64/libmkl_blacs_openmpi_lp64; do
    ln -s "$scalapack" $name.so
done
for name in libsci/lib/libsci_gnu_mp libsci/lib/libsci_gnu serial/lib/libsci_cray mkl/lib/intel64/libmkl_rt other/lib/libsci_gnu; do
    printf 'INPUT(%s %s)\n' "$lapack" "$blas" >$name.so # a linker script that makes one library of both
done
ln -s "$(library m)" other/lib/libsci_gnu_mpi.so # stands for one of another MPI: it lacks the functions

cat >CMakeLists.txt <<'EOC'
cmake_minimum_required(VERSION 3.22)
project(finder C)
find_package(MPI REQUIRED COMPONENTS C)
include("${VJEPA_SOURCE}/cmake/VjepaLapack.cmake")
function(try name)
  foreach(variable VJ_LIBSCI_LIBRARY VJ_LIBSCI_MPI_LIBRARY VJ_MKL_SCALAPACK_LIBRARY VJ_MKL_BLACS_LIBRARY)
    unset(${variable} CACHE)
  endforeach()
  if(NOT LAPACK_LIBRARIES)
    vj_find_lapack()
  endif()
  vj_find_scalapack()
  message(STATUS "RESULT ${name} ${VJ_SCALAPACK} [${VJ_SCALAPACK_LIBRARIES}] [${LAPACK_LIBRARIES}]")
endfunction()
if(VJ_SCALAPACK_LIBRARY)
  try(named)
  return()
endif()
try(system)
foreach(folder libsci serial other)
  set(ENV{CRAY_LIBSCI_PREFIX_DIR} ${CMAKE_SOURCE_DIR}/${folder})
  try(${folder})
endforeach()
set(ENV{CRAY_LIBSCI_PREFIX_DIR} "")
set(ENV{MKLROOT} ${CMAKE_SOURCE_DIR}/mkl)
set(LAPACK_LIBRARIES ${CMAKE_SOURCE_DIR}/mkl/lib/intel64/libmkl_rt.so)
try(mkl)
unset(LAPACK_LIBRARIES)
set(CMAKE_REQUIRED_LINK_OPTIONS -Wl,--no-as-needed ${LINKED})
set(ENV{CRAY_LIBSCI_PREFIX_DIR} ${CMAKE_SOURCE_DIR}/libsci)
try(wrapper)
EOC
configure() { cmake -S . -B build -D VJEPA_SOURCE="$source_dir" -D VJEPA_SCALAPACK=AUTO "$@" >cmake.log 2>&1; }
found() { # NAME SCALAPACK LAPACK: these patterns match what was found in the case NAME
    grep -qE -- "^-- RESULT $1 (1|TRUE|ON) \[$2\] \[$3\]$" cmake.log || fail "$1: $(grep -E "RESULT $1 |ScaLAPACK" cmake.log)"
}
configure -D LINKED="$scalapack;$lapack;$blas" || fail "cmake: $(tail -n 20 cmake.log)"
found system '.*libscalapack.*' '.*lib.*'
found libsci "$PWD/libsci/lib/libsci_gnu_mpi_mp.so" "$PWD/libsci/lib/libsci_gnu_mp.so"
found serial "$PWD/serial/lib/libsci_cray_mpi.so" "$PWD/serial/lib/libsci_cray.so"
found other '.*libscalapack.*' "$PWD/other/lib/libsci_gnu.so"
found mkl ".*$PWD/mkl/lib/intel64/libmkl_scalapack_lp64.so.*libmkl_blacs_openmpi_lp64.so.*" "$PWD/mkl/lib/intel64/libmkl_rt.so"
found wrapper '' ''
configure -D VJ_SCALAPACK_LIBRARY="$scalapack" || fail "a named library: $(tail -n 20 cmake.log)"
found named "$scalapack" '.*lib.*'
! configure -D VJ_SCALAPACK_LIBRARY="$PWD/other/lib/libsci_gnu_mpi.so" || fail "a named library that does not link was taken"
grep -q 'VJ_SCALAPACK_LIBRARY=.*libsci_gnu_mpi.so does not link' <(tr -s ' \n' ' ' <cmake.log) || fail "not said why: $(cat cmake.log)"
