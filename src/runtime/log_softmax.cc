#include "runtime/log_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/portable_math.h"

namespace lcsm {

// Infinities would give NaN differences, NaN would win or lose by chance.
double SaneLogit(float logit) noexcept {
  if (std::isnan(logit)) return -std::numeric_limits<double>::max();
  return std::clamp<double>(logit, -std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::max());
}

double LogSoftmaxAt(const float* logits, size_t vocab, int32_t token) noexcept {
  double max = SaneLogit(logits[0]);
  for (size_t i = 1; i < vocab; ++i) max = std::max(max, SaneLogit(logits[i]));
  double sum = 0;
  for (size_t i = 0; i < vocab; ++i) {
    sum += PortableExp(SaneLogit(logits[i]) - max);
  }
  return SaneLogit(logits[token]) - max - PortableLog(sum);
}

}  // namespace lcsm
