# Precompiled headers: most of the time of most compilations goes to parsing the standard library, fmt
# and GoogleTest again (2.4 of 3.0 s of src/io/bed.cc, 3.6 of 4.6 s of its test).
#
# lcsm_use_pch(TARGET layer|command|test)
#   A source compiles with the header of its kind and the same flags, so one of each serves all targets.
#   The preset `dev` does without, and so sees which source forgot an include.
set(LCSM_PCH_COMMON <algorithm> <array> <cmath> <cstddef> <cstdint> <cstring> <functional> <limits> <map> <memory>
  <optional> <span> <string> <string_view> <utility> <variant> <vector> <fmt/format.h>)
set(LCSM_PCH_layer ${LCSM_PCH_COMMON})
set(LCSM_PCH_command ${LCSM_PCH_COMMON} <nlohmann/json.hpp>)
set(LCSM_PCH_test ${LCSM_PCH_COMMON} <gmock/gmock.h> <gtest/gtest.h>)

function(lcsm_pch kind)
  set(source ${PROJECT_BINARY_DIR}/pch/${kind}.cc)
  file(CONFIGURE OUTPUT ${source} CONTENT "")
  add_library(lcsm_pch_${kind} OBJECT ${source})
  target_link_libraries(lcsm_pch_${kind} PRIVATE lcsm_flags fmt::fmt ${ARGN})
  target_precompile_headers(lcsm_pch_${kind} PRIVATE ${LCSM_PCH_${kind}})
endfunction()

if(LCSM_PCH)
  lcsm_pch(layer)
  set_target_properties(lcsm_pch_layer PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_compile_options(lcsm_pch_layer PRIVATE ${LCSM_FUZZ_FLAG})
  lcsm_pch(command nlohmann_json::nlohmann_json)
  if(LCSM_BUILD_TESTS)
    lcsm_pch(test GTest::gtest GTest::gmock)
    lcsm_test_flags(lcsm_pch_test)
  endif()
endif()

function(lcsm_use_pch target kind)
  if(LCSM_PCH)
    target_precompile_headers(${target} REUSE_FROM lcsm_pch_${kind})
    # GCC wants the macros that the header met, also where a target does without fmt.
    target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:fmt::fmt,INTERFACE_COMPILE_DEFINITIONS>)
  endif()
endfunction()
