// Launches that are enqueued again and again: captured once and replayed. Where
// a driver or a library will not have them captured, they are enqueued anew
// each time, slower and with the same outcome; nothing is lost by it.
//
// Belongs to the thread of its queue, which it must not outlive.
#pragma once

#include <functional>
#include <memory>

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

  explicit operator bool() const { return queue_ != nullptr; }
  bool captured() const { return graph_ != nullptr; }
  void Run() const noexcept;

 private:
  Queue* queue_ = nullptr;
  std::function<void()> enqueue_;
  std::unique_ptr<Graph> graph_;
};

}  // namespace lcsm::cuda
