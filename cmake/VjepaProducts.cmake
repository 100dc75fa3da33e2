# Libraries that can compute matrix products in place of our own kernels. Each one that is switched on adds a folder of
# src/kernels, a definition for the table in library.c, and libraries to link.
include_guard()
include(CheckFunctionExists)
set(VJ_PRODUCT_FOLDERS "")
set(VJ_PRODUCT_LIBRARIES "")
set(VJ_PRODUCT_INCLUDES "")
set(VJ_PRODUCT_DEFINITIONS "")

if(VJEPA_ONEDNN)
  find_path(ONEDNN_INCLUDE oneapi/dnnl/dnnl.h)
  find_library(ONEDNN_LIBRARY dnnl)
  if(NOT ONEDNN_INCLUDE OR NOT ONEDNN_LIBRARY)
    message(FATAL_ERROR "VJEPA_ONEDNN=ON, but oneDNN >= 2.0 was not found (Debian: libdnnl-dev; elsewhere name its "
                        "folder in CMAKE_PREFIX_PATH). Without it the own kernels multiply: -D VJEPA_ONEDNN=OFF")
  endif()
  list(APPEND VJ_PRODUCT_FOLDERS src/kernels/onednn)
  list(APPEND VJ_PRODUCT_LIBRARIES ${ONEDNN_LIBRARY})
  list(APPEND VJ_PRODUCT_INCLUDES ${ONEDNN_INCLUDE})
  list(APPEND VJ_PRODUCT_DEFINITIONS VJ_ONEDNN=1)
endif()

if(VJEPA_CBLAS)
  if(BLA_SIZEOF_INTEGER EQUAL 8 OR BLA_VENDOR MATCHES "ilp")
    message(FATAL_ERROR "VJEPA_CBLAS calls a BLAS with 32-bit integers; BLA_VENDOR=${BLA_VENDOR} BLA_SIZEOF_INTEGER="
                        "${BLA_SIZEOF_INTEGER} has 64-bit ones")
  endif()
  find_package(BLAS REQUIRED)
  set(CMAKE_REQUIRED_LIBRARIES ${BLAS_LIBRARIES})
  unset(VJ_CBLAS_WORKS CACHE) # ask again, since BLAS_LIBRARIES may have changed
  check_function_exists(cblas_sgemm VJ_CBLAS_WORKS)
  unset(CMAKE_REQUIRED_LIBRARIES)
  if(NOT VJ_CBLAS_WORKS)
    message(FATAL_ERROR "VJEPA_CBLAS=ON, but ${BLAS_LIBRARIES} has no cblas_sgemm; name another BLAS with -D BLA_VENDOR="
                        "(OpenBLAS, Intel10_64lp_seq, AOCL, Arm, ...; Debian: libopenblas-openmp-dev). Without it the "
                        "own kernels multiply: -D VJEPA_CBLAS=OFF")
  endif()
  list(APPEND VJ_PRODUCT_FOLDERS src/kernels/cblas)
  list(APPEND VJ_PRODUCT_LIBRARIES ${BLAS_LIBRARIES} ${CMAKE_DL_LIBS})
  list(APPEND VJ_PRODUCT_DEFINITIONS VJ_CBLAS=1)
endif()
