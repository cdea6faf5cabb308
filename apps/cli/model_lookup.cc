#include "model_lookup.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <stdlib.h>

#include <filesystem>
#include <set>
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

namespace {

// Models that could have been named, for who mistyped.
std::vector<std::string> InstalledModels(
    const std::vector<std::string>& folders) {
  std::set<std::string> names;
  std::error_code error;
  for (const std::string& folder : folders) {
    for (fs::directory_iterator it(folder, error), end; !error && it != end;
         it.increment(error)) {
      std::error_code ignored;
      if (fs::exists(it->path() / "config.json", ignored)) {
        names.insert(it->path().filename().string());
      }
    }
  }
  return {names.begin(), names.end()};
}

// Said here, before the first reader stumbles over a file that is not there.
Status CheckFolder(const std::string& folder) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return InvalidInput(fmt::format(
        "{}: is a file, expected a model folder, with config.json and "
        "model.safetensors",
        folder));
  }
  if (!fs::exists(fs::path(folder) / "config.json", error) && !error) {
    return NotFound(fmt::format(
        "{}: holds no config.json, expected a model folder, with config.json "
        "and model.safetensors",
        folder));
  }
  return OkStatus();
}

}  // namespace

StatusOr<std::string> FindModel(const std::string& model) {
  const std::string name = model.empty() ? kDefaultModel : model;
  std::error_code error;
  if (!model.empty() && fs::exists(name, error)) {
    LCSM_RETURN_IF_ERROR(CheckFolder(name));
    return name;
  }
  if (name.find('/') != std::string::npos) {
    return NotFound(fmt::format("{}: there is no such folder", name));
  }
  const std::vector<std::string> folders = ModelSearchPath();
  for (const std::string& folder : folders) {
    const fs::path candidate = fs::path(folder) / name;
    if (fs::is_directory(candidate, error)) return candidate.string();
  }
  const std::vector<std::string> installed = InstalledModels(folders);
  return NotFound(fmt::format(
      "{}: no folder and no installed model of this name, expected {} (looked "
      "in {})",
      name,
      installed.empty()
          ? "a model folder"
          : fmt::format("a folder or one of {}", fmt::join(installed, ", ")),
      fmt::join(folders, ", ")));
}

}  // namespace lcsm::cli
