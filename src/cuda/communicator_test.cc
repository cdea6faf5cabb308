// Sums among devices, and what ends a program where ranks would wait for each
// other for ever.
#include <cmath>
#include <random>
#include <thread>

#include "cuda/lost_rank.h"
#include "cuda/replayed.h"
#include "cuda/split.h"
#include "cuda/test_devices.h"

namespace lcsm::cuda {
namespace {

// Some devices, a queue and a piece of memory on each.
struct Ranks {
  explicit Ranks(size_t count, const EmulatedOptions& options = {})
      : devices(MakeEmulatedRanks(count, options)) {
    communicator = devices.front()->NewCommunicator(devices).value();
    order = communicator->Order();
    for (const auto& device : devices) {
      owned.push_back(device->NewQueue(false).value());
      queues.push_back(owned.back().get());
      memory.push_back(device->NewZeros<float>(kFloats, "test").value());
      values.push_back(memory.back().data());
    }
  }
  // The same to each but for the rank's number.
  void Put(size_t rank, const std::vector<float>& with) {
    EXPECT_TRUE(
        devices[rank]->Upload(values[rank], with.data(), with.size() * 4).ok());
  }
  std::vector<float> Get(size_t rank, size_t count = kFloats) {
    return Fetch(*devices[rank], values[rank], count);
  }
  void Sum(size_t count = kFloats) { communicator->Sum(queues, values, count); }

