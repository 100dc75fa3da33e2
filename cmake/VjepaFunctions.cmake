# Functions that make a target of a folder, a program of a file in src/programs, and tests on several numbers of ranks.
include_guard()

# Compiler settings that every target of ours shares.
add_library(vj_options INTERFACE)
target_include_directories(vj_options INTERFACE
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/src> $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/io/store>
  $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/io/make> $<BUILD_INTERFACE:${CMAKE_BINARY_DIR}/generated>)
target_compile_definitions(vj_options INTERFACE _GNU_SOURCE)
target_compile_options(vj_options INTERFACE -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
  -Wpointer-arith -Wwrite-strings -Wvla -fno-math-errno -fno-trapping-math)
if(VJEPA_WERROR)
  target_compile_options(vj_options INTERFACE -Werror)
endif()
if(VJEPA_SANITIZE)
  target_compile_options(vj_options INTERFACE -fsanitize=${VJEPA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  target_link_options(vj_options INTERFACE -fsanitize=${VJEPA_SANITIZE})
endif()

# vj_sources(VARIABLE DIR...): set VARIABLE to all C files of the folders.
function(vj_sources variable)
  list(TRANSFORM ARGN PREPEND "${CMAKE_SOURCE_DIR}/")
  list(TRANSFORM ARGN APPEND "/*.c")
  file(GLOB files CONFIGURE_DEPENDS ${ARGN})
  set(${variable} ${files} PARENT_SCOPE)
endfunction()

# vj_folder(NAME DIR...): make one target, vj_NAME, of all C files of the folders. libvjepa is made of these targets.
set(VJ_FOLDERS "")
function(vj_folder name)
  vj_sources(files ${ARGN})
  add_library(vj_${name} OBJECT ${files})
  target_link_libraries(vj_${name} PUBLIC vj_options vj_dependencies)
  set(VJ_FOLDERS ${VJ_FOLDERS} vj_${name} PARENT_SCOPE)
endfunction()

# The CPU kernels are compiled once per instruction set, with VJ_ISA naming the variant; one is chosen at run time.
function(vj_kernel_variants dir)
  vj_sources(files ${dir})
  set(variants portable)
  set(flags_portable "")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND NOT VJEPA_PORTABLE)
    list(APPEND variants avx2 avx512 avx512bf16 amx)
    set(flags_avx2 -mavx2 -mfma)
    set(flags_avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mprefer-vector-width=512)
    set(flags_avx512bf16 ${flags_avx512} -mavx512bf16)
    set(flags_amx ${flags_avx512bf16} -mamx-tile -mamx-bf16)
    target_compile_definitions(vj_options INTERFACE VJ_X86=1)
  elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" AND NOT VJEPA_PORTABLE)
    list(APPEND variants neon neonbf16 sve512)
    # In the order of the source, the sums of a tile fit the registers. In the order that gcc's scheduler chooses for
    # the loads, some are spilled.
    set(flags_neon $<$<C_COMPILER_ID:GNU>:-fno-schedule-insns>)
    set(flags_neonbf16 ${flags_neon} -march=armv8.2-a+bf16)
    # gcc 12 sums doubles wrongly in loops that it vectorises itself with masked vectors.
    set(flags_sve512 ${flags_neon} -march=armv8.2-a+sve -msve-vector-bits=512
        $<$<C_COMPILER_ID:GNU>:--param=vect-partial-vector-usage=0>)
    target_compile_definitions(vj_options INTERFACE VJ_AARCH64=1)
  endif()
  set(targets "")
  foreach(isa ${variants})
    add_library(vj_cpu_${isa} OBJECT ${files})
    target_link_libraries(vj_cpu_${isa} PUBLIC vj_options vj_dependencies)
    target_compile_definitions(vj_cpu_${isa} PRIVATE VJ_ISA=${isa} VJ_ISA_${isa}=1)
    target_compile_options(vj_cpu_${isa} PRIVATE -O3 -fno-signed-zeros -ffp-contract=fast ${flags_${isa}})
    list(APPEND targets vj_cpu_${isa})
  endforeach()
  set(VJ_KERNEL_VARIANTS ${variants} PARENT_SCOPE)
  set(VJ_FOLDERS ${VJ_FOLDERS} ${targets} PARENT_SCOPE)
endfunction()

# vj_library(): build libvjepa of all folders.
function(vj_library)
  add_library(vjepa)
  target_link_libraries(vjepa PUBLIC vj_dependencies PRIVATE vj_options ${VJ_FOLDERS})
  set_target_properties(vjepa PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
  # Each build asks Git for the commit; the header changes only when the answer does.
  add_custom_target(vj_build_info BYPRODUCTS ${CMAKE_BINARY_DIR}/generated/build_info.h
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUT=${CMAKE_BINARY_DIR}/generated/build_info.h
            -DRELEASE=${PROJECT_VERSION} -DCOMPILER=${CMAKE_C_COMPILER_ID}\ ${CMAKE_C_COMPILER_VERSION}
            -DTYPE=${CMAKE_BUILD_TYPE} -P ${CMAKE_SOURCE_DIR}/cmake/BuildInfo.cmake VERBATIM)
  add_dependencies(vj_base vj_build_info)
endfunction()

# vj_hdf5_plugin(NAME DIR): build the HDF5 filter in DIR as a plugin for other programs (h5py, h5dump); DIR/plugin
# describes it to HDF5. The plugin contains the parts of src/base that it needs. It links neither HDF5 nor MPI, and no
# sanitizer, since those programs have none.
set(VJ_PLUGIN_DIR ${CMAKE_INSTALL_LIBDIR}/vjepa/hdf5-plugins)
function(vj_hdf5_plugin name dir)
  vj_sources(files ${dir} ${dir}/plugin)
  add_library(${name} MODULE ${files} ${CMAKE_SOURCE_DIR}/src/base/status.c)
  target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/io/store)
  target_include_directories(${name} SYSTEM PRIVATE ${HDF5_C_INCLUDE_DIRS} ${MPI_C_INCLUDE_DIRS})
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
  target_link_libraries(${name} PRIVATE PkgConfig::TURBOJPEG m)
  target_link_options(${name} PRIVATE -Wl,-z,defs)
  set_target_properties(${name} PROPERTIES C_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/hdf5-plugins)
  install(TARGETS ${name} LIBRARY DESTINATION ${VJ_PLUGIN_DIR})
endfunction()

# vj_program_library(NAME LIBRARY ROOT DIR...): build the folders ROOT/DIR as one static library on top of LIBRARY. Only
# programs and tests link it; it is not installed. Its headers are included as "DIR/header.h".
function(vj_program_library name library root)
  list(TRANSFORM ARGN PREPEND ${root}/)
  vj_sources(files ${ARGN})
  add_library(${name} STATIC ${files})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR}/${root})
  target_link_libraries(${name} PUBLIC ${library} vj_options)
