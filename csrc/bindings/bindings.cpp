// The Python face of the engine: checks arguments, frees the GIL, runs one thread per cloud.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "geometry/distances.hpp"
#include "geometry/edge_scatter.hpp"
#include "geometry/finite.hpp"
#include "losses/losses.hpp"
#include "losses/persistence_loss.hpp"
#include "losses/surrogate_loss.hpp"
#include "platform/isa.hpp"
#include "platform/kept.hpp"
#include "platform/parallel.hpp"
#include "rips/h0.hpp"
#include "rips/h1.hpp"

namespace py = pybind11;

namespace {

using tsl::H0Bar;
using tsl::H1Bar;
using tsl::Isa;
using Index = std::int64_t;

std::string describe(const py::array& a) {
  std::string shape;
  for (py::ssize_t k = 0; k < a.ndim(); ++k) shape += (k ? ", " : "") + std::to_string(a.shape(k));
  return py::str(a.dtype()).cast<std::string>() + " [" + shape + "]";
}

void require(bool holds, const char* name, const std::string& expected, const py::array& got) {
  if (!holds)
    throw py::value_error(std::string(name) + ": expected " + expected + ", got " + describe(got));
}

void require_contiguous(const py::array& a, const char* name, py::ssize_t rank) {
  if (a.ndim() < rank || (a.flags() & py::array::c_style) == 0)
    require(false, name, "a contiguous array of rank " + std::to_string(rank) + " or more", a);
}

using Shape = std::vector<py::ssize_t>;

// Clouds [..., n, d] or matrices [..., n, n]: B of them, in the leading dimensions.
struct Batch {
  Shape lead;
  std::size_t B, n, d;

  // Bars of H0 in each cloud.
  std::size_t h0_bars() const { return n > 0 ? n - 1 : 0; }

  // The leading dimensions, and others behind them.
  Shape with(std::initializer_list<std::size_t> trailing) const {
    Shape shape = lead;
    for (const std::size_t size : trailing) shape.push_back(static_cast<py::ssize_t>(size));
    return shape;
  }
};

Batch check_batch(const py::array& a, const char* name, bool square) {
  require_contiguous(a, name, 2);
  const py::ssize_t* const shape = a.shape();
  const py::ssize_t rank = a.ndim();
  Batch batch{Shape(shape, shape + rank - 2), 1, static_cast<std::size_t>(shape[rank - 2]),
              static_cast<std::size_t>(shape[rank - 1])};
  for (const py::ssize_t size : batch.lead) batch.B *= static_cast<std::size_t>(size);
  if (square && batch.n != batch.d) require(false, name, "square matrices [..., n, n]", a);
  if (batch.n > tsl::kMaxPoints)
    require(false, name, "at most " + std::to_string(tsl::kMaxPoints) + " points", a);
  return batch;
}

// Whether `a` has the leading dimensions of the batch, and the given ones behind them.
bool fits(const py::array& a, const Batch& batch, std::initializer_list<std::size_t> trailing) {
  const Shape expected = batch.with(trailing);
  return a.ndim() == static_cast<py::ssize_t>(expected.size()) &&
         std::equal(expected.begin(), expected.end(), a.shape());
}

template <class T>
bool holds(const py::array& a) {
  return py::isinstance<py::array_t<T>>(a);
}

// Calls run(T{}) with the floating type of `a`.
template <class Run>
auto with_float_type(const py::array& a, const char* name, Run run) {
  if (holds<float>(a)) return run(float{});
  if (holds<double>(a)) return run(double{});
  throw py::type_error(std::string(name) + ": expected float32 or float64, got " + describe(a));
}

// About how many nanoseconds a cloud takes, measured on one core with AVX2: enough to tell whether
// another thread is worth waking.
struct Nanoseconds {
  double n, d;

  explicit Nanoseconds(const Batch& batch)
      : n(static_cast<double>(batch.n)), d(static_cast<double>(batch.d)) {}

