# Cross-compiling for 64-bit Arm on Debian, and running what comes out in an emulator; used by the preset
# `neon` (tools/neon.sh). Compiler and C library are those of g++-aarch64-linux-gnu; the other libraries are
# arm64 packages unpacked into LCSM_SYSROOT, so that nothing of the machine's own is found by mistake.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_LIBRARY_ARCHITECTURE aarch64-linux-gnu)

list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES LCSM_SYSROOT)
set(CMAKE_FIND_ROOT_PATH ${LCSM_SYSROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${LCSM_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR} ${LCSM_SYSROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${LCSM_SYSROOT}/usr/share/pkgconfig)

# What our libraries link in their turn (libzip: libbz2, libcrypto) is looked for apart, by linker and loader.
set(library_path ${LCSM_SYSROOT}/usr/lib/aarch64-linux-gnu:${LCSM_SYSROOT}/lib/aarch64-linux-gnu)
set(CMAKE_EXE_LINKER_FLAGS_INIT -Wl,-rpath-link,${library_path})
# -L: where the emulated program finds its loader and C library.
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64;-L;/usr/aarch64-linux-gnu;-E;LD_LIBRARY_PATH=${library_path})
