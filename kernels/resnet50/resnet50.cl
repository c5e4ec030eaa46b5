/*
 * A convolution engine for int8 networks. It runs a program that lies in DDR beside the weights: one instruction a
 * layer, 32 words each (README.md has the table). Work item i takes image i of the batch through the whole program.
 *
 * Activations are int8, channels last: a pixel is `stride` bytes, a multiple of 16, so sixteen channels are a vector.
 * A convolution gathers the input of some output pixels into a panel of int16 (rows of kernel taps x channels), then
 * goes over the output channels in blocks of 16. Weights of a block lie as [depth / 2][16 channels][2], so that the
 * innermost step multiplies pairs and adds each pair: vpmaddwd on x86, half a DSP block each on an Arria 10.
 * A fully connected layer is a convolution whose kernel covers the whole input.
 *
 * Arithmetic, all of it defined: sums of products are int32; the zero point of the input is folded into the bias by
 * the compiler, padding is the zero point. int32 to int8 is one float32 multiplication by a channel's multiplier
 * (24 bits and a shift), rounded to nearest even, + zero point, clamped. No contraction: a * b + c is rounded twice
 * unless it says fma.
 *
 * -DSAF_ARRAY (default for an FPGA) selects the multiply-accumulate array of the cycle model instead of vectors.
 */

#pragma OPENCL FP_CONTRACT OFF

#define WORDS 32

/* operations, word 0 */
#define OP_END 0
#define OP_LOAD 1
#define OP_CONV 2
#define OP_DEPTHWISE 3
#define OP_MAX_POOL 4
#define OP_AVERAGE_POOL 5
#define OP_GLOBAL_POOL 6
#define OP_ADD 7
#define OP_TABLE 8
#define OP_STORE 9

/* words of an instruction; addresses are bytes of scratch, of weights, words of params */
#define F_IN 1
#define F_IN_H 2
#define F_IN_W 3
#define F_IN_C 4
#define F_IN_STRIDE 5
#define F_OUT 6
#define F_OUT_H 7
#define F_OUT_W 8
#define F_OUT_C 9
#define F_OUT_STRIDE 10
#define F_KERNEL_H 11
#define F_KERNEL_W 12
#define F_STRIDE_H 13
#define F_STRIDE_W 14
#define F_PAD_TOP 15
#define F_PAD_LEFT 16
#define F_DILATION_H 17
#define F_DILATION_W 18
#define F_WEIGHTS 19
#define F_PARAMS 20
#define F_IN_ZERO 21
#define F_OUT_ZERO 22
#define F_OUT_MIN 23
#define F_OUT_MAX 24
#define F_WEIGHT_ZERO 25
#define F_FLOAT 26   /* CONV, DEPTHWISE: float32 results straight into Y, limits are float32; ADD: constants */
#define F_PANEL 27
#define F_TILE 28    /* CONV: output pixels a panel holds; AVERAGE_POOL: 1 counts padding */
#define F_DEPTH 29   /* CONV: taps x channels, rounded up to 2 */
#define F_OTHER 30   /* ADD: address of the second operand */
#define F_RAW 31     /* what was taken off uint8 values to make them int8: 128, or 0 */

#ifndef SAF_PIXELS
#define SAF_PIXELS 4
#endif

#if defined(INTELFPGA_CL) && !defined(SAF_ARRAY)
#define SAF_ARRAY
#endif

typedef __global const int *words;

static inline int16 clamp_range(const int16 value, words op)
{
    return clamp(value, (int16)(op[F_OUT_MIN]), (int16)(op[F_OUT_MAX]));
}

/* int32 sums to int8: float32 product, nearest even. The product is clamped first, so that it converts. */
static inline char16 requantise(const int16 sum, const float16 multiplier, words op)
{
    const float16 scaled = clamp(convert_float16(sum) * multiplier, (float16)(-512.0f), (float16)(512.0f));
    return convert_char16(clamp_range(convert_int16_rte(scaled) + op[F_OUT_ZERO], op));
}

