// Text from a model folder: generate FOLDER [PROMPT]
#include <cstdio>
#include <string_view>

#include "lcsm/session.h"

namespace {

lcsm::Status Run(const char* folder, std::string_view prompt) {
  LCSM_ASSIGN_OR_RETURN(const lcsm::Model model, lcsm::Model::Load(folder));
  LCSM_ASSIGN_OR_RETURN(lcsm::Session session,
                        lcsm::Session::Create(model, {.max_length = 512}));
  lcsm::GenerateOptions options;
  options.max_new_tokens = 200;
  options.sampling.temperature = 0.7;
  options.sampling.seed = 1;
  options.on_text = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    return std::fflush(stdout) == 0;
  };
  LCSM_ASSIGN_OR_RETURN(const lcsm::Generation out,
                        session.Generate(prompt, options));
  std::printf("\n(%zu tokens)\n", out.tokens.size());
  return lcsm::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: %s FOLDER [PROMPT]\n", argv[0]);
    return 2;
  }
  const lcsm::Status status = Run(argv[1], argc > 2 ? argv[2] : "\n");
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.message().c_str());
  return 1;
}