  double distances() const { return 0.01 * n * n * d; }
  double differences() const { return 0.02 * n * n * d; }
  double h0() const { return n * n; }
  double h1() const { return 5 * n * n; }
  double edges(std::size_t K) const { return 0.1 * static_cast<double>(K) * d; }
};

// One thread per cloud, without the GIL: the workers touch no Python object.
template <class MakeWorker>
void for_each_cloud_without_gil(const Batch& batch, double nanoseconds, std::size_t threads,
                                MakeWorker make_worker) {
  const py::gil_scoped_release released;
  tsl::for_each_cloud(batch.B, nanoseconds, threads, make_worker);
}

template <class T>
const T* data(const py::array& a) {
  return static_cast<const T*>(a.data());
}

using H0Bars = std::vector<std::vector<H0Bar>>;
using H1Bars = std::vector<std::vector<H1Bar>>;

std::size_t most_bars(const H1Bars& bars) {
  std::size_t K = 0;
  for (const auto& cloud : bars) K = std::max(K, cloud.size());
  return K;
}

// Pads with -1, though only a matrix that holds NaN lacks bars.
py::array_t<Index> pack_h0(const H0Bars& bars, const Batch& batch) {
  const std::size_t K = batch.h0_bars();
  py::array_t<Index> packed(batch.with({K, 3}));
  Index* out = packed.mutable_data();
  for (const auto& cloud : bars) {
    for (const H0Bar& bar : cloud) {
      *out++ = bar.birth;
      *out++ = tsl::first(bar.death);
      *out++ = tsl::second(bar.death);
    }
    out = std::fill_n(out, 3 * (K - cloud.size()), Index{-1});
  }
  return packed;
}

// Pads to the longest cloud with -1.
py::array_t<Index> pack_h1(const H1Bars& bars, const Batch& batch) {
  const std::size_t K = most_bars(bars);
  py::array_t<Index> packed(batch.with({K, 4}));
  Index* out = packed.mutable_data();
  for (const auto& cloud : bars) {
    for (const H1Bar& bar : cloud) {
      *out++ = tsl::first(bar.birth);
      *out++ = tsl::second(bar.birth);
      *out++ = tsl::first(bar.death);
      *out++ = tsl::second(bar.death);
    }
    out = std::fill_n(out, 4 * (K - cloud.size()), Index{-1});
  }
  return packed;
}

// The fields of a PersistenceDiagram: births and deaths [..., K], birth and death edges [..., K,
// 2], mask [..., K]; bars are appended cloud by cloud.
template <class T>
class DiagramArrays {
 public:
  DiagramArrays(const Batch& batch, std::size_t K)
      : births_(batch.with({K})),
        deaths_(batch.with({K})),
        birth_edges_(batch.with({K, 2})),
        death_edges_(batch.with({K, 2})),
        mask_(batch.with({K})),
        birth_(births_.mutable_data()),
        death_(deaths_.mutable_data()),
        birth_edge_(birth_edges_.mutable_data()),
        death_edge_(death_edges_.mutable_data()),
        is_bar_(mask_.mutable_data()) {}

  void append(T birth, T death, Index i, Index j, Index k, Index l, bool is_bar = true) {
    *birth_++ = birth;
    *death_++ = death;
    *birth_edge_++ = i;
    *birth_edge_++ = j;
    *death_edge_++ = k;
    *death_edge_++ = l;
    *is_bar_++ = is_bar;
  }

  void pad(std::size_t count) {
    while (count-- > 0) append(0, 0, -1, -1, -1, -1, false);
  }

  py::tuple arrays() const {
    return py::make_tuple(births_, deaths_, birth_edges_, death_edges_, mask_);
  }

 private:
  py::array_t<T> births_, deaths_;
  py::array_t<Index> birth_edges_, death_edges_;
  py::array_t<bool> mask_;
  T *birth_, *death_;
  Index *birth_edge_, *death_edge_;
  bool* is_bar_;
};

template <class T>
py::tuple h0_arrays(const H0Bars& bars, const T* D, const Batch& batch) {
  const std::size_t K = batch.h0_bars();
  DiagramArrays<T> diagram(batch, K);
  for (std::size_t b = 0; b < batch.B; ++b, D += batch.n * batch.n) {
    for (const H0Bar& bar : bars[b]) {
      const tsl::Vertex i = tsl::first(bar.death);
      const tsl::Vertex j = tsl::second(bar.death);
      diagram.append(0, D[i * batch.n + j], bar.birth, bar.birth, i, j);
    }
    diagram.pad(K - bars[b].size());
  }
  return diagram.arrays();
}

template <class T>
py::tuple h1_arrays(const H1Bars& bars, const T* D, const Batch& batch) {
  const std::size_t K = most_bars(bars);
  DiagramArrays<T> diagram(batch, K);
  for (std::size_t b = 0; b < batch.B; ++b, D += batch.n * batch.n) {
    for (const H1Bar& bar : bars[b]) {
      const tsl::Vertex i = tsl::first(bar.birth), j = tsl::second(bar.birth);
      const tsl::Vertex k = tsl::first(bar.death), l = tsl::second(bar.death);
      diagram.append(D[i * batch.n + j], D[k * batch.n + l], i, j, k, l);
    }
    diagram.pad(K - bars[b].size());
  }
  return diagram.arrays();
}

py::array distances(const py::array& x, std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> D(batch.with({batch.n, batch.n}));
    const T* in = data<T>(x);
    T* out = D.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).distances(), threads, [&] {
      return [&](std::size_t b) {
        tsl::pairwise_distances(in + b * batch.n * batch.d, batch.n, batch.d,
                                out + b * batch.n * batch.n, isa);
      };
    });
    return D;
  });
}

