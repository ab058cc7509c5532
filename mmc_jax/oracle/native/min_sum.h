// `min_sum`: sums over texts of min(V, L), for all subsets x all models.
//
// M models, X texts, S subsets.
//
// Blocked like a matrix product. A tile of kRows subsets x kCols models keeps
// its sums in registers while it runs along a block of texts. A panel of
// subsets stays in the first-level cache while all models pass, and the next
// panel is on its way from memory. Both tables keep their layout, so that few
// subsets are as fast as many.
//
// Where masks are given in place of values, the panels are computed on the way:
// minima of the packed losses, for kJoined subsets at once.

#ifndef MMC_JAX_ORACLE_NATIVE_MIN_SUM_H_
#define MMC_JAX_ORACLE_NATIVE_MIN_SUM_H_

#include "kernels.h"
#include "lanes.h"
#include "members.h"
#include "tile.h"

namespace mmc {
namespace {

// Subsets whose rows are computed at once where masks are given: they stay in
// the second-level cache.
constexpr int64_t kJoined = 64;

// Blocks in a chunk.
constexpr int kChunkBlocks = 16;

inline int64_t RoundedUp(int64_t n, int64_t to) {
  return (n + to - 1) / to * to;
}

// Numbers from row to row of what is packed, with the bytes behind a row.
template <class T>
constexpr int64_t kStride = Simd<T>::kVectors * Simd<T>::kLanes *
                            (Simd<T>::kTopBytes ? sizeof(T) + 1 : sizeof(T)) /
                            sizeof(T);

// The rows of one side of `min_sum`, subsets or models: a range of the table's
// rows, or the minima of subsets where masks are given.
template <class T>
class Side {
 public:
  using V = Simd<T>;

  Side(const Rows& rows, const uint8_t* masks, Range range, int64_t num_members,
       const Table<T>& table)
      : rows_(rows),
        masks_(masks ? masks + range.begin * num_members : nullptr),
        range_(range),
        num_members_(num_members),
        table_(table),
        members_(masks ? range.size() : 0),
        is_nan_(range.size()) {
    if (masks_) table_.List(masks_, range.size(), members_);
  }

  // Packs num_rows rows from `first` on. Returns what packing has seen in them,
  // or, where masks are given, in the table.
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
      if constexpr (V::kTopBytes) {
        V::WriteTops(packed, num_padded, packed + V::kVectors * V::kLanes);
      }
      packed += kStride<T>;
    }
    return all;
  }

  bool IsNan(int64_t i) const { return is_nan_[i]; }

 private:
  const Rows& rows_;
  const uint8_t* masks_;
  Range range_;
  int64_t num_members_;
  const Table<T>& table_;
  Members<T> members_;
  Scratch<bool> is_nan_;
};

// One task, in phases: each chunk of texts block by block, each block panel by
// panel, each panel tile by tile.
template <class T>
class MinSums {
 public:
  using V = Simd<T>;
  using Total = typename TotalOf<T>::type;
  static constexpr int64_t kBlock = V::kVectors * V::kLanes;
  static constexpr int64_t kChunk = kChunkBlocks * kBlock;

  explicit MinSums(const MinSumTask& task)
      : task_(task),
        joins_(task.value_masks != nullptr),
        num_subsets_(task.subsets.size()),
        num_models_(task.models.size()),
        col_tiles_(RoundedUp(num_models_, kCols) / kCols),
        width_(RoundedUp(num_models_, col_tiles_) / col_tiles_),
        loaded_(joins_ ? kJoined : kPanel),
        losses_(num_models_ * kStride<T>),
        values_(loaded_ * kStride<T>),
        lanes_(kPanel * kCols),
        in_tiles_(RoundedUp(num_subsets_, kPanel) * col_tiles_ * kCols),
        totals_(task.partial ? 0 : num_subsets_ * num_models_),
        table_(task.losses, task.identities, task.num_members,
               joins_ ? kBlock : 0),
        subsets_(task.values, task.value_masks, task.subsets, task.num_members,
                 table_),
        models_(task.losses, task.loss_masks, task.models, task.num_members,
                table_) {}

  void Run() {
    const Range texts = task_.texts;
    for (int64_t chunk = texts.begin; chunk < texts.end; chunk += kChunk) {
      const int64_t end = Least(chunk + kChunk, texts.end);
      for (int64_t block = chunk; block < end; block += kBlock) {
        AddBlock(block, Least(kBlock, end - block));
      }
      EndChunk(chunk / kChunk);
    }
    if (!task_.partial) Write();
  }

 private:
  static constexpr int kRows = V::kRows;
  static constexpr int kCols = V::kCols;
  static constexpr int kPanel = V::kPanel;
  // Texts that a step of a tile takes.
  static constexpr int64_t kStep =
      (V::kTopBytes ? sizeof(T) : V::kGroup) * V::kLanes;
  static_assert(kPanel % kRows == 0 && kJoined % kPanel == 0);
  static_assert(kBlock % Table<T>::kPiece == 0 && kBlock <= kMaxBlock);

