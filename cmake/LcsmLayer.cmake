# Folders are layers and includes point down only. This file makes the build enforce it.
#
# lcsm_layer(NAME base SOURCES a.cc b.cc [DEPS lower...] [LIBS external...])
#   Makes the static library lcsm_<name> from this folder. Its headers are reached as "<name>/x.h"
#   through a folder of its own in the build tree that holds one link, <name> -> the source folder:
#   a target sees the headers of the layers it links and of no other. A DEP that is not yet defined
#   (a layer added later, so higher up) is an error, which rules out cycles.
#
# lcsm_test(NAME file_test SOURCES file_test.cc [DEPS layer...] [LIBS ...] [LABELS ...])
# lcsm_fuzzer(NAME x_fuzzer SOURCES ... DEPS ... CORPUS dir)

include(GoogleTest OPTIONAL)

function(lcsm_layer_headers name dir)
  set(root ${PROJECT_BINARY_DIR}/layers/${name})
  file(MAKE_DIRECTORY ${root})
  file(CREATE_LINK ${dir} ${root}/${name} SYMBOLIC)
endfunction()

function(lcsm_layer)
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS;LIBS" ${ARGN})
  lcsm_layer_headers(${A_NAME} ${CMAKE_CURRENT_SOURCE_DIR})
  add_library(lcsm_${A_NAME} STATIC ${A_SOURCES})
  add_library(lcsm::${A_NAME} ALIAS lcsm_${A_NAME})
  set_target_properties(lcsm_${A_NAME} PROPERTIES EXPORT_NAME ${A_NAME} POSITION_INDEPENDENT_CODE ON)
  target_include_directories(lcsm_${A_NAME} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/layers/${A_NAME}>)
  target_link_libraries(lcsm_${A_NAME} PUBLIC lcsm_public PRIVATE $<BUILD_INTERFACE:lcsm_flags>)
  foreach(dep IN LISTS A_DEPS)
    if(NOT TARGET lcsm_${dep})
      message(FATAL_ERROR "layer ${A_NAME} wants ${dep}, which is not below it: includes point down only")
    endif()
    target_link_libraries(lcsm_${A_NAME} PUBLIC lcsm_${dep})
  endforeach()
  target_link_libraries(lcsm_${A_NAME} PRIVATE ${A_LIBS})
  # Fuzzers are led by the branches of what reads and checks; kernels see only what has passed.
  if(NOT LCSM_FUZZ)
    lcsm_use_pch(lcsm_${A_NAME} layer)
  elseif(NOT A_NAME MATCHES "^(kernels|mixers)$")
    target_compile_options(lcsm_${A_NAME} PRIVATE ${LCSM_FUZZ_FLAG})
    lcsm_use_pch(lcsm_${A_NAME} layer)
  endif()
  set_property(GLOBAL APPEND PROPERTY LCSM_LAYERS lcsm_${A_NAME})
endfunction()

# Target <label>_tests builds what `ctest -L <label>` runs: adds `name` for each of its labels.
function(lcsm_labelled_test name)
  foreach(label IN LISTS ARGN)
    if(NOT TARGET ${label}_tests)
      add_custom_target(${label}_tests)
    endif()
    add_dependencies(${label}_tests ${name})
  endforeach()
endfunction()

function(lcsm_test_flags name)
  # Of the tests themselves; what they test has the build's own. -O1 makes references fast enough.
  if(CMAKE_BUILD_TYPE STREQUAL Release)
    target_compile_options(${name} PRIVATE -O1)
  endif()
  # These three take a quarter of the compile time and see next to nothing that the address sanitizer does not.
  if(LCSM_SANITIZE MATCHES undefined)
    target_compile_options(${name} PRIVATE -fno-sanitize=null,alignment,vptr)
  endif()
endfunction()

function(lcsm_test)
  if(NOT LCSM_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "NAME" "SOURCES;DEPS;LIBS;LABELS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  foreach(dep IN LISTS A_DEPS)
    target_link_libraries(${A_NAME} PRIVATE lcsm_${dep})
  endforeach()
  target_link_libraries(${A_NAME} PRIVATE lcsm_flags ${A_LIBS} GTest::gtest GTest::gmock GTest::gtest_main)
  lcsm_test_flags(${A_NAME})
  lcsm_use_pch(${A_NAME} test)
  # Test data is found from the source tree, so tests run from any folder.
  target_compile_definitions(${A_NAME} PRIVATE LCSM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(NOT A_LABELS)
    set(A_LABELS unit)
  endif()
  add_test(NAME ${A_NAME} COMMAND ${A_NAME})
  lcsm_labelled_test(${A_NAME} ${A_LABELS})
  set_tests_properties(${A_NAME} PROPERTIES LABELS "${A_LABELS}" TIMEOUT 900)
endfunction()

# A fuzzer is a libFuzzer binary where clang builds with LCSM_FUZZ=ON. Everywhere else the same
# entry point is linked with a small driver. Both replay the corpus as an ordinary test: seeds and
# past crashes under every compiler and sanitizer.
function(lcsm_fuzzer)
  if(NOT LCSM_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "NAME;CORPUS" "SOURCES;DEPS;LIBS" ${ARGN})
  add_executable(${A_NAME} ${A_SOURCES})
  if(LCSM_FUZZ)
    target_compile_options(${A_NAME} PRIVATE -fsanitize=fuzzer)
    target_link_options(${A_NAME} PRIVATE -fsanitize=fuzzer)
    # No runs but those of the seeds.
    add_test(NAME ${A_NAME}_replay COMMAND ${A_NAME} -runs=0 ${A_CORPUS})
  else()
    target_sources(${A_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/fuzz/replay_main.cc)
    add_test(NAME ${A_NAME}_replay COMMAND ${A_NAME} ${A_CORPUS})
  endif()
  set_tests_properties(${A_NAME}_replay PROPERTIES LABELS "unit;fuzz")
  lcsm_labelled_test(${A_NAME} unit fuzz)
  foreach(dep IN LISTS A_DEPS)
    target_link_libraries(${A_NAME} PRIVATE lcsm_${dep})
  endforeach()
  target_link_libraries(${A_NAME} PRIVATE lcsm_flags ${A_LIBS})
endfunction()
