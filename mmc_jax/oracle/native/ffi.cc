// The kernels as XLA calls them: every argument is checked here, at the door.
//
// M models, X texts, S and R subsets.
//
// Shapes, dtypes and sizes are XLA's word, and a byte of a mask may have any
// value, as in a NumPy array viewed as bool. What comes after this file reads
// and writes only inside the arrays checked here, through masks of 0 and 1.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dispatch.h"
#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace mmc {
namespace {

namespace ffi = xla::ffi;
using ffi::AnyBuffer;
using ffi::DataType;

struct NumberType {
  DataType losses;
  DataType sums;
  Number number;
};

constexpr NumberType kNumberTypes[] = {
    {DataType::F32, DataType::F32, kFloat32},
    {DataType::F64, DataType::F64, kFloat64},
    {DataType::U32, DataType::S64, kUInt32},
};

ffi::Unexpected<ffi::Error> Invalid(std::string message) {
  return ffi::Unexpected<ffi::Error>(
      ffi::Error::InvalidArgument(std::move(message)));
}

bool HasShape(const AnyBuffer& buffer, std::initializer_list<int64_t> shape) {
  const auto dimensions = buffer.dimensions();
  return std::equal(dimensions.begin(), dimensions.end(), shape.begin(),
                    shape.end());
}

// What every kernel is called with: how it runs, the losses [M, X], the weights
// [X], or [0] for none, and the array that it fills.
struct Checked {
  Threads threads;
  Call call;
  DataType dtype;
};

ffi::ErrorOr<Checked> Check(ffi::ThreadPool& pool, std::string_view level,
                            int64_t num_threads, const AnyBuffer& losses,
                            const AnyBuffer& weights, const AnyBuffer& out) {
  const Level* found = LevelNamed(level);
  if (!found) {
    return Invalid("no kernels of level " + std::string(level) +
                   " on this machine");
  }
  const NumberType* type = nullptr;
  for (const NumberType& known : kNumberTypes) {
    if (known.losses == losses.element_type()) type = &known;
  }
  if (!type || out.element_type() != type->sums) {
    return Invalid("losses or sums of no known dtype");
  }
  if (losses.dimensions().size() != 2) {
    return Invalid("losses are not a table [M, X]");
  }
  const int64_t num_models = losses.dimensions()[0];
  const int64_t num_texts = losses.dimensions()[1];
  const void* weights_or_null = nullptr;
  if (!HasShape(weights, {0})) {
    if (type->number == kUInt32) return Invalid("whole losses take no weights");
    if (weights.element_type() != losses.element_type() ||
        !HasShape(weights, {num_texts})) {
      return Invalid("weights of wrong dtype or shape");
    }
    weights_or_null = weights.untyped_data();
  }
  const int64_t num = num_threads > 0 ? num_threads : pool.num_threads();
  Threads threads{
      [&pool](std::function<void()> work) { pool.Schedule(std::move(work)); },
      std::clamp<int64_t>(num, 1, kMaxThreads)};
  Call call{&found->kernels[type->number], type->number,
            losses.untyped_data(),         weights_or_null,
            num_models,                    num_texts};
  return Checked{std::move(threads), call, losses.element_type()};
}

// Returns the masks [S, M] as bytes of 0 and 1: any other value is a member.
ffi::ErrorOr<std::vector<uint8_t>> Members(const AnyBuffer& masks,
                                           int64_t num_models) {
  const auto shape = masks.dimensions();
  if (masks.element_type() != DataType::PRED || shape.size() != 2 ||
      shape[1] != num_models) {
    return Invalid("masks are not booleans [S, M]");
  }
  const auto* bytes = static_cast<const uint8_t*>(masks.untyped_data());
  const int64_t size = shape[0] * shape[1];
  // One more: the kernels take a null pointer for no masks.
  std::vector<uint8_t> members(size + 1);
  for (int64_t i = 0; i < size; ++i) members[i] = bytes[i] != 0;
  return members;
}

// Returns what is being thrown as an error: XLA, which calls these functions,
// is compiled without exceptions, so that one would end the process.
ffi::Error Thrown() {
  try {
    throw;
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted,
                      "no memory for the masks or sums of the oracle kernels");
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInternal,
                      std::string("the oracle kernels: ") + error.what());
  } catch (...) {
    return ffi::Error(ffi::ErrorCode::kInternal, "the oracle kernels");
  }
}

