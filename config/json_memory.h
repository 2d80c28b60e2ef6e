// How much memory a document may take while it is read. A body of a few megabytes can be millions of values
// ("[0,0,…]"), of items or of findings, each many times larger than its text: what is made of one document is counted
// in blocks, and reading ends when it becomes more than documents of Kubernetes need.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

#include <boost/json/memory_resource.hpp>

namespace sluice::config {

// Thrown by whoever would need more than there is; ends in parse_document() and its like, whose failure then says what
// it says.
class TooLarge : public std::bad_alloc {
 public:
  [[nodiscard]] const char* what() const noexcept override;
};

// Of a body of so many bytes. Documents of Kubernetes without blanks take three and a half times their size.
[[nodiscard]] constexpr size_t memory_for(size_t body) { return 4 * body + (size_t{64} << 20); }

// May be used by several threads at once.
class MemoryBudget {
 public:
  explicit MemoryBudget(size_t bytes) : left_(bytes) {}
  // Throws TooLarge and takes nothing if so much is not left.
  void take(size_t bytes);
  void give_back(size_t bytes) noexcept { left_.fetch_add(bytes, std::memory_order_relaxed); }
  // take() has thrown.
  [[nodiscard]] bool exceeded() const { return exceeded_.load(std::memory_order_relaxed); }

 private:
  std::atomic<size_t> left_;
  std::atomic<bool> exceeded_ = false;
};

// While it lives, what this thread reads (json.h) and finds (finding.h) is taken from the budget. Not for coroutines
// that wait meanwhile.
class MemoryScope {
 public:
  explicit MemoryScope(std::shared_ptr<MemoryBudget> budget);
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

  // That of the innermost scope of this thread; where there is none, one without an end.
  [[nodiscard]] static std::shared_ptr<MemoryBudget> budget();
  // The same for what is of no matter without a scope.
  static void take(size_t bytes);

 private:
  std::shared_ptr<MemoryBudget> budget_;
  MemoryScope* outer_;
};

// For what grows and is given back: the stack of a parser.
class CountedMemory final : public boost::json::memory_resource {
 public:
  explicit CountedMemory(std::shared_ptr<MemoryBudget> budget) : budget_(std::move(budget)) {}

 private:
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void* memory, size_t bytes, size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }

  std::shared_ptr<MemoryBudget> budget_;
};

// Values of one document, freed with it. boost::json::monotonic_resource doubles its blocks, so that a large document
// takes up to twice what it needs; here blocks stay as large as they are.
class Arena final : public boost::json::memory_resource {
 public:
  Arena(std::shared_ptr<MemoryBudget> budget, size_t first_block);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Forgets all values; the first block stays.
  void reset();

 private:
  void* do_allocate(size_t bytes, size_t alignment) override;
  void do_deallocate(void*, size_t, size_t) override {}
  [[nodiscard]] bool do_is_equal(const memory_resource& other) const noexcept override { return this == &other; }
  void add_block(size_t bytes);

  struct Block {
    std::unique_ptr<std::byte[]> memory;
    size_t size;
  };
  std::shared_ptr<MemoryBudget> budget_;
  std::vector<Block> blocks_;
  std::byte* at_ = nullptr;
  size_t room_ = 0;  // bytes behind at_
};

}  // namespace sluice::config

template <>
struct boost::json::is_deallocate_trivial<sluice::config::Arena> {
  static constexpr bool value = true;
};
