// A level: the kernels, written once over the vector registers of a machine.
//
// Included by each level after its `Simd<Number>`s. All of it has internal
// linkage and calls no inline functions of the standard library: the linker
// would keep one copy of those for all levels, perhaps one with instructions
// that the machine does not have.
//
// Accumulation in float32: kGroup neighbouring registers of minima are added
// pairwise, then to a sum of up to kRun / kGroup of them, then to a sum of the
// runs in the block; its lanes are added pairwise, and blocks in float64. That
// is at most 2 + 9 + 0 + 4 roundings (AVX2: 1 + 7 + 3 + 3), and one to store:
// 16 * 2^-24 = 9.5e-7. float64 goes the same way, and from block to block the
// rounding errors are kept.

#ifndef MMC_JAX_ORACLE_NATIVE_LEVEL_H_
#define MMC_JAX_ORACLE_NATIVE_LEVEL_H_

#include "kernels.h"
#include "min_sum.h"
#include "mixture_sums.h"
#include "oracle_sums.h"
#include "packing.h"
#include "roofline.h"

namespace mmc {
namespace {

template <class T>
constexpr Kernels KernelsOf() {
  return {MinSums<T>::kChunk,
          SubsetSums<T>::kChunk,
          MixtureOfSubsets<T>::kChunk,
          sizeof(typename TotalOf<T>::type),
          Pack<T>,
          MinSum<T>,
          OracleSums<T>,
          MixtureSums<T>,
          Combine<T>};
}

template <>
constexpr Kernels KernelsOf<uint32_t>() {
  using T = uint32_t;
  return {MinSums<T>::kChunk,
          SubsetSums<T>::kChunk,
          1,
          sizeof(typename TotalOf<T>::type),
          Pack<T>,
          MinSum<T>,
          OracleSums<T>,
          nullptr,
          Combine<T>};
}

constexpr Level LevelOf(const char* name) {
  return {name,
          {KernelsOf<float>(), KernelsOf<double>(), KernelsOf<uint32_t>()},
          MinAdd<Simd<float>>};
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_LEVEL_H_
