/* Takes frames apart and puts them together with nothing but saf.h.
 *
 * Reads one frame in hexadecimal a line; answers with one JSON object a line: header, payload (fixed part), tail,
 * and `rebuilt`, the frame written again field by field. GROUP has its body and its members as well.
 * `--paper` as argument: frames of the profile `paper`, payload by EtherType; `rebuilt` is the fixed part.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saf.h"

enum { MAX_FRAME_BYTES = 16384 };

static void put_hex(const saf_u8 *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%02x", bytes[i]);
}

static void put_mac(const saf_u8 *mac)
{
    printf("\"%02x:%02x:%02x:%02x:%02x:%02x\"", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
}

/* One function a struct: print_NAME writes a JSON object, copy_NAME writes every field into another struct. */
#define PRINT_INT(name, bits) printf("%llu", (unsigned long long)SAF_GET_U##bits(in->name))
#define PRINT_U8(name, size, count, of) PRINT_INT(name, 8)
#define PRINT_U16(name, size, count, of) PRINT_INT(name, 16)
#define PRINT_U32(name, size, count, of) PRINT_INT(name, 32)
#define PRINT_U64(name, size, count, of) PRINT_INT(name, 64)
#define PRINT_MAC(name, size, count, of) put_mac(in->name)
#define PRINT_BYTES(name, size, count, of) (printf("\""), put_hex(in->name, size), printf("\""))
#define PRINT_STRUCT(name, size, count, of) \
    do { \
        printf("["); \
        for (int i = 0; i < (count); i++) { \
            printf(i ? ", " : ""); \
            print_##of(&in->name[i]); \
        } \
        printf("]"); \
    } while (0)
