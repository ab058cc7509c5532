// Oracle sums by rank, AVX2 and float32: many subsets, none too small.
//
// M models, X texts, S subsets.
//
// As ranks.h does it for AVX-512: on each text the models are sorted once for
// all subsets, and a subset's rank is the number of models before the first of
// its members. 256 subsets count theirs at once, as bits: each is alive while
// no member has come, and the b-th bit of its count changes with every 2^b-th
// model that it lives to see. The four bytes of the sorted losses are looked up
// at the ranks, 32 subsets at once, and put together to losses.
//
// The additions are those of `SumOfMinima` and `Flush` in their order, so that
// a sum is the same to the last bit on either way.

#ifndef MMC_JAX_ORACLE_NATIVE_RANKS_AVX2_H_
#define MMC_JAX_ORACLE_NATIVE_RANKS_AVX2_H_

#include <immintrin.h>

#include "kernels.h"
#include "lanes.h"

namespace mmc {
namespace {

class Ranking {
 public:
  // Subsets that search at once.
  static constexpr int64_t kGroup = 256;

  // Whether ranks are faster than minima for num_subsets subsets of num_rows
  // rows with num_members members together: cycles a subset and block, as
  // measured on an EPYC 7003 (Zen 3).
  static bool IsFaster(int64_t num_subsets, int64_t num_rows,
                       int64_t num_members) {
    // Ranks are bytes.
    if (num_subsets < kGroup || num_rows > 240) return false;
    const double members = static_cast<double>(num_members) / num_subsets;
    const double by_minima = 20 + 5.8 * members;
    const int64_t steps = NumSteps(members / num_rows);
    const double sorting =
        (3.0 * num_rows * num_rows + 160.0 * num_rows) / num_subsets;
    return steps <= kByBytes && 45 + 0.5 * steps + sorting < by_minima;
  }

  // rows[i] is where the losses of the i-th row stand in each block; masks are
  // those of num_groups * kGroup subsets, [S, num_models]; models[i] is the
  // i-th row's model, or num_models for the row that empty subsets have.
  Ranking(int64_t num_groups, const bool* masks, int64_t num_models,
          const int64_t* models, const float* const* rows, int64_t num_rows,
          double density)
      : rows_(rows),
        num_rows_(num_rows),
        stride_(num_rows > kByBytes ? (num_rows + 7) / 8 * 8 : kByBytes),
        num_steps_(Least(NumSteps(density), kByBytes)),
        absent_(num_groups * (num_rows + 1) * kBytes),
        order_(kTexts * stride_),
        sorted_(kTexts * stride_),
        bytes_(kTexts * 4 * kByBytes),
        ranks_(num_rows * kLanes) {
    for (int64_t s = 0; s < num_groups * kGroup; ++s) {
      uint8_t* group =
          absent_.data() + s / kGroup * (num_rows + 1) * kBytes + Place(s);
      const bool* mask = masks + s * num_models;
      const int bit = s % kGroup / 32;
      bool is_empty = true;
      for (int64_t m = 0; m < num_models; ++m) is_empty &= !mask[m];
      for (int64_t i = 0; i < num_rows; ++i) {
        const bool absent =
            models[i] < num_models ? !mask[models[i]] : !is_empty;
        group[i * kBytes] |= absent << bit;
      }
    }
    // Nobody lives to see the row behind the last.
    for (int64_t i = 0; i < kTexts * stride_; ++i) {
      order_[i] = static_cast<uint16_t>(num_rows * kBytes);
    }
  }

  // Sorts the rows of a block; none of them has NaN.
  __attribute__((noinline)) void Sort() {
    for (int64_t d = 0; d < kTexts / kLanes; ++d) {
      FindRanksOfRows(d);
      for (int64_t i = 0; i < num_rows_; ++i) {
        const float* losses = rows_[i] + d * kLanes;
        const uint32_t* ranks = ranks_.data() + i * kLanes;
        const uint16_t offset = static_cast<uint16_t>(i * kBytes);
        MMC_UNROLL
        for (int p = 0; p < kLanes; ++p) {
          const int lane = kLaneOrder[p];
          const int64_t at = (d * kLanes + p) * stride_ + ranks[lane];
          order_[at] = offset;
          sorted_[at] = losses[lane];
        }
      }
    }
    for (int64_t x = 0; x < kTexts; ++x) {
      const float* sorted = sorted_.data() + x * stride_;
      uint8_t* bytes = bytes_.data() + x * 4 * kByBytes;
      SplitBytes(sorted, bytes);
      SplitBytes(sorted + 16, bytes + 16);
    }
  }

