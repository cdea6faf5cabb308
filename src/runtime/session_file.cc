#include "runtime/session_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "base/cpu_info.h"
#include "io/config_json.h"
#include "lcsm/version.h"

namespace lcsm {
namespace {

using Json = nlohmann::ordered_json;
using io::ConfigJson;

constexpr int64_t kMaxCount = int64_t{1} << 40;

// Of the headers of earlier builds, which knew no others and said nothing.
constexpr conv::Rings kUnsaid = conv::Rings::kTwoBlocks;

template <typename T>
Status Put(io::SectionWriter& writer, const char* name,
           const std::vector<T>& values) {
  return writer.PutArray(name, std::span<const T>(values));
}

template <typename T>
Status Get(io::SectionReader& reader, const char* name,
           std::vector<T>* values) {
  values->resize(reader.NextSize() / sizeof(T));
  return reader.GetArray(name, std::span<T>(*values));
}

Status CheckIds(const io::SectionReader& reader, const char* what,
                const std::vector<int32_t>& ids) {
  for (const int32_t id : ids) {
    if (id < 0) {
      return InvalidInput(
          fmt::format("{}: {} hold the id {}, expected ids from 0 up",
                      reader.name(), what, id));
    }
  }
  return OkStatus();
}

std::string Header(const SessionRecord& r) {
  const GenerateOptions& o = r.options;
  Json json = {{"program", r.program},
               {"model", r.model},
               {"model_hash", r.model_hash},
               {"weights", r.weights},
               {"simd_target", r.simd_target},
               {"horizon", r.horizon},
               {"steps", r.steps},
               {"method", conv::Name(r.method)},
               {"schedule", conv::Name(r.schedule)},
               {"levels", r.levels},
               {"sample", r.sample},
               {"max_new_tokens", o.max_new_tokens},
               {"temperature", o.sampler.temperature},
               {"top_k", o.sampler.top_k},
               {"top_p", o.sampler.top_p},
               {"min_p", o.sampler.min_p},
               // As text: JSON readers make doubles of large numbers.
               {"seed", std::to_string(o.sampler.seed)},
               {"stop_at_eos", o.stop_at_eos},
               {"logprobs", o.logprobs},
               {"ends_sequence", o.ends_sequence},
               {"num_stops", o.stop.size()}};
  // Files of other sessions stay as they were before there were such.
  if (r.growable) json["growable"] = true;
  if (r.rings != kUnsaid) json["histories"] = conv::Name(r.rings);
  // Invalid UTF-8 cannot be in JSON; stop texts are sections of their own.
  return json.dump(1, ' ', false, Json::error_handler_t::replace);
}

Status ReadHeader(const ConfigJson& json, SessionRecord* r, size_t* num_stops) {
  const auto text = [&json](const char* field, std::string* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out, json.GetString(field));
    return OkStatus();
  };
  const auto count = [&json](const char* field, size_t* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(const int64_t n, json.GetInt(field, 0, kMaxCount));
    *out = static_cast<size_t>(n);
    return OkStatus();
  };
  const auto number = [&json](const char* field, double* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out, json.GetNumber(field));
    return OkStatus();
  };
  const auto flag = [&json](const char* field, bool* out) -> Status {
    LCSM_ASSIGN_OR_RETURN(*out, json.GetBool(field));
    return OkStatus();
  };
  GenerateOptions& o = r->options;
  std::string method, schedule, seed;
  size_t sample = 0;
  LCSM_RETURN_IF_ERROR(text("program", &r->program));
  LCSM_RETURN_IF_ERROR(text("model", &r->model));
  LCSM_RETURN_IF_ERROR(text("model_hash", &r->model_hash));
  LCSM_RETURN_IF_ERROR(text("weights", &r->weights));
  LCSM_RETURN_IF_ERROR(text("simd_target", &r->simd_target));
  LCSM_RETURN_IF_ERROR(text("levels", &r->levels));
  LCSM_RETURN_IF_ERROR(text("method", &method));
  LCSM_RETURN_IF_ERROR(text("schedule", &schedule));
  LCSM_RETURN_IF_ERROR(text("seed", &seed));
  LCSM_RETURN_IF_ERROR(count("horizon", &r->horizon));
  LCSM_RETURN_IF_ERROR(count("steps", &r->steps));
  LCSM_RETURN_IF_ERROR(count("sample", &sample));
  LCSM_RETURN_IF_ERROR(count("max_new_tokens", &o.max_new_tokens));
  LCSM_RETURN_IF_ERROR(count("top_k", &o.sampler.top_k));
  LCSM_RETURN_IF_ERROR(count("num_stops", num_stops));
  LCSM_RETURN_IF_ERROR(number("temperature", &o.sampler.temperature));
  LCSM_RETURN_IF_ERROR(number("top_p", &o.sampler.top_p));
  LCSM_RETURN_IF_ERROR(number("min_p", &o.sampler.min_p));
  LCSM_RETURN_IF_ERROR(flag("stop_at_eos", &o.stop_at_eos));
  LCSM_RETURN_IF_ERROR(flag("logprobs", &o.logprobs));
  LCSM_RETURN_IF_ERROR(flag("ends_sequence", &o.ends_sequence));
  LCSM_ASSIGN_OR_RETURN(r->growable, json.GetBoolOr("growable", false));
  LCSM_ASSIGN_OR_RETURN(const std::string histories,
                        json.GetStringOr("histories", conv::Name(kUnsaid)));
  const auto known_rings = conv::RingsFromName(histories);
  if (!known_rings) {
    return json.Wrong("histories", "one that this program knows");
  }
  r->rings = *known_rings;
  r->sample = sample;
  const auto known_method = conv::MethodFromName(method);
  const auto known_schedule = conv::ScheduleFromName(schedule);
  if (!known_method || !known_schedule) {
    return json.Wrong(known_method ? "schedule" : "method",
                      "one that this program knows");
  }
  r->method = *known_method;
  r->schedule = *known_schedule;
  const bool digits = !seed.empty() && seed.size() <= 20 &&
                      std::all_of(seed.begin(), seed.end(),
                                  [](char c) { return c >= '0' && c <= '9'; });
  if (!digits) return json.Wrong("seed", "a whole number as text");
  for (const char c : seed) {
    o.sampler.seed = 10 * o.sampler.seed + static_cast<uint64_t>(c - '0');
  }
  return OkStatus();
}

