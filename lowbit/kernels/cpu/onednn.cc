// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/onednn.h"

#include <omp.h>
#include <dnnl.hpp>

#include <map>
#include <mutex>
#include <tuple>

#include "lowbit/base/error.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit::onednn {
namespace {

using dnnl::memory;
using Dim = memory::dim;

// OpenMP's number of threads is a setting of each calling thread; ours come and go with the pool.
void UseOneThread() {
  thread_local const bool done = [] {
    omp_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  thread_local dnnl::stream stream(Engine());
  return stream;
}

std::byte* Scratch(size_t bytes) {
  thread_local Buffer<std::byte> buffer;
  if (buffer.size() < bytes) buffer = Buffer<std::byte>(bytes);
  return buffer.data();
}

memory::data_type DataType(Element element) {
  switch (element) {
    case Element::kF32:
      return memory::data_type::f32;
    case Element::kBF16:
      return memory::data_type::bf16;
    case Element::kU8S8:
      return memory::data_type::s8;  // of W
  }
  return memory::data_type::undef;
}

dnnl::matmul::primitive_desc Describe(const memory::desc& x, const memory::desc& w, const memory::desc& y) {
  dnnl::primitive_attr attributes;
  // The library's own scratch memory is not safe when one primitive runs on several threads.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
#if DNNL_VERSION_MAJOR >= 3
  return {Engine(), x, w, y, attributes};
#else
  return {dnnl::matmul::desc(x, w, y), attributes, Engine()};
#endif
}

// oneDNN reports failures as exceptions of its own; ours name the operation.
template <class F>
auto Checked(const char* what, F&& body) {
  try {
    return body();
  } catch (const dnnl::error& e) {
    const bool memory_is_out = e.status == dnnl_out_of_memory;
    throw Error(memory_is_out ? ErrorKind::kResource : ErrorKind::kInternal,
                fmt::format("oneDNN cannot {}: {}", what, e.what()));
  }
}

}  // namespace

struct MatMul::Impl {
  memory::desc x, w_plain, w_panel, y, scratch;
  dnnl::matmul primitive;
};

MatMul::MatMul(Element element, size_t rows, size_t k, size_t n, size_t x_stride) {
  UseOneThread();
  const auto m_ = static_cast<Dim>(rows), k_ = static_cast<Dim>(k), n_ = static_cast<Dim>(n);
  const memory::data_type type = DataType(element);
  const memory::data_type sum = element == Element::kU8S8 ? memory::data_type::s32 : memory::data_type::f32;
  const memory::data_type x_type = element == Element::kU8S8 ? memory::data_type::u8 : type;
  const memory::desc x({m_, k_}, x_type, memory::dims{static_cast<Dim>(x_stride), 1});
  const memory::desc w_any({k_, n_}, type, memory::format_tag::any);
  const memory::desc w_plain({k_, n_}, type, memory::dims{1, k_});  // W[n, k] read as its transpose
  const memory::desc y({m_, n_}, sum, memory::dims{n_, 1});
  Checked("make a matrix product", [&] {
    const dnnl::matmul::primitive_desc d = Describe(x, w_any, y);
    impl_ =
        std::make_unique<Impl>(Impl{x, w_plain, d.weights_desc(), y, d.scratchpad_desc(), dnnl::matmul(d)});
  });
}

MatMul::~MatMul() = default;

const MatMul& MatMul::Get(Element element, size_t rows, size_t k, size_t n, size_t x_stride) {
  using Key = std::tuple<Element, size_t, size_t, size_t, size_t>;
  static std::mutex mutex;
  static std::map<Key, std::unique_ptr<MatMul>> made;
  const std::lock_guard lock(mutex);
  std::unique_ptr<MatMul>& slot = made[{element, rows, k, n, x_stride}];
  if (!slot) slot.reset(new MatMul(element, rows, k, n, x_stride));
  return *slot;
}

size_t MatMul::PanelBytes() const {
  return impl_->w_panel.get_size();
}

void MatMul::Pack(const void* w, void* panel) const {
  UseOneThread();
  Checked("pack a matrix", [&] {
    memory from(impl_->w_plain, Engine(), const_cast<void*>(w)), to(impl_->w_panel, Engine(), panel);
    dnnl::reorder(from, to).execute(Stream(), from, to);
  });
}

void MatMul::Run(const void* x, const void* panel, void* y) const {
  UseOneThread();
  Checked("multiply", [&] {
    impl_->primitive.execute(
        Stream(),
        {{DNNL_ARG_SRC, memory(impl_->x, Engine(), const_cast<void*>(x))},
         {DNNL_ARG_WEIGHTS, memory(impl_->w_panel, Engine(), const_cast<void*>(panel))},
         {DNNL_ARG_DST, memory(impl_->y, Engine(), y)},
         {DNNL_ARG_SCRATCHPAD, memory(impl_->scratch, Engine(), Scratch(impl_->scratch.get_size()))}});
  });
}

void Sgemm(bool b_transposed, size_t m, size_t n, size_t k, float alpha, const float* a, size_t lda,
           const float* b, size_t ldb, float beta, float* c, size_t ldc) {
  UseOneThread();
  const auto dim = [](size_t v) { return static_cast<dnnl_dim_t>(v); };
  const dnnl_status_t status = dnnl_sgemm('N', b_transposed ? 'T' : 'N', dim(m), dim(n), dim(k), alpha, a,
                                          dim(lda), b, dim(ldb), beta, c, dim(ldc));
  if (status != dnnl_success) {
    throw Error(ErrorKind::kInternal,
                fmt::format("oneDNN cannot multiply {}x{}x{}: status {}", m, n, k, static_cast<int>(status)));
  }
}

std::string IsaName() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::sse41:
      return "sse41";
    case dnnl::cpu_isa::avx:
      return "avx";
    case dnnl::cpu_isa::avx2:
      return "avx2";
    case dnnl::cpu_isa::avx2_vnni:
      return "avx2_vnni";
    case dnnl::cpu_isa::avx512_core:
      return "avx512_core";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "avx512_core_vnni";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "avx512_core_bf16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "avx512_core_amx";
    default:
      break;
  }
  const auto code = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return fmt::format("onednn_isa_{:#x}", code);
}

bool SupportsBF16() {
  try {
    const memory::desc a({16, 16}, memory::data_type::bf16, memory::format_tag::ab);
    const memory::desc y({16, 16}, memory::data_type::f32, memory::format_tag::ab);
    Describe(a, a, y);
    return true;
  } catch (const dnnl::error&) {
    return false;
  }
}

bool HasExactIntegers() {
  const std::string isa = IsaName();
  for (const char* part : {"vnni", "bf16", "amx"}) {  // later sets include VNNI
    if (isa.find(part) != std::string::npos) return true;
  }
  return false;
}

bool HasFastBF16() {
  const std::string isa = IsaName();
  if (isa.find("amx") != std::string::npos) return true;
  // vdpbf16ps runs at half the rate of f32 FMA on Intel cores, at twice the rate on AMD's
  // (docs/performance.md).
  return isa == "avx512_core_bf16" && __builtin_cpu_is("amd") != 0;
}

}  // namespace lowbit::onednn
