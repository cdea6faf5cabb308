// Mixers with a finite state, one position after another: diagonal modes,
// selective states, outer products; and softmax attention over cached rows. For
// the SIMD target in force.
//
// All kernels are pure functions of their arguments; nothing is shared. For all
// but `attend`, a channel's bits depend on its own inputs and the target alone,
// not on where a range begins or ends or on how positions are grouped. Pointers
// may have any 4-byte alignment. Outputs and states must not overlap anything
// else, unless stated. Slow twin: ref/recurrent_ref.h.
#pragma once

#include <cstddef>

namespace lcsm {

// s_k <- p_k s_k + x, y = skip x + Re sum_k r_k s_k. All but the skip are
// [modes][stride].
struct ModeWeights {
  const float *pole_re, *pole_im;        // Without imaginary parts for real
  const float *residue_re, *residue_im;  // modes.
  const float* skip;                     // [stride]
  size_t modes, stride;
};

// s_n <- exp(delta a_n) s_n + delta b_n x, y = sum_n c_n s_n + skip x.
struct SelectiveWeights {
  const float* a;     // [states][stride]
  const float* skip;  // [stride]
  size_t states, stride;
};
// Of one position.
struct SelectiveRow {
  const float *x, *delta;  // [channels]
  const float *b, *c;      // [states]
};

// How a query's product with a key becomes a score, distance = positions from
// the key to the query: cap(scale q . k) - slope distance.
struct AttentionScore {
  float scale = 1;
  float cap = 0;  // cap(s) = cap tanh(s / cap); 0: none.
  float slope = 0;
};
// Softmax over the rows so far: values are sums of exp(score - max) v.
struct AttentionSum {
  float max = 0, sum = 0;  // sum = 0: no rows yet.
};

struct RecurrentKernels {
  const char* target;  // "AVX2" and so on, as Highway names it.

  // `count` positions of channels [begin, end): x and y are [count][stride] and
  // may be the same, `state` is [modes][stride], for complex modes followed by
  // as much again for imaginary parts. Error of s after t positions, relative
  // to sum_i |p|^i |x|: at most 4 * 2^-24 / (1 - |p|), at most 4 t 2^-24.
  void (*modes_real)(const ModeWeights& w, size_t begin, size_t end,
                     size_t count, const float* x, float* state, float* y);
  void (*modes_complex)(const ModeWeights& w, size_t begin, size_t end,
                        size_t count, const float* x, float* state, float* y);

  // One position of channels [begin, end); state is [states][stride]. delta *
  // a must not be above 0; below -87 it counts as -87.
  void (*selective)(const SelectiveWeights& w, size_t begin, size_t end,
                    const SelectiveRow& row, float* state, float* y);

  // One position of one head: S[i][j] <- g_i S[i][j] + k_i v_j, then y_j =
  // sum_i q_i S[i][j], for i < key, j < value; S is [key][value]. g_i is
  // gates[i], or `gate` where gates is null.
  void (*outer)(const float* q, const float* k, const float* v,
                const float* gates, float gate, size_t key, size_t value,
                float* s, float* y);

  // y = x scale + 1 where that is above 1, else exp(x scale). y may be x.
  void (*elu_plus_one)(const float* x, float scale, size_t n, float* y);

  // Takes `count` rows into a softmax: keys is [count][key], values
  // [count][value]; `distance` is that of the first row, each next one is one
  // nearer. y, [value], holds values of the rows so far. Relative error of a
  // weight: (key + 8 + 2 |score|) * 2^-24 or less, of a capped score's 4 cap
  // 2^-24 more.
  void (*attend)(const AttentionScore& score, const float* q, const float* keys,
                 const float* values, size_t key, size_t value, size_t count,
                 float distance, AttentionSum* sum, float* y);
};

// The table for the best target this CPU has, or the one forced. Valid for
// ever.
const RecurrentKernels& GetRecurrentKernels();

}  // namespace lcsm
