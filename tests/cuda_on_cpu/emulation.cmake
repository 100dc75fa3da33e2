# The emulation itself: errors planted on purpose that it must find, alone and with sanitizers on top; the runtime; the products.
set(instrumented -fno-omit-frame-pointer -g)
add_library(vj_cuda_emulation_tsan OBJECT emu.cc memory.cc runtime.cc)
target_compile_definitions(vj_cuda_emulation_tsan PRIVATE EMU_TSAN=1)
target_include_directories(vj_cuda_emulation_tsan PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
target_compile_options(vj_cuda_emulation_tsan PRIVATE -O2)

# kernels_for(TARGET SANITIZER SOURCE...): kernels as objects; kernels alone are instrumented, since the emulation says by itself
# what it touches for them, and the other libraries of a program know no sanitizer.
function(kernels_for target sanitizer)
  set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_CURRENT_SOURCE_DIR}
                             ${CMAKE_CURRENT_SOURCE_DIR}/include)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wshadow -O1 -ffp-contract=off ${instrumented})
  if(sanitizer)
    target_compile_options(${target} PRIVATE -fsanitize=${sanitizer})
  endif()
endfunction()

# program_with(NAME SANITIZER KERNELS SOURCE...): a program of these kernels and the emulation.
function(program_with name sanitizer kernels)
  set(emulation vj_cuda_emulation)
  if(sanitizer STREQUAL thread)
    set(emulation vj_cuda_emulation_tsan)
  endif()
  add_executable(${name} ${ARGN} $<TARGET_OBJECTS:${kernels}> $<TARGET_OBJECTS:${emulation}>)
  if(sanitizer)
    target_link_options(${name} PRIVATE -fsanitize=${sanitizer})
  endif()
  set_target_properties(${name} PROPERTIES LINKER_LANGUAGE CXX RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

function(planted name sanitizer)
  kernels_for(${name}_kernels "${sanitizer}" planted.cu)
  program_with(${name} "${sanitizer}" ${name}_kernels)
  target_link_libraries(${name} PRIVATE ${CMAKE_DL_LIBS} Threads::Threads)
endfunction()

# planted_test(PROGRAM ERROR PATTERN): what its report has to say.
function(planted_test program error pattern)
  vj_test(NAME ${program}_${error} LABELS cuda
    COMMAND bash ${CMAKE_CURRENT_SOURCE_DIR}/planted.sh $<TARGET_FILE:${program}> ${error} ${pattern})
endfunction()

planted(planted "")
planted_test(planted missing_barrier "element [0-9]+ is -?nan.*read before anything wrote it")
planted_test(planted missing_copy_wait "element [0-9]+ is -?nan.*read before anything wrote it")
planted_test(planted overrun "kernel kernel, thread [0-9]+,0,0 of block 0,0,0, overruns its memory: .*, 0 bytes behind the end of a block of 1024")
planted_test(planted overrun_a_little "has written outside its memory: .*, 0 bytes behind the end of a block of 1008")
planted_test(planted overrun_far "kernel kernel, thread [0-9]+,0,0 of block 0,0,0, overruns its memory: .*bytes behind the end of a block of 1008")
planted_test(planted unwritten_shared "element 7 is -?nan")
planted_test(planted unwritten_output "element 255 is -?nan")
planted_test(planted divergent_barrier "divergent barrier")
planted_test(planted staging_overwritten "pinned memory was overwritten before the copy that reads it was made: 1024 bytes")
planted_test(planted read_too_early "element [0-9]+ is -?nan.*read before anything wrote it")
planted_test(planted missing_stream_wait "element [0-9]+ is -?nan.*read before anything wrote it")
planted_test(planted host_touches_device_memory "the host touches device memory: .*byte 0 of a block of 1024")
planted_test(planted used_after_free "device memory that was freed")
if(NOT VJEPA_SANITIZE)
  planted(planted_asan address)
  planted_test(planted_asan overrun_a_little "AddressSanitizer: use-after-poison")
  planted(planted_tsan thread)
  planted_test(planted_tsan missing_barrier "ThreadSanitizer: data race")
endif()

# Tests of kernels with the kernels under a sanitizer, and under valgrind, without the long shapes.
set(looked_at attention layernorm linear_bf16 loss rows)
if(NOT VJEPA_SANITIZE)
  file(GLOB kernels CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/kernels/cuda/*.cu)
  foreach(sanitizer address thread)
    kernels_for(vj_cuda_${sanitizer} ${sanitizer} ${kernels})
    foreach(name ${looked_at})
      set(program test_cuda_${name}_${sanitizer})
      program_with(${program} ${sanitizer} vj_cuda_${sanitizer} ${CMAKE_SOURCE_DIR}/tests/unit/test_${name}.c)
      target_link_libraries(${program} PRIVATE vj_tools PkgConfig::CMOCKA)
      vj_test(NAME cuda_${name}_${sanitizer} LABELS cuda TIMEOUT 1200
        COMMAND ${on_cuda} VJ_TEST_SLOW=1 ASAN_OPTIONS=detect_leaks=0 "TSAN_OPTIONS=atexit_sleep_ms=0:suppressions=${CMAKE_CURRENT_SOURCE_DIR}/tsan.supp" $<TARGET_FILE:${program}>)
    endforeach()
  endforeach()
  foreach(name ${looked_at})
    vj_test(NAME cuda_${name}_valgrind LABELS cuda valgrind TIMEOUT 1200
      COMMAND ${on_cuda} bash ${CMAKE_SOURCE_DIR}/tests/unit/valgrind.sh $<TARGET_FILE:test_unit_${name}>)
  endforeach()
endif()

# The runtime itself, and the library of products.
vj_test(NAME cuda_runtime SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/test_runtime.c LABELS cuda)
vj_test(NAME cuda_ipc SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/test_ipc.c LABELS cuda mpi RANKS 1 2 4)
vj_test(NAME cuda_ipc_shuffled LABELS cuda mpi RANKS 2 4
  COMMAND ${CMAKE_COMMAND} -E env EMU_STREAMS=7 $<TARGET_FILE:test_cuda_ipc>)
vj_test(NAME cuda_cublaslt SOURCE ${CMAKE_CURRENT_SOURCE_DIR}/test_cublaslt.c LABELS cuda)
foreach(test cuda_runtime cuda_ipc cuda_cublaslt)
  target_include_directories(test_${test} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${CMAKE_CURRENT_SOURCE_DIR}/include)
endforeach()
add_dependencies(test_cuda_cublaslt vj_cublaslt_emulated)
target_compile_definitions(test_cuda_cublaslt PRIVATE VJ_CUBLASLT_NAME="$<TARGET_FILE:vj_cublaslt_emulated>")

# What src/kernels/cuda/cublaslt.h declares, against NVIDIA's header where that is installed.
find_path(VJ_CUBLASLT_INCLUDE cublasLt.h HINTS /usr/local/cuda/include ENV CUDA_HOME PATH_SUFFIXES include)
if(VJ_CUBLASLT_INCLUDE)
  add_library(cublaslt_header OBJECT cublaslt_header.c)
  target_include_directories(cublaslt_header PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_include_directories(cublaslt_header SYSTEM PRIVATE ${VJ_CUBLASLT_INCLUDE})
endif()