  // Adds the block's sums of a group of subsets to totals[kGroup].
  __attribute__((noinline)) void AddSums(int64_t group, double* totals) const {
    const uint8_t* const absent =
        absent_.data() + group * (num_rows_ + 1) * kBytes;
    alignas(64) uint8_t ranks[kLeaf][kGroup];
    // Sums of 1, 2 and 4 leaves that wait for their like.
    alignas(64) float waiting[3][kGroup];
    for (int leaf = 0; leaf < kTexts / kLeaf; ++leaf) {
      int64_t num_ranks = num_steps_;
      for (int t = 0; t < kLeaf; ++t) {
        const int64_t seen = FindRanks(
            absent, order_.data() + (t * kLanes + leaf) * stride_, ranks[t]);
        num_ranks = seen > num_ranks ? seen : num_ranks;
      }
      // The rank of who dies at the last is one less than their number.
      if (num_ranks <= 16) {
        AddLeaf<1>(leaf, ranks, waiting, totals);
      } else if (num_ranks <= kByBytes) {
        AddLeaf<2>(leaf, ranks, waiting, totals);
      } else {
        AddLeaf<0>(leaf, ranks, waiting, totals);
      }
    }
  }

 private:
  static constexpr int kLanes = 8;
  static constexpr int kTexts = 64;  // in a block
  // Texts whose terms SumOfMinima adds up in a lane.
  static constexpr int kLeaf = kTexts / kLanes;
  // Models that are gone through at once.
  static constexpr int kStep = 8;
  // Of a group's bits.
  static constexpr int kBytes = kGroup / 8;
  // Ranks whose losses are looked up byte by byte.
  static constexpr int kByBytes = 32;
  // The lanes in the order in which Flush adds them, neighbours first.
  static constexpr int kLaneOrder[kLanes] = {0, 2, 1, 3, 4, 6, 5, 7};

  // How many models are gone through before a look whether one of the group is
  // alive, which 19 times in 20 none is: log(20 * 256) / -log(1 - density), to
  // first order. A branch that is foreseen is worth some models.
  static int64_t NumSteps(double density) {
    const double steps = 8.5 * (1 / density - 0.5);
    return static_cast<int64_t>(steps / kStep + 1) * kStep;
  }

  static int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

  // The byte of subset s among those of its group that share a bit: where bytes
  // are put together to the losses of eight neighbours, four come from each
  // half of a register.
  static int64_t Place(int64_t s) {
    return s % 32 / 8 * 4 + s % 4 + s / 4 % 2 * 16;
  }

  static __m256i LoadBytes(const void* at) {
    return _mm256_load_si256(static_cast<const __m256i*>(at));
  }

  // A row's rank is the number of rows before it, on the d-th texts.
  void FindRanksOfRows(int64_t d) {
    constexpr int kRows = 4;  // compared at once with all behind them
    uint32_t* const ranks = ranks_.data();
    auto rank = [&](int64_t i) {
      return reinterpret_cast<__m256i*>(ranks + i * kLanes);
    };
    auto loss = [&](int64_t i) {
      return _mm256_load_ps(rows_[i] + d * kLanes);
    };
    // -1 where the first is before the second.
    auto before = [](__m256 a, __m256 b) {
      return _mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LE_OQ));
    };
    for (int64_t i = 0; i < num_rows_; ++i) *rank(i) = __m256i{};
    int64_t i = 0;
    for (; i + kRows <= num_rows_; i += kRows) {
      __m256 own[kRows];
      __m256i own_rank[kRows];
      MMC_UNROLL
      for (int r = 0; r < kRows; ++r) {
        own[r] = loss(i + r);
        // As if all behind it were before it.
        own_rank[r] = _mm256_add_epi32(
            *rank(i + r),
            _mm256_set1_epi32(static_cast<int>(num_rows_ - i - r - 1)));
      }
      MMC_UNROLL
      for (int r = 0; r < kRows; ++r) {
        MMC_UNROLL
        for (int q = r + 1; q < kRows; ++q) {
          const __m256i first = before(own[r], own[q]);
          own_rank[r] = _mm256_add_epi32(own_rank[r], first);
          own_rank[q] = _mm256_sub_epi32(own_rank[q], first);
        }
      }
      MMC_NO_UNROLL
      for (int64_t j = i + kRows; j < num_rows_; ++j) {
        const __m256 other = loss(j);
        __m256i first[kRows];
        MMC_UNROLL
        for (int r = 0; r < kRows; ++r) {
          first[r] = before(own[r], other);
          own_rank[r] = _mm256_add_epi32(own_rank[r], first[r]);
        }
        *rank(j) = _mm256_sub_epi32(
            *rank(j),
            _mm256_add_epi32(_mm256_add_epi32(first[0], first[1]),
                             _mm256_add_epi32(first[2], first[3])));
      }
      MMC_UNROLL
      for (int r = 0; r < kRows; ++r) *rank(i + r) = own_rank[r];
    }
    for (; i < num_rows_; ++i) {
      for (int64_t j = i + 1; j < num_rows_; ++j) {
        const __m256i first = before(loss(i), loss(j));
        *rank(j) = _mm256_sub_epi32(*rank(j), first);
        *rank(i) = _mm256_add_epi32(
            *rank(i), _mm256_add_epi32(first, _mm256_set1_epi32(1)));
      }
    }
  }

