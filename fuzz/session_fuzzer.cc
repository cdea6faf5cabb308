// Session files: whatever is accepted has a header and sections that can be
// read. Checksums stop nearly all changes, so the first byte may ask for a file
// that is well formed outside and has the fuzzer's bytes in its parts.
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

#include "check.h"
#include "io/atomic_file.h"
#include "io/section_file.h"
#include "runtime/session_file.h"

namespace {

// A file with the fuzzer's bytes as header and sections, well formed outside.
void Wrap(const uint8_t* data, size_t size, const std::string& path) {
  const size_t header = size == 0 ? 0 : data[0] * size / 256;
  const std::string text(reinterpret_cast<const char*>(data), size);
  auto writer =
      lcsm::io::SectionWriter::Create(path, text.substr(0, header)).value();
  size_t at = header;
  for (const char* name : {"prompt", "sampled", "logprobs", "logits", "allowed",
                           "stop", "state"}) {
    const size_t n = at < size ? std::min<size_t>(data[at], size - at) : 0;
    FUZZ_CHECK(
        writer.Put(name, std::as_bytes(std::span(text).subspan(at, n))).ok());
    at += n;
  }
  FUZZ_CHECK(writer.Finish().ok());
}

void Read(const std::string& path) {
  const auto session = lcsm::OpenSession(path);
  if (!session.ok()) {
    CheckSentence(session.status());
    return;
  }
  const auto prepare = session->ToPrepareOptions({});
  if (!prepare.ok()) CheckSentence(prepare.status());
  const lcsm::Status fits = session->Check(lcsm::ModelInfo());
  if (!fits.ok()) CheckSentence(fits);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  // Files are synced, which costs nothing in memory.
  static const std::string path =
      std::string(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") +
      "/lcsm-session-fuzzer-" + std::to_string(getpid());
  if (size == 0) return 0;
  if (data[0] % 2 == 0) {
    const std::string_view text(reinterpret_cast<const char*>(data) + 1,
                                size - 1);
    FUZZ_CHECK(lcsm::io::WriteFileAtomically(path, text).ok());
  } else {
    Wrap(data + 1, size - 1, path);
  }
  Read(path);
  std::remove(path.c_str());
  return 0;
}
