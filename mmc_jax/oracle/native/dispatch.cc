// A level for this machine, tasks for threads.
//
// M models, X texts, S subsets.

#include "dispatch.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <limits>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace mmc {
namespace {

// What this machine can run, the best first.
const std::vector<const Level*>& Levels() {
  static const std::vector<const Level*>& levels = *[] {
    auto* found = new std::vector<const Level*>;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl")) {
      found->push_back(&kAvx512);
    }
    if (__builtin_cpu_supports("avx2")) found->push_back(&kAvx2);
#elif defined(__aarch64__)
    found->push_back(&kNeon);
#endif
    found->push_back(&kBaseline);
    return found;
  }();
  return levels;
}

// Runs task(0) to task(num_tasks - 1) on the threads, this one among them.
//
// This thread takes tasks like the others, then waits for those that another
// has begun. It never waits for one to begin: so nothing hangs where all of the
// pool's threads are in here, as happens on several virtual devices.
//
// What a task throws, such as that there is no memory, is thrown here once all
// are done: in one of the pool's threads it would end the process.
void Run(const Threads& threads, int64_t num_tasks,
         const std::function<void(int64_t)>& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable all_done;
    int64_t num_done = 0;
    std::exception_ptr error;
  };
  auto shared = std::make_shared<Shared>();
  // One that comes late finds no task and never touches `task`.
  auto work = [shared, num_tasks, &task] {
    int64_t num_done = 0;
    std::exception_ptr error;
    for (int64_t i; (i = shared->next.fetch_add(1)) < num_tasks; ++num_done) {
      try {
        task(i);
      } catch (...) {
        error = std::current_exception();
      }
    }
    if (num_done == 0) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    if (error) shared->error = error;
    shared->num_done += num_done;
    if (shared->num_done == num_tasks) shared->all_done.notify_one();
  };
  // Nothing may be thrown from here on before all are done: another thread may
  // be using `task`.
  try {
    for (int64_t i = 1; i < std::min(threads.num, num_tasks); ++i) {
      threads.schedule(work);
    }
  } catch (...) {
    // There is no memory to call more threads: this one does the rest.
  }
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->num_done == num_tasks; });
  if (shared->error) std::rethrow_exception(shared->error);
}

