// A card simulated from the shell's RTL: the Verilated model, its clocks, its MAC, memory, kernels and PR controller.
//
// One thread runs the model (saf_run or saf_step). Frames and wishes come in through queues under one lock, results go
// out the same way; between slices of some cycles the running thread looks at the queues. When nothing happens the clock
// stands still and the model is looked at now and then, as its timers follow real time.
#include "saf_cosim.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <type_traits>
#include <unistd.h>

#include "Vsaf_cosim_top.h"
#include "Vsaf_cosim_top___024root.h"
#include "saf_cosim_kernels.h"
#include "saf_cosim_mac.h"
#include "verilated.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kSliceCycles = 256;    // between two looks at the queues
constexpr uint64_t kQuietCycles = 4096;   // so long without any activity outside: the shell waits for something
constexpr uint64_t kGlanceCycles = 192;   // run for timers while it waits
constexpr uint64_t kBusyGlanceUs = 1000;  // how often: a command or a reconfiguration is under way
constexpr uint64_t kIdleGlanceUs = 20000;
constexpr uint64_t kRecentNs = 50'000'000;  // activity so long ago counts as under way
constexpr uint32_t kResetCycles = 16;
constexpr uint32_t kLinkCycles = 64;  // a change of the link is seen on every clock
// So long after it had something to do the side that may sleep gets its clock (see saf_cosim_top), and kTimerCycles every
// kTimerSlices slices, for its timers.
constexpr uint32_t kAwakeCycles = 2048, kTimerCycles = 64;
constexpr uint32_t kTimerSlices = 8;
constexpr size_t kOutboxBytes = 64u << 20;
constexpr uint64_t kRegionBytes = 1u << 20;

#ifdef SAF_ONE_CLOCK
// Nothing happens when the clocks fall, but the model has to know that they did, to see them rise again. Where its notes of
// their last levels are found, they are changed; else (another Verilator may call them otherwise) it is evaluated once more.
using Root = Vsaf_cosim_top___024root;
template <typename Model, typename = void>
struct Levels {
  static bool fell(Model&) { return false; }
};
template <typename Model>
struct Levels<Model, std::void_t<decltype(Model::__Vtrigprevexpr___TOP__clk_i__0),
                                 decltype(Model::__Vtrigprevexpr___TOP__ctl_clk_i__0)>> {
  static bool fell(Model& model) {
    model.__Vtrigprevexpr___TOP__clk_i__0 = model.__Vtrigprevexpr___TOP__ctl_clk_i__0 = 0;
    return true;
  }
};
#endif

enum ClockNumber { kCore, kDdr, kPr, kKernel, kClocks };

class Card {
 public:
  explicit Card(const saf_config& config)
      : config_(config), context_(new VerilatedContext), top_(new Vsaf_cosim_top(context_.get())) {
    random_[0] = config.seed | 1;
    random_[1] = config.seed ^ 0x9E3779B97F4A7C15ull;
    for (int i = 0; i < kClocks; i++) next_ps_[i] = config.period_ps[i];
    configure();
    reset();
  }

  ~Card() { top_->final(); }

  // ---- called from outside

  int32_t push(const uint8_t* frames, int64_t stride, const int64_t* lengths, int32_t count) {
    std::lock_guard<std::mutex> hold(lock_);
    if (powered_off_ || dead_link_) return count;
    int32_t taken = 0;
    for (; taken < count && inbox_.bytes() + queued_ < config_.queue_bytes; taken++)
      inbox_.push(frames + taken * stride, uint32_t(lengths[taken]));
    queue_drops_ += uint64_t(count - taken);
    wake_.notify_one();
    return taken;
  }

