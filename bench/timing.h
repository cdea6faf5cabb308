// Repeated measurements and how far they can be trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace lcsm::bench {

class Stopwatch {
 public:
  Stopwatch() : start_(std::chrono::steady_clock::now()) {}
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() -
                                         start_)
        .count();
  }

 private:
  std::chrono::steady_clock::time_point start_;
};

struct Spread {
  double min = 0, median = 0, max = 0;
  // (max - min) / median: 0.05 is a quiet machine, above 0.3 figures mean
  // little.
  double Relative() const { return median > 0 ? (max - min) / median : 0; }
};
Spread Summarize(std::vector<double> values);

// The value that the share q in [0, 1] of `values` does not exceed (nearest
// rank); 0 when empty.
double Quantile(std::vector<double> values, double q);

// What else the machine did while we measured.
class NoiseWatch {
 public:
  NoiseWatch();
  // E.g. "12 involuntary switches in 8.1 s, 0.4 % of the time stolen, load 1.1
  // on 2 processors".
  std::string Report() const;

 private:
  Stopwatch clock_;
  long switches_ = 0;
  double stolen_ = 0, total_ = 0;  // Jiffies, from /proc/stat.
};

}  // namespace lcsm::bench
