#include "runtime/variants.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

#include "runtime/log_softmax.h"

namespace lcsm {
namespace {

constexpr std::string_view kBases = "ACGTN";

// Alleles whose activations are in memory together. For more, what they share
// is taken in again: a ninth of the work at most.
constexpr size_t kMaxBranches = 8;

// How many tokens at the beginning all have in common.
size_t CommonPrefix(const std::vector<std::vector<int32_t>>& texts) {
  size_t common = texts.front().size();
  for (const std::vector<int32_t>& text : texts) {
    const auto [a, b] = std::mismatch(
        text.begin(), text.begin() + static_cast<std::ptrdiff_t>(common),
        texts.front().begin());
    common = static_cast<size_t>(a - text.begin());
  }
  return common;
}

}  // namespace

StatusOr<NucleotideIds> NucleotideIds::Find(const io::Tokenizer& tokenizer) {
  NucleotideIds ids;
  for (const char base : kBases) {
    const io::Encoding one = tokenizer.Encode(std::string_view(&base, 1));
    if (one.ids.size() != 1 || one.unknown != 0) {
      return InvalidInput(fmt::format(
          "the model's tokenizer ({}) has no token for the base {}, expected a "
          "model of DNA",
          tokenizer.name(), base));
    }
    ids.ids_[static_cast<unsigned char>(base)] = one.ids.front();
  }
  return ids;
}

std::vector<int32_t> NucleotideIds::Encode(
    std::string_view folded_bases) const {
  std::vector<int32_t> tokens(folded_bases.size());
  Encode(folded_bases, tokens);
  return tokens;
}

void NucleotideIds::Encode(std::string_view folded_bases,
                           std::span<int32_t> tokens) const {
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = ids_[static_cast<unsigned char>(folded_bases[i])];
  }
}

Status VariantScorer::ScoreWhole(std::span<const int32_t> text,
                                 const ModelState::Progress& progress,
                                 double* sum) {
  const size_t length = text.size();
  figures_.tokens += length - 1;
  state_.Reset();
  const auto on_logits = [&](size_t position,
                             std::span<const float> logits) -> Status {
    *sum +=
        LogSoftmaxAt(logits.data(), model_.info().vocab, text[position + 1]);
    return OkStatus();
  };
  LCSM_RETURN_IF_ERROR(state_.Prefill(
      text.first(length - 1),  // The last token is scored but never taken in.
      {.on_logits = on_logits, .progress = progress, .following = 0}));
  return model_.CheckWeights();
}

Status VariantScorer::ScoreBranches(std::span<const std::vector<int32_t>> texts,
                                    size_t common,
                                    const ModelState::Progress& progress,
                                    std::span<double> own, double* shared) {
  using Request = ModelState::BranchRequest;
  const size_t length = texts.front().size();
  const size_t part_at = std::min(common, length - 1);
  std::vector<std::span<const int32_t>> branches;
  for (const std::vector<int32_t>& text : texts) {
    branches.push_back(std::span(text).subspan(part_at, length - 1 - part_at));
  }
  figures_.tokens += part_at + texts.size() * (length - 1 - part_at);
  const size_t vocab = model_.info().vocab;
  *shared = 0;
  Request request;
  request.progress = progress;
  request.on_logits = [&](size_t branch, size_t position,
                          std::span<const float> logits) {
    const size_t next = position + 1;  // The token that they are about.
    if (branch != Request::kTrunk) {
      own[branch] += LogSoftmaxAt(logits.data(), vocab, texts[branch][next]);
    } else if (next < part_at) {
      *shared += LogSoftmaxAt(logits.data(), vocab, texts.front()[next]);
    } else {
      for (size_t i = 0; i < texts.size(); ++i) {
        own[i] += LogSoftmaxAt(logits.data(), vocab, texts[i][next]);
      }
    }
    return OkStatus();
  };
  state_.Reset();
  LCSM_RETURN_IF_ERROR(state_.PrefillBranches(
      std::span(texts.front()).first(part_at), branches, request));
  return model_.CheckWeights();
}

StatusOr<VariantScorer::Sums> VariantScorer::ScoreShared(
    const std::vector<std::vector<int32_t>>& texts, size_t common,
    const ModelState::Progress& progress) {
  Sums sums;
  sums.own.resize(texts.size());
  for (size_t i = 0; i < texts.size(); i += kMaxBranches) {
    const size_t count = std::min(kMaxBranches, texts.size() - i);
    LCSM_RETURN_IF_ERROR(
        ScoreBranches(std::span(texts).subspan(i, count), common, progress,
                      std::span(sums.own).subspan(i, count), &sums.shared));
  }
  return sums;
}

