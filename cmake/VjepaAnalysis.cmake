# Targets that analyse results: the analysis of features, which needs ScaLAPACK, the report, and the simulated scaling
# study. None is part of the installed library.
include_guard()

if(NOT VJEPA_SCALAPACK MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "VJEPA_SCALAPACK is ${VJEPA_SCALAPACK}; it takes AUTO, ON or OFF")
endif()

set(VJ_SCALAPACK OFF)
if(NOT VJEPA_SCALAPACK STREQUAL OFF)
  vj_find_scalapack()
endif()

# vj_simulated_step(DIR): build the program that runs the code of src/parallel on a simulated machine, for vjepa-scale
# model. SimGrid SMPI is another MPI with another compiler wrapper, so all sources are compiled again for it.
function(vj_simulated_step dir)
  if(NOT VJEPA_SIMGRID MATCHES "^(AUTO|ON|OFF)$")
    message(FATAL_ERROR "VJEPA_SIMGRID is ${VJEPA_SIMGRID}; it takes AUTO, ON or OFF")
  endif()
  if(VJEPA_SIMGRID STREQUAL OFF OR VJEPA_SANITIZE)
    return()
  endif()
  find_program(VJ_SMPICC smpicc)
  if(NOT VJ_SMPICC AND VJEPA_SIMGRID STREQUAL ON)
    message(FATAL_ERROR "VJEPA_SIMGRID=ON, and there is no smpicc (Debian: libsimgrid-dev)")
  elseif(NOT VJ_SMPICC)
    message(STATUS "SimGrid: none; vjepa-scale simulates nothing")
    return()
  endif()
  message(STATUS "SimGrid: ${VJ_SMPICC}")
  set(folder ${CMAKE_SOURCE_DIR}/${dir})
  set(flags -O2 -std=gnu11 -D_GNU_SOURCE -I${CMAKE_SOURCE_DIR}/src -I${folder})
  if(VJEPA_WERROR)
    list(APPEND flags -Wall -Wextra -Werror)
  endif()
  file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/parallel/*.h ${CMAKE_SOURCE_DIR}/src/base/*.h ${folder}/*.h)
  set(objects "")
  foreach(source src/parallel/gradient_sum src/parallel/device_gather src/parallel/group src/parallel/partials src/parallel/parallel
          src/parallel/window src/base/status src/base/fold ${dir}/device ${dir}/machine ${dir}/step)
    get_filename_component(name ${source} NAME)
    set(object ${CMAKE_BINARY_DIR}/simulation/${name}.o)
    set(own ${flags})
    if(source MATCHES "^src/parallel")
      list(APPEND own -DVJ_SIMULATED -fopenmp -include ${folder}/machine.h)
    endif()
    add_custom_command(OUTPUT ${object} DEPENDS ${CMAKE_SOURCE_DIR}/${source}.c ${headers} VERBATIM
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/simulation
      COMMAND ${VJ_SMPICC} ${own} -c ${CMAKE_SOURCE_DIR}/${source}.c -o ${object})
    list(APPEND objects ${object})
  endforeach()
  # Only smpirun can load it: started by hand it would crash, so it may not be executed.
  set(program ${CMAKE_RUNTIME_OUTPUT_DIRECTORY}/vjepa-simulated-step)
  add_custom_command(OUTPUT ${program} DEPENDS ${objects} VERBATIM
    COMMAND ${VJ_SMPICC} -o ${program} ${objects} -lgomp -lm
    COMMAND chmod a-x ${program})
  add_custom_target(vjepa_simulated_step ALL DEPENDS ${program})
  install(FILES ${program} DESTINATION ${CMAKE_INSTALL_BINDIR})
  set(VJ_SIMGRID ON PARENT_SCOPE)
endfunction()
