// Minima over the rows of a table that subsets have, texts in registers.
//
// M models, X texts, S subsets.

#ifndef MMC_JAX_ORACLE_NATIVE_MEMBERS_H_
#define MMC_JAX_ORACLE_NATIVE_MEMBERS_H_

#include "kernels.h"
#include "lanes.h"

namespace mmc {
namespace {

// Registers of texts on which minima are taken at once.
constexpr int kDepth = 8;

// The rows of each subset's members, in a table of num_models rows that lie
// `stride` numbers apart. A subset without members has the row behind the last.
template <class T>
class Members {
 public:
  explicit Members(int64_t num_subsets) : begins_(num_subsets + 1) {}

  // Lists the rows of the subsets of masks [num_subsets, num_models].
  void List(const uint8_t* masks, int64_t num_subsets, int64_t num_models,
            const T* table, int64_t stride) {
    // An odd number for each subset: minima take one row, then two a step.
    int64_t num_rows = 0;
    for (int64_t s = 0; s < num_subsets; ++s) {
      const uint8_t* mask = masks + s * num_models;
      int64_t size = 0;
      for (int64_t m = 0; m < num_models; ++m) size += mask[m];
      num_rows += size | 1;
    }
    // One more: a row is written before it is known whether it is a member's.
    rows_.Renew(num_rows + 1);
    int64_t end = 0;
    for (int64_t s = 0; s < num_subsets; ++s) {
      const uint8_t* mask = masks + s * num_models;
      const int64_t begin = end;
      begins_[s] = begin;
      for (int64_t m = 0; m < num_models; ++m) {
        rows_[end] = table + m * stride;
        end += mask[m];
      }
      if (end == begin) rows_[end++] = table + num_models * stride;
      if ((end - begin) % 2 == 0) {
        rows_[end] = rows_[end - 1];
        ++end;
      }
    }
    begins_[num_subsets] = end;
  }

  const T* const* begin(int64_t s) const { return rows_.data() + begins_[s]; }
  const T* const* end(int64_t s) const { return rows_.data() + begins_[s + 1]; }

 private:
  Scratch<const T*> rows_{0};
  Scratch<int64_t> begins_;  // and the last one's end
};

// Takes the least of an odd number of rows, each read `offset` numbers further
// on.
template <class T>
inline __attribute__((always_inline)) void TakeLeast(
    const T* const* row, const T* const* end, int64_t offset,
    typename Simd<T>::Reg (&least)[kDepth]) {
  using V = Simd<T>;
  const T* first = *row++ + offset;
  MMC_UNROLL
  for (int d = 0; d < kDepth; ++d) least[d] = V::Load(first + d * V::kLanes);
  MMC_NO_UNROLL
  while (row < end) {
    const T* one = *row++ + offset;
    const T* other = *row++ + offset;
    // Of the two minima only one waits for the step before.
    MMC_UNROLL
    for (int d = 0; d < kDepth; ++d) {
      least[d] = V::Min(least[d], V::Min(V::Load(one + d * V::kLanes),
                                         V::Load(other + d * V::kLanes)));
    }
  }
}

// Packs the losses of one model; of num_models, the minimum over no models.
inline Seen PackModel(const Rows& losses, const void* identities,
                      int64_t num_models, int64_t model, int64_t text,
                      int64_t num_texts, int64_t num_padded, void* packed) {
  if (model < num_models) {
    return losses.Pack(model, text, num_texts, num_padded, packed);
  }
  return losses.pack(identities, losses.WeightsAt(text), num_texts, num_padded,
                     packed);
}

// A block of texts of all models, and the rows of subsets over it. The block is
// cut into pieces of kDepth registers, and each piece is a table of its own: it
// stays in the first-level cache while all subsets pass.
template <class T>
class Table {
 public:
  static constexpr int64_t kPiece = kDepth * Simd<T>::kLanes;

  Table(const Rows& losses, const void* identities, int64_t num_models,
        int64_t block)
      : losses_(losses),
        identities_(identities),
        num_models_(num_models),
        packed_((num_models + 1) * block),
        is_nan_(num_models) {}

  void Pack(int64_t text, int64_t num_texts) {
    seen_ = 0;
    T* row = packed_.data();
    for (int64_t x = 0; x < num_texts; x += kPiece) {
      for (int64_t m = 0; m <= num_models_; ++m, row += kPiece) {
        const int64_t left = num_texts - x;
        const Seen seen =
            PackModel(losses_, identities_, num_models_, m, text + x,
                      left < kPiece ? left : kPiece, kPiece, row);
        if (seen & kNan) is_nan_[m] = true;
        seen_ |= seen;
      }
    }
  }

  // What packing has seen in the block.
  Seen seen() const { return seen_; }

  void List(const uint8_t* masks, int64_t num_subsets, Members<T>& members) const {
    members.List(masks, num_subsets, num_models_, packed_.data(), kPiece);
  }

  // Writes the minima of num_rows subsets from `first` on, `stride` apart, and
  // always full pieces of them.
  void Join(const Members<T>& members, int64_t first, int64_t num_rows,
            int64_t num_texts, T* rows, int64_t stride) const {
    using V = Simd<T>;
    int64_t offset = 0;
    for (int64_t x = 0; x < num_texts; x += kPiece) {
      T* to = rows + x;
      for (int64_t s = first; s < first + num_rows; ++s, to += stride) {
        typename V::Reg least[kDepth];
        TakeLeast<T>(members.begin(s), members.end(s), offset, least);
        MMC_UNROLL
        for (int d = 0; d < kDepth; ++d) {
          *reinterpret_cast<typename V::Reg*>(to + d * V::kLanes) = least[d];
        }
      }
      offset += (num_models_ + 1) * kPiece;
    }
  }

  // Whether a subset has a model that is NaN on a text packed so far.
  bool IsNan(const uint8_t* mask) const {
    bool any = false;
    for (int64_t m = 0; m < num_models_; ++m) any |= mask[m] & is_nan_[m];
    return any;
  }

 private:
  const Rows& losses_;
  const void* identities_;
  int64_t num_models_;
  Scratch<T> packed_;  // [pieces, M + 1, kPiece]
  Scratch<bool> is_nan_;
  Seen seen_ = 0;
};

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_MEMBERS_H_
