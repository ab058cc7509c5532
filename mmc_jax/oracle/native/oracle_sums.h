// `oracle_sums`: sums over texts of the least loss among a subset's models.
//
// M models, X texts, S subsets.
//
// A block of texts of all models stays in the first-level cache. Each subset
// takes the minimum of its models' rows there, kDepth registers wide.

#ifndef MMC_JAX_ORACLE_NATIVE_ORACLE_SUMS_H_
#define MMC_JAX_ORACLE_NATIVE_ORACLE_SUMS_H_

#include "kernels.h"
#include "lanes.h"
#include "members.h"
#include "min_sum.h"

namespace mmc {
namespace {

// Subsets whose lanes are added up together, which takes fewer instructions.
constexpr int kFlushed = 4;

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

// One task, in phases: each chunk of texts block by block, each block subset by
// subset.
template <class T>
class SubsetSums {
 public:
  using V = Simd<T>;
  using Total = typename TotalOf<T>::type;
  static constexpr int64_t kBlock = kDepth * V::kLanes;
  static constexpr int64_t kChunk = kChunkBlocks * kBlock;
  static_assert(kBlock <= kMaxBlock);

  explicit SubsetSums(const OracleTask& task)
      : task_(task),
        num_models_(task.num_models),
        num_subsets_(task.subsets.size()),
        losses_((num_models_ + 1) * kBlock),
        used_(num_models_ + 1),
        is_nan_(num_models_ + 1),
        members_(num_subsets_),
        in_chunk_(num_subsets_),
        totals_(num_subsets_) {
    const uint8_t* masks = task.masks + task.subsets.begin * num_models_;
    members_.List(masks, num_subsets_, num_models_, losses_.data(), kBlock);
    for (int64_t s = 0; s < num_subsets_; ++s) {
      for (auto row = members_.begin(s); row < members_.end(s); ++row) {
        used_[ModelOf(*row)] = true;
      }
    }
  }

  void Run() {
    const Range texts = task_.texts;
    for (int64_t chunk = texts.begin; chunk < texts.end; chunk += kChunk) {
      const int64_t end = Least(chunk + kChunk, texts.end);
      for (int64_t block = chunk; block < end; block += kBlock) {
        PackBlock(block, Least(kBlock, end - block));
        AddBlock();
      }
      EndChunk(chunk / kChunk);
    }
    if (!task_.partial) Write();
  }

 private:
  // The row behind the last model's is that of subsets without a model.
  int64_t ModelOf(const T* row) const { return (row - losses_.data()) / kBlock; }

  // Packs the rows that some subset has.
  void PackBlock(int64_t block, int64_t num_texts) {
    for (int64_t m = 0; m <= num_models_; ++m) {
      if (!used_[m]) continue;
      const Seen seen =
          PackModel(task_.losses, task_.identities, num_models_, m, block,
                    num_texts, kBlock, losses_.data() + m * kBlock);
      if (seen & kNan) is_nan_[m] = any_nan_ = true;
    }
  }

  void AddBlock() {
    for (int64_t s = 0; s < num_subsets_; s += kFlushed) {
      const int64_t in_group = Least(kFlushed, num_subsets_ - s);
      typename V::Acc acc[kFlushed] = {};
      MMC_NO_UNROLL
      for (int64_t i = 0; i < in_group; ++i) {
        acc[i] = SumOfMinima<T>(members_.begin(s + i), members_.end(s + i));
      }
      if (in_group == kFlushed) {
        V::template Flush<kFlushed>(acc, &in_chunk_[s]);
      } else {
        for (int64_t i = 0; i < in_group; ++i) {
          typename V::Acc one[1] = {acc[i]};
          V::template Flush<1>(one, &in_chunk_[s + i]);
        }
      }
    }
  }

  // Hands the sums of a chunk on, and starts the next chunk's from 0.
  void EndChunk(int64_t chunk) {
    for (int64_t s = 0; s < num_subsets_; ++s) {
      Total& sum = in_chunk_[s];
      if (any_nan_) {
        for (auto row = members_.begin(s); row < members_.end(s); ++row) {
          if (is_nan_[ModelOf(*row)]) SetNan(sum);
        }
      }
      if (task_.partial) {
        static_cast<Total*>(task_.partial)[chunk * task_.num_subsets +
                                           task_.subsets.begin + s] = sum;
      } else {
        AddTo(sum, totals_[s]);
      }
      sum = Total{};
    }
  }

  void Write() const {
    auto* out = static_cast<typename TotalOf<T>::out*>(task_.out);
    for (int64_t s = 0; s < num_subsets_; ++s) {
      Store(totals_[s], out[task_.subsets.begin + s]);
    }
  }

  const OracleTask& task_;
  const int64_t num_models_;
  const int64_t num_subsets_;
  Scratch<T> losses_;  // [M + 1, kBlock]
  Scratch<bool> used_;
  Scratch<bool> is_nan_;
  Members<T> members_;
  Scratch<Total> in_chunk_;
  Scratch<Total> totals_;  // over the chunks so far
  bool any_nan_ = false;
};

template <class T>
void OracleSums(const OracleTask& task) {
  SubsetSums<T>(task).Run();
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_ORACLE_SUMS_H_
