// What the process answers. Scripts rely on these four; see docs/cli.md.
#pragma once

namespace lcsm::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitBadInput =
    1;                                // A file or value is wrong: a sentence.
inline constexpr int kExitUsage = 2;  // The command line itself is wrong.
inline constexpr int kExitInterrupted =
    130;  // After Ctrl-C, as shells have it.

}  // namespace lcsm::cli
