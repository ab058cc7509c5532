// x86 with AVX2: 16 registers of 32 bytes.

#include "kernels.h"

#if defined(__AVX2__)

#include <immintrin.h>

#include "lanes.h"

namespace mmc {
namespace {

constexpr int kBytes = 32;

struct Tile {
  static constexpr int kRows = 2;
  static constexpr int kCols = 4;
};

template <class T>
struct Simd : IntegerLanes<T, kBytes>, Tile {};

template <>
struct Simd<float> : FloatLanes<float, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  template <int N>
  static void Flush(const Acc (&acc)[N], double* totals) {
    MMC_UNROLL
    for (int i = 0; i < N; ++i) {
      __m128 lanes = _mm256_castps256_ps128(acc[i]) +
                     _mm256_extractf128_ps(acc[i], 1);
      lanes += _mm_movehl_ps(lanes, lanes);
      totals[i] += double{lanes[0] + lanes[1]};
    }
  }
};

template <>
struct Simd<double> : FloatLanes<double, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) { return _mm256_min_pd(a, b); }
};

template <class Register>
uint64_t SumOf64Bits(const Register& acc) {
  return static_cast<uint64_t>(acc[0]) + static_cast<uint64_t>(acc[1]) +
         static_cast<uint64_t>(acc[2]) + static_cast<uint64_t>(acc[3]);
}

// min(V, L) = (V + L - |V - L|) / 2: the sum of absolute differences is one
// instruction.
template <>
struct Simd<uint8_t> : Lanes<uint8_t, kBytes>, Tile {
  static constexpr bool kIsFloat = false;
  static constexpr bool kDifferences = true;
  static constexpr int kGroup = 1;
  using Acc = __m256i;
  static Acc Zero() { return _mm256_setzero_si256(); }
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm256_min_epu8((__m256i)a, (__m256i)b);
  }
  static Acc AddDifference(Acc acc, Reg a, Reg b) {
    return _mm256_add_epi64(acc, _mm256_sad_epu8((__m256i)a, (__m256i)b));
  }
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return AddDifference(acc, terms[0], Reg{});
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], uint64_t* totals) {
    MMC_UNROLL
    for (int i = 0; i < N; ++i) totals[i] += SumOf64Bits(acc[i]);
  }
};

// Signed, so that the sum of two neighbours is one instruction.
template <>
struct Simd<uint16_t> : Lanes<uint16_t, kBytes>, Tile {
  static constexpr bool kIsFloat = false;
  static constexpr uint64_t kBias = 0x8000;
  static constexpr int kGroup = 1;
  using Acc = __m256i;
  static Acc Zero() { return _mm256_setzero_si256(); }
  static Reg Min(Reg a, Reg b) {
    return (Reg)_mm256_min_epi16((__m256i)a, (__m256i)b);
  }
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return _mm256_add_epi32(
        acc, _mm256_madd_epi16((__m256i)terms[0], _mm256_set1_epi16(1)));
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], uint64_t* totals) {
    MMC_UNROLL
    for (int i = 0; i < N; ++i) {
      __m256i low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(acc[i]));
      __m256i high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256(acc[i], 1));
      totals[i] += SumOf64Bits(_mm256_add_epi64(low, high));
    }
  }
};

}  // namespace
}  // namespace mmc

#include "tiles.h"

namespace mmc {
const Level kAvx2 = LevelOf("avx2");
}

#endif