endfunction()

# vj_programs(DIR LIBRARY): build each vjepa-*.c of the folder as a program in bin/.
function(vj_programs dir library)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/vjepa-*.c)
  foreach(file ${files})
    vj_program(${file} ${library})
  endforeach()
  # vjepa-decode is started often, so do not let it load MPI, HDF5 and other libraries that it does not use.
  target_link_options(vjepa-decode PRIVATE LINKER:--as-needed)
  set(VJ_PROGRAMS ${VJ_PROGRAMS} PARENT_SCOPE)
endfunction()

# vj_program(FILE LIBRARY): build a program of one file. vj_install() installs it.
macro(vj_program file library)
  get_filename_component(program_name ${file} NAME_WE)
  add_executable(${program_name} ${file})
  target_link_libraries(${program_name} PRIVATE ${library})
  list(APPEND VJ_PROGRAMS ${program_name})
endmacro()

function(vj_install)
  include(CMakePackageConfigHelpers)
  install(TARGETS ${VJ_PROGRAMS} vjepa RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
  foreach(tree src io/store io/make)
    install(DIRECTORY ${CMAKE_SOURCE_DIR}/${tree}/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vjepa
            FILES_MATCHING PATTERN "*.h" PATTERN cpu EXCLUDE PATTERN cuda EXCLUDE PATTERN strict EXCLUDE PATTERN programs EXCLUDE PATTERN tools EXCLUDE
            PATTERN inner.h EXCLUDE PATTERN inside.h EXCLUDE)
  endforeach()
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/jobs/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/vjepa)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/jobs/slurm ${CMAKE_SOURCE_DIR}/jobs/pbs ${CMAKE_SOURCE_DIR}/jobs/steps
          ${CMAKE_SOURCE_DIR}/jobs/sites DESTINATION ${CMAKE_INSTALL_DATADIR}/vjepa/jobs USE_SOURCE_PERMISSIONS)
  install(PROGRAMS ${CMAKE_SOURCE_DIR}/jobs/submit ${CMAKE_SOURCE_DIR}/jobs/status ${CMAKE_SOURCE_DIR}/jobs/calibrate
          DESTINATION ${CMAKE_INSTALL_DATADIR}/vjepa/jobs)
  install(DIRECTORY ${CMAKE_SOURCE_DIR}/io/convert DESTINATION ${CMAKE_INSTALL_DATADIR}/vjepa USE_SOURCE_PERMISSIONS
          FILES_MATCHING PATTERN "*.py" PATTERN __pycache__ EXCLUDE)
  # Install expected numbers for vjepa-parity, so that an installation can be checked without the source.
  foreach(fixture ops masks schedules square_forward square_step5)
    install(FILES ${CMAKE_SOURCE_DIR}/tests/golden/${fixture}.h5 DESTINATION ${CMAKE_INSTALL_DATADIR}/vjepa/parity)
  endforeach()
  configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/vjepa-config.cmake.in ${CMAKE_BINARY_DIR}/vjepa-config.cmake
                                INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vjepa)
  write_basic_package_version_file(${CMAKE_BINARY_DIR}/vjepa-config-version.cmake COMPATIBILITY SameMinorVersion)
  install(FILES ${CMAKE_BINARY_DIR}/vjepa-config.cmake ${CMAKE_BINARY_DIR}/vjepa-config-version.cmake
          DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/vjepa)
  # libvjepa is static by default, so a program that links it must link its libraries too.
  set(VJ_PC_LIBS "")
  foreach(library ${HDF5_C_LIBRARIES} ${LAPACK_LIBRARIES} ${VJ_PRODUCT_LIBRARIES} ${MPI_C_LIBRARIES} ${VJEPA_CUDART})
    if(library MATCHES "^(/.*)/lib([^/]*)[.](so|a)$")
      string(APPEND VJ_PC_LIBS " -L${CMAKE_MATCH_1} -l${CMAKE_MATCH_2}")
    endif()
  endforeach()
  if(VJ_CUDA)
    string(APPEND VJ_PC_LIBS " -lstdc++ -lrt -ldl")
  endif()
  file(RELATIVE_PATH VJ_PC_UP ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX}) # so that it can be moved
  set(VJ_PC_INCLUDES ${HDF5_C_INCLUDE_DIRS} ${MPI_C_INCLUDE_DIRS})
  list(REMOVE_DUPLICATES VJ_PC_INCLUDES)
  list(TRANSFORM VJ_PC_INCLUDES PREPEND "-I")
  list(JOIN VJ_PC_INCLUDES " " VJ_PC_INCLUDES)
  configure_file(${CMAKE_SOURCE_DIR}/cmake/vjepa.pc.in ${CMAKE_BINARY_DIR}/vjepa.pc @ONLY)
  install(FILES ${CMAKE_BINARY_DIR}/vjepa.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
  vj_install_modulefiles()
endfunction()

# Install modulefiles for environment-modules (Tcl) and Lmod (Lua), made from modules/, as
# PREFIX/share/modulefiles/vjepa/VERSION[.lua].
function(vj_install_modulefiles)
  set(folder ${CMAKE_INSTALL_DATADIR}/modulefiles/vjepa)
  file(RELATIVE_PATH VJ_MODULE_UP ${CMAKE_INSTALL_FULL_DATADIR}/modulefiles/vjepa ${CMAKE_INSTALL_PREFIX})
  string(REGEX REPLACE "/$" "" VJ_MODULE_UP "${VJ_MODULE_UP}")
  list(JOIN VJEPA_MODULES " " VJ_MODULES)
  foreach(kind tcl lua)
    configure_file(${CMAKE_SOURCE_DIR}/modules/vjepa.${kind}.in ${CMAKE_BINARY_DIR}/vjepa.${kind} @ONLY)
  endforeach()
  install(FILES ${CMAKE_BINARY_DIR}/vjepa.tcl DESTINATION ${folder} RENAME ${PROJECT_VERSION})
  install(FILES ${CMAKE_BINARY_DIR}/vjepa.lua DESTINATION ${folder} RENAME ${PROJECT_VERSION}.lua)
endfunction()

# vj_test(NAME n [SOURCE file.c [LIBRARY target]] [COMMAND ...] LABELS l... [RANKS 1 2 3 4] [TIMEOUT s])
# With SOURCE the test is a cmocka program, which an emulator runs in a cross build; with COMMAND it is a script. Each
# number of RANKS makes one test, named n_r<ranks>. Each test has its own folder for Open MPI's files (made by
# tests/own_folder.sh, or for scripts by tests/e2e/lib.sh).
function(vj_test)
  cmake_parse_arguments(T "" "NAME;SOURCE;LIBRARY;TIMEOUT" "COMMAND;LABELS;RANKS" ${ARGN})
  if(NOT T_TIMEOUT)
    set(T_TIMEOUT 900) # long enough for a slow or busy machine, so that only a hang fails
    if(CMAKE_CROSSCOMPILING)
      set(T_TIMEOUT 7200) # an emulator is about fifty times slower
    endif()
  endif()
  if(T_SOURCE)
    add_executable(test_${T_NAME} ${T_SOURCE})
    if(NOT T_LIBRARY)
      set(T_LIBRARY vj_tools)
    endif()
    target_link_libraries(test_${T_NAME} PRIVATE ${T_LIBRARY} PkgConfig::CMOCKA)
    set_target_properties(test_${T_NAME} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    set(T_COMMAND ${CMAKE_CROSSCOMPILING_EMULATOR} $<TARGET_FILE:test_${T_NAME}>)
  endif()
  set(start ${CMAKE_SOURCE_DIR}/tests/own_folder.sh)
  if(T_COMMAND MATCHES "^bash;")
    set(start "")
  endif()
  if(NOT T_RANKS)
    add_test(NAME ${T_NAME} COMMAND ${start} ${T_COMMAND})
    set(names ${T_NAME})
  else()
    foreach(ranks ${T_RANKS})
      add_test(NAME ${T_NAME}_r${ranks} COMMAND ${start} ${MPIEXEC_EXECUTABLE} -n ${ranks} ${T_COMMAND})
      list(APPEND names ${T_NAME}_r${ranks})
    endforeach()
  endif()
  set_tests_properties(${names} PROPERTIES LABELS "${T_LABELS}" TIMEOUT ${T_TIMEOUT} SKIP_RETURN_CODE 77
    WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
    ENVIRONMENT "VJEPA_BIN=${CMAKE_BINARY_DIR}/bin;VJEPA_DECODE=${VJ_DECODE_FOR_TESTS};VJEPA_SOURCE=${CMAKE_SOURCE_DIR};VJEPA_FIXTURES=${VJEPA_FIXTURES};${VJ_TEST_ENVIRONMENT}")
endfunction()

# Settings to start ranks on a small or busy machine: as root in a container, more ranks than cores, no spinning.
set(VJ_TEST_ENVIRONMENT
  OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
  OMPI_MCA_mpi_yield_when_idle=1 OMPI_MCA_hwloc_base_binding_policy=none OMPI_MCA_btl=self,vader
  OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1 HDF5_USE_FILE_LOCKING=FALSE)
set(VJ_DECODE_FOR_TESTS ${CMAKE_BINARY_DIR}/bin/vjepa-decode)
if(CMAKE_CROSSCOMPILING) # an emulator is about fifty times slower, so tests use small shapes only
  list(APPEND VJ_TEST_ENVIRONMENT VJ_TEST_SLOW=1)
  # Programs that an emulated program starts run on the system itself, so they need the emulator too.
  list(JOIN CMAKE_CROSSCOMPILING_EMULATOR " " emulator)
  set(VJ_DECODE_FOR_TESTS ${CMAKE_BINARY_DIR}/vjepa-decode-emulated)
  file(WRITE ${VJ_DECODE_FOR_TESTS} "#!/bin/sh\nexec ${emulator} '${CMAKE_BINARY_DIR}/bin/vjepa-decode' \"$@\"\n")
  file(CHMOD ${VJ_DECODE_FOR_TESTS} PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE)
endif()
