// Which SIMD targets are compiled, said once for all kernel files. Include
// before any hwy header.
#pragma once

// Left out: SSSE3 (every CPU since 2008 that has it and no SSE4.1 is out of
// reach of our users) and AVX3_DL, whose extra instructions are for integers;
// each target costs compile time and binary size. The SVE family of Arm, whose
// registers have no size at compile time: they cannot be members of a struct,
// as the kernels' complex numbers have them. CPUs with SVE run the NEON code.
//
// Under sanitizers a target takes minutes to compile, and SSE4's registers are
// as wide as SSE2's.
#ifdef LCSM_SANITIZED
#define LCSM_UNSANITIZED_TARGETS HWY_SSE4
#else
#define LCSM_UNSANITIZED_TARGETS 0
#endif
#define HWY_DISABLED_TARGETS                                                   \
  (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | \
   LCSM_UNSANITIZED_TARGETS)
