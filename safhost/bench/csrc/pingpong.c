/* Reference round trip: a small raw frame there and back over a veth pair.
 *
 *   pingpong IFACE_A IFACE_B ROUNDS [FRAME_BYTES [CPU_A CPU_B]]
 *
 * A child process on IFACE_B sends every frame back; the parent on IFACE_A measures each round with blocking
 * calls, as a program does that waits for an answer. A tenth of ROUNDS more runs first, unmeasured. Prints one
 * JSON line with nanoseconds: {"rounds":…,"frame_bytes":…,"p50_ns":…,"p99_ns":…,"min_ns":…,"max_ns":…}. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PING_TYPE = 0x80CC, PONG_TYPE = 0x80CB, FRAME_MAX = 1514, WAIT_SECONDS = 5 };

static int open_raw(const char *name, int type) {
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons((uint16_t)type),
                                .sll_ifindex = (int)if_nametoindex(name)};
  struct timeval patience = {.tv_sec = WAIT_SECONDS};
  if (fd < 0 || !address.sll_ifindex || bind(fd, (struct sockaddr *)&address, sizeof address) ||
      setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience)) {
    perror(name);
    exit(1);
  }
  return fd;
}

/* A wake-up on another CPU costs several times one on the same: measurements say where both ends run. */
static void pin(const char *cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET((size_t)atol(cpu), &set);
  if (sched_setaffinity(0, sizeof set, &set)) {
    perror("pingpong: cpu");
    exit(1);
  }
}

static int compare(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
  long rounds = argc > 3 ? atol(argv[3]) : 0, size = argc > 4 ? atol(argv[4]) : 64;
  if (argc < 4 || argc == 6 || argc > 7 || rounds < 1 || size < 14 || size > FRAME_MAX) {
    fprintf(stderr, "usage: pingpong IFACE_A IFACE_B ROUNDS [FRAME_BYTES 14..1514 [CPU_A CPU_B]]\n");
    return 2;
  }
  long warm = rounds / 10 + 1;
  /* Both sockets exist before the first frame: none can be missed. Each type goes one way only. */
  int near = open_raw(argv[1], PONG_TYPE), far = open_raw(argv[2], PING_TYPE);
  static uint8_t frame[FRAME_MAX];
  memset(frame, 0xff, 6);
  memcpy(frame + 6, "\x02\x00\x5a\x00\x00\x01", 6);
  pid_t parent = getpid(), child = fork();
  if (child < 0) {
    perror("pingpong: fork");
    return 1;
  }
  if (!child) {
    close(near);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) return 1;
    if (argc == 7) pin(argv[6]);
    for (long i = 0; i < warm + rounds; i++) {
      if (recv(far, frame, sizeof frame, 0) < 14) return 1;
      frame[12] = PONG_TYPE >> 8;
      frame[13] = PONG_TYPE & 255;
      if (send(far, frame, (size_t)size, 0) != size) return 1;
    }
    return 0;
  }
  close(far);
  if (argc == 7) pin(argv[5]);
  int64_t *took = malloc((size_t)rounds * sizeof *took);
  if (!took) {
    perror("pingpong: memory");
    return 1;
  }
  frame[12] = PING_TYPE >> 8;
  frame[13] = PING_TYPE & 255;
  static uint8_t answer[FRAME_MAX];
  for (long i = -warm; i < rounds; i++) {
    int64_t start = now_ns();
    if (send(near, frame, (size_t)size, 0) != size || recv(near, answer, sizeof answer, 0) < 14) {
      perror("pingpong: round");
      kill(child, SIGKILL);
      waitpid(child, 0, 0);
      return 1;
    }
    if (i >= 0) took[i] = now_ns() - start;
  }
  waitpid(child, 0, 0);
  qsort(took, (size_t)rounds, sizeof *took, compare);
  printf("{\"rounds\":%ld,\"frame_bytes\":%ld,\"p50_ns\":%lld,\"p99_ns\":%lld,\"min_ns\":%lld,\"max_ns\":%lld}\n",
         rounds, size, (long long)took[rounds / 2], (long long)took[rounds - 1 - rounds / 100],
         (long long)took[0], (long long)took[rounds - 1]);
  return 0;
}
