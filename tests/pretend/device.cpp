// A CUDA device that is pretended: tensors on it say `cuda:0` and lie in the machine's memory.
//
// Every operator runs on the CPU over that memory, after what CUDA would refuse was refused here too:
// tensors of several devices, generators of another one. Memory that nobody has written is NaN.
// What it cannot show: streams, real sizes of memory, and time.
//
// Loaded before torch is imported (`__init__.py`): torch asks once who stands for CUDA.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/List.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/Allocator.h>
#include <c10/core/DefaultDtype.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace {

using at::Tensor;
using c10::Device;
using c10::DeviceType;
using c10::DispatchKey;
using c10::DispatchKeySet;
using c10::IValue;
using Format = std::optional<c10::MemoryFormat>;

constexpr size_t kPage = 256;  // what CUDA aligns to
const Device kHere(DeviceType::CUDA, 0);
const DispatchKeySet kKeys(DispatchKey::CUDA);

// How often each operator ran, and each kind of copy.
class Tally {
 public:
  void count(const std::string& name) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++counts_[name];
  }
  std::string taken() {
    std::lock_guard<std::mutex> lock(mutex_);
    std::string text;
    for (const auto& [name, times] : counts_) text += name + "\t" + std::to_string(times) + "\n";
    counts_.clear();
    return text;
  }

 private:
  std::mutex mutex_;
  std::map<std::string, long> counts_;
} tally;

void* aligned(size_t bytes) { return bytes ? std::aligned_alloc(kPage, (bytes + kPage - 1) / kPage * kPage) : nullptr; }

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* made = aligned(bytes);
    if (made) std::memset(made, 0xFF, bytes);  // NaN of every floating type, -1 of integers
    return {made, made, &std::free, kHere};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &std::free; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }
} memory;

// Pinned memory of the machine is memory like any, of which it is known that it is pinned.
struct PinnedMemory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* made = aligned(bytes);
    if (made) {
      std::lock_guard<std::mutex> lock(mutex());
      known()[reinterpret_cast<uintptr_t>(made)] = bytes;
    }
    return {made, made, &release, Device(DeviceType::CPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t bytes) const override { std::memcpy(to, from, bytes); }

  static bool holds(const void* pointer) {
    const auto at = reinterpret_cast<uintptr_t>(pointer);
    std::lock_guard<std::mutex> lock(mutex());
    auto after = known().upper_bound(at);
    return after != known().begin() && (--after, at < after->first + after->second);
  }

 private:
  static void release(void* pointer) {
    {
      std::lock_guard<std::mutex> lock(mutex());
      known().erase(reinterpret_cast<uintptr_t>(pointer));
    }
    std::free(pointer);
  }
  static std::map<uintptr_t, size_t>& known() {
    static auto* all = new std::map<uintptr_t, size_t>;  // outlives what is let go at exit
    return *all;
  }
  static std::mutex& mutex() {
    static auto* one = new std::mutex;
    return *one;
  }
} pinned_memory;

// A generator of the device draws by one of the CPU.
struct DeviceGenerator final : c10::GeneratorImpl {
  DeviceGenerator() : GeneratorImpl(kHere, kKeys), inner(at::detail::createCPUGenerator()) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  void set_offset(uint64_t) override {}
  uint64_t get_offset() const override { return 0; }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return inner.unsafeGetGeneratorImpl()->get_state();
  }
  GeneratorImpl* clone_impl() const override {
    auto* other = new DeviceGenerator();
    other->inner.unsafeGetGeneratorImpl()->set_state(*inner.unsafeGetGeneratorImpl()->get_state());
    return other;
  }

  at::Generator inner;
};

