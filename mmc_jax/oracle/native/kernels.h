// What a dispatch level offers: the two kernels for each type of number.
//
// M models, X texts, S subsets.
//
// Every level (baseline.cc, avx2.cc, ...) compiles tiles.h with its own flags
// into one `Level`; ffi.cc picks a level at run time and splits a call into
// tasks. A task packs its rows into cache-sized blocks of texts, multiplied by
// the weights and padded with zeros, so that the inner loops know neither
// weights nor tails, and NaN is found on the way.

#ifndef MMC_JAX_ORACLE_NATIVE_KERNELS_H_
#define MMC_JAX_ORACLE_NATIVE_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace mmc {

// The types that kernels compute with. A table of whole numbers times its
// weights is packed into the narrowest type that holds the products.
enum Number { kFloat32, kFloat64, kUInt8, kUInt16, kUInt32, kUInt64 };
constexpr int kNumNumbers = 6;

// What packing has seen among the products: flags.
using Seen = int;
constexpr Seen kNan = 1;
constexpr Seen kNegative = 2;  // or -0

// Writes num_texts elements times their weights (none if null), then zeros up
// to num_padded, in the type of the kernel. Any product of a weight below 0 is
// NaN. 0 times infinity is 0.
using PackFunction = Seen (*)(const void* texts, const void* weights,
                              int64_t num_texts, int64_t num_padded,
                              void* packed);

// A table [rows, X] as it came.
struct Rows {
  const char* data;
  int64_t num_texts;
  int64_t element_bytes;
  const char* weights;  // [X] or null
  int64_t weight_bytes;
  PackFunction pack;

  Seen Pack(int64_t row, int64_t text, int64_t num_packed, int64_t num_padded,
            void* packed) const {
    return pack(At(row, text),
                weights ? weights + text * weight_bytes : nullptr, num_packed,
                num_padded, packed);
  }

  const char* At(int64_t row, int64_t text) const {
    return data + (row * num_texts + text) * element_bytes;
  }
};

struct Range {
  int64_t begin;
  int64_t end;
  int64_t size() const { return end - begin; }
};

// Sums go to out[subset, model] in its dtype; or, if `partial` is given, to
// partial[chunk, subset, model] as totals that `combine` adds up.
//
// Where masks are given, the two sides are subsets of the losses' num_members
// models: values and losses are the minima over them.
struct MinSumTask {
  Rows values;
  Rows losses;
  const bool* value_masks;  // [subsets, num_members] or null
  const bool* loss_masks;   // [models, num_members] or null
  int64_t num_members;
  const void* identities;  // the minimum over nothing, kMaxBlock times
  Range subsets;
  Range models;
  Range texts;  // from the beginning of a chunk on
  int64_t num_subsets;
  int64_t num_models;
  void* out;
  void* partial;
};

struct OracleTask {
  Rows losses;
  const void* identities;  // the minimum over nothing, kMaxBlock times
  const bool* masks;       // [S, M]
  int64_t num_models;
  int64_t num_subsets;
  Range subsets;
  Range texts;
  void* out;
  void* partial;
};

// No block of texts is longer.
constexpr int64_t kMaxBlock = 4096;

struct Kernels {
  // Texts are added up in chunks, from the first on, whoever adds them: the
  // order of additions depends on nothing but X.
  int64_t min_sum_chunk;
  int64_t oracle_chunk;
  int64_t total_bytes;
  void (*min_sum)(const MinSumTask&);
  void (*oracle_sums)(const OracleTask&);
  // Adds up partial[chunk][i] for each i and writes out[i].
  void (*combine)(const void* partial, int64_t num_chunks, int64_t num_sums,
                  void* out);
};

struct Level {
  const char* name;
  Kernels kernels[kNumNumbers];
  PackFunction pack[kNumNumbers][kNumNumbers];  // from, to; null if never asked
  // Takes that many minima, and adds them, in registers alone: the roofline.
  // Returns a number that depends on all of them.
  float (*min_add)(int64_t num_pairs);
};

extern const Level kBaseline;
#if defined(__x86_64__)
extern const Level kAvx2;
extern const Level kAvx512;
extern const Level kAvx512Vnni;
#elif defined(__aarch64__)
extern const Level kNeon;
#endif

}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_KERNELS_H_
