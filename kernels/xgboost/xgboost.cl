/*
 * Boosted decision trees over packed bins, equal to xgboost's margins bit for bit.
 *
 * A row of X has FEATURES bins of BITS bits (4: the even feature in the low nibble; 8: a byte each), ROW_BYTES in all.
 * TREES trees for each of CLASSES, all of DEPTH levels, the trees of a class one after the other. A tree has
 * 2^DEPTH - 1 nodes in the order of a heap (node i has the children 2i + 1 and 2i + 2) and 2^DEPTH leaves:
 *
 *     node    bits 31:16 feature, 15:8 first bin that goes right, 7:0 last bin that goes right
 *     leaf    float32
 *
 * Y gets, for each class, base + leaf of its first tree + leaf of its second tree …: float32 additions in this order,
 * which is xgboost's. L has the bases, then the leaves.
 *
 * All comparisons of a tree happen at once and a tree of multiplexers picks the leaf, so nothing depends on the data's
 * path. On an FPGA (SAF_FPGA) everything is unrolled: a row a cycle, additions in a chain of hardened adders. Elsewhere
 * sixteen rows share a lane.
 *
 * TREES_IN_IMAGE: N and L are constants in trees.h instead of arguments, and the FPGA compiler folds them into the logic.
 */

#ifndef KERNEL_NAME
#define KERNEL_NAME xgboost
#endif
#ifndef TREES
#define TREES 100
#define DEPTH 3
#define FEATURES 112
#define BITS 4
#define CLASSES 1
#define ROW_BYTES 56
#endif

#define NODES ((1 << DEPTH) - 1)
#define LEAVES (1 << DEPTH)
#define ALL_NODES (CLASSES * TREES * NODES)
#define ALL_LEAVES (CLASSES + CLASSES * TREES * LEAVES)

#if defined(INTELFPGA_CL) && !defined(SAF_FPGA)
#define SAF_FPGA
#endif

#ifdef SAF_FPGA
#define ROWS 1
#define UNROLL _Pragma("unroll")
typedef uchar bins;
typedef float sums;
#define LOAD(p) (*(p))
#define STORE(x, p) (*(p) = (x))
#define BETWEEN(q, first, last) ((q) >= (first) && (q) <= (last))
#define CHOOSE(no, yes, which) ((which) ? (yes) : (no))
typedef bool masks;
#else
#define ROWS 16
#define UNROLL
typedef uchar16 bins;
typedef float16 sums;
#define LOAD(p) vload16(0, p)
#define STORE(x, p) vstore16(x, 0, p)
#define BETWEEN(q, first, last) convert_int16((q) >= (bins)(first) & (q) <= (bins)(last))
#define CHOOSE(no, yes, which) select(no, yes, which)
typedef int16 masks;
#endif

#ifdef TREES_IN_IMAGE
#include "trees.h"
#endif

/* The value of the tree whose nodes and leaves begin at n and l of the arrays N and L. */
#define TREE(value, n, l)                                                                          \
    masks right[NODES];                                                                            \
    UNROLL                                                                                         \
    for (uint i = 0; i < NODES; i++) {                                                             \
        const uint node = N[(n) + i];                                                              \
        right[i] = BETWEEN(q[node >> 16], (uchar)(node >> 8), (uchar)node);                        \
    }                                                                                              \
    sums value[LEAVES];                                                                            \
    UNROLL                                                                                         \
    for (uint i = 0; i < LEAVES / 2; i++)                                                          \
        value[i] = CHOOSE((sums)L[(l) + 2 * i], (sums)L[(l) + 2 * i + 1], right[LEAVES / 2 - 1 + i]); \
    UNROLL                                                                                         \
    for (uint width = LEAVES / 4; width >= 1; width /= 2) {                                        \
        UNROLL                                                                                     \
        for (uint i = 0; i < width; i++)                                                           \
            value[i] = CHOOSE(value[2 * i], value[2 * i + 1], right[width - 1 + i]);               \
    }

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
#ifdef TREES_IN_IMAGE
void KERNEL_NAME(__global const uchar *restrict X, __global float *restrict Y, const uint n)
#else
void KERNEL_NAME(__global const uchar *restrict X, __global const uint *restrict nodes,
                 __global const float *restrict leaves, __global float *restrict Y, const uint n)
#endif
{
#ifndef TREES_IN_IMAGE
#ifdef SAF_FPGA
    /* registers, filled through chains: every node and leaf is at hand in every cycle */
    uint N[ALL_NODES];
    float L[ALL_LEAVES];
    for (uint i = 0; i < ALL_NODES; i++) {
        UNROLL
        for (uint k = 0; k + 1 < ALL_NODES; k++)
            N[k] = N[k + 1];
        N[ALL_NODES - 1] = nodes[i];
    }
    for (uint i = 0; i < ALL_LEAVES; i++) {
        UNROLL
        for (uint k = 0; k + 1 < ALL_LEAVES; k++)
            L[k] = L[k + 1];
        L[ALL_LEAVES - 1] = leaves[i];
    }
#else
    __global const uint *restrict N = nodes;
    __global const float *restrict L = leaves;
#endif
#endif
    for (uint row = 0; row < n; row += ROWS) {
        /* rows past the end repeat the last one, and are not stored */
        uchar block[FEATURES + 1][ROWS];
        UNROLL
        for (uint r = 0; r < ROWS; r++) {
            const ulong from = (ulong)min(row + r, n - 1) * ROW_BYTES;
#if BITS == 4
            UNROLL
            for (uint i = 0; i < (FEATURES + 1) / 2; i++) {
                const uchar pair = X[from + i];
                block[2 * i][r] = pair & 15;
                block[2 * i + 1][r] = pair >> 4;
            }
#else
            UNROLL
            for (uint i = 0; i < FEATURES; i++)
                block[i][r] = X[from + i];
#endif
        }
        bins q[FEATURES];
        UNROLL
        for (uint i = 0; i < FEATURES; i++)
            q[i] = LOAD(block[i]);

        float result[CLASSES][ROWS];
        UNROLL
        for (uint c = 0; c < CLASSES; c++) {
            sums sum = (sums)L[c];
            UNROLL
            for (uint t = 0; t < TREES; t++) {
                TREE(value, (c * TREES + t) * NODES, CLASSES + (c * TREES + t) * LEAVES)
                sum += value[0];
            }
            STORE(sum, result[c]);
        }
        UNROLL
        for (uint r = 0; r < ROWS; r++) {
            if (row + r >= n)
                break;
            UNROLL
            for (uint c = 0; c < CLASSES; c++)
                Y[(ulong)(row + r) * CLASSES + c] = result[c][r];
        }
    }
}
