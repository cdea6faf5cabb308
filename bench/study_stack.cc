#include "bench/study_stack.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "conv/relaxed_plan.h"
#include "io/config_json.h"
#include "io/safetensors.h"
#include "models/stack_description.h"
#include "models/stack_model.h"

namespace lcsm::bench {
namespace {

using Json = nlohmann::ordered_json;

// Filters of STU's basis, as Flash-STU has.
constexpr size_t kSpectral = 24;
// Mamba's.
constexpr size_t kExpand = 2, kStates = 16, kShortTaps = 4;
constexpr size_t kMostWidth = 1 << 14, kMostLayers = 512;

constexpr std::pair<StudyMixer, const char*> kMixers[] = {
    {StudyMixer::kHyena, "hyena"},
    {StudyMixer::kRelaxedHyena, "hyena-relaxed"},
    {StudyMixer::kStu, "stu"},
    {StudyMixer::kMamba, "mamba"},
    {StudyMixer::kLinearAttention, "linear-attention"},
    {StudyMixer::kAttention, "attention"},
};
constexpr std::pair<StudyLink, const char*> kLinks[] = {
    {StudyLink::kNone, "none"},
    {StudyLink::kOutput, "output"},
    {StudyLink::kPast, "past"},
    {StudyLink::kAhead, "ahead"},
};

// A description and its tensors, made side by side.
class Maker {
 public:
  explicit Maker(const StudyShape& shape) : shape_(shape), rng_(20261121) {}

  void Make() {
    const size_t width = shape_.width;
    Normal("embedding", {StudyShape::kVocab, width}, 1);
    Json blocks = Json::array();
    if (shape_.mixer == StudyMixer::kStu) {
      // One basis for all layers. The filters of a trained model are
      // eigenvectors; what they hold does not matter to what they cost.
      Tensor("basis", {shape_.length, kSpectral}, [](size_t i) {
        const double n = static_cast<double>(i / kSpectral) + 1;
        const double k = static_cast<double>(i % kSpectral) + 1;
        return std::cos(0.7 * k * std::log(n)) / n;
      });
    }
    for (size_t b = 0; b < shape_.layers; ++b) {
      block_ = b;
      blocks.push_back({{"parts", {Mixing(), Mlp()}}});
    }
    config_ = {{"model_type", "lcsm-stack"},
               {"vocab_size", StudyShape::kVocab},
               {"width", width},
               {"max_length", shape_.length},
               {"embedding", "embedding"},
               {"blocks", blocks},
               {"final_norm", Norm()}};
  }

  const Json& config() const { return config_; }
  std::map<std::string, std::vector<float>>& tensors() { return tensors_; }
  const std::vector<io::SafetensorsWriter::Declaration>& declared() const {
    return declared_;
  }

 private:
  static Json Norm() { return {{"kind", "rms"}, {"eps", 1e-6}}; }
  std::string Own(const char* name) const {
    return fmt::format("blocks.{}.{}", block_, name);
  }

  template <typename Value>
  std::string Tensor(const std::string& name, std::vector<size_t> shape,
                     Value&& value) {
    size_t elements = 1;
    for (const size_t n : shape) elements *= n;
    std::vector<float>& values = tensors_[name];
    values.resize(elements);
    for (size_t i = 0; i < elements; ++i) {
      values[i] = static_cast<float>(value(i));
    }
    declared_.push_back({name, io::DType::kF32, std::move(shape)});
    return name;
  }
  std::string Normal(const std::string& name, std::vector<size_t> shape,
                     double scale) {
    std::normal_distribution<float> normal(0, static_cast<float>(scale));
    return Tensor(name, std::move(shape), [&](size_t) { return normal(rng_); });
  }
  // A linear step whose outputs are about as large as its inputs.
  Json Linear(const Json& from, const Json& to, const char* name, size_t in,
              size_t out, const Json& widths) {
    Json step = {{"do", "linear"},
                 {"from", from},
                 {"to", to},
                 {"width", widths},
                 {"weight", Normal(Own(name), {out, in},
                                   1 / std::sqrt(static_cast<double>(in)))}};
    return step;
  }
  Json Short(const Json& streams, size_t channels) {
    return {{"do", "convolve"},
            {"from", streams},
            {"filter",
             {{"kind", "taps"},
              {"tensor", Normal(Own("short"), {channels, kShortTaps}, 0.5)},
              {"now", "last"}}}};
  }
  static Json Multiply(const char* a, const char* b, const char* to) {
    return {{"do", "multiply"}, {"from", {a, b}}, {"to", to}};
  }
  static Json Activate(const char* stream, const char* with) {
    return {{"do", "activate"}, {"from", stream}, {"with", with}};
  }

