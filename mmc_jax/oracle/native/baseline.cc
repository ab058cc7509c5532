// Any machine: registers of 16 bytes, as the compiler makes them.

#include "kernels.h"
#include "lanes.h"

namespace mmc {
namespace {

constexpr int kBytes = 16;

struct Tile {
  static constexpr int kRows = 2;
  static constexpr int kCols = 4;
  static constexpr bool kSharesLosses = false;
  static constexpr int kVectors = 40;
  static constexpr int kRun = kVectors;
  static constexpr bool kFetchesEachStep = false;
  static constexpr int kLines = 8;
  static constexpr int kPanel = 8;
};

template <>
struct Simd<float> : FloatLanes<float, kBytes>, Tile {};

template <>
struct Simd<double> : FloatLanes<double, kBytes>, Tile {};

template <>
struct Simd<uint32_t> : WholeLanes<kBytes>, Tile {};

}  // namespace
}  // namespace mmc

#include "level.h"

namespace mmc {
const Level kBaseline = LevelOf("baseline");
}