// sum_j weights_ij (x_i - x_j): the gradient of any function of the distances.
py::array scatter_differences(const py::array& x, const py::array& weights, std::size_t threads,
                              const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  require_contiguous(weights, "weights", 2);
  require(fits(weights, batch, {batch.n, batch.n}), "weights", "[..., n, n] for x [..., n, d]",
          weights);
  require(weights.dtype().is(x.dtype()), "weights", "the dtype of x", weights);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> grad(batch.with({batch.n, batch.d}));
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).differences(), threads, [&] {
      return [&](std::size_t b) {
        const std::size_t at = b * batch.n * batch.d;
        tsl::scatter_differences(in + at, w + b * batch.n * batch.n, batch.n, batch.d, out + at,
                                 isa);
      };
    });
    return grad;
  });
}

template <class T>
H0Bars bars_of_h0(const T* D, const Batch& batch, std::size_t threads) {
  H0Bars bars(batch.B);
  for_each_cloud_without_gil(batch, Nanoseconds(batch).h0(), threads, [&] {
    auto engine = tsl::kept_engine<tsl::H0<T>>(batch.n);
    return [&, engine](std::size_t b) {
      engine->compute(D + b * batch.n * batch.n, batch.n, bars[b]);
    };
  });
  return bars;
}

template <class T>
std::pair<H0Bars, H1Bars> bars_of_h1(const T* D, const Batch& batch, std::size_t threads, Isa isa) {
  H0Bars h0(batch.B);
  H1Bars h1(batch.B);
  for_each_cloud_without_gil(batch, Nanoseconds(batch).h1(), threads, [&] {
    auto engine = tsl::kept_engine<tsl::H1<T>>(batch.n);
    return [&, engine](std::size_t b) {
      engine->compute(D + b * batch.n * batch.n, batch.n, isa, h0[b], h1[b]);
    };
  });
  return {std::move(h0), std::move(h1)};
}

py::array_t<Index> h0(const py::array& D, std::size_t threads) {
  const Batch batch = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    return pack_h0(bars_of_h0(data<T>(D), batch, threads), batch);
  });
}

py::tuple h1(const py::array& D, std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(D, "D", true);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    const auto [h0_bars, h1_bars] = bars_of_h1(data<T>(D), batch, threads, isa);
    return py::make_tuple(pack_h0(h0_bars, batch), pack_h1(h1_bars, batch));
  });
}

// The diagrams of H0, and of H1 where max_dim is 1, as the fields of a PersistenceDiagram.
py::tuple diagrams(const py::array& D, int max_dim, std::size_t threads,
                   const std::string& isa_text) {
  const Batch batch = check_batch(D, "D", true);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) -> py::tuple {
    using T = decltype(zero);
    const T* in = data<T>(D);
    if (max_dim == 0) return py::make_tuple(h0_arrays(bars_of_h0(in, batch, threads), in, batch));
    const auto [h0_bars, h1_bars] = bars_of_h1(in, batch, threads, isa);
    return py::make_tuple(h0_arrays(h0_bars, in, batch), h1_arrays(h1_bars, in, batch));
  });
}

// The number K of edges [..., K, 2], once they were found to be edges of the batch's clouds or
// padding.
std::size_t check_edges(const py::array& edges, const Batch& batch) {
  require_contiguous(edges, "edges", 2);
  const auto K = static_cast<std::size_t>(edges.shape(edges.ndim() - 2));
  require(holds<Index>(edges) && fits(edges, batch, {K, 2}), "edges", "int64 [..., K, 2]", edges);
  const Index* index = data<Index>(edges);
  for (py::ssize_t k = 0; k < edges.size(); ++k)
    if (index[k] < -1 || index[k] >= static_cast<Index>(batch.n))
      throw py::value_error("edges: expected vertices from 0 to " + std::to_string(batch.n - 1) +
                            " or padding -1, got " + std::to_string(index[k]));
  return K;
}

