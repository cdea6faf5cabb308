#include "cuda/replayed.h"

#include <utility>

namespace lcsm::cuda {

StatusOr<Replayed> Replayed::Create(Queue& queue,
                                    std::function<void()> enqueue) {
  return Create(std::vector<Queue*>{&queue}, std::move(enqueue));
}

StatusOr<Replayed> Replayed::Create(std::vector<Queue*> queues,
                                    std::function<void()> enqueue) {
  Replayed made = Anew(std::move(queues), std::move(enqueue));
  size_t begun = 0;
  while (begun < made.queues_.size() &&
         made.queues_[begun]->BeginCapture().ok()) {
    ++begun;
  }
  bool captured = begun == made.queues_.size();
  if (captured) made.enqueue_();
  for (size_t k = 0; k < begun; ++k) {
    auto graph = made.queues_[k]->EndCapture();
    captured = captured && graph.ok();
    if (captured) made.graphs_.push_back(std::move(graph).value());
  }
  // What only some ranks would replay, the others would wait for.
  if (!captured) made.graphs_.clear();
  for (Queue* const queue : made.queues_) LCSM_RETURN_IF_ERROR(queue->Wait());
  return made;
}

Replayed Replayed::Anew(std::vector<Queue*> queues,
                        std::function<void()> enqueue) {
  Replayed made;
  made.queues_ = std::move(queues);
  made.enqueue_ = std::move(enqueue);
  return made;
}

void Replayed::Run() const noexcept {
  if (graphs_.empty()) {
    if (!queues_.empty()) enqueue_();
    return;
  }
  for (size_t k = 0; k < queues_.size(); ++k) queues_[k]->Replay(*graphs_[k]);
}

}  // namespace lcsm::cuda
