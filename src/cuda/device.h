// A device as the engine sees it: memory, queues of launches, captured steps
// and the libraries' products and transforms.
//
// Two kinds: a GPU (cuda_device.cc, with LCSM_CUDA), and an emulation on the
// CPU for tests (emulated_device.h). All of the engine above is ordinary C++
// that knows neither, so everything but the driver's calls is tested without a
// GPU.
//
// Who owns what: memory, queues, graphs and transforms hold the device by
// shared_ptr. What must never happen: an error swallowed (enqueuing gives none;
// the first one stays in Device::status(), which the engine asks after it has
// waited), or host memory handed to a queue that is gone before the queue has
// got to it.
//
// Thread safety: a queue belongs to one thread at a time; a device may be
// shared by threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/kernel_list.h"
#include "cuda/portable.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

struct DeviceInfo {
  std::string name;   // "NVIDIA H200"
  std::string label;  // "cuda:0"
  // Driver and runtime, e.g. "driver 12.8, runtime 12.4": costs measured with
  // others are not believed.
  std::string software;
  int major = 0, minor = 0;
  int multiprocessors = 1;
  size_t memory_bytes = 0;
  size_t shared_bytes = 0;  // That a block may have.
  size_t l2_bytes = 0;
};

class Device;

// Device memory. Movable.
class Memory {
 public:
  Memory() = default;
  Memory(std::shared_ptr<Device> device, void* data, size_t bytes)
      : device_(std::move(device)), data_(data), bytes_(bytes) {}
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept;
  ~Memory() { Free(); }

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void Free() noexcept;
  std::shared_ptr<Device> device_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(Memory memory) : memory_(std::move(memory)) {}
  T* data() const { return static_cast<T*>(memory_.data()); }
  size_t size() const { return memory_.bytes() / sizeof(T); }
  size_t bytes() const { return memory_.bytes(); }

 private:
  Memory memory_;
};

// A captured sequence of launches.
class Graph {
 public:
  virtual ~Graph() = default;
};

// c[m][n] = a[m][k] * b[n][k]^T, all row-major, rows of c `c_stride` apart and
// those of a `a_stride`: what a linear layer does to many rows. With
// `accumulate` added to c.
struct GemmWork {
  const float* a = nullptr;
  const float* b = nullptr;
  float* c = nullptr;
  size_t m = 0, n = 0, k = 0;
  size_t a_stride = 0, c_stride = 0;
  bool accumulate = false;
};

class Queue {
 public:
  virtual ~Queue() = default;

  template <typename Kernel>
  void Launch(const typename Kernel::Args& args) noexcept {
    static_assert(AllKernels::IdOf<Kernel>() < AllKernels::kCount,
                  "kernel_list.h names all kernels");
    const uint64_t blocks = Kernel::Blocks(args);
    if (blocks == 0) return;
    LaunchBytes(AllKernels::IdOf<Kernel>(), Kernel::kThreads, blocks,
                Kernel::SharedFloats(args) * sizeof(float), &args,
                sizeof(args));
  }

  // In order with launches. Host memory is HostMemory, and stays until the
  // queue has got here.
  virtual void CopyIn(void* to, const void* from, size_t bytes) noexcept = 0;
  virtual void CopyOut(void* to, const void* from, size_t bytes) noexcept = 0;
  virtual void Copy(void* to, const void* from, size_t bytes) noexcept = 0;
  virtual void Clear(void* at, size_t bytes) noexcept = 0;
  // Before the first Gemm of a queue, not between BeginCapture and EndCapture:
  // opens the library and sets its scratch memory aside
  // (Device::GemmWorkBytes). Again, it does nothing. Errors: no library;
  // memory.
  virtual Status PrepareGemm() = 0;
  virtual void Gemm(const GemmWork& work) noexcept = 0;

  // What is enqueued here from now on begins when all that stands in `other` is
  // done.
  virtual void WaitFor(Queue& other) noexcept = 0;

  // Between the two, launches are recorded instead of run. Error of either: the
  // device cannot, nothing has run, and nothing on it is lost; what was met
  // meanwhile is this error and not the device's. After one of BeginCapture
  // nothing is recorded, and EndCapture is not to be called. Whoever wants the
  // launches replayed takes Replayed (replayed.h).
  virtual Status BeginCapture() = 0;
  virtual StatusOr<std::unique_ptr<Graph>> EndCapture() = 0;
  virtual void Replay(const Graph& graph) noexcept = 0;

