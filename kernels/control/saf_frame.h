/*
 * How a control kernel hands out an Ethernet frame: eight bytes at a time, first byte most significant.
 *
 * On an FPGA a beat goes to the shell through an I/O channel. A channel interface of the Intel FPGA SDK has data,
 * valid and ready alone (Custom Platform Toolkit, 683085, "channels"), so frame boundaries ride in the data:
 * .s0 is the eight bytes, .s1 is bit 0 first beat, bit 1 last beat, bits 11:8 number of bytes that count (1 to 8).
 * The shell's adapter turns that into Avalon-ST startofpacket, endofpacket and empty. Name of the channel and width
 * (128 bits) have to be those of the shell's board_spec.xml; -DSAF_TX_CHANNEL=\"name\" changes the name.
 *
 * Elsewhere (emulation) a beat is stored in a plain buffer.
 *
 * A shell's MAC pads short frames to 60 bytes and adds the FCS; neither is done here.
 */
#ifndef SAF_FRAME_H
#define SAF_FRAME_H

/* EtherTypes of the paper's Table I. */
#define SAF_ETHERTYPE_DISCOVERY 0x80EFul
#define SAF_ETHERTYPE_RESULT 0x80CBul
#define SAF_BROADCAST 0xFFFFFFFFFFFFul
#define SAF_HEADER_BYTES 14u

#ifdef INTELFPGA_CL

#pragma OPENCL EXTENSION cl_intel_channels : enable

#ifndef SAF_TX_CHANNEL
#define SAF_TX_CHANNEL "eth0_out"
#endif

#define SAF_FIRST 1ul
#define SAF_LAST 2ul

channel ulong2 saf_tx __attribute__((depth(0))) __attribute__((io(SAF_TX_CHANNEL)));
/* One writer a channel is allowed, so each kernel has its own and saf_transmit joins them. */
channel ulong2 saf_from_discovery __attribute__((depth(8)));
channel ulong2 saf_from_result __attribute__((depth(256)));

#define SAF_BEAT(word, first, last, valid) \
    ((ulong2)((word), ((first) ? SAF_FIRST : 0ul) | ((last) ? SAF_LAST : 0ul) | ((ulong)(valid) << 8)))

#define SAF_OUTPUT_ARGUMENT(name)
#define SAF_PUT_DISCOVERY(name, at, word, first, last, valid) \
    write_channel_intel(saf_from_discovery, SAF_BEAT(word, first, last, valid))
#define SAF_PUT_RESULT(name, at, word, first, last, valid) \
    write_channel_intel(saf_from_result, SAF_BEAT(word, first, last, valid))

#else

static inline void saf_store(__global uchar *frame, const ulong at, const ulong word, const uint valid)
{
    for (uint i = 0; i < valid; i++)
        frame[at + i] = (uchar)(word >> (56 - 8 * i));
}

#define SAF_OUTPUT_ARGUMENT(name) , __global uchar *restrict name
#define SAF_PUT_DISCOVERY(name, at, word, first, last, valid) saf_store(name, at, word, valid)
#define SAF_PUT_RESULT(name, at, word, first, last, valid) saf_store(name, at, word, valid)

#endif

/* Beat 0 and the six bytes of beat 1 of an Ethernet header; addresses are 48-bit numbers. */
static inline ulong saf_header_0(const ulong destination, const ulong source)
{
    return destination << 16 | source >> 32;
}

static inline ulong saf_header_1(const ulong source, const ulong ethertype)
{
    return (source & 0xFFFFFFFFul) << 32 | ethertype << 16;
}

#endif
