// x86 with AVX2: 16 registers of 32 bytes.

#include "kernels.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "lanes.h"

namespace mmc {
namespace {

constexpr int kBytes = 32;

// Eight sums, the values of two rows, a register of losses and its minima: 16.
struct Tile {
  static constexpr int kRows = 2;
  static constexpr int kCols = 4;
  static constexpr bool kSharesLosses = true;
  // A tile of models, 2,048 bytes a row, stays in a cache of 32 KiB while the
  // rows of a panel stream through it.
  static constexpr int kVectors = 64;
  static constexpr int kRun = kVectors;
  static constexpr bool kFetchesEachStep = false;
  static constexpr int kLines = 8;
  static constexpr int kPanel = 16;
};

// The values of two rows leave room for groups of two. Their sums go through 3
// roundings more where they are stored, none of which waits for another.
struct FloatTile : Tile {
  static constexpr int kRun = 16;
  static constexpr int kLines = 2;
};

template <>
struct Simd<float> : FloatLanes<float, kBytes, 2>, FloatTile {
  static Reg Min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  // Numbers from 0 on are in the order of their bits, and so are they and what
  // is below 0. On Zen 3 the minima of floats take the units that additions
  // need, those of whole numbers do not.
  static constexpr bool kOrdersBits = true;
  static Reg MinOfPositive(Reg a, Reg b) {
    return (Reg)_mm256_min_epi32((__m256i)a, (__m256i)b);
  }

  // Returns the sums of four registers.
  static __m128 Sums(Reg a, Reg b, Reg c, Reg d) {
    Reg ab = _mm256_unpacklo_ps(a, b) + _mm256_unpackhi_ps(a, b);
    Reg cd = _mm256_unpacklo_ps(c, d) + _mm256_unpackhi_ps(c, d);
    Reg abcd =
        _mm256_shuffle_ps(ab, cd, 0x44) + _mm256_shuffle_ps(ab, cd, 0xee);
    return _mm256_castps256_ps128(abcd) + _mm256_extractf128_ps(abcd, 1);
  }

  template <int N>
  static void Flush(const Acc (&acc)[N], double* totals) {
    MMC_UNROLL
    for (int i = 0; i + 4 <= N; i += 4) {
      __m256d sums =
          _mm256_cvtps_pd(Sums(acc[i], acc[i + 1], acc[i + 2], acc[i + 3]));
      _mm256_storeu_pd(totals + i, _mm256_loadu_pd(totals + i) + sums);
    }
    MMC_UNROLL
    for (int i = N / 4 * 4; i < N; ++i) {
      // The same additions in the same order.
      totals[i] += double{Sums(acc[i], acc[i], acc[i], acc[i])[0]};
    }
  }
};

template <>
struct Simd<double> : FloatLanes<double, kBytes, 2>, FloatTile {
  static Reg Min(Reg a, Reg b) { return _mm256_min_pd(a, b); }
};

// Adds the sums of N registers of 64-bit numbers to N totals.
template <int N>
void FlushOf64Bits(const __m256i (&acc)[N], uint64_t* totals) {
  MMC_UNROLL
  for (int i = 0; i + 4 <= N; i += 4) {
    __m256i ab = _mm256_unpacklo_epi64(acc[i], acc[i + 1]) +
                 _mm256_unpackhi_epi64(acc[i], acc[i + 1]);
    __m256i cd = _mm256_unpacklo_epi64(acc[i + 2], acc[i + 3]) +
                 _mm256_unpackhi_epi64(acc[i + 2], acc[i + 3]);
    __m256i sums = _mm256_permute2x128_si256(ab, cd, 0x20) +
                   _mm256_permute2x128_si256(ab, cd, 0x31);
    __m256i* to = reinterpret_cast<__m256i*>(totals + i);
    _mm256_storeu_si256(to, _mm256_loadu_si256(to) + sums);
  }
  MMC_UNROLL
  for (int i = N / 4 * 4; i < N; ++i) {
    totals[i] +=
        static_cast<uint64_t>(acc[i][0]) + static_cast<uint64_t>(acc[i][1]) +
        static_cast<uint64_t>(acc[i][2]) + static_cast<uint64_t>(acc[i][3]);
  }
}

// The highest bytes of words, added up eight at a time in 64-bit lanes.
struct Bytes : Lanes<uint8_t, kBytes> {
  using Acc = __m256i;
  static Acc Zero() { return _mm256_setzero_si256(); }
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm256_min_epu8((__m256i)a, (__m256i)b);
  }
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return _mm256_add_epi64(acc, _mm256_sad_epu8((__m256i)terms[0], Zero()));
  }
};

template <>
struct Simd<uint32_t> : TopByteLanes<kBytes>, Tile {
  using Bytes = mmc::Bytes;
  static_assert(TopByteLanes::Hold(kVectors));
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm256_min_epu32((__m256i)a, (__m256i)b);
  }
  static Acc Joined(Acc words, __m256i tops) {
    return TopByteLanes::Joined(words, (Acc)tops);
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], uint64_t* totals) {
    __m256i lanes[N];
    MMC_UNROLL
    for (int i = 0; i < N; ++i) lanes[i] = (__m256i)acc[i];
    FlushOf64Bits<N>(lanes, totals);
  }
};

}  // namespace
}  // namespace mmc

#include "level.h"

namespace mmc {
const Level kAvx2 = LevelOf("avx2");
}

#endif
