#include "cuda/emulated_device.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <set>
#include <vector>

#include "base/aligned_buffer.h"
#include "cuda/emulated_kernels.h"
#include "kernels/library_fft.h"

namespace lcsm::cuda {
namespace {

struct Operation {
  std::function<void()> run;
  // What a launch fetches; null: nothing.
  std::function<void()> fetch = nullptr;
  // Whether that may be before the launch in front has run.
  bool overlaps = false;
};

// For death tests, which look for the reason.
[[noreturn]] void Die(const char* why) {
  std::fprintf(stderr, "emulated device: %s\n", why);
  std::abort();
}

// Scratch memory of libraries: none of them needs any here.
constexpr size_t kGemmWorkBytes = 4096, kFftWorkBytes = 640,
                 kDepthwiseWorkBytes = 512;

// What compute capability 8.0 has.
constexpr size_t kSharedBytes = 163 << 10;

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(const EmulatedOptions& options) : options_(options) {
    info_.name = "emulated device";
    info_.label = options.label;
    info_.software = options.software;
    info_.major = 9;
    info_.multiprocessors = 4;
    info_.memory_bytes = options.memory_bytes;
    info_.shared_bytes = options.shared_bytes;
    info_.l2_bytes = options.l2_bytes;
  }

  const DeviceInfo& info() const override { return info_; }
  StatusOr<size_t> FreeBytes() override {
    return options_.memory_bytes - taken_;
  }
  Status status() const override { return status_; }
  Status Upload(void* to, const void* from, size_t bytes) override {
    NotWhileCapturing();
    if (bytes != 0) std::memcpy(to, from, bytes);
    return status_;
  }
  Status Download(void* to, const void* from, size_t bytes) override {
    NotWhileCapturing();
    if (bytes != 0) std::memcpy(to, from, bytes);
    return status_;
  }
  StatusOr<std::unique_ptr<Queue>> NewQueue(bool background) override;
  StatusOr<std::unique_ptr<BatchedFft>> NewBatchedFft(size_t length,
                                                      size_t batch) override;

  StatusOr<std::unique_ptr<DepthwiseConvolution>> NewDepthwise(
      size_t channels, size_t length) override;
  StatusOr<std::shared_ptr<Communicator>> NewCommunicator(
      std::span<const std::shared_ptr<Device>> devices) override;

  // Whether an operation may still run.
  bool Count() {
    ++launches_;
    if (options_.launches_until_lost != 0 &&
        launches_ > options_.launches_until_lost && status_.ok()) {
      status_ =
          InternalError(options_.label + " was lost: what was on it is gone");
    }
    return status_.ok();
  }
  void Lose(const Status& why) {
    if (status_.ok()) status_ = why;
  }
  // Whether all of this was handed out, in one piece.
  bool Holds(const void* data, size_t bytes) const {
    const auto* const at = static_cast<const char*>(data);
    return std::any_of(sizes_.begin(), sizes_.end(), [&](const auto& piece) {
      const auto* const begin = static_cast<const char*>(piece.first);
      return at >= begin && at + bytes <= begin + piece.second;
    });
  }
  size_t launches() const { return launches_; }
  size_t peak() const { return peak_; }
  void ForgetPeak() { peak_ = taken_; }
  size_t GemmWorkBytes() const override { return kGemmWorkBytes; }

  bool captures() const { return options_.captures; }
  bool overlaps() const { return options_.overlaps; }
  bool libraries_refuse() const { return options_.libraries_refuse; }
  bool captures_sums() const { return options_.captures_sums; }
  void CountCapture(int begun) { capturing_ += begun; }
  void NotWhileCapturing() const {
    if (capturing_ != 0) std::abort();
  }

