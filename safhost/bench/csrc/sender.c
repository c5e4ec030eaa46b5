/* Reference transmit path: bulk frames by sendmmsg, header and block gathered from two places.
 *
 *   sender IFACE BLOCK_BYTES FRAMES PAYLOAD_BYTES BATCH
 *
 * Sends FRAMES frames of a 40 byte header (block number at byte 28) and BLOCK_BYTES taken in turn from a
 * buffer of PAYLOAD_BYTES, BATCH (up to 1024) frames a call. Prints "frames seconds cpu_seconds". What a careful C
 * programmer would write: all tables are made once, only block numbers and addresses change. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

enum { HEADER_BYTES = 40, BATCH_MAX = 1024, INDEX_OFFSET = 28 };

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
  if (argc != 6) {
    fprintf(stderr, "usage: sender IFACE BLOCK_BYTES FRAMES PAYLOAD_BYTES BATCH\n");
    return 2;
  }
  size_t block = strtoul(argv[2], 0, 10), frames = strtoul(argv[3], 0, 10);
  size_t size = strtoul(argv[4], 0, 10), batch = strtoul(argv[5], 0, 10);
  size_t blocks = block ? size / block : 0;
  if (!blocks || !batch || batch > BATCH_MAX) {
    fprintf(stderr, "sender: block, payload and batch do not fit together\n");
    return 2;
  }
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_ifindex = (int)if_nametoindex(argv[1])};
  if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address)) {
    perror("sender: raw socket");
    return 1;
  }
  int buffer = 4 << 20;
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer))
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);

  uint8_t *payload = big_buffer(size);
  if (!payload) {
    perror("sender: payload");
    return 1;
  }
  static uint8_t header[BATCH_MAX][HEADER_BYTES];
  static struct iovec part[BATCH_MAX][2];
  static struct mmsghdr message[BATCH_MAX];
  for (size_t i = 0; i < BATCH_MAX; i++) {
    memset(header[i], 0xff, 6);
    memcpy(header[i] + 6, "\x02\x00\x5a\x00\x00\x01\x80\xdd", 8);
    part[i][0] = (struct iovec){header[i], HEADER_BYTES};
    part[i][1].iov_len = block;
    message[i].msg_hdr.msg_iov = part[i];
    message[i].msg_hdr.msg_iovlen = 2;
  }
  size_t sent = 0, position = 0;
  double start = now(), cpu_start = cpu();
  while (sent < frames) {
    size_t n = batch;
    if (n > frames - sent) n = frames - sent;
    if (n > blocks - position) n = blocks - position;
    for (size_t i = 0; i < n; i++) {
      uint32_t number = htonl((uint32_t)(position + i));
      memcpy(header[i] + INDEX_OFFSET, &number, sizeof number);
      part[i][1].iov_base = payload + (position + i) * block;
    }
    int taken = sendmmsg(fd, message, (unsigned)n, MSG_DONTWAIT);
    if (taken < 0) {
      if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR) {
        perror("sender: sendmmsg");
        return 1;
      }
      struct pollfd wait = {.fd = fd, .events = POLLOUT};
      poll(&wait, 1, 1000);
      continue;
    }
    sent += (size_t)taken;
    position = (position + (size_t)taken) % blocks;
  }
  printf("%zu %.9f %.6f\n", sent, now() - start, cpu() - cpu_start);
  return 0;
}
