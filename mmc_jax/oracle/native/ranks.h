// Oracle sums by rank, AVX-512 and float32: many subsets, none too small.
//
// M models, X texts, S subsets.
//
// On each text the models are sorted by their loss, once for all subsets; a
// subset's minimum is then the first of its members in that order. 128 subsets
// look for theirs at once, as bytes: model by model down the order, a subset
// takes the lesser of its rank so far and this one, and the search ends when
// all have found one, after log(128) / -log(1 - density) models or so. A
// permutation of the sorted losses by the ranks turns 16 of them into losses.
//
// The additions are those of `SumOfMinima` and `Flush` in their order, so that
// a sum is the same to the last bit on either way.

#ifndef MMC_JAX_ORACLE_NATIVE_RANKS_H_
#define MMC_JAX_ORACLE_NATIVE_RANKS_H_

#include <immintrin.h>

#include "kernels.h"
#include "lanes.h"

namespace mmc {
namespace {

class Ranking {
 public:
  // Subsets that search at once.
  static constexpr int64_t kGroup = 128;

  // Whether ranks are faster than minima for num_subsets subsets of num_rows
  // rows with num_members members together: cycles a subset and block, as
  // measured on a Xeon with AVX-512 (family 6, model 167).
  static bool IsFaster(int64_t num_subsets, int64_t num_rows,
                        int64_t num_members) {
    // Ranks are bytes, and the last one says "none yet".
    if (num_subsets < kGroup || num_rows > 240) return false;
    const double members = static_cast<double>(num_members) / num_subsets;
    const double by_minima = 20 + 6 * members;
    const double steps = NumSteps(members / num_rows) + 3;
    const double sorting = 12.0 * num_rows * (num_rows + 30) / num_subsets;
    const double by_rank = 20 + 5.5 * (steps > kStep ? steps : kStep) + sorting;
    return by_rank < 0.9 * by_minima;
  }

  // rows[i] is where the losses of the i-th row stand in each block; masks are
  // those of num_groups * kGroup subsets, [S, num_models]; models[i] is the
  // i-th row's model, or num_models for the row that empty subsets have.
  Ranking(int64_t num_groups, const bool* masks, int64_t num_models,
          const int64_t* models, const float* const* rows, int64_t num_rows,
          double density)
      : rows_(rows),
        num_rows_(num_rows),
        num_ranks_((num_rows + kStep - 1) / kStep * kStep),
        stride_(num_rows > 32 ? (num_rows + 15) / 16 * 16 : 32),
        num_sure_(static_cast<int64_t>(NumSteps(density) * 0.9) / kStep *
                  kStep),
        absent_(num_groups * (num_rows + 1) * kGroup),
        order_(kTexts * stride_),
        sorted_(kTexts * stride_),
        ranks_(num_rows * kLanes) {
    for (int64_t g = 0; g < num_groups; ++g) {
      uint8_t* group = absent_.data() + g * (num_rows + 1) * kGroup;
      for (int64_t s = 0; s < kGroup; ++s) {
        const bool* mask = masks + (g * kGroup + s) * num_models;
        bool is_empty = true;
        for (int64_t m = 0; m < num_models; ++m) is_empty &= !mask[m];
        for (int64_t i = 0; i < num_rows; ++i) {
          const bool present =
              models[i] < num_models ? mask[models[i]] : is_empty;
          group[i * kGroup + s] = present ? 0 : kNone;
        }
        group[num_rows * kGroup + s] = kNone;
      }
    }
    // Behind the last rank stands the row that has no subset.
    for (int64_t i = 0; i < kTexts * stride_; ++i) {
      order_[i] = static_cast<uint8_t>(num_rows);
    }
  }