  static constexpr size_t kFloats = 40;
  std::vector<std::shared_ptr<Device>> devices;
  std::shared_ptr<Communicator> communicator;
  std::unique_lock<SumOrder> order;  // Held, as by who enqueues sums.
  std::vector<std::unique_ptr<Queue>> owned;
  std::vector<Queue*> queues;
  std::vector<Array<float>> memory;
  std::vector<float*> values;
};

std::vector<float> Random(size_t count, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& v : values) v = normal(rng);
  return values;
}

TEST(CommunicatorTest, AllRanksGetTheSameSum) {
  for (const size_t count : {2, 3, 5}) {
    // Whoever is waited for first.
    for (size_t first = 0; first < count; ++first) {
      Ranks ranks(count);
      std::vector<float> want(Ranks::kFloats);
      for (size_t r = 0; r < count; ++r) {
        const auto own = Random(Ranks::kFloats, static_cast<uint32_t>(r));
        ranks.Put(r, own);
        for (size_t i = 0; i < 30; ++i) want[i] += own[i];
        for (size_t i = 30; i < want.size(); ++i) want[i] = own[i];
      }
      ranks.Sum(30);
      EXPECT_TRUE(ranks.queues[first]->Wait().ok());
      for (size_t r = 0; r < count; ++r) {
        auto expected = want;
        const auto own = Random(Ranks::kFloats, static_cast<uint32_t>(r));
        std::copy(own.begin() + 30, own.end(), expected.begin() + 30);
        EXPECT_EQ(ranks.Get(r), expected);
      }
    }
  }
}

// Sums stand in the order of each queue's other work.
TEST(CommunicatorTest, SumsAreInOrderWithTheQueuesWork) {
  Ranks ranks(2);
  const std::vector<float> ones(Ranks::kFloats, 1.0f);
  ranks.Put(0, ones);
  ranks.Put(1, ones);
  ranks.Sum();
  ranks.queues[1]->Clear(ranks.values[1], ranks.memory[1].bytes());
  ranks.queues[1]->Mark();
  ranks.Sum();
  ranks.Sum();
  EXPECT_TRUE(ranks.queues[1]->WaitForMark().ok());
  EXPECT_EQ(ranks.Get(1)[0], 0.0f);
  EXPECT_EQ(ranks.Get(0)[0], 2.0f);
  EXPECT_TRUE(ranks.queues[0]->Wait().ok());
  EXPECT_EQ(ranks.Get(0)[0], 4.0f);
  EXPECT_EQ(ranks.Get(1)[0], 4.0f);
}

TEST(CommunicatorTest, SumsAreCapturedWhereTheyMayBe) {
  Ranks ranks(3, {.captures_sums = true});
  ASSERT_TRUE(ranks.communicator->MayBeCaptured());
  for (size_t r = 0; r < 3; ++r) ranks.Put(r, {1, 2, 3});
  ranks.Sum(2);
  auto twice = Replayed::Create(ranks.queues, [&] {
    ranks.Sum(2);
    ranks.Sum(2);
  });
  ASSERT_TRUE(twice.ok()) << twice.status().message();
  EXPECT_TRUE(twice->captured());
  EXPECT_EQ(ranks.Get(1, 3), (std::vector<float>{3, 6, 3}));
  twice->Run();
  for (Queue* const queue : ranks.queues) EXPECT_TRUE(queue->Wait().ok());
  EXPECT_EQ(ranks.Get(2, 3), (std::vector<float>{27, 54, 3}));
}

// Where one queue cannot capture, none does: the sums are enqueued anew.
TEST(CommunicatorTest, NoRankIsLeftWithAGraphOfItsOwn) {
  for (const bool first : {true, false}) {
    Ranks ranks(2, {.captures_sums = true});
    const auto other = MakeEmulatedDevice(
        {.label = "emulated:1", .captures = false, .captures_sums = true});
    std::vector<std::shared_ptr<Device>> devices = {ranks.devices[0], other};
    if (first) std::swap(devices[0], devices[1]);
    const auto communicator = devices[0]->NewCommunicator(devices).value();
    const auto order = communicator->Order();
    std::vector<std::unique_ptr<Queue>> owned;
    std::vector<Array<float>> memory;
    std::vector<Queue*> queues;
    std::vector<float*> values;
    for (const auto& device : devices) {
      owned.push_back(device->NewQueue(false).value());
      queues.push_back(owned.back().get());
      memory.push_back(device->NewZeros<float>(4, "test").value());
      values.push_back(memory.back().data());
    }
    communicator->Sum(queues, values, 4);
    EXPECT_TRUE(queues[0]->Wait().ok());
    // Captures fail by turns where they begin and where they end.
    for (int k = 0; k < 2; ++k) {
      const float one = 1;
      for (size_t r = 0; r < 2; ++r) {
        ASSERT_TRUE(devices[r]->Upload(values[r], &one, sizeof(one)).ok());
      }
      auto sum = Replayed::Create(
          queues, [&] { communicator->Sum(queues, values, 4); });
      ASSERT_TRUE(sum.ok());
      EXPECT_FALSE(sum->captured());
      sum->Run();
      EXPECT_TRUE(queues[0]->Wait().ok());
      EXPECT_EQ(Fetch(*devices[0], values[0], 1)[0], 2.0f);
      EXPECT_EQ(Fetch(*devices[1], values[1], 1)[0], 2.0f);
    }
  }
}

TEST(CommunicatorTest, ARankThatIsLostIsTheErrorOfAll) {
  auto devices = MakeEmulatedRanks(2);
  devices[1] =
      MakeEmulatedDevice({.launches_until_lost = 1, .label = "emulated:1"});
  Ranks ranks(2);
  ranks.order.unlock();
  ranks.communicator = devices[0]->NewCommunicator(devices).value();
  ranks.order = ranks.communicator->Order();
  ranks.owned.clear();
  for (size_t r = 0; r < 2; ++r) {
    ranks.owned.push_back(devices[r]->NewQueue(false).value());
    ranks.queues[r] = ranks.owned.back().get();
    ranks.memory[r] = devices[r]->NewZeros<float>(8, "test").value();
    ranks.values[r] = ranks.memory[r].data();
  }
  ranks.Sum(8);
  EXPECT_TRUE(ranks.queues[0]->Wait().ok());
  ranks.Sum(8);
  const Status status = ranks.queues[0]->Wait();
  EXPECT_EQ(status.message(), "emulated:1 was lost: what was on it is gone");
  EXPECT_EQ(devices[1]->status().message(), status.message());
}

// Who is to blame where a library says that a sum failed: errors that it met on
// ranks that are there may come of the one that is not.
TEST(CommunicatorTest, TheRankThatDoesNotAnswerIsToBlame) {
  const auto say = [](std::vector<const char*> errors) {
    return [errors](size_t rank) {
      return errors[rank][0] == 0 ? OkStatus() : InternalError(errors[rank]);
    };
  };
  EXPECT_TRUE(WhyLost(3, say({"", "", ""}), say({"", "", ""})).ok());
  EXPECT_EQ(WhyLost(3, say({"", "", "gone"}), say({"a", "b", "c"})).message(),
            "gone");
  EXPECT_EQ(WhyLost(3, say({"", "", ""}), say({"", "b", "c"})).message(), "b");
}

TEST(CommunicatorDeathTest, ASumThatARankDoesNotTakePartIn) {
  EXPECT_DEATH(
      {
        Ranks ranks(3, {.captures_sums = true});
        ranks.Sum(2);
        std::vector<std::unique_ptr<Graph>> graphs;
        for (Queue* const queue : ranks.queues) (void)queue->BeginCapture();
        ranks.Sum(2);
        for (Queue* const queue : ranks.queues) {
          graphs.push_back(queue->EndCapture().value());
        }
        ranks.queues[0]->Replay(*graphs[0]);
        ranks.queues[2]->Replay(*graphs[2]);
        (void)ranks.queues[2]->Wait();
      },
      "a rank does not take part");
}

// Two threads' states would sum in one order on a rank and in another on the
// next.
TEST(CommunicatorDeathTest, SumsWithoutHoldingTheirOrder) {
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        ranks.order.unlock();
        ranks.Sum();
      },
      "a sum without holding their order");
  // Another thread's lock is not this one's.
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        std::thread([&] { ranks.Sum(); }).join();
      },
      "a sum without holding their order");
  EXPECT_DEATH(
      {
        Ranks ranks(2, {.captures_sums = true});
        ranks.Sum();
        const auto sum = Replayed::Create(ranks.queues, [&] { ranks.Sum(); });
        sum->Run();
        for (Queue* const queue : ranks.queues) (void)queue->Wait();
        ranks.order.unlock();
        sum->Run();
      },
      "sums replayed without holding their order");
}

