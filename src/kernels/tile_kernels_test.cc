// Every kernel against its scalar twin at awkward sizes, on every SIMD target.
#include "kernels/tile_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/cpu_info.h"
#include "kernels/ref/tile_ref.h"

namespace lcsm {
namespace {

FloatBuffer Make(size_t lines) {
  return FloatBuffer::Allocate(lines * kLanes, "test").value();
}

void FillNormal(FloatBuffer& buffer, size_t lines, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  for (size_t i = 0; i < lines * kLanes; ++i) buffer.data()[i] = normal(rng);
}

double Norm(const float* p, size_t lines) {
  double sum = 0;
  for (size_t i = 0; i < lines * kLanes; ++i)
    sum += static_cast<double>(p[i]) * p[i];
  return std::sqrt(sum / kLanes);
}

class TileKernelsTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(ForceSimdTarget(GetParam()).ok());
    std::string name = GetTileKernels().target;
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    ASSERT_EQ(name, GetParam()) << "the forced target is the one that runs";
  }
  void TearDown() override { ASSERT_TRUE(ForceSimdTarget("best").ok()); }

  // Runs `kernel` over one case and checks it against the twin. The bound of
  // design 6 with c = 1: eps * log2(2 n) * ||x|| * ||h|| (all kernels do
  // several times better; FFT error is about 0.3 eps log2 n of it), plus the
  // rounding of the accumulator itself.
  template <typename Kernel>
  void Check(size_t n_in, size_t n_out, size_t num_taps, std::mt19937& rng,
             Kernel&& kernel) {
    FloatBuffer x = Make(n_in), taps = Make(num_taps + kTapSlack),
                acc = Make(n_out + 1);
    FillNormal(x, n_in, rng);
    FillNormal(taps, num_taps, rng);
    FillNormal(acc, n_out + 1, rng);
    std::vector<double> want(acc.data(), acc.data() + n_out * kLanes);
    const std::vector<float> before(acc.data(),
                                    acc.data() + (n_out + 1) * kLanes);
    ref::Tile(x.data(), taps.data(), num_taps, n_in, n_out, want.data());
    kernel(x.data(), taps.data(), acc.data());
    const double eps = 1.2e-7;
    const double bound =
        eps * std::log2(2.0 * static_cast<double>(n_in + n_out)) *
            Norm(x.data(), n_in) * Norm(taps.data(), num_taps) +
        8 * eps;
    for (size_t i = 0; i < n_out * kLanes; ++i) {
      ASSERT_NEAR(acc.data()[i], want[i], bound)
          << "n_in " << n_in << " n_out " << n_out << " taps " << num_taps
          << " at " << i / kLanes;
    }
    for (size_t c = 0; c < kLanes; ++c) {
      ASSERT_EQ(acc.data()[n_out * kLanes + c], before[n_out * kLanes + c])
          << "wrote past n_out";
    }
  }
};

TEST_P(TileKernelsTest, DirectTiles) {
  std::mt19937 rng(7);
  const TileKernels& k = GetTileKernels();
  for (size_t n_in :
       {0, 1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 255, 256, 257, 300, 600}) {
    for (size_t n_out : {0, 1, 2, 7, 8, 9, 16, 31, 32, 33}) {
      for (size_t num_taps : {size_t{1}, size_t{2}, size_t{17}, n_in, n_in + 1,
                              n_in + n_out, n_in + n_out + 3}) {
        if (num_taps == 0) continue;
        Check(n_in, n_out, num_taps, rng,
              [&](const float* x, const float* taps, float* acc) {
                k.direct(x, taps, num_taps, n_in, n_out, acc);
              });
        Check(n_in, n_out, num_taps, rng,
              [&](const float* x, const float* taps, float* acc) {
                k.direct_blocked(x, taps, num_taps, n_in, n_out, acc);
              });
        if (n_in == 1) {
          Check(1, n_out, num_taps, rng,
                [&](const float* x, const float* taps, float* acc) {
                  k.scatter(x, taps, num_taps, n_out, acc);
                });
        }
      }
    }
  }
}

