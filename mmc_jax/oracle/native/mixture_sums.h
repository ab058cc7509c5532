// `mixture_sums`: sums over texts of the loss of a subset's mixture.
//
// M models, X texts, S subsets.
//
// mix_S(x) = -log(sum_{i in S} w_i exp(-N_ix) / sum_{i in S} w_i)
//
// All is computed in float64. A block of texts has one table in the first-level
// cache, whose rows a subset adds up: either
//
// - probabilities relative to the text's likeliest model, of which it takes the
//   logarithm, or
// - their differences from 1, where that logarithm would be of nearly 1: they
//   keep all digits of a small loss.
//
// A subset whose models are all far behind the likeliest one has sums that have
// lost their digits: it is taken again, relative to its own likeliest model.

#ifndef MMC_JAX_ORACLE_NATIVE_MIXTURE_SUMS_H_
#define MMC_JAX_ORACLE_NATIVE_MIXTURE_SUMS_H_

#include "kernels.h"
#include "lanes.h"
#include "tile.h"
#include "totals.h"

namespace mmc {
namespace {

using Vec = Simd<double>;
using Float64s = Vec::Reg;
using Int64s = VectorOf<int64_t, sizeof(Float64s)>::type;

constexpr double kInfinity = __builtin_inf();

// Up to so many nats a sum of probabilities would lose digits of its logarithm.
constexpr double kNearNats = 0.02;
// Logarithms of weights that differ by more cost digits in sums far from 1.
constexpr double kWeightNats = 30;
// Differences from 1 lose digits where they come nearer to -1.
constexpr double kLeastDifference = -0.99;
// Sums below it may lack digits of models that are no normal floats.
constexpr double kLeastSum = 1e-280;
// Logarithms of weights below it are no normal floats themselves.
constexpr double kLeastWeight = 1e-290;

// Adding it rounds a float64 to a whole number, which its last bits then hold.
constexpr double kRounder = 0x1.8p52;
constexpr double kLog2E = 0x1.71547652b82fep+0;
// ln 2 in two numbers, of which the first has 32 bits.
constexpr double kLn2High = 0x1.62e42fee00000p-1;
constexpr double kLn2Low = 0x1.a39ef35793c76p-33;

inline Float64s Constant(double value) { return Float64s{} + value; }
inline Int64s BitsOfReg(Float64s value) {
  return reinterpret_cast<Int64s>(value);
}
inline Float64s OfBits(Int64s bits) { return reinterpret_cast<Float64s>(bits); }

// Returns exp(x) - 1 and exp(x) for x of 0 or less; 0 below the normal floats.
struct Exponentials {
  Float64s less_one;
  Float64s exp;
};
inline Exponentials Exp(Float64s x) {
  const Float64s least = Constant(-708);
  // Not a number counts as far below.
  const Int64s is_float = x > least;
  x = is_float ? x : least;
  const Float64s shifted = x * kLog2E + kRounder;
  const Float64s whole = shifted - kRounder;
  const Float64s rest = (x - whole * kLn2High) - whole * kLn2Low;
  // 1 / n! for n from 13 down to 2.
  Float64s series = Constant(1.6059043836821613e-10);
  series = series * rest + 2.0876756987868099e-09;
  series = series * rest + 2.5052108385441719e-08;
  series = series * rest + 2.7557319223985891e-07;
  series = series * rest + 2.7557319223985893e-06;
  series = series * rest + 2.4801587301587302e-05;
  series = series * rest + 1.9841269841269841e-04;
  series = series * rest + 1.3888888888888889e-03;
  series = series * rest + 8.3333333333333333e-03;
  series = series * rest + 4.1666666666666667e-02;
  series = series * rest + 1.6666666666666667e-01;
  series = series * rest + 0.5;
  const Float64s of_rest = rest + rest * rest * series;
  const Int64s exponent = BitsOfReg(shifted) - BitsOfReg(Constant(kRounder));
  const Float64s power = OfBits((exponent + int64_t{1023}) << 52);
  const Float64s less_one = power * of_rest + (power - 1.0);
  const Float64s exp = power * of_rest + power;
  return {is_float ? less_one : Constant(-1), is_float ? exp : Constant(0)};
}

// Returns log(y) for normal floats above 0. Near 1, where `small` is y - 1 with
// more digits than y has, it is log(1 + small).
inline Float64s Log(Float64s y, Float64s small) {
  // Exponents such that what is left is between the roots of 1/2 and of 2.
  const Int64s root = BitsOfReg(Constant(0x1.6a09e667f3bcdp-1));
  const Int64s exponent = (BitsOfReg(y) - root) >> 52;
  Float64s f = OfBits(BitsOfReg(y) - (exponent << 52)) - 1.0;
  f = exponent == Int64s{} ? small : f;
  const Float64s t = f / (f + 2.0);
  const Float64s square = t * t;
  // 2 / (2 n + 1) for n from 10 down to 1.
  Float64s series = Constant(2.0 / 21);
  series = series * square + 2.0 / 19;
  series = series * square + 2.0 / 17;
  series = series * square + 2.0 / 15;
  series = series * square + 2.0 / 13;
  series = series * square + 2.0 / 11;
  series = series * square + 2.0 / 9;
  series = series * square + 2.0 / 7;
  series = series * square + 2.0 / 5;
  series = series * square + 2.0 / 3;
  const Float64s of_rest = t * square * series + (t + t);
  const Float64s scale =
      OfBits(exponent + BitsOfReg(Constant(kRounder))) - kRounder;
  return scale * kLn2High + (scale * kLn2Low + of_rest);
}

inline bool All(Int64s lanes) {
  int64_t each[Vec::kLanes];
  __builtin_memcpy(each, &lanes, sizeof lanes);
  int64_t all = -1;
  for (int i = 0; i < Vec::kLanes; ++i) all &= each[i];
  return all != 0;
}

// One task, in phases: each chunk of texts block by block, each block subset by
// subset.
template <class T>
class MixtureOfSubsets {
 public:
  using Total = typename TotalOf<T>::type;
  // As many registers as make 32 texts, or 8.
  static constexpr int kRegs = Vec::kLanes < 4 ? 8 : 32 / Vec::kLanes;
  static constexpr int64_t kBlock = kRegs * Vec::kLanes;
  static constexpr int64_t kChunk = 64 * kBlock;

