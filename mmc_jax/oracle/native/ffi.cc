// The kernels as XLA calls them: a level for this machine, tasks for threads.
//
// M models, X texts, S subsets.

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kernels.h"
#include "xla/ffi/api/ffi.h"

namespace mmc {
namespace {

namespace ffi = xla::ffi;

using Masks = ffi::Buffer<ffi::DataType::PRED>;

// What this machine can run, the best first.
const std::vector<const Level*>& Levels() {
  static const std::vector<const Level*>& levels = *[] {
    auto* found = new std::vector<const Level*>;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx512 = __builtin_cpu_supports("avx512f") &&
                  __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
    if (avx512 && __builtin_cpu_supports("avx512vnni")) {
      found->push_back(&kAvx512Vnni);
    }
    if (avx512) found->push_back(&kAvx512);
    if (__builtin_cpu_supports("avx2")) found->push_back(&kAvx2);
#elif defined(__aarch64__)
    found->push_back(&kNeon);
#endif
    found->push_back(&kBaseline);
    return found;
  }();
  return levels;
}

// Returns the level of that name, the best for "", null for any other name.
const Level* LevelNamed(std::string_view name) {
  for (const Level* level : Levels()) {
    if (name.empty() || name == level->name) return level;
  }
  return nullptr;
}

// Runs task(0) to task(num_tasks - 1) on up to num_threads threads, this one
// among them.
//
// This one takes tasks like the others and then waits for those that another
// has begun, never for one to begin: with all of the pool's threads in here,
// as happens on several virtual devices, nothing hangs.
void Run(ffi::ThreadPool& pool, int64_t num_threads, int64_t num_tasks,
         const std::function<void(int64_t)>& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int64_t num_done = 0;
  };
  auto shared = std::make_shared<Shared>();
  // A helper that comes late finds no task and never touches `task`.
  auto work = [shared, num_tasks, &task] {
    int64_t num_done = 0;
    for (int64_t i; (i = shared->next.fetch_add(1)) < num_tasks; ++num_done) {
      task(i);
    }
    if (num_done == 0) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->num_done += num_done;
    if (shared->num_done == num_tasks) shared->all_done.notify_one();
  };
  for (int64_t i = 1; i < std::min(num_threads, num_tasks); ++i) {
    pool.Schedule(std::function<void()>(work));
  }
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->num_done == num_tasks; });
}

struct NumberType {
  ffi::DataType in;
  ffi::DataType out;
  ffi::DataType weights;
  Number number;
  int64_t bytes;
  uint64_t largest;
};

constexpr NumberType kNumberTypes[] = {
    {ffi::DataType::F32, ffi::DataType::F32, ffi::DataType::F32, kFloat32, 4,
     0},
    {ffi::DataType::F64, ffi::DataType::F64, ffi::DataType::F64, kFloat64, 8,
     0},
    {ffi::DataType::U8, ffi::DataType::S64, ffi::DataType::U32, kUInt8, 1,
     UINT8_MAX},
    {ffi::DataType::U16, ffi::DataType::S64, ffi::DataType::U32, kUInt16, 2,
     UINT16_MAX},
    {ffi::DataType::U32, ffi::DataType::S64, ffi::DataType::U32, kUInt32, 4,
     UINT32_MAX},
};

// The narrowest number, from `number` on, that holds a loss times its weight.
Number Widened(const NumberType& type, const uint32_t* weights,
               int64_t num_texts) {
  if (num_texts == 0) return type.number;
  uint64_t weight = *std::max_element(weights, weights + num_texts);
  // Both are below 2^32: the product is below 2^64.
  uint64_t product = std::max<uint64_t>(weight, 1) * type.largest;
  if (product <= UINT8_MAX) return kUInt8;
  if (product <= UINT16_MAX) return kUInt16;
  if (product <= UINT32_MAX) return kUInt32;
  return kUInt64;
}

// A call's arguments, checked.
struct Call {
  const Level* level;
  const NumberType* type;
  const Kernels* kernels;
  PackFunction pack;
  int64_t num_models;
  int64_t num_texts;
  int64_t num_threads;
  const char* weights;  // null if there are none
  int64_t weight_bytes;

  Rows RowsOf(const void* data) const {
    return {static_cast<const char*>(data), num_texts, type->bytes, weights,
            weight_bytes, pack};
  }
};

ffi::Unexpected<ffi::Error> Invalid(std::string message) {
  return ffi::Unexpected<ffi::Error>(
      ffi::Error::InvalidArgument(std::move(message)));
}

