#include "cuda/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace lcsm::cuda {

Memory& Memory::operator=(Memory&& other) noexcept {
  if (this == &other) return *this;
  Free();
  device_ = std::move(other.device_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void Memory::Free() noexcept {
  if (data_ != nullptr) device_->DoFree(data_);
  data_ = nullptr;
}

HostMemory& HostMemory::operator=(HostMemory&& other) noexcept {
  if (this == &other) return *this;
  Free();
  device_ = std::move(other.device_);
  data_ = std::exchange(other.data_, nullptr);
  bytes_ = std::exchange(other.bytes_, 0);
  return *this;
}

void HostMemory::Free() noexcept {
  if (data_ != nullptr) device_->DoFreeHost(data_);
  data_ = nullptr;
}

StatusOr<Memory> Device::Allocate(size_t bytes, const char* what) {
  if (bytes == 0) return Memory();
  LCSM_RETURN_IF_ERROR(status());
  void* const data = DoAllocate(bytes);
  if (data == nullptr) {
    // A device that is lost has none either, and says so here.
    LCSM_ASSIGN_OR_RETURN(const size_t left, FreeBytes());
    return ResourceExhausted(fmt::format(
        "{} ({}) has no {:.2f} GiB left for {}: {:.2f} of its {:.2f} GiB are "
        "free",
        info().label, info().name, static_cast<double>(bytes) / 0x1p30, what,
        static_cast<double>(left) / 0x1p30,
        static_cast<double>(info().memory_bytes) / 0x1p30));
  }
  return Memory(shared_from_this(), data, bytes);
}

StatusOr<HostMemory> Device::AllocateHost(size_t bytes) {
  LCSM_RETURN_IF_ERROR(status());
  void* const data = DoAllocateHost(bytes);
  if (data == nullptr) {
    return ResourceExhausted(
        fmt::format("no {} bytes of memory that {} can reach are left", bytes,
                    info().label));
  }
  return HostMemory(shared_from_this(), data, bytes);
}

StatusOr<DeviceChoice> ParseDevice(const std::string& text) {
  DeviceChoice choice;
  if (text == "cpu") return choice;
  if (text == "auto") {
    choice.kind = DeviceChoice::Kind::kAuto;
    return choice;
  }
  choice.kind = DeviceChoice::Kind::kCuda;
  if (text == "cuda") return choice;
  const auto wrong = [&text] {
    return InvalidInput(fmt::format(
        "the device is '{}', expected cpu, cuda, cuda:N, cuda:N,M,.. or auto",
        text));
  };
  if (!text.starts_with("cuda:")) return wrong();
  choice.indices.clear();
  const char* const end = text.data() + text.size();
  for (const char* at = text.data() + 4; at != end;) {
    ++at;  // The colon, or a comma.
    int index = 0;
    const auto [rest, error] = std::from_chars(at, end, index);
    if (error != std::errc() || index < 0 || (rest != end && *rest != ',')) {
      return wrong();
    }
    if (std::find(choice.indices.begin(), choice.indices.end(), index) !=
        choice.indices.end()) {
      return InvalidInput(fmt::format(
          "the device is '{}', which names cuda:{} twice, expected each GPU "
          "once",
          text, index));
    }
    choice.indices.push_back(index);
    at = rest;
  }
  return choice;
}

}  // namespace lcsm::cuda
