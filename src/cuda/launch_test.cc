// Launches as a driver would see them, at sizes that nobody wants to run: grids
// and shared memory stay within what devices have.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>

#include "cuda/device.h"
#include "cuda/fft_launch.h"

namespace lcsm::cuda {
namespace {

// Runs nothing, but looks at what is launched.
class WatchedQueue : public Queue {
 public:
  explicit WatchedQueue(const DeviceInfo& info) : info_(info) {}

  void CopyIn(void*, const void*, size_t) noexcept override {}
  void CopyOut(void*, const void*, size_t) noexcept override {}
  void Copy(void*, const void*, size_t) noexcept override {}
  void Clear(void*, size_t) noexcept override {}
  Status PrepareGemm() override { return OkStatus(); }
  void Gemm(const GemmWork&) noexcept override {}
  void WaitFor(Queue&) noexcept override {}
  Status BeginCapture() override { return OkStatus(); }
  StatusOr<std::unique_ptr<Graph>> EndCapture() override {
    return Unsupported("nothing is captured here");
  }
  void Replay(const Graph&) noexcept override {}
  Status Wait() noexcept override { return OkStatus(); }
  void Mark() noexcept override {}
  Status WaitForMark() noexcept override { return OkStatus(); }

  // Points of transforms in shared memory so far, those of absent columns
  // included.
  uint64_t points() const { return points_; }

 protected:
  void LaunchBytes(size_t kernel, int, uint64_t blocks, size_t shared_bytes,
                   const void* args, size_t) noexcept override {
    EXPECT_LE(blocks, kMostBlocks);
    EXPECT_LE(shared_bytes, info_.shared_bytes);
    if (kernel != AllKernels::IdOf<FftTileKernel>()) return;
    FftWork work;
    std::memcpy(static_cast<void*>(&work), args, sizeof(work));
    points_ += blocks << (FftTileKernel::LogLength(work) + work.log_columns);
  }

 private:
  const DeviceInfo info_;
  uint64_t points_ = 0;
};

// 99 KiB a block is what GPUs for desktops have: there a block of 2^24
// positions goes through shared memory in 65 536 pieces.
TEST(LaunchTest, TransformsOfAllSizesFitIntoGridsAndSharedMemory) {
  for (const size_t shared_kib : {99, 163, 227}) {
    DeviceInfo info;
    info.multiprocessors = 100;
    info.shared_bytes = shared_kib << 10;
    info.l2_bytes = 40 << 20;
    for (int log_u = 3; log_u <= 24; ++log_u) {
      for (const uint64_t histories : {1, 9, 2048}) {
        SCOPED_TRACE(testing::Message() << shared_kib << " KiB, blocks of 2^"
                                        << log_u << ", " << histories);
        WatchedQueue queue(info);
        FftWork work;
        work.passes = MakeFftPasses(log_u);
        work.histories = histories;
        EnqueueFft(queue, info, work, nullptr);
        // All points, and fewer absent ones.
        const uint64_t points = (histories * kLanes) << log_u;
        EXPECT_GE(queue.points(), points);
        EXPECT_LT(queue.points(), 2 * points);
      }
    }
  }
}

// A million positions of 2 048 channels in 64 mixers; with a batch of 16 rows
// these are more histories than a grid's second dimension has blocks.
TEST(LaunchTest, ManyHistoriesFitIntoGrids) {
  constexpr uint64_t kLength = 1'000'000, kHistories = 64 * 128;
  DirectWork direct;
  direct.level.block = kLength;
  direct.level.length = kLength;
  direct.histories = kHistories;
  EXPECT_EQ(DirectTileKernel::Blocks(direct),
            kHistories * kLength / 8 * kLanes / 128);
  EXPECT_LE(DirectTileKernel::Blocks(direct), kMostBlocks);
  const MoveLinesKernel::Args lines = {.histories = kHistories,
                                       .floats = kLength * kLanes};
  EXPECT_EQ(MoveLinesKernel::Blocks(lines),
            kHistories * kLength * kLanes / 256);
  EXPECT_LE(MoveLinesKernel::Blocks(lines), kMostBlocks);
  direct.histories = 16 * kHistories;
  EXPECT_EQ(ScatterKernel::Blocks({direct, nullptr}),
            16 * kHistories * ScatterKernel::kBlocksAHistory);
  EXPECT_LE(ScatterKernel::Blocks({direct, nullptr}), kMostBlocks);
}

}  // namespace
}  // namespace lcsm::cuda
