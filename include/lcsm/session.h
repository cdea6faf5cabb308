// One sequence in the making.
//
//   LCSM_ASSIGN_OR_RETURN(lcsm::Model model, lcsm::Model::Load(folder));
//   LCSM_ASSIGN_OR_RETURN(lcsm::Session session,
//                         lcsm::Session::Create(model, {.max_length = 1000}));
//   LCSM_ASSIGN_OR_RETURN(lcsm::Generation out,
//                         session.Generate("In the beginning", {}));
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lcsm/model.h"
#include "lcsm/options.h"
#include "lcsm/status.h"

namespace lcsm {
inline namespace v0 {

// Movable, not copyable. Not thread safe; distinct sessions of one model may
// run in distinct threads.
class Session {
 public:
  // Evaluates the filters up to max_length and sets all memory aside, so that
  // steps need none.
  static StatusOr<Session> Create(const Model& model,
                                  const SessionOptions& options);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  // Takes known tokens in, all at once; logits() then belong to the token after
  // the last one. Ids outside the vocabulary are refused before anything is
  // taken in; any other error leaves the session fit only for Reset.
  Status Prefill(std::span<const int32_t> tokens);

  // Takes one token in. Fails only for an id outside the vocabulary (the head's
  // padding included), a full session, or weights cut short on disk; allocates
  // nothing, so that a growable session is full at max_length() as well. The
  // first one settles that max_steps positions are left at most.
  Status Step(int32_t token);

  // Of the last token taken in, [padded_vocab]; empty before the first. Valid
  // until the next call.
  std::span<const float> logits() const;

  // Prefill of the prompt, then sampling until a limit is met. Starts where the
  // session stands, so that a conversation of prompts can be continued; the
  // last token generated has not been taken in yet (Step it to go on behind
  // it).
  StatusOr<Generation> Generate(std::span<const int32_t> prompt,
                                const GenerateOptions& options);
  StatusOr<Generation> Generate(std::string_view prompt,
                                const GenerateOptions& options);

  // Samples of one prompt, side by side: `count` of them, numbered from
  // options.sampling.sample on, each of which is what Generate gives for its
  // number. All take about as long as the longest and hold as much memory as
  // `count` forks while they run. The session stands behind the prompt
  // afterwards. options.on_text is told the first sample's text, and its wish
  // to stop ends all. Errors: those of Generate; a count of 0; memory.
  StatusOr<std::vector<Generation>> Samples(std::span<const int32_t> prompt,
                                            size_t count,
                                            const GenerateOptions& options);
  StatusOr<std::vector<Generation>> Samples(std::string_view prompt,
                                            size_t count,
                                            const GenerateOptions& options);

  // Another session at the same position with the same past, independent from
  // now on but for the threads: a session and its forks may not run at the same
  // time. Error: memory.
  StatusOr<Session> Fork() const;

  // Back to an earlier position, as if only its first `position` tokens had
  // been taken in (which they are, once more). Errors: a position ahead; with
  // keep_tokens off, any but the present one.
  Status Truncate(size_t position);

  // Makes room for `max_length` positions in all, between two tokens, at any
  // position and any number of times: the session goes on as one that was made
  // for that many, up to rounding (the greatest difference that methods and
  // prefills may make). Takes about as long as reading all tokens so far, and
  // memory for both lengths while it lasts, so grow by a factor. A growable
  // session grows with what it holds; any other reads its tokens again. Forks
  // made before keep their length, and no other session notices. Errors leave
  // the session as it was: less than max_length(), more than the model's limit,
  // keep_tokens off in a session that is not growable, memory.
  Status Reserve(size_t max_length);

  // Writes the session to a file, whole or not at all. Errors: the file's;
  // keep_tokens off.
  Status Save(const std::filesystem::path& path) const;

  // Brings a saved session back: from there on its outputs have the bits of one
  // that was never interrupted. Lengths and method are the file's; of `options`
  // only threads count. Errors: no such file, damage, a file of a newer
  // version, of another model, of weights in another format or another SIMD
  // target.
  static StatusOr<Session> Load(const Model& model,
                                const std::filesystem::path& path,
                                const ExecutionOptions& options = {});

  size_t position() const;    // Tokens taken in.
  size_t max_length() const;  // Less than asked for once max_steps tell.
  void Reset();               // Back to position 0.

 private:
  struct Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace v0
}  // namespace lcsm