// Outputs that replace what is there, be it the inputs, have the bits of those
// that are added to zeros; also where they are zeros themselves, of either
// sign.
TEST_P(TileKernelsTest, FftTilesInPlace) {
  std::mt19937 rng(9);
  const TileKernels& k = GetTileKernels();
  for (size_t block = FftTables::kMinBlock; block <= 2048; block *= 2) {
    const FftTables tables(block);
    const size_t floats = tables.SpectrumFloats();
    FloatBuffer taps = Make(2 * block + kTapSlack);
    FillNormal(taps, 2 * block, rng);
    FloatBuffer spectrum = FloatBuffer::Allocate(floats, "test").value();
    FloatBuffer scratch =
        FloatBuffer::Allocate(k.FftScratchFloats(block), "test").value();
    k.fft_spectrum(tables, taps.data(), 2 * block, spectrum.data());
    FloatBuffer kept = FloatBuffer::Allocate(floats, "test").value();
    FloatBuffer x = Make(block);
    for (const bool zeros : {false, true}) {
      if (zeros) {
        for (size_t i = 0; i < block * kLanes; ++i) {
          x.data()[i] = i % 2 == 0 ? 0.0f : -0.0f;
        }
      } else {
        FillNormal(x, block, rng);
      }
      for (const bool blocks : {false, true}) {
        const auto run = [&](const float* in, size_t n_out, float* acc,
                             Accumulators accumulators) {
          if (!blocks) {
            k.fft_tile(tables, in, spectrum.data(), n_out, acc, accumulators,
                       scratch.data());
            return;
          }
          BlockSum sum;
          sum.newest = kept.data();
          sum.older = sum.wrapped = kept.data();
          sum.taps = spectrum.data();
          sum.stride = sum.taps_stride = floats;
          k.fft_blocks(tables, in, sum, n_out, acc, accumulators,
                       scratch.data());
        };
        for (const size_t n_out :
             {size_t{0}, size_t{1}, block / 2 + 1, block - 1, block}) {
          FloatBuffer want = Make(block), in_place = Make(block);
          run(x.data(), n_out, want.data(), Accumulators::kOpen);
          std::copy_n(x.data(), block * kLanes, in_place.data());
          run(in_place.data(), n_out, in_place.data(), Accumulators::kFresh);
          ASSERT_EQ(std::memcmp(in_place.data(), want.data(),
                                n_out * kLanes * sizeof(float)),
                    0)
              << "block " << block << " n_out " << n_out << " zeros " << zeros
              << " blocks " << blocks;
          ASSERT_EQ(std::memcmp(in_place.data() + n_out * kLanes,
                                x.data() + n_out * kLanes,
                                (block - n_out) * kLanes * sizeof(float)),
                    0)
              << "wrote past n_out";
        }
      }
    }
  }
}

TEST_P(TileKernelsTest, FftTiles) {
  std::mt19937 rng(8);
  const TileKernels& k = GetTileKernels();
  for (size_t block = FftTables::kMinBlock; block <= 1024; block *= 2) {
    const FftTables tables(block);
    FloatBuffer spectrum =
        FloatBuffer::Allocate(tables.SpectrumFloats(), "test").value();
    FloatBuffer scratch =
        FloatBuffer::Allocate(k.FftScratchFloats(block), "test").value();
    for (size_t n_out :
         {size_t{0}, size_t{1}, block / 4, block / 2 + 1, block - 1, block}) {
      for (size_t num_taps :
           {size_t{1}, block / 2 + 1, block, block + 1, 2 * block}) {
        Check(block, n_out, num_taps, rng,
              [&](const float* x, const float* taps, float* acc) {
                k.fft_spectrum(tables, taps, num_taps, spectrum.data());
                k.fft_tile(tables, x, spectrum.data(), n_out, acc,
                           Accumulators::kOpen, scratch.data());
              });
      }
    }
  }
}