int64_t DivideUp(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How [0, size) is cut into at most num_ranges ranges of a multiple of `grain`;
// one range where it is empty.
class Ranges {
 public:
  Ranges(int64_t size, int64_t grain, int64_t num_ranges)
      : size_(size),
        width_(std::max<int64_t>(
            grain, DivideUp(size, num_ranges * grain) * grain)) {}
  int64_t count() const { return std::max<int64_t>(1, DivideUp(size_, width_)); }
  Range operator[](int64_t i) const {
    return {i * width_, std::min(size_, (i + 1) * width_)};
  }

 private:
  int64_t size_;
  int64_t width_;
};

// Tasks for each thread, so that one that is held up does not hold up the rest.
constexpr int64_t kTasksPerThread = 2;

// Models in a task of `RunUnionSums`: their rows stay in the second-level cache.
constexpr int64_t kOthers = 144;

// Bytes of partial sums that chunks of texts may take. Where they would take
// more, the texts are not dealt out.
constexpr int64_t kMostPartialBytes = int64_t{1} << 28;

int64_t BytesOf(Number number) { return number == kFloat64 ? 8 : 4; }

Rows RowsOf(const Call& call, const void* data) {
  return {static_cast<const char*>(data), call.num_texts, BytesOf(call.number),
          static_cast<const char*>(call.weights), call.kernels->pack};
}

// Returns the minimum over no models, as often as a block of texts needs it.
std::vector<char> Identities(Number number) {
  std::vector<char> identities(kMaxBlock * BytesOf(number), '\xff');
  if (number == kFloat32) {
    std::fill_n(reinterpret_cast<float*>(identities.data()), kMaxBlock,
                std::numeric_limits<float>::infinity());
  } else if (number == kFloat64) {
    std::fill_n(reinterpret_cast<double*>(identities.data()), kMaxBlock,
                std::numeric_limits<double>::infinity());
  }
  return identities;
}

// The partial sums of each chunk of texts, where chunks are dealt out.
class Partial {
 public:
  // Of num_texts texts in chunks, up to num_ranges ranges of them at once.
  Partial(const Kernels& kernels, int64_t num_texts, int64_t chunk,
          int64_t num_ranges, int64_t num_sums)
      : kernels_(kernels),
        num_chunks_(DivideUp(num_texts, chunk)),
        num_sums_(num_sums),
        texts_(num_texts, chunk,
               num_sums <= kMostPartialBytes / kernels.total_bytes /
                               std::max<int64_t>(1, num_chunks_)
                   ? num_ranges
                   : 1),
        sums_(texts_.count() > 1
                  ? num_chunks_ * num_sums * kernels.total_bytes
                  : 0) {}

  const Ranges& texts() const { return texts_; }
  void* sums() { return sums_.empty() ? nullptr : sums_.data(); }
  void AddUp(void* out) const {
    if (sums_.empty()) return;
    kernels_.combine(sums_.data(), num_chunks_, num_sums_, out);
  }

 private:
  const Kernels& kernels_;
  int64_t num_chunks_;
  int64_t num_sums_;
  Ranges texts_;
  std::vector<char> sums_;
};

// Fills out[task.num_subsets, task.num_models].
void RunTasks(const Threads& threads, const Call& call, MinSumTask task,
              void* out) {
  // Subsets are dealt out first; each task packs the losses for itself, which
  // 64 subsets repay. Where they do not suffice, chunks of texts are dealt out,
  // and then models.
  const int64_t wanted = kTasksPerThread * threads.num;
  const Ranges subsets(
      task.num_subsets, 8,
      std::min(std::max(wanted, DivideUp(task.num_subsets, 256)),
               std::max<int64_t>(1, task.num_subsets / 64)));
  Partial partial(*call.kernels, call.num_texts, call.kernels->min_sum_chunk,
                  DivideUp(wanted, subsets.count()),
                  task.num_subsets * task.num_models);
  const Ranges& texts = partial.texts();
  const Ranges models(
      task.num_models, 6,
      std::max(DivideUp(threads.num, subsets.count() * texts.count()),
               task.loss_masks ? DivideUp(task.num_models, kOthers) : 1));
  task.out = out;
  task.partial = partial.sums();
  Run(threads, texts.count() * models.count() * subsets.count(),
      [&](int64_t i) {
        MinSumTask part = task;
        part.subsets = subsets[i % subsets.count()];
        i /= subsets.count();
        part.models = models[i % models.count()];
        part.texts = texts[i / models.count()];
        call.kernels->min_sum(part);
      });
  partial.AddUp(out);
}

}  // namespace

void ThrowNoMemory() { throw std::bad_alloc(); }

const Level* LevelNamed(std::string_view name) {
  for (const Level* level : Levels()) {
    if (name.empty() || name == level->name) return level;
  }
  return nullptr;
}

void RunMinSum(const Threads& threads, const Call& call, const void* values,
               int64_t num_subsets, void* out) {
  if (num_subsets == 0 || call.num_models == 0) return;
  MinSumTask task{};
  task.values = RowsOf(call, values);
  task.losses = RowsOf(call, call.losses);
  task.num_subsets = num_subsets;
  task.num_models = call.num_models;
  RunTasks(threads, call, task, out);
}

void RunUnionSums(const Threads& threads, const Call& call,
                  const uint8_t* masks, int64_t num_subsets,
                  const uint8_t* others, int64_t num_others, void* out) {
  if (num_subsets == 0 || num_others == 0) return;
  const std::vector<char> identities = Identities(call.number);
  MinSumTask task{};
  task.losses = RowsOf(call, call.losses);
  task.value_masks = masks;
  task.loss_masks = others;
  task.num_members = call.num_models;
  task.identities = identities.data();
  task.num_subsets = num_subsets;
  task.num_models = num_others;
  RunTasks(threads, call, task, out);
}