 private:
  void* DoAllocate(size_t bytes) noexcept override {
    NotWhileCapturing();
    if (bytes > options_.memory_bytes - taken_) return nullptr;
    const size_t rounded = (bytes + 255) / 256 * 256;
    void* const data = std::aligned_alloc(256, rounded);
    if (data == nullptr) return nullptr;
    std::memset(data, 0xff, rounded);  // NaN, as float and double.
    taken_ += bytes;
    peak_ = std::max(peak_, taken_);
    sizes_[data] = bytes;
    return data;
  }
  void DoFree(void* data) noexcept override {
    taken_ -= sizes_[data];
    sizes_.erase(data);
    std::free(data);
  }
  void* DoAllocateHost(size_t bytes) noexcept override {
    NotWhileCapturing();
    return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  }
  void DoFreeHost(void* data) noexcept override { std::free(data); }
  Status DoClear(void* data, size_t bytes) override {
    NotWhileCapturing();
    if (bytes != 0) std::memset(data, 0, bytes);
    return status_;
  }

  const EmulatedOptions options_;
  DeviceInfo info_;
  size_t taken_ = 0, peak_ = 0, launches_ = 0;
  int capturing_ = 0;
  std::map<void*, size_t> sizes_;
  Status status_;
};

class EmulatedGraph final : public Graph {
 public:
  std::vector<Operation> operations;
  // Where there are sums among them: whether they may be enqueued now.
  std::function<bool()> in_order;
};

class EmulatedQueue final : public Queue {
 public:
  explicit EmulatedQueue(std::shared_ptr<EmulatedDevice> device)
      : device_(std::move(device)) {}

  void Do(std::function<void()> work) {
    Enqueue({std::move(work)});
    behind_launch_ = false;
  }
  // One rank's part of a sum.
  void DoSum(std::function<void()> work, std::function<bool()> in_order) {
    if (capturing_) captured_order_ = std::move(in_order);
    Do(std::move(work));
  }
  void CopyIn(void* to, const void* from, size_t bytes) noexcept override {
    Copy(to, from, bytes);
  }
  void CopyOut(void* to, const void* from, size_t bytes) noexcept override {
    Copy(to, from, bytes);
  }
  void Copy(void* to, const void* from, size_t bytes) noexcept override {
    Do([=, this] {
      if (device_->status().ok() && bytes != 0) std::memmove(to, from, bytes);
    });
  }
  void Clear(void* at, size_t bytes) noexcept override {
    Do([=, this] {
      if (device_->status().ok() && bytes != 0) std::memset(at, 0, bytes);
    });
  }
  Status PrepareGemm() override {
    if (gemm_work_.bytes() != 0) return OkStatus();
    LCSM_ASSIGN_OR_RETURN(
        gemm_work_,
        device_->Allocate(kGemmWorkBytes, "a library's scratch memory"));
    return OkStatus();
  }
  void Gemm(const GemmWork& w) noexcept override {
    if (gemm_work_.bytes() == 0) std::abort();
    Do([=, this] {
      if (!device_->Count()) return;
      for (size_t i = 0; i < w.m; ++i) {
        for (size_t j = 0; j < w.n; ++j) {
          double sum = 0;
          for (size_t k = 0; k < w.k; ++k) {
            sum +=
                static_cast<double>(w.a[i * w.a_stride + k]) * w.b[j * w.k + k];
          }
          float& c = w.c[i * w.c_stride + j];
          c = static_cast<float>(w.accumulate ? c + sum : sum);
        }
      }
    });
  }
  void WaitFor(Queue& other) noexcept override {
    behind_launch_ = false;
    static_cast<EmulatedQueue&>(other).Flush();
  }
  Status BeginCapture() override {
    behind_launch_ = false;
    fails_at_end_ = !fails_at_end_;
    if (!device_->captures() && !fails_at_end_) {
      return Unsupported("emulated does not begin to capture");
    }
    capturing_ = true;
    device_->CountCapture(1);
    return OkStatus();
  }
  StatusOr<std::unique_ptr<Graph>> EndCapture() override {
    auto graph = std::make_unique<EmulatedGraph>();
    graph->operations = std::exchange(captured_, {});
    graph->in_order = std::exchange(captured_order_, nullptr);
    capturing_ = behind_launch_ = false;
    device_->CountCapture(-1);
    if (!device_->captures()) {
      return Unsupported("emulated captured nothing");
    }
    return std::unique_ptr<Graph>(std::move(graph));
  }
  void Replay(const Graph& graph) noexcept override {
    const auto& from = static_cast<const EmulatedGraph&>(graph);
    if (from.in_order != nullptr && !from.in_order()) {
      Die("sums replayed without holding their order");
    }
    pending_.insert(pending_.end(), from.operations.begin(),
                    from.operations.end());
    behind_launch_ = false;
  }
  Status Wait() noexcept override {
    Flush();
    return device_->status();
  }
  void Mark() noexcept override {
    mark_ = pending_.size();
    behind_launch_ = false;
  }
  Status WaitForMark() noexcept override {
    while (mark_ != 0) RunOne();
    return device_->status();
  }
  void Flush() {
    while (!pending_.empty()) RunOne();
  }
  void RunUntil(const std::function<bool()>& done) {
    while (!done()) {
      if (pending_.empty()) Die("a sum in which a rank does not take part");
      RunOne();
    }
  }
  bool capturing() const { return capturing_; }
  const EmulatedDevice* device() const { return device_.get(); }
  // A library's call: `called` says whether it is its first, `work` is where
  // its scratch memory is.
  void CallLibrary(bool* called, const void* work, std::function<void()> call) {
    if (work == nullptr || (capturing_ && !*called)) std::abort();
    *called = true;
    if (!device_->libraries_refuse()) return Do(std::move(call));
    if (trying_) {
      tried_ = Unsupported("a library refused");
    } else {
      device_->Lose(InternalError("a library failed; what was on it is lost"));
    }
  }
  void BeginTrial() noexcept override { trying_ = true; }
  Status EndTrial() noexcept override {
    trying_ = false;
    const Status met = std::exchange(tried_, OkStatus());
    LCSM_RETURN_IF_ERROR(Wait());
    return met;
  }