  // Writes the lowest bytes of 16 losses to bytes[0] to [15], the next ones
  // kByBytes behind, and so on.
  static void SplitBytes(const float* losses, uint8_t* bytes) {
    const __m128i by_byte =
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m128i four[4];
    MMC_UNROLL
    for (int i = 0; i < 4; ++i) {
      four[i] = _mm_shuffle_epi8(
          _mm_load_si128(reinterpret_cast<const __m128i*>(losses + 4 * i)),
          by_byte);
    }
    const __m128i low0 = _mm_unpacklo_epi32(four[0], four[1]);
    const __m128i low1 = _mm_unpacklo_epi32(four[2], four[3]);
    const __m128i high0 = _mm_unpackhi_epi32(four[0], four[1]);
    const __m128i high1 = _mm_unpackhi_epi32(four[2], four[3]);
    __m128i* to = reinterpret_cast<__m128i*>(bytes);
    constexpr int kNext = kByBytes / 16;
    _mm_store_si128(to, _mm_unpacklo_epi64(low0, low1));
    _mm_store_si128(to + kNext, _mm_unpackhi_epi64(low0, low1));
    _mm_store_si128(to + 2 * kNext, _mm_unpacklo_epi64(high0, high1));
    _mm_store_si128(to + 3 * kNext, _mm_unpackhi_epi64(high0, high1));
  }

  // Writes how many models of the order come before the first member of each
  // of a group, and returns a number that all of them are below.
  __attribute__((always_inline)) int64_t FindRanks(const uint8_t* absent,
                                                   const uint16_t* order,
                                                   uint8_t* ranks) const {
    __m256i alive = _mm256_set1_epi8(-1);
    __m256i bits[5] = {};
    for (int64_t k = 0; k < num_steps_; k += kStep) {
      MMC_UNROLL
      for (int i = 1; i <= kStep; ++i) {
        alive = _mm256_and_si256(alive, LoadBytes(absent + order[k + i - 1]));
        bits[0] = _mm256_xor_si256(bits[0], alive);
        if (i % 2 == 0) bits[1] = _mm256_xor_si256(bits[1], alive);
        if (i % 4 == 0) bits[2] = _mm256_xor_si256(bits[2], alive);
      }
      bits[3] = _mm256_xor_si256(bits[3], alive);
      if ((k + kStep) % 16 == 0) bits[4] = _mm256_xor_si256(bits[4], alive);
    }
    WriteRanks<0>(bits, ranks);
    if (_mm256_testz_si256(alive, alive)) return num_steps_;
    return FindLateRanks(absent, order, alive, ranks);
  }

  // The subsets of the kBit-th bit on, 32 a bit.
  template <int kBit>
  __attribute__((always_inline)) static void WriteRanks(
      const __m256i (&bits)[5], uint8_t* ranks) {
    if constexpr (kBit < 8) {
      __m256i rank = _mm256_setzero_si256();
      MMC_UNROLL
      for (int b = 0; b < 5; ++b) {
        const int by = kBit - b;
        const __m256i moved = by > 0 ? _mm256_srli_epi16(bits[b], by)
                                     : _mm256_slli_epi16(bits[b], -by);
        rank = _mm256_or_si256(
            rank, _mm256_and_si256(
                      moved, _mm256_set1_epi8(static_cast<char>(1 << b))));
      }
      _mm256_store_si256(reinterpret_cast<__m256i*>(ranks + 32 * kBit), rank);
      WriteRanks<kBit + 1>(bits, ranks);
    }
  }

  // For the few that are alive after num_steps_ models.
  __attribute__((noinline)) int64_t FindLateRanks(const uint8_t* absent,
                                                  const uint16_t* order,
                                                  __m256i alive,
                                                  uint8_t* ranks) const {
    alignas(32) uint8_t still[kBytes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(still), alive);
    int64_t last = 0;
    for (int64_t p = 0; p < kBytes; ++p) {
      for (int bit = 0; still[p] >> bit; ++bit) {
        if ((still[p] >> bit & 1) == 0) continue;
        int64_t rank = num_steps_;
        while (absent[order[rank] + p] >> bit & 1) ++rank;
        ranks[32 * bit + p] = static_cast<uint8_t>(rank);
        last = rank > last ? rank : last;
      }
    }
    return last + 1;
  }

