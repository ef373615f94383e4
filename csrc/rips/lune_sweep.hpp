// The sweep over the filtration that finds both diagrams.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "platform/aligned.hpp"
#include "platform/isa.hpp"
#include "rips/bar.hpp"
#include "rips/bitset.hpp"
#include "rips/edge_queue.hpp"
#include "rips/filtration.hpp"
#include "rips/relations.hpp"
#include "rips/sweep_record.hpp"
#include "rips/union_find.hpp"

namespace tsl::rips {

// What an AnnotatedGraph (annotated_graph.inl) writes to.
struct GraphMemory {
  // Rows of bits: the neighbours of a vertex, itself among them, and those whose edge is annotated
  // zero.
  AlignedVector<Word> adjacent;
  AlignedVector<Word> zero;
  // Uninitialised, for each is written before it is read.
  std::unique_ptr<std::int32_t[]> annotations;
  std::size_t annotations_size = 0;
};

// What a list of EmptyLunes (empty_lunes.inl) writes to.
template <class T>
struct EmptyLuneMemory {
  // Rows of bits: the pairs that may have an empty lune.
  AlignedVector<Word> open;
  std::vector<FiltrationEdge<T>> edges;
};

// What the sweep writes to while it runs, kept from cloud to cloud. Each part is written by one
// class.
template <class T>
struct SweepMemory {
  EdgeMemory<T> edges;
  GraphMemory graph;
  EmptyLuneMemory<T> empty_lunes;
  RelationMemory relations;
  UnionFind components;
  std::vector<Vertex> rank;
  std::vector<FiltrationEdge<T>> generators;
  std::vector<std::size_t> killed;
  std::vector<Edge> pending;
  // Two rows of bits, for clouds that are too large to keep them in registers.
  AlignedVector<Word> rest;
  AlignedVector<Word> frontier;
};

// Writes both barcodes of the [n, n] matrix D, whose shortest edge is given, with its edges up to
// the length `reach`. `order` lists all vertices; any order gives the same diagrams, and one from
// the centre outwards is fastest. What the sweep does is written to `record`, which may be null.
template <class T>
void sweep_lunes(const T* D, std::size_t n, T shortest, T reach, const std::vector<Vertex>& order,
                 SweepMemory<T>& memory, Isa isa, Barcode& h0, Barcode& h1, SweepRecord* record);

}  // namespace tsl::rips
