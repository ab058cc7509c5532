// The tiles of `min_sum`: the sums of a few subsets x models in registers.
//
// M models, X texts, S subsets.

#ifndef MMC_JAX_ORACLE_NATIVE_TILE_H_
#define MMC_JAX_ORACLE_NATIVE_TILE_H_

#include "kernels.h"
#include "lanes.h"

namespace mmc {
namespace {

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

// Fetches the rows that will be packed next into the cache. A few lines at a
// time: many at once would stop the computation beside them.
class NextRows {
 public:
  NextRows(const Rows& rows, int64_t row, int64_t num_rows, int64_t text,
           int64_t num_texts)
      : rows_(rows),
        row_(row),
        end_(num_texts > 0 ? row + num_rows : row),
        text_(text),
        num_bytes_(num_texts * rows.element_bytes) {}

  template <int kLines>
  void Prefetch() {
    if (line_ >= end_of_row_) {
      if (row_ >= end_) return;
      line_ = rows_.At(row_++, text_);
      end_of_row_ = line_ + num_bytes_;
    }
    MMC_UNROLL
    for (int i = 0; i < kLines; ++i) __builtin_prefetch(line_ + 64 * i, 0, 2);
    line_ += 64 * kLines;
  }

 private:
  const Rows& rows_;
  int64_t row_;
  int64_t end_;
  int64_t text_;
  int64_t num_bytes_;
  const char* line_ = nullptr;
  const char* end_of_row_ = nullptr;
};

template <class T, bool kPositive>
inline __attribute__((always_inline)) typename Simd<T>::Reg LesserOf(
    typename Simd<T>::Reg a, typename Simd<T>::Reg b) {
  if constexpr (kPositive) {
    return Simd<T>::MinOfPositive(a, b);
  } else {
    return Simd<T>::Min(a, b);
  }
}

// Adds the minima of kGroup registers from each row to the sums of a tile.
template <class T, int S, int M, bool kPositive>
inline __attribute__((always_inline)) void AddStep(
    const T* values, const T* losses, int64_t stride,
    typename Simd<T>::Acc (&acc)[S * M]) {
  using V = Simd<T>;
  using Reg = typename V::Reg;
  constexpr int kLanes = V::kLanes;
  constexpr int kGroup = V::kGroup;
  if constexpr (V::kSharesLosses) {
    Reg value[S][kGroup];
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      MMC_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        value[s][g] = V::Load(values + s * stride + g * kLanes);
      }
    }
    MMC_UNROLL
    for (int m = 0; m < M; ++m) {
      Reg terms[S][kGroup];
      MMC_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        const Reg loss = V::Load(losses + m * stride + g * kLanes);
        MMC_UNROLL
        for (int s = 0; s < S; ++s) {
          terms[s][g] = LesserOf<T, kPositive>(value[s][g], loss);
        }
      }
      MMC_UNROLL
      for (int s = 0; s < S; ++s) {
        acc[s * M + m] = V::Add(acc[s * M + m], terms[s]);
      }
    }
  } else {
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      Reg value[kGroup];
      MMC_UNROLL
      for (int g = 0; g < kGroup; ++g) {
        value[g] = V::Load(values + s * stride + g * kLanes);
      }
      MMC_UNROLL
      for (int m = 0; m < M; ++m) {
        Reg terms[kGroup];
        MMC_UNROLL
        for (int g = 0; g < kGroup; ++g) {
          const Reg loss = V::Load(losses + m * stride + g * kLanes);
          terms[g] = LesserOf<T, kPositive>(value[g], loss);
        }
        acc[s * M + m] = V::Add(acc[s * M + m], terms);
      }
    }
  }
}

// Writes the sums of a tile of S subsets x M models, still in lanes, to
// lanes[kRows x kCols].
template <class T, int S, int M, bool kPositive>
inline __attribute__((always_inline)) void AddTile(
    const T* values, const T* losses, int64_t stride, int64_t num_padded,
    NextRows& next, typename Simd<T>::Acc* lanes) {
  using V = Simd<T>;
  constexpr int64_t kStep = V::kGroup * V::kLanes;
  constexpr int64_t kRun = V::kRun * V::kLanes;
  for (int64_t run = 0; run < num_padded; run += kRun) {
    const int64_t end = Least(run + kRun, num_padded);
    if constexpr (!V::kFetchesEachStep) next.Prefetch<V::kLines>();
    typename V::Acc acc[S * M];
    MMC_UNROLL
    for (int i = 0; i < S * M; ++i) acc[i] = V::Zero();
    MMC_NO_UNROLL
    for (int64_t x = run; x < end; x += kStep) {
      if constexpr (V::kFetchesEachStep) next.Prefetch<V::kLines>();
      AddStep<T, S, M, kPositive>(values + x, losses + x, stride, acc);
    }
    MMC_UNROLL
    for (int i = 0; i < S * M; ++i) {
      auto& sum = lanes[i / M * V::kCols + i % M];
      if constexpr (V::kRun < V::kVectors) {
        sum = run == 0 ? acc[i] : sum + acc[i];
      } else {
        sum = acc[i];
      }
    }
  }
}

