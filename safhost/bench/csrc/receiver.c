/* Reference receive path: a TPACKET_V2 ring, each block copied to its place by the number in its header.
 *
 *   receiver IFACE BLOCK_BYTES FRAMES RING_BYTES BLOCKS MODE
 *
 * Prints "ready" once the ring is bound, then receives until FRAMES arrived or nothing came for one second.
 * MODE "drain" waits for a line on standard input before that: the ring is filled meanwhile. Prints
 * "frames drops seconds busy_seconds cpu_seconds": seconds run from the first frame to the last, busy seconds
 * are those of them not spent waiting. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { HEADER_BYTES = 40, INDEX_OFFSET = 28, QUIET_MS = 1000 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static double cpu(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* 2 MiB pages where the kernel gives them, every page touched: the run itself takes no page fault. */
static uint8_t *big_buffer(size_t size) {
  size_t huge = 2 << 20, rounded = (size + huge - 1) / huge * huge;
  uint8_t *data = aligned_alloc(huge, rounded);
  if (data) {
    madvise(data, rounded, MADV_HUGEPAGE);
    for (size_t i = 0; i < rounded; i++) data[i] = (uint8_t)(i * 31);
  }
  return data;
}

int main(int argc, char **argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: receiver IFACE BLOCK_BYTES FRAMES RING_BYTES BLOCKS paced|drain\n");
    return 2;
  }
  size_t block = strtoul(argv[2], 0, 10), frames = strtoul(argv[3], 0, 10);
  size_t ring_bytes = strtoul(argv[4], 0, 10), blocks = strtoul(argv[5], 0, 10);
  int drain = !strcmp(argv[6], "drain");
  int fd = socket(AF_PACKET, SOCK_RAW, 0), version = TPACKET_V2, on = 1;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x80DD, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0x40000),
      BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog program = {sizeof code / sizeof *code, code};
  unsigned slot = (unsigned)((88 + 14 + HEADER_BYTES + block + 63) / 64 * 64);
  unsigned per_block = 4096 / 64;  /* slot is a multiple of 64: 64 slots fill whole pages */
  struct tpacket_req req = {.tp_block_size = slot * per_block, .tp_frame_size = slot};
  req.tp_block_nr = (unsigned)(ring_bytes / req.tp_block_size);
  req.tp_frame_nr = req.tp_block_nr * per_block;
  if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
      setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) ||
      setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) ||
      setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &req, sizeof req)) {
    perror("receiver: ring");
    return 1;
  }
  size_t length = (size_t)req.tp_block_size * req.tp_block_nr;
  uint8_t *ring = mmap(0, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  uint8_t *target = big_buffer(blocks * block);
  if (ring == MAP_FAILED || !target) {
    perror("receiver: memory");
    return 1;
  }
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL),
                                .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (bind(fd, (struct sockaddr *)&address, sizeof address)) {
    perror("receiver: bind");
    return 1;
  }
  puts("ready");
  fflush(stdout);
  if (drain && getchar() == EOF) return 1;

  size_t got = 0, head = 0;
  double begin = now(), start = begin, end = begin, busy = 0, cpu_start = cpu();
  while (got < frames) {
    struct tpacket2_hdr *h = (void *)(ring + head * slot);
    uint32_t status = atomic_load_explicit((_Atomic uint32_t *)&h->tp_status, memory_order_acquire);
    if (!(status & TP_STATUS_USER)) {
      struct pollfd wait = {.fd = fd, .events = POLLIN};
      end = now();
      busy += end - begin;
      int ready = poll(&wait, 1, got ? QUIET_MS : 10 * QUIET_MS);
      begin = now();
      if (!got) start = begin;
      if (!ready) break;
      continue;
    }
    uint8_t *frame = (uint8_t *)h + h->tp_mac;
    uint32_t number;
    memcpy(&number, frame + INDEX_OFFSET, sizeof number);
    number = ntohl(number);
    if (number < blocks && h->tp_snaplen >= HEADER_BYTES + block)
      memcpy(target + number * block, frame + HEADER_BYTES, block);
    atomic_store_explicit((_Atomic uint32_t *)&h->tp_status, TP_STATUS_KERNEL, memory_order_release);
    head = head + 1 == req.tp_frame_nr ? 0 : head + 1;
    got++;
  }
  if (got == frames) {
    end = now();
    busy += end - begin;
  }
  struct tpacket_stats stats = {0};
  socklen_t stats_len = sizeof stats;
  getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &stats_len);
  printf("%zu %u %.9f %.9f %.6f\n", got, stats.tp_drops, end - start, busy, cpu() - cpu_start);
  return 0;
}
