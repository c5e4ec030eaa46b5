/* BLAKE2s of many objects at once: one object a lane of vectors of 32-bit words.
 *
 * BLAKE2s is RFC 7693; the parameter block of its tree mode (fanout, depth, leaf size, node offset, node depth, inner
 * length, and the last-node flag f1) is that of section 2.8 of the BLAKE2 paper (Aumasson et al., 2013). Leaves of a
 * hash tree do not depend on each other, so lane l of every vector belongs to object l, and one step compresses a
 * block of 64 bytes of each. Objects of a group may differ in length: a lane whose object has ended goes on with
 * zeros, and its digest was taken before.
 *
 * Written with the vector extensions that GCC and clang share. This file includes itself once for each width, so that
 * one text serves AVX-512 (16 lanes), AVX2 (8) and whatever else there is (4: SSE2, NEON, or plain words). Which of
 * them the processor can run is asked when the program runs.
 *
 * Constant time is not a goal: what is hashed here is public. */

#ifndef LANES

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if !defined(__BYTE_ORDER__) || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are loaded as they lie in memory: little-endian machines only"
#endif

enum { BLOCK_BYTES = 64, WORDS = 16, ROUNDS = 10, DIGEST_WORDS = 8 };

/* One object, as the caller lays it out: eight-byte fields without padding. */
struct saf_item {
    uint64_t data;   /* address of its first byte */
    uint64_t length; /* in bytes, below 2**32 */
    uint64_t node;   /* bytes 8 to 15 of the parameter block: node offset, node depth, inner length */
    uint64_t last;   /* not 0: the last node of its level */
};

static const uint32_t IV[8] = {0x6A09E667u, 0xBB67AE85u, 0x3C6EF372u, 0xA54FF53Au,
                               0x510E527Fu, 0x9B05688Cu, 0x1F83D9ABu, 0x5BE0CD19u};
static const uint8_t ZEROS[BLOCK_BYTES];

typedef uint32_t quad __attribute__((vector_size(16)));

static inline quad load_quad(const uint8_t *from)
{
    quad out;
    memcpy(&out, from, sizeof out);
    return out;
}

#if defined(__has_builtin) && !defined(SAF_PLAIN)
#if __has_builtin(__builtin_shufflevector)
#define HAVE_SHUFFLE 1
#endif
#endif

#define PASTE2(a, b) a##b
#define PASTE(a, b) PASTE2(a, b)
#define LOCAL(name) PASTE(name, LANES)

/* The message words of each round (RFC 7693, section 2.7) as arguments of X. */
#define SIGMA(X)                                                       \
    X(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)            \
    X(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3)            \
    X(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4)            \
    X(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8)            \
    X(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13)            \
    X(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9)            \
    X(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11)            \
    X(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10)            \
    X(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5)            \
    X(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0)

#define ROTATE(x, n) (((x) >> (n)) | ((x) << (32 - (n))))

#define MIX(a, b, c, d, x, y)      \
    a += b + (x);                  \
    d = ROTATE_HALF(d ^ a);        \
    c += d;                        \
    b ^= c;                        \
    b = ROTATE(b, 12);             \
    a += b + (y);                  \
    d = ROTATE_BYTE(d ^ a);        \
    c += d;                        \
    b ^= c;                        \
    b = ROTATE(b, 7);

#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15) \
    MIX(v[0], v[4], v[8], v[12], m[s0], m[s1])                                      \
    MIX(v[1], v[5], v[9], v[13], m[s2], m[s3])                                      \
    MIX(v[2], v[6], v[10], v[14], m[s4], m[s5])                                     \
    MIX(v[3], v[7], v[11], v[15], m[s6], m[s7])                                     \
    MIX(v[0], v[5], v[10], v[15], m[s8], m[s9])                                     \
    MIX(v[1], v[6], v[11], v[12], m[s10], m[s11])                                   \
    MIX(v[2], v[7], v[8], v[13], m[s12], m[s13])                                    \
    MIX(v[3], v[4], v[9], v[14], m[s14], m[s15])

/* -- one width after another ------------------------------------------------------------------------------------- */

#if (defined(__x86_64__) || defined(__i386__)) && !defined(SAF_PLAIN)
#define SAF_X86 1
#ifdef SAF_ANY_TARGET /* for tests: every width with the instructions that every processor has */
#define INSTRUCTIONS(name)
#else
#define INSTRUCTIONS(name) __attribute__((target(name)))
#endif
#define LANES 8
#define TARGET INSTRUCTIONS("avx2")
#include "blake2s_lanes.c"
#undef LANES
#undef TARGET
#define LANES 16
#define TARGET INSTRUCTIONS("avx512f")
#include "blake2s_lanes.c"
#undef LANES
#undef TARGET
#endif
#define LANES 4
#define TARGET
#include "blake2s_lanes.c"
#undef LANES
#undef TARGET

