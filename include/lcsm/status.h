// Errors as values: the outside world (files, arguments, memory) answers with a
// Status or StatusOr.
//
// The library never aborts, prints or lets an exception through a public
// function. A message is one sentence that names the file, the field, what was
// found and what was expected. Thread safety: both are plain values; distinct
// objects may be used from distinct threads.
#pragma once

#include <cassert>
#include <memory>
#include <string>
#include <utility>
#include <variant>

namespace lcsm {

enum class StatusCode {
  kOk = 0,
  kInvalidInput,       // A file or argument says something it should not.
  kNotFound,           // A file, tensor or name that is not there.
  kResourceExhausted,  // Memory, disk or a stated limit.
  kUnsupported,  // Well formed, but not something this build or version does.
  kCancelled,    // The caller asked to stop.
  kInternal,     // A broken promise of ours.
};

class [[nodiscard]] Status {
 public:
  Status() = default;  // Success; costs no allocation.
  Status(StatusCode code, std::string message)
      : rep_(std::make_shared<const Rep>(Rep{code, std::move(message)})) {}

  bool ok() const { return rep_ == nullptr; }
  StatusCode code() const { return ok() ? StatusCode::kOk : rep_->code; }
  const std::string& message() const {
    static const std::string kNone;
    return ok() ? kNone : rep_->message;
  }

 private:
  struct Rep {
    StatusCode code;
    std::string message;
  };
  std::shared_ptr<const Rep> rep_;
};

inline Status OkStatus() { return Status(); }
inline Status InvalidInput(std::string message) {
  return Status(StatusCode::kInvalidInput, std::move(message));
}
inline Status NotFound(std::string message) {
  return Status(StatusCode::kNotFound, std::move(message));
}
inline Status ResourceExhausted(std::string message) {
  return Status(StatusCode::kResourceExhausted, std::move(message));
}
inline Status Unsupported(std::string message) {
  return Status(StatusCode::kUnsupported, std::move(message));
}
inline Status Cancelled(std::string message) {
  return Status(StatusCode::kCancelled, std::move(message));
}
inline Status InternalError(std::string message) {
  return Status(StatusCode::kInternal, std::move(message));
}

// Either a value or the reason why there is none.
template <typename T>
class [[nodiscard]] StatusOr {
 public:
  StatusOr(Status status) : rep_(std::move(status)) {
    assert(!std::get<Status>(rep_).ok() &&
           "a StatusOr without a value needs a reason");
  }
  StatusOr(T value) : rep_(std::move(value)) {}

  bool ok() const { return std::holds_alternative<T>(rep_); }
  Status status() const { return ok() ? Status() : std::get<Status>(rep_); }

  // Precondition: ok().
  T& value() & { return std::get<T>(rep_); }
  const T& value() const& { return std::get<T>(rep_); }
  T&& value() && { return std::get<T>(std::move(rep_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  std::variant<Status, T> rep_;
};

#define LCSM_CONCAT_INNER(a, b) a##b
#define LCSM_CONCAT(a, b) LCSM_CONCAT_INNER(a, b)

// Leaves the enclosing function with the Status of `expr` if that is an error.
#define LCSM_RETURN_IF_ERROR(expr)               \
  do {                                           \
    ::lcsm::Status lcsm_status_ = (expr);        \
    if (!lcsm_status_.ok()) return lcsm_status_; \
  } while (0)

// LCSM_ASSIGN_OR_RETURN(auto x, F()); leaves with the error, or moves the value
// into `x`.
#define LCSM_ASSIGN_OR_RETURN(lhs, expr) \
  LCSM_ASSIGN_OR_RETURN_IMPL(LCSM_CONCAT(lcsm_result_, __LINE__), lhs, expr)
#define LCSM_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                               \
  if (!result.ok()) return result.status();           \
  lhs = std::move(result).value()

}  // namespace lcsm
