// 64-bit ARM: 32 registers of 16 bytes.

#include "kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "lanes.h"

namespace mmc {
namespace {

constexpr int kBytes = 16;

// 20 sums, four registers of values and some of minima.
struct Tile {
  static constexpr int kRows = 4;
  static constexpr int kCols = 5;
  static constexpr bool kSharesLosses = false;
  static constexpr int kVectors = 40;
  static constexpr int kRun = kVectors;
  static constexpr bool kFetchesEachStep = false;
  static constexpr int kLines = 8;
  static constexpr int kPanel = 8;
};

template <>
struct Simd<float> : FloatLanes<float, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) {
    return (Reg)vminq_f32((float32x4_t)a, (float32x4_t)b);
  }
};

template <>
struct Simd<double> : FloatLanes<double, kBytes>, Tile {
  static Reg Min(Reg a, Reg b) {
    return (Reg)vminq_f64((float64x2_t)a, (float64x2_t)b);
  }
};

template <>
struct Simd<uint32_t> : WholeLanes<kBytes>, Tile {};

}  // namespace
}  // namespace mmc

#include "level.h"

namespace mmc {
const Level kNeon = LevelOf("neon");
}

#endif
