// The rate of minima and additions that a machine's registers allow.

#ifndef MMC_JAX_ORACLE_NATIVE_ROOFLINE_H_
#define MMC_JAX_ORACLE_NATIVE_ROOFLINE_H_

#include "lanes.h"

namespace mmc {
namespace {

template <class V>
float MinAdd(int64_t num_pairs) {
  // Enough to hide the latency of an addition, few enough for any machine's
  // registers.
  constexpr int kNumSums = 12;
  Scratch<float> start(2 * V::kLanes);
  for (int i = 0; i < 2 * V::kLanes; ++i) start[i] = 1.0f + i;
  typename V::Reg value = V::Load(start.data());
  const typename V::Reg loss = V::Load(start.data() + V::kLanes);
  typename V::Reg sum[kNumSums] = {};
  for (int64_t done = 0; done < num_pairs; done += kNumSums * V::kLanes) {
    MMC_UNROLL
    for (int i = 0; i < kNumSums; ++i) {
      // Another value, for all that the compiler knows: nothing is left out.
      MMC_CHANGE(value);
      if constexpr (V::kOrdersBits) {
        sum[i] += V::MinOfPositive(value, loss);
      } else {
        sum[i] += V::Min(value, loss);
      }
    }
  }
  double total = 0;
  MMC_UNROLL
  for (int i = 0; i < kNumSums; ++i) {
    typename V::Acc acc[1] = {sum[i]};
    V::template Flush<1>(acc, &total);
  }
  return static_cast<float>(total);
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_ROOFLINE_H_
