// Launches that are enqueued again and again: captured once and replayed. Where
// a driver or a library will not have them captured, they are enqueued anew
// each time, slower and with the same outcome; nothing is lost by it.
//
// With several queues, one a rank of a model that is split, all are captured or
// none: a graph each.
//
// Belongs to the thread of its queues, which it must not outlive.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "cuda/device.h"
#include "lcsm/status.h"

namespace lcsm::cuda {

class Replayed {
 public:
  Replayed() = default;  // Of nothing.

  // `enqueue` makes the launches. It neither allocates nor fails, and may be
  // called whenever Run is. Libraries in it must have been called before.
  // Waits. Error: the device's, never that it could not capture.
  static StatusOr<Replayed> Create(Queue& queue, std::function<void()> enqueue);
  // The same for at least one queue, on all of which it enqueues.
  static StatusOr<Replayed> Create(std::vector<Queue*> queues,
                                   std::function<void()> enqueue);
  // For what must not be captured.
  static Replayed Anew(std::vector<Queue*> queues,
                       std::function<void()> enqueue);

  explicit operator bool() const { return !queues_.empty(); }
  bool captured() const { return !graphs_.empty(); }
  void Run() const noexcept;

 private:
  std::vector<Queue*> queues_;
  std::function<void()> enqueue_;
  std::vector<std::unique_ptr<Graph>> graphs_;  // Of each queue, or none.
};

}  // namespace lcsm::cuda