static inline void put(const char16 value, const int count, __global char *to)
{
    if (count >= 16) {
        vstore16(value, 0, to);
        return;
    }
    char lane[16];
    vstore16(value, 0, lane);
    for (int i = 0; i < count; i++)
        to[i] = lane[i];
}

/* X, in whatever order the client has it, to channels last: three strides say where an element lies. */
static void load(words op, __global const char *X, __global char *scratch)
{
    const int height = op[F_OUT_H], width = op[F_OUT_W], channels = op[F_OUT_C];
    __global char *to = scratch + op[F_OUT];
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++, to += op[F_OUT_STRIDE]) {
            __global const char *from = X + op[F_IN] + y * op[F_STRIDE_H] + x * op[F_STRIDE_W];
            for (int c = 0; c < channels; c++)
                to[c] = from[c * op[F_IN_STRIDE]];
        }
}

/* int8 to float32 through a table of 256 (dequantisation, or any function behind it), into Y by strides. */
static void store(words op, __global const char *scratch, __global const int *params, __global float *Y)
{
    __global const float *table = (__global const float *)(params + op[F_PARAMS]);
    __global const char *from = scratch + op[F_IN];
    for (int y = 0; y < op[F_IN_H]; y++)
        for (int x = 0; x < op[F_IN_W]; x++, from += op[F_IN_STRIDE])
            for (int c = 0; c < op[F_IN_C]; c++)
                Y[op[F_OUT] + y * op[F_STRIDE_H] + x * op[F_STRIDE_W] + c * op[F_OUT_STRIDE]] = table[(uchar)from[c]];
}

/* Input of `count` output pixels from `first`: a row of int16 each, padding filled with the zero point. */
static void gather(words op, __global const char *in, __global short *panel, const int first, const int count)
{
    const int channels = op[F_IN_C], stride = op[F_IN_STRIDE], depth = op[F_DEPTH];
    const int taps = op[F_KERNEL_H] * op[F_KERNEL_W];
    const short zero = (short)op[F_IN_ZERO];
    for (int p = 0; p < count; p++) {
        const int top = (first + p) / op[F_OUT_W] * op[F_STRIDE_H] - op[F_PAD_TOP];
        const int left = (first + p) % op[F_OUT_W] * op[F_STRIDE_W] - op[F_PAD_LEFT];
        __global short *to = panel + p * depth;
        for (int ky = 0; ky < op[F_KERNEL_H]; ky++) {
            const int y = top + ky * op[F_DILATION_H];
            for (int kx = 0; kx < op[F_KERNEL_W]; kx++, to += channels) {
                const int x = left + kx * op[F_DILATION_W];
                int c = 0;
                if (y < 0 || y >= op[F_IN_H] || x < 0 || x >= op[F_IN_W]) {
                    for (; c + 16 <= channels; c += 16)
                        vstore16((short16)(zero), 0, to + c);
                    for (; c < channels; c++)
                        to[c] = zero;
                } else {
                    __global const char *from = in + ((long)y * op[F_IN_W] + x) * stride;
                    for (; c + 16 <= channels; c += 16)
                        vstore16(convert_short16(vload16(0, from + c)), 0, to + c);
                    for (; c < channels; c++)
                        to[c] = from[c];
                }
            }
        }
        if (taps * channels < depth)
            *to = 0;
    }
}

#ifdef SAF_ARRAY

/* SAF_PIXELS x 16 sums, SAF_DEPTH products each a clock: what the cycle model counts. On-chip, weights of a block and
 * the panel are read once a clock, as wide as the array. */
#ifndef SAF_DEPTH
#define SAF_DEPTH 32
#endif

