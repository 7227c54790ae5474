// libtorch's process groups (c10d, behind torch.distributed) with a C interface. Nothing throws: every
// function returns null, or the reason of a failure, which fcn_trainer_text_free frees.

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

void finish(const c10::intrusive_ptr<c10d::Work>& work) {
  // Throws the failure, if any; on CUDA, only queues the wait.
  work->wait();
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
      "this trainer was built without NCCL, which several GPUs need; build it with a libtorch for CUDA and the headers of "
      "CUDA and NCCL");
#endif
}

} // namespace

extern "C" {

// Joins a group of `size` processes, of which this one is number `rank`. `host` and `port` are those of
// the store, which this process serves if `serves`, on the listening socket `socket` unless it is negative.
char* fcn_trainer_group_join(
    const char* host,
    uint16_t port,
    bool serves,
    int socket,
    const char* prefix,
    int rank,
    int size,
    bool on_gpu,
    int64_t milliseconds,
    Group** joined) {
  return guarded([&] {
    const std::chrono::milliseconds timeout(milliseconds);
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = serves;
    options.numWorkers = size;
    // A rank that never comes is told by the group below, with its number.
    options.waitWorkers = false;
    options.timeout = timeout;
    if (socket >= 0) {
      options.masterListenFd = socket;
    }
    auto store = c10::make_intrusive<c10d::PrefixStore>(prefix, c10::make_intrusive<c10d::TCPStore>(host, options));
    store->setTimeout(timeout);
    *joined = new Group{store, nullptr};
    if (on_gpu) {
      (*joined)->backend = nccl(store, rank, size, timeout);
      return;
    }
    auto gloo = c10d::ProcessGroupGloo::Options::create(timeout);
    const bool here = std::strcmp(host, "127.0.0.1") == 0 || std::strcmp(host, "localhost") == 0;
    gloo->devices.push_back(
        here ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1") : c10d::ProcessGroupGloo::createDefaultDevice());
    (*joined)->backend = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, gloo);
  });
}

// Adds up a tensor over all ranks, in place.
char* fcn_trainer_group_sum(Group* group, torch::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors = {tensor->detach()};
    finish(group->backend->allreduce(tensors));
  });
}

// Overwrites a tensor with rank 0's.
char* fcn_trainer_group_broadcast(Group* group, torch::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors = {tensor->detach()};
    finish(group->backend->broadcast(tensors));
  });
}

// Tells all ranks `value` under `key`.
char* fcn_trainer_store_set(Group* group, const char* key, const uint8_t* value, size_t length) {
  return guarded([&] { group->store->set(key, std::vector<uint8_t>(value, value + length)); });
}

// Waits at most this long for what a rank told under `key`; null in `value` after that.
char* fcn_trainer_store_get(Group* group, const char* key, int64_t milliseconds, uint8_t** value, size_t* length) {
  *value = nullptr;
  return guarded([&] {
    try {
      group->store->wait({key}, std::chrono::milliseconds(milliseconds));
    } catch (const c10::Error&) {
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

// Frees what fcn_trainer_store_get and failures returned.
void fcn_trainer_text_free(void* text) {
  free(text);
}

// Leaves the group.
void fcn_trainer_group_free(Group* group) {
  free(guarded([&] {
    if (group->backend) {
      group->backend->abort();
    }
    delete group;
  }));
}

} // extern "C"
