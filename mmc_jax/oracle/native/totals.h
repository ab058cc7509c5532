// Sums from block to block of texts, and what is written of them.
//
// Whole numbers are added modulo 2^64, float32 in float64, float64 with its
// rounding errors kept.

#ifndef MMC_JAX_ORACLE_NATIVE_TOTALS_H_
#define MMC_JAX_ORACLE_NATIVE_TOTALS_H_

#include <cstdint>

namespace mmc {
namespace {

struct Compensated {
  double sum;
  double error;
};

// The type in which sums of T are kept, and the type of the result.
template <class T>
struct TotalOf;
template <>
struct TotalOf<float> {
  using type = double;
  using out = float;
};
template <>
struct TotalOf<double> {
  using type = Compensated;
  using out = double;
};
template <>
struct TotalOf<uint32_t> {
  using type = uint64_t;
  using out = uint64_t;
};

inline void AddTo(uint64_t term, uint64_t& total) { total += term; }
inline void AddTo(double term, double& total) { total += term; }
inline void AddTo(double term, Compensated& total) {
  // Knuth's TwoSum: the error of an addition is itself a float64.
  double sum = total.sum + term;
  double seen = sum - total.sum;
  total.error += (total.sum - (sum - seen)) + (term - seen);
  total.sum = sum;
}
inline void AddTo(Compensated term, Compensated& total) {
  AddTo(term.sum, total);
  total.error += term.error;
}

inline void SetNan(uint64_t&) {}
inline void SetNan(double& total) { total = __builtin_nan(""); }
inline void SetNan(Compensated& total) { total.sum = __builtin_nan(""); }

inline void Store(uint64_t total, uint64_t& out) { out = total; }
inline void Store(double total, float& out) { out = static_cast<float>(total); }
inline void Store(Compensated total, double& out) {
  // The rounding error of an infinite sum is infinity minus infinity.
  bool finite = total.sum - total.sum == 0;
  out = finite ? total.sum + total.error : total.sum;
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
    Store(total, static_cast<typename TotalOf<T>::out*>(out)[i]);
  }
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_TOTALS_H_