ffi::ErrorOr<Call> Checked(ffi::ThreadPool& pool, std::string_view level,
                           int64_t num_threads, const ffi::AnyBuffer& losses,
                           const ffi::AnyBuffer& weights,
                           const ffi::AnyBuffer& out) {
  Call call{};
  call.level = LevelNamed(level);
  if (!call.level) {
    return Invalid("no kernels of level " + std::string(level) +
                   " on this machine");
  }
  for (const NumberType& type : kNumberTypes) {
    if (type.in == losses.element_type()) call.type = &type;
  }
  if (!call.type || out.element_type() != call.type->out) {
    return Invalid("losses or sums of no known dtype");
  }
  call.num_models = losses.dimensions()[0];
  call.num_texts = losses.dimensions()[1];
  call.num_threads = num_threads > 0 ? num_threads : pool.num_threads();
  Number number = call.type->number;
  if (weights.element_count() > 0) {
    if (weights.element_type() != call.type->weights ||
        static_cast<int64_t>(weights.element_count()) != call.num_texts) {
      return Invalid("weights of wrong dtype or shape");
    }
    call.weights = static_cast<const char*>(weights.untyped_data());
    call.weight_bytes = number == kFloat64 ? 8 : 4;
    if (call.type->largest > 0) {
      number = Widened(*call.type,
                       static_cast<const uint32_t*>(weights.untyped_data()),
                       call.num_texts);
    }
  }
  call.kernels = &call.level->kernels[number];
  call.pack = call.level->pack[call.type->number][number];
  return call;
}

// How [0, size) is cut into at most num_parts ranges of a multiple of `grain`;
// one range where it is empty.
class Parts {
 public:
  Parts(int64_t size, int64_t grain, int64_t num_parts)
      : size_(size),
        width_(std::max<int64_t>(
            grain, (size + num_parts * grain - 1) / (num_parts * grain) *
                       grain)) {}
  int64_t count() const {
    return std::max<int64_t>(1, (size_ + width_ - 1) / width_);
  }
  Range operator[](int64_t i) const {
    return {i * width_, std::min(size_, (i + 1) * width_)};
  }

 private:
  int64_t size_;
  int64_t width_;
};

// Tasks for each thread, so that one that is held up does not hold up the rest.
constexpr int64_t kTasksPerThread = 2;

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The minimum over nothing, as many times as a block of texts needs.
std::vector<char> Identities(const NumberType& type) {
  std::vector<char> identities(kMaxBlock * type.bytes, '\xff');
  if (type.number == kFloat32) {
    std::fill_n(reinterpret_cast<float*>(identities.data()), kMaxBlock,
                std::numeric_limits<float>::infinity());
  } else if (type.number == kFloat64) {
    std::fill_n(reinterpret_cast<double*>(identities.data()), kMaxBlock,
                std::numeric_limits<double>::infinity());
  }
  return identities;
}

// Models in a task of `UnionSums`: their rows stay in the second-level cache.
constexpr int64_t kOthers = 144;

// Fills out[task.num_subsets, task.num_models].
void RunMinSum(ffi::ThreadPool& pool, const Call& call, MinSumTask task,
               void* out) {
  const int64_t num_sums = task.num_subsets * task.num_models;
  if (num_sums == 0) return;

  // Subsets are dealt out first; each task packs the losses for itself, which
  // 64 subsets repay. Where they do not suffice, chunks of texts are dealt out,
  // and then models.
  const int64_t wanted = kTasksPerThread * call.num_threads;
  const Parts subsets(
      task.num_subsets, 8,
      std::min(std::max(wanted, DivideUp(task.num_subsets, 256)),
               std::max<int64_t>(1, task.num_subsets / 64)));
  const int64_t chunk = call.kernels->min_sum_chunk;
  const Parts texts(call.num_texts, chunk, DivideUp(wanted, subsets.count()));
  const Parts models(
      task.num_models, 6,
      std::max(DivideUp(call.num_threads, subsets.count() * texts.count()),
               task.loss_masks ? DivideUp(task.num_models, kOthers) : 1));

  const int64_t num_chunks = DivideUp(call.num_texts, chunk);
  std::vector<char> partial(
      texts.count() > 1 ? num_chunks * num_sums * call.kernels->total_bytes
                        : 0);
  task.out = out;
  task.partial = partial.empty() ? nullptr : partial.data();
  Run(pool, call.num_threads,
      texts.count() * models.count() * subsets.count(), [&](int64_t i) {
        MinSumTask part = task;
        part.subsets = subsets[i % subsets.count()];
        i /= subsets.count();
        part.models = models[i % models.count()];
        part.texts = texts[i / models.count()];
        call.kernels->min_sum(part);
      });
  if (!partial.empty()) {
    call.kernels->combine(partial.data(), num_chunks, num_sums, out);
  }
}