 protected:
  void LaunchBytes(size_t kernel, int, uint64_t blocks, size_t shared_bytes,
                   const void* args, size_t args_bytes) noexcept override {
    // Copied now, as a launch does.
    auto bytes = std::make_shared<std::vector<double>>(args_bytes / 8 + 1);
    std::memcpy(bytes->data(), args, args_bytes);
    const EmulatedKernel functions = EmulatedKernelOf(kernel);
    Operation launch;
    launch.overlaps = behind_launch_ && device_->overlaps();
    const auto fetched = std::make_shared<Fetched>();
    if (functions.fetch != nullptr) {
      launch.fetch = [=] { *fetched = functions.fetch(blocks, bytes->data()); };
    }
    launch.run = [=, device = device_] {
      // A small `shared_bytes` is about transforms alone.
      const bool transform = kernel == AllKernels::IdOf<FftTileKernel>();
      if (blocks > kMostBlocks ||
          shared_bytes >
              (transform ? device->info().shared_bytes : kSharedBytes)) {
        std::abort();
      }
      if (!device->Count()) return;
      // Not again for the next replay: by then it is another's turn.
      const Fetched now = std::exchange(*fetched, nullptr);
      functions.run(blocks, shared_bytes, bytes->data(), device->launches(),
                    now != nullptr || functions.fetch == nullptr
                        ? now
                        : functions.fetch(blocks, bytes->data()));
    };
    Enqueue(std::move(launch));
    behind_launch_ = true;
  }

 private:
  void Enqueue(Operation operation) {
    if (capturing_) {
      captured_.push_back(std::move(operation));
    } else {
      pending_.push_back(std::move(operation));
    }
  }
  void RunOne() {
    const Operation operation = std::move(pending_.front());
    pending_.pop_front();
    if (mark_ != 0) --mark_;
    // As early as a GPU might.
    if (!pending_.empty() && pending_.front().overlaps &&
        pending_.front().fetch != nullptr) {
      pending_.front().fetch();
    }
    operation.run();
  }

  const std::shared_ptr<EmulatedDevice> device_;
  size_t mark_ = 0;
  std::deque<Operation> pending_;
  std::vector<Operation> captured_;
  std::function<bool()> captured_order_;  // Null where none was a sum.
  bool capturing_ = false, fails_at_end_ = false, trying_ = false;
  Status tried_;
  bool behind_launch_ = false;  // So the next launch may overlap with it.
  Memory gemm_work_;
};

class EmulatedFft final : public BatchedFft {
 public:
  EmulatedFft(std::unique_ptr<LibraryFft> fft, size_t length, size_t batch)
      : fft_(std::move(fft)), length_(length), batch_(batch) {}