  // Sorts the rows of a block; none of them has NaN.
  __attribute__((noinline)) void Sort() {
    const __m512i one = _mm512_set1_epi32(1);
    for (int64_t d = 0; d < kTexts / kLanes; ++d) {
      uint32_t* ranks = ranks_.data();
      __builtin_memset(ranks, 0, num_rows_ * kLanes * sizeof(uint32_t));
      // A row's rank is the number of rows before it. Two rows at a time are
      // compared with all behind them.
      for (int64_t i = 0; i + 1 < num_rows_; i += 2) {
        uint32_t* rank = ranks + i * kLanes;
        const __m512 loss0 = _mm512_load_ps(rows_[i] + d * kLanes);
        const __m512 loss1 = _mm512_load_ps(rows_[i + 1] + d * kLanes);
        const __mmask16 swapped = _mm512_cmp_ps_mask(loss0, loss1, _CMP_GT_OQ);
        __m512i rank0 = _mm512_load_si512(rank);
        rank0 = _mm512_mask_add_epi32(rank0, swapped, rank0, one);
        __m512i rank1 = _mm512_load_si512(rank + kLanes);
        rank1 = _mm512_mask_add_epi32(rank1, _knot_mask16(swapped), rank1, one);
        for (int64_t j = i + 2; j < num_rows_; ++j) {
          const __m512 loss = _mm512_load_ps(rows_[j] + d * kLanes);
          const __mmask16 before0 = _mm512_cmp_ps_mask(loss0, loss, _CMP_LE_OQ);
          const __mmask16 before1 = _mm512_cmp_ps_mask(loss1, loss, _CMP_LE_OQ);
          __m512i other = _mm512_load_si512(ranks + j * kLanes);
          other = _mm512_mask_add_epi32(other, before0, other, one);
          other = _mm512_mask_add_epi32(other, before1, other, one);
          _mm512_store_si512(ranks + j * kLanes, other);
          rank0 = _mm512_mask_add_epi32(rank0, _knot_mask16(before0), rank0,
                                        one);
          rank1 = _mm512_mask_add_epi32(rank1, _knot_mask16(before1), rank1,
                                        one);
        }
        _mm512_store_si512(rank, rank0);
        _mm512_store_si512(rank + kLanes, rank1);
      }
      for (int64_t i = 0; i < num_rows_; ++i) {
        const float* losses = rows_[i] + d * kLanes;
        for (int p = 0; p < kLanes; ++p) {
          const int lane = kLaneOrder[p];
          const int64_t at =
              (d * kLanes + p) * stride_ + ranks[i * kLanes + lane];
          order_[at] = static_cast<uint8_t>(i);
          sorted_[at] = losses[lane];
        }
      }
    }
  }

  // Adds the block's sums of a group of subsets to totals[kGroup].
  __attribute__((noinline)) void AddSums(int64_t group, double* totals) const {
    const uint8_t* const absent =
        absent_.data() + group * (num_rows_ + 1) * kGroup;
    alignas(64) uint8_t ranks[kLeaf][kGroup];
    // Sums of 1, 2, 4 and 8 leaves that wait for their like.
    alignas(64) float waiting[4][kGroup];
    for (int leaf = 0; leaf < kTexts / kLeaf; ++leaf) {
      bool wide = false;
      for (int t = 0; t < kLeaf; ++t) {
        wide |= FindRanks(absent, order_.data() + (t * kLanes + leaf) * stride_,
                          ranks[t]) > 2 * kLanes;
      }
      if (wide) {
        AddLeaf<true>(leaf, ranks, waiting, totals);
      } else {
        AddLeaf<false>(leaf, ranks, waiting, totals);
      }
    }
  }

 private:
  static constexpr int kLanes = 16;
  static constexpr int kTexts = 128;  // in a block
  // Texts whose terms SumOfMinima adds up in a lane.
  static constexpr int kLeaf = kTexts / kLanes;
  // Ranks between two looks whether all have been found.
  static constexpr int kStep = 8;
  static constexpr uint8_t kNone = 0xff;
  static constexpr int kOrOr = 0xfe;  // a | b | c
  // The lanes in the order in which Flush adds them, neighbours first.
  static constexpr int kLaneOrder[kLanes] = {0, 2, 1, 3, 8,  10, 9,  11,
                                             4, 6, 5, 7, 12, 14, 13, 15};