  Json Mlp() {
    const size_t width = shape_.width, inner = 4 * width;
    return {{"name", "MLP"},
            {"norm", Norm()},
            {"steps",
             {Linear("input", "hidden", "up", width, inner, inner),
              Activate("hidden", "gelu-tanh"),
              Linear("hidden", "output", "down", inner, width, width)}}};
  }
  Json Mixing() {
    Json steps = Json::array();
    switch (shape_.mixer) {
      case StudyMixer::kHyena:
      case StudyMixer::kRelaxedHyena:
        Hyena(steps);
        break;
      case StudyMixer::kStu:
        Stu(steps);
        break;
      case StudyMixer::kMamba:
        Mamba(steps);
        break;
      case StudyMixer::kLinearAttention:
      case StudyMixer::kAttention:
        Attention(steps);
        break;
    }
    return {{"name", Name(shape_.mixer)}, {"norm", Norm()}, {"steps", steps}};
  }

  void Hyena(Json& steps) {
    const size_t width = shape_.width;
    const bool relaxed = shape_.mixer == StudyMixer::kRelaxedHyena;
    Json streams = {"x0", "x1", "v"};
    if (relaxed) streams.push_back("taps");
    const size_t all = streams.size() * width;
    steps.push_back(Linear("input", streams, "in", width, all, width));
    steps.push_back(Short(streams, all));
    if (shape_.Links(block_)) {
      Json read = {{"do", "read"}};
      switch (shape_.link) {
        case StudyLink::kNone:
          break;
        case StudyLink::kOutput:
          read["block"] = 0;
          break;
        case StudyLink::kPast:
          read["block"] = block_ + 1;
          read["delay"] = 1;
          break;
        case StudyLink::kAhead:
          read["block"] = block_ - 1;
          read["ahead"] = true;
          break;
      }
      read["to"] = "seen";
      steps.push_back(read);
      steps.push_back({{"do", "norm"}, {"from", "seen"}, {"norm", Norm()}});
      steps.push_back({{"do", "add"}, {"from", {"x1", "seen"}}, {"to", "x1"}});
    }
    steps.push_back(Multiply("x1", "v", "u"));
    if (relaxed) {
      steps.push_back(
          {{"do", "relaxed-convolve"}, {"from", {"u", "taps"}}, {"to", "u"}});
      // Taps that nothing lets decay make outputs that grow.
      steps.push_back({{"do", "norm"}, {"from", "u"}, {"norm", Norm()}});
    } else {
      const size_t poles = StudyShape::kPoles;
      // Memories of 3 to 3 000 positions.
      std::uniform_real_distribution<double> log_rate(std::log(3e-4),
                                                      std::log(0.3));
      const std::string log_poles =
          Tensor(Own("log_poles"), {width, poles},
                 [&](size_t) { return -std::exp(log_rate(rng_)); });
      const std::string residues = Own("residues");
      Normal(residues, {width, poles}, 1);
      // Each mode's taps have about the same norm.
      std::vector<float>& values = tensors_[residues];
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] *= std::sqrt(-tensors_[log_poles][i]);
      }
      steps.push_back({{"do", "convolve"},
                       {"from", "u"},
                       {"filter",
                        {{"kind", "log-poles"},
                         {"log_poles", log_poles},
                         {"residues", residues}}},
                       {"skip", Normal(Own("skip"), {width}, 0.5)},
                       {"as", "convolution"}});
    }
    steps.push_back(Multiply("x0", "u", "u"));
    steps.push_back(Linear("u", "output", "out", width, width, width));
  }

  void Stu(Json& steps) {
    const size_t width = shape_.width;
    steps.push_back(Linear("input", "u", "in", width, width, width));
    steps.push_back(
        {{"do", "convolve"},
         {"from", "u"},
         {"to", "output"},
         {"filter",
          {{"kind", "basis"},
           {"tensor", "basis"},
           {"mix", Normal(Own("mix"), {kSpectral, width},
                          1 / std::sqrt(static_cast<double>(kSpectral)))},
           {"lags", "even"}}},
         {"as", "half-rate"}});
  }

  void Mamba(Json& steps) {
    const size_t width = shape_.width, inner = kExpand * width;
    const size_t rank = (width + 15) / 16;
    steps.push_back(Linear("input", {"u", "z"}, "in", width, 2 * inner, inner));
    steps.push_back(Short("u", inner));
    steps.push_back(Activate("u", "silu"));
    steps.push_back(Linear("u", {"rank", "B", "C"}, "x_proj", inner,
                           rank + 2 * kStates, {rank, kStates, kStates}));
    steps.push_back(Linear("rank", "delta", "dt_proj", rank, inner, inner));
    steps.push_back(Activate("delta", "softplus"));
    steps.push_back({{"do", "selective-scan"},
                     {"from", {"u", "delta", "B", "C"}},
                     {"to", "y"},
                     {"a_log", Tensor(Own("a_log"), {inner, kStates},
                                      [](size_t i) {
                                        return std::log(
                                            static_cast<double>(i % kStates) +
                                            1);
                                      })},
                     {"skip", Normal(Own("skip"), {inner}, 1)}});
    steps.push_back(Activate("z", "silu"));
    steps.push_back(Multiply("y", "z", "y"));
    steps.push_back(Linear("y", "output", "out", inner, width, width));
  }