  int32_t pull(uint8_t* frames, int64_t stride, int64_t* lengths, int32_t max) {
    std::lock_guard<std::mutex> hold(lock_);
    const uint8_t* frame;
    uint32_t length;
    int32_t n = 0;
    while (n < max && outbox_.pop(&frame, &length)) {
      const uint32_t kept = std::min<uint32_t>(length, uint32_t(stride));
      std::memcpy(frames + n * stride, frame, kept);
      lengths[n++] = kept;
    }
    return n;
  }

  bool next_event(saf_event* event) {
    std::lock_guard<std::mutex> hold(lock_);
    if (events_.empty()) return false;
    *event = events_.front();
    events_.pop_front();
    return true;
  }

  // Run `task` on the simulating thread before its next slice.
  void forget_frames() {
    std::lock_guard<std::mutex> hold(lock_);
    inbox_.clear();
  }

  void later(std::function<void()> task) {
    std::lock_guard<std::mutex> hold(lock_);
    tasks_.push_back(std::move(task));
    wake_.notify_one();
  }

  void power_off() {
    std::lock_guard<std::mutex> hold(lock_);
    powered_off_ = true;
    inbox_.clear();
    outbox_.clear();
    events_.clear();
  }

  void reboot(uint64_t seed) {
    later([this, seed] {
      {
        std::lock_guard<std::mutex> hold(lock_);
        powered_off_ = false;
        inbox_.clear();
        outbox_.clear();
        events_.clear();
      }
      random_[0] = seed | 1;
      random_[1] = seed ^ 0x9E3779B97F4A7C15ull;
      kernels_.clear();
      image_.clear();
      receiver_.clear();
      local_.clear();
      accesses_.clear();
      std::fill(std::begin(drops_), std::end(drops_), 0);
      top_->pr_verdict_i = 0;
      top_->krn_hang_i = bus_hang_ = false;
      reset();
    });
  }

  void look(saf_view* view) {
    std::lock_guard<std::mutex> hold(lock_);
    *view = view_;
    view->queued_bytes = inbox_.bytes() + queued_;
    view->queue_drops = queue_drops_;
  }

  const std::vector<uint8_t>& image() const { return judged_; }

  void run() {
    Clock::time_point last = Clock::now();
    while (!stopping_) {
      const Clock::time_point now = Clock::now();
      if (!powered_off_) time_ns_ += uint64_t(std::chrono::nanoseconds(now - last).count());
      last = now;
      begin_slice();
      if (quiet_ >= kQuietCycles) wake(kTimerCycles);
      if (!powered_off_) slice(quiet_ < kQuietCycles ? kSliceCycles : kGlanceCycles);
      end_slice();
      if (quiet_ >= kQuietCycles || powered_off_) rest();
    }
    stopping_ = false;
  }

  void stop() {
    std::lock_guard<std::mutex> hold(lock_);
    stopping_ = true;
    wake_.notify_one();
  }

  uint64_t step(uint64_t cycles, uint32_t until_idle) {
    uint64_t done = 0;
    wake(uint32_t(kSliceCycles));
    if (until_idle) quiet_ = 0;
    while (done < cycles && !powered_off_) {
      begin_slice();
      const uint64_t n = std::min(kSliceCycles, cycles - done);
      for (uint64_t i = 0; i < n; i++) {
        step_ps_ += config_.period_ps[kCore];
        time_ns_ += step_ps_ / 1000;
        step_ps_ %= 1000;
        update_time();
        cycle();
      }
      done += n;
      end_slice();
      if (until_idle && quiet_ >= until_idle && local_.empty()) break;
    }
    return done;
  }

  void advance(uint64_t ns) { time_ns_ += ns; }

  // ---- wishes, on the simulating thread

  void set_rom(const std::vector<uint64_t>& words) { kernels_.load(words.data(), uint32_t(words.size())); }

  void verdict(uint32_t status) { top_->pr_verdict_i = uint8_t(status); }