  // About how many ranks are looked at until all of a group have found one:
  // log(128) / -log(1 - density), to first order.
  static double NumSteps(double density) { return 4.85 * (1 / density - 0.5); }

  // Adds the losses at the ranks on a leaf's texts to each other and then to
  // the sums that wait for them, the last of a block to the totals.
  template <bool kWide>  // ranks from 32 on
  void AddLeaf(int leaf, const uint8_t (*ranks)[kGroup],
               float (*waiting)[kGroup], double* totals) const {
    const int num_waiting = __builtin_ctz(leaf + 1);
    for (int64_t s = 0; s < kGroup; s += kLanes) {
      __m512 terms[kLeaf];
      MMC_UNROLL
      for (int t = 0; t < kLeaf; ++t) {
        const float* losses = sorted_.data() + (t * kLanes + leaf) * stride_;
        const __m512i rank = _mm512_cvtepu8_epi32(
            _mm_load_si128(reinterpret_cast<const __m128i*>(ranks[t] + s)));
        if constexpr (kWide) {
          terms[t] = _mm512_i32gather_ps(rank, losses, 4);
        } else {
          terms[t] = _mm512_permutex2var_ps(_mm512_load_ps(losses), rank,
                                            _mm512_load_ps(losses + kLanes));
        }
      }
      __m512 sum = ((terms[0] + terms[1]) + (terms[2] + terms[3])) +
                   ((terms[4] + terms[5]) + (terms[6] + terms[7]));
      for (int n = 0; n < num_waiting; ++n) {
        sum = _mm512_load_ps(waiting[n] + s) + sum;
      }
      if (num_waiting < 4) {
        _mm512_store_ps(waiting[num_waiting] + s, sum);
      } else {
        double* to = totals + s;
        const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(sum));
        const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(sum, 1));
        _mm512_storeu_pd(to, _mm512_loadu_pd(to) + low);
        _mm512_storeu_pd(to + 8, _mm512_loadu_pd(to + 8) + high);
      }
    }
  }

  // Writes the least rank at which each of a group has a member, and returns
  // how many ranks were looked at.
  __attribute__((always_inline)) int64_t FindRanks(const uint8_t* absent,
                                                   const uint8_t* order,
                                                   uint8_t* ranks) const {
    const __m512i none = _mm512_set1_epi8(static_cast<char>(kNone));
    __m512i low = none;
    __m512i high = none;
    int64_t rank = 0;
    do {
      const __m512i base = _mm512_set1_epi8(static_cast<char>(rank));
      MMC_UNROLL
      for (int i = 0; i < kStep; ++i) {
        // The rank where it is present, kNone where it is absent.
        const uint8_t* row = absent + order[rank + i] * kGroup;
        const __m512i step = _mm512_set1_epi8(i);
        const __m512i low_here = _mm512_ternarylogic_epi64(
            base, step, _mm512_load_si512(row), kOrOr);
        const __m512i high_here = _mm512_ternarylogic_epi64(
            base, step, _mm512_load_si512(row + 64), kOrOr);
        low = _mm512_min_epu8(low, low_here);
        high = _mm512_min_epu8(high, high_here);
      }
      rank += kStep;
    } while (rank < num_ranks_ &&
             (rank < num_sure_ ||
              _mm512_cmpeq_epi8_mask(_mm512_max_epu8(low, high), none)));
    _mm512_store_si512(ranks, low);
    _mm512_store_si512(ranks + 64, high);
    return rank;
  }

  const float* const* rows_;
  int64_t num_rows_;
  int64_t num_ranks_;  // rounded up to whole steps
  int64_t stride_;
  int64_t num_sure_;
  Scratch<uint8_t> absent_;   // [groups, rows and one behind, kGroup]
  Scratch<uint8_t> order_;   // [kTexts, stride], rows
  Scratch<float> sorted_;     // [kTexts, stride]
  Scratch<uint32_t> ranks_;   // [rows, kLanes]
};

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_RANKS_H_