void RunOracleSums(const Threads& threads, const Call& call,
                   const uint8_t* masks, int64_t num_subsets, void* out) {
  if (num_subsets == 0) return;
  const std::vector<char> identities = Identities(call.number);
  // Texts are dealt out first: what a task does to a block of texts before the
  // first subset, only thousands of subsets repay.
  const int64_t wanted = kTasksPerThread * threads.num;
  const int64_t least_ranges = DivideUp(num_subsets, 4096);
  Partial partial(*call.kernels, call.num_texts, call.kernels->oracle_chunk,
                  DivideUp(wanted, least_ranges), num_subsets);
  const Ranges& texts = partial.texts();
  const Ranges subsets(
      num_subsets, 1,
      std::max(least_ranges, std::min(DivideUp(threads.num, texts.count()),
                                      num_subsets / 256)));
  OracleTask task{};
  task.losses = RowsOf(call, call.losses);
  task.identities = identities.data();
  task.masks = masks;
  task.num_models = call.num_models;
  task.num_subsets = num_subsets;
  task.out = out;
  task.partial = partial.sums();
  Run(threads, texts.count() * subsets.count(), [&](int64_t i) {
    OracleTask part = task;
    part.subsets = subsets[i % subsets.count()];
    part.texts = texts[i / subsets.count()];
    call.kernels->oracle_sums(part);
  });
  partial.AddUp(out);
}

void RunMixtureSums(const Threads& threads, const Call& call,
                    const void* log_weights, const uint8_t* masks,
                    int64_t num_subsets, void* out) {
  if (num_subsets == 0) return;
  // As for `RunOracleSums`.
  const int64_t wanted = kTasksPerThread * threads.num;
  const int64_t least_ranges = DivideUp(num_subsets, 4096);
  Partial partial(*call.kernels, call.num_texts, call.kernels->mixture_chunk,
                  DivideUp(wanted, least_ranges), num_subsets);
  const Ranges& texts = partial.texts();
  const Ranges subsets(
      num_subsets, 1,
      std::max(least_ranges, std::min(DivideUp(threads.num, texts.count()),
                                      num_subsets / 256)));
  MixtureTask task{};
  task.nll = RowsOf(call, call.losses);
  task.log_weights = log_weights;
  task.masks = masks;
  task.num_models = call.num_models;
  task.num_subsets = num_subsets;
  task.out = out;
  task.partial = partial.sums();
  Run(threads, texts.count() * subsets.count(), [&](int64_t i) {
    MixtureTask part = task;
    part.subsets = subsets[i % subsets.count()];
    part.texts = texts[i / subsets.count()];
    call.kernels->mixture_sums(part);
  });
  partial.AddUp(out);
}

}  // namespace mmc

// Returns the number of what cpu.py and this library agree on. It grows with
// every change of a call's arguments or of what a call promises.
extern "C" int mmc_interface() { return 3; }

// Returns the name of the i-th level of this machine, the best first; null past
// the last.
extern "C" const char* mmc_level(int i) {
  const auto& levels = mmc::Levels();
  const bool exists = i >= 0 && i < static_cast<int>(levels.size());
  return exists ? levels[i]->name : nullptr;
}

// Returns how many minima a second, each added to a sum, num_threads threads
// take in registers alone; 0 for a level that this machine does not have, or
// where no thread starts.
extern "C" double mmc_min_adds_per_second(const char* level, int num_threads,
                                          double seconds) {
  const mmc::Level* found = mmc::LevelNamed(level);
  if (!found) return 0;
  using Clock = std::chrono::steady_clock;
  constexpr int64_t kPairs = 1 << 22;
  std::atomic<int64_t> num_rounds{0};
  const auto start = Clock::now();
  const auto is_over = [&] {
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    return !(elapsed.count() < seconds);
  };
  std::vector<std::thread> threads;
  try {
    threads.reserve(num_threads);
    for (int i = 0; i < num_threads; ++i) {
      threads.emplace_back([&] {
        do {
          volatile float kept = found->min_add(kPairs);
          (void)kept;
          ++num_rounds;
        } while (!is_over());
      });
    }
  } catch (const std::exception&) {
    // The machine starts no more threads, or has no memory for them: those that
    // run are measured. What is thrown past a running one ends the process.
  }
  for (std::thread& thread : threads) thread.join();
  const std::chrono::duration<double> elapsed = Clock::now() - start;
  return static_cast<double>(num_rounds) * kPairs / elapsed.count();
}
