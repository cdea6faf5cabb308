# Is there a CUDA toolkit that will do? Sets LCSM_NVCC, LCSM_CUDA_ROOT and LCSM_CUDA_DEFAULT.
#
# The CUDA language of CMake is not enabled: its checks take seconds of every configuration, and one
# source needs nvcc (src/cuda/CMakeLists.txt). On by default in release builds only: other presets,
# sanitizers and cross builds test all of src/cuda but what nvcc makes, and `make cuda` asks for that alone.
find_program(LCSM_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin $ENV{CUDA_PATH}/bin /usr/local/cuda/bin)
set(LCSM_CUDA_ROOT)
set(LCSM_CUDA_DEFAULT OFF)
if(LCSM_NVCC)
  get_filename_component(root ${LCSM_NVCC} REALPATH)
  get_filename_component(root ${root}/../.. ABSOLUTE)
  execute_process(COMMAND ${LCSM_NVCC} --version OUTPUT_VARIABLE version ERROR_QUIET)
  # C++20 came with 12.0.
  if(version MATCHES "release ([0-9]+)" AND CMAKE_MATCH_1 GREATER_EQUAL 12 AND EXISTS ${root}/lib64/libcudart_static.a)
    set(LCSM_CUDA_ROOT ${root})
    if((NOT CMAKE_BUILD_TYPE OR CMAKE_BUILD_TYPE STREQUAL Release) AND NOT LCSM_FFTW AND NOT CMAKE_CROSSCOMPILING)
      set(LCSM_CUDA_DEFAULT ON)
    endif()
  endif()
endif()
