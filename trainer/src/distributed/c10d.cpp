// libtorch's process groups (c10d, the engine of torch.distributed) with a C interface. Nothing
// throws: every function returns null, or the reason of a failure, which fcn_trainer_free frees.

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#ifdef USE_C10D_NCCL
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>
#endif

#include <torch/torch.h>

#include <chrono>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace {

struct Group {
  c10::intrusive_ptr<c10d::Store> store;
  c10::intrusive_ptr<c10d::Backend> backend;
  std::chrono::milliseconds timeout;
};

template <typename Action>
char* guarded(Action&& action) noexcept {
  try {
    action();
    return nullptr;
  } catch (const c10::Error& error) {
    return strdup(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return strdup(error.what());
  } catch (...) {
    return strdup("libtorch failed without a reason");
  }
}

// Adds up a tensor over all ranks, in place.
void sum(Group* group, const at::Tensor& tensor) {
  if (!group->backend) {
    throw std::runtime_error("this rank has left the group");
  }
  std::vector<at::Tensor> tensors = {tensor};
  // Throws the failure, if any; on CUDA, only queues the wait.
  group->backend->allreduce(tensors)->wait();
}

c10::intrusive_ptr<c10d::Backend> nccl(
    [[maybe_unused]] const c10::intrusive_ptr<c10d::Store>& store,
    [[maybe_unused]] int rank,
    [[maybe_unused]] int size,
    [[maybe_unused]] std::chrono::milliseconds timeout) {
#ifdef USE_C10D_NCCL
  auto options = c10d::ProcessGroupNCCL::Options::create();
  options->timeout = timeout;
  return c10::make_intrusive<c10d::ProcessGroupNCCL>(store, rank, size, options);
#else
  throw std::runtime_error(
      "this trainer was built without NCCL, which several GPUs need; build it with a libtorch for CUDA, and with the headers "
      "of CUDA and NCCL in CUDA_HOME/include and NCCL_HOME/include");
#endif
}

// A sum over all ranks; so are its gradients.
struct Sum : torch::autograd::Function<Sum> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& tensor, int64_t group) {
    context->saved_data["group"] = group;
    auto total = tensor.detach().clone(at::MemoryFormat::Contiguous);
    sum(reinterpret_cast<Group*>(group), total);
    return total;
  }

  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* context,
      torch::autograd::variable_list gradients) {
    auto total = gradients[0].detach().clone(at::MemoryFormat::Contiguous);
    sum(reinterpret_cast<Group*>(context->saved_data["group"].toInt()), total);
    return {total, at::Tensor()};
  }
};

} // namespace

extern "C" {

// Opens the ranks' store at `host` and `port`. This process serves it if `serves`, on the listening
// socket `socket` unless that is negative.
char* fcn_trainer_group_open(
    const char* host,
    uint16_t port,
    bool serves,
    int socket,
    const char* prefix,
    int64_t milliseconds,
    Group** opened) {
  return guarded([&] {
    // Failures are told once, by the trainer.
    if (getenv("TORCH_CPP_LOG_LEVEL") != nullptr) {
      c10::initLogging();
    } else {
      FLAGS_caffe2_log_level = c10::GLOG_FATAL;
    }
    const std::chrono::milliseconds timeout(milliseconds);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.waitWorkers = false;
    options.timeout = timeout;
    if (socket >= 0) {
      options.masterListenFd = socket;
    }
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, c10::make_intrusive<c10d::TCPStore>(host, options));
    store->setTimeout(timeout);
    *opened = new Group{store, nullptr, timeout};
  });
}

// Connects all `size` ranks, of which this is number `rank`: by NCCL if `on_gpu`, else by Gloo,
// over the loopback interface if `on_one_machine`.
char* fcn_trainer_group_connect(Group* group, int rank, int size, bool on_gpu, bool on_one_machine) {
  return guarded([&] {
    if (on_gpu) {
      group->backend = nccl(group->store, rank, size, group->timeout);
      return;
    }
    auto gloo = c10d::ProcessGroupGloo::Options::create(group->timeout);
    gloo->devices.push_back(
        on_one_machine ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                       : c10d::ProcessGroupGloo::createDefaultDevice());
    group->backend = c10::make_intrusive<c10d::ProcessGroupGloo>(group->store, rank, size, gloo);
  });
}

// Adds up a tensor over all ranks, in place.
char* fcn_trainer_group_sum(Group* group, torch::Tensor* tensor) {
  return guarded([&] { sum(group, tensor->detach()); });
}

// A new tensor, the sum of `tensor` over all ranks, through which gradients flow.
char* fcn_trainer_group_learned_sum(Group* group, torch::Tensor* tensor, torch::Tensor** total) {
  return guarded([&] { *total = new torch::Tensor(Sum::apply(*tensor, reinterpret_cast<int64_t>(group))); });
}

// Overwrites a tensor with that of rank 0.
char* fcn_trainer_group_broadcast(Group* group, torch::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors = {tensor->detach()};
    group->backend->broadcast(tensors)->wait();
  });
}

// Stores a value for all ranks.
char* fcn_trainer_store_set(Group* group, const char* key, const uint8_t* value, size_t length) {
  return guarded([&] { group->store->set(key, std::vector<uint8_t>(value, value + length)); });
}

// Waits at most this long for a value; null in `value` after that.
char* fcn_trainer_store_get(Group* group, const char* key, int64_t milliseconds, uint8_t** value, size_t* length) {
  *value = nullptr;
  return guarded([&] {
    try {
      group->store->wait({key}, std::chrono::milliseconds(milliseconds));
    } catch (const c10::DistStoreError&) {
      return;
    }
    const auto found = group->store->get(key);
    *value = static_cast<uint8_t*>(malloc(found.size() + 1));
    if (*value == nullptr) {
      throw std::bad_alloc();
    }
    std::memcpy(*value, found.data(), found.size());
    *length = found.size();
  });
}

// Closes the connections with the other ranks, whose collective operations then fail, but not the
// store.
void fcn_trainer_group_disconnect(Group* group) {
  free(guarded([&] {
    if (group->backend) {
      group->backend->abort();
      group->backend.reset();
    }
  }));
}

// Frees what fcn_trainer_store_get and failures returned.
void fcn_trainer_free(void* memory) {
  free(memory);
}

// Leaves the group.
void fcn_trainer_group_free(Group* group) {
  fcn_trainer_group_disconnect(group);
  free(guarded([&] { delete group; }));
}

} // extern "C"