// The tile cut into pieces of any size has the bits of the whole one. (With a
// sum carried over there is nothing to repeat: the slot was overwritten.)
void ExpectSameInParts(const FftTables& tables, const float* x,
                       const BlockSum& sum, size_t n_out, const float* want) {
  if (sum.continues) return;
  const TileKernels& k = GetTileKernels();
  for (size_t grain : {4u, 16u, 256u, 100000u}) {
    const std::vector<FftPart> parts = MakeFftParts(tables, grain);
    FloatBuffer out = Make(tables.block());
    FloatBuffer scratch =
        FloatBuffer::Allocate(k.FftScratchFloats(tables.block()), "test")
            .value();
    for (size_t lane = 0; lane < kLanes; lane += k.lanes) {
      for (const FftPart& part : parts) {
        k.fft_blocks_part(tables, part, lane, x, sum, n_out, out.data(),
                          scratch.data());
      }
    }
    for (size_t i = 0; i < n_out * kLanes; ++i) {
      // The whole one added to zero: equal but for the sign of zeros.
      ASSERT_EQ(out.data()[i], want[i]) << "grain " << grain << " at " << i;
    }
  }
}

// Tiles of many blocks, in the order of an R-ary level: every way of keeping
// spectra (a ring, a sum carried over to the next tile, none), with filters
// that end early.
TEST_P(TileKernelsTest, FftTilesOfManyBlocks) {
  std::mt19937 rng(13);
  const TileKernels& k = GetTileKernels();
  constexpr size_t kBlocks = 7, kRing = 4;
  for (size_t block : {8u, 16u, 32u, 64u, 128u, 256u, 1024u}) {
    const FftTables tables(block);
    const size_t stride = tables.SpectrumFloats() + kLanes;
    FloatBuffer taps = Make(kBlocks * block + kTapSlack);
    FloatBuffer x = Make(kBlocks * block);
    FillNormal(x, kBlocks * block, rng);
    FloatBuffer slices = Make((kBlocks + 1) * stride / kLanes);
    FloatBuffer spectra = Make(kBlocks * stride / kLanes);
    FloatBuffer scratch =
        FloatBuffer::Allocate(k.FftScratchFloats(block), "test").value();
    for (const size_t num_taps :
         {kBlocks * block, 3 * block + 1, block / 2 + 1}) {
      taps.Zero();
      FillNormal(taps, num_taps, rng);
      for (size_t s = 0; s < kBlocks; ++s) {
        const size_t first = std::min(num_taps, s * block);
        k.fft_spectrum(tables, taps.data() + first * kLanes, num_taps - first,
                       slices.data() + s * stride);
      }
      for (const bool carried : {false, true}) {
        for (const bool ring : {false, true}) {
          if (carried && ring) continue;
          spectra.Zero();
          // Output block j gets all blocks before it, or those the ring holds.
          for (size_t j = 1; j < kBlocks; ++j) {
            const size_t terms = ring ? std::min(j, kRing) : j;
            const size_t slot = ring ? (j - 1) % kRing : j - 1;
            float* const base = spectra.data();
            BlockSum sum;
            sum.newest = base + slot * stride;
            sum.continues = carried && j % 2 == 1 && j > 1;
            if (carried && j % 2 == 0) sum.next = base + j * stride;
            sum.older = base + slot * stride - stride;
            sum.older_terms = sum.continues ? 0 : std::min(slot, terms - 1);
            sum.wrapped = base + (kRing - 1) * stride;
            sum.wrapped_terms = sum.continues ? 0 : terms - 1 - sum.older_terms;
            sum.stride = stride;
            sum.taps = slices.data();
            sum.taps_stride = stride;
            const size_t n_out = j == 3 ? block / 2 + 1 : block;
            FloatBuffer acc = Make(block);
            k.fft_blocks(tables, x.data() + (j - 1) * block * kLanes, sum,
                         n_out, acc.data(), Accumulators::kOpen,
                         scratch.data());
            std::vector<double> want(block * kLanes, 0.0);
            ref::Tile(x.data() + (j - terms) * block * kLanes, taps.data(),
                      num_taps, terms * block, n_out, want.data());
            ExpectSameInParts(tables, x.data() + (j - 1) * block * kLanes, sum,
                              n_out, acc.data());
            const double bound =
                1.2e-7 * std::log2(2.0 * static_cast<double>(kBlocks * block)) *
                Norm(x.data(), kBlocks * block) * Norm(taps.data(), num_taps);
            for (size_t i = 0; i < block * kLanes; ++i) {
              ASSERT_NEAR(acc.data()[i], want[i], bound)
                  << "block " << block << " output block " << j << " taps "
                  << num_taps << " carried " << carried << " ring " << ring
                  << " at " << i / kLanes;
            }
          }
        }
      }
    }
  }
}