  // Adds the sums of all subsets and models over a block of texts.
  void AddBlock(int64_t block, int64_t num_texts) {
    const int64_t num_padded = RoundedUp(num_texts, kStep);
    if (joins_) table_.Pack(block, num_texts);
    const Seen seen_losses = models_.Load(0, num_models_, block, num_texts,
                                          num_padded, losses_.data());
    Seen seen_values = 0;
    for (int64_t panel = 0; panel < num_subsets_; panel += kPanel) {
      if (panel % loaded_ == 0) {
        seen_values =
            subsets_.Load(panel, Least(loaded_, num_subsets_ - panel), block,
                          num_texts, num_padded, values_.data());
      }
      any_nan_ |= ((seen_losses | seen_values) & kNan) != 0;
      const bool positive = !(seen_losses & seen_values & kNegative);
      NextRows next = Next(panel, block);
      AddPanel(panel, num_padded, positive, next);
    }
  }

  // Returns the rows that are packed after those of a panel.
  NextRows Next(int64_t panel, int64_t block) const {
    const bool is_last = panel + kPanel >= num_subsets_;
    const int64_t row = is_last ? 0 : panel + kPanel;
    const int64_t text = is_last ? block + kBlock : block;
    return NextRows(task_.values, task_.subsets.begin + row,
                    joins_ ? 0 : Least(kPanel, num_subsets_ - row), text,
                    Least(kBlock, task_.texts.end - text));
  }

  // Adds the sums of a panel's subsets and all models over a block.
  void AddPanel(int64_t panel, int64_t num_padded, bool positive,
                NextRows& next) {
    const int64_t in_panel = Least(kPanel, num_subsets_ - panel);
    const T* const values = values_.data() + panel % loaded_ * kStride<T>;
    for (int64_t col = 0; col < col_tiles_; ++col) {
      const int64_t cols = Least(width_, num_models_ - col * width_);
      const T* const losses = losses_.data() + col * width_ * kStride<T>;
      Total* const sums = SumsInTile(panel, col);
      if (positive) {
        of_positive_.Add(in_panel, cols, values, losses, kStride<T>, num_padded,
                         next, lanes_.data(), sums);
      } else {
        columns_.Add(in_panel, cols, values, losses, kStride<T>, num_padded,
                     next, lanes_.data(), sums);
      }
    }
  }

  // Hands the sums of a chunk on, and starts the next chunk's from 0.
  void EndChunk(int64_t chunk) {
    for (int64_t s = 0; s < num_subsets_; ++s) {
      const int64_t panel = s / kPanel * kPanel;
      for (int64_t m = 0; m < num_models_; ++m) {
        Total& sum = SumsInTile(panel, m / width_)[(s - panel) * kCols +
                                                   m % width_];
        if (any_nan_ && (subsets_.IsNan(s) || models_.IsNan(m))) SetNan(sum);
        if (task_.partial) {
          const int64_t row =
              chunk * task_.num_subsets + task_.subsets.begin + s;
          static_cast<Total*>(
              task_.partial)[row * task_.num_models + task_.models.begin + m] =
              sum;
        } else {
          AddTo(sum, totals_[s * num_models_ + m]);
        }
        sum = Total{};
      }
    }
    any_nan_ = false;
  }

  void Write() const {
    auto* out = static_cast<typename TotalOf<T>::out*>(task_.out);
    for (int64_t s = 0; s < num_subsets_; ++s) {
      const int64_t row = (task_.subsets.begin + s) * task_.num_models;
      for (int64_t m = 0; m < num_models_; ++m) {
        Store(totals_[s * num_models_ + m], out[row + task_.models.begin + m]);
      }
    }
  }

  // Returns the sums [kPanel, kCols] of a panel and a column of tiles.
  Total* SumsInTile(int64_t panel, int64_t col) const {
    return &in_tiles_[(panel * col_tiles_ + col * kPanel) * kCols];
  }

  const MinSumTask& task_;
  const bool joins_;
  const int64_t num_subsets_;
  const int64_t num_models_;
  const int64_t col_tiles_;
  // Models in a column of tiles: 7 models are two of 4 and 3, not of 6 and 1.
  const int64_t width_;
  const int64_t loaded_;  // rows of values at once
  const Columns<T, false> columns_;
  const Columns<T, V::kOrdersBits> of_positive_;
  Scratch<T> losses_;
  Scratch<T> values_;
  Scratch<typename V::Acc> lanes_;
  Scratch<Total> in_tiles_;  // [panels, col_tiles, kPanel, kCols]
  Scratch<Total> totals_;    // [subsets, models], over the chunks so far
  Table<T> table_;
  Side<T> subsets_;
  Side<T> models_;
  bool any_nan_ = false;
};

template <class T>
void MinSum(const MinSumTask& task) {
  MinSums<T>(task).Run();
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_MIN_SUM_H_