StatusOr<VariantScorer::Sums> VariantScorer::ScoreTexts(
    const std::vector<std::string>& texts,
    const ModelState::Progress& progress) {
  const size_t length = texts.front().size();
  figures_.windows += texts.size();
  figures_.tokens_whole += texts.size() * (length - 1);
  Sums sums;
  if (length < 2) {
    sums.own.assign(texts.size(), 0);  // A first token has no score.
    return sums;
  }
  if (options_.share) {
    // Two lines of a file at one site have the same REF, and may have the same
    // ALT.
    std::vector<size_t> which;
    std::map<std::string_view, size_t> seen;
    std::vector<std::vector<int32_t>> distinct;
    for (const std::string& text : texts) {
      const auto [found, is_new] = seen.emplace(text, distinct.size());
      if (is_new) distinct.push_back(ids_.Encode(text));
      which.push_back(found->second);
    }
    const size_t common = CommonPrefix(distinct);
    if (common > 0) {
      LCSM_ASSIGN_OR_RETURN(const Sums some,
                            ScoreShared(distinct, common, progress));
      sums.shared = some.shared;
      for (const size_t i : which) sums.own.push_back(some.own[i]);
      return sums;
    }
  }
  for (const std::string& text : texts) {
    double own = 0;
    LCSM_RETURN_IF_ERROR(ScoreWhole(ids_.Encode(text), progress, &own));
    sums.own.push_back(own);
  }
  return sums;
}

Status VariantScorer::AddStrand(const Strand& strand,
                                std::span<const Variant> variants,
                                const ModelState::Progress& progress,
                                std::vector<VariantScores>* scores) {
  const double weight = options_.both_strands ? 0.5 : 1;
  std::vector<VariantWindow> windows;
  for (const Variant& variant : variants) {
    windows.push_back(
        PlaceWindow(strand.length, variant, options_.window, options_.place));
  }
  for (size_t i = 0; i < variants.size(); ++i) {
    const auto same = [&](size_t j) { return windows[j] == windows[i]; };
    bool done = false;
    for (size_t j = 0; j < i && !done; ++j) done = same(j);
    if (done) continue;
    std::vector<std::string> texts;
    std::vector<std::pair<size_t, size_t>> parts;  // Variant, its first text.
    for (size_t j = i; j < variants.size(); ++j) {
      if (!same(j)) continue;
      LCSM_ASSIGN_OR_RETURN(std::vector<std::string> haplotypes,
                            MakeHaplotypes(strand, variants[j], windows[j]));
      parts.emplace_back(j, texts.size());
      for (std::string& text : haplotypes) texts.push_back(std::move(text));
    }
    LCSM_ASSIGN_OR_RETURN(const Sums sums, ScoreTexts(texts, progress));
    for (const auto& [j, first] : parts) {
      VariantScores& to = (*scores)[j];
      to.ref += weight * (sums.shared + sums.own[first]);
      for (size_t k = 0; k < variants[j].alts.size(); ++k) {
        const double own = sums.own[first + 1 + k];
        to.alts[k] += weight * (sums.shared + own);
        to.ratios[k] += weight * (own - sums.own[first]);
      }
    }
  }
  return OkStatus();
}

StatusOr<std::vector<VariantScores>> VariantScorer::Score(
    const Strand& strand, std::span<const Variant> variants,
    const ModelState::Progress& progress) {
  std::vector<VariantScores> scores(variants.size());
  for (size_t i = 0; i < variants.size(); ++i) {
    scores[i].alts.resize(variants[i].alts.size());
    scores[i].ratios.resize(variants[i].alts.size());
  }
  LCSM_RETURN_IF_ERROR(AddStrand(strand, variants, progress, &scores));
  if (options_.both_strands) {
    std::vector<Variant> reversed;
    for (const Variant& variant : variants) {
      reversed.push_back(Reverse(variant, strand.length));
    }
    LCSM_RETURN_IF_ERROR(
        AddStrand(Reverse(strand), reversed, progress, &scores));
  }
  return scores;
}

}  // namespace lcsm