constexpr std::string_view kNextExecutor = "; ";

std::string PrintLevels(const std::vector<std::vector<conv::Level>>& levels) {
  const bool alike = std::adjacent_find(levels.begin(), levels.end(),
                                        std::not_equal_to<>()) == levels.end();
  std::string text;
  for (size_t i = 0; i < levels.size() && !(alike && i == 1); ++i) {
    conv::Plan plan;
    plan.levels = levels[i];
    text += fmt::format("{}{}", i == 0 ? "" : kNextExecutor, plan.Levels());
  }
  return text;
}

StatusOr<std::vector<std::vector<conv::Level>>> ParseAllLevels(
    std::string_view text, const std::string& name) {
  std::vector<std::vector<conv::Level>> all;
  while (true) {
    const size_t end = text.find(kNextExecutor);
    const std::string_view one = text.substr(0, end);
    all.emplace_back();
    if (!one.empty()) {
      LCSM_ASSIGN_OR_RETURN(all.back(), conv::ParseLevels(one, name));
    }
    if (end == std::string_view::npos) return all;
    text.remove_prefix(end + kNextExecutor.size());
  }
}

}  // namespace

SessionRecord MakeSessionRecord(const Model& model,
                                const PreparedModel& prepared,
                                std::vector<int32_t> prompt) {
  const ModelInfo& info = model.info();
  const PreparedPlans plans = prepared.plans();
  SessionRecord record;
  record.program = std::string("lcsm ") + LCSM_VERSION;
  record.model = info.name;
  record.model_hash = info.hash;
  record.weights = info.weight_format;
  record.simd_target = SimdTarget();
  record.horizon = prepared.horizon();
  record.steps = plans.steps;
  record.method = plans.method;
  record.schedule = plans.schedule;
  record.levels = PrintLevels(plans.levels);
  const conv::Plan& plan = prepared.plan();
  record.growable = plan.problem.growable;
  record.rings = plan.problem.growable || plan.problem.primed
                     ? conv::Rings::kNone
                     : plan.rings;
  record.prompt = std::move(prompt);
  return record;
}

SessionRecord MakeSessionRecord(const Model& model,
                                const PreparedModel& prepared,
                                const Generator& generator,
                                std::vector<int32_t> prompt, uint64_t sample) {
  SessionRecord record = MakeSessionRecord(model, prepared, std::move(prompt));
  record.options = generator.options();
  record.sample = sample;
  record.sampled = generator.Sampled();
  return record;
}

Status SaveSession(const std::filesystem::path& path,
                   const SessionRecord& record, const ModelState& state) {
  SessionRecord header = record;
  if (state.SavesForAnyTarget()) header.simd_target = kAnySimdTarget;
  LCSM_ASSIGN_OR_RETURN(io::SectionWriter writer,
                        io::SectionWriter::Create(path, Header(header)));
  LCSM_RETURN_IF_ERROR(Put(writer, "prompt", record.prompt));
  LCSM_RETURN_IF_ERROR(Put(writer, "sampled", record.sampled.tokens));
  LCSM_RETURN_IF_ERROR(Put(writer, "logprobs", record.sampled.logprobs));
  LCSM_RETURN_IF_ERROR(Put(writer, "logits", record.sampled.logits));
  LCSM_RETURN_IF_ERROR(Put(writer, "allowed", record.options.allowed));
  for (const std::string& stop : record.options.stop) {
    LCSM_RETURN_IF_ERROR(writer.Put("stop", std::as_bytes(std::span(stop))));
  }
  LCSM_RETURN_IF_ERROR(state.Save(writer));
  return writer.Finish();
}

