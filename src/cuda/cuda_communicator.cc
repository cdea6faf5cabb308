// Sums over the GPUs of a model that is split, by NCCL: all ranks in this
// process, whose one thread at a time enqueues for all of them.
//
// Sums are not captured: a graph's launch may block on one GPU until the others
// have theirs, which the same thread would have to launch (NCCL's manual says
// so of several GPUs a thread). The steps of a model that is split are enqueued
// anew, a launch after another.
#include <string>
#include <vector>

#include "cuda/cuda_device.h"
#include "cuda/lost_rank.h"

namespace lcsm::cuda {

#ifdef LCSM_NCCL
namespace {

class CudaCommunicator final
    : public Communicator,
      public CudaPeers,
      public std::enable_shared_from_this<CudaCommunicator> {
 public:
  explicit CudaCommunicator(std::vector<std::shared_ptr<CudaDevice>> devices)
      : devices_(std::move(devices)) {}
  ~CudaCommunicator() override {
    for (const ncclComm_t one : communicators_) (void)functions_->destroy(one);
  }

  Status Make() {
    LCSM_ASSIGN_OR_RETURN(functions_, LoadNccl());
    std::vector<int> indices;
    for (const auto& device : devices_) {
      indices.push_back(device->index());
      labels_ += (labels_.empty() ? "" : ", ") + device->info().label;
    }
    std::vector<ncclComm_t> made(devices_.size());
    const ncclResult_t result = functions_->init_all(
        made.data(), static_cast<int>(made.size()), indices.data());
    if (result != ncclSuccess) {
      return Unsupported(fmt::format("NCCL could not connect {}: {}", labels_,
                                     functions_->error_string(result)));
    }
    communicators_ = std::move(made);
    return OkStatus();
  }

  bool MayBeCaptured() const override { return false; }

  void Sum(std::span<Queue* const> queues, std::span<float* const> values,
           size_t count) noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    // Empty: a rank is lost, and the devices say so.
    if (communicators_.empty()) return;
    ncclResult_t result = functions_->group_start();
    const std::string* where = &labels_;
    for (size_t r = 0; r < queues.size() && result == ncclSuccess; ++r) {
      auto& queue = static_cast<CudaQueue&>(*queues[r]);
      queue.Join(shared_from_this());
      result =
          functions_->all_reduce(values[r], values[r], count, ncclFloat,
                                 ncclSum, communicators_[r], queue.stream());
      if (result != ncclSuccess) where = &devices_[r]->info().label;
    }
    const ncclResult_t ended = functions_->group_end();
    if (result == ncclSuccess) result = ended;
    if (result == ncclSuccess) return;
    const Status why = Why();
    Lose(why.ok() ? Failure(*where, result) : why);
  }

  bool AreThere() noexcept override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (communicators_.empty()) return false;
    const Status why = Why();
    if (why.ok()) return true;
    Lose(why);
    return false;
  }

 private:
  Status Failure(const std::string& where, ncclResult_t result) const {
    return InternalError(
        fmt::format("NCCL on {} failed: {}; what was there is lost", where,
                    functions_->error_string(result)));
  }
  // Of a rank that is lost.
  Status Why() const {
    return WhyLost(
        devices_.size(),
        [this](size_t r) {
          return devices_[r]->Answers() ? OkStatus() : devices_[r]->status();
        },
        [this](size_t r) {
          ncclResult_t met = ncclSuccess;
          const ncclResult_t asked =
              functions_->get_async_error(communicators_[r], &met);
          if (asked != ncclSuccess) met = asked;
          return met == ncclSuccess || met == ncclInProgress
                     ? OkStatus()
                     : Failure(devices_[r]->info().label, met);
        });
  }
  // Ends what waits for the rank that is lost. Not before the devices know, so
  // that nobody takes what is left for sums.
  void Lose(const Status& why) {
    for (const auto& device : devices_) (void)device->Record(why);
    for (const ncclComm_t one : communicators_) (void)functions_->abort(one);
    communicators_.clear();
  }

  const std::vector<std::shared_ptr<CudaDevice>> devices_;
  const NcclFunctions* functions_ = nullptr;
  std::string labels_;  // Of all devices.
  std::mutex mutex_;
  std::vector<ncclComm_t> communicators_;  // Of each rank; none: one is lost.
};

}  // namespace
#endif

StatusOr<std::shared_ptr<Communicator>> CudaDevice::NewCommunicator(
    std::span<const std::shared_ptr<Device>> devices) {
#ifdef LCSM_NCCL
  std::vector<std::shared_ptr<CudaDevice>> all;
  for (const auto& device : devices) {
    all.push_back(std::static_pointer_cast<CudaDevice>(device));
  }
  auto made = std::make_shared<CudaCommunicator>(std::move(all));
  LCSM_RETURN_IF_ERROR(made->Make());
  return std::shared_ptr<Communicator>(std::move(made));
#else
  return Unsupported(
      "this build was made without NCCL, which a model on several GPUs needs");
#endif
}

}  // namespace lcsm::cuda
