// Registers of the OpenCL kernel interface, as the shell's host sees them (byte addresses, 64 bit, little endian):
//   0x0000 version   0x0020 CRA segment   0x0030 reset   0x1000 CRA window of the kernel the segment names
//   0x2000 ROM of the role: see the comment of saf_kernel_host
// CRA of a kernel: +0 control and status (bit 0 start, 1 done, 14 busy, 15 running, 31:16 version 3), +0x28 invocation.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

class Kernels {
 public:
  static constexpr uint32_t kWindowBytes = 0x1000, kWindow = 0x1000, kRom = 0x2000, kSegment = 0x20, kReset = 0x30;
  static constexpr uint32_t kMaxKernels = 64, kVersion = 0xA0C7C1E5;
  static constexpr uint32_t kStart = 1u << 0, kDone = 1u << 1, kBusy = 3u << 14, kCsrVersion = 3u << 16;

  Kernels() : registers_(kMaxKernels) { clear(); }

  // Another role: all registers zero, its own ROM.
  void load(const uint64_t* words, uint32_t count) {
    clear();
    rom_.assign(words, words + count);
  }

  void clear() {
    rom_.clear();
    segment_ = 0;
    reset();
    for (auto& window : registers_) window.fill(0);
  }

  // The role's reset: what ran runs no more.
  void reset() {
    running_.fill(false);
    done_.fill(false);
    pending_ = 0;
  }

  uint64_t read(uint32_t address) const {
    if (address >= kRom) return word_of(rom_, (address - kRom) / 8);
    if (address >= kWindow) {
      uint64_t value;
      const uint32_t kernel = selected(), offset = (address - kWindow) & ~7u;
      std::memcpy(&value, registers_[kernel].data() + offset, 8);
      return offset ? value : (value & ~0xFFFFFFFFull) | status(kernel);
    }
    if ((address & ~7u) == kSegment) return segment_;
    return (address & ~7u) == 0 ? kVersion : 0;
  }

  // Returns the kernel that this write starts, or -1.
  int write(uint32_t address, uint64_t data, uint32_t enable) {
    if ((address & ~7u) == kSegment) segment_ = uint32_t(data);
    if (address < kWindow || address >= kRom) return -1;
    const uint32_t kernel = selected(), offset = (address - kWindow) & ~7u;
    for (uint32_t i = 0; i < 8; i++)
      if (enable >> i & 1) registers_[kernel][offset + i] = uint8_t(data >> 8 * i);
    if (offset != 0 || !(enable & 1)) return -1;
    if (data & kStart) {
      if (running_[kernel]) return -1;
      running_[kernel] = true;
      done_[kernel] = false;
      pending_ &= ~bit(kernel);
      return int(kernel);
    }
    if (!(data & kDone)) pending_ &= ~bit(kernel);  // done was seen; the flag itself stays until the next start
    return -1;
  }

  // A kernel ended by itself; one that was reset meanwhile is not noticed.
  void end(uint32_t kernel) {
    if (kernel >= kMaxKernels || !running_[kernel]) return;
    running_[kernel] = false;
    done_[kernel] = true;
    pending_ |= bit(kernel);
  }

  bool running(uint32_t kernel) const { return kernel < kMaxKernels && running_[kernel]; }

  bool irq() const { return pending_ != 0; }

  const uint8_t* window(uint32_t kernel) const { return registers_[kernel].data(); }

 private:
  static uint64_t bit(uint32_t kernel) { return uint64_t(1) << kernel; }
  static uint64_t word_of(const std::vector<uint64_t>& words, uint32_t index) {
    return index < words.size() ? words[index] : 0;
  }
  uint32_t selected() const { return segment_ / kWindowBytes % kMaxKernels; }
  uint32_t status(uint32_t kernel) const {
    return kCsrVersion | (done_[kernel] ? kDone : 0) | (running_[kernel] ? kBusy : 0);
  }

  std::vector<std::array<uint8_t, kWindowBytes>> registers_;
  std::array<bool, kMaxKernels> running_, done_;
  uint64_t pending_ = 0;  // a bit each: done, and nobody looked yet
  std::vector<uint64_t> rom_;
  uint32_t segment_ = 0;
};
