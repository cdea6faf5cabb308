// cuBLAS, cuFFT, cuDNN and NCCL, fetched when they are first wanted: linked in,
// they would cost every run of the command the time to load half a gigabyte, on
// the CPU as well.
#pragma once

#include <cublas_v2.h>
#include <cufft.h>
// Not part of the toolkit.
#if __has_include(<cudnn.h>)
#include <cudnn.h>
#define LCSM_CUDNN
#endif
#if __has_include(<nccl.h>)
#include <nccl.h>
#define LCSM_NCCL
#endif

#include "lcsm/status.h"

namespace lcsm::cuda {

struct CublasFunctions {
  decltype(&cublasCreate_v2) create = nullptr;
  decltype(&cublasDestroy_v2) destroy = nullptr;
  decltype(&cublasSetStream_v2) set_stream = nullptr;
  decltype(&cublasSetWorkspace_v2) set_workspace = nullptr;
  decltype(&cublasSgemm_v2) sgemm = nullptr;
};

struct CufftFunctions {
  decltype(&cufftCreate) create = nullptr;
  decltype(&cufftSetAutoAllocation) set_auto_allocation = nullptr;
  decltype(&cufftMakePlanMany64) make_plan_many = nullptr;
  decltype(&cufftSetWorkArea) set_work_area = nullptr;
  decltype(&cufftDestroy) destroy = nullptr;
  decltype(&cufftSetStream) set_stream = nullptr;
  decltype(&cufftExecR2C) forward = nullptr;
  decltype(&cufftExecC2R) inverse = nullptr;
};

#ifdef LCSM_CUDNN
// The older interface: grouped convolutions are all that is wanted.
struct CudnnFunctions {
  decltype(&cudnnCreate) create = nullptr;
  decltype(&cudnnDestroy) destroy = nullptr;
  decltype(&cudnnSetStream) set_stream = nullptr;
  decltype(&cudnnCreateTensorDescriptor) create_tensor = nullptr;
  decltype(&cudnnDestroyTensorDescriptor) destroy_tensor = nullptr;
  decltype(&cudnnSetTensor4dDescriptor) set_tensor = nullptr;
  decltype(&cudnnCreateFilterDescriptor) create_filter = nullptr;
  decltype(&cudnnDestroyFilterDescriptor) destroy_filter = nullptr;
  decltype(&cudnnSetFilter4dDescriptor) set_filter = nullptr;
  decltype(&cudnnCreateConvolutionDescriptor) create_convolution = nullptr;
  decltype(&cudnnDestroyConvolutionDescriptor) destroy_convolution = nullptr;
  decltype(&cudnnSetConvolution2dDescriptor) set_convolution = nullptr;
  decltype(&cudnnSetConvolutionGroupCount) set_groups = nullptr;
  decltype(&cudnnSetConvolutionMathType) set_math = nullptr;
  decltype(&cudnnGetConvolutionForwardWorkspaceSize) workspace = nullptr;
  decltype(&cudnnConvolutionForward) forward = nullptr;
};
StatusOr<const CudnnFunctions*> LoadCudnn();
#endif

#ifdef LCSM_NCCL
struct NcclFunctions {
  decltype(&ncclCommInitAll) init_all = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommGetAsyncError) get_async_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
};
StatusOr<const NcclFunctions*> LoadNccl();
#endif

// Loaded at the first call, for good; thread safe. Error: a library that is not
// there, or without a function that is wanted, named.
StatusOr<const CublasFunctions*> LoadCublas();
StatusOr<const CufftFunctions*> LoadCufft();

}  // namespace lcsm::cuda
