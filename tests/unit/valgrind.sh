#!/usr/bin/env bash
# A unit test under valgrind: valgrind.sh PROGRAM. The portable kernels alone, as valgrind knows no AVX-512, and without
# the long shapes. Reading behind an array is an error too (kernel_test.h).
set -euo pipefail
command -v valgrind >/dev/null || { echo "skipped: valgrind is missing"; exit 77; }
export VJ_TEST_ISA=portable VJ_ISA=portable VJ_TEST_SLOW=1
exec valgrind --error-exitcode=9 --exit-on-first-error=yes -q "$1"
