// Scalar twins of recurrent.h: plainly right, float64 inside and in states, not
// rounded. The oracle of the tests.
#pragma once

#include <complex>
#include <cstddef>

#include "kernels/recurrent.h"

namespace lcsm::ref {

// One position of one channel; `state` is [modes]. Real modes have pole_im
// null.
double Modes(const ModeWeights& w, size_t channel, double x,
             std::complex<double>* state);
// One position of one channel; `state` is [states].
double Selective(const SelectiveWeights& w, size_t channel,
                 const SelectiveRow& row, double* state);
// As RecurrentKernels::outer.
void Outer(const float* q, const float* k, const float* v, const float* gates,
           float gate, size_t key, size_t value, double* s, double* y);
double EluPlusOne(float x, float scale);
// All `count` rows at once; y is [value], the softmax's weighted mean.
void Attend(const AttentionScore& score, const float* q, const float* keys,
            const float* values, size_t key, size_t value, size_t count,
            float distance, double* y);

}  // namespace lcsm::ref
