// Included by lune_sweep.cpp once per instruction set.

#include "lunes.inl"

// Every edge carries an annotation: a sum of generators, such that the annotations around a triangle
// of the complex cancel. Zero annotations are bits of `zero`; others are stored vectors of
// `relations`, or a witness: a vertex k of the edge's lune whose two sides sum to it.
//
// Lengths and edges, which the order of the filtration compares, name vertices as the caller does.
// Bits and annotations number them from the centre of the cloud outwards, so that the lowest vertex
// of a lune tends to be one that reaches most others.
//
// W is the number of words in a row of vertex bits, or 0 where only run time knows it.
template <class T, std::size_t W>
class LuneSweep {
 public:
  LuneSweep(const T* D, std::size_t n, T radius, const std::vector<Vertex>& order,
            EdgeBuckets<T>& buckets, SweepMemory<T>& memory, std::vector<H0Bar>& h0,
            std::vector<H1Bar>& h1)
      : D_(D),
        n_(n),
        width_(W ? W : words_for(n)),
        radius_(radius),
        order_(order),
        buckets_(buckets),
        memory_(memory),
        relations_(memory.relations),
        generators_(memory.generators),
        h0_(h0),
        h1_(h1) {
    memory.adjacent.assign(n * width(), 0);
    memory.zero.assign(n * width(), 0);
    memory.rest.resize(width());
    memory.frontier.resize(width());
    memory.rank.resize(n);
    for (std::size_t r = 0; r < n; ++r) memory.rank[order[r]] = static_cast<Vertex>(r);
    if (memory.annotations_size < n * n) {
      memory.annotations.reset(new std::int32_t[n * n]);
      memory.annotations_size = n * n;
    }
    memory.components.reset(n);
    relations_.clear();
    generators_.clear();
    adjacent_ = memory.adjacent.data();
    zero_ = memory.zero.data();
    rank_ = memory.rank.data();
    annotations_ = memory.annotations.get();
  }

  void run() {
    for (std::size_t b = 0; b < buckets_.count(); ++b) {
      if (buckets_.begin(b) == buckets_.end(b)) continue;
      buckets_.sort(b);
      if (nothing_follows(*buckets_.begin(b))) return;
      for (auto* e = buckets_.begin(b); e != buckets_.end(b); ++e) add_edge(*e);
    }
  }

 private:
  std::size_t width() const { return W ? W : width_; }

  void add_edge(const FiltrationEdge<T>& e) {
    const Vertex i = rank_[first(e.edge)];
    const Vertex j = rank_[second(e.edge)];
    if (relations_.alive() != 0)
      fill_lune(e, i, j);
    else if (have_common_bit(adjacent_ + i * width(), adjacent_ + j * width()))
      connect_zero(i, j);
    else
      add_empty_lune(e, i, j);
  }

