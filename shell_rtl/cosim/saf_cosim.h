// C interface of a card simulated from the shell's RTL. All functions may be called from any thread; the model itself is
// touched by whoever is in saf_run or saf_step, one thread at a time.
#pragma once
#include <cstdint>

extern "C" {

struct saf_config {
  uint8_t serial[16];
  uint8_t mac0[8], mac1[8];  // 6 bytes used
  uint8_t key[32];
  uint32_t key_valid;
  uint32_t mtu;
  uint32_t receive_rate;
  uint32_t window_blocks;
  uint32_t compat_id;
  int32_t wake_fd;  // an eventfd that is written when something waits to be pulled; -1: none
  uint16_t ethertypes[8];  // 7 used, by number of etype_e
  uint8_t* role_memory;
  uint64_t role_bytes;
  uint8_t* upper_memory;  // staging and what else the role does not reach, from address role_bytes on
  uint64_t upper_bytes;
  uint64_t seed;
  uint64_t queue_bytes;  // frames that may wait to be received
  uint32_t period_ps[4];  // core, DDR, PR and kernel clock (core alone in the one-clock build)
};

struct saf_view {
  uint64_t cycles;  // of the core clock, since creation
  uint64_t time_ns;  // as the card sees it
  uint64_t role_faults;
  uint64_t queued_bytes;
  uint64_t queue_drops;  // frames lost because they came faster than the simulation
  uint64_t wrong_addresses;  // DDR accesses beyond the memory
  uint32_t rx_frames, tx_frames, data_blocks, commands, overflows;
  uint32_t session_open, session, session_count, pr_count, role_epoch;
  uint32_t card_state, pr_status, has_role, slots_running, commit_active, scrub_busy, idle, quiet;  // quiet: cycles without activity
  uint8_t image_digest[32];
  uint64_t drops[32];
};

enum saf_event_kind { SAF_KERNEL_START = 1, SAF_KERNEL_RESET = 2, SAF_PR_START = 3, SAF_PR_JUDGE = 4 };

struct saf_event {
  uint32_t kind;
  uint32_t kernel;
  uint64_t length_bytes;  // of the image
  uint8_t registers[4096];  // CRA window of the kernel that starts
};

// SAF_FREEZE_HANG: in so many more COMMITs the PR region does not freeze; SAF_SLOW_DDR, SAF_PAUSE: percent of cycles
enum saf_fault { SAF_DEAD_LINK = 1, SAF_MUTE = 2, SAF_SLOW_DDR = 3, SAF_PR_HANG = 4, SAF_BUS_HANG = 5,
                 SAF_PAUSE = 6, SAF_FREEZE_HANG = 7 };

enum saf_outcome { SAF_DONE = 0, SAF_RANGE = 1, SAF_FAULT = 2 };

void* saf_create(const saf_config* config);
void saf_destroy(void* card);
// rows of `frames`, each `lengths[i]` bytes; returns how many were taken (a full queue drops the rest and counts them)
int32_t saf_push(void* card, const uint8_t* frames, int64_t stride, const int64_t* lengths, int32_t count);
// sent frames, at most `max`, one a row; returns how many
int32_t saf_pull(void* card, uint8_t* frames, int64_t stride, int64_t* lengths, int32_t max);
int32_t saf_next_event(void* card, saf_event* event);
// bytes the PR controller got since its last start
const uint8_t* saf_image(void* card, uint64_t* length_bytes);
void saf_verdict(void* card, uint32_t pr_status);
// the role's ROM: `words` u64 from its first word on
void saf_role_rom(void* card, const uint64_t* words, uint32_t count);
// a started kernel ended; `regions`: numbers of 1 MiB regions of role memory that it may have written
void saf_kernel_ended(void* card, uint32_t kernel, uint32_t outcome, const uint32_t* regions, uint32_t count);
// one access of the role's memory host, without effect on memory
void saf_role_access(void* card, uint64_t address, uint32_t write);
void saf_link(void* card, uint32_t up);
void saf_fault(void* card, uint32_t fault, uint32_t value);
// reset; `seed` for what is random afterwards
void saf_reboot(void* card, uint64_t seed);
// power off: frames are not taken, time stands still; saf_reboot ends it
void saf_power_off(void* card);
void saf_look(void* card, saf_view* view);
// simulate in real time until saf_stop; nothing is computed while nothing happens
void saf_run(void* card);
void saf_stop(void* card);
// simulate `cycles` core clock cycles, or until nothing happened for `until_idle` of them (0: all); time goes on with the
// clock; returns cycles run
uint64_t saf_step(void* card, uint64_t cycles, uint32_t until_idle);
// let the card's time jump, between calls of saf_step
void saf_advance(void* card, uint64_t ns);

}  // extern "C"
