// The MAC: frames as records in byte queues on one side, 64-bit Avalon-ST beats on the other.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

// Frames one after the other: u32 length, bytes, padding to 8.
class FrameQueue {
 public:
  void push(const uint8_t* frame, uint32_t length) {
    const size_t at = bytes_.size();
    bytes_.resize(at + 8 + (length + 7) / 8 * 8);
    std::memcpy(&bytes_[at], &length, 4);
    std::memcpy(&bytes_[at + 8], frame, length);
    frames_++;
  }
  bool pop(const uint8_t** frame, uint32_t* length) {
    if (next_ >= bytes_.size()) {
      clear();
      return false;
    }
    std::memcpy(length, &bytes_[next_], 4);
    *frame = &bytes_[next_ + 8];
    next_ += 8 + (*length + 7) / 8 * 8;
    return true;
  }
  bool empty() const { return next_ >= bytes_.size(); }
  size_t bytes() const { return bytes_.size() - next_; }
  void clear() {
    bytes_.clear();
    next_ = 0;
    frames_ = 0;
  }
  void swap(FrameQueue& other) {
    bytes_.swap(other.bytes_);
    std::swap(next_, other.next_);
    std::swap(frames_, other.frames_);
  }

 private:
  std::vector<uint8_t> bytes_;
  size_t next_ = 0, frames_ = 0;
};

// Beats of received frames at line rate: preamble, FCS and gap take their time (24 bytes a frame), short frames are padded
// as the sender's MAC would.
class Receiver {
 public:
  static constexpr uint32_t kLeastBytes = 60, kOverheadBytes = 24;

  struct Beat {
    bool valid = false, sop = false, eop = false;
    uint8_t empty = 0;
    uint64_t data = 0;
  };

  // whether the next frame may start
  bool ready() const { return left_ == 0 && gap_ < 8; }
  bool quiet() const { return left_ == 0; }
  void clear() { left_ = 0; }

  void start(const uint8_t* frame, uint32_t length) {
    const uint32_t padded = length < kLeastBytes ? kLeastBytes : length;
    if (buffer_.size() < padded + 8) buffer_.resize(padded + 8);
    std::memcpy(buffer_.data(), frame, length);
    std::memset(buffer_.data() + length, 0, padded + 8 - length);
    at_ = 0;
    left_ = padded;
    gap_ += int32_t(kOverheadBytes) - int32_t((padded + 7) / 8 * 8 - padded);
  }

  Beat next() {
    Beat beat;
    if (!left_) {
      if (gap_ >= 8) gap_ -= 8;
      return beat;
    }
    uint64_t word;
    std::memcpy(&word, &buffer_[at_], 8);
    beat.valid = true;
    beat.sop = at_ == 0;
    beat.data = __builtin_bswap64(word);
    if (left_ <= 8) {
      beat.eop = true;
      beat.empty = uint8_t(8 - left_);
      left_ = 0;
    } else {
      left_ -= 8;
    }
    at_ += 8;
    return beat;
  }

 private:
  std::vector<uint8_t> buffer_;
  uint32_t at_ = 0, left_ = 0;
  int32_t gap_ = 0;  // bytes of preamble, FCS and gap still to come
};

// Frames from the beats the shell sends.
class Transmitter {
 public:
  static constexpr uint32_t kMostBytes = 16384;

  // Returns the frame's length at its last beat, else 0. The frame is at `frame()`.
  uint32_t take(bool sop, bool eop, uint8_t empty, uint64_t data) {
    if (sop) length_ = 0;
    if (length_ + 8 > kMostBytes) return 0;
    const uint64_t word = __builtin_bswap64(data);
    std::memcpy(buffer_ + length_, &word, 8);
    length_ += 8;
    return eop ? length_ - empty : 0;
  }
  const uint8_t* frame() const { return buffer_; }

 private:
  uint8_t buffer_[kMostBytes + 8];
  uint32_t length_ = 0;
};