  void kernel_ended(uint32_t kernel, uint32_t outcome, const std::vector<uint32_t>& regions) {
    if (!kernels_.running(kernel)) return;
    for (uint32_t region : regions) accesses_.push_back({region * kRegionBytes, true, -1});
    if (outcome == SAF_RANGE) accesses_.push_back({config_.role_bytes, false, -1});
    if (outcome == SAF_FAULT) {
      top_->krn_hang_i = true;  // a role that crashed answers no more, until it is reset
      return;
    }
    // the kernel is done behind its last access
    accesses_.push_back({0, false, int(kernel)});
  }

  void access(uint64_t address, bool write) { accesses_.push_back({address, write, -1}); }

  void link(bool up) {
    if (bool(top_->link_up_i) == up) return;
    top_->link_up_i = up;
    if (!up) {
      std::lock_guard<std::mutex> hold(lock_);
      local_.clear();
      receiver_.clear();
      outbox_.clear();
    }
    if (powered_off_) return;
    wake(kAwakeCycles);  // a cable that is out and in again between two slices was out nevertheless
    for (uint32_t i = 0; i < kLinkCycles; i++) cycle();
  }

  void fault(uint32_t fault, uint32_t value) {
    switch (fault) {
      case SAF_DEAD_LINK: dead_link_ = value; break;
      case SAF_MUTE: mute_ = value; break;
      case SAF_SLOW_DDR: slow_ddr_ = value; break;
      case SAF_PR_HANG: top_->pr_hang_i = value != 0; break;
      case SAF_BUS_HANG: top_->krn_hang_i = bus_hang_ = value != 0; break;
      case SAF_FREEZE_HANG: freeze_hangs_ = value ? freeze_hangs_ + value : 0; break;
      case SAF_PAUSE: pause_ = value; break;
    }
  }

  // ---- called by the models (DPI), on the simulating thread

  void ddr_read(uint32_t word, uint32_t* data) {
    const uint8_t* at = memory(word);
    if (at) std::memcpy(data, at, 64);
    else std::memset(data, 0, 64);
  }

  void ddr_write(uint32_t word, const uint32_t* data, uint64_t enable) {
    uint8_t* at = memory(word);
    if (!at) return;
    if (enable == ~0ull) {
      std::memcpy(at, data, 64);
      return;
    }
    const uint8_t* from = reinterpret_cast<const uint8_t*>(data);
    for (int i = 0; i < 64; i++)
      if (enable >> i & 1) at[i] = from[i];
  }

  void pr_start() {
    image_.clear();
    top_->pr_verdict_i = 0;
    emit(SAF_PR_START, 0, 0, nullptr);
  }
  void pr_word(uint32_t word) {
    const size_t at = image_.size();
    image_.resize(at + 4);
    std::memcpy(&image_[at], &word, 4);
  }
  void pr_end() {
    const uint64_t length = image_.size();
    judged_.swap(image_);  // stays as it is while somebody looks at it, also when another image comes
    emit(SAF_PR_JUDGE, 0, length, nullptr);
  }

  uint64_t krn_read(uint32_t address) const { return kernels_.read(address); }
  void krn_write(uint32_t address, uint64_t data, uint32_t enable) {
    const int started = kernels_.write(address, data, enable);
    if (started >= 0) emit(SAF_KERNEL_START, uint32_t(started), 0, kernels_.window(uint32_t(started)));
  }
  void krn_reset() {
    kernels_.reset();
    if (!bus_hang_) top_->krn_hang_i = 0;
    emit(SAF_KERNEL_RESET, 0, 0, nullptr);
  }
  void drop(uint32_t reason) {
    if (reason < 32) drops_[reason]++;
  }

 private:
  struct Access {
    uint64_t address;
    bool write;
    int ends;  // the kernel that is done when this is reached (no access then), or -1
  };