ffi::Error MinSum(ffi::ThreadPool pool, std::string_view level,
                  int64_t num_threads, AnyBuffer values, AnyBuffer losses,
                  AnyBuffer weights, ffi::Result<AnyBuffer> out) try {
  const auto checked = Check(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  const auto& [threads, call, dtype] = checked.value();
  const auto shape = values.dimensions();
  if (values.element_type() != dtype || shape.size() != 2 ||
      shape[1] != call.num_texts) {
    return ffi::Error::InvalidArgument("values of wrong dtype or shape");
  }
  if (!HasShape(*out, {shape[0], call.num_models})) {
    return ffi::Error::InvalidArgument("sums of wrong shape");
  }
  RunMinSum(threads, call, values.untyped_data(), shape[0],
            out->untyped_data());
  return ffi::Error::Success();
} catch (...) {
  return Thrown();
}

ffi::Error UnionSums(ffi::ThreadPool pool, std::string_view level,
                     int64_t num_threads, AnyBuffer losses, AnyBuffer masks,
                     AnyBuffer others, AnyBuffer weights,
                     ffi::Result<AnyBuffer> out) try {
  const auto checked = Check(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  const auto& [threads, call, dtype] = checked.value();
  const auto subsets = Members(masks, call.num_models);
  if (subsets.has_error()) return subsets.error();
  const auto joined = Members(others, call.num_models);
  if (joined.has_error()) return joined.error();
  const int64_t num_subsets = masks.dimensions()[0];
  const int64_t num_others = others.dimensions()[0];
  if (!HasShape(*out, {num_subsets, num_others})) {
    return ffi::Error::InvalidArgument("sums of wrong shape");
  }
  RunUnionSums(threads, call, subsets.value().data(), num_subsets,
               joined.value().data(), num_others, out->untyped_data());
  return ffi::Error::Success();
} catch (...) {
  return Thrown();
}

ffi::Error OracleSums(ffi::ThreadPool pool, std::string_view level,
                      int64_t num_threads, AnyBuffer losses, AnyBuffer masks,
                      AnyBuffer weights, ffi::Result<AnyBuffer> out) try {
  const auto checked = Check(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  const auto& [threads, call, dtype] = checked.value();
  const auto subsets = Members(masks, call.num_models);
  if (subsets.has_error()) return subsets.error();
  const int64_t num_subsets = masks.dimensions()[0];
  if (!HasShape(*out, {num_subsets})) {
    return ffi::Error::InvalidArgument("sums of wrong shape");
  }
  RunOracleSums(threads, call, subsets.value().data(), num_subsets,
                out->untyped_data());
  return ffi::Error::Success();
} catch (...) {
  return Thrown();
}

ffi::Error MixtureSums(ffi::ThreadPool pool, std::string_view level,
                       int64_t num_threads, AnyBuffer nll, AnyBuffer masks,
                       AnyBuffer log_weights, AnyBuffer shares,
                       ffi::Result<AnyBuffer> out) try {
  const auto checked = Check(pool, level, num_threads, nll, shares, *out);
  if (checked.has_error()) return checked.error();
  const auto& [threads, call, dtype] = checked.value();
  if (!call.kernels->mixture_sums || !call.weights ||
      log_weights.element_type() != dtype ||
      !HasShape(log_weights, {call.num_models})) {
    return ffi::Error::InvalidArgument("weights of wrong dtype or shape");
  }
  const auto subsets = Members(masks, call.num_models);
  if (subsets.has_error()) return subsets.error();
  const int64_t num_subsets = masks.dimensions()[0];
  if (!HasShape(*out, {num_subsets})) {
    return ffi::Error::InvalidArgument("sums of wrong shape");
  }
  RunMixtureSums(threads, call, log_weights.untyped_data(),
                 subsets.value().data(), num_subsets, out->untyped_data());
  return ffi::Error::Success();
} catch (...) {
  return Thrown();
}

// What every kernel is called with; its arrays follow.
auto Settings() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Attr<std::string_view>("level")
      .Attr<int64_t>("num_threads");
}

}  // namespace
}  // namespace mmc

XLA_FFI_DEFINE_HANDLER_SYMBOL(mmc_min_sum, mmc::MinSum,
                              mmc::Settings()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(mmc_oracle_sums, mmc::OracleSums,
                              mmc::Settings()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(mmc_union_sums, mmc::UnionSums,
                              mmc::Settings()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(mmc_mixture_sums, mmc::MixtureSums,
                              mmc::Settings()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());
