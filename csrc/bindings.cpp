// The Python face of the engine: checks arguments, frees the GIL, runs one thread per cloud.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "distances.hpp"
#include "edge_scatter.hpp"
#include "finite.hpp"
#include "h0.hpp"
#include "h1.hpp"
#include "isa.hpp"
#include "losses.hpp"
#include "persistence_loss.hpp"
#include "surrogate_loss.hpp"
#include "parallel.hpp"

namespace py = pybind11;

namespace {

using tsl::H0Bar;
using tsl::H1Bar;
using tsl::Isa;
using Index = std::int64_t;

std::string describe(const py::array& a) {
  std::string shape;
  for (py::ssize_t k = 0; k < a.ndim(); ++k)
    shape += (k ? ", " : "") + std::to_string(a.shape(k));
  return py::str(a.dtype()).cast<std::string>() + " [" + shape + "]";
}

void require(bool holds, const std::string& name, const std::string& expected,
             const py::array& got) {
  if (!holds) throw py::value_error(name + ": expected " + expected + ", got " + describe(got));
}

void require_contiguous(const py::array& a, const std::string& name, py::ssize_t rank) {
  require(a.ndim() == rank && (a.flags() & py::array::c_style) != 0, name,
          "a contiguous array of rank " + std::to_string(rank), a);
}

// A batch of clouds [B, n, d] or of matrices [B, n, n].
struct Batch {
  std::size_t B, n, d;
};

Batch check_batch(const py::array& a, const std::string& name, bool square) {
  require_contiguous(a, name, 3);
  const Batch batch{static_cast<std::size_t>(a.shape(0)), static_cast<std::size_t>(a.shape(1)),
                    static_cast<std::size_t>(a.shape(2))};
  require(!square || batch.n == batch.d, name, "square matrices [B, n, n]", a);
  require(batch.n <= tsl::kMaxPoints, name, "at most " + std::to_string(tsl::kMaxPoints) + " points",
          a);
  return batch;
}

template <class T>
bool holds(const py::array& a) {
  return py::isinstance<py::array_t<T>>(a);
}

// Calls run(T{}) with the floating type of `a`.
template <class Run>
auto with_float_type(const py::array& a, const std::string& name, Run run) {
  if (holds<float>(a)) return run(float{});
  if (holds<double>(a)) return run(double{});
  throw py::type_error(name + ": expected float32 or float64, got " + describe(a));
}

// One thread per cloud, without the GIL: the workers touch no Python object.
template <class MakeWorker>
void for_each_cloud_without_gil(std::size_t B, std::size_t threads, MakeWorker make_worker) {
  const py::gil_scoped_release released;
  tsl::for_each_cloud(B, threads, make_worker);
}

template <class T>
const T* data(const py::array& a) {
  return static_cast<const T*>(a.data());
}

py::array_t<Index> pack_h0(const std::vector<std::vector<H0Bar>>& bars, std::size_t n) {
  const std::size_t K = n > 0 ? n - 1 : 0;
  py::array_t<Index> packed({bars.size(), K, std::size_t{3}});
  Index* out = packed.mutable_data();
  for (const auto& cloud : bars)
    for (const H0Bar& bar : cloud) {
      *out++ = bar.birth;
      *out++ = tsl::first(bar.death);
      *out++ = tsl::second(bar.death);
    }
  return packed;
}

// Pads to the longest cloud with -1.
py::array_t<Index> pack_h1(const std::vector<std::vector<H1Bar>>& bars) {
  std::size_t K = 0;
  for (const auto& cloud : bars) K = std::max(K, cloud.size());
  py::array_t<Index> packed({bars.size(), K, std::size_t{4}});
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

template <class T>
py::array_t<T> like_batch(const Batch& shape, std::size_t last) {
  return py::array_t<T>({shape.B, shape.n, last});
}

py::array distances(const py::array& x, std::size_t threads, const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    auto D = like_batch<T>(shape, shape.n);
    const T* in = data<T>(x);
    T* out = D.mutable_data();
    for_each_cloud_without_gil(shape.B, threads, [&] {
      return [&](std::size_t b) {
        tsl::pairwise_distances(in + b * shape.n * shape.d, shape.n, shape.d,
                                out + b * shape.n * shape.n, isa);
      };
    });
    return D;
  });
}

// sum_j weights_ij (x_i - x_j): the gradient of any function of the distances.
py::array scatter_differences(const py::array& x, const py::array& weights, std::size_t threads,
                              const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  const Batch square = check_batch(weights, "weights", true);
  require(square.B == shape.B && square.n == shape.n, "weights", "[B, n, n] for x [B, n, d]",
          weights);
  require(weights.dtype().is(x.dtype()), "weights", "the dtype of x", weights);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    auto grad = like_batch<T>(shape, shape.d);
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(shape.B, threads, [&] {
      return [&](std::size_t b) {
        const std::size_t at = b * shape.n * shape.d;
        tsl::scatter_differences(in + at, w + b * shape.n * shape.n, shape.n, shape.d, out + at,
                                 isa);
      };
    });
    return grad;
  });
}