  void configure() {
    Vsaf_cosim_top& top = *top_;
    top.context_i = reinterpret_cast<uintptr_t>(this);
    wide(top.serial_i, config_.serial, 16);
    wide(top.key_i, config_.key, 32);
    top.mac0_i = big_endian(config_.mac0, 6);
    top.mac1_i = big_endian(config_.mac1, 6);
    top.key_valid_i = config_.key_valid != 0;
    top.mtu_i = uint16_t(config_.mtu);
    top.receive_rate_i = config_.receive_rate;
    top.window_blocks_i = config_.window_blocks;
    top.compat_id_i = config_.compat_id;
    uint8_t types[16] = {};  // packed array: element 0 is the least significant
    for (int i = 0; i < 7; i++) {
      types[15 - 2 * i] = uint8_t(config_.ethertypes[i]);
      types[14 - 2 * i] = uint8_t(config_.ethertypes[i] >> 8);
    }
    wide(top.ethertypes_i, types, 16);
    top.mac_tx_ready_i = 1;
  }

  template <typename Port>
  static void wide(Port& port, const uint8_t* bytes, int count) {
    for (int i = 0; i < count / 4; i++) port[i] = uint32_t(big_endian(bytes + count - 4 * (i + 1), 4));
  }

  static uint64_t big_endian(const uint8_t* bytes, int count) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value = value << 8 | bytes[i];
    return value;
  }

  void reset() {
    time_ns_ = 0;
    quiet_ = 0;
    wake(kAwakeCycles);
    top_->rst_ni = 0;
    for (uint32_t i = 0; i < kResetCycles; i++) cycle();
    top_->rst_ni = 1;
    for (uint32_t i = 0; i < kResetCycles; i++) cycle();
  }

  void begin_slice() {
    std::vector<std::function<void()>> tasks;
    {
      std::lock_guard<std::mutex> hold(lock_);
      tasks.swap(tasks_);
    }
    if (++slices_ % kTimerSlices == 0) wake(kTimerCycles);
    for (auto& task : tasks) {
      task();
      quiet_ = 0;
      wake(kAwakeCycles);
    }
    {
      std::lock_guard<std::mutex> hold(lock_);  // behind the wishes: what came after the cable was plugged in arrives
      if (local_.empty() && !inbox_.empty()) {
        local_.clear();
        local_.swap(inbox_);
      }
      queued_ = local_.bytes();
    }
    update_time();
  }

  void wake(uint32_t cycles) {
    awake_ = std::max(awake_, cycles);
  }

  void slice(uint64_t cycles) {
    for (uint64_t i = 0; i < cycles; i++) cycle();
    if (quiet_ < kQuietCycles) active_ns_ = time_ns_;
  }

  void end_slice() {
    bool tell;
    {
      std::lock_guard<std::mutex> hold(lock_);
      if (!fresh_.empty() || !fresh_events_.empty()) {
        const uint8_t* frame;
        uint32_t length;
        while (fresh_.pop(&frame, &length))
          if (outbox_.bytes() < kOutboxBytes) outbox_.push(frame, length);
        events_.insert(events_.end(), fresh_events_.begin(), fresh_events_.end());
        fresh_events_.clear();
        tell = true;
      } else {
        tell = false;
      }
      queued_ = local_.bytes();
      refresh_view();
    }
    if (tell && config_.wake_fd >= 0) {
      const uint64_t one = 1;
      if (write(config_.wake_fd, &one, sizeof one) < 0) std::perror("saf_cosim: eventfd");
    }
  }

  void rest() {
    std::unique_lock<std::mutex> hold(lock_);
    const bool under_way = view_.slots_running || view_.commit_active || time_ns_ - active_ns_ < kRecentNs;
    wake_.wait_for(hold, std::chrono::microseconds(under_way ? kBusyGlanceUs : kIdleGlanceUs),
                   [this] { return stopping_ || !tasks_.empty() || !inbox_.empty(); });
    if (!inbox_.empty()) quiet_ = 0;
  }

  void update_time() {
    top_->time_ns_i = time_ns_;
    top_->time_us_i = time_ns_ / 1000;
  }

  uint32_t random() {  // xorshift128+
    uint64_t a = random_[0];
    const uint64_t b = random_[1];
    random_[0] = b;
    a ^= a << 23;
    random_[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
    return uint32_t((random_[1] + b) >> 32);
  }

  // Inputs of the core domain for the coming edge, and what leaves on it.
  void before_core_edge() {
    Vsaf_cosim_top& top = *top_;
    if (top.mac_tx_valid_o && top.mac_tx_ready_o) {
      const uint32_t length =
          transmitter_.take(top.mac_tx_sop_o, top.mac_tx_eop_o, top.mac_tx_empty_o, top.mac_tx_data_o);
      if (length && !mute_ && !dead_link_) fresh_.push(transmitter_.frame(), length);
    }
    top.mac_tx_ready_i = pause_ ? (random() % 100 >= pause_) : 1;
    if (receiver_.ready()) {
      const uint8_t* frame;
      uint32_t length;
      if (local_.pop(&frame, &length)) receiver_.start(frame, std::min<uint32_t>(length, Transmitter::kMostBytes));
    }
    const Receiver::Beat beat = receiver_.next();
    top.mac_rx_valid_i = beat.valid;
    top.mac_rx_sop_i = beat.sop;
    top.mac_rx_eop_i = beat.eop;
    top.mac_rx_empty_i = beat.empty;
    top.mac_rx_data_i = beat.data;
    top.rnd_i = random();
    quiet_ = beat.valid || top.busy_o ? 0 : quiet_ + 1;
    cycles_++;
  }

  void before_ddr_edge() {
    Vsaf_cosim_top& top = *top_;
    if (top.role_valid_i && top.role_ready_o) {
      accesses_.pop_front();
      quiet_ = 0;
    }
    while (!accesses_.empty() && accesses_.front().ends >= 0) {
      kernels_.end(uint32_t(accesses_.front().ends));
      wake(kAwakeCycles);
      accesses_.pop_front();
    }
    top.role_valid_i = !accesses_.empty();
    if (!accesses_.empty()) {
      top.role_write_i = accesses_.front().write;
      top.role_addr_i = accesses_.front().address;
    }
    top.ddr_slow_i = slow_ddr_ ? random() % 100 < slow_ddr_ : 0;
  }

  void before_kernel_edge() {
    top_->krn_irq_i = kernels_.irq();
    const bool commits = top_->commit_active_o;
    if (commits != committing_) {
      top_->freeze_hang_i = commits && freeze_hangs_ > 0;
      freeze_hangs_ -= top_->freeze_hang_i;
      committing_ = commits;
    }
  }

#ifdef SAF_ONE_CLOCK
  void cycle() {
    if (top_->ctl_wake_o) wake(kAwakeCycles);
    before_core_edge();
    before_ddr_edge();
    if (awake_) {
      awake_--;
      before_kernel_edge();
      top_->ctl_clk_i = 1;
    }
    top_->clk_i = 1;
    top_->eval();
    top_->clk_i = top_->ctl_clk_i = 0;
    if (!Levels<Root>::fell(*top_->rootp)) top_->eval();
  }
#else
  // One cycle of the core clock, with the edges of all clocks in the order of time.
  void cycle() {
    for (;;) {
      const uint64_t at = *std::min_element(next_ps_, next_ps_ + kClocks);
      bool rises[kClocks];
      bool core_falls = false;
      for (int i = 0; i < kClocks; i++) {
        rises[i] = next_ps_[i] == at && !level_[i];
        if (next_ps_[i] != at) continue;
        core_falls = core_falls || (i == kCore && level_[i]);
        level_[i] = !level_[i];
        next_ps_[i] += config_.period_ps[i] / 2;
      }
      if (rises[kCore]) before_core_edge();
      if (rises[kDdr]) before_ddr_edge();
      if (rises[kKernel]) before_kernel_edge();
      top_->clk_i = level_[kCore];
      top_->ddr_clk_i = level_[kDdr];
      top_->pr_clk_i = level_[kPr];
      top_->krn_clk_i = level_[kKernel];
      top_->eval();
      if (core_falls) return;
    }
  }
#endif

  uint8_t* memory(uint32_t word) {
    const uint64_t address = uint64_t(word) * 64;
    if (address < config_.role_bytes) return config_.role_memory + address;
    if (address - config_.role_bytes < config_.upper_bytes) return config_.upper_memory + (address - config_.role_bytes);
    wrong_addresses_++;
    return nullptr;
  }

  void emit(uint32_t kind, uint32_t kernel, uint64_t length, const uint8_t* registers) {
    fresh_events_.emplace_back();
    saf_event& event = fresh_events_.back();
    event = saf_event{};
    event.kind = kind;
    event.kernel = kernel;
    event.length_bytes = length;
    if (registers) std::memcpy(event.registers, registers, sizeof event.registers);
  }

  void refresh_view() {
    const Vsaf_cosim_top& top = *top_;
    view_.cycles = cycles_;
    view_.time_ns = time_ns_;
    view_.wrong_addresses = wrong_addresses_;
    view_.rx_frames = top.rx_frames_o;
    view_.tx_frames = top.tx_frames_o;
    view_.data_blocks = top.data_blocks_o;
    view_.commands = top.commands_o;
    view_.overflows = top.overflows_o;
    view_.session_open = top.session_open_o;
    view_.session = top.session_o;
    view_.session_count = top.session_count_o;
    view_.pr_count = top.pr_count_o;
    view_.role_epoch = top.role_epoch_o;
    view_.card_state = top.card_state_o;
    view_.pr_status = top.pr_status_o;
    view_.has_role = top.has_role_o;
    view_.slots_running = top.slots_running_o;
    view_.commit_active = top.commit_active_o;
    view_.scrub_busy = top.scrub_busy_o;
    view_.quiet = uint32_t(std::min<uint64_t>(quiet_, UINT32_MAX));
    view_.idle = quiet_ >= kQuietCycles && local_.empty();
    for (int i = 0; i < 8; i++) {
      const uint32_t word = top.image_digest_o[7 - i];
      for (int j = 0; j < 4; j++) view_.image_digest[4 * i + j] = uint8_t(word >> (24 - 8 * j));
    }
    std::memcpy(view_.drops, drops_, sizeof drops_);
  }

  const saf_config config_;
  std::unique_ptr<VerilatedContext> context_;
  std::unique_ptr<Vsaf_cosim_top> top_;

  // under the lock
  std::mutex lock_;
  std::condition_variable wake_;
  FrameQueue inbox_, outbox_;
  std::deque<saf_event> events_;
  std::vector<std::function<void()>> tasks_;
  saf_view view_{};
  uint64_t queue_drops_ = 0, queued_ = 0;
  std::atomic<bool> stopping_{false}, powered_off_{false}, dead_link_{false};

  // of the simulating thread
  FrameQueue local_, fresh_;
  std::deque<saf_event> fresh_events_;
  std::deque<Access> accesses_;
  std::vector<uint8_t> image_, judged_;
  Kernels kernels_;
  Receiver receiver_;
  Transmitter transmitter_;
  uint64_t drops_[32] = {};
  uint64_t cycles_ = 0, quiet_ = 0, time_ns_ = 0, active_ns_ = 0, step_ps_ = 0, wrong_addresses_ = 0;
  uint64_t random_[2];
  uint64_t next_ps_[kClocks];
  bool level_[kClocks] = {};
  bool mute_ = false, bus_hang_ = false, committing_ = false;
  uint32_t slow_ddr_ = 0, pause_ = 0, freeze_hangs_ = 0, awake_ = 0, slices_ = 0;
};

