# What `make install` puts where. The command and its completions and man page install themselves
# (apps/cli); here are the libraries, headers, package files, models and licence.
include(CMakePackageConfigHelpers)

get_property(layers GLOBAL PROPERTY LCSM_LAYERS)
list(REMOVE_ITEM layers lcsm_bench)  # For our own command alone.
install(TARGETS lcsm_public ${layers} EXPORT lcsmTargets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}/lcsm)
install(DIRECTORY include/lcsm DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES ${PROJECT_BINARY_DIR}/include/lcsm/version.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lcsm)
install(EXPORT lcsmTargets NAMESPACE lcsm:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lcsm)
configure_package_config_file(cmake/lcsmConfig.cmake.in ${PROJECT_BINARY_DIR}/lcsmConfig.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lcsm)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/lcsmConfigVersion.cmake
  COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/lcsmConfig.cmake ${PROJECT_BINARY_DIR}/lcsmConfigVersion.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lcsm)

# Beside the executable, where a model NAME is looked up; what only our tests read stays here.
install(DIRECTORY models/ DESTINATION ${CMAKE_INSTALL_DATADIR}/lcsm/models
  PATTERN reference.safetensors EXCLUDE PATTERN greedy.json EXCLUDE)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