  // Between the two, what a library refuses is not the device's error but that
  // of EndTrial (kUnsupported), which waits. Not while capturing.
  virtual void BeginTrial() noexcept {}
  virtual Status EndTrial() noexcept { return Wait(); }

  // Waits until everything is done. Error: the device's.
  virtual Status Wait() noexcept = 0;
  // Marks this place; WaitForMark waits until what stands before it is done,
  // whatever was enqueued since.
  virtual void Mark() noexcept = 0;
  virtual Status WaitForMark() noexcept = 0;

 protected:
  virtual void LaunchBytes(size_t kernel, int threads, uint64_t blocks,
                           size_t shared_bytes, const void* args,
                           size_t args_bytes) noexcept = 0;
};

// A mutex that knows whether the calling thread holds it.
class SumOrder {
 public:
  void lock() {
    mutex_.lock();
    holder_ = std::this_thread::get_id();
  }
  void unlock() {
    holder_ = std::thread::id();
    mutex_.unlock();
  }
  bool HeldHere() const { return holder_ == std::this_thread::get_id(); }

 private:
  std::mutex mutex_;
  std::atomic<std::thread::id> holder_{};
};

// Devices that add among each other: the ranks of a model that is split
// (split.h). A process holds all of them or, with others like it, some.
//
// What must never happen: a sum in which a rank does not take part, or sums in
// another order on one rank than on the others. GPUs wait for each other for
// ever then. So Sum takes all ranks at once, and whoever enqueues sums, or
// replays graphs that hold some, holds Order() until all ranks have theirs.
class Communicator {
 public:
  virtual ~Communicator() = default;

  // Whether queues may capture sums. What may is captured on all queues or on
  // none, and after a sum of as many floats outside: the first may load and
  // allocate.
  virtual bool MayBeCaptured() const = 0;
  // Enqueues on each rank's queue: values[r][i] = sum over all ranks of their
  // values[i], i < count, in the same bits on all. Errors are the devices': a
  // rank that is lost is the first error of them all.
  virtual void Sum(std::span<Queue* const> queues,
                   std::span<float* const> values, size_t count) noexcept = 0;

  std::unique_lock<SumOrder> Order() {
    return std::unique_lock<SumOrder>(order_);
  }

 protected:
  // The emulator ends a program that sums without.
  bool HasOrder() const { return order_.HeldHere(); }

 private:
  SumOrder order_;
};

// Real transforms of one length by a library, many at a time, each contiguous.
class BatchedFft {
 public:
  virtual ~BatchedFft() = default;
  // Scratch memory of a call either way, which does not allocate; UseWork comes
  // before the first one. The memory may be shared by whatever runs one after
  // the other, and must outlive this. Error: the library's.
  virtual size_t work_bytes() const = 0;
  virtual Status UseWork(void* work) = 0;
  // time: [batch][length]; spectrum: [batch][length / 2 + 1].
  virtual void Forward(Queue& queue, float* time,
                       Complex* spectrum) noexcept = 0;
  // Unscaled. May destroy `spectrum`.
  virtual void Inverse(Queue& queue, Complex* spectrum,
                       float* time) noexcept = 0;
};

// Convolutions of many channels by a library, each with a filter of its own:
// y[c][j] = sum of x[c][i] w[c][j - i + length - 1] over i, for j < length.
class DepthwiseConvolution {
 public:
  virtual ~DepthwiseConvolution() = default;
  // As BatchedFft's.
  virtual size_t work_bytes() const = 0;
  virtual Status UseWork(void* work) = 0;
  // x, y: [channels][length]; w: [channels][2 length - 1].
  virtual void Run(Queue& queue, const float* x, const float* w,
                   float* y) noexcept = 0;
};

// Host memory that the device can reach. Movable.
class HostMemory {
 public:
  HostMemory() = default;
  HostMemory(std::shared_ptr<Device> device, void* data, size_t bytes)
      : device_(std::move(device)), data_(data), bytes_(bytes) {}
  HostMemory(HostMemory&& other) noexcept { *this = std::move(other); }
  HostMemory& operator=(HostMemory&& other) noexcept;
  ~HostMemory() { Free(); }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  size_t bytes() const { return bytes_; }

