// Registers in portable C++: GCC's and Clang's vectors of any width.
//
// A level takes from here what it has no better instruction for. For each type
// of number T it defines `Simd<T>`:
//
//   Reg, kLanes     a register of texts
//   Acc             sums of minima; Zero(), and Add of kGroup registers to it
//   Min             the lesser of two; where one is NaN, anything
//   Flush<N>        adds the lanes of N sums to N totals
//   kRows x kCols   the tile whose sums stay in registers
//   kSharesLosses   whether a tile loads a register of losses once for all rows
//   kVectors        registers in a block of texts
//   kRun            registers that are added up before their sum is stored
//   kLines          cache lines of the next panel fetched in a run, or in each
//                   step of it (kFetchesEachStep)
//   kPanel          subsets whose blocks the first-level cache keeps
//   kOrdersBits     `MinOfPositive` is a faster minimum, for where one of the
//                   two is known not to be negative
//   kTopBytes       min_sum adds up numbers modulo 2^32 and their highest bytes
//                   (in `Bytes`), which `Joined` puts together

#ifndef MMC_JAX_ORACLE_NATIVE_LANES_H_
#define MMC_JAX_ORACLE_NATIVE_LANES_H_

#include <stdlib.h>

#include <cstdint>

#include "kernels.h"
#include "totals.h"

// GCC unrolls a loop around an unrolled one as well, unless told not to.
#if defined(__clang__)
#define MMC_UNROLL _Pragma("unroll")
#define MMC_NO_UNROLL _Pragma("nounroll")
#else
#define MMC_UNROLL _Pragma("GCC unroll 32")
#define MMC_NO_UNROLL _Pragma("GCC unroll 1")
#endif

// Makes the compiler think that a register changes.
#if defined(__x86_64__)
#define MMC_CHANGE(reg) asm volatile("" : "+x"(reg))
#elif defined(__aarch64__)
#define MMC_CHANGE(reg) asm volatile("" : "+w"(reg))
#else
#define MMC_CHANGE(reg) asm volatile("" : "+m"(reg))
#endif

namespace mmc {
namespace {

// Memory for a task, zeroed. Where there is none it throws.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t size) { Allocate(size); }
  ~Scratch() { free(data_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  void Renew(int64_t size) {
    free(data_);
    data_ = nullptr;  // Not freed again where there is no memory.
    Allocate(size);
  }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }

 private:
  void Allocate(int64_t size) {
    size_t bytes = size * sizeof(T) + 64;
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes)) ThrowNoMemory();
    __builtin_memset(memory, 0, bytes);
    data_ = static_cast<T*>(memory);
  }

  T* data_ = nullptr;
};

template <class T>
struct Simd;

template <class T, int kBytes>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes)));
};

template <class T, int kBytes>
struct Lanes {
  using Reg = typename VectorOf<T, kBytes>::type;
  static constexpr int kLanes = kBytes / sizeof(T);
  static constexpr bool kOrdersBits = false;
  static constexpr bool kTopBytes = false;
  static Reg Load(const T* at) { return *reinterpret_cast<const Reg*>(at); }
  static Reg Min(Reg a, Reg b) { return a < b ? a : b; }
};

template <class T, int kBytes, int kTerms = 4>
struct FloatLanes : Lanes<T, kBytes> {
  static constexpr int kGroup = kTerms;
  using Reg = typename Lanes<T, kBytes>::Reg;
  using Acc = Reg;
  static Acc Zero() { return Acc{}; }
  static Acc Add(Acc acc, const Reg (&terms)[2]) {
    return acc + (terms[0] + terms[1]);
  }
  static Acc Add(Acc acc, const Reg (&terms)[4]) {
    return acc + ((terms[0] + terms[1]) + (terms[2] + terms[3]));
  }
  static T Sum(Acc acc) {
    T lanes[kBytes / sizeof(T)];
    __builtin_memcpy(lanes, &acc, kBytes);
    for (int half = kBytes / sizeof(T) / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], typename TotalOf<T>::type* totals) {
    for (int i = 0; i < N; ++i) AddTo(Sum(acc[i]), totals[i]);
  }
};

// The numbers at even and at odd places are added in 64 bits, which a block of
// texts does not fill.
template <int kBytes>
struct WholeLanes : Lanes<uint32_t, kBytes> {
  static constexpr int kGroup = 1;
  using Reg = typename Lanes<uint32_t, kBytes>::Reg;
  using Acc = typename VectorOf<uint64_t, kBytes>::type;
  static Acc Zero() { return Acc{}; }
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    const Acc pairs = reinterpret_cast<Acc>(terms[0]);
    return acc + (pairs & 0xffffffff) + (pairs >> 32);
  }
  template <int N>
  static void Flush(const Acc (&acc)[N], uint64_t* totals) {
    for (int i = 0; i < N; ++i) {
      for (int j = 0; j < kBytes / 8; ++j) totals[i] += acc[i][j];
    }
  }
};

// The sum of up to 256 numbers follows from two smaller sums: that of their
// highest bytes, which falls short by less than 256 * 2^24, and that of the
// numbers modulo 2^32. Four numbers take little more than two instructions each
// in this way, and five in 64-bit lanes. For levels that add up bytes in 64-bit
// lanes; a lane holds the sum of two words.
template <int kBytes>
struct TopByteLanes : WholeLanes<kBytes> {
  static constexpr bool kTopBytes = true;
  using Base = WholeLanes<kBytes>;
  using Reg = typename Base::Reg;
  using Acc = typename Base::Acc;

  // Whether a lane holds no more numbers than that.
  static constexpr bool Hold(int num_vectors) { return 2 * num_vectors <= 256; }

  // Writes the highest bytes of a row, each in the lane of its number.
  static void WriteTops(const uint32_t* row, int64_t num_padded,
                        uint32_t* tops) {
    constexpr int kLanes = Base::kLanes;
    for (int64_t x = 0; x < num_padded; x += 4 * kLanes, tops += kLanes) {
      const uint32_t* at = row + x;
      const Reg packed = (Base::Load(at) >> 24) |
                         ((Base::Load(at + kLanes) >> 24) << 8) |
                         ((Base::Load(at + 2 * kLanes) >> 24) << 16) |
                         ((Base::Load(at + 3 * kLanes) >> 24) << 24);
      // They will be read as bytes.
      __builtin_memcpy(tops, &packed, kBytes);
    }
  }

  // Returns the sums of lanes, from those of words and of highest bytes.
  static Acc Joined(Acc words, Acc tops) {
    tops <<= 24;
    return tops + ((words + (words >> 32) - tops) & 0xffffffff);
  }
};

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_LANES_H_