ffi::Error MinSum(ffi::ThreadPool pool, std::string_view level,
                  int64_t num_threads, ffi::AnyBuffer values,
                  ffi::AnyBuffer losses, ffi::AnyBuffer weights,
                  ffi::Result<ffi::AnyBuffer> out) {
  ffi::ErrorOr<Call> checked =
      Checked(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  Call& call = checked.value();
  MinSumTask task{};
  task.values = call.RowsOf(values.untyped_data());
  task.losses = call.RowsOf(losses.untyped_data());
  task.num_subsets = values.dimensions()[0];
  task.num_models = call.num_models;
  RunMinSum(pool, call, task, out->untyped_data());
  return ffi::Error::Success();
}

ffi::Error UnionSums(ffi::ThreadPool pool, std::string_view level,
                     int64_t num_threads, ffi::AnyBuffer losses,
                     Masks masks,
                     Masks others,
                     ffi::AnyBuffer weights,
                     ffi::Result<ffi::AnyBuffer> out) {
  ffi::ErrorOr<Call> checked =
      Checked(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  Call& call = checked.value();
  const std::vector<char> identities = Identities(*call.type);
  MinSumTask task{};
  task.losses = call.RowsOf(losses.untyped_data());
  task.value_masks = masks.typed_data();
  task.loss_masks = others.typed_data();
  task.num_members = call.num_models;
  task.identities = identities.data();
  task.num_subsets = masks.dimensions()[0];
  task.num_models = others.dimensions()[0];
  RunMinSum(pool, call, task, out->untyped_data());
  return ffi::Error::Success();
}

ffi::Error OracleSums(ffi::ThreadPool pool, std::string_view level,
                      int64_t num_threads, ffi::AnyBuffer losses,
                      Masks masks,
                      ffi::AnyBuffer weights,
                      ffi::Result<ffi::AnyBuffer> out) {
  ffi::ErrorOr<Call> checked =
      Checked(pool, level, num_threads, losses, weights, *out);
  if (checked.has_error()) return checked.error();
  Call& call = checked.value();
  const int64_t num_subsets = masks.dimensions()[0];
  if (num_subsets == 0) return ffi::Error::Success();

  const std::vector<char> identities = Identities(*call.type);

  // Texts are dealt out first: what a task does to a block of texts before the
  // first subset, only thousands of subsets repay.
  const int64_t wanted = kTasksPerThread * call.num_threads;
  const int64_t chunk = call.kernels->oracle_chunk;
  const int64_t least_parts = DivideUp(num_subsets, 4096);
  const Parts texts(call.num_texts, chunk, DivideUp(wanted, least_parts));
  const Parts subsets(
      num_subsets, 1,
      std::max(least_parts, std::min(DivideUp(call.num_threads, texts.count()),
                                     num_subsets / 256)));

  const int64_t num_chunks = DivideUp(call.num_texts, chunk);
  std::vector<char> partial(texts.count() > 1
                                ? num_chunks * num_subsets *
                                      call.kernels->total_bytes
                                : 0);
  Run(pool, call.num_threads, texts.count() * subsets.count(),
      [&](int64_t i) {
        OracleTask task;
        task.losses = call.RowsOf(losses.untyped_data());
        task.identities = identities.data();
        task.masks = masks.typed_data();
        task.num_models = call.num_models;
        task.num_subsets = num_subsets;
        task.subsets = subsets[i % subsets.count()];
        task.texts = texts[i / subsets.count()];
        task.out = out->untyped_data();
        task.partial = partial.empty() ? nullptr : partial.data();
        call.kernels->oracle_sums(task);
      });
  if (!partial.empty()) {
    call.kernels->combine(partial.data(), num_chunks, num_subsets,
                          out->untyped_data());
  }
  return ffi::Error::Success();
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
                                  .Arg<mmc::Masks>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

XLA_FFI_DEFINE_HANDLER_SYMBOL(mmc_union_sums, mmc::UnionSums,
                              mmc::Settings()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<mmc::Masks>()
                                  .Arg<mmc::Masks>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>());

// The name of the i-th level of this machine, the best first; null past them.
extern "C" const char* mmc_level(int i) {
  const auto& levels = mmc::Levels();
  return i < static_cast<int>(levels.size()) ? levels[i]->name : nullptr;
}

// How many minima a second, each added to a sum, num_threads threads take in
// registers alone; 0 for a level that this machine has not.
extern "C" double mmc_min_adds_per_second(const char* level, int num_threads,
                                          double seconds) {
  const mmc::Level* found = mmc::LevelNamed(level);
  if (!found) return 0;
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kPairs = 1 << 22;
  std::atomic<int64_t> num_rounds{0};
  const auto start = Clock::now();
  const auto end = start + std::chrono::duration<double>(seconds);
  std::vector<std::thread> threads;
  for (int i = 0; i < num_threads; ++i) {
    threads.emplace_back([&] {
      do {
        volatile float kept = found->min_add(kPairs);
        (void)kept;
        ++num_rounds;
      } while (Clock::now() < end);
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::chrono::duration<double> elapsed = Clock::now() - start;
  return static_cast<double>(num_rounds) * kPairs / elapsed.count();
}