  // Writes the losses of 32 subsets at their ranks; kTables times 16 ranks, or
  // any number of them at 0.
  template <int kTables>
  __attribute__((always_inline)) void LookUp(int64_t text,
                                             const uint8_t* ranks,
                                             __m256 (&losses)[4]) const {
    if constexpr (kTables == 0) {
      const float* sorted = sorted_.data() + text * stride_;
      MMC_UNROLL
      for (int j = 0; j < 4; ++j) {
        alignas(8) uint8_t eight[8];
        __builtin_memcpy(eight, ranks + 4 * j, 4);
        __builtin_memcpy(eight + 4, ranks + 16 + 4 * j, 4);
        const __m256i rank = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64(reinterpret_cast<const __m128i*>(eight)));
        losses[j] = _mm256_i32gather_ps(sorted, rank, 4);
      }
    } else {
      const uint8_t* bytes = bytes_.data() + text * 4 * kByBytes;
      __m256i rank = LoadBytes(ranks);
      __m256i behind;
      if constexpr (kTables == 2) {
        // A place from 128 on looks up 0.
        behind = _mm256_sub_epi8(rank, _mm256_set1_epi8(16));
        rank = _mm256_adds_epu8(rank, _mm256_set1_epi8(112));
      }
      __m256i byte[4];
      MMC_UNROLL
      for (int b = 0; b < 4; ++b) {
        const __m128i* table =
            reinterpret_cast<const __m128i*>(bytes + b * kByBytes);
        byte[b] =
            _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table[0]), rank);
        if constexpr (kTables == 2) {
          byte[b] = _mm256_or_si256(
              byte[b], _mm256_shuffle_epi8(
                           _mm256_broadcastsi128_si256(table[1]), behind));
        }
      }
      const __m256i low01 = _mm256_unpacklo_epi8(byte[0], byte[1]);
      const __m256i high01 = _mm256_unpackhi_epi8(byte[0], byte[1]);
      const __m256i low23 = _mm256_unpacklo_epi8(byte[2], byte[3]);
      const __m256i high23 = _mm256_unpackhi_epi8(byte[2], byte[3]);
      losses[0] = (__m256)_mm256_unpacklo_epi16(low01, low23);
      losses[1] = (__m256)_mm256_unpackhi_epi16(low01, low23);
      losses[2] = (__m256)_mm256_unpacklo_epi16(high01, high23);
      losses[3] = (__m256)_mm256_unpackhi_epi16(high01, high23);
    }
  }

  // Adds the losses at the ranks on a leaf's texts to each other and then to
  // the sums that wait for them, the last of a block to the totals.
  template <int kTables>
  __attribute__((noinline)) void AddLeaf(int leaf,
                                         const uint8_t (*ranks)[kGroup],
                                         float (*waiting)[kGroup],
                                         double* totals) const {
    const int num_waiting = __builtin_ctz(leaf + 1);
    MMC_NO_UNROLL
    for (int64_t s = 0; s < kGroup; s += 32) {
      __m256 sum[4];
      MMC_NO_UNROLL
      for (int t = 0; t < kLeaf; t += 2) {
        __m256 one[4];
        __m256 other[4];
        LookUp<kTables>(t * kLanes + leaf, ranks[t] + s, one);
        LookUp<kTables>((t + 1) * kLanes + leaf, ranks[t + 1] + s, other);
        MMC_UNROLL
        for (int j = 0; j < 4; ++j) {
          const __m256 pair = one[j] + other[j];
          sum[j] = t == 0 ? pair : sum[j] + pair;
        }
      }
      MMC_UNROLL
      for (int j = 0; j < 4; ++j) {
        const int64_t at = s + 8 * j;
        for (int n = 0; n < num_waiting; ++n) {
          sum[j] = _mm256_load_ps(waiting[n] + at) + sum[j];
        }
        if (num_waiting < 3) {
          _mm256_store_ps(waiting[num_waiting] + at, sum[j]);
        } else {
          const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(sum[j]));
          const __m256d high =
              _mm256_cvtps_pd(_mm256_extractf128_ps(sum[j], 1));
          double* to = totals + at;
          _mm256_storeu_pd(to, _mm256_loadu_pd(to) + low);
          _mm256_storeu_pd(to + 4, _mm256_loadu_pd(to + 4) + high);
        }
      }
    }
  }

  const float* const* rows_;
  int64_t num_rows_;
  int64_t stride_;
  int64_t num_steps_;
  Scratch<uint8_t> absent_;   // [groups, rows and one behind, kBytes], bits
  Scratch<uint16_t> order_;   // [kTexts, stride], where a row's bytes stand
  Scratch<float> sorted_;     // [kTexts, stride]
  Scratch<uint8_t> bytes_;    // [kTexts, 4, kByBytes], of the first losses
  Scratch<uint32_t> ranks_;   // [rows, kLanes]
};

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_RANKS_AVX2_H_