  size_t work_bytes() const override { return kFftWorkBytes; }
  Status UseWork(void* work) override {
    work_ = work;
    return OkStatus();
  }
  void Forward(Queue& queue, float* time, Complex* spectrum) noexcept override {
    static_cast<EmulatedQueue&>(queue).CallLibrary(&went_, work_, [=, this] {
      for (size_t k = 0; k < batch_; ++k) {
        Run(time + k * length_, spectrum + k * (length_ / 2 + 1), true);
      }
    });
  }
  void Inverse(Queue& queue, Complex* spectrum, float* time) noexcept override {
    static_cast<EmulatedQueue&>(queue).CallLibrary(
        &came_back_, work_, [=, this] {
          for (size_t k = 0; k < batch_; ++k) {
            Run(time + k * length_, spectrum + k * (length_ / 2 + 1), false);
          }
        });
  }

 private:
  // Through aligned copies: the CPU's transform wants cache lines.
  void Run(float* time, Complex* spectrum, bool forward) const {
    FloatBuffer t = FloatBuffer::Allocate(length_, "a transform").value();
    FloatBuffer s = FloatBuffer::Allocate(length_ + 2, "a spectrum").value();
    float* const points = reinterpret_cast<float*>(spectrum);
    if (forward) {
      std::copy_n(time, length_, t.data());
      fft_->Forward(t.data(), s.data());
      std::copy_n(s.data(), length_ + 2, points);
    } else {
      std::copy_n(points, length_ + 2, s.data());
      fft_->Inverse(s.data(), t.data());
      std::copy_n(t.data(), length_, time);
    }
  }
  const std::unique_ptr<LibraryFft> fft_;
  const size_t length_, batch_;
  void* work_ = nullptr;
  bool went_ = false, came_back_ = false;
};

class EmulatedDepthwise final : public DepthwiseConvolution {
 public:
  EmulatedDepthwise(size_t channels, size_t length)
      : channels_(channels), length_(length) {}
  size_t work_bytes() const override { return kDepthwiseWorkBytes; }
  Status UseWork(void* work) override {
    work_ = work;
    return OkStatus();
  }
  void Run(Queue& queue, const float* x, const float* w,
           float* y) noexcept override {
    static_cast<EmulatedQueue&>(queue).CallLibrary(&called_, work_, [=, this] {
      for (size_t c = 0; c < channels_; ++c) {
        for (size_t j = 0; j < length_; ++j) {
          double sum = 0;
          for (size_t i = 0; i < length_; ++i) {
            sum += static_cast<double>(x[c * length_ + i]) *
                   w[c * (2 * length_ - 1) + j + length_ - 1 - i];
          }
          y[c * length_ + j] = static_cast<float>(sum);
        }
      }
    });
  }

 private:
  const size_t channels_, length_;
  void* work_ = nullptr;
  bool called_ = false;
};

class EmulatedCommunicator final : public Communicator {
 public:
  explicit EmulatedCommunicator(
      std::vector<std::shared_ptr<EmulatedDevice>> devices)
      : devices_(std::move(devices)), arrived_(devices_.size()) {}

  bool MayBeCaptured() const override {
    return devices_.front()->captures_sums();
  }
  void Sum(std::span<Queue* const> queues, std::span<float* const> values,
           size_t count) noexcept override {
    if (queues.size() != devices_.size() || values.size() != queues.size()) {
      Die("a sum of some ranks alone");
    }
    if (!HasOrder()) Die("a sum without holding their order");
    const auto peers = std::make_shared<std::vector<EmulatedQueue*>>();
    for (Queue* const queue : queues) {
      peers->push_back(static_cast<EmulatedQueue*>(queue));
    }
    const bool captures = peers->front()->capturing();
    if (!captures) {
      called_.insert(count);
    } else if (!MayBeCaptured()) {
      Die("a captured sum");
    } else if (called_.count(count) == 0) {
      Die("a sum's first call while queues capture");
    }
    for (size_t r = 0; r < peers->size(); ++r) {
      EmulatedQueue& queue = *(*peers)[r];
      if (queue.device() != devices_[r].get()) Die("a sum on another's queue");
      if (queue.capturing() != captures) Die("a sum that few queues capture");
      if (!devices_[r]->Holds(values[r], count * sizeof(float))) {
        Die("a sum outside of the rank's memory");
      }
      queue.DoSum([=, this, own = values[r]] { Arrive(r, own, count, *peers); },
                  [this] { return HasOrder(); });
    }
  }