TEST(CommunicatorDeathTest, SumsOfSomeRanks) {
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        ranks.queues.pop_back();
        ranks.values.pop_back();
        ranks.Sum();
      },
      "some ranks alone");
}

TEST(CommunicatorDeathTest, SumsThatNumberOtherFloats) {
  EXPECT_DEATH(
      {
        Ranks ranks(2, {.captures_sums = true});
        ranks.Sum(2);
        ranks.Sum(3);
        std::vector<std::unique_ptr<Graph>> graphs;
        for (const size_t count : {2, 3}) {
          for (Queue* const queue : ranks.queues) (void)queue->BeginCapture();
          ranks.Sum(count);
          for (Queue* const queue : ranks.queues) {
            graphs.push_back(queue->EndCapture().value());
          }
        }
        ranks.queues[0]->Replay(*graphs[0]);
        ranks.queues[1]->Replay(*graphs[3]);
        (void)ranks.queues[0]->Wait();
      },
      "other numbers of floats");
}

TEST(CommunicatorDeathTest, SumsOutsideOfARanksMemory) {
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        std::swap(ranks.values[0], ranks.values[1]);
        ranks.Sum();
      },
      "outside of the rank's memory");
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        ranks.Sum(Ranks::kFloats + 1);
      },
      "outside of the rank's memory");
}

