// What a dispatch level offers: the kernels for each type of number.
//
// M models, X texts, S subsets.
//
// Each level (baseline.cc, avx2.cc, ...) compiles level.h with its own flags
// into one `Level`. dispatch.cc picks a level at run time and cuts a call into
// tasks. A task packs its rows into blocks of texts that a cache holds. Packing
// multiplies by the weights, pads with zeros and finds NaN, so the inner loops
// know neither weights nor tails.

#ifndef MMC_JAX_ORACLE_NATIVE_KERNELS_H_
#define MMC_JAX_ORACLE_NATIVE_KERNELS_H_

#include <cstdint>

namespace mmc {

// The types of the losses that kernels take.
enum Number { kFloat32, kFloat64, kUInt32 };
constexpr int kNumNumbers = 3;

// Throws std::bad_alloc. It is compiled once, for any processor.
[[noreturn]] void ThrowNoMemory();

// Flags: what packing has seen among the products.
using Seen = int;
constexpr Seen kNan = 1;
constexpr Seen kNegative = 2;  // or -0

// Writes num_texts elements times their weights (1 if null), then zeros up to
// num_padded. A product with a weight below 0 is NaN. 0 times infinity is 0.
// Whole numbers take no weights.
using PackFunction = Seen (*)(const void* texts, const void* weights,
                              int64_t num_texts, int64_t num_padded,
                              void* packed);

// A table [rows, X] as the caller gave it.
struct Rows {
  const char* data;
  int64_t num_texts;
  int64_t element_bytes;
  const char* weights;  // [X] or null
  PackFunction pack;

  Seen Pack(int64_t row, int64_t text, int64_t num_packed, int64_t num_padded,
            void* packed) const {
    return pack(At(row, text), WeightsAt(text), num_packed, num_padded, packed);
  }

  const char* At(int64_t row, int64_t text) const {
    return data + (row * num_texts + text) * element_bytes;
  }

  const char* WeightsAt(int64_t text) const {
    return weights ? weights + text * element_bytes : nullptr;
  }
};

struct Range {
  int64_t begin;
  int64_t end;
  int64_t size() const { return end - begin; }
};

// Masks are bytes, each 0 or 1: ffi.cc makes them so.
//
// Sums go to out[subset, model] in its dtype. If `partial` is given they go to
// partial[chunk, subset, model] instead, as totals that `combine` adds up.
//
// Where masks are given, the two sides are subsets of the losses' num_members
// models: values and losses are the minima over them.
struct MinSumTask {
  Rows values;
  Rows losses;
  const uint8_t* value_masks;  // [subsets, num_members] or null
  const uint8_t* loss_masks;   // [models, num_members] or null
  int64_t num_members;
  const void* identities;  // the minimum over nothing, kMaxBlock times
  Range subsets;
  Range models;
  Range texts;  // starts where a chunk starts
  int64_t num_subsets;
  int64_t num_models;
  void* out;
  void* partial;
};

struct OracleTask {
  Rows losses;
  const void* identities;  // the minimum over nothing, kMaxBlock times
  const uint8_t* masks;    // [S, M]
  int64_t num_models;
  int64_t num_subsets;
  Range subsets;
  Range texts;  // starts where a chunk starts
  void* out;
  void* partial;
};

// All floats are of the table's dtype. No nll is NaN.
struct MixtureTask {
  Rows nll;  // its weights: what each text's loss is multiplied by
  const void* log_weights;  // [M], -infinity for a model without a weight
  const uint8_t* masks;     // [S, M]
  int64_t num_models;
  int64_t num_subsets;
  Range subsets;
  Range texts;  // starts where a chunk starts
  void* out;
  void* partial;
};

// No block of texts is longer.
constexpr int64_t kMaxBlock = 4096;

struct Kernels {
  // Each chunk of texts is summed on its own, then the chunks are added from
  // the first on. So the order of additions depends on X alone, whatever the
  // number of threads.
  int64_t min_sum_chunk;
  int64_t oracle_chunk;
  int64_t mixture_chunk;
  int64_t total_bytes;
  PackFunction pack;
  void (*min_sum)(const MinSumTask&);
  void (*oracle_sums)(const OracleTask&);
  void (*mixture_sums)(const MixtureTask&);  // null for whole numbers
  // Adds up partial[chunk][i] for each i and writes out[i].
  void (*combine)(const void* partial, int64_t num_chunks, int64_t num_sums,
                  void* out);
};

struct Level {
  const char* name;
  Kernels kernels[kNumNumbers];
  // The roofline: takes that many minima and adds them, in registers alone.
  // Returns a number that depends on all of them.
  float (*min_add)(int64_t num_pairs);
};

extern const Level kBaseline;
#if defined(__x86_64__)
extern const Level kAvx2;
extern const Level kAvx512;
#elif defined(__aarch64__)
extern const Level kNeon;
#endif

}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_KERNELS_H_
