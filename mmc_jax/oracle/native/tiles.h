// The kernels, written once over the vector registers of a level.
//
// Included by each level after its `Simd<Number>`s. All of it has internal
// linkage and none of it calls inline functions of the standard library: the
// linker would keep one copy of those for all levels, perhaps one with
// instructions that the machine does not have.
//
// M models, X texts, S subsets.
//
// `min_sum` is blocked like a matrix product. A tile of kRows subsets x kCols
// models keeps its sums in registers while it runs along a block of texts; a
// panel of subsets stays in the first-level cache while all models pass, and
// the next one is on its way from memory. Both tables keep their layout, so
// that few subsets are as fast as many.
//
// Where masks are given in place of values, the panels are computed on the way:
// minima of the packed losses, for kJoined subsets at once.
//
// `oracle_sums` keeps a block of texts of all models in the first-level cache
// and takes the minimum of each subset's rows there, kDepth registers wide; for
// many and large subsets a level may have a faster way (ranks.h).
//
// Accumulation, float32: kGroup neighbouring registers of minima are added
// pairwise, then to a sum of up to kRun / kGroup of them, that to a sum of the
// runs in the block, then its lanes to each other pairwise; from block to block
// in float64. That is at most 2 + 9 + 0 + 4 roundings (AVX2: 1 + 7 + 3 + 3),
// and one to store: 16 * 2^-24 = 9.5e-7. float64 goes the same way, from block
// to block with the rounding errors kept (Knuth's TwoSum).

#ifndef MMC_JAX_ORACLE_NATIVE_TILES_H_
#define MMC_JAX_ORACLE_NATIVE_TILES_H_

#include "kernels.h"
#include "members.h"