TEST(CommunicatorDeathTest, CapturesOfWhatMayNotBeCaptured) {
  EXPECT_DEATH(
      {
        Ranks ranks(2);
        ranks.Sum();
        (void)Replayed::Create(ranks.queues, [&] { ranks.Sum(); });
      },
      "a captured sum");
  EXPECT_DEATH(
      {
        Ranks ranks(2, {.captures_sums = true});
        ranks.Sum(2);
        (void)Replayed::Create(ranks.queues, [&] { ranks.Sum(3); });
      },
      "first call while queues capture");
  EXPECT_DEATH(
      {
        Ranks ranks(2, {.captures_sums = true});
        ranks.Sum();
        (void)Replayed::Create(*ranks.queues[0], [&] { ranks.Sum(); });
      },
      "few queues capture");
}

// A product cut by columns: y = sum over ranks of W_r x_r, the leader's with
// what was there and the bias. Products and sums are chains of at most
// `in + ranks + 2` roundings, each of at most u times a partial sum, which is
// at most sum |w x| + |y before| + |bias|.
TEST(CommunicatorTest, ProductsCutByColumnsDifferByTheRoundingOfSums) {
  constexpr size_t kIn = 56, kOut = 21, kRows = 3;
  const auto w = Random(kIn * kOut, 1), x = Random(kRows * kIn, 2),
             before = Random(kRows * kOut, 3), bias = Random(kOut, 4);
  for (const size_t count : {1, 2, 3, 4}) {
    const Split split = MakeSplit({1, kIn, kIn, 1}, count).value();
    std::vector<std::shared_ptr<Device>> devices = MakeEmulatedRanks(count);
    const auto communicator = devices[0]->NewCommunicator(devices).value();
    const auto order = communicator->Order();
    std::vector<std::unique_ptr<Queue>> owned;
    std::vector<Queue*> queues;
    std::vector<Array<float>> kept;
    std::vector<float*> values;
    for (size_t r = 0; r < count; ++r) {
      const Share& share = split.shares[r];
      std::vector<float> own_w, own_x;
      for (size_t i = 0; i < kOut; ++i) {
        const float* const from = w.data() + i * kIn + share.first_channel;
        own_w.insert(own_w.end(), from, from + share.channels);
      }
      for (size_t t = 0; t < kRows; ++t) {
        const float* const from = x.data() + t * kIn + share.first_channel;
        own_x.insert(own_x.end(), from, from + share.channels);
      }
      const auto bring = [&](const std::vector<float>& what) {
        kept.push_back(
            devices[r]->Bring<float>(std::span(what), "test").value());
        return kept.back().data();
      };
      LinearWork work;
      work.weight = bring(own_w);
      work.x = bring(own_x);
      work.in = static_cast<uint32_t>(share.channels);
      work.out = kOut;
      work.rows = kRows;
      work.y = bring(before);
      if (share.leads) work.bias = bring(bias);
      work.then = share.leads ? LinearThen::kAdd : LinearThen::kStore;
      values.push_back(work.y);
      owned.push_back(devices[r]->NewQueue(false).value());
      queues.push_back(owned.back().get());
      queues[r]->Launch<LinearKernel<float, 8>>(work);
    }
    communicator->Sum(queues, values, kRows * kOut);
    for (size_t r = 0; r < count; ++r) {
      ASSERT_TRUE(queues[r]->Wait().ok());
      const auto got = Fetch(*devices[r], values[r], kRows * kOut);
      for (size_t t = 0; t < kRows; ++t) {
        for (size_t i = 0; i < kOut; ++i) {
          double sum = static_cast<double>(before[t * kOut + i]) + bias[i];
          double all = std::abs(before[t * kOut + i]) + std::abs(bias[i]);
          for (size_t k = 0; k < kIn; ++k) {
            const double product =
                static_cast<double>(w[i * kIn + k]) * x[t * kIn + k];
            sum += product;
            all += std::abs(product);
          }
          const double bound =
              static_cast<double>(kIn + count + 2) * 0x1p-24 * all;
          EXPECT_NEAR(got[t * kOut + i], sum, bound) << count << " ranks";
        }
      }
    }
  }
}

}  // namespace
}  // namespace lcsm::cuda
