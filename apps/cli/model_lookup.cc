#include "model_lookup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>

#include <filesystem>
#include <string_view>
#include <system_error>

namespace lcsm::cli {

namespace fs = std::filesystem;

std::vector<std::string> ModelSearchPath() {
  std::vector<std::string> folders;
  std::error_code error;
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    // bin/lcsm of an installation; the build tree is laid out alike.
    const fs::path beside = executable.parent_path();
    folders.push_back(
        (beside.parent_path() / "share/lcsm/models").lexically_normal());
    folders.push_back(beside / "share/lcsm/models");
  }
  if (const char* list = getenv("LCSM_MODELS")) {
    std::string_view rest = list;
    while (!rest.empty()) {
      const size_t colon = rest.find(':');
      const std::string_view folder = rest.substr(0, colon);
      if (!folder.empty()) folders.emplace_back(folder);
      if (colon == std::string_view::npos) break;
      rest.remove_prefix(colon + 1);
    }
  }
  return folders;
}

StatusOr<std::string> FindModel(const std::string& model) {
  const std::string name = model.empty() ? kDefaultModel : model;
  std::error_code error;
  if (!model.empty() && fs::exists(name, error)) return name;
  if (name.find('/') != std::string::npos) {
    return NotFound(fmt::format("{}: there is no such folder", name));
  }
  const std::vector<std::string> folders = ModelSearchPath();
  for (const std::string& folder : folders) {
    const fs::path candidate = fs::path(folder) / name;
    if (fs::is_directory(candidate, error)) return candidate.string();
  }
  return NotFound(fmt::format("{}: no folder and no model of this name in {}",
                              name, fmt::join(folders, ", ")));
}

}  // namespace lcsm::cli
