// Logits as probabilities, in float64 and with the same bits on every machine.
// Pure functions.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lcsm {

// The logit as a finite number: infinities as the largest floats, NaN as less
// than any.
double SaneLogit(float logit) noexcept;

// ln p(token) under softmax(logits[0 .. vocab)). Always a number. Precondition:
// 0 <= token < vocab.
double LogSoftmaxAt(const float* logits, size_t vocab, int32_t token) noexcept;

}  // namespace lcsm