static void multiply(__global const short *restrict panel, __global const char *restrict weights, const int depth,
                     const int zero, int16 *sum)
{
    int sums[SAF_PIXELS][16];
#pragma unroll
    for (int p = 0; p < SAF_PIXELS; p++)
#pragma unroll
        for (int c = 0; c < 16; c++)
            sums[p][c] = 0;
    for (int k = 0; k < depth; k += SAF_DEPTH) {
#pragma unroll
        for (int p = 0; p < SAF_PIXELS; p++)
#pragma unroll
            for (int c = 0; c < 16; c++) {
                int products = 0;
#pragma unroll
                for (int d = 0; d < SAF_DEPTH; d++)
                    if (k + d < depth)
                        products += panel[p * depth + k + d] * (weights[(k + d) / 2 * 32 + 2 * c + (d & 1)] - zero);
                sums[p][c] += products;
            }
    }
#pragma unroll
    for (int p = 0; p < SAF_PIXELS; p++)
        sum[p] = vload16(0, sums[p]);
}

#else

static inline void multiply(__global const short *restrict panel, __global const char *restrict weights,
                            const int depth, const int zero, int16 *sum)
{
    int8 low[SAF_PIXELS], high[SAF_PIXELS];
#pragma unroll
    for (int p = 0; p < SAF_PIXELS; p++)
        low[p] = high[p] = (int8)(0);
    for (int k = 0; k < depth / 2; k++) {
        const short16 w0 = convert_short16(vload16(2 * k, weights)) - (short16)(zero);
        const short16 w1 = convert_short16(vload16(2 * k + 1, weights)) - (short16)(zero);
#pragma unroll
        for (int p = 0; p < SAF_PIXELS; p++) {
            const short2 x = vload2(k, panel + p * depth);
            const short16 pairs = (short16)(x, x, x, x, x, x, x, x);
            const int16 m0 = convert_int16(w0) * convert_int16(pairs), m1 = convert_int16(w1) * convert_int16(pairs);
            low[p] += m0.even + m0.odd;
            high[p] += m1.even + m1.odd;
        }
    }
#pragma unroll
    for (int p = 0; p < SAF_PIXELS; p++)
        sum[p] = (int16)(low[p], high[p]);
}

#endif

/* Sixteen channels of a pixel: int8 into scratch, or float32 into Y, channels first as clients have it. */
static inline void finish(words op, const int16 sum, const float16 multiplier, const int pixel, const int channel,
                          __global char *scratch, __global float *Y)
{
    const int count = min(16, op[F_OUT_C] - channel);
    if (op[F_FLOAT]) {
        float lane[16];
        vstore16(clamp(convert_float16(sum) * multiplier, (float16)(as_float(op[F_OUT_MIN])),
                       (float16)(as_float(op[F_OUT_MAX]))), 0, lane);
        for (int i = 0; i < count; i++)
            Y[op[F_OUT] + (channel + i) * op[F_OUT_H] * op[F_OUT_W] + pixel] = lane[i];
    } else {
        put(requantise(sum, multiplier, op), count, scratch + op[F_OUT] + (long)pixel * op[F_OUT_STRIDE] + channel);
    }
}

static void convolve(words op, __global const char *weights, __global const int *params, __global char *scratch,
                     __global float *Y)
{
    const int pixels = op[F_OUT_H] * op[F_OUT_W], depth = op[F_DEPTH], blocks = (op[F_OUT_C] + 15) / 16;
    __global short *panel = (__global short *)(scratch + op[F_PANEL]);
    for (int first = 0; first < pixels; first += op[F_TILE]) {
        const int count = min(op[F_TILE], pixels - first);
        gather(op, scratch + op[F_IN], panel, first, count);
        for (int block = 0; block < blocks; block++) {
            __global const char *w = weights + op[F_WEIGHTS] + (long)block * depth * 16;
            __global const int *p = params + op[F_PARAMS] + block * 32;
            const int16 bias = vload16(0, p);
            const float16 multiplier = as_float16(vload16(1, p));
            for (int at = 0; at < count; at += SAF_PIXELS) {
                int16 sum[SAF_PIXELS];
                multiply(panel + at * depth, w, depth, op[F_WEIGHT_ZERO], sum);
                for (int i = 0; i < min(SAF_PIXELS, count - at); i++)
                    finish(op, sum[i] + bias, multiplier, first + at + i, block * 16, scratch, Y);
            }
        }
    }
}