// There is one device and one stream, on which everything has always ended.
struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream only() { return c10::Stream(c10::Stream::DEFAULT, kHere); }
  DeviceType type() const override { return DeviceType::CUDA; }
  Device exchangeDevice(Device) const override { return kHere; }
  Device getDevice() const override { return kHere; }
  void setDevice(Device) const override {}
  void uncheckedSetDevice(Device) const noexcept override {}
  c10::Stream getStream(Device) const override { return only(); }
  c10::Stream getDefaultStream(Device) const override { return only(); }
  c10::Stream exchangeStream(c10::Stream) const override { return only(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};

// The same memory as a tensor of the CPU.
Tensor on_host(const Tensor& tensor) {
  const auto options = tensor.options().device(c10::kCPU).requires_grad(false);
  if (!tensor.numel()) return at::empty(tensor.sizes(), options);
  Tensor same = at::from_blob(tensor.mutable_data_ptr(), tensor.sizes(), tensor.strides(), options);
  if (tensor.is_conj()) same._set_conj(true);
  if (tensor.is_neg()) same._set_neg(true);
  return same;
}

// A copy of a tensor of the CPU, on the device.
Tensor on_device(const Tensor& tensor) {
  Tensor copy = at::detail::empty_strided_generic(tensor.sizes(), tensor.strides(), &memory, kKeys, tensor.scalar_type());
  if (tensor.numel()) on_host(copy).copy_(tensor);
  return copy;
}

const Tensor& resize(const Tensor& self, c10::IntArrayRef size, Format) {
  const size_t needed = size_t(c10::multiply_integers(size) + self.storage_offset()) * self.element_size();
  c10::StorageImpl* storage = self.storage().unsafeGetStorageImpl();
  if (needed > storage->nbytes()) {
    c10::DataPtr larger = memory.allocate(needed);
    if (storage->nbytes()) std::memcpy(larger.get(), storage->data_ptr().get(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(larger));
    storage->set_nbytes(needed);
  }
  self.unsafeGetTensorImpl()->set_sizes_contiguous(size);
  return self;
}

// Operators whose further tensors may lie on the CPU though the first is on the device.
const std::set<std::string> kTakesIndicesOfTheCpu{
    "aten::index.Tensor", "aten::index.Tensor_out", "aten::index_put", "aten::index_put.out",
    "aten::index_put_",   "aten::_index_put_impl_", "aten::_foreach_copy_"};
// Operators that CUDA does not have.
const std::set<std::string> kOfTheCpuOnly{
    "aten::histogram.bin_ct", "aten::histogram.bins_tensor", "aten::_histogramdd_from_bin_cts"};

// One call of an operator, whose arguments on the stack are exchanged for ones of the CPU.
class Call {
 public:
  Call(const c10::OperatorHandle& op, torch::jit::Stack& stack)
      : op_(op), stack_(stack), name_(toString(op.operator_name())), count_(op.schema().arguments().size()) {}

  void run() {
    tally.count(name_);
    TORCH_CHECK(!kOfTheCpuOnly.count(name_), name_, " is not implemented for 'CUDA' (pretended)");
    for (size_t i = 0; i < count_; ++i) exchange(stack_[stack_.size() - count_ + i], i == 0);
    refuse_what_cuda_would();
    op_.redispatchBoxed(DispatchKeySet(DispatchKey::CPU), &stack_);
    const size_t results = op_.schema().returns().size();
    for (size_t i = stack_.size() - results; i < stack_.size(); ++i) take_back(stack_[i]);
  }

 private:
  Tensor taken(const Tensor& tensor, bool first = false) {
    if (!tensor.defined()) return tensor;
    if (tensor.is_cuda()) {
      given_.push_back(tensor);
      lent_.push_back(on_host(tensor));
      return lent_.back();
    }
    if (first) first_is_ours_ = false;
    if (tensor.dim() > 0 && tensor.numel() > 0) many_of_the_cpu_ = true;  // scalars are let through
    return tensor;
  }

  void exchange(IValue& value, bool first) {
    if (value.isTensor()) {
      value = taken(value.toTensor(), first);
    } else if (value.isTensorList()) {
      c10::List<Tensor> all;
      for (const Tensor& each : value.toTensorVector()) all.push_back(taken(each));
      value = all;
    } else if (value.isOptionalTensorList()) {
      c10::List<std::optional<Tensor>> all;
      for (const std::optional<Tensor>& each : value.toOptionalTensorVector())
        all.push_back(each ? std::optional<Tensor>(taken(*each)) : std::nullopt);
      value = all;
    } else if (value.isDevice() && value.toDevice().is_cuda()) {
      wanted_here_ = true;
      value = Device(c10::kCPU);
    } else if (value.isGenerator() && value.toGenerator().defined()) {
      const at::Generator generator = value.toGenerator();
      drawn_by_ = generator.device().type();
      if (generator.device().is_cuda()) value = static_cast<DeviceGenerator*>(generator.unsafeGetGeneratorImpl())->inner;
    }
  }

  void refuse_what_cuda_would() const {
    const DeviceType here = result_is_ours() ? DeviceType::CUDA : DeviceType::CPU;
    TORCH_CHECK(!drawn_by_ || *drawn_by_ == here, "Expected a '", here, "' device type for generator but found '",
                *drawn_by_, "' (", name_, ", pretended)");
    const bool may_mix = kTakesIndicesOfTheCpu.count(name_) && first_is_ours_;
    TORCH_CHECK(given_.empty() || !many_of_the_cpu_ || may_mix,
                "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (",
                name_, ", pretended)");
  }

  void take_back(IValue& value) {
    if (value.isTensor()) {
      value = ours(value.toTensor());
    } else if (value.isTensorList()) {
      c10::List<Tensor> all;
      for (const Tensor& each : value.toTensorVector()) all.push_back(ours(each));
      value = all;
    }
  }

  // What an operator gave: an argument again, a view of one, or something new.
  Tensor ours(const Tensor& tensor) {
    if (!tensor.defined() || tensor.is_cuda()) return tensor;
    for (size_t k = 0; k < given_.size(); ++k)
      if (tensor.unsafeGetTensorImpl() == lent_[k].unsafeGetTensorImpl()) return resized(given_[k], tensor);
    for (size_t k = 0; k < given_.size(); ++k)
      if (tensor.has_storage() && tensor.numel() &&
          tensor.storage().unsafeGetStorageImpl() == lent_[k].storage().unsafeGetStorageImpl())
        return view(given_[k], tensor);
    return result_is_ours() ? on_device(tensor) : tensor;
  }

  // The argument that was lent as `tensor`, as large as the operator has made that.
  Tensor resized(const Tensor& given, const Tensor& tensor) const {
    if (tensor.sizes() == given.sizes()) return given;
    TORCH_CHECK(given.numel() == 0, name_, " resizes what is not empty (pretended)");
    resize(given, tensor.sizes(), std::nullopt);
    if (tensor.numel()) on_host(given).copy_(tensor);
    return given;
  }

  static Tensor view(const Tensor& base, const Tensor& tensor) {
    if (tensor.scalar_type() == base.scalar_type())
      return at::native::as_strided_tensorimpl(base, tensor.sizes(), tensor.strides(),
                                               base.storage_offset() + tensor.storage_offset());
    Tensor other = at::detail::make_tensor<c10::TensorImpl>(c10::TensorImpl::VIEW, c10::Storage(base.storage()),
                                                            base.key_set(), tensor.dtype());
    const auto before = base.storage_offset() * base.element_size() / tensor.element_size();
    other.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), before + tensor.storage_offset());
    return other;
  }

  bool result_is_ours() const { return !given_.empty() || wanted_here_; }

  const c10::OperatorHandle& op_;
  torch::jit::Stack& stack_;
  const std::string name_;
  const size_t count_;
  std::vector<Tensor> given_, lent_;  // tensors of the device, and what stands for each
  bool wanted_here_ = false, many_of_the_cpu_ = false, first_is_ours_ = true;
  std::optional<DeviceType> drawn_by_;
};