py::array edge_lengths(const py::array& x, const py::array& edges, std::size_t threads,
                       const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const std::size_t K = check_edges(edges, batch);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> lengths(batch.with({K}));
    const T* in = data<T>(x);
    const Index* index = data<Index>(edges);
    T* out = lengths.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).edges(K), threads, [&] {
      return [&](std::size_t b) {
        tsl::edge_lengths(in + b * batch.n * batch.d, index + b * K * 2, K, batch.d, out + b * K,
                          isa);
      };
    });
    return lengths;
  });
}

// weights_k (x_i - x_j) added to row i and taken from row j, edge by edge in the given order.
py::array scatter_edges(const py::array& x, const py::array& edges, const py::array& weights,
                        std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const std::size_t K = check_edges(edges, batch);
  require_contiguous(weights, "weights", 1);
  require(fits(weights, batch, {K}) && weights.dtype().is(x.dtype()), "weights",
          "[..., K] in the dtype of x", weights);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> grad(batch.with({batch.n, batch.d}));
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    const Index* index = data<Index>(edges);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(batch, Nanoseconds(batch).edges(K), threads, [&] {
      auto scatter = tsl::kept_engine<tsl::EdgeScatter<T>>(batch.n);
      return [&, scatter](std::size_t b) {
        scatter->clear();
        for (std::size_t k = b * K; k < (b + 1) * K; ++k) {
          const Index i = index[2 * k];
          const Index j = index[2 * k + 1];
          // Neither padding nor loops add anything, nor does a weight of 0 at an infinite point.
          if (i >= 0 && j >= 0 && i != j && w[k] != 0)
            scatter->add(static_cast<tsl::Vertex>(i), static_cast<tsl::Vertex>(j), w[k]);
        }
        const std::size_t at = b * batch.n * batch.d;
        scatter->write(in + at, batch.n, batch.d, out + at, isa);
      };
    });
    return grad;
  });
}

// Runs one loss over a batch of clouds: (loss [...], L_H0 [...], L_H1 [...], the loss's gradient
// [..., n, d] or None). A cloud whose distances are not all finite gets NaN for its loss and its
// terms.
template <class Loss, class T, class Options>
py::tuple loss_of_batch(const py::array& x, const Batch& batch, const Options& options,
                        bool with_grad, std::size_t threads, Isa isa) {
  py::array_t<T> losses(batch.lead);
  py::array_t<T> h0_terms(batch.lead);
  py::array_t<T> h1_terms(batch.lead);
  py::object grad = py::none();
  T* grad_out = nullptr;
  if (with_grad) {
    py::array_t<T> array(batch.with({batch.n, batch.d}));
    grad_out = array.mutable_data();
    grad = array;
  }
  const Nanoseconds each(batch);
  const double nanoseconds = each.distances() + each.differences() + each.h1();
  const T* in = data<T>(x);
  T* loss_out = losses.mutable_data();
  T* h0_out = h0_terms.mutable_data();
  T* h1_out = h1_terms.mutable_data();
  for_each_cloud_without_gil(batch, nanoseconds, threads, [&] {
    auto loss = tsl::kept_engine<Loss>(batch.n);
    return [&, loss](std::size_t b) {
      const std::size_t at = b * batch.n * batch.d;
      const tsl::LossTerms terms = loss->compute(options, in + at, batch.n, batch.d, isa,
                                                 grad_out ? grad_out + at : nullptr);
      loss_out[b] = static_cast<T>(options.weights.h0 * terms.h0 + options.weights.h1 * terms.h1);
      h0_out[b] = static_cast<T>(terms.h0);
      h1_out[b] = static_cast<T>(terms.h1);
    };
  });
  return py::make_tuple(losses, h0_terms, h1_terms, grad);
}

py::tuple persistence_loss(const py::array& x, double h0_weight, double h1_weight, double h1_power,
                           bool scale_by_mean, int max_dim, bool with_grad, std::size_t threads,
                           const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  const tsl::PersistenceOptions options{{h0_weight, h1_weight, scale_by_mean}, h1_power, max_dim};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<tsl::PersistenceLoss<T>, T>(x, batch, options, with_grad, threads, isa);
  });
}

