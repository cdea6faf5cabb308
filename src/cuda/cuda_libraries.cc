#include "cuda/cuda_libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <string>

namespace lcsm::cuda {
namespace {

// A library's functions, or the sentence why there are none.
template <typename Functions>
class Library {
 public:
  // `file` is looked for where the loader does, then where it was when this was
  // built. `bind` names each function to Bind.
  template <typename BindAll>
  Library(const char* what, const std::string& file, BindAll&& bind) {
    library_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library_ == nullptr) {
      library_ = dlopen((std::string(LCSM_CUDA_LIBRARY_DIR "/") + file).c_str(),
                        RTLD_NOW | RTLD_LOCAL);
    }
    if (library_ == nullptr) {
      status_ = Unsupported(fmt::format(
          "{} was not found: the file {} is wanted where the loader looks for "
          "libraries, or in {}",
          what, file, LCSM_CUDA_LIBRARY_DIR));
      return;
    }
    bind(*this);
    if (missing_ != nullptr) {
      status_ = Unsupported(fmt::format(
          "{} is not what this build was made for: {} has no function {}", what,
          file, missing_));
    }
  }

  template <typename Function>
  void Bind(const char* name, Function Functions::*slot) {
    functions_.*slot = reinterpret_cast<Function>(dlsym(library_, name));
    if (functions_.*slot == nullptr && missing_ == nullptr) missing_ = name;
  }
  StatusOr<const Functions*> functions() const {
    LCSM_RETURN_IF_ERROR(status_);
    return &functions_;
  }

 private:
  void* library_ = nullptr;  // Never closed.
  const char* missing_ = nullptr;
  Functions functions_;
  Status status_;
};

}  // namespace

#ifdef LCSM_CUDNN
StatusOr<const CudnnFunctions*> LoadCudnn() {
  using F = CudnnFunctions;
  static const Library<F> kCudnn(
      "cuDNN", fmt::format("libcudnn.so.{}", CUDNN_MAJOR), [](Library<F>& l) {
        l.Bind("cudnnCreate", &F::create);
        l.Bind("cudnnDestroy", &F::destroy);
        l.Bind("cudnnSetStream", &F::set_stream);
        l.Bind("cudnnCreateTensorDescriptor", &F::create_tensor);
        l.Bind("cudnnDestroyTensorDescriptor", &F::destroy_tensor);
        l.Bind("cudnnSetTensor4dDescriptor", &F::set_tensor);
        l.Bind("cudnnCreateFilterDescriptor", &F::create_filter);
        l.Bind("cudnnDestroyFilterDescriptor", &F::destroy_filter);
        l.Bind("cudnnSetFilter4dDescriptor", &F::set_filter);
        l.Bind("cudnnCreateConvolutionDescriptor", &F::create_convolution);
        l.Bind("cudnnDestroyConvolutionDescriptor", &F::destroy_convolution);
        l.Bind("cudnnSetConvolution2dDescriptor", &F::set_convolution);
        l.Bind("cudnnSetConvolutionGroupCount", &F::set_groups);
        l.Bind("cudnnSetConvolutionMathType", &F::set_math);
        l.Bind("cudnnGetConvolutionForwardWorkspaceSize", &F::workspace);
        l.Bind("cudnnConvolutionForward", &F::forward);
      });
  return kCudnn.functions();
}
#endif

#ifdef LCSM_NCCL
StatusOr<const NcclFunctions*> LoadNccl() {
  using F = NcclFunctions;
  static const Library<F> kNccl(
      "NCCL", fmt::format("libnccl.so.{}", NCCL_MAJOR), [](Library<F>& l) {
        l.Bind("ncclCommInitAll", &F::init_all);
        l.Bind("ncclCommDestroy", &F::destroy);
        l.Bind("ncclCommAbort", &F::abort);
        l.Bind("ncclCommGetAsyncError", &F::get_async_error);
        l.Bind("ncclGroupStart", &F::group_start);
        l.Bind("ncclGroupEnd", &F::group_end);
        l.Bind("ncclAllReduce", &F::all_reduce);
        l.Bind("ncclGetErrorString", &F::error_string);
      });
  return kNccl.functions();
}
#endif

StatusOr<const CublasFunctions*> LoadCublas() {
  using F = CublasFunctions;
  static const Library<F> kCublas(
      "cuBLAS", fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR),
      [](Library<F>& l) {
        l.Bind("cublasCreate_v2", &F::create);
        l.Bind("cublasDestroy_v2", &F::destroy);
        l.Bind("cublasSetStream_v2", &F::set_stream);
        l.Bind("cublasSetWorkspace_v2", &F::set_workspace);
        l.Bind("cublasSgemm_v2", &F::sgemm);
      });
  return kCublas.functions();
}

StatusOr<const CufftFunctions*> LoadCufft() {
  using F = CufftFunctions;
  static const Library<F> kCufft(
      "cuFFT", fmt::format("libcufft.so.{}", CUFFT_VER_MAJOR),
      [](Library<F>& l) {
        l.Bind("cufftCreate", &F::create);
        l.Bind("cufftSetAutoAllocation", &F::set_auto_allocation);
        l.Bind("cufftMakePlanMany64", &F::make_plan_many);
        l.Bind("cufftSetWorkArea", &F::set_work_area);
        l.Bind("cufftDestroy", &F::destroy);
        l.Bind("cufftSetStream", &F::set_stream);
        l.Bind("cufftExecR2C", &F::forward);
        l.Bind("cufftExecC2R", &F::inverse);
      });
  return kCufft.functions();
}

}  // namespace lcsm::cuda
