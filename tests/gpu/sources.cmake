# The sources of gpu-check beside src/kernels/cuda; they need no MPI, HDF5, FFmpeg or other library. This file sets two
# lists: gpu_check_cpu has the CPU's kernels, with which the GPU's are compared, in plain C only, since that builds
# fastest; gpu_check_others has the rest. The function gpu_check_needs(TARGET) sets the options that a target of these
# sources needs.
set(gpu_check_folder ${CMAKE_CURRENT_LIST_DIR})
set(gpu_check_src ${CMAKE_CURRENT_LIST_DIR}/../../src)
file(GLOB gpu_check_cpu ${gpu_check_src}/kernels/cpu/*.c)
file(GLOB gpu_check_others ${gpu_check_folder}/*.c ${gpu_check_folder}/one_rank/*.c ${gpu_check_src}/kernels/*.c
     ${gpu_check_src}/kernels/strict/*.c ${gpu_check_src}/model/*.c)
foreach(several_ranks tensor tensor_device neighbours) # one_rank/one_rank.c stands in for these
  list(REMOVE_ITEM gpu_check_others ${gpu_check_src}/model/${several_ranks}.c)
endforeach()
list(APPEND gpu_check_others ${gpu_check_src}/base/status.c ${gpu_check_src}/base/rng.c ${gpu_check_src}/base/tree_sum.c
     ${gpu_check_src}/base/progress.c)

function(gpu_check_needs target)
  target_include_directories(${target} PRIVATE ${gpu_check_folder}/one_rank ${gpu_check_src})
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE VJ_CUDA=1 VJ_ISA=portable VJ_ISA_portable=1)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:C>:-Wall;-Wextra;-fopenmp;-fno-math-errno;-fno-trapping-math>)
  set_source_files_properties(${gpu_check_cpu} PROPERTIES COMPILE_OPTIONS "-O3;-fno-signed-zeros;-ffp-contract=fast")
  target_link_libraries(${target} PRIVATE gomp m rt dl)
endfunction()