// Does what AddTile does for levels with kTopBytes: the sums modulo 2^32, then
// those of the highest bytes, which stand behind the rows' numbers.
template <class T, int S, int M>
inline __attribute__((always_inline)) void AddTileByTops(
    const T* values, const T* losses, int64_t stride, int64_t num_padded,
    NextRows& next, typename Simd<T>::Acc* lanes) {
  using V = Simd<T>;
  using Bytes = typename V::Bytes;
  constexpr int64_t kBlock = V::kVectors * V::kLanes;
  next.Prefetch<V::kLines>();
  typename V::Reg words[S * M] = {};
  MMC_NO_UNROLL
  for (int64_t x = 0; x < num_padded; x += V::kLanes) {
    typename V::Reg value[S];
    MMC_UNROLL
    for (int s = 0; s < S; ++s) value[s] = V::Load(values + s * stride + x);
    MMC_UNROLL
    for (int m = 0; m < M; ++m) {
      const typename V::Reg loss = V::Load(losses + m * stride + x);
      MMC_UNROLL
      for (int s = 0; s < S; ++s) words[s * M + m] += V::Min(value[s], loss);
    }
  }
  MMC_UNROLL
  for (int i = 0; i < S * M; ++i) {
    lanes[i / M * V::kCols + i % M] = (typename V::Acc)words[i];
  }
  typename Bytes::Acc tops[S * M];
  MMC_UNROLL
  for (int i = 0; i < S * M; ++i) tops[i] = Bytes::Zero();
  const auto* value_tops = reinterpret_cast<const uint8_t*>(values + kBlock);
  const auto* loss_tops = reinterpret_cast<const uint8_t*>(losses + kBlock);
  MMC_NO_UNROLL
  for (int64_t x = 0; x < num_padded; x += Bytes::kLanes) {
    typename Bytes::Reg value[S];
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      value[s] = Bytes::Load(value_tops + s * stride * sizeof(T) + x);
    }
    MMC_UNROLL
    for (int m = 0; m < M; ++m) {
      const typename Bytes::Reg loss =
          Bytes::Load(loss_tops + m * stride * sizeof(T) + x);
      MMC_UNROLL
      for (int s = 0; s < S; ++s) {
        tops[s * M + m] =
            Bytes::Add(tops[s * M + m], {Bytes::Min(value[s], loss)});
      }
    }
  }
  MMC_UNROLL
  for (int i = 0; i < S * M; ++i) {
    auto& sum = lanes[i / M * V::kCols + i % M];
    sum = V::Joined(sum, tops[i]);
  }
}

// Adds to totals[num_rows x kCols] the sums of num_rows subsets x M models,
// which are tiles of S x M; lanes has room for as many.
template <class T, int S, int M, bool kPositive>
void AddColumn(const T* values, const T* losses, int64_t stride,
               int64_t num_padded, int64_t num_rows, NextRows& next,
               typename Simd<T>::Acc* lanes,
               typename TotalOf<T>::type* totals) {
  using V = Simd<T>;
  constexpr int kTile = S * V::kCols;
  MMC_NO_UNROLL
  for (int64_t s = 0; s < num_rows; s += S) {
    if constexpr (V::kTopBytes) {
      AddTileByTops<T, S, M>(values + s * stride, losses, stride, num_padded,
                             next, lanes + s * V::kCols);
    } else {
      AddTile<T, S, M, kPositive>(values + s * stride, losses, stride,
                                  num_padded, next, lanes + s * V::kCols);
    }
  }
  MMC_NO_UNROLL
  for (int64_t s = 0; s < num_rows; s += S) {
    // What a tile of fewer models left of an earlier one is never looked at.
    using Lanes = const typename V::Acc(&)[kTile];
    V::template Flush<kTile>(reinterpret_cast<Lanes>(lanes[s * V::kCols]),
                             totals + s * V::kCols);
  }
}

template <class T>
using ColumnFunction = void (*)(const T*, const T*, int64_t, int64_t, int64_t,
                                NextRows&, typename Simd<T>::Acc*,
                                typename TotalOf<T>::type*);

// The columns of tiles of 1 to kCols models: of one subset, and of kRows.
template <class T, bool kPositive>
class Columns {
 public:
  Columns() { Fill<Simd<T>::kCols>(); }

  // Adds the sums of num_rows subsets x num_models models, up to kCols, to
  // totals[num_rows, kCols].
  void Add(int64_t num_rows, int64_t num_models, const T* values,
           const T* losses, int64_t stride, int64_t num_padded, NextRows& next,
           typename Simd<T>::Acc* lanes,
           typename TotalOf<T>::type* totals) const {
    constexpr int kCols = Simd<T>::kCols;
    const int64_t tiled = num_rows / Simd<T>::kRows * Simd<T>::kRows;
    if (tiled > 0) {
      of_rows_[num_models](values, losses, stride, num_padded, tiled, next,
                           lanes, totals);
    }
    // The rows that fill no tile go one by one.
    if (tiled < num_rows) {
      of_one_[num_models](values + tiled * stride, losses, stride, num_padded,
                          num_rows - tiled, next, lanes,
                          totals + tiled * kCols);
    }
  }

 private:
  template <int M>
  void Fill() {
    if constexpr (M > 0) {
      of_one_[M] = AddColumn<T, 1, M, kPositive>;
      of_rows_[M] = AddColumn<T, Simd<T>::kRows, M, kPositive>;
      Fill<M - 1>();
    }
  }

  ColumnFunction<T> of_one_[Simd<T>::kCols + 1] = {};
  ColumnFunction<T> of_rows_[Simd<T>::kCols + 1] = {};
};

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_TILE_H_