namespace mmc {
namespace {

// Subsets whose lanes it adds up together, which takes fewer instructions.
constexpr int kFlushed = 4;
// Subsets whose rows are computed at once where masks are given: they stay in
// the second-level cache.
constexpr int64_t kJoined = 64;
// Blocks in a chunk.
constexpr int kChunkBlocks = 16;

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t RoundedUp(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

inline void Store(uint64_t total, uint64_t& out) { out = total; }
inline void Store(double total, float& out) { out = static_cast<float>(total); }
inline void Store(Compensated total, double& out) {
  // The rounding error of an infinite sum is infinity minus infinity.
  bool finite = total.sum - total.sum == 0;
  out = finite ? total.sum + total.error : total.sum;
}
template <class T>
struct OutOf {
  using type = uint64_t;
};
template <>
struct OutOf<float> {
  using type = float;
};
template <>
struct OutOf<double> {
  using type = double;
};

inline void SetNan(uint64_t&) {}
inline void SetNan(double& total) { total = __builtin_nan(""); }
inline void SetNan(Compensated& total) { total.sum = __builtin_nan(""); }

// What a sum is of which every number, padding too, lacked the level's bias.
template <class T>
typename TotalOf<T>::type Unbiased(typename TotalOf<T>::type total,
                                   int64_t num_padded) {
  if constexpr (Simd<T>::kBias != 0) {
    total += static_cast<uint64_t>(num_padded) * Simd<T>::kBias;
  }
  return total;
}

// The sum of V or L, for levels that take min(V, L) = (V + L - |V - L|) / 2.
template <class T>
uint64_t RowSum(const T* row, int64_t num_padded) {
  using V = Simd<T>;
  uint64_t total = 0;
  typename V::Acc acc[1] = {V::Zero()};
  for (int64_t x = 0; x < num_padded; x += V::kLanes) {
    acc[0] = V::Add(acc[0], {V::Load(row + x)});
  }
  V::template Flush<1>(acc, &total);
  return total;
}

// ---------------------------------------------------------------- packing

template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = uint32_t;
};
template <>
struct BitsOf<double> {
  using type = uint64_t;
};

template <class T>
typename BitsOf<T>::type AsBits(T value) {
  typename BitsOf<T>::type bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  return bits;
}

// Comparisons of bits and not of floats: the compiler vectorises only those.
template <class T>
Seen PackFloats(const T* __restrict from, const T* __restrict weights,
                int64_t num_texts, T* __restrict to) {
  using Bits = typename BitsOf<T>::type;
  const Bits infinity = AsBits(static_cast<T>(__builtin_inf()));
  const Bits nan = AsBits(static_cast<T>(__builtin_nan("")));
  const Bits sign = AsBits(T(-0.0));
  Bits largest = 0;
  Bits any = 0;
  for (int64_t x = 0; x < num_texts; ++x) {
    Bits packed = AsBits(from[x]);
    if (weights) {
      const Bits weight = AsBits(weights[x]);
      const bool absent =
          (weight & ~sign) == 0 && (packed & ~sign) == infinity;
      packed = AsBits(from[x] * weights[x]);
      packed = absent ? 0 : packed;
      packed = weight > sign ? nan : packed;  // below 0
    }
    __builtin_memcpy(to + x, &packed, sizeof packed);
    const Bits magnitude = packed & ~sign;
    largest = magnitude > largest ? magnitude : largest;
    any |= packed;
  }
  return (largest > infinity ? kNan : 0) | (any & sign ? kNegative : 0);
}

template <class From, class T>
void PackIntegers(const From* __restrict from,
                  const uint32_t* __restrict weights, int64_t num_texts,
                  T* __restrict to) {
  constexpr T bias = static_cast<T>(Simd<T>::kBias);
  for (int64_t x = 0; x < num_texts; ++x) {
    T product = static_cast<T>(from[x]);
    if (weights) product = static_cast<T>(product * static_cast<T>(weights[x]));
    to[x] = static_cast<T>(product ^ bias);
  }
}

template <class From, class T>
Seen PackAs(const void* texts, const void* weights, int64_t num_texts,
            int64_t num_padded, void* packed) {
  const From* from = static_cast<const From*>(texts);
  T* to = static_cast<T*>(packed);
  Seen seen = 0;
  T zero = 0;
  if constexpr (Simd<T>::kIsFloat) {
    seen = PackFloats(from, static_cast<const T*>(weights), num_texts, to);
  } else {
    PackIntegers(from, static_cast<const uint32_t*>(weights), num_texts, to);
    zero = static_cast<T>(Simd<T>::kBias);
  }
  for (int64_t x = num_texts; x < num_padded; ++x) to[x] = zero;
  return seen;
}

// ---------------------------------------------------------------- min_sum

// Adds the minima of kGroup registers from each row to the sums of a tile.
template <class T, int S, int M, bool kPositive>
inline __attribute__((always_inline)) void AddStep(
    const T* values, const T* losses, int64_t stride,
    typename Simd<T>::Acc (&acc)[S * M]) {
  using V = Simd<T>;
  using Reg = typename V::Reg;
  constexpr int kLanes = V::kLanes;
  auto min = [](Reg a, Reg b) {
    if constexpr (kPositive) {
      return V::MinOfPositive(a, b);
    } else {
      return V::Min(a, b);
    }
  };
  if constexpr (V::kSharesLosses) {
    Reg value[S][V::kGroup];
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      MMC_UNROLL
      for (int g = 0; g < V::kGroup; ++g) {
        value[s][g] = V::Load(values + s * stride + g * kLanes);
      }
    }
    MMC_UNROLL
    for (int m = 0; m < M; ++m) {
      Reg terms[S][V::kGroup];
      MMC_UNROLL
      for (int g = 0; g < V::kGroup; ++g) {
        const Reg loss = V::Load(losses + m * stride + g * kLanes);
        MMC_UNROLL
        for (int s = 0; s < S; ++s) {
          if constexpr (V::kDifferences) {
            acc[s * M + m] =
                V::AddDifference(acc[s * M + m], value[s][g], loss);
          } else {
            terms[s][g] = min(value[s][g], loss);
          }
        }
      }
      if constexpr (!V::kDifferences) {
        MMC_UNROLL
        for (int s = 0; s < S; ++s) {
          acc[s * M + m] = V::Add(acc[s * M + m], terms[s]);
        }
      }
    }
  } else {
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      Reg value[V::kGroup];
      MMC_UNROLL
      for (int g = 0; g < V::kGroup; ++g) {
        value[g] = V::Load(values + s * stride + g * kLanes);
      }
      MMC_UNROLL
      for (int m = 0; m < M; ++m) {
        const T* loss = losses + m * stride;
        if constexpr (V::kDifferences) {
          acc[s * M + m] =
              V::AddDifference(acc[s * M + m], value[0], V::Load(loss));
        } else {
          Reg terms[V::kGroup];
          MMC_UNROLL
          for (int g = 0; g < V::kGroup; ++g) {
            terms[g] = min(value[g], V::Load(loss + g * kLanes));
          }
          acc[s * M + m] = V::Add(acc[s * M + m], terms);
        }
      }
    }
  }
}