// Two streams of blocks, each with a filter of its own and its own way of
// keeping spectra, into the same outputs.
TEST_P(TileKernelsTest, TwoFftTilesWithOneInverse) {
  std::mt19937 rng(14);
  const TileKernels& k = GetTileKernels();
  constexpr size_t kBlocks = 5;
  for (size_t block : {8u, 16u, 32u, 64u, 128u, 256u, 512u, 1024u}) {
    const FftTables tables(block);
    const size_t stride = tables.SpectrumFloats() + kLanes;
    FloatBuffer x[2], taps[2], slices[2], spectra[2];
    double bound = 0;
    for (int s = 0; s < 2; ++s) {
      x[s] = Make(kBlocks * block);
      taps[s] = Make((kBlocks + 1) * block + kTapSlack);
      slices[s] = Make((kBlocks + 1) * stride / kLanes);
      spectra[s] = Make((kBlocks + 1) * stride / kLanes);
      FillNormal(x[s], kBlocks * block, rng);
      FillNormal(taps[s], kBlocks * block, rng);
      for (size_t d = 0; d < kBlocks; ++d) {
        k.fft_spectrum(tables, taps[s].data() + d * block * kLanes,
                       (kBlocks - d) * block, slices[s].data() + d * stride);
      }
      bound += 1.2e-7 * std::log2(2.0 * static_cast<double>(kBlocks * block)) *
               Norm(x[s].data(), kBlocks * block) *
               Norm(taps[s].data(), kBlocks * block);
    }
    FloatBuffer scratch =
        FloatBuffer::Allocate(2 * k.FftScratchFloats(block), "test").value();
    for (const size_t n_out : {block, block / 2 + 1}) {
      FloatBuffer acc = Make(block);
      k.fft_tile_two(tables, x[0].data(), slices[0].data(), x[1].data(),
                     slices[1].data(), n_out, acc.data(), scratch.data());
      std::vector<double> want(block * kLanes, 0.0);
      for (int s = 0; s < 2; ++s) {
        ref::Tile(x[s].data(), taps[s].data(), kBlocks * block, block, n_out,
                  want.data());
      }
      for (size_t i = 0; i < block * kLanes; ++i) {
        ASSERT_NEAR(acc.data()[i], want[i], bound) << "block " << block;
      }
    }
    for (size_t j = 1; j < kBlocks; ++j) {
      BlockSum sums[2];
      for (int s = 0; s < 2; ++s) {
        BlockSum& sum = sums[s];
        sum.stride = sum.taps_stride = stride;
        sum.newest = spectra[s].data() + (j - 1) * stride;
        // The first stream hands sums on from tile to tile.
        sum.continues = s == 0 && j % 2 == 1 && j > 1;
        if (s == 0 && j % 2 == 0) sum.next = sum.newest + stride;
        sum.older_terms = sum.continues ? 0 : j - 1;
        sum.older = sum.newest - (j > 1 ? stride : 0);
        sum.wrapped = sum.older;
        sum.taps = slices[s].data();
      }
      const size_t n_out = j == 3 ? block / 2 + 1 : block;
      FloatBuffer acc = Make(block);
      acc.data()[5] = 3;  // Added to, not stored over.
      k.fft_blocks_two(tables, x[0].data() + (j - 1) * block * kLanes, sums[0],
                       x[1].data() + (j - 1) * block * kLanes, sums[1], n_out,
                       acc.data(), scratch.data());
      std::vector<double> want(block * kLanes, 0.0);
      want[5] = 3;
      for (int s = 0; s < 2; ++s) {
        ref::Tile(x[s].data(), taps[s].data(), kBlocks * block, j * block,
                  n_out, want.data());
      }
      for (size_t i = 0; i < block * kLanes; ++i) {
        ASSERT_NEAR(acc.data()[i], want[i], bound)
            << "block " << block << " output block " << j << " at "
            << i / kLanes;
      }
    }
  }
}

