#include "cuda/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

namespace lcsm::cuda {
namespace {

// By its name, where the loader finds such, or where it was when this was
// built.
void* Open(const std::string& name) {
  void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    library = dlopen((std::string(LCSM_CUDA_LIBRARY_DIR "/") + name).c_str(),
                     RTLD_NOW | RTLD_LOCAL);
  }
  return library;
}

template <typename Function>
bool Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  return *function != nullptr;
}

Status Missing(const char* what, const std::string& name) {
  return Unsupported(fmt::format(
      "{} was not found: the file {} is wanted where the loader looks for "
      "libraries, or in {}",
      what, name, LCSM_CUDA_LIBRARY_DIR));
}

struct Cublas {
  CublasFunctions functions;
  Status status;
};
Cublas MakeCublas() {
  Cublas made;
  const std::string name = fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR);
  CublasFunctions& f = made.functions;
  void* const library = Open(name);
  if (library == nullptr || !Find(library, "cublasCreate_v2", &f.create) ||
      !Find(library, "cublasDestroy_v2", &f.destroy) ||
      !Find(library, "cublasSetStream_v2", &f.set_stream) ||
      !Find(library, "cublasSgemm_v2", &f.sgemm)) {
    made.status = Missing("cuBLAS", name);
  }
  return made;
}

struct Cufft {
  CufftFunctions functions;
  Status status;
};
Cufft MakeCufft() {
  Cufft made;
  const std::string name = fmt::format("libcufft.so.{}", CUFFT_VER_MAJOR);
  CufftFunctions& f = made.functions;
  void* const library = Open(name);
  if (library == nullptr || !Find(library, "cufftPlanMany", &f.plan_many) ||
      !Find(library, "cufftDestroy", &f.destroy) ||
      !Find(library, "cufftSetStream", &f.set_stream) ||
      !Find(library, "cufftExecR2C", &f.forward) ||
      !Find(library, "cufftExecC2R", &f.inverse)) {
    made.status = Missing("cuFFT", name);
  }
  return made;
}

#ifdef LCSM_CUDNN
struct Cudnn {
  CudnnFunctions functions;
  Status status;
};
Cudnn MakeCudnn() {
  Cudnn made;
  const std::string name = fmt::format("libcudnn.so.{}", CUDNN_MAJOR);
  CudnnFunctions& f = made.functions;
  void* const l = Open(name);
  const bool found =
      l != nullptr && Find(l, "cudnnCreate", &f.create) &&
      Find(l, "cudnnDestroy", &f.destroy) &&
      Find(l, "cudnnSetStream", &f.set_stream) &&
      Find(l, "cudnnCreateTensorDescriptor", &f.create_tensor) &&
      Find(l, "cudnnDestroyTensorDescriptor", &f.destroy_tensor) &&
      Find(l, "cudnnSetTensor4dDescriptor", &f.set_tensor) &&
      Find(l, "cudnnCreateFilterDescriptor", &f.create_filter) &&
      Find(l, "cudnnDestroyFilterDescriptor", &f.destroy_filter) &&
      Find(l, "cudnnSetFilter4dDescriptor", &f.set_filter) &&
      Find(l, "cudnnCreateConvolutionDescriptor", &f.create_convolution) &&
      Find(l, "cudnnDestroyConvolutionDescriptor", &f.destroy_convolution) &&
      Find(l, "cudnnSetConvolution2dDescriptor", &f.set_convolution) &&
      Find(l, "cudnnSetConvolutionGroupCount", &f.set_groups) &&
      Find(l, "cudnnSetConvolutionMathType", &f.set_math) &&
      Find(l, "cudnnGetConvolutionForwardWorkspaceSize", &f.workspace) &&
      Find(l, "cudnnConvolutionForward", &f.forward);
  if (!found) made.status = Missing("cuDNN", name);
  return made;
}
#endif

}  // namespace

#ifdef LCSM_CUDNN
StatusOr<const CudnnFunctions*> LoadCudnn() {
  static const Cudnn kCudnn = MakeCudnn();
  LCSM_RETURN_IF_ERROR(kCudnn.status);
  return &kCudnn.functions;
}
#endif

StatusOr<const CublasFunctions*> LoadCublas() {
  static const Cublas kCublas = MakeCublas();
  LCSM_RETURN_IF_ERROR(kCublas.status);
  return &kCublas.functions;
}

StatusOr<const CufftFunctions*> LoadCufft() {
  static const Cufft kCufft = MakeCufft();
  LCSM_RETURN_IF_ERROR(kCufft.status);
  return &kCufft.functions;
}

}  // namespace lcsm::cuda
