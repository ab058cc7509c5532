// x86 with AVX-512 (F, BW, DQ, VL): 32 registers of 64 bytes.

#include "kernels.h"

#if defined(__AVX512BW__)

#include <immintrin.h>

#include "lanes.h"

namespace mmc {
namespace {

constexpr int kBytes = 64;

// 24 sums, four registers of values and two of minima: 30.
struct Tile {
  static constexpr int kRows = 4;
  static constexpr int kCols = 6;
  static constexpr bool kSharesLosses = false;
  // A panel, 2,560 bytes a row, and a tile of models fill a cache of 48 KiB.
  static constexpr int kVectors = 40;
  static constexpr int kRun = kVectors;
  static constexpr bool kFetchesEachStep = true;
  static constexpr int kLines = 2;
  static constexpr int kPanel = 8;
};

template <>
struct Simd<float> : FloatLanes<float, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) { return _mm512_min_ps(a, b); }

  // Returns the sums of four registers.
  static __m128 Sums(__m512 a, __m512 b, __m512 c, __m512 d) {
    __m512 ab = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
    __m512 cd = _mm512_unpacklo_ps(c, d) + _mm512_unpackhi_ps(c, d);
    __m512 abcd = _mm512_shuffle_ps(ab, cd, 0x44) +
                  _mm512_shuffle_ps(ab, cd, 0xee);
    __m256 halves =
        _mm512_castps512_ps256(abcd) + _mm512_extractf32x8_ps(abcd, 1);
    return _mm256_castps256_ps128(halves) + _mm256_extractf128_ps(halves, 1);
  }

  template <int N>
  static void Flush(const Acc (&acc)[N], double* totals) {
    MMC_UNROLL
    for (int i = 0; i + 4 <= N; i += 4) {
      __m256d sums = _mm256_cvtps_pd(
          Sums(acc[i], acc[i + 1], acc[i + 2], acc[i + 3]));
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
struct Simd<double> : FloatLanes<double, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) { return _mm512_min_pd(a, b); }
};

// Adds the sums of N registers of 64-bit numbers to N totals.
template <int N>
void FlushOf64Bits(const __m512i (&acc)[N], uint64_t* totals) {
  MMC_UNROLL
  for (int i = 0; i + 4 <= N; i += 4) {
    __m512i ab = _mm512_unpacklo_epi64(acc[i], acc[i + 1]) +
                 _mm512_unpackhi_epi64(acc[i], acc[i + 1]);
    __m512i cd = _mm512_unpacklo_epi64(acc[i + 2], acc[i + 3]) +
                 _mm512_unpackhi_epi64(acc[i + 2], acc[i + 3]);
    __m256i ab_half = _mm256_add_epi64(_mm512_castsi512_si256(ab),
                                       _mm512_extracti64x4_epi64(ab, 1));
    __m256i cd_half = _mm256_add_epi64(_mm512_castsi512_si256(cd),
                                       _mm512_extracti64x4_epi64(cd, 1));
    __m256i sums =
        _mm256_add_epi64(_mm256_permute2x128_si256(ab_half, cd_half, 0x20),
                         _mm256_permute2x128_si256(ab_half, cd_half, 0x31));
    __m256i* to = reinterpret_cast<__m256i*>(totals + i);
    _mm256_storeu_si256(to, _mm256_add_epi64(_mm256_loadu_si256(to), sums));
  }
  MMC_UNROLL
  for (int i = N / 4 * 4; i < N; ++i) {
    totals[i] += static_cast<uint64_t>(_mm512_reduce_add_epi64(acc[i]));
  }
}

// The highest bytes of words, added up eight at a time in 64-bit lanes.
struct Bytes : Lanes<uint8_t, kBytes> {
  using Acc = __m512i;
  static Acc Zero() { return _mm512_setzero_si512(); }
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm512_min_epu8((__m512i)a, (__m512i)b);
  }
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return _mm512_add_epi64(acc, _mm512_sad_epu8((__m512i)terms[0], Zero()));
  }
};

template <>
struct Simd<uint32_t> : TopByteLanes<kBytes>, Tile {
  using Bytes = mmc::Bytes;
  static_assert(TopByteLanes::Hold(kVectors));
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm512_min_epu32((__m512i)a, (__m512i)b);
  }
  static Acc Joined(Acc words, __m512i tops) {
    return TopByteLanes::Joined(words, (Acc)tops);
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], uint64_t* totals) {
    __m512i lanes[N];
    MMC_UNROLL
    for (int i = 0; i < N; ++i) lanes[i] = (__m512i)acc[i];
    FlushOf64Bits<N>(lanes, totals);
  }
};

}  // namespace
}  // namespace mmc

#include "level.h"

namespace mmc {
const Level kAvx512 = LevelOf("avx512");
}

#endif