  explicit MixtureOfSubsets(const MixtureTask& task)
      : task_(task),
        num_models_(task.num_models),
        num_subsets_(task.subsets.size()),
        nll_(num_models_ * kBlock),
        table_(num_models_ * kBlock),
        begins_(num_subsets_ + 1),
        rows_(0),
        used_(num_models_),
        log_weights_(num_models_),
        weights_(num_models_),
        log_totals_(num_subsets_),
        shares_of_total_(num_subsets_),
        in_chunk_(num_subsets_),
        totals_(num_subsets_) {
    TakeWeights();
    ListMembers();
  }

  void Run() {
    const Range texts = task_.texts;
    for (int64_t chunk = texts.begin; chunk < texts.end; chunk += kChunk) {
      const int64_t end = Least(chunk + kChunk, texts.end);
      for (int64_t block = chunk; block < end; block += kBlock) {
        if (MakeTable(block, Least(kBlock, end - block))) {
          AddBlock<true>();
        } else {
          AddBlock<false>();
        }
      }
      EndChunk(chunk / kChunk);
    }
    if (task_.partial) return;
    auto* out = static_cast<typename TotalOf<T>::out*>(task_.out);
    for (int64_t s = 0; s < num_subsets_; ++s) {
      Store(totals_[s], out[task_.subsets.begin + s]);
    }
  }

 private:
  // Returns exp(x) and log(x) of a number.
  static double Exp1(double x) { return Exp(Constant(x)).exp[0]; }
  static double Log1(double x) {
    return Log(Constant(x), Constant(x - 1.0))[0];
  }

  void TakeWeights() {
    const T* logs = static_cast<const T*>(task_.log_weights);
    for (int64_t m = 0; m < num_models_; ++m) {
      log_weights_[m] = logs[m];
      weights_[m] = Exp1(logs[m]);
      const bool is_finite = log_weights_[m] > -kInfinity;
      if (is_finite && log_weights_[m] < -kWeightNats) is_wide_ = true;
    }
  }