/* Each channel has a filter of its own; weights are [tap][channels, rounded up to 16]. */
static void depthwise(words op, __global const char *weights, __global const int *params, __global char *scratch,
                      __global float *Y)
{
    const int lanes = (op[F_OUT_C] + 15) / 16 * 16;
    for (int pixel = 0; pixel < op[F_OUT_H] * op[F_OUT_W]; pixel++) {
        const int top = pixel / op[F_OUT_W] * op[F_STRIDE_H] - op[F_PAD_TOP];
        const int left = pixel % op[F_OUT_W] * op[F_STRIDE_W] - op[F_PAD_LEFT];
        for (int c = 0; c < op[F_OUT_C]; c += 16) {
            __global const int *p = params + op[F_PARAMS] + c * 2;
            __global const char *w = weights + op[F_WEIGHTS] + c;
            int16 sum = vload16(0, p);
            for (int ky = 0; ky < op[F_KERNEL_H]; ky++)
                for (int kx = 0; kx < op[F_KERNEL_W]; kx++, w += lanes) {
                    const int y = top + ky * op[F_DILATION_H], x = left + kx * op[F_DILATION_W];
                    const bool inside = y >= 0 && y < op[F_IN_H] && x >= 0 && x < op[F_IN_W];
                    const int16 value = inside ? convert_int16(vload16(0, scratch + op[F_IN]
                                            + ((long)y * op[F_IN_W] + x) * op[F_IN_STRIDE] + c))
                                        : (int16)(op[F_IN_ZERO]);
                    sum += value * (convert_int16(vload16(0, w)) - op[F_WEIGHT_ZERO]);
                }
            finish(op, sum, as_float16(vload16(1, p)), pixel, c, scratch, Y);
        }
    }
}

/* Largest, or average, of the pixels under the window that exist. */
static void pool(words op, __global const int *params, __global char *scratch)
{
    const float in_scale = as_float(params[op[F_PARAMS]]), out_scale = as_float(params[op[F_PARAMS] + 1]);
    for (int pixel = 0; pixel < op[F_OUT_H] * op[F_OUT_W]; pixel++) {
        const int top = pixel / op[F_OUT_W] * op[F_STRIDE_H] - op[F_PAD_TOP];
        const int left = pixel % op[F_OUT_W] * op[F_STRIDE_W] - op[F_PAD_LEFT];
        __global char *to = scratch + op[F_OUT] + (long)pixel * op[F_OUT_STRIDE];
        for (int c = 0; c < op[F_OUT_C]; c += 16) {
            char16 largest = (char16)(-128);
            float16 sum = (float16)(0.0f);
            int seen = 0;
            for (int ky = 0; ky < op[F_KERNEL_H]; ky++)
                for (int kx = 0; kx < op[F_KERNEL_W]; kx++) {
                    const int y = top + ky * op[F_DILATION_H], x = left + kx * op[F_DILATION_W];
                    if (y < 0 || y >= op[F_IN_H] || x < 0 || x >= op[F_IN_W])
                        continue;
                    const char16 value = vload16(0, scratch + op[F_IN] + ((long)y * op[F_IN_W] + x) * op[F_IN_STRIDE] + c);
                    largest = max(largest, value);
                    if (op[0] == OP_AVERAGE_POOL)
                        sum += in_scale * convert_float16(convert_int16(value) - op[F_IN_ZERO]);
                    seen++;
                }
            if (op[0] == OP_AVERAGE_POOL) {
                const int count = op[F_TILE] ? op[F_KERNEL_H] * op[F_KERNEL_W] : seen;
                const float16 mean = sum / (float16)((float)count);
                const int16 rounded = convert_int16_rte(mean / (float16)(out_scale)
                                                        + (float16)((float)(op[F_OUT_ZERO] + op[F_RAW])));
                largest = convert_char16(clamp_range(rounded - op[F_RAW], op));
            }
            put(largest, op[F_OUT_C] - c, to + c);
        }
    }
}