// Large transforms, whose roots no small one shares: some outputs of one tile.
TEST_P(TileKernelsTest, LargeFftTiles) {
  std::mt19937 rng(12);
  const TileKernels& k = GetTileKernels();
  for (size_t block : {size_t{1} << 12, size_t{1} << 15, size_t{1} << 18}) {
    const FftTables tables(block);
    FloatBuffer x = Make(block), taps = Make(2 * block + kTapSlack);
    FillNormal(x, block, rng);
    FillNormal(taps, 2 * block, rng);
    FloatBuffer spectrum =
        FloatBuffer::Allocate(tables.SpectrumFloats(), "test").value();
    FloatBuffer scratch =
        FloatBuffer::Allocate(k.FftScratchFloats(block), "test").value();
    FloatBuffer acc = Make(block);
    k.fft_spectrum(tables, taps.data(), 2 * block, spectrum.data());
    k.fft_tile(tables, x.data(), spectrum.data(), block, acc.data(),
               Accumulators::kOpen, scratch.data());
    const double bound = 1.2e-7 * std::log2(4.0 * static_cast<double>(block)) *
                         Norm(x.data(), block) * Norm(taps.data(), 2 * block);
    for (size_t j : {size_t{0}, size_t{1}, block / 3, block / 2, block - 1}) {
      std::vector<double> want(kLanes, 0.0);
      // One output: the same inputs, the taps shifted by j.
      ref::Tile(x.data(), taps.data() + j * kLanes, 2 * block - j, block, 1,
                want.data());
      for (size_t c = 0; c < kLanes; ++c) {
        ASSERT_NEAR(acc.data()[j * kLanes + c], want[c], bound)
            << "block " << block << " output " << j;
      }
    }
  }
}

TEST_P(TileKernelsTest, SpectrumIsTheTransformInSomeOrder) {
  std::mt19937 rng(9);
  const TileKernels& k = GetTileKernels();
  for (size_t block : {8u, 16u, 32u, 64u}) {
    const FftTables tables(block);
    FloatBuffer taps = Make(2 * block + kTapSlack);
    FillNormal(taps, 2 * block, rng);
    FloatBuffer spectrum =
        FloatBuffer::Allocate(tables.SpectrumFloats(), "test").value();
    k.fft_spectrum(tables, taps.data(), 2 * block, spectrum.data());
    for (size_t c : {size_t{0}, size_t{3}, kLanes - 1}) {
      std::vector<double> h(2 * block);
      for (size_t n = 0; n < 2 * block; ++n) h[n] = taps.data()[n * kLanes + c];
      std::vector<std::complex<double>> want = ref::NegacyclicTransform(h);
      const float* sub = spectrum.data() + c / k.lanes * k.lanes * 2 * block;
      for (size_t n = 0; n < block; ++n) {
        const float* point = sub + n * 2 * k.lanes + c % k.lanes;
        const std::complex<double> got(
            point[0] * static_cast<double>(block),
            point[k.lanes] * static_cast<double>(block));
        const auto match =
            std::min_element(want.begin(), want.end(), [&](auto a, auto b) {
              return std::abs(a - got) < std::abs(b - got);
            });
        EXPECT_LT(std::abs(*match - got), 1e-5) << "block " << block;
        want.erase(match);  // Each value once.
      }
    }
  }
}

