// The safetensors reader: whatever it accepts lies within the file, tiles it
// and can be read.
#include <cstdint>
#include <vector>

#include "check.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lcsm::io;
  const std::span<const std::byte> file =
      std::as_bytes(std::span<const uint8_t>(data, size));
  const auto header = ParseSafetensors(file, "f");
  if (!header.ok()) {
    CheckSentence(header.status());
    return 0;
  }
  size_t bytes = 0;
  for (const TensorView& tensor : header->tensors) {
    FUZZ_CHECK(tensor.data >= file.data());
    FUZZ_CHECK(tensor.data + tensor.bytes <= file.data() + file.size());
    size_t elements = 0;
    FUZZ_CHECK(ShapeElements(tensor.shape, &elements));
    FUZZ_CHECK(elements * DTypeSize(tensor.dtype) == tensor.bytes);
    std::vector<float> values(elements);
    const lcsm::Status status = CopyToFloat32(tensor, values.data());
    if (!status.ok()) CheckSentence(status);
    bytes += tensor.bytes;
  }
  FUZZ_CHECK(bytes <= file.size());
  return 0;
}