  void Attention(Json& steps) {
    const size_t width = shape_.width;
    const size_t heads = width % 64 == 0 ? width / 64 : 1;
    steps.push_back(
        Linear("input", {"q", "k", "v"}, "in", width, 3 * width, width));
    Json step = {{"do", "attention"},
                 {"from", {"q", "k", "v"}},
                 {"to", "y"},
                 {"heads", heads}};
    if (shape_.mixer == StudyMixer::kLinearAttention) {
      step["do"] = "linear-attention";
      step["feature"] = "elu+1";
    } else if (width / heads % 2 == 0) {
      step["rotary"] = {{"base", 10000}};
    }
    steps.push_back(step);
    steps.push_back(Linear("y", "output", "out", width, width, width));
  }

  const StudyShape& shape_;
  std::mt19937 rng_;
  size_t block_ = 0;
  Json config_;
  std::map<std::string, std::vector<float>> tensors_;
  std::vector<io::SafetensorsWriter::Declaration> declared_;
};

// Removed with all that is in it.
class TemporaryFolder {
 public:
  static StatusOr<TemporaryFolder> Create() {
    std::error_code error;
    const std::filesystem::path root =
        std::filesystem::temp_directory_path(error);
    std::string name = (root / "lcsm-study-XXXXXX").string();
    if (error || mkdtemp(name.data()) == nullptr) {
      return InvalidInput(
          fmt::format("{}: a folder for a made-up model cannot be made there",
                      root.string()));
    }
    TemporaryFolder folder;
    folder.path_ = name;
    return folder;
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept
      : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  TemporaryFolder() = default;
  std::filesystem::path path_;
};

Status WriteWeights(const std::filesystem::path& file, Maker& maker) {
  LCSM_ASSIGN_OR_RETURN(
      io::SafetensorsWriter writer,
      io::SafetensorsWriter::Create(file, maker.declared(), {}));
  for (const io::SafetensorsWriter::Declaration& one : maker.declared()) {
    LCSM_RETURN_IF_ERROR(
        writer.Write(std::as_bytes(std::span(maker.tensors().at(one.name)))));
  }
  return writer.Finish();
}

}  // namespace

const char* Name(StudyMixer mixer) {
  for (const auto& [value, name] : kMixers) {
    if (value == mixer) return name;
  }
  return "";
}

std::optional<StudyMixer> StudyMixerFromName(const std::string& name) {
  for (const auto& [value, known] : kMixers) {
    if (name == known) return value;
  }
  return std::nullopt;
}

const char* Name(StudyLink link) {
  for (const auto& [value, name] : kLinks) {
    if (value == link) return name;
  }
  return "";
}

std::optional<StudyLink> StudyLinkFromName(const std::string& name) {
  for (const auto& [value, known] : kLinks) {
    if (name == known) return value;
  }
  return std::nullopt;
}

StatusOr<StudyStack> MakeStudyStack(const StudyShape& shape) {
  if (shape.layers == 0 || shape.layers > kMostLayers || shape.width == 0 ||
      shape.width > kMostWidth || shape.length == 0 ||
      shape.length > conv::kLongestRelaxed) {
    return InvalidInput(fmt::format(
        "a stack of {} blocks of width {} for {} positions, expected 1 to {} "
        "blocks, a width of 1 to {} and 1 to {} positions",
        shape.layers, shape.width, shape.length, kMostLayers, kMostWidth,
        conv::kLongestRelaxed));
  }
  Maker maker(shape);
  maker.Make();
  LCSM_ASSIGN_OR_RETURN(const TemporaryFolder folder,
                        TemporaryFolder::Create());
  LCSM_RETURN_IF_ERROR(
      WriteWeights(folder.path() / "model.safetensors", maker));
  StudyStack stack;
  stack.shape = shape;
  stack.config = maker.config().dump(2) + "\n";
  LCSM_ASSIGN_OR_RETURN(const io::ConfigJson json,
                        io::ConfigJson::Parse(stack.config, "config.json"));
  LCSM_ASSIGN_OR_RETURN(StackDescription description,
                        ParseStackDescription(json));
  LCSM_ASSIGN_OR_RETURN(const std::shared_ptr<const io::WeightSet> set,
                        io::WeightSet::Open(folder.path()));
  // The mapping outlives the file's name.
  LCSM_ASSIGN_OR_RETURN(
      stack.weights,
      StackWeights::Bind(std::move(description), set, WeightFormat::kFloat32));
  stack.model = std::make_shared<StackModel>(stack.weights, Name(shape.mixer));
  stack.tensors = std::move(maker.tensors());
  return stack;
}

}  // namespace lcsm::bench