/* Most lanes that this processor has instructions for. */
int saf_lanes(void)
{
#ifdef SAF_X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f"))
        return 16;
    if (__builtin_cpu_supports("avx2"))
        return 8;
#endif
    return 4;
}

/* The instructions that `lanes` lanes are made of, for people. */
const char *saf_name(int lanes)
{
#ifdef SAF_X86
    return lanes == 16 ? "avx512" : lanes == 8 ? "avx2" : "sse2";
#elif defined(__ARM_NEON)
    (void)lanes;
    return "neon";
#else
    (void)lanes;
    return "words";
#endif
}

/* Digests of `count` objects to `out`, 32 bytes each. `tree`: bytes 0 to 7 of the parameter block, which all of them
 * share. `lanes`: 4, or up to what saf_lanes() says. */
void saf_hash(int lanes, const struct saf_item *items, size_t count, uint64_t tree, uint8_t *out)
{
    while (count) {
        size_t taken = count < 4 ? count : 4;
#ifdef SAF_X86
        if (lanes >= 16 && count > 8)
            hash16(items, taken = count < 16 ? count : 16, tree, out);
        else if (lanes >= 8 && count > 4)
            hash8(items, taken = count < 8 ? count : 8, tree, out);
        else
#endif
            hash4(items, taken, tree, out);
        items += taken;
        out += taken * 4 * DIGEST_WORDS;
        count -= taken;
    }
    (void)lanes;
}

/* Digests of the leaves that `length` bytes at `data` are cut into, at least one. `node`: that of the first, the others
 * count on from it; `last`: whether the last one is the last of its level. Leaf size: bytes 4 to 7 of `tree`. */
void saf_leaves(int lanes, const uint8_t *data, uint64_t length, uint64_t node, int last, uint64_t tree, uint8_t *out)
{
    uint64_t leaf = tree >> 32, left = length ? (length - 1) / leaf + 1 : 1;
    while (left) {
        struct saf_item items[16];
        uint64_t taken = left < 16 ? left : 16;
        for (uint64_t i = 0; i < taken; i++) {
            uint64_t bytes = length < leaf ? length : leaf;
            items[i] = (struct saf_item){(uintptr_t)data, bytes, node++, last && i + 1 == left};
            data += bytes;
            length -= bytes;
        }
        saf_hash(lanes, items, taken, tree, out);
        out += taken * 4 * DIGEST_WORDS;
        left -= taken;
    }
}

#else /* LANES: the code of one width */

typedef uint32_t LOCAL(vec) __attribute__((vector_size(4 * LANES)));
#define VEC LOCAL(vec)

/* Rotations by whole bytes: one shuffle where a vector has no rotate instruction of its own. */
#if LANES == 8 && defined(HAVE_SHUFFLE)
typedef uint8_t LOCAL(octets) __attribute__((vector_size(4 * LANES)));
#define SWAP(x, a, b, c, d)                                                                              \
    ((VEC)__builtin_shufflevector((LOCAL(octets))(x), (LOCAL(octets))(x), a, b, c, d, a + 4, b + 4,      \
        c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12, a + 16, b + 16,        \
        c + 16, d + 16, a + 20, b + 20, c + 20, d + 20, a + 24, b + 24, c + 24, d + 24, a + 28, b + 28,  \
        c + 28, d + 28))
#define ROTATE_HALF(x) SWAP(x, 2, 3, 0, 1)
#define ROTATE_BYTE(x) SWAP(x, 1, 2, 3, 0)
#else
#define ROTATE_HALF(x) ROTATE(x, 16)
#define ROTATE_BYTE(x) ROTATE(x, 8)
#endif

/* Words 4q to 4q + 3 of a block of each lane: quarters of 16 bytes are put side by side and transposed in fours. */
TARGET static inline void LOCAL(load)(VEC *m, const uint8_t *const *at)
{
    for (int q = 0; q < 4; q++) {
        VEC row[4];
        for (int j = 0; j < 4; j++) {
#if LANES == 4
            row[j] = load_quad(at[j] + 16 * q);
#elif defined(HAVE_SHUFFLE)
            vec8 low = __builtin_shufflevector(load_quad(at[j] + 16 * q), load_quad(at[4 + j] + 16 * q),
                                               0, 1, 2, 3, 4, 5, 6, 7);
#if LANES == 8
            row[j] = low;
#else
            vec8 high = __builtin_shufflevector(load_quad(at[8 + j] + 16 * q), load_quad(at[12 + j] + 16 * q),
                                                0, 1, 2, 3, 4, 5, 6, 7);
            row[j] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
#else
            for (int g = 0; g < LANES / 4; g++)
                memcpy((uint8_t *)&row[j] + 16 * g, at[4 * g + j] + 16 * q, 16);
#endif
        }
#ifdef HAVE_SHUFFLE
#if LANES == 4
#define LOW32(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define HIGH32(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define LOW64(a, b) __builtin_shufflevector(a, b, 0, 1, 4, 5)
#define HIGH64(a, b) __builtin_shufflevector(a, b, 2, 3, 6, 7)
#elif LANES == 8
#define LOW32(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH32(a, b) __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#define LOW64(a, b) __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13)
#define HIGH64(a, b) __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15)
#else
#define LOW32(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define HIGH32(a, b) __builtin_shufflevector(a, b, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define LOW64(a, b) __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define HIGH64(a, b) __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#endif
        VEC low_a = LOW32(row[0], row[1]), high_a = HIGH32(row[0], row[1]);
        VEC low_b = LOW32(row[2], row[3]), high_b = HIGH32(row[2], row[3]);
        m[4 * q] = LOW64(low_a, low_b);
        m[4 * q + 1] = HIGH64(low_a, low_b);
        m[4 * q + 2] = LOW64(high_a, high_b);
        m[4 * q + 3] = HIGH64(high_a, high_b);
#undef LOW32
#undef HIGH32
#undef LOW64
#undef HIGH64
#else
        for (int l = 0; l < LANES; l++)
            for (int k = 0; k < 4; k++)
                m[4 * q + k][l] = row[l % 4][l / 4 * 4 + k];
#endif
    }
}

