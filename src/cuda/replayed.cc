#include "cuda/replayed.h"

#include <utility>

namespace lcsm::cuda {

StatusOr<Replayed> Replayed::Create(Queue& queue,
                                    std::function<void()> enqueue) {
  Replayed made;
  made.queue_ = &queue;
  made.enqueue_ = std::move(enqueue);
  if (queue.BeginCapture().ok()) {
    made.enqueue_();
    auto graph = queue.EndCapture();
    if (graph.ok()) made.graph_ = std::move(graph).value();
  }
  LCSM_RETURN_IF_ERROR(queue.Wait());
  return made;
}

void Replayed::Run() const noexcept {
  if (graph_ != nullptr) {
    queue_->Replay(*graph_);
  } else if (queue_ != nullptr) {
    enqueue_();
  }
}

}  // namespace lcsm::cuda