// The rows that will be packed next, on their way into the cache: a few lines
// at a time, for many at once would stop what is computed meanwhile.
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

// Likewise, where no register of kLanes sums would hold them: the sums modulo
// 2^32 and those of the highest bytes, which stand behind the rows' numbers.
template <class T, int S, int M>
inline __attribute__((always_inline)) void AddTileByTops(
    const T* values, const T* losses, int64_t stride, int64_t num_padded,
    NextRows& next, typename Simd<T>::Acc* lanes) {
  using V = Simd<T>;
  using Tops = Simd<uint8_t>;
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
  typename Tops::Acc tops[S * M];
  MMC_UNROLL
  for (int i = 0; i < S * M; ++i) tops[i] = Tops::Zero();
  const auto* value_tops = reinterpret_cast<const uint8_t*>(values + kBlock);
  const auto* loss_tops = reinterpret_cast<const uint8_t*>(losses + kBlock);
  MMC_NO_UNROLL
  for (int64_t x = 0; x < num_padded; x += Tops::kLanes) {
    typename Tops::Reg value[S];
    MMC_UNROLL
    for (int s = 0; s < S; ++s) {
      value[s] = Tops::Load(value_tops + s * stride * sizeof(T) + x);
    }
    MMC_UNROLL
    for (int m = 0; m < M; ++m) {
      const typename Tops::Reg loss =
          Tops::Load(loss_tops + m * stride * sizeof(T) + x);
      MMC_UNROLL
      for (int s = 0; s < S; ++s) {
        tops[s * M + m] =
            Tops::Add(tops[s * M + m], {Tops::Min(value[s], loss)});
      }
    }
  }
  MMC_UNROLL
  for (int i = 0; i < S * M; ++i) {
    auto& sum = lanes[i / M * V::kCols + i % M];
    sum = V::Whole(sum, tops[i]);
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

// The tiles of S x 1 to S x M subsets x models.
template <class T, int S, int M, bool kPositive>
void FillRow(ColumnFunction<T>* row) {
  if constexpr (M > 0) {
    row[M] = AddColumn<T, S, M, kPositive && Simd<T>::kOrdersBits>;
    FillRow<T, S, M - 1, kPositive>(row);
  }
}

template <class T, int S, bool kPositive, int kCols>
void FillTable(ColumnFunction<T> (*table)[kCols + 1]) {
  if constexpr (S > 0) {
    FillRow<T, S, kCols, kPositive>(table[S]);
    FillTable<T, S - 1, kPositive, kCols>(table);
  }
}

// Numbers from row to row of what is packed, with the bytes behind a row.
template <class T>
constexpr int64_t kStride = Simd<T>::kVectors * Simd<T>::kLanes *
                            (Simd<T>::kTopBytes ? sizeof(T) + 1 : sizeof(T)) /
                            sizeof(T);

// The rows of one side of `min_sum`, subsets or models: a range of the table's,
// or, where masks are given, of the subsets that these are.
template <class T>
class Side {
 public:
  using V = Simd<T>;
  using Total = typename TotalOf<T>::type;

  Side(const Rows& rows, const bool* masks, Range range, int64_t num_members,
       const Table<T>& table)
      : rows_(rows),
        masks_(masks ? masks + range.begin * num_members : nullptr),
        range_(range),
        num_members_(num_members),
        table_(table),
        members_(masks ? range.size() : 0),
        is_nan_(range.size()),
        sums_(V::kDifferences ? range.size() : 0) {
    if (masks_) table_.List(masks_, range.size(), members_);
  }

  // Packs num_rows rows from `first` on. Returns what was seen there, or, where
  // masks are given, in the table.
  Seen Load(int64_t first, int64_t num_rows, int64_t text, int64_t num_texts,
            int64_t num_padded, T* packed) {
    Seen all = 0;
    if (masks_) {
      table_.Join(members_, first, num_rows, num_padded, packed, kStride<T>);
      all = table_.seen();
    }
    for (int64_t i = first; i < first + num_rows; ++i) {
      if (masks_) {
        is_nan_[i] |= (all & kNan) && table_.IsNan(masks_ + i * num_members_);
      } else {
        const Seen seen = rows_.Pack(range_.begin + i, text, num_texts,
                                     num_padded, packed);
        if (seen & kNan) is_nan_[i] = true;
        all |= seen;
      }
      if constexpr (V::kDifferences) sums_[i] += RowSum(packed, num_padded);
      if constexpr (V::kTopBytes) {
        V::Tops(packed, num_padded, packed + V::kVectors * V::kLanes);
      }
      packed += kStride<T>;
    }
    return all;
  }

  bool IsNan(int64_t i) const { return is_nan_[i]; }

  // The sum of a row since the last `ClearSums`.
  Total Sum(int64_t i) const { return sums_[i]; }
  void ClearSums() {
    if constexpr (V::kDifferences) {
      for (int64_t i = 0; i < range_.size(); ++i) sums_[i] = 0;
    }
  }

 private:
  const Rows& rows_;
  const bool* masks_;
  Range range_;
  int64_t num_members_;
  const Table<T>& table_;
  Members<T> members_;
  Scratch<bool> is_nan_;
  Scratch<Total> sums_;
};

template <class T>
void MinSum(const MinSumTask& task) {
  using V = Simd<T>;
  using Total = typename TotalOf<T>::type;
  constexpr int kRows = V::kRows;
  constexpr int kCols = V::kCols;
  using Acc = typename V::Acc;
  constexpr int kPanel = V::kPanel;
  constexpr int64_t kBlock = V::kVectors * V::kLanes;
  constexpr int64_t kChunk = kChunkBlocks * kBlock;
  // Texts that a step of a tile takes.
  constexpr int64_t kStep = (V::kTopBytes ? sizeof(T) : V::kGroup) * V::kLanes;
  ColumnFunction<T> columns[2][kRows + 1][kCols + 1] = {};
  FillTable<T, kRows, false, kCols>(columns[false]);
  FillTable<T, kRows, true, kCols>(columns[true]);

  const bool joins = task.value_masks != nullptr;
  const int64_t num_subsets = task.subsets.size();
  const int64_t num_models = task.models.size();
  const int64_t col_tiles = RoundedUp(num_models, kCols) / kCols;
  // 7 models are two tiles of 4 and 3, not of 6 and 1.
  const int64_t width = RoundedUp(num_models, col_tiles) / col_tiles;
  static_assert(kPanel % kRows == 0 && kJoined % kPanel == 0);
  static_assert(kBlock % Table<T>::kPiece == 0 && kBlock <= kMaxBlock);
  const int64_t loaded = joins ? kJoined : kPanel;
  Scratch<T> losses(num_models * kStride<T>);
  Scratch<T> values(loaded * kStride<T>);
  Scratch<Acc> lanes(kPanel * kCols);
  // [panels, col_tiles, kPanel, kCols]
  Scratch<Total> in_tiles(RoundedUp(num_subsets, kPanel) * col_tiles * kCols);
  Scratch<Total> totals(num_subsets * num_models);
  Table<T> table(task.losses, task.identities, task.num_members,
                 joins ? kBlock : 0);
  Side<T> subsets(task.values, task.value_masks, task.subsets,
                  task.num_members, table);
  Side<T> models(task.losses, task.loss_masks, task.models, task.num_members,
                 table);

  for (int64_t chunk = task.texts.begin; chunk < task.texts.end;
       chunk += kChunk) {
    const int64_t chunk_end = Least(chunk + kChunk, task.texts.end);
    int64_t texts_in_chunk = 0;
    bool any_nan = false;
    for (int64_t block = chunk; block < chunk_end; block += kBlock) {
      const int64_t num_texts = Least(kBlock, chunk_end - block);
      const int64_t num_padded = RoundedUp(num_texts, kStep);
      texts_in_chunk += num_padded;
      if (joins) table.Pack(block, num_texts);
      const Seen seen_losses = models.Load(0, num_models, block, num_texts,
                                           num_padded, losses.data());
      Seen seen_values = 0;
      for (int64_t panel = 0; panel < num_subsets; panel += kPanel) {
        const int64_t in_panel = Least(kPanel, num_subsets - panel);
        if (panel % loaded == 0) {
          seen_values =
              subsets.Load(panel, Least(loaded, num_subsets - panel), block,
                           num_texts, num_padded, values.data());
        }
        const T* const value = values.data() + panel % loaded * kStride<T>;
        any_nan |= ((seen_losses | seen_values) & kNan) != 0;
        const bool positive = !(seen_losses & seen_values & kNegative);
        const bool is_last = panel + kPanel >= num_subsets;
        const int64_t next_row = is_last ? 0 : panel + kPanel;
        const int64_t next_text = is_last ? block + kBlock : block;
        const int64_t in_next = Least(kPanel, num_subsets - next_row);
        NextRows next(task.values, task.subsets.begin + next_row,
                      joins ? 0 : in_next, next_text,
                      Least(kBlock, task.texts.end - next_text));
        for (int64_t col = 0; col < col_tiles; ++col) {
          const int64_t cols = Least(width, num_models - col * width);
          const T* const loss = losses.data() + col * width * kStride<T>;
          Total* const sums =
              &in_tiles[(panel * col_tiles + col * kPanel) * kCols];
          const int64_t whole = in_panel / kRows * kRows;
          columns[positive][kRows][cols](value, loss, kStride<T>, num_padded,
                                         whole, next, lanes.data(), sums);
          if (whole < in_panel) {
            columns[positive][in_panel - whole][cols](
                value + whole * kStride<T>, loss, kStride<T>, num_padded,
                in_panel - whole, next, lanes.data(), sums + whole * kCols);
          }
        }
      }
    }
    for (int64_t s = 0; s < num_subsets; ++s) {
      for (int64_t col = 0; col < col_tiles; ++col) {
        const int64_t cols = Least(width, num_models - col * width);
        const int64_t panel = s / kPanel * kPanel;
        Total* row = &in_tiles[(panel * col_tiles + col * kPanel + s - panel) *
                               kCols];
        for (int64_t c = 0; c < cols; ++c) {
          Total& sum = row[c];
          const int64_t m = col * width + c;
          Total chunk_sum = sum;
          if constexpr (V::kDifferences) {
            chunk_sum = (subsets.Sum(s) + models.Sum(m) - sum) / 2;
          } else {
            chunk_sum = Unbiased<T>(sum, texts_in_chunk);
          }
          if (any_nan && (subsets.IsNan(s) || models.IsNan(m))) {
            SetNan(chunk_sum);
          }
          if (task.partial) {
            const int64_t in_chunk = chunk / kChunk * task.num_subsets +
                                     task.subsets.begin + s;
            static_cast<Total*>(task.partial)[in_chunk * task.num_models +
                                              task.models.begin + m] =
                chunk_sum;
          } else {
            AddTo(chunk_sum, totals[s * num_models + m]);
          }
          sum = Total{};
        }
      }
    }
    subsets.ClearSums();
    models.ClearSums();
  }
  if (task.partial) return;
  for (int64_t s = 0; s < num_subsets; ++s) {
    auto* out = static_cast<typename OutOf<T>::type*>(task.out) +
                (task.subsets.begin + s) * task.num_models + task.models.begin;
    for (int64_t m = 0; m < num_models; ++m) {
      Store(totals[s * num_models + m], out[m]);
    }
  }
}

// ------------------------------------------------------------ oracle_sums

// Returns, still in lanes, the sum over texts of the least of an odd number of
// rows.
template <class T>
typename Simd<T>::Acc SumOfMinima(const T* const* row, const T* const* end) {
  using V = Simd<T>;
  typename V::Reg least[kDepth];
  TakeLeast<T>(row, end, 0, least);
  typename V::Acc acc = V::Zero();
  MMC_UNROLL
  for (int d = 0; d < kDepth; d += V::kGroup) {
    typename V::Reg terms[V::kGroup];
    MMC_UNROLL
    for (int g = 0; g < V::kGroup; ++g) terms[g] = least[d + g];
    acc = V::Add(acc, terms);
  }
  return acc;
}

template <class T>
void OracleSums(const OracleTask& task) {
  using V = Simd<T>;
  using Total = typename TotalOf<T>::type;
  constexpr int64_t kBlock = kDepth * V::kLanes;
  static_assert(kBlock <= kMaxBlock);
  constexpr int64_t kChunk = kChunkBlocks * kBlock;
  const int64_t num_models = task.num_models;
  const int64_t num_subsets = task.subsets.size();

  // The rows of models that some subset has; behind the models, that of the
  // identities for subsets that have none.
  Scratch<T> losses((num_models + 1) * kBlock);
  const bool* masks = task.masks + task.subsets.begin * num_models;
  Scratch<bool> used(num_models + 1);
  int64_t num_members = 0;
  for (int64_t s = 0; s < num_subsets; ++s) {
    const bool* mask = masks + s * num_models;
    int size = 0;
    for (int64_t m = 0; m < num_models; ++m) {
      size += mask[m];
      used[m] |= mask[m];
    }
    used[num_models] |= size == 0;
    num_members += size > 0 ? size : 1;
  }
  Scratch<int64_t> used_models(num_models + 1);
  Scratch<const T*> used_rows(num_models + 1);
  int64_t num_used = 0;
  for (int64_t m = 0; m <= num_models; ++m) {
    if (!used[m]) continue;
    used_models[num_used] = m;
    used_rows[num_used++] = losses.data() + m * kBlock;
  }
  using ByRank = typename V::ByRank;
  const int64_t num_groups =
      ByRank::IsFaster(num_subsets, num_used, num_members)
          ? num_subsets / ByRank::kGroup
          : 0;
  ByRank by_rank(num_groups, masks, num_models, used_models.data(),
                 used_rows.data(), num_used,
                 static_cast<double>(num_members) / (num_subsets * num_used));

  // The rows of each subset's members, for those from `listed` on.
  Members<T> members(num_subsets);
  int64_t listed = num_groups * ByRank::kGroup;
  auto list = [&](int64_t from) {
    members.List(masks, from, num_subsets, num_models, losses.data(), kBlock);
    listed = from;
  };
  list(listed);

  Scratch<bool> is_nan(num_models + 1);
  Scratch<Total> in_chunk(num_subsets);
  Scratch<Total> totals(num_subsets);
  for (int64_t chunk = task.texts.begin; chunk < task.texts.end;
       chunk += kChunk) {
    const int64_t chunk_end = Least(chunk + kChunk, task.texts.end);
    int64_t texts_in_chunk = 0;
    bool any_nan = false;
    for (int64_t block = chunk; block < chunk_end; block += kBlock) {
      const int64_t num_texts = Least(kBlock, chunk_end - block);
      texts_in_chunk += kBlock;
      for (int64_t m = 0; m <= num_models; ++m) {
        if (!used[m]) continue;
        const Seen seen =
            PackModel(task.losses, task.identities, num_models, m, block,
                      num_texts, kBlock, losses.data() + m * kBlock);
        if (seen & kNan) is_nan[m] = any_nan = true;
      }
      // NaN has no rank.
      if (any_nan && listed > 0) list(0);
      int64_t first = 0;
      if (num_groups > 0 && !any_nan) {
        by_rank.Sort();
        for (int64_t g = 0; g < num_groups; ++g) {
          by_rank.AddSums(g, &in_chunk[g * ByRank::kGroup]);
        }
        first = num_groups * ByRank::kGroup;
      }
      for (int64_t s = first; s < num_subsets; s += kFlushed) {
        const int64_t in_group = Least(kFlushed, num_subsets - s);
        typename V::Acc acc[kFlushed] = {};
        MMC_NO_UNROLL
        for (int64_t i = 0; i < in_group; ++i) {
          acc[i] = SumOfMinima<T>(members.begin(s + i), members.end(s + i));
        }
        if (in_group == kFlushed) {
          V::template Flush<kFlushed>(acc, &in_chunk[s]);
        } else {
          for (int64_t i = 0; i < in_group; ++i) {
            typename V::Acc one[1] = {acc[i]};
            V::template Flush<1>(one, &in_chunk[s + i]);
          }
        }
      }
    }
    for (int64_t s = 0; s < num_subsets; ++s) {
      Total chunk_sum = Unbiased<T>(in_chunk[s], texts_in_chunk);
      if (any_nan) {
        for (auto row = members.begin(s); row < members.end(s); ++row) {
          if (is_nan[(*row - losses.data()) / kBlock]) SetNan(chunk_sum);
        }
      }
      if (task.partial) {
        static_cast<Total*>(task.partial)[chunk / kChunk * task.num_subsets +
                                          task.subsets.begin + s] = chunk_sum;
      } else {
        AddTo(chunk_sum, totals[s]);
      }
      in_chunk[s] = Total{};
    }
  }
  if (task.partial) return;
  for (int64_t s = 0; s < num_subsets; ++s) {
    Store(totals[s], static_cast<typename OutOf<T>::type*>(
                         task.out)[task.subsets.begin + s]);
  }
}

template <class T>
void Combine(const void* partial, int64_t num_chunks, int64_t num_sums,
             void* out) {
  using Total = typename TotalOf<T>::type;
  for (int64_t i = 0; i < num_sums; ++i) {
    Total total{};
    for (int64_t c = 0; c < num_chunks; ++c) {
      AddTo(static_cast<const Total*>(partial)[c * num_sums + i], total);
    }
    Store(total, static_cast<typename OutOf<T>::type*>(out)[i]);
  }
}

// --------------------------------------------------------------- roofline

template <class V>
float MinAdd(int64_t num_pairs) {
  // Enough to hide the latency of an addition, few enough for any machine's
  // registers.
  constexpr int kChains = 12;
  Scratch<float> start(2 * V::kLanes);
  for (int i = 0; i < 2 * V::kLanes; ++i) start[i] = 1.0f + i;
  typename V::Reg value = V::Load(start.data());
  const typename V::Reg loss = V::Load(start.data() + V::kLanes);
  typename V::Reg sum[kChains] = {};
  for (int64_t done = 0; done < num_pairs; done += kChains * V::kLanes) {
    MMC_UNROLL
    for (int i = 0; i < kChains; ++i) {
      // Another value, for all that the compiler knows: nothing is left out.
      MMC_CHANGE(value);
      if constexpr (V::kOrdersBits) {
        sum[i] += V::MinOfPositive(value, loss);
      } else {
        sum[i] += V::Min(value, loss);
      }
    }
  }
  double total = 0;
  MMC_UNROLL
  for (int i = 0; i < kChains; ++i) {
    typename V::Acc acc[1] = {sum[i]};
    V::template Flush<1>(acc, &total);
  }
  return static_cast<float>(total);
}

template <class T>
constexpr Kernels KernelsOf() {
  return {kChunkBlocks * Simd<T>::kVectors * Simd<T>::kLanes,
          kChunkBlocks * kDepth * Simd<T>::kLanes,
          sizeof(typename TotalOf<T>::type), MinSum<T>, OracleSums<T>,
          Combine<T>};
}

constexpr Level LevelOf(const char* name) {
  return {
      name,
      {KernelsOf<float>(), KernelsOf<double>(), KernelsOf<uint8_t>(),
       KernelsOf<uint16_t>(), KernelsOf<uint32_t>(), KernelsOf<uint64_t>()},
      {{PackAs<float, float>},
       {nullptr, PackAs<double, double>},
       {nullptr, nullptr, PackAs<uint8_t, uint8_t>, PackAs<uint8_t, uint16_t>,
        PackAs<uint8_t, uint32_t>, PackAs<uint8_t, uint64_t>},
       {nullptr, nullptr, nullptr, PackAs<uint16_t, uint16_t>,
        PackAs<uint16_t, uint32_t>, PackAs<uint16_t, uint64_t>},
       {nullptr, nullptr, nullptr, nullptr, PackAs<uint32_t, uint32_t>,
        PackAs<uint32_t, uint64_t>}},
      MinAdd<Simd<float>>};
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_TILES_H_