py::tuple surrogate_loss(const py::array& x, double h0_weight, double h1_weight, double tau,
                         double alpha, double lambda_repel, double lambda_attract,
                         bool scale_by_mean, bool self_pairs, bool detach_scales, bool with_grad,
                         std::size_t threads, const std::string& isa_text) {
  const Batch batch = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  const tsl::SurrogateOptions options{{h0_weight, h1_weight, scale_by_mean},
                                      tau,
                                      alpha,
                                      lambda_repel,
                                      lambda_attract,
                                      self_pairs,
                                      detach_scales};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<tsl::SurrogateLoss<T>, T>(x, batch, options, with_grad, threads, isa);
  });
}

// Flat index of the first NaN or infinity, or -1.
Index first_nonfinite(const py::array& a) {
  require_contiguous(a, "a", 0);
  return with_float_type(a, "a", [&](auto zero) -> Index {
    using T = decltype(zero);
    const T* values = data<T>(a);
    const auto size = static_cast<std::size_t>(a.size());
    if (tsl::all_finite(values, size)) return -1;
    const T* first = std::find_if(values, values + size, [](T v) { return !std::isfinite(v); });
    return static_cast<Index>(first - values);
  });
}

template <class T>
const char* entry_fault(T value, T mirrored, bool diagonal) {
  if (!std::isfinite(value) || !std::isfinite(mirrored)) return "not finite";
  if (diagonal) return value == 0 ? nullptr : "non-zero on the diagonal";
  if (value != mirrored) return "asymmetric";
  return value < 0 ? "negative" : nullptr;
}

// Whether no entry of the matrix has a fault. In tiles, for the mirrored entries of one row lie far
// apart, and without a branch.
template <class T>
bool is_distance_matrix(const T* matrix, std::size_t n) {
  constexpr std::size_t kTile = 16;
  if (!tsl::all_finite(matrix, n * n)) return false;
  bool faulty = false;
  for (std::size_t i = 0; i < n; ++i) faulty |= matrix[i * n + i] != 0;
  for (std::size_t i0 = 0; i0 < n; i0 += kTile)
    for (std::size_t j0 = 0; j0 <= i0; j0 += kTile)
      for (std::size_t i = i0; i < std::min(n, i0 + kTile); ++i)
        for (std::size_t j = j0; j < std::min(n, j0 + kTile); ++j)
          faulty |= (matrix[i * n + j] < 0) | (matrix[i * n + j] != matrix[j * n + i]);
  return !faulty;
}

// The first entry that no distance matrix has: (fault, b, i, j), or None.
py::object first_matrix_fault(const py::array& D) {
  const Batch batch = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) -> py::object {
    using T = decltype(zero);
    const std::size_t n = batch.n;
    const T* matrix = data<T>(D);
    for (std::size_t b = 0; b < batch.B; ++b, matrix += n * n) {
      if (is_distance_matrix(matrix, n)) continue;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i; j < n; ++j)
          if (const char* fault = entry_fault(matrix[i * n + j], matrix[j * n + i], i == j))
            return py::make_tuple(fault, b, i, j);
    }
    return py::none();
  });
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "The C++ engine of tsloss_fast: contiguous NumPy arrays in, NumPy arrays out.";
  m.attr("max_points") = tsl::kMaxPoints;
  m.def("best_isa", [] { return tsl::isa_name(tsl::best_isa()); });
  m.def("first_nonfinite", &first_nonfinite, py::arg("a"));
  m.def("first_matrix_fault", &first_matrix_fault, py::arg("D"));
  m.def("distances", &distances, py::arg("x"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("scatter_differences", &scatter_differences, py::arg("x"), py::arg("weights"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("h0", &h0, py::arg("D"), py::arg("threads") = 1);
  m.def("h1", &h1, py::arg("D"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("diagrams", &diagrams, py::arg("D"), py::arg("max_dim"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
  m.def("edge_lengths", &edge_lengths, py::arg("x"), py::arg("edges"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
  m.def("scatter_edges", &scatter_edges, py::arg("x"), py::arg("edges"), py::arg("weights"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("persistence_loss", &persistence_loss, py::arg("x"), py::arg("h0_weight"),
        py::arg("h1_weight"), py::arg("h1_power"), py::arg("scale_by_mean"), py::arg("max_dim"),
        py::arg("with_grad"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("surrogate_loss", &surrogate_loss, py::arg("x"), py::arg("h0_weight"), py::arg("h1_weight"),
        py::arg("tau"), py::arg("alpha"), py::arg("lambda_repel"), py::arg("lambda_attract"),
        py::arg("scale_by_mean"), py::arg("self_pairs"), py::arg("detach_scales"),
        py::arg("with_grad"), py::arg("threads") = 1, py::arg("isa") = "auto");
}