py::array_t<Index> h0(const py::array& D, std::size_t threads) {
  const Batch shape = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    const T* in = data<T>(D);
    std::vector<std::vector<H0Bar>> bars(shape.B);
    for_each_cloud_without_gil(shape.B, threads, [&] {
      auto engine = std::make_shared<tsl::H0<T>>();
      return [&, engine](std::size_t b) {
        engine->compute(in + b * shape.n * shape.n, shape.n, bars[b]);
      };
    });
    return pack_h0(bars, shape.n);
  });
}

py::tuple h1(const py::array& D, std::size_t threads, const std::string& isa_text) {
  const Batch shape = check_batch(D, "D", true);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(D, "D", [&](auto zero) {
    using T = decltype(zero);
    const T* in = data<T>(D);
    std::vector<std::vector<H0Bar>> h0_bars(shape.B);
    std::vector<std::vector<H1Bar>> h1_bars(shape.B);
    for_each_cloud_without_gil(shape.B, threads, [&] {
      auto engine = std::make_shared<tsl::H1<T>>(isa);
      return [&, engine](std::size_t b) {
        engine->compute(in + b * shape.n * shape.n, shape.n, h0_bars[b], h1_bars[b]);
      };
    });
    return py::make_tuple(pack_h0(h0_bars, shape.n), pack_h1(h1_bars));
  });
}

void check_edges(const py::array& edges, const Batch& shape) {
  require_contiguous(edges, "edges", 3);
  require(holds<Index>(edges) && edges.shape(2) == 2 &&
              static_cast<std::size_t>(edges.shape(0)) == shape.B,
          "edges", "int64 [B, K, 2]", edges);
  const Index* index = data<Index>(edges);
  for (py::ssize_t k = 0; k < edges.size(); ++k)
    if (index[k] < -1 || index[k] >= static_cast<Index>(shape.n))
      throw py::value_error("edges: expected vertices from 0 to " + std::to_string(shape.n - 1) +
                            " or padding -1, got " + std::to_string(index[k]));
}

py::array edge_lengths(const py::array& x, const py::array& edges, std::size_t threads,
                       const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  check_edges(edges, shape);
  const auto K = static_cast<std::size_t>(edges.shape(1));
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    py::array_t<T> lengths({shape.B, K});
    const T* in = data<T>(x);
    const Index* index = data<Index>(edges);
    T* out = lengths.mutable_data();
    for_each_cloud_without_gil(shape.B, threads, [&] {
      return [&](std::size_t b) {
        tsl::edge_lengths(in + b * shape.n * shape.d, index + b * K * 2, K, shape.d, out + b * K,
                          isa);
      };
    });
    return lengths;
  });
}

// weights_k (x_i - x_j) added to row i and taken from row j, edge by edge in the given order.
py::array scatter_edges(const py::array& x, const py::array& edges, const py::array& weights,
                        std::size_t threads, const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  check_edges(edges, shape);
  const auto K = static_cast<std::size_t>(edges.shape(1));
  require_contiguous(weights, "weights", 2);
  require(weights.shape(0) == edges.shape(0) && weights.shape(1) == edges.shape(1) &&
              weights.dtype().is(x.dtype()),
          "weights", "[B, K] in the dtype of x", weights);
  const Isa isa = tsl::parse_isa(isa_text);
  return with_float_type(x, "x", [&](auto zero) -> py::array {
    using T = decltype(zero);
    auto grad = like_batch<T>(shape, shape.d);
    const T* in = data<T>(x);
    const T* w = data<T>(weights);
    const Index* index = data<Index>(edges);
    T* out = grad.mutable_data();
    for_each_cloud_without_gil(shape.B, threads, [&] {
      auto scatter = std::make_shared<tsl::EdgeScatter<T>>();
      return [&, scatter](std::size_t b) {
        scatter->clear();
        for (std::size_t k = b * K; k < (b + 1) * K; ++k) {
          const Index i = index[2 * k];
          const Index j = index[2 * k + 1];
          // Neither padding nor loops add anything, nor does a weight of 0 at an infinite point.
          if (i >= 0 && j >= 0 && i != j && w[k] != 0)
            scatter->add(static_cast<tsl::Vertex>(i), static_cast<tsl::Vertex>(j), w[k]);
        }
        const std::size_t at = b * shape.n * shape.d;
        scatter->write(in + at, shape.n, shape.d, out + at, isa);
      };
    });
    return grad;
  });
}