 private:
  // One that is there waits for the others, whose queues go on meanwhile.
  void Arrive(size_t rank, float* values, size_t count,
              const std::vector<EmulatedQueue*>& peers) {
    if (arrived_[rank] != nullptr)
      Die("a rank sums twice where others do once");
    if (there_ != 0 && count != count_)
      Die("ranks sum other numbers of floats");
    arrived_[rank] = values;
    count_ = count;
    if (++there_ == arrived_.size()) return Add();
    const size_t sums = sums_;
    for (size_t r = 0; r < peers.size(); ++r) {
      peers[r]->RunUntil(
          [&] { return sums_ != sums || arrived_[r] != nullptr; });
    }
  }
  void Add() {
    const std::vector<float*> values =
        std::exchange(arrived_, std::vector<float*>(arrived_.size()));
    there_ = 0;
    ++sums_;
    Status lost;
    for (const auto& device : devices_) {
      if (!device->Count() && lost.ok()) lost = device->status();
    }
    if (!lost.ok()) {
      for (const auto& device : devices_) device->Lose(lost);
      return;
    }
    for (size_t i = 0; i < count_; ++i) {
      float sum = values[0][i];
      for (size_t r = 1; r < values.size(); ++r) sum += values[r][i];
      for (float* const own : values) own[i] = sum;
    }
  }

  const std::vector<std::shared_ptr<EmulatedDevice>> devices_;
  std::vector<float*> arrived_;  // Of each rank: null where it is not there.
  size_t there_ = 0, count_ = 0, sums_ = 0;
  std::set<size_t> called_;
};

StatusOr<std::shared_ptr<Communicator>> EmulatedDevice::NewCommunicator(
    std::span<const std::shared_ptr<Device>> devices) {
  std::vector<std::shared_ptr<EmulatedDevice>> all;
  for (const auto& device : devices) {
    all.push_back(std::static_pointer_cast<EmulatedDevice>(device));
  }
  return std::shared_ptr<Communicator>(
      std::make_shared<EmulatedCommunicator>(std::move(all)));
}

StatusOr<std::unique_ptr<DepthwiseConvolution>> EmulatedDevice::NewDepthwise(
    size_t channels, size_t length) {
  return std::unique_ptr<DepthwiseConvolution>(
      std::make_unique<EmulatedDepthwise>(channels, length));
}

StatusOr<std::unique_ptr<Queue>> EmulatedDevice::NewQueue(bool) {
  return std::unique_ptr<Queue>(std::make_unique<EmulatedQueue>(
      std::static_pointer_cast<EmulatedDevice>(shared_from_this())));
}

StatusOr<std::unique_ptr<BatchedFft>> EmulatedDevice::NewBatchedFft(
    size_t length, size_t batch) {
  LCSM_ASSIGN_OR_RETURN(std::unique_ptr<LibraryFft> fft,
                        LibraryFft::Create(length));
  return std::unique_ptr<BatchedFft>(
      std::make_unique<EmulatedFft>(std::move(fft), length, batch));
}

}  // namespace

std::shared_ptr<Device> MakeEmulatedDevice(const EmulatedOptions& options) {
  return std::make_shared<EmulatedDevice>(options);
}

size_t EmulatedLaunches(const Device& device) {
  return static_cast<const EmulatedDevice&>(device).launches();
}

size_t EmulatedPeakBytes(const Device& device) {
  return static_cast<const EmulatedDevice&>(device).peak();
}

void ForgetEmulatedPeak(Device& device) {
  static_cast<EmulatedDevice&>(device).ForgetPeak();
}

}  // namespace lcsm::cuda
