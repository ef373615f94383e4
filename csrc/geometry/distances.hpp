// Euclidean distances between the rows of a cloud by direct differences, and their gradient.
#pragma once

#include <cstddef>
#include <cstdint>

#include "platform/isa.hpp"

namespace tsl::geometry {

// x is [n, d]; writes D [n, n], bitwise symmetric with a zero diagonal.
template <class T>
void pairwise_distances(const T* x, std::size_t n, std::size_t d, T* D, Isa isa);

// grad_x[i] = sum_j weights[i, j] * (x[i] - x[j]), for symmetric weights [n, n].
template <class T>
void scatter_differences(const T* x, const T* weights, std::size_t n, std::size_t d, T* grad_x,
                         Isa isa);

// lengths[k] = ||x[i_k] - x[j_k]|| for the edges (i_k, j_k), or 0 where an index is negative.
template <class T>
void edge_lengths(const T* x, const std::int64_t* edges, std::size_t count, std::size_t d,
                  T* lengths, Isa isa);

}  // namespace tsl::geometry
