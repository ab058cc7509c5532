// Which kernels serve a call, and how the call is dealt out to threads.
//
// M models, X texts, S subsets.

#ifndef MMC_JAX_ORACLE_NATIVE_DISPATCH_H_
#define MMC_JAX_ORACLE_NATIVE_DISPATCH_H_

#include <cstdint>
#include <functional>
#include <string_view>

#include "kernels.h"

namespace mmc {

// More threads than this are not used.
constexpr int64_t kMaxThreads = 1024;

// Returns the level of that name, the best of this machine for "", null for a
// level that this machine does not have.
const Level* LevelNamed(std::string_view name);

struct Threads {
  // Has a function called on another thread, some time later.
  std::function<void(std::function<void()>)> schedule;
  int64_t num;  // 1 to kMaxThreads, with the one that calls
};

// The arguments of a call, checked. Arrays lie row by row.
struct Call {
  const Kernels* kernels;
  Number number;
  const void* losses;  // [num_models, num_texts]
  const void* weights;  // [num_texts] or null
  int64_t num_models;
  int64_t num_texts;
};

// Fills out[S, M] from values [S, X].
void RunMinSum(const Threads& threads, const Call& call, const void* values,
               int64_t num_subsets, void* out);

// Fills out[S, R] from masks [S, M] and others [R, M], bytes of 0 or 1.
void RunUnionSums(const Threads& threads, const Call& call,
                  const uint8_t* masks, int64_t num_subsets,
                  const uint8_t* others, int64_t num_others, void* out);

// Fills out[S] from masks [S, M], bytes of 0 or 1.
void RunOracleSums(const Threads& threads, const Call& call,
                   const uint8_t* masks, int64_t num_subsets, void* out);

// Fills out[S] from log_weights [M], of the losses' dtype, and masks [S, M]. The
// weights are those of texts; no number is whole.
void RunMixtureSums(const Threads& threads, const Call& call,
                    const void* log_weights, const uint8_t* masks,
                    int64_t num_subsets, void* out);

}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_DISPATCH_H_