/* One block of each lane. `t`: bytes of each object up to and with this block; `f0`, `f1`: all ones in lanes whose
 * object ends here, and is its level's last node. */
TARGET static inline void LOCAL(compress)(VEC *h, const uint8_t *const *at, VEC t, VEC f0, VEC f1)
{
    VEC m[WORDS], v[WORDS];
    LOCAL(load)(m, at);
    for (int i = 0; i < 8; i++)
        v[i] = h[i];
    for (int i = 0; i < 8; i++)
        v[8 + i] = (VEC){0} + IV[i];
    v[12] ^= t; /* the upper half of the counter stays 0: objects are shorter than 2**32 bytes */
    v[14] ^= f0;
    v[15] ^= f1;
    SIGMA(ROUND)
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[8 + i];
}

/* At most LANES objects. */
TARGET static void LOCAL(hash)(const struct saf_item *items, size_t count, uint64_t tree, uint8_t *out)
{
    VEC h[8];
    const uint8_t *at[LANES];
    uint8_t tails[LANES][BLOCK_BYTES];
    uint64_t whole[LANES]; /* blocks before the last one */
    uint64_t shared = UINT64_MAX, most = 0;
    for (int i = 0; i < 8; i++)
        h[i] = (VEC){0} + IV[i];
    h[0] ^= (VEC){0} + (uint32_t)tree;
    h[1] ^= (VEC){0} + (uint32_t)(tree >> 32);
    for (size_t l = 0; l < LANES; l++) {
        const struct saf_item *item = &items[l < count ? l : 0];
        whole[l] = item->length ? (item->length - 1) / BLOCK_BYTES : 0;
        at[l] = (const uint8_t *)(uintptr_t)item->data;
        h[2][l] ^= (uint32_t)item->node;
        h[3][l] ^= (uint32_t)(item->node >> 32);
        if (l < count) {
            uint64_t rest = item->length - whole[l] * BLOCK_BYTES;
            memset(tails[l], 0, BLOCK_BYTES);
            if (rest)
                memcpy(tails[l], at[l] + whole[l] * BLOCK_BYTES, rest);
            shared = whole[l] < shared ? whole[l] : shared;
            most = whole[l] > most ? whole[l] : most;
        }
    }
    VEC none = {0}, t = {0};
    for (uint64_t b = 0; b < shared; b++) {
        t += BLOCK_BYTES;
        LOCAL(compress)(h, at, t, none, none);
        for (int l = 0; l < LANES; l++)
            at[l] += BLOCK_BYTES;
    }
    for (uint64_t b = shared; b <= most; b++) {
        VEC f0 = {0}, f1 = {0};
        const uint8_t *now[LANES];
        t += BLOCK_BYTES;
        for (size_t l = 0; l < LANES; l++) {
            now[l] = ZEROS;
            if (l < count && b < whole[l]) {
                now[l] = at[l];
                at[l] += BLOCK_BYTES;
            } else if (l < count && b == whole[l]) {
                now[l] = tails[l];
                t[l] = (uint32_t)items[l].length;
                f0[l] = UINT32_MAX;
                f1[l] = items[l].last ? UINT32_MAX : 0;
            }
        }
        LOCAL(compress)(h, now, t, f0, f1);
        for (size_t l = 0; l < count; l++)
            if (b == whole[l])
                for (int i = 0; i < DIGEST_WORDS; i++) {
                    uint32_t word = h[i][l];
                    memcpy(out + l * 4 * DIGEST_WORDS + 4 * i, &word, 4);
                }
    }
}

#undef VEC
#undef SWAP
#undef ROTATE_HALF
#undef ROTATE_BYTE

#endif
