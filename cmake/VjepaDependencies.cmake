# Find all libraries that vjepa uses. The target vj_dependencies links them.
include_guard()
find_package(PkgConfig REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(Threads REQUIRED)

# FindHDF5 runs HDF5's compiler wrapper, a shell script that splits paths at blanks.
if(CMAKE_BINARY_DIR MATCHES "[ \t]")
  message(FATAL_ERROR "The path of the build folder has blanks, which HDF5's compiler wrapper cannot take: "
                      "\"${CMAKE_BINARY_DIR}\". Build in a folder without: cmake -B build-vjepa ... (the source's path may have them)")
endif()
set(HDF5_PREFER_PARALLEL TRUE)
find_package(HDF5 1.10.5 REQUIRED COMPONENTS C)
if(NOT HDF5_IS_PARALLEL)
  message(FATAL_ERROR "HDF5 at ${HDF5_C_INCLUDE_DIRS} is a serial build; vjepa needs the parallel one "
                      "(Debian: libhdf5-openmpi-dev; a module: hdf5-parallel)")
endif()

include(VjepaLapack)
vj_find_lapack()
pkg_check_modules(FFMPEG REQUIRED IMPORTED_TARGET libavformat libavcodec libswscale libavutil)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(ZLIB REQUIRED IMPORTED_TARGET zlib)
pkg_check_modules(TURBOJPEG REQUIRED IMPORTED_TARGET libturbojpeg>=2.1)
if(VJEPA_SECCOMP)
  pkg_check_modules(SECCOMP IMPORTED_TARGET libseccomp>=2.5)
endif()
if(SECCOMP_FOUND)
  set(VJ_SECCOMP_FOLDER io/make/decode/seccomp)
  set(VJ_SECCOMP_LIBRARY PkgConfig::SECCOMP)
  set(VJ_PC_SECCOMP libseccomp)
else()
  set(VJ_SECCOMP_FOLDER io/make/decode/noseccomp)
  message(WARNING "Without libseccomp (Debian: libseccomp-dev) the processes that decode media are kept from harm by "
                  "limits and by what FFmpeg may open, but not from system calls")
endif()
find_path(RANDOM123_INCLUDE Random123/philox.h REQUIRED)
# If this libxxhash can choose instructions at run time, checksums use that (src/base/checksum.c).
include(CheckSymbolExists)
set(CMAKE_REQUIRED_LIBRARIES PkgConfig::XXHASH)
check_symbol_exists(XXH3_64bits_dispatch xxh_x86dispatch.h VJ_XXH_DISPATCH)
unset(CMAKE_REQUIRED_LIBRARIES)
if(VJEPA_TESTS)
  pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)
endif()

include(VjepaProducts)

add_library(vj_dependencies INTERFACE)
target_include_directories(vj_dependencies SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS} ${RANDOM123_INCLUDE}
  ${VJ_PRODUCT_INCLUDES})
target_compile_definitions(vj_dependencies INTERFACE ${HDF5_C_DEFINITIONS} OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX
  ${VJ_PRODUCT_DEFINITIONS} $<$<BOOL:${VJ_XXH_DISPATCH}>:VJ_XXH_DISPATCH=1>)
target_link_libraries(vj_dependencies INTERFACE MPI::MPI_C OpenMP::OpenMP_C Threads::Threads ${HDF5_C_LIBRARIES}
  ${LAPACK_LIBRARIES} ${VJ_PRODUCT_LIBRARIES} PkgConfig::FFMPEG PkgConfig::YAML PkgConfig::JANSSON PkgConfig::XXHASH PkgConfig::ZLIB
  PkgConfig::TURBOJPEG ${VJ_SECCOMP_LIBRARY} m)