/* Mean over the whole image: an exact sum, requantised once. */
static void global_pool(words op, __global const int *params, __global char *scratch)
{
    const float16 multiplier = (float16)(as_float(params[op[F_PARAMS]]));
    const int pixels = op[F_IN_H] * op[F_IN_W];
    for (int c = 0; c < op[F_OUT_C]; c += 16) {
        int16 sum = (int16)(-op[F_IN_ZERO] * pixels);
        for (int pixel = 0; pixel < pixels; pixel++)
            sum += convert_int16(vload16(0, scratch + op[F_IN] + (long)pixel * op[F_IN_STRIDE] + c));
        put(requantise(sum, multiplier, op), op[F_OUT_C] - c, scratch + op[F_OUT] + c);
    }
}

/* a * ratio_a + b * ratio_b + fixed, with two fused steps; the second operand may be constants among the weights. */
static void add(words op, __global const char *weights, __global const int *params, __global char *scratch)
{
    __global const int *p = params + op[F_PARAMS];
    const float16 ratio_a = (float16)(as_float(p[0])), ratio_b = (float16)(as_float(p[1]));
    const float16 fixed = (float16)(as_float(p[2]));
    __global const char *a = scratch + op[F_IN];
    __global const char *b = op[F_FLOAT] ? weights + op[F_OTHER] : scratch + op[F_OTHER];
    for (int pixel = 0; pixel < op[F_OUT_H] * op[F_OUT_W]; pixel++) {
        __global char *to = scratch + op[F_OUT] + (long)pixel * op[F_OUT_STRIDE];
        for (int c = 0; c < op[F_OUT_C]; c += 16) {
            const float16 left = convert_float16(convert_int16(vload16(0, a + c)) + op[F_RAW]);
            const float16 right = convert_float16(convert_int16(vload16(0, b + c)) + op[F_RAW]);
            const float16 sum = fma(left, ratio_a, fma(right, ratio_b, fixed));
            const float16 bound = clamp(sum, (float16)(-512.0f), (float16)(512.0f));
            put(convert_char16(clamp_range(convert_int16_rte(bound) - op[F_RAW], op)), op[F_OUT_C] - c, to + c);
        }
        a += op[F_IN_STRIDE];
        b += op[F_DEPTH];
    }
}

/* Any function of one int8: activations, other scales. Also copies into a part of wider pixels (concatenation). */
static void look_up(words op, __global const char *weights, __global char *scratch)
{
    __global const char *table = weights + op[F_WEIGHTS];
    for (int pixel = 0; pixel < op[F_OUT_H] * op[F_OUT_W]; pixel++) {
        __global const char *from = scratch + op[F_IN] + (long)pixel * op[F_IN_STRIDE];
        __global char *to = scratch + op[F_OUT] + (long)pixel * op[F_OUT_STRIDE];
        for (int c = 0; c < op[F_OUT_C]; c++)
            to[c] = table[(uchar)from[c]];
    }
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1)))
void resnet50(__global const char *X, __global const int *program, __global const char *weights,
              __global const int *params, __global float *Y, __global char *scratch,
              const uint x_bytes, const uint y_values, const uint scratch_bytes)
{
    const size_t image = get_global_id(0);
    __global const char *x = X + image * x_bytes;
    __global float *y = Y + image * y_values;
    __global char *room = scratch + image * scratch_bytes;
    for (words op = program; op[0] != OP_END; op += WORDS)
        switch (op[0]) {
        case OP_LOAD: load(op, x, room); break;
        case OP_CONV: convolve(op, weights, params, room, y); break;
        case OP_DEPTHWISE: depthwise(op, weights, params, room, y); break;
        case OP_MAX_POOL:
        case OP_AVERAGE_POOL: pool(op, params, room); break;
        case OP_GLOBAL_POOL: global_pool(op, params, room); break;
        case OP_ADD: add(op, weights, params, room); break;
        case OP_TABLE: look_up(op, weights, room); break;
        case OP_STORE: store(op, room, params, y); break;
        }
}