StatusOr<OpenedSession> OpenSession(const std::filesystem::path& path) {
  LCSM_ASSIGN_OR_RETURN(io::SectionReader reader,
                        io::SectionReader::Open(path));
  OpenedSession session = {SessionRecord(), std::move(reader)};
  SessionRecord& r = session.record;
  LCSM_ASSIGN_OR_RETURN(
      const ConfigJson json,
      ConfigJson::Parse(session.reader.header(), session.reader.name()));
  size_t num_stops = 0;
  LCSM_RETURN_IF_ERROR(ReadHeader(json, &r, &num_stops));
  LCSM_RETURN_IF_ERROR(Get(session.reader, "prompt", &r.prompt));
  LCSM_RETURN_IF_ERROR(Get(session.reader, "sampled", &r.sampled.tokens));
  LCSM_RETURN_IF_ERROR(Get(session.reader, "logprobs", &r.sampled.logprobs));
  LCSM_RETURN_IF_ERROR(Get(session.reader, "logits", &r.sampled.logits));
  LCSM_RETURN_IF_ERROR(Get(session.reader, "allowed", &r.options.allowed));
  for (size_t k = 0; k < num_stops; ++k) {
    std::vector<char> stop;
    LCSM_RETURN_IF_ERROR(Get(session.reader, "stop", &stop));
    r.options.stop.emplace_back(stop.begin(), stop.end());
  }
  LCSM_RETURN_IF_ERROR(CheckIds(session.reader, "the prompt", r.prompt));
  LCSM_RETURN_IF_ERROR(
      CheckIds(session.reader, "the tokens so far", r.sampled.tokens));
  return session;
}

Status OpenedSession::Check(const ModelInfo& info) const {
  const auto differs = [&](const char* what, const std::string& found,
                           const std::string& expected) {
    return InvalidInput(
        fmt::format("{}: was saved with {} {}, expected {}, which this run has",
                    reader.name(), what, found, expected));
  };
  if (record.model_hash != info.hash) {
    return differs("the model", record.model + " (" + record.model_hash + ")",
                   info.name + " (" + info.hash + ")");
  }
  if (record.weights != info.weight_format) {
    return differs("--weights", record.weights, info.weight_format);
  }
  if (record.simd_target != kAnySimdTarget &&
      record.simd_target != SimdTarget()) {
    return differs("the SIMD target", record.simd_target, SimdTarget());
  }
  const auto check = [&](const std::vector<int32_t>& ids) -> Status {
    for (const int32_t id : ids) {
      if (static_cast<size_t>(id) >= info.vocab) {
        return InvalidInput(fmt::format(
            "{}: holds the id {}, expected ids below {}, the model's",
            reader.name(), id, info.vocab));
      }
    }
    return OkStatus();
  };
  LCSM_RETURN_IF_ERROR(check(record.prompt));
  LCSM_RETURN_IF_ERROR(check(record.sampled.tokens));
  if (record.sampled.logits.size() != info.padded_vocab) {
    return InvalidInput(fmt::format("{}: holds {} logits, expected {}",
                                    reader.name(), record.sampled.logits.size(),
                                    info.padded_vocab));
  }
  return OkStatus();
}

StatusOr<PrepareOptions> OpenedSession::ToPrepareOptions(
    conv::PlanOptions plan) const {
  PrepareOptions prepare;
  prepare.horizon = record.horizon;
  prepare.steps = record.steps;
  prepare.growable = record.growable;
  plan.method = record.method;
  plan.schedule = record.schedule;
  plan.rings = record.rings;
  LCSM_ASSIGN_OR_RETURN(auto levels,
                        ParseAllLevels(record.levels, reader.name()));
  plan.levels.clear();
  if (levels.size() == 1) {
    plan.levels = std::move(levels.front());
  } else {
    prepare.levels = std::move(levels);
  }
  prepare.plan = std::move(plan);
  return prepare;
}

Status OpenedSession::Load(ModelState& state) {
  LCSM_RETURN_IF_ERROR(state.Load(reader));
  LCSM_RETURN_IF_ERROR(reader.Finish());
  const size_t begin = record.prompt.size();
  const size_t sampled = record.sampled.tokens.size();
  const size_t taken = state.position() - std::min(state.position(), begin);
  // The last token sampled has been taken in or not.
  if (state.position() < begin || taken > sampled || taken + 1 < sampled) {
    return InvalidInput(fmt::format(
        "{}: stands at position {} with {} prompt tokens and {} new ones, "
        "expected a position behind them",
        reader.name(), state.position(), begin, sampled));
  }
  return OkStatus();
}

void PlanAnew(PrepareOptions* prepare) {
  if (prepare->steps >= prepare->horizon) {
    prepare->steps = PrepareOptions::kAll;
  }
  conv::PlanOptions& plan = prepare->plan;
  prepare->levels.push_back(std::move(plan.levels));
  for (const std::vector<conv::Level>& levels : prepare->levels) {
    if (plan.method == conv::Method::kPlanned && !levels.empty() &&
        levels.back().serves == conv::Serves::kDistant) {
      plan.latency = conv::Latency::kFlat;
    }
  }
  plan.levels.clear();
  plan.rings = conv::Rings::kOneBlock;
  prepare->levels.clear();
}

}  // namespace lcsm
