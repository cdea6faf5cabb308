// One sequence becomes several: executors get rows, and so do mixers' states.
#include <utility>
#include <vector>

#include "mixers/mixer_set.h"

namespace lcsm {
namespace {

// Rows that have nothing in common but the position.
class Rows final : public MixerState {
 public:
  Rows(const Mixer& mixer, std::vector<std::unique_ptr<MixerState>> rows)
      : mixer_(mixer), rows_(std::move(rows)) {}

  void Ahead(float* y) noexcept override {
    for (const auto& row : rows_) {
      row->Ahead(y);
      y += mixer_.out_width();
    }
  }
  void Advance(size_t count) noexcept override {
    for (const auto& row : rows_) row->Advance(count);
  }
  size_t bytes() const override {
    size_t bytes = 0;
    for (const auto& row : rows_) bytes += row->bytes();
    return bytes;
  }
  Status Save(io::SectionWriter& writer) const override {
    for (const auto& row : rows_) LCSM_RETURN_IF_ERROR(row->Save(writer));
    return OkStatus();
  }

 private:
  void DoStep(const float* x, float* y) noexcept override {
    for (const auto& row : rows_) {
      row->Step(x, y);
      x += mixer_.in_width();
      y += mixer_.out_width();
    }
  }
  Status DoPrefill(size_t, const float*, float*) override {
    return InternalError("several sequences together go on by steps only");
  }
  Status DoPretend(size_t position) override {
    for (const auto& row : rows_) LCSM_RETURN_IF_ERROR(row->Pretend(position));
    return OkStatus();
  }
  void DoMoveTo(size_t position) noexcept override {
    for (const auto& row : rows_) row->MoveTo(position);
  }
  void DoReset() noexcept override {
    for (const auto& row : rows_) row->Reset();
  }
  Status DoCopyFrom(const MixerState& other) override {
    const auto& from = static_cast<const Rows&>(other);
    for (size_t r = 0; r < rows_.size(); ++r) {
      LCSM_RETURN_IF_ERROR(rows_[r]->CopyFrom(*from.rows_[r]));
    }
    return OkStatus();
  }
  Status DoGrowFrom(const MixerState&) override {
    return InternalError("several sequences together do not grow");
  }
  Status DoSpreadFrom(const MixerState& one) override {
    for (const auto& row : rows_) LCSM_RETURN_IF_ERROR(row->CopyFrom(one));
    return OkStatus();
  }
  Status DoLoad(io::SectionReader& reader, size_t position) override {
    for (const auto& row : rows_) {
      LCSM_RETURN_IF_ERROR(row->Load(reader, position));
    }
    return OkStatus();
  }

  const Mixer& mixer_;
  const std::vector<std::unique_ptr<MixerState>> rows_;
};

}  // namespace

StatusOr<std::unique_ptr<MixerState>> Mixer::NewRows(const Resources& resources,
                                                     size_t rows) const {
  std::vector<std::unique_ptr<MixerState>> states;
  for (size_t r = 0; r < rows; ++r) {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<MixerState> state,
                          NewState(resources));
    states.push_back(std::move(state));
  }
  return std::unique_ptr<MixerState>(
      std::make_unique<Rows>(*this, std::move(states)));
}

StatusOr<std::unique_ptr<MixerStates>> MixerStates::Spread(size_t rows) const {
  if (rows == 0 || rows_ != 1) {
    return InvalidInput(
        "one sequence can be spread over one row or more, and none can that "
        "was spread before");
  }
  if (rows == 1) return Fork();
  std::unique_ptr<MixerStates> batch(new MixerStates);
  batch->prepared_ = prepared_;
  batch->pool_ = pool_;
  batch->rows_ = rows;
  for (const auto& convolution : convolutions_) {
    LCSM_ASSIGN_OR_RETURN(std::unique_ptr<conv::OnlineConvolution> spread,
                          convolution->Spread(rows));
    batch->convolutions_.push_back(std::move(spread));
  }
  LCSM_RETURN_IF_ERROR(batch->MakeStates());
  for (size_t m = 0; m < states_.size(); ++m) {
    LCSM_RETURN_IF_ERROR(batch->states_[m]->SpreadFrom(*states_[m]));
  }
  batch->position_ = position_;
  return batch;
}

}  // namespace lcsm
