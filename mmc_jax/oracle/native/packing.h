// Packing: losses times weights, into rows that the kernels read.

#ifndef MMC_JAX_ORACLE_NATIVE_PACKING_H_
#define MMC_JAX_ORACLE_NATIVE_PACKING_H_

#include <cstdint>

#include "kernels.h"

namespace mmc {
namespace {

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

// Compares bits and not floats: the compiler vectorises only those.
template <class T>
Seen PackRow(const T* __restrict from, const T* __restrict weights,
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

inline Seen PackRow(const uint32_t* __restrict from, const uint32_t*,
                    int64_t num_texts, uint32_t* __restrict to) {
  __builtin_memcpy(to, from, num_texts * sizeof(uint32_t));
  return 0;
}

template <class T>
Seen Pack(const void* texts, const void* weights, int64_t num_texts,
          int64_t num_padded, void* packed) {
  T* to = static_cast<T*>(packed);
  const Seen seen = PackRow(static_cast<const T*>(texts),
                            static_cast<const T*>(weights), num_texts, to);
  for (int64_t x = num_texts; x < num_padded; ++x) to[x] = 0;
  return seen;
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_PACKING_H_