// Cutting a tile short must not change a bit of what remains.
TEST_P(TileKernelsTest, BitsDoNotDependOnTheNumberOfOutputs) {
  std::mt19937 rng(10);
  const TileKernels& k = GetTileKernels();
  const size_t block = 64;
  const FftTables tables(block);
  FloatBuffer x = Make(block), taps = Make(2 * block + kTapSlack);
  FillNormal(x, block, rng);
  FillNormal(taps, 2 * block, rng);
  FloatBuffer spectrum =
      FloatBuffer::Allocate(tables.SpectrumFloats(), "test").value();
  FloatBuffer scratch =
      FloatBuffer::Allocate(k.FftScratchFloats(block), "test").value();
  k.fft_spectrum(tables, taps.data(), 2 * block, spectrum.data());
  for (int kernel = 0; kernel < 3; ++kernel) {
    const auto run = [&](size_t n_out, float* acc) {
      if (kernel == 0)
        k.direct(x.data(), taps.data(), 2 * block, block, n_out, acc);
      if (kernel == 1)
        k.direct_blocked(x.data(), taps.data(), 2 * block, block, n_out, acc);
      if (kernel == 2)
        k.fft_tile(tables, x.data(), spectrum.data(), n_out, acc,
                   Accumulators::kOpen, scratch.data());
    };
    FloatBuffer whole = Make(block);
    run(block, whole.data());
    for (size_t n_out = 0; n_out < block; ++n_out) {
      FloatBuffer part = Make(block);
      run(n_out, part.data());
      ASSERT_EQ(std::memcmp(part.data(), whole.data(),
                            n_out * kLanes * sizeof(float)),
                0);
    }
  }
}

TEST_P(TileKernelsTest, RedCellsAndTheTinyTilesAfterThem) {
  using Follow = TileKernels::Follow;
  std::mt19937 rng(11);
  const TileKernels& k = GetTileKernels();
  // Up to three roundings of sums of one value and two products, normals below
  // 5.
  constexpr double kBound = 3 * 0x1p-24 * (5 + 2 * 25);
  for (Follow follow :
       {Follow::kNone, Follow::kOne, Follow::kTwo, Follow::kTwoToOne}) {
    for (size_t groups : {1u, 2u, 5u}) {
      constexpr size_t kLines = 5;  // One before, the cell, three after.
      const size_t stride = kLines * kLanes;
      FloatBuffer x = Make(groups), head = Make(kHeadTaps * groups),
                  lines = Make(kLines * groups), y = Make(groups);
      FillNormal(x, groups, rng);
      FillNormal(head, kHeadTaps * groups, rng);
      FillNormal(lines, kLines * groups, rng);
      const std::vector<float> old(lines.data(),
                                   lines.data() + groups * stride);
      k.red(x.data(), head.data(), groups, stride, follow,
            lines.data() + kLanes, y.data());
      for (size_t g = 0; g < groups; ++g) {
        for (size_t c = 0; c < kLanes; ++c) {
          const auto before = [&](size_t line) {
            return static_cast<double>(old[g * stride + line * kLanes + c]);
          };
          const auto tap = [&](size_t n) {
            return static_cast<double>(
                head.data()[(g * kHeadTaps + n) * kLanes + c]);
          };
          const double now = x.data()[g * kLanes + c];
          double next = before(2), after = before(3);
          if (follow != Follow::kNone) next += now * tap(1);
          if (follow == Follow::kTwo || follow == Follow::kTwoToOne) {
            next += before(0) * tap(2);
          }
          if (follow == Follow::kTwo) {
            after += now * tap(2) + before(0) * tap(3);
          }
          const float* cell = lines.data() + g * stride + c;
          EXPECT_NEAR(y.data()[g * kLanes + c], before(1) + now * tap(0),
                      kBound);
          EXPECT_EQ(cell[0], old[g * stride + c]);
          EXPECT_EQ(cell[kLanes], x.data()[g * kLanes + c]);
          EXPECT_NEAR(cell[2 * kLanes], next, kBound);
          EXPECT_NEAR(cell[3 * kLanes], after, kBound);
          EXPECT_EQ(cell[4 * kLanes], old[g * stride + 4 * kLanes + c]);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, TileKernelsTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const auto& target) { return target.param; });

}  // namespace
}  // namespace lcsm
