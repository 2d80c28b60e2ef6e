#include "config/json_memory.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>

namespace sluice::config {
namespace {

constexpr size_t block_size = size_t{1} << 20;  // of each after the first

thread_local MemoryScope* innermost = nullptr;

}  // namespace

const char* TooLarge::what() const noexcept {
  return "the document takes more memory than its size allows: it has too many values, items or faults for that; send "
         "it in several parts";
}

void MemoryBudget::take(size_t bytes) {
  size_t left = left_.load(std::memory_order_relaxed);
  do {
    if (bytes > left) {
      exceeded_.store(true, std::memory_order_relaxed);
      throw TooLarge();
    }
  } while (!left_.compare_exchange_weak(left, left - bytes, std::memory_order_relaxed));
}

MemoryScope::MemoryScope(std::shared_ptr<MemoryBudget> budget)
    : budget_(std::move(budget)), outer_(std::exchange(innermost, this)) {}

MemoryScope::~MemoryScope() { innermost = outer_; }

std::shared_ptr<MemoryBudget> MemoryScope::budget() {
  return innermost != nullptr ? innermost->budget_ : std::make_shared<MemoryBudget>(SIZE_MAX);
}

void MemoryScope::take(size_t bytes) {
  if (innermost != nullptr) innermost->budget_->take(bytes);
}

void* CountedMemory::do_allocate(size_t bytes, size_t alignment) {
  budget_->take(bytes);
  try {
    return ::operator new(bytes, std::align_val_t(alignment));
  } catch (...) {
    budget_->give_back(bytes);
    throw;
  }
}

void CountedMemory::do_deallocate(void* memory, size_t bytes, size_t alignment) {
  ::operator delete(memory, std::align_val_t(alignment));
  budget_->give_back(bytes);
}

Arena::Arena(std::shared_ptr<MemoryBudget> budget, size_t first_block) : budget_(std::move(budget)) {
  add_block(first_block);
}

Arena::~Arena() {
  for (const Block& block : blocks_) budget_->give_back(block.size);
}

void Arena::reset() {
  for (size_t i = 1; i < blocks_.size(); ++i) budget_->give_back(blocks_[i].size);
  blocks_.resize(1);
  at_ = blocks_.front().memory.get();
  room_ = blocks_.front().size;
}

void* Arena::do_allocate(size_t bytes, size_t alignment) {
  void* at = at_;
  if (std::align(alignment, bytes, at, room_) == nullptr) {
    add_block(std::max(block_size, bytes + alignment));
    at = at_;
    (void)std::align(alignment, bytes, at, room_);
  }
  at_ = static_cast<std::byte*>(at) + bytes;
  room_ -= bytes;
  return at;
}

void Arena::add_block(size_t bytes) {
  budget_->take(bytes);
  try {
    blocks_.push_back({std::unique_ptr<std::byte[]>(new std::byte[bytes]), bytes});  // not zeroed
  } catch (...) {
    budget_->give_back(bytes);
    throw;
  }
  at_ = blocks_.back().memory.get();
  room_ = bytes;
}

}  // namespace sluice::config