void by_the_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) { Call(op, *stack).run(); }

Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type, std::optional<c10::Layout>, std::optional<Device>,
             std::optional<bool>, Format format) {
  return at::detail::empty_generic(size, &memory, kKeys, c10::dtype_or_default(type), format);
}

Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> type,
                     std::optional<c10::Layout>, std::optional<Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(size, stride, &memory, kKeys, c10::dtype_or_default(type));
}

Tensor& copy(Tensor& self, const Tensor& from, bool) {
  if (from.is_cuda() && self.is_cuda()) {
    tally.count("copy on the device");
  } else if (from.is_cuda()) {
    tally.count("copy to the machine");
  } else {
    tally.count(PinnedMemory::holds(from.const_data_ptr()) ? "copy from pinned memory" : "copy from pageable memory");
  }
  if (self.numel()) (self.is_cuda() ? on_host(self) : self).copy_(from.is_cuda() ? on_host(from) : from);
  return self;
}

Tensor& set_storage(Tensor& self, c10::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  self.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(source));
  self.unsafeGetTensorImpl()->set_sizes_and_strides(size, stride, offset);
  return self;
}

void record_stream(Tensor&, c10::Stream) {}

}  // namespace

namespace at {

struct PretendedHooks final : CUDAHooksInterface {
  explicit PretendedHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  DeviceIndex current_device() const override { return 0; }
  DeviceIndex deviceCount() const override { return 1; }
  DeviceIndex getCurrentDevice() const override { return 0; }
  int getNumGPUs() const override { return 1; }
  Generator getNewGenerator(DeviceIndex = -1) const override { return make_generator<DeviceGenerator>(); }
  const Generator& getDefaultGenerator(DeviceIndex = -1) const override {
    static Generator only = make_generator<DeviceGenerator>();
    return only;
  }
  Allocator* getPinnedMemoryAllocator() const override { return &pinned_memory; }
  bool isPinnedPtr(const void* pointer) const override { return PinnedMemory::holds(pointer); }
  Device getDeviceFromPtr(void*) const override { return kHere; }
  void deviceSynchronize(DeviceIndex) const override {}
};

C10_REGISTER_CLASS(CUDAHooksRegistry, CUDAHooks, PretendedHooks)

}  // namespace at

C10_REGISTER_GUARD_IMPL(CUDA, Guard)
static const bool registered = (c10::SetAllocator(DeviceType::CUDA, &memory, 255), true);

TORCH_LIBRARY_IMPL(_, CUDA, library) { library.fallback(torch::CppFunction::makeFromBoxedFunction<&by_the_cpu>()); }

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", TORCH_FN(empty));
  library.impl("empty_strided", TORCH_FN(empty_strided));
  library.impl("as_strided", TORCH_FN(at::native::as_strided_tensorimpl));
  library.impl("copy_", TORCH_FN(copy));
  library.impl("resize_", TORCH_FN(resize));
  library.impl("set_.source_Storage_storage_offset", TORCH_FN(set_storage));
  library.impl("record_stream", TORCH_FN(record_stream));
}

// Lines `operator <tab> times` since the last call.
extern "C" const char* pretended_counts() {
  static std::string text;
  text = tally.taken();
  return text.c_str();
}
