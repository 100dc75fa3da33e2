# The CUDA backend, compiled by nvcc for GPUs, or by the host's compiler on tests/cuda_on_cpu, which emulates a GPU.
include_guard()

if(VJEPA_CUDA_EMULATED)
  set(VJ_CUDA EMULATED)
elseif(VJEPA_CUDA STREQUAL "ON" OR (VJEPA_CUDA STREQUAL "AUTO" AND NOT VJEPA_SANITIZE)) # nvcc knows no sanitizers
  find_program(VJEPA_NVCC nvcc HINTS /usr/local/cuda/bin ENV CUDA_HOME PATH_SUFFIXES bin)
  if(VJEPA_NVCC)
    set(VJ_CUDA ON)
  elseif(VJEPA_CUDA STREQUAL "ON")
    message(FATAL_ERROR "VJEPA_CUDA=ON, but there is no nvcc; load the module of CUDA, name it with -D VJEPA_NVCC=..., or get it by "
                        "`bash jobs/setup.sh cuda`")
  endif()
endif()

# The library has machine code for 80 and 90a, and PTX for 80, which the driver compiles for all other newer GPUs.
set(VJEPA_CUDA_ARCHITECTURES 80-real 90a-real 80-virtual CACHE STRING "GPUs to compile for")

if(VJ_CUDA STREQUAL "ON")
  enable_language(CXX)
  set(CMAKE_CUDA_COMPILER ${VJEPA_NVCC})
  set(CMAKE_CUDA_ARCHITECTURES ${VJEPA_CUDA_ARCHITECTURES})
  set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
  enable_language(CUDA)
  set(CMAKE_CUDA_STANDARD 17)
  get_filename_component(VJ_CUDA_ROOT ${VJEPA_NVCC} DIRECTORY)
  get_filename_component(VJ_CUDA_ROOT ${VJ_CUDA_ROOT} DIRECTORY)
  find_library(VJEPA_CUDART cudart_static HINTS ${VJ_CUDA_ROOT} PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib REQUIRED)
elseif(VJ_CUDA STREQUAL "EMULATED")
  enable_language(CXX)
  set(CMAKE_CXX_STANDARD 17)
endif()

# Options for kernels on the emulated GPU. The compiler may not fuse multiplications and additions, so that results are
# the same in every build. A misaligned access ends the program, as on a GPU.
set(VJ_EMULATED_KERNELS -Wno-psabi -ffp-contract=off)
if(NOT VJEPA_SANITIZE)
  list(APPEND VJ_EMULATED_KERNELS -fsanitize=alignment -fsanitize-undefined-trap-on-error)
endif()

# vj_cuda_kernels(DIR): add the backend's C files and kernels (.cu) to the library as one of its folders.
function(vj_cuda_kernels dir)
  if(NOT VJ_CUDA)
    return()
  endif()
  file(GLOB c CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.c)
  file(GLOB cu CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${dir}/*.cu)
  set(warnings -Wall -Wextra -Wshadow)
  if(VJEPA_WERROR)
    list(APPEND warnings -Werror)
  endif()
  add_library(vj_cuda OBJECT ${c} ${cu})
  target_include_directories(vj_cuda PRIVATE ${CMAKE_SOURCE_DIR}/src)
  target_compile_definitions(vj_kernels PRIVATE VJ_CUDA=1)
  target_compile_definitions(vj_cuda PRIVATE _GNU_SOURCE)
  target_compile_options(vj_cuda PRIVATE $<$<COMPILE_LANGUAGE:C>:-fopenmp>)
  # products.c loads one of these libraries at run time. The emulated build has its own one, which needs no GPU.
  set(cublaslt "\"libcublasLt.so.13\",\"libcublasLt.so.12\"")
  if(VJ_CUDA STREQUAL "EMULATED")
    set(cublaslt "\"${CMAKE_BINARY_DIR}/libvj_cublaslt_emulated.so\"")
  endif()
  target_compile_definitions(vj_cuda PRIVATE "$<$<COMPILE_LANGUAGE:C>:VJ_CUBLASLT_FILES=${cublaslt}>") # nvcc takes no commas
  if(VJ_CUDA STREQUAL "EMULATED")
    file(GLOB emulation CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu/*.cc)
    set_source_files_properties(${cu} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-x;c++")
    target_include_directories(vj_cuda PRIVATE ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu/include)
    target_compile_options(vj_cuda PRIVATE ${warnings} -O2 "$<$<COMPILE_LANGUAGE:CXX>:${VJ_EMULATED_KERNELS}>")
    add_library(vj_cuda_emulation OBJECT ${emulation})
    target_include_directories(vj_cuda_emulation PRIVATE ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu
                               ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu/include)
    target_compile_options(vj_cuda_emulation PRIVATE ${warnings} -O2)
    if(VJEPA_SANITIZE) # instrument the kernels alone; the emulation itself reports the memory that they access
      target_compile_options(vj_cuda PRIVATE -fsanitize=${VJEPA_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
      if(VJEPA_SANITIZE MATCHES "thread")
        target_compile_definitions(vj_cuda_emulation PRIVATE EMU_TSAN=1)
      endif()
    endif()
    target_link_libraries(vj_dependencies INTERFACE stdc++ rt ${CMAKE_DL_LIBS})
    # The emulated cuBLASLt, which is loaded at run time, finds the emulated runtime in the program.
    file(GLOB cublaslt_emulation CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu/cublaslt/*.cc)
    add_library(vj_cublaslt_emulated MODULE ${cublaslt_emulation})
    target_include_directories(vj_cublaslt_emulated PRIVATE ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu
                               ${CMAKE_SOURCE_DIR}/tests/cuda_on_cpu/include)
    target_compile_options(vj_cublaslt_emulated PRIVATE ${warnings} -O3 -ffp-contract=off -fvisibility=hidden)
    set_target_properties(vj_cublaslt_emulated PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
    add_dependencies(vj_cuda vj_cublaslt_emulated)
    target_link_options(vj_dependencies INTERFACE LINKER:--export-dynamic)
    set(VJ_FOLDERS ${VJ_FOLDERS} vj_cuda vj_cuda_emulation PARENT_SCOPE)
  else()
    target_include_directories(vj_cuda SYSTEM PRIVATE ${VJ_CUDA_ROOT}/include)
    target_compile_options(vj_cuda PRIVATE $<$<COMPILE_LANGUAGE:C>:${warnings}>
      $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=-v,-warn-spills,-warn-lmem-usage>)
    target_link_libraries(vj_dependencies INTERFACE ${VJEPA_CUDART} stdc++ rt ${CMAKE_DL_LIBS})
    set(VJ_FOLDERS ${VJ_FOLDERS} vj_cuda PARENT_SCOPE)
  endif()
endfunction()