  // An edge with an empty lune joins two components, or creates an H1 class.
  void add_empty_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Vertex died = 0;
    if (h0_.size() + 1 < n_ && memory_.components.unite(first(e.edge), second(e.edge), died)) {
      h0_.push_back({died, e.edge});
      // A tree edge: nothing to sum over, so it can carry zero.
      connect_zero(i, j);
    } else {
      annotations_[slot(i, j)] = static_cast<std::int32_t>(relations_.give_birth());
      generators_.push_back(e);
      ++born_;
      connect(adjacent_, i, j);
    }
  }

  bool have_common_bit(const Word* a, const Word* b) const {
    Word any = 0;
    for (std::size_t w = 0; w < width(); ++w) any |= a[w] & b[w];
    return any != 0;
  }

  void connect(Word* rows, Vertex i, Vertex j) const {
    rows[i * width() + j / 64] |= Word{1} << (j % 64);
    rows[j * width() + i / 64] |= Word{1} << (i % 64);
  }

  void connect_zero(Vertex i, Vertex j) {
    connect(adjacent_, i, j);
    connect(zero_, i, j);
  }

  bool is_zero(Vertex i, Vertex j) const {
    return zero_[i * width() + j / 64] >> (j % 64) & 1;
  }

  // Whether neither `e` nor an edge after it can make or end a bar.
  bool nothing_follows(const FiltrationEdge<T>& e) {
    if (relations_.alive() != 0 || h0_.size() + 1 < n_) return false;
    if (!knows_last_) find_last_empty_lune();
    return last_empty_ < e;
  }

  // The last edge of all with an empty lune. What the adjacency shows settles most edges to come
  // without a scan of their distances.
  void find_last_empty_lune() {
    knows_last_ = true;
    for (Vertex i = 0; i < n_; ++i) {
      const T* lengths = D_ + order_[i] * n_;
      for (Vertex j = i + 1; j < n_; ++j) {
        const T length = lengths[order_[j]];
        if (length > radius_ || have_common_bit(adjacent_ + i * width(), adjacent_ + j * width()) ||
            has_neighbour_within(j, lengths, length))
          continue;
        const FiltrationEdge<T> e{length, make_edge(order_[i], order_[j])};
        if (last_empty_ < e && lune_is_empty(D_, n_, e)) last_empty_ = e;
      }
    }
  }

  // Whether some neighbour of v is nearer to the vertex of that row than `length`.
  bool has_neighbour_within(Vertex v, const T* row, T length) const {
    const Word* neighbours = adjacent_ + v * width();
    for (std::size_t w = 0; w < width(); ++w)
      for (Word left = neighbours[w]; left; left &= left - 1)
        if (row[order_[w * 64 + lowest_bit(left)]] < length) return true;
    return false;
  }

  // The lune's vertices whose two sides are annotated zero agree already: they count as one
  // component, whatever the graph says.
  void fill_lune(const FiltrationEdge<T>& e, Vertex i, Vertex j) {
    Word fixed_rest[W ? W : 1];
    Word fixed_frontier[W ? W : 1];
    Word* rest = W ? fixed_rest : memory_.rest.data();
    Word* frontier = W ? fixed_frontier : memory_.frontier.data();
    const Word* adjacent_i = adjacent_ + i * width();
    const Word* adjacent_j = adjacent_ + j * width();
    const Word* zero_i = zero_ + i * width();
    const Word* zero_j = zero_ + j * width();

    Word any_rest = 0;
    Word any_zero = 0;
    for (std::size_t w = 0; w < width(); ++w) {
      const Word zero = zero_i[w] & zero_j[w];
      const Word other = adjacent_i[w] & adjacent_j[w] & ~zero;
      rest[w] = other;
      frontier[w] = zero;
      any_rest |= other;
      any_zero |= zero;
    }
    if (!(any_rest | any_zero)) return add_empty_lune(e, i, j);

    Vertex witness = 0;
    if (!any_zero) witness = take_lowest(rest, frontier);
    if (any_rest && flood(rest, frontier))
      kill_differences(e, i, j, rest, frontier, any_zero != 0, witness);

    if (any_zero || relations_.alive() == 0) {
      connect_zero(i, j);
    } else {
      connect(adjacent_, i, j);
      annotations_[slot(i, j)] = -1 - static_cast<std::int32_t>(witness);
    }
  }

  // Moves the lowest vertex of `rest` to `frontier`, which is empty.
  static Vertex take_lowest(Word* rest, Word* frontier) {
    std::size_t w = 0;
    while (rest[w] == 0) ++w;
    const Word bit = rest[w] & (~rest[w] + 1);
    rest[w] ^= bit;
    frontier[w] = bit;
    return static_cast<Vertex>(w * 64 + lowest_bit(bit));
  }

  // Takes everything that `frontier` reaches out of `rest`; returns whether something stays.
  bool flood(Word* rest, Word* frontier) const {
    Word left = 0;
    for (std::size_t w = 0; w < width(); ++w) left |= rest[w];
    for (std::size_t at = 0; left && at < width();) {
      if (frontier[at] == 0) {
        ++at;
        continue;
      }
      const std::size_t v = at * 64 + lowest_bit(frontier[at]);
      frontier[at] &= frontier[at] - 1;
      const Word* neighbours = adjacent_ + v * width();
      left = 0;
      for (std::size_t w = 0; w < width(); ++w) {
        const Word reached = rest[w] & neighbours[w];
        rest[w] ^= reached;
        frontier[w] |= reached;
        left |= rest[w];
        if (reached && w < at) at = w;
      }
    }
    return left != 0;
  }

  // One relation for each further component of the lune.
  void kill_differences(const FiltrationEdge<T>& e, Vertex i, Vertex j, Word* rest, Word* frontier,
                        bool first_is_zero, Vertex witness) {
    bool more = true;
    while (more && relations_.alive() != 0) {
      std::fill(frontier, frontier + width(), Word{0});
      const Vertex other = take_lowest(rest, frontier);
      more = flood(rest, frontier);
      evaluate(i, other);
      evaluate(other, j);
      if (!first_is_zero) {
        evaluate(i, witness);
        evaluate(witness, j);
      }
      relations_.begin_sum();
      add(i, other);
      add(other, j);
      if (!first_is_zero) {
        add(i, witness);
        add(witness, j);
      }
      if (!relations_.sum_is_zero())
        memory_.killed.push_back(generators_.size() - born_ + relations_.kill_youngest());
    }
    write_bars(e);
    if (relations_.alive() != 0) return;
    // Nothing is alive: every annotation is zero now, so all vectors can go.
    std::copy(adjacent_, adjacent_ + n_ * width(), zero_);
    relations_.clear();
    born_ = 0;
  }

  // The bars that end at e, in order of birth; those of zero length are none.
  void write_bars(const FiltrationEdge<T>& e) {
    std::vector<std::size_t>& killed = memory_.killed;
    std::sort(killed.begin(), killed.end());
    for (const std::size_t generator : killed)
      if (generators_[generator].length < e.length)
        h1_.push_back({generators_[generator].edge, e.edge});
    killed.clear();
  }

  // Replaces the witness of an edge by its annotation, and those of the edges below it.
  void evaluate(Vertex i, Vertex j) {
    std::vector<Edge>& pending = memory_.pending;
    pending.push_back(make_edge(i, j));
    while (!pending.empty()) {
      const Edge e = pending.back();
      const Vertex a = first(e);
      const Vertex b = second(e);
      if (is_settled(a, b)) {
        pending.pop_back();
        continue;
      }
      const auto k = static_cast<Vertex>(-1 - annotations_[slot(a, b)]);
      const std::size_t before = pending.size();
      if (!is_settled(a, k)) pending.push_back(make_edge(a, k));
      if (!is_settled(k, b)) pending.push_back(make_edge(k, b));
      if (pending.size() != before) continue;
      relations_.begin_sum();
      add(a, k);
      add(k, b);
      if (relations_.sum_is_zero())
        connect(zero_, a, b);
      else
        annotations_[slot(a, b)] = static_cast<std::int32_t>(relations_.store_scratch());
      pending.pop_back();
    }
  }

  bool is_settled(Vertex i, Vertex j) const { return is_zero(i, j) || annotations_[slot(i, j)] >= 0; }

  void add(Vertex i, Vertex j) {
    if (is_zero(i, j)) return;
    const auto vector = static_cast<std::uint32_t>(annotations_[slot(i, j)]);
    if (relations_.is_zero(vector))
      connect(zero_, i, j);
    else
      relations_.add(vector);
  }

  std::size_t slot(Vertex i, Vertex j) const { return std::min(i, j) * n_ + std::max(i, j); }

  const T* D_;
  std::size_t n_;
  std::size_t width_;
  T radius_;
  const std::vector<Vertex>& order_;
  EdgeBuckets<T>& buckets_;
  SweepMemory<T>& memory_;
  Relations& relations_;
  std::vector<FiltrationEdge<T>>& generators_;
  std::vector<H0Bar>& h0_;
  std::vector<H1Bar>& h1_;
  Word* adjacent_;
  Word* zero_;
  const Vertex* rank_;
  std::int32_t* annotations_;
  // How many generators were born since nothing was alive.
  std::size_t born_ = 0;
  bool knows_last_ = false;
  FiltrationEdge<T> last_empty_{T{-1}, 0};
};

template <class T>
void run_sweep(const T* D, std::size_t n, T radius, const std::vector<Vertex>& order,
               EdgeBuckets<T>& buckets, SweepMemory<T>& memory, std::vector<H0Bar>& h0,
               std::vector<H1Bar>& h1) {
  const auto run = [&](auto width) {
    LuneSweep<T, decltype(width)::value>(D, n, radius, order, buckets, memory, h0, h1).run();
  };
  switch (words_for(n)) {
    case 1: return run(std::integral_constant<std::size_t, 1>{});
    case 2: return run(std::integral_constant<std::size_t, 2>{});
    case 3:
    case 4: return run(std::integral_constant<std::size_t, 4>{});
    case 5:
    case 6: return run(std::integral_constant<std::size_t, 6>{});
    case 7:
    case 8: return run(std::integral_constant<std::size_t, 8>{});
    default: return run(std::integral_constant<std::size_t, 0>{});
  }
}