Card* of(void* card) { return static_cast<Card*>(card); }

}  // namespace

extern "C" {

void* saf_create(const saf_config* config) { return new Card(*config); }
void saf_destroy(void* card) { delete of(card); }
int32_t saf_push(void* card, const uint8_t* frames, int64_t stride, const int64_t* lengths, int32_t count) {
  return of(card)->push(frames, stride, lengths, count);
}
int32_t saf_pull(void* card, uint8_t* frames, int64_t stride, int64_t* lengths, int32_t max) {
  return of(card)->pull(frames, stride, lengths, max);
}
int32_t saf_next_event(void* card, saf_event* event) { return of(card)->next_event(event); }
const uint8_t* saf_image(void* card, uint64_t* length_bytes) {
  *length_bytes = of(card)->image().size();
  return of(card)->image().data();
}
void saf_verdict(void* card, uint32_t pr_status) {
  of(card)->later([=] { of(card)->verdict(pr_status); });
}
void saf_role_rom(void* card, const uint64_t* words, uint32_t count) {
  of(card)->later([=, rom = std::vector<uint64_t>(words, words + count)] { of(card)->set_rom(rom); });
}
void saf_kernel_ended(void* card, uint32_t kernel, uint32_t outcome, const uint32_t* regions, uint32_t count) {
  of(card)->later([=, written = std::vector<uint32_t>(regions, regions + count)] {
    of(card)->kernel_ended(kernel, outcome, written);
  });
}
void saf_role_access(void* card, uint64_t address, uint32_t write) {
  of(card)->later([=] { of(card)->access(address, write != 0); });
}
void saf_link(void* card, uint32_t up) {
  if (!up) of(card)->forget_frames();
  of(card)->later([=] { of(card)->link(up != 0); });
}
void saf_fault(void* card, uint32_t fault, uint32_t value) {
  of(card)->later([=] { of(card)->fault(fault, value); });
}
void saf_reboot(void* card, uint64_t seed) { of(card)->reboot(seed); }
void saf_power_off(void* card) { of(card)->power_off(); }
void saf_look(void* card, saf_view* view) { of(card)->look(view); }
void saf_run(void* card) { of(card)->run(); }
void saf_stop(void* card) { of(card)->stop(); }
uint64_t saf_step(void* card, uint64_t cycles, uint32_t until_idle) {
  return of(card)->step(cycles, until_idle);
}
void saf_advance(void* card, uint64_t ns) { of(card)->advance(ns); }

// ---- what the models call

void saf_dpi_ddr_read(unsigned long long card, unsigned word, uint32_t* data) {
  reinterpret_cast<Card*>(card)->ddr_read(word, data);
}
void saf_dpi_ddr_write(unsigned long long card, unsigned word, const uint32_t* data, unsigned long long enable) {
  reinterpret_cast<Card*>(card)->ddr_write(word, data, enable);
}
void saf_dpi_pr_start(unsigned long long card) { reinterpret_cast<Card*>(card)->pr_start(); }
void saf_dpi_pr_word(unsigned long long card, unsigned word) { reinterpret_cast<Card*>(card)->pr_word(word); }
void saf_dpi_pr_end(unsigned long long card) { reinterpret_cast<Card*>(card)->pr_end(); }
void saf_dpi_krn_write(unsigned long long card, unsigned address, unsigned long long data, unsigned enable) {
  reinterpret_cast<Card*>(card)->krn_write(address, data, enable);
}
unsigned long long saf_dpi_krn_read(unsigned long long card, unsigned address) {
  return reinterpret_cast<Card*>(card)->krn_read(address);
}
void saf_dpi_krn_reset(unsigned long long card) { reinterpret_cast<Card*>(card)->krn_reset(); }
void saf_dpi_drop(unsigned long long card, unsigned reason) { reinterpret_cast<Card*>(card)->drop(reason); }

}  // extern "C"
