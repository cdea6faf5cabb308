// A generation under way in one file: what was wanted, what came so far, and
// the state that it goes on from in the same bits.
//
// A file belongs to one model (by fingerprint), one weight format, one SIMD
// target and one plan; all are in its header, and what does not fit is refused
// by name. Layout: docs/sessions.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "conv/plan.h"
#include "io/section_file.h"
#include "lcsm/status.h"
#include "runtime/generator.h"
#include "runtime/model.h"

namespace lcsm {

// SessionRecord::simd_target of states that SavesForAnyTarget().
inline constexpr char kAnySimdTarget[] = "any";

struct SessionRecord {
  std::string program;  // Name and version of the writer.
  std::string model;    // Its name, for messages.
  std::string model_hash, weights, simd_target;
  // The preparation.
  size_t horizon = 0, steps = 0;
  conv::Method method = conv::Method::kPlanned;
  conv::Schedule schedule = conv::Schedule::kAcrossLayers;
  // PreparedPlans::levels as text (conv::Plan::Levels; empty for lazy and
  // eager), "; " between executors; one where all have the same.
  std::string levels;
  bool growable = false;
  conv::Rings rings = conv::Rings::kTwoBlocks;
  // The generation. `options.cancel` is not part of it.
  GenerateOptions options;
  uint64_t sample = 0;
  std::vector<int32_t> prompt;
  SampledSoFar sampled;
};

// Fills in what model and preparation know: of a session without a generation.
SessionRecord MakeSessionRecord(const Model& model,
                                const PreparedModel& prepared,
                                std::vector<int32_t> prompt);
// And what the generator knows.
SessionRecord MakeSessionRecord(const Model& model,
                                const PreparedModel& prepared,
                                const Generator& generator,
                                std::vector<int32_t> prompt, uint64_t sample);

// Writes the file, whole or not at all. Errors: the file's.
Status SaveSession(const std::filesystem::path& path,
                   const SessionRecord& record, const ModelState& state);

// A file whose header was read and whose state is still to come.
struct OpenedSession {
  SessionRecord record;
  io::SectionReader reader;

  // Error: made with another model, weight format or SIMD target.
  Status Check(const ModelInfo& info) const;
  // What to prepare: `plan` but for the levels.
  StatusOr<PrepareOptions> ToPrepareOptions(conv::PlanOptions plan) const;
  // Brings the state back; the last thing read. Errors: damage, a state of
  // another preparation.
  Status Load(ModelState& state);
};
StatusOr<OpenedSession> OpenSession(const std::filesystem::path& path);

// Of what OpenedSession::ToPrepareOptions gave: for another length than the
// file's, which is to be set afterwards. Its levels were made for that one; the
// method makes others, and what was spread over steps stays so. Where all could
// come by steps, they still can.
void PlanAnew(PrepareOptions* prepare);

}  // namespace lcsm
