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

template <class T>
struct Simd : IntegerLanes<T, kBytes>, Tile {};

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

// Neighbours are added to sums of twice their width in one instruction.
template <>
struct Simd<uint8_t> : IntegerLanes<uint8_t, kBytes>, Tile {
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return (Acc)vpadalq_u8((uint16x8_t)acc, (uint8x16_t)terms[0]);
  }
};

template <>
struct Simd<uint16_t> : IntegerLanes<uint16_t, kBytes>, Tile {
  static Acc Add(Acc acc, const Reg (&terms)[1]) {
    return (Acc)vpadalq_u16((uint32x4_t)acc, (uint16x8_t)terms[0]);
  }
};

}  // namespace
}  // namespace mmc

#include "tiles.h"

namespace mmc {
const Level kNeon = LevelOf("neon");
}

#endif
