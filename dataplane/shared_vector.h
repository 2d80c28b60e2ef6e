// A vector that its copies share, so that a snapshot that does not change it costs a reference and no copy. Elements
// are read like those of a std::vector: by one pointer.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace sluice::dataplane {

template <class T>
class SharedVector {
 public:
  [[nodiscard]] size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const T& operator[](size_t index) const { return first_[index]; }
  [[nodiscard]] const T* begin() const { return first_; }
  [[nodiscard]] const T* end() const { return first_ + size_; }

  // change(std::vector<T>&): changes it for this copy alone. Control thread only.
  template <class Change>
  void edit(const Change& change) {
    const bool alone = owner_ != nullptr && owner_.use_count() == 1;
    if (!alone) owner_ = std::make_shared<std::vector<T>>(begin(), end());
    change(*owner_);
    first_ = owner_->data();
    size_ = owner_->size();
  }

 private:
  std::shared_ptr<std::vector<T>> owner_;
  const T* first_ = nullptr;
  size_t size_ = 0;
};

}  // namespace sluice::dataplane
