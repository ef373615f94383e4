// The kernels of csrc/cuda on the host: a warp is a thread, and a block's warps meet at barriers.
//
//   host_twin FORM < clouds > bars
//
// FORM is "words warps shared". Reads clouds one after the other: B, n, generators, annotation
// words; the lengths [B, n, n]; the bars of H0 [B, n - 1, 4]. Writes the count, the flag and the
// bars [generators, 4] of each cloud.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "cuda/classes.hpp"

namespace {

using namespace tsl::cuda;

// Runs a grid block after block, a thread a warp; shared memory holds what a device's might.
void launch(u32 grid, u32 warps, u32 shared_words,
            const std::function<void(const Block&)>& kernel) {
  std::vector<u32> shared(shared_words);
  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, warps);
  std::vector<std::thread> threads;
  threads.reserve(warps);
  const auto work = [&](u32 warp) {
    for (u32 index = 0; index < grid; ++index) {
      if (shared_words) {
        pthread_barrier_wait(&barrier);
        if (warp == 0) std::fill(shared.begin(), shared.end(), 0xabababab);
        pthread_barrier_wait(&barrier);
      }
      kernel({index, warp, warps, shared.data(), &barrier});
    }
  };
  for (u32 warp = 0; warp < warps; ++warp) threads.emplace_back(work, warp);
  for (std::thread& thread : threads) thread.join();
  pthread_barrier_destroy(&barrier);
}

template <class T>
bool read(std::vector<T>& values) {
  return std::fread(values.data(), sizeof(T), values.size(), stdin) == values.size();
}

template <u32 kWords, bool kShared>
void run(u32 warps, u32 B, u32 n, const Room& room, const std::vector<u32>& D,
         const std::vector<i64>& h0_bars) {
  const u32 m = n * (n - 1) / 2;
  const auto each_edge = [&] { return std::vector<u32>(std::size_t{B} * m, 0xabababab); };
  std::vector<u32> edges = each_edge(), spare = each_edge(), label = each_edge();
  std::vector<u32> further = each_edge(), relation_edge = each_edge(),
                   relation_vertex = each_edge();
  std::vector<u32> killed = each_edge(), needed = each_edge(), slot = each_edge();
  std::vector<u32> asked = each_edge(), known = each_edge(), fresh = each_edge();
  std::vector<u32> ranks(std::size_t{B} * n * n), kept(B), listed_count(B), count(B), flags(B);
  std::vector<Relation> listed(std::size_t{B} * m);
  std::vector<u32> annotations(std::size_t{B} * room.annotation_words);
  std::vector<u32> born(std::size_t{B} * room.generators);
  std::vector<u32> dead_rows(kShared ? 0 : std::size_t{B} * relation_begin(room.generators));
  std::vector<i64> bars(std::size_t{B} * room.generators * 4);

  launch(B, warps, EdgeOrder::shared_words(warps), [&](const Block& block) {
    EdgeOrder(block, D.data(), n, edges.data(), spare.data(), ranks.data(), kept.data(),
              listed_count.data())
        .run();
  });
  const u32 blocks_a_cloud = (m + warps - 1) / warps;
  const LuneOutput lunes{label.data(), further.data(), listed.data(), listed_count.data()};
  launch(B * blocks_a_cloud, warps, 0, [&](const Block& block) {
    examine_lunes<kWords>(block, edges.data(), ranks.data(), kept.data(), n, blocks_a_cloud, lunes);
  });
  const ClassesInput in{D.data(),       edges.data(),  ranks.data(),       kept.data(),
                        h0_bars.data(), listed.data(), listed_count.data()};
  const ClassesScratch scratch{
      label.data(),    further.data(), relation_edge.data(), relation_vertex.data(),
      killed.data(),   needed.data(),  slot.data(),          asked.data(),
      known.data(),    fresh.data(),   annotations.data(),   born.data(),
      dead_rows.data()};
  const ClassesOutput out{bars.data(), count.data(), flags.data()};
  launch(B, warps, Classes<kShared>::shared_words(warps, room.generators),
         [&](const Block& block) { Classes<kShared>(block, n, room, in, scratch, out).run(); });
  std::fwrite(count.data(), sizeof(u32), B, stdout);
  std::fwrite(flags.data(), sizeof(u32), B, stdout);
  std::fwrite(bars.data(), sizeof(i64), bars.size(), stdout);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return 2;
  const auto number = [&](int k) {
    return static_cast<u32>(std::strtoul(arguments[k], nullptr, 10));
  };
  const u32 words = number(1), warps = number(2), shared = number(3);
  std::vector<u32> head(4);
  while (read(head)) {
    const u32 B = head[0], n = head[1];
    const Room room{head[2], head[3]};
    std::vector<u32> D(std::size_t{B} * n * n);
    std::vector<i64> h0_bars(std::size_t{B} * (n - 1) * 4);
    if (!read(D) || !read(h0_bars)) return 3;
    const auto with = [&](auto width) {
      constexpr u32 kWords = decltype(width)::value;
      shared ? run<kWords, true>(warps, B, n, room, D, h0_bars)
             : run<kWords, false>(warps, B, n, room, D, h0_bars);
    };
    if (words == 1) with(std::integral_constant<u32, 1>{});
    if (words == 2) with(std::integral_constant<u32, 2>{});
    if (words == 4) with(std::integral_constant<u32, 4>{});
    if (words == 8) with(std::integral_constant<u32, 8>{});
    if (words == 16) with(std::integral_constant<u32, 16>{});
  }
  return 0;
}
