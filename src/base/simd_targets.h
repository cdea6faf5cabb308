// Which SIMD targets are compiled, said once for all kernel files. Include
// before any hwy header.
#pragma once

// Left out: SSSE3 (every CPU since 2008 that has it and no SSE4.1 is out of
// reach of our users) and AVX3_DL, whose extra instructions are for integers;
// each target costs compile time and binary size.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL)
