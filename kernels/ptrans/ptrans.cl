/*
 * PTRANS: C = B + transpose(A), float32, row-major. A is cols x rows, B and C are rows x cols; a square problem has
 * rows = cols = n. The operation and its block of 512 are those of HPCC FPGA; this code is our own.
 *
 * One work item handles one block of SAF_BLOCK x SAF_BLOCK elements of C: work item (i, j) has columns from
 * i * SAF_BLOCK and rows from j * SAF_BLOCK. Blocks at the right and lower edge may be partial.
 *
 * Two ways to do a block:
 *  - SAF_STAGED, for an FPGA (chosen when the Intel FPGA compiler defines INTELFPGA_CL): the transposed block of A
 *    is gathered in on-chip memory with whole rows of A as bursts, then B is read and C written row by row. On-chip
 *    memory is SAF_BLOCK^2 * 4 bytes: 1 MiB for 512, a sixth of the M20K blocks of a GX1150.
 *  - otherwise, for a CPU: tiles of 16 x 16 are transposed in vector registers. A tile reads and writes whole cache
 *    lines, so nothing depends on lines surviving in a cache whose sets collide when n is a power of two.
 */

#ifndef SAF_BLOCK
#define SAF_BLOCK 512
#endif

#if defined(INTELFPGA_CL) && !defined(SAF_STAGED)
#define SAF_STAGED
#endif

#ifdef SAF_STAGED

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void ptrans(__global const float *restrict A, __global const float *restrict B, __global float *restrict C,
            const uint rows, const uint cols)
{
    __local float block[SAF_BLOCK][SAF_BLOCK];
    const uint col0 = (uint)get_global_id(0) * SAF_BLOCK;
    const uint row0 = (uint)get_global_id(1) * SAF_BLOCK;
    const uint width = min((uint)SAF_BLOCK, cols - col0);
    const uint height = min((uint)SAF_BLOCK, rows - row0);

    for (uint c = 0; c < width; c++) {
        const ulong from = (ulong)(col0 + c) * rows + row0;
#pragma unroll 16
        for (uint r = 0; r < height; r++)
            block[r][c] = A[from + r];
    }
    for (uint r = 0; r < height; r++) {
        const ulong at = (ulong)(row0 + r) * cols + col0;
#pragma unroll 16
        for (uint c = 0; c < width; c++)
            C[at + c] = B[at + c] + block[r][c];
    }
}

#else

#define TILE 16

/* Columns of eight rows of eight, by three rounds of interleaving (pairs, pairs of pairs, halves). */
#define PAIR_LOW(p, q) (float8)(p.s0, q.s0, p.s1, q.s1, p.s4, q.s4, p.s5, q.s5)
#define PAIR_HIGH(p, q) (float8)(p.s2, q.s2, p.s3, q.s3, p.s6, q.s6, p.s7, q.s7)
#define QUAD_LOW(p, q) (float8)(p.s01, q.s01, p.s45, q.s45)
#define QUAD_HIGH(p, q) (float8)(p.s23, q.s23, p.s67, q.s67)

static inline void add_row(__global const float *b, __global float *c, float8 value)
{
    vstore8(vload8(0, b) + value, 0, c);
}

/* Eight by eight: a points at A[col][row], b and c at B and C[row][col]. */
static inline void transpose_add_8x8(__global const float *a, const ulong a_stride, __global const float *b,
                                     __global float *c, const ulong c_stride)
{
    const float8 a0 = vload8(0, a), a1 = vload8(0, a + a_stride);
    const float8 a2 = vload8(0, a + 2 * a_stride), a3 = vload8(0, a + 3 * a_stride);
    const float8 a4 = vload8(0, a + 4 * a_stride), a5 = vload8(0, a + 5 * a_stride);
    const float8 a6 = vload8(0, a + 6 * a_stride), a7 = vload8(0, a + 7 * a_stride);

    const float8 p0 = PAIR_LOW(a0, a1), p1 = PAIR_HIGH(a0, a1), p2 = PAIR_LOW(a2, a3), p3 = PAIR_HIGH(a2, a3);
    const float8 p4 = PAIR_LOW(a4, a5), p5 = PAIR_HIGH(a4, a5), p6 = PAIR_LOW(a6, a7), p7 = PAIR_HIGH(a6, a7);

    const float8 q0 = QUAD_LOW(p0, p2), q1 = QUAD_HIGH(p0, p2), q2 = QUAD_LOW(p1, p3), q3 = QUAD_HIGH(p1, p3);
    const float8 q4 = QUAD_LOW(p4, p6), q5 = QUAD_HIGH(p4, p6), q6 = QUAD_LOW(p5, p7), q7 = QUAD_HIGH(p5, p7);

    add_row(b, c, (float8)(q0.lo, q4.lo));
    add_row(b + c_stride, c + c_stride, (float8)(q1.lo, q5.lo));
    add_row(b + 2 * c_stride, c + 2 * c_stride, (float8)(q2.lo, q6.lo));
    add_row(b + 3 * c_stride, c + 3 * c_stride, (float8)(q3.lo, q7.lo));
    add_row(b + 4 * c_stride, c + 4 * c_stride, (float8)(q0.hi, q4.hi));
    add_row(b + 5 * c_stride, c + 5 * c_stride, (float8)(q1.hi, q5.hi));
    add_row(b + 6 * c_stride, c + 6 * c_stride, (float8)(q2.hi, q6.hi));
    add_row(b + 7 * c_stride, c + 7 * c_stride, (float8)(q3.hi, q7.hi));
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void ptrans(__global const float *restrict A, __global const float *restrict B, __global float *restrict C,
            const uint rows, const uint cols)
{
    const uint col0 = (uint)get_global_id(0) * SAF_BLOCK, col1 = min(col0 + SAF_BLOCK, cols);
    const uint row0 = (uint)get_global_id(1) * SAF_BLOCK, row1 = min(row0 + SAF_BLOCK, rows);

    for (uint row = row0; row < row1; row += TILE) {
        for (uint col = col0; col < col1; col += TILE) {
            if (row + TILE <= row1 && col + TILE <= col1) {
                for (uint part = 0; part < 4; part++) {
                    const ulong r = row + (part & 1) * 8, c = col + (part >> 1) * 8;
                    transpose_add_8x8(A + c * rows + r, rows, B + r * cols + c, C + r * cols + c, cols);
                }
            } else {
                for (uint r = row; r < min(row + TILE, row1); r++)
                    for (uint c = col; c < min(col + TILE, col1); c++)
                        C[(ulong)r * cols + c] = B[(ulong)r * cols + c] + A[(ulong)c * rows + r];
            }
        }
    }
}

#endif