  // Lists the models of each subset, and what their weights sum to.
  void ListMembers() {
    const uint8_t* masks = task_.masks + task_.subsets.begin * num_models_;
    int64_t num_rows = 0;
    for (int64_t i = 0; i < num_subsets_ * num_models_; ++i) {
      num_rows += masks[i];
    }
    rows_.Renew(num_rows);
    int64_t end = 0;
    for (int64_t s = 0; s < num_subsets_; ++s) {
      begins_[s] = end;
      double largest = -kInfinity;
      for (int64_t m = 0; m < num_models_; ++m) {
        if (!masks[s * num_models_ + m]) continue;
        rows_[end++] = m * kBlock;
        used_[m] = true;
        if (log_weights_[m] > largest) largest = log_weights_[m];
      }
      double sum = 0, relative = 0;
      for (int64_t i = begins_[s]; i < end; ++i) {
        const int64_t m = rows_[i] / kBlock;
        sum += weights_[m];
        relative += Exp1(log_weights_[m] - largest);
      }
      // Without a weight all is infinite, or no number: the caller knows.
      log_totals_[s] = largest + Log1(relative);
      shares_of_total_[s] = sum >= kLeastWeight ? 1 / sum : __builtin_nan("");
    }
    begins_[num_subsets_] = end;
  }

  // Makes the table of a block, and returns whether it is of differences.
  bool MakeTable(int64_t block, int64_t num_texts) {
    const T* shares = reinterpret_cast<const T*>(task_.nll.WeightsAt(block));
    for (int64_t x = 0; x < kBlock; ++x) {
      shares_[x] = x < num_texts ? shares[x] : 0;
      least_[x] = first_[x] = kInfinity;
    }
    for (int64_t m = 0; m < num_models_; ++m) {
      if (!used_[m]) continue;
      const T* from = reinterpret_cast<const T*>(task_.nll.At(m, block));
      double* to = nll_.data() + m * kBlock;
      for (int64_t x = 0; x < num_texts; ++x) to[x] = from[x];
      for (int64_t x = num_texts; x < kBlock; ++x) to[x] = 0;
      const double log_weight = log_weights_[m];
      if (!(log_weight > -kInfinity)) continue;
      for (int64_t x = 0; x < kBlock; ++x) {
        const double weighted = to[x] - log_weight;
        least_[x] = to[x] < least_[x] ? to[x] : least_[x];
        first_[x] = weighted < first_[x] ? weighted : first_[x];
      }
    }
    bool is_near = is_wide_;
    for (int64_t x = 0; x < kBlock; ++x) {
      // Where no model has the text.
      if (least_[x] == kInfinity) least_[x] = first_[x] = 0;
      if (x < num_texts && least_[x] < kNearNats) is_near = true;
    }
    for (int64_t m = 0; m < num_models_; ++m) {
      if (!used_[m]) continue;
      const double log_weight = log_weights_[m], weight = weights_[m];
      for (int64_t x = 0; x < kBlock; x += Vec::kLanes) {
        const int64_t at = m * kBlock + x;
        const Float64s nll = Vec::Load(nll_.data() + at);
        Float64s row = Float64s{};
        if (!(log_weight > -kInfinity)) {
          // It may be likelier than `least_`.
        } else if (is_near) {
          row = Exp(Vec::Load(least_ + x) - nll).less_one;
          row = row * weight;
        } else {
          row = Exp(Vec::Load(first_ + x) - (nll - log_weight)).exp;
        }
        __builtin_memcpy(table_.data() + at, &row, sizeof row);
      }
    }
    return is_near;
  }

