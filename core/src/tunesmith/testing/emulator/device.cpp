// A device that is not there: torch's PrivateUse1 over memory of its own, for tests of device backends. An emulator, not hardware.
//
// Storage comes from this file's allocator and is counted. Every operator without a kernel here goes through one boxed fallback,
// which refuses what a device refuses (tensors of another device, number formats that it lacks), copies to the processor,
// computes there and copies back. Random numbers are drawn from the generator of the device. Nothing of this is fast.
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/core/enum_tag.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_local_scalar_dense_native.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/copy_native.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/histc.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>

namespace at::autocast {
TORCH_API at::ScalarType get_autocast_dtype(at::DeviceType);
}

namespace {

constexpr auto kDevice = c10::DeviceType::PrivateUse1;
constexpr int kMost = 8;
using Moment = std::chrono::steady_clock::time_point;

// ---- devices and their memory ---------------------------------------------------------------------------------------

struct Figures {
  std::atomic<int64_t> used{0}, peak{0}, total{int64_t(4) << 30};
};
std::array<Figures, kMost> figures;
int devices = 1;
thread_local c10::DeviceIndex current = 0;

void release(void* context) {
  auto* block = static_cast<int64_t*>(context);
  figures[block[1]].used -= block[0];
  std::free(block);
}

// Each block starts with a header: how many bytes it has, and on which device.
constexpr size_t kHeader = 64;

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(kDevice, current);
    auto& own = figures[current];
    if (bytes == 0) return {nullptr, device};
    const auto now = own.used += bytes;
    void* block = now <= own.total ? std::aligned_alloc(kHeader, kHeader * (2 + bytes / kHeader)) : nullptr;
    if (block == nullptr) {
      own.used -= bytes;
      TORCH_CHECK_WITH(OutOfMemoryError, false, device.str(), " (emulated) out of memory: tried to allocate ", bytes,
                       " bytes, ", own.total - own.used, " of ", own.total.load(), " are free");
    }
    for (auto peak = own.peak.load(); peak < now && !own.peak.compare_exchange_weak(peak, now);) {
    }
    static_cast<int64_t*>(block)[0] = bytes;
    static_cast<int64_t*>(block)[1] = current;
    return {static_cast<char*>(block) + kHeader, block, &release, device};
  }
  c10::DeleterFnPtr raw_deleter() const override { return nullptr; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(kDevice, &memory);

// ---- one queue, in which everything is done at once -------------------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return kDevice; }
  c10::Device exchangeDevice(c10::Device to) const override {
    const c10::Device before(kDevice, current);
    setDevice(to);
    return before;
  }
  c10::Device getDevice() const override { return {kDevice, current}; }
  void setDevice(c10::Device to) const override {
    TORCH_CHECK(to.index() < devices, "There is no ", to.str(), " (emulated): there are ", devices);
    if (to.index() >= 0) current = to.index();
  }
  void uncheckedSetDevice(c10::Device to) const noexcept override {
    if (to.index() >= 0) current = to.index();
  }
  c10::Stream getStream(c10::Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream getDefaultStream(c10::Device device) const override { return getStream(device); }
  c10::Stream getStreamFromGlobalPool(c10::Device device, bool) const override { return getStream(device); }
  c10::Stream getNewStream(c10::Device device, int) const override { return getStream(device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return getStream(stream.device()); }
  c10::DeviceIndex deviceCount() const noexcept override { return devices; }
  // An event is a moment of the processor's clock: everything is done when a call comes back.
  void record(void** event, const c10::Stream&, const c10::DeviceIndex, const c10::EventFlag) const override {
    if (!*event) *event = new Moment;
    *static_cast<Moment*>(*event) = std::chrono::steady_clock::now();
  }
  void destroyEvent(void* event, const c10::DeviceIndex) const noexcept override { delete static_cast<Moment*>(event); }
  double elapsedTime(void* earlier, void* later, const c10::DeviceIndex) const override {
    const auto apart = *static_cast<Moment*>(later) - *static_cast<Moment*>(earlier);
    return std::chrono::duration<double, std::milli>(apart).count();
  }
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(const c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

// ---- random numbers --------------------------------------------------------------------------------------------------

struct DeviceGenerator final : c10::GeneratorImpl {
  explicit DeviceGenerator(c10::DeviceIndex index)
      : GeneratorImpl({kDevice, index}, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)),
        inner(at::detail::createCPUGenerator(c10::default_rng_seed_val + index)) {}
  void set_current_seed(uint64_t seed) override { inner.set_current_seed(seed); }
  void set_offset(uint64_t offset) override { inner.set_offset(offset); }
  uint64_t get_offset() const override { return inner.get_offset(); }
  uint64_t current_seed() const override { return inner.current_seed(); }
  uint64_t seed() override { return inner.seed(); }
  void set_state(const c10::TensorImpl& state) override { inner.unsafeGetGeneratorImpl()->set_state(state); }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override { return inner.unsafeGetGeneratorImpl()->get_state(); }
  GeneratorImpl* clone_impl() const override {
    auto* copy = new DeviceGenerator(device_.index());
    copy->set_state(*get_state());
    return copy;
  }
  at::Generator inner;
};

const at::Generator& default_generator(c10::DeviceIndex index) {
  static auto all = [] {
    std::array<at::Generator, kMost> made;
    for (int at = 0; at < kMost; ++at) made[at] = at::make_generator<DeviceGenerator>(at);
    return made;
  }();
  return all[index < 0 ? current : index];
}

// Within it the processor's own generator draws what the device's would; afterwards it is as it was.
struct Drawing {
  explicit Drawing(at::Generator from)
      : device(from.unsafeGetGeneratorImpl()), own(at::detail::getDefaultCPUGenerator().unsafeGetGeneratorImpl()), kept(own->get_state()) {
    own->set_state(*device->get_state());
  }
  ~Drawing() {
    device->set_state(*own->get_state());
    own->set_state(*kept);
  }
  c10::GeneratorImpl *device, *own;
  c10::intrusive_ptr<c10::TensorImpl> kept;
};

// ---- what torch asks of an accelerator -------------------------------------------------------------------------------

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return devices > 0; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex index) const override { return default_generator(index); }
  at::Generator getNewGenerator(c10::DeviceIndex index) const override {
    return at::make_generator<DeviceGenerator>(index < 0 ? current : index);
  }
  c10::Device getDeviceFromPtr(void*) const override { return {kDevice, current}; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetAllocator(c10::kCPU); }
  c10::DeviceIndex deviceCount() const override { return devices; }
  void setCurrentDevice(c10::DeviceIndex index) const override { Guard().setDevice({kDevice, index}); }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    return Guard().exchangeDevice({kDevice, index}).index();
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override { return exchangeDevice(index); }
};

// ---- tensors ---------------------------------------------------------------------------------------------------------

bool knows(c10::ScalarType type) {
  switch (type) {
    case c10::ScalarType::Float: case c10::ScalarType::BFloat16: case c10::ScalarType::Half: case c10::ScalarType::Bool:
    case c10::ScalarType::Byte: case c10::ScalarType::Char: case c10::ScalarType::Short: case c10::ScalarType::Int:
    case c10::ScalarType::Long: return true;
    default: return false;
  }
}

void check_new(c10::ScalarType type, std::optional<c10::Layout> layout, std::optional<bool> pinned) {
  TORCH_CHECK_TYPE(knows(type), "The device (emulated) has no numbers of dtype ", type);
  TORCH_CHECK(c10::layout_or_default(layout) == c10::Layout::Strided, "The device (emulated) has no sparse tensors");
  TORCH_CHECK(!c10::pinned_memory_or_default(pinned), "Only memory of the processor can be pinned");
}

const c10::DispatchKeySet kKeys(c10::DispatchKey::PrivateUse1);

at::Tensor empty(c10::IntArrayRef size, std::optional<c10::ScalarType> type, std::optional<c10::Layout> layout,
                 std::optional<c10::Device> device, std::optional<bool> pinned, std::optional<c10::MemoryFormat> format) {
  check_new(c10::dtype_or_default(type), layout, pinned);
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_generic(size, &memory, kKeys, c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<c10::ScalarType> type,
                         std::optional<c10::Layout> layout, std::optional<c10::Device> device, std::optional<bool> pinned) {
  check_new(c10::dtype_or_default(type), layout, pinned);
  const c10::DeviceGuard guard(c10::device_or_default(device));
  return at::detail::empty_strided_generic(size, stride, &memory, kKeys, c10::dtype_or_default(type));
}

// The same bytes seen by the processor: only for copies between the two, and for reading one number.
at::Tensor seen(const at::Tensor& one) {
  if (!one.is_privateuseone()) return one;
  if (one.numel() == 0) return at::from_blob(&figures, one.sizes(), one.strides(), one.options().device(c10::kCPU));
  auto plain = at::from_blob(one.data_ptr(), one.sizes(), one.strides(), one.options().device(c10::kCPU));
  if (one.is_conj()) plain._set_conj(true);
  if (one.is_neg()) plain._set_neg(true);
  return plain;
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool) {
  auto target = seen(to);
  at::native::copy_(target, seen(from), false);
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  at::native::resize_(to, from.sizes());
  return copy_from(from, to, false);
}

c10::Scalar one_number(const at::Tensor& self) { return at::native::_local_scalar_dense_cpu(seen(self)); }

at::Tensor as_strided(const at::Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<int64_t> offset) {
  return at::native::as_strided_tensorimpl(self, size, stride, offset);
}

const at::Tensor& resize_(const at::Tensor& self, c10::IntArrayRef size, std::optional<c10::MemoryFormat> format) {
  const c10::DeviceGuard guard(self.device());
  return at::native::resize_(self, size, format);
}

at::Tensor reshape_alias(const at::Tensor& self, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::_reshape_alias(self, size, stride);
}

at::Tensor view(const at::Tensor& self, c10::IntArrayRef size) { return at::native::view(self, size); }

at::Tensor& set_tensor_(at::Tensor& self, const at::Tensor& source) { return at::native::set_tensor_(self, source); }
at::Tensor& set_storage_(at::Tensor& self, at::Storage source) { return at::native::set_(self, source); }
at::Tensor& set_part_(at::Tensor& self, at::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  return at::native::set_storage_cpu_(self, source, offset, size, stride);
}
at::Tensor& set_nothing_(at::Tensor& self) {
  return at::native::set_storage_cpu_(self, c10::Storage(c10::Storage::use_byte_size_t(), 0, &memory, true), 0, {0}, {});
}

// The processor counts no whole numbers, which devices do.
at::Tensor histc(const at::Tensor& self, int64_t bins, const c10::Scalar& least, const c10::Scalar& most) {
  return at::histc(self.cpu().to(c10::kFloat), bins, least, most).to(self.scalar_type()).to(self.device());
}

// ---- everything else -------------------------------------------------------------------------------------------------

template <typename Visit>
void each_tensor(const c10::IValue& value, Visit visit) {
  if (value.isTensor()) {
    if (value.toTensor().defined()) visit(value.toTensor());
  } else if (value.isList()) {
    for (const c10::IValue& one : value.toListRef()) each_tensor(one, visit);
  }
}

// As on a real device, single numbers of the processor are welcome, and so are indices; anything else must lie on one device.
void check_places(const c10::OperatorHandle& op, c10::ArrayRef<c10::IValue> arguments) {
  std::optional<c10::Device> home;
  for (const auto& argument : arguments)
    each_tensor(argument, [&](const at::Tensor& one) {
      if (!home && one.is_privateuseone()) home = one.device();
    });
  const auto& name = op.operator_name().name;
  const bool indices = name.find("index") != std::string::npos;
  for (const auto& argument : arguments)
    each_tensor(argument, [&](const at::Tensor& one) {
      const bool welcome = one.is_cpu() && (one.dim() == 0 || (indices && !one.is_floating_point()));
      TORCH_CHECK(!home || one.device() == *home || welcome, name,
                  ": Expected all tensors to be on the same device, but found at least two devices, ", home->str(), " and ",
                  one.device().str(), "!");
    });
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const size_t count = op.schema().arguments().size();
  check_places(op, torch::jit::last(*stack, count));
  if (!op.hasTag(at::Tag::nondeterministic_seeded)) return at::native::cpu_fallback(op, stack);
  at::Generator from = default_generator(-1);
  for (size_t at = stack->size() - count; at < stack->size(); ++at)
    if ((*stack)[at].isGenerator()) {
      from = (*stack)[at].toGenerator();
      TORCH_CHECK(from.device().type() == kDevice, "Expected a generator of the device (emulated), found one of ",
                  from.device().str());
      (*stack)[at] = c10::IValue();
    }
  const Drawing drawing(from);
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("as_strided", as_strided);
  m.impl("resize_", resize_);
  m.impl("_reshape_alias", reshape_alias);
  m.impl("view", view);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("_local_scalar_dense", one_number);
  m.impl("set_.source_Tensor", set_tensor_);
  m.impl("set_.source_Storage", set_storage_);
  m.impl("set_.source_Storage_storage_offset", set_part_);
  m.impl("set_", set_nothing_);
  m.impl("histc", histc);
}

// ---- mixed precision -------------------------------------------------------------------------------------------------

template <bool half>
void cast(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::impl::ExcludeDispatchKeyGuard guard(c10::DispatchKey::AutocastPrivateUse1);
  const auto wanted = half ? at::autocast::get_autocast_dtype(kDevice) : c10::ScalarType::Float;
  for (size_t at = stack->size() - op.schema().arguments().size(); at < stack->size(); ++at) {
    auto& value = (*stack)[at];
    if (value.isTensor() && value.toTensor().defined() && value.toTensor().is_privateuseone() &&
        value.toTensor().is_floating_point())
      value = value.toTensor().to(wanted);
  }
  op.callBoxed(stack);
}

TORCH_LIBRARY_IMPL(_, AutocastPrivateUse1, m) { m.fallback(torch::CppFunction::makeFallthrough()); }

TORCH_LIBRARY_IMPL(aten, AutocastPrivateUse1, m) {
  for (const char* name : {"mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "scaled_dot_product_attention"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&cast<true>>());
  for (const char* name : {"softmax.int", "log_softmax.int", "nll_loss", "cross_entropy_loss", "layer_norm", "rsqrt",
                           "pow.Tensor_Scalar", "exp", "log", "sum", "cumsum"})
    m.impl(name, torch::CppFunction::makeFromBoxedFunction<&cast<false>>());
}

at::Tensor get_state(int64_t index) {
  return at::Tensor(default_generator(index).unsafeGetGeneratorImpl()->get_state());
}
void set_state(int64_t index, const at::Tensor& state) {
  default_generator(index).unsafeGetGeneratorImpl()->set_state(*state.unsafeGetTensorImpl());
}

TORCH_LIBRARY(tunesmith_emulator, m) {
  m.def("get_state(int index) -> Tensor", get_state);
  m.def("set_state(int index, Tensor state) -> ()", set_state);
}

}  // namespace

// ---- what Python asks, by torch's operators and by ctypes -------------------------------------------------------------------------------------

extern "C" {
void emulator_start(int count, int64_t bytes) {
  devices = count < kMost ? count : kMost;
  for (auto& one : figures) one.total = bytes;
  static Hooks hooks;
  if (!at::isPrivateUse1HooksRegistered()) at::RegisterPrivateUse1HooksInterface(&hooks);
}
int emulator_devices() { return devices; }
int emulator_current() { return current; }
void emulator_set_current(int index) { current = index; }
int64_t emulator_used(int index) { return figures[index].used; }
int64_t emulator_peak(int index) { return figures[index].peak; }
int64_t emulator_total(int index) { return figures[index].total; }
void emulator_seed(int index, uint64_t seed) { default_generator(index).unsafeGetGeneratorImpl()->set_current_seed(seed); }
void emulator_forget_peak(int index) { figures[index].peak = figures[index].used.load(); }
}
