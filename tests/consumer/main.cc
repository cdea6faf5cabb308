// Uses nothing but the installed public headers: an echo of three taps, and a
// model from its folder.
#include <cstdio>
#include <vector>

#include "lcsm/lcsm.hpp"

int main(int argc, char** argv) {
  const std::vector<float> taps = {1.0f, 0.5f, 0.25f};
  lcsm::StatusOr<lcsm::OnlineConvolution> echo =
      lcsm::OnlineConvolution::Create(taps, {.channels = 1, .max_length = 100});
  if (!echo.ok()) return 1;
  for (size_t t = 0; t < 4; ++t) {
    const float x = t == 0 ? 1.0f : 0.0f;
    float y = 0;
    echo->Step(&x, &y);
    std::printf(t == 0 ? "%g" : " %g", y);
  }
  std::printf("\n");
  if (argc < 2) return 0;
  lcsm::StatusOr<lcsm::Model> model = lcsm::Model::Load(argv[1]);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().message().c_str());
    return 1;
  }
  std::printf("%s\n", model->info().family.c_str());
  return 0;
}