// Runs one loss over a batch of clouds: (loss [B], L_H0 [B], L_H1 [B], the loss's gradient [B, n, d]
// or None). A cloud whose distances are not all finite gets NaN for its loss and its terms.
template <class T, class MakeLoss>
py::tuple loss_of_batch(const py::array& x, const Batch& shape, tsl::LossWeights weights,
                        bool with_grad, std::size_t threads, Isa isa, MakeLoss make_loss) {
  const auto B = static_cast<py::ssize_t>(shape.B);
  py::array_t<T> losses(B);
  py::array_t<T> h0_terms(B);
  py::array_t<T> h1_terms(B);
  py::object grad = py::none();
  T* grad_out = nullptr;
  if (with_grad) {
    auto array = like_batch<T>(shape, shape.d);
    grad_out = array.mutable_data();
    grad = array;
  }
  const T* in = data<T>(x);
  T* loss_out = losses.mutable_data();
  T* h0_out = h0_terms.mutable_data();
  T* h1_out = h1_terms.mutable_data();
  for_each_cloud_without_gil(shape.B, threads, [&] {
    auto loss = std::make_shared<decltype(make_loss())>(make_loss());
    return [&, loss](std::size_t b) {
      const std::size_t at = b * shape.n * shape.d;
      const tsl::LossTerms terms =
          loss->compute(in + at, shape.n, shape.d, grad_out ? grad_out + at : nullptr);
      loss_out[b] = static_cast<T>(weights.h0 * terms.h0 + weights.h1 * terms.h1);
      h0_out[b] = static_cast<T>(terms.h0);
      h1_out[b] = static_cast<T>(terms.h1);
    };
  });
  return py::make_tuple(losses, h0_terms, h1_terms, grad);
}

py::tuple persistence_loss(const py::array& x, double h0_weight, double h1_weight, double h1_power,
                           bool scale_by_mean, int max_dim, bool with_grad, std::size_t threads,
                           const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  const tsl::LossWeights weights{h0_weight, h1_weight, scale_by_mean};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<T>(x, shape, weights, with_grad, threads, isa, [&] {
      return tsl::PersistenceLoss<T>(weights, h1_power, max_dim, isa);
    });
  });
}

py::tuple surrogate_loss(const py::array& x, double h0_weight, double h1_weight, double tau,
                         double alpha, double lambda_repel, double lambda_attract,
                         bool scale_by_mean, bool self_pairs, bool detach_scales, bool with_grad,
                         std::size_t threads, const std::string& isa_text) {
  const Batch shape = check_batch(x, "x", false);
  const Isa isa = tsl::parse_isa(isa_text);
  const tsl::LossWeights weights{h0_weight, h1_weight, scale_by_mean};
  const tsl::SurrogateOptions options{tau,        alpha,         lambda_repel, lambda_attract,
                                      self_pairs, detach_scales};
  return with_float_type(x, "x", [&](auto zero) {
    using T = decltype(zero);
    return loss_of_batch<T>(x, shape, weights, with_grad, threads, isa,
                            [&] { return tsl::SurrogateLoss<T>(weights, options, isa); });
  });
}

// Flat index of the first NaN or infinity, or -1.
Index first_nonfinite(const py::array& a) {
  require((a.flags() & py::array::c_style) != 0, "a", "a contiguous array", a);
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

// The first entry that no distance matrix has: (fault, b, i, j), or None.
py::object first_matrix_fault(const py::array& D) {
  const Batch shape = check_batch(D, "D", true);
  return with_float_type(D, "D", [&](auto zero) -> py::object {
    using T = decltype(zero);
    const std::size_t n = shape.n;
    const T* matrix = data<T>(D);
    for (std::size_t b = 0; b < shape.B; ++b, matrix += n * n)
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = i; j < n; ++j)
          if (const char* fault = entry_fault(matrix[i * n + j], matrix[j * n + i], i == j))
            return py::make_tuple(fault, b, i, j);
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
  m.def("edge_lengths", &edge_lengths, py::arg("x"), py::arg("edges"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
  m.def("scatter_edges", &scatter_edges, py::arg("x"), py::arg("edges"), py::arg("weights"),
        py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("persistence_loss", &persistence_loss, py::arg("x"), py::arg("h0_weight"),
        py::arg("h1_weight"), py::arg("h1_power"), py::arg("scale_by_mean"), py::arg("max_dim"),
        py::arg("with_grad"), py::arg("threads") = 1, py::arg("isa") = "auto");
  m.def("surrogate_loss", &surrogate_loss, py::arg("x"), py::arg("h0_weight"),
        py::arg("h1_weight"), py::arg("tau"), py::arg("alpha"), py::arg("lambda_repel"),
        py::arg("lambda_attract"), py::arg("scale_by_mean"), py::arg("self_pairs"),
        py::arg("detach_scales"), py::arg("with_grad"), py::arg("threads") = 1,
        py::arg("isa") = "auto");
}
