// The kernels of H1, compiled at run time for one form: TSL_WORDS words of 32 bits hold the
// vertices of a cloud, TSL_WARPS warps work on one, and TSL_SHARED says whether the relations of
// dead generators lie in shared memory.
#include "cuda/classes.hpp"

namespace {

using namespace tsl::cuda;

constexpr u32 kLuneWarps = 8;

extern __shared__ u32 shared_words[];

__device__ __forceinline__ Block this_block() {
  return {blockIdx.x, threadIdx.x / 32, blockDim.x / 32, shared_words};
}

}  // namespace

extern "C" __global__ void __launch_bounds__(TSL_WARPS * 32, 1)
    order_edges(const u32* __restrict__ D, u32 n, u32* edges, u32* spare, u32* ranks, u32* kept,
                u32* listed_count) {
  const Block block = this_block();
  EdgeOrder(block, D, n, edges, spare, ranks, kept, listed_count).run();
}

extern "C" __global__ void __launch_bounds__(kLuneWarps * 32, TSL_WORDS > 8 ? 3 : 4)
    examine_lunes(const u32* __restrict__ edges, const u32* __restrict__ ranks,
                  const u32* __restrict__ kept, u32 n, u32 blocks_a_cloud, u32* label, u32* further,
                  u32* listed, u32* listed_count) {
  const LuneOutput out{label, further, reinterpret_cast<Relation*>(listed), listed_count};
  tsl::cuda::examine_lunes<TSL_WORDS>(this_block(), edges, ranks, kept, n, blocks_a_cloud, out);
}

extern "C" __global__ void __launch_bounds__(TSL_WARPS * 32, 1)
    find_classes(const u32* __restrict__ D, const u32* __restrict__ edges,
                 const u32* __restrict__ ranks, const u32* __restrict__ kept,
                 const i64* __restrict__ h0_bars, const u32* __restrict__ listed,
                 const u32* __restrict__ listed_count, u32 n, u32 generators, u32 annotation_words,
                 u32* label, u32* further, u32* relation_edge, u32* relation_vertex, u32* killed,
                 u32* needed, u32* slot, u32* asked, u32* known, u32* fresh, u32* annotations,
                 u32* born, u32* dead_rows, i64* bars, u32* count, u32* flags) {
  const ClassesInput in{
      D, edges, ranks, kept, h0_bars, reinterpret_cast<const Relation*>(listed), listed_count};
  const ClassesScratch scratch{label,       further, relation_edge, relation_vertex, killed,
                               needed,      slot,    asked,         known,           fresh,
                               annotations, born,    dead_rows};
  const ClassesOutput out{bars, count, flags};
  Classes<TSL_SHARED>(this_block(), n, {generators, annotation_words}, in, scratch, out).run();
}