 private:
  void Free() noexcept;
  std::shared_ptr<Device> device_;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

class Device : public std::enable_shared_from_this<Device> {
 public:
  virtual ~Device() = default;
  virtual const DeviceInfo& info() const = 0;
  // Bytes that could be had now.
  virtual StatusOr<size_t> FreeBytes() = 0;
  // The first error that anything enqueued has met. Sticky: what is on the
  // device is then lost.
  virtual Status status() const = 0;

  // Not cleared. `what` names it in the error, which has the numbers.
  StatusOr<Memory> Allocate(size_t bytes, const char* what);
  template <typename T>
  StatusOr<Array<T>> NewArray(size_t size, const char* what) {
    LCSM_ASSIGN_OR_RETURN(Memory memory, Allocate(size * sizeof(T), what));
    return Array<T>(std::move(memory));
  }
  StatusOr<HostMemory> AllocateHost(size_t bytes);
  // Ordinary host memory there and back, waiting; cleared memory. Errors: the
  // device's.
  virtual Status Upload(void* to, const void* from, size_t bytes) = 0;
  virtual Status Download(void* to, const void* from, size_t bytes) = 0;
  template <typename T>
  StatusOr<Array<T>> Bring(std::span<const T> values, const char* what) {
    LCSM_ASSIGN_OR_RETURN(Array<T> array, NewArray<T>(values.size(), what));
    LCSM_RETURN_IF_ERROR(
        Upload(array.data(), values.data(), values.size_bytes()));
    return array;
  }
  template <typename T>
  StatusOr<Array<T>> NewZeros(size_t size, const char* what);

  // `background`: gives way to other queues' launches.
  virtual StatusOr<std::unique_ptr<Queue>> NewQueue(bool background) = 0;
  virtual StatusOr<std::unique_ptr<BatchedFft>> NewBatchedFft(size_t length,
                                                              size_t batch) = 0;
  // kUnsupported where there is no such library.
  virtual StatusOr<std::unique_ptr<DepthwiseConvolution>> NewDepthwise(
      size_t channels, size_t length) = 0;
  // For `devices`, all of this one's kind and this one the first; rank r is
  // devices[r]. They must outlive its sums, and it keeps them. kUnsupported
  // where there is no such library.
  virtual StatusOr<std::shared_ptr<Communicator>> NewCommunicator(
      std::span<const std::shared_ptr<Device>> devices) = 0;
  // What Queue::PrepareGemm sets aside.
  virtual size_t GemmWorkBytes() const = 0;

 protected:
  friend class Memory;
  friend class HostMemory;
  virtual void* DoAllocate(size_t bytes) noexcept = 0;  // Null: none left.
  virtual void DoFree(void* data) noexcept = 0;
  virtual void* DoAllocateHost(size_t bytes) noexcept = 0;
  virtual void DoFreeHost(void* data) noexcept = 0;
  virtual Status DoClear(void* data, size_t bytes) = 0;
};

template <typename T>
StatusOr<Array<T>> Device::NewZeros(size_t size, const char* what) {
  LCSM_ASSIGN_OR_RETURN(Array<T> array, NewArray<T>(size, what));
  LCSM_RETURN_IF_ERROR(DoClear(array.data(), array.bytes()));
  return array;
}

// What --device and LoadOptions::device say: "cpu", "auto", "cuda", "cuda:n" or
// "cuda:n,m,..".
struct DeviceChoice {
  enum class Kind { kCpu, kAuto, kCuda };
  Kind kind = Kind::kCpu;
  std::vector<int> indices = {0};  // Of GPUs; more than one share the model.
};
// Errors: another text; the same GPU twice.
StatusOr<DeviceChoice> ParseDevice(const std::string& text);

struct CudaOptions {
  // Whether launches may begin, and fetch, before those in front of them have
  // ended, where the GPU can (compute capability 9.0). The bits are the same;
  // false is for tests and measurements of it.
  bool overlap = true;
  // What DeviceInfo may say at most, for tests: so that transforms of a few
  // dozen positions go through a GPU's memory, a few histories at a time.
  size_t shared_bytes = SIZE_MAX, l2_bytes = SIZE_MAX;
};

// A GPU of this machine. Errors, a sentence each: a build without CUDA, no
// driver, one that is too old, no device of that number, one that is too old
// for the code in this build.
StatusOr<std::shared_ptr<Device>> OpenCudaDevice(
    int index, const CudaOptions& options = {});
// How many there are; 0 also where there is no driver.
int CudaDeviceCount();

}  // namespace lcsm::cuda