#define PRINT(name, kind, offset, size, count, of) \
    printf("%s\"%s\": ", separator, #name); \
    PRINT_##kind(name, size, count, of); \
    separator = ", ";

#define COPY_U8(name, size, count, of) SAF_PUT_U8(out->name, SAF_GET_U8(in->name))
#define COPY_U16(name, size, count, of) SAF_PUT_U16(out->name, SAF_GET_U16(in->name))
#define COPY_U32(name, size, count, of) SAF_PUT_U32(out->name, SAF_GET_U32(in->name))
#define COPY_U64(name, size, count, of) SAF_PUT_U64(out->name, SAF_GET_U64(in->name))
#define COPY_MAC(name, size, count, of) memcpy(out->name, in->name, size)
#define COPY_BYTES(name, size, count, of) memcpy(out->name, in->name, size)
#define COPY_STRUCT(name, size, count, of) \
    for (int i = 0; i < (count); i++) \
        copy_##of(&out->name[i], &in->name[i])
#define COPY(name, kind, offset, size, count, of) COPY_##kind(name, size, count, of);

#define CHECK(name, kind, offset, size, count, of) \
    SAF_STATIC_ASSERT(offsetof(type, name) == (offset), #name " is not where saf.yaml has it"); \
    SAF_STATIC_ASSERT(sizeof(((type *)0)->name) == (size) * (count), #name " has another size");

#define DEFINE(struct_name, upper) \
    static void print_##struct_name(const saf_##struct_name *in) \
    { \
        typedef saf_##struct_name type; \
        SAF_FIELDS_##upper(CHECK) \
        const char *separator = ""; \
        printf("{"); \
        SAF_FIELDS_##upper(PRINT) \
        printf("}"); \
    } \
    static void copy_##struct_name(saf_##struct_name *out, const saf_##struct_name *in) \
    { \
        SAF_FIELDS_##upper(COPY) \
    }
SAF_STRUCTS(DEFINE)

/* DATA has no fixed part. */
typedef saf_u8 saf_data;
static void print_data(const saf_u8 *in) { (void)in; printf("{}"); }
static void copy_data(saf_u8 *out, const saf_u8 *in) { (void)out; (void)in; }

static const char *opcode_name(unsigned code)
{
#define NAME(name, value, way, payload, size, tail, tagged) case value: return #name;
    switch (code) {
        SAF_OPCODES(NAME)
    default: return "";
    }
}

static size_t payload_bytes(unsigned code)
{
#define SIZE(name, value, way, payload, size, tail, tagged) case value: return size;
    switch (code) {
        SAF_OPCODES(SIZE)
    default: return 0;
    }
}

static int is_tagged(unsigned code)
{
#define TAGGED(name, value, way, payload, size, tail, tagged) case value: return tagged;
    switch (code) {
        SAF_OPCODES(TAGGED)
    default: return 0;
    }
}

static void print_payload(unsigned code, const saf_u8 *in)
{
#define PRINT_CASE(name, value, way, payload, size, tail, tagged) \
    case value: print_##payload((const saf_##payload *)in); break;
    switch (code) {
        SAF_OPCODES(PRINT_CASE)
    default: printf("null");
    }
}

static void copy_payload(unsigned code, saf_u8 *out, const saf_u8 *in)
{
#define COPY_CASE(name, value, way, payload, size, tail, tagged) \
    case value: copy_##payload((saf_##payload *)out, (const saf_##payload *)in); break;
    switch (code) {
        SAF_OPCODES(COPY_CASE)
    default: break;
    }
}

static void print_group_content(const saf_u8 *payload)
{
    const saf_group *group = (const saf_group *)payload;
    unsigned body = SAF_GET_U16(group->body_bytes);
    unsigned inner = SAF_GET_U8(group->inner_opcode);
    const saf_u8 *member = payload + SAF_GROUP_BYTES + SAF_PADDED_BYTES(body);
    printf(", \"body\": ");
    print_payload(inner, payload + SAF_GROUP_BYTES);
    printf(", \"body_tail\": \"");
    put_hex(payload + SAF_GROUP_BYTES + payload_bytes(inner), body - payload_bytes(inner));
    printf("\", \"members\": [");
    for (unsigned i = 0; i < SAF_GET_U8(group->count); i++) {
        printf(i ? ", " : "");
        print_group_member((const saf_group_member *)(member + i * SAF_GROUP_MEMBER_BYTES));
    }
    printf("]");
}

static void copy_group_content(saf_u8 *out, const saf_u8 *in)
{
    const saf_group *group = (const saf_group *)in;
    unsigned body = SAF_GET_U16(group->body_bytes), count = SAF_GET_U8(group->count);
    size_t at = SAF_GROUP_BYTES + SAF_PADDED_BYTES(body);
    memset(out + SAF_GROUP_BYTES, 0, at - SAF_GROUP_BYTES + count * SAF_GROUP_MEMBER_BYTES);
    memcpy(out + SAF_GROUP_BYTES, in + SAF_GROUP_BYTES, body);
    for (unsigned i = 0; i < count; i++, at += SAF_GROUP_MEMBER_BYTES)
        copy_group_member((saf_group_member *)(out + at), (const saf_group_member *)(in + at));
}

static void handle_frame(const saf_u8 *in, size_t size)
{
    static saf_u8 out[MAX_FRAME_BYTES];
    const saf_header *header = (const saf_header *)in;
    unsigned code = SAF_GET_U8(header->opcode);
    size_t length = SAF_GET_U16(header->length), fixed = payload_bytes(code);
    size_t end = SAF_HEADER_BYTES + (code == SAF_OPCODE_DATA ? length : SAF_PADDED_BYTES(length));
    size_t tag = is_tagged(code) && (SAF_GET_U8(header->version_suite) & 15) ? SAF_TAG_BYTES : 0;

    memset(out, 0, sizeof out);
    copy_header((saf_header *)out, header);
    copy_payload(code, out + SAF_HEADER_BYTES, in + SAF_HEADER_BYTES);
    memcpy(out + SAF_HEADER_BYTES + fixed, in + SAF_HEADER_BYTES + fixed, length - fixed);
    memcpy(out + end, in + end, tag);
    if (code == SAF_OPCODE_GROUP)
        copy_group_content(out + SAF_HEADER_BYTES, in + SAF_HEADER_BYTES);

    printf("{\"opcode\": \"%s\", \"header\": ", opcode_name(code));
    print_header(header);
    printf(", \"payload\": ");
    print_payload(code, in + SAF_HEADER_BYTES);
    printf(", \"tail\": \"");
    put_hex(in + SAF_HEADER_BYTES + fixed, length - fixed);
    printf("\", \"tag\": \"");
    put_hex(in + end, tag);
    printf("\"");
    if (code == SAF_OPCODE_GROUP)
        print_group_content(in + SAF_HEADER_BYTES);
    printf(", \"rebuilt\": \"");
    put_hex(out, end + tag);
    printf("\", \"bytes\": %zu}\n", size);
}

static void handle_paper(const saf_u8 *in, size_t size)
{
    static saf_u8 out[MAX_FRAME_BYTES];
    const saf_u8 *payload = in + SAF_ETHERNET_HEADER_BYTES;
    size_t fixed = 0;

    memset(out, 0, sizeof out);
    printf("{\"payload\": ");
    switch (SAF_GET_U16(in + 12)) {
#define PAPER(type, struct_name, upper) \
    case SAF_ETHERTYPE_##type: \
        print_##struct_name((const saf_##struct_name *)payload); \
        copy_##struct_name((saf_##struct_name *)out, (const saf_##struct_name *)payload); \
        fixed = SAF_##upper##_BYTES; \
        break;
        PAPER(DISCOVERY, paper_hello, PAPER_HELLO)
        PAPER(IMAGE_ANSWER, paper_confirm, PAPER_CONFIRM)
        PAPER(INPUT, paper_input, PAPER_INPUT)
        PAPER(INPUT_ANSWER, paper_confirm, PAPER_CONFIRM)
        PAPER(CONTROL, paper_command, PAPER_COMMAND)
    default: printf("{}");
    }
    printf(", \"tail\": \"");
    put_hex(payload + fixed, size - SAF_ETHERNET_HEADER_BYTES - fixed);
    printf("\", \"rebuilt\": \"");
    put_hex(out, fixed);
    printf("\"}\n");
}

int main(int argc, char **argv)
{
    static char line[2 * MAX_FRAME_BYTES + 2];
    static saf_u8 frame[MAX_FRAME_BYTES];
    int paper = argc > 1 && strcmp(argv[1], "--paper") == 0;

    while (fgets(line, sizeof line, stdin)) {
        size_t size = strcspn(line, "\r\n") / 2;
        for (size_t i = 0; i < size; i++) {
            const char digits[3] = { line[2 * i], line[2 * i + 1], 0 };
            frame[i] = (saf_u8)strtoul(digits, NULL, 16);
        }
        if (paper)
            handle_paper(frame, size);
        else
            handle_frame(frame, size);
    }
    return 0;
}