  template <bool kIsNear>
  void AddBlock() {
    const double* table = table_.data();
    for (int64_t s = 0; s < num_subsets_; ++s) {
      Float64s sums[kRegs] = {};
      for (int64_t i = begins_[s]; i < begins_[s + 1]; ++i) {
        const double* row = table + rows_[i];
        MMC_UNROLL
        for (int r = 0; r < kRegs; ++r) {
          sums[r] += Vec::Load(row + r * Vec::kLanes);
        }
      }
      Int64s settled[kRegs];
      Int64s all = Int64s{} == Int64s{};
      MMC_UNROLL
      for (int r = 0; r < kRegs; ++r) {
        if (kIsNear) sums[r] *= shares_of_total_[s];
        settled[r] = kIsNear ? sums[r] > Constant(kLeastDifference)
                             : sums[r] >= Constant(kLeastSum);
        all &= settled[r];
      }
      Float64s losses = Float64s{};
      if (All(all)) {
        MMC_UNROLL
        for (int r = 0; r < kRegs; ++r) {
          const Float64s loss = Loss<kIsNear>(s, r, sums[r]);
          losses = losses + Share(r) * loss;
        }
      } else {
        MMC_NO_UNROLL
        for (int r = 0; r < kRegs; ++r) {
          const Float64s own = LossOfOwn(s, r);
          const Float64s loss = Loss<kIsNear>(s, r, sums[r]);
          losses = losses + Share(r) * (settled[r] ? loss : own);
        }
      }
      AddTo(Vec::Sum(losses), in_chunk_[s]);
    }
  }

  Float64s Share(int r) const { return Vec::Load(shares_ + r * Vec::kLanes); }

  // Returns the losses from the sums of a table's rows.
  template <bool kIsNear>
  Float64s Loss(int64_t s, int r, Float64s sums) const {
    if (kIsNear) {
      return Vec::Load(least_ + r * Vec::kLanes) - Log(sums + 1.0, sums);
    }
    return Vec::Load(first_ + r * Vec::kLanes) +
           (log_totals_[s] - Log(sums, sums - 1.0));
  }

  // Returns the losses relative to the subset's own likeliest models.
  Float64s LossOfOwn(int64_t s, int r) const {
    const double* nll = nll_.data() + r * Vec::kLanes;
    Float64s first = Constant(kInfinity);
    for (int64_t i = begins_[s]; i < begins_[s + 1]; ++i) {
      first = Vec::Min(first, Vec::Load(nll + rows_[i]) -
                                  log_weights_[rows_[i] / kBlock]);
    }
    Float64s sum = Float64s{};
    for (int64_t i = begins_[s]; i < begins_[s + 1]; ++i) {
      const Float64s weighted =
          Vec::Load(nll + rows_[i]) - log_weights_[rows_[i] / kBlock];
      const Float64s probability = Exp(first - weighted).exp;
      sum = sum + probability;
    }
    const Float64s loss = first + (log_totals_[s] - Log(sum, sum - 1.0));
    return first == Constant(kInfinity) ? first : loss;
  }

  // Hands the sums of a chunk on, and starts the next chunk's from 0.
  void EndChunk(int64_t chunk) {
    for (int64_t s = 0; s < num_subsets_; ++s) {
      if (task_.partial) {
        static_cast<Total*>(task_.partial)[chunk * task_.num_subsets +
                                           task_.subsets.begin + s] =
            in_chunk_[s];
      } else {
        AddTo(in_chunk_[s], totals_[s]);
      }
      in_chunk_[s] = Total{};
    }
  }

  const MixtureTask& task_;
  const int64_t num_models_;
  const int64_t num_subsets_;
  Scratch<double> nll_;    // [M, kBlock]
  Scratch<double> table_;  // [M, kBlock]
  // Rows of subset s, as places in a table: rows_[begins_[s]] and so on.
  Scratch<int64_t> begins_;
  Scratch<int64_t> rows_;
  Scratch<bool> used_;
  Scratch<double> log_weights_;
  Scratch<double> weights_;
  Scratch<double> log_totals_;       // [S], log of the sum of weights
  Scratch<double> shares_of_total_;  // [S], 1 over it
  Scratch<Total> in_chunk_;
  Scratch<Total> totals_;  // over the chunks so far
  alignas(64) double shares_[kBlock];
  alignas(64) double least_[kBlock];  // nll of the likeliest model
  alignas(64) double first_[kBlock];  // the same, less the log of its weight
  bool is_wide_ = false;
};

template <class T>
void MixtureSums(const MixtureTask& task) {
  MixtureOfSubsets<T>(task).Run();
}

}  // namespace
}  // namespace mmc

#endif  // MMC_JAX_ORACLE_NATIVE_MIXTURE_SUMS_H_
