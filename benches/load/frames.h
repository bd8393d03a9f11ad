// WebSocket frames (RFC 6455 section 5) as the load generator and the reference server need
// them: whole unfragmented messages, no extensions.
#ifndef TIDEWIRE_BENCH_FRAMES_H
#define TIDEWIRE_BENCH_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum opcode { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

enum { FRAME_HEAD_MAX = 14 };

struct frame_head {
  int opcode;
  bool masked;
  uint64_t payload_length;
  size_t length;  // of the head itself, masking key included
};

// False while `have` bytes do not hold a whole head yet.
static inline bool parse_frame_head(const uint8_t *data, size_t have, struct frame_head *head) {
  if (have < 2) return false;
  size_t extra = 0;
  uint64_t payload_length = data[1] & 127;
  if (payload_length == 126) extra = 2;
  if (payload_length == 127) extra = 8;
  head->masked = data[1] & 0x80;
  head->length = 2 + extra + (head->masked ? 4 : 0);
  if (have < head->length) return false;
  if (extra) {
    payload_length = 0;
    for (size_t i = 0; i < extra; i++) payload_length = payload_length << 8 | data[2 + i];
  }
  head->opcode = data[0] & 15;
  head->payload_length = payload_length;
  return true;
}

// Writes the head of one whole message without a masking key; returns its length.
static inline size_t write_frame_head(uint8_t *out, int opcode, bool masked, size_t length) {
  uint8_t mask_bit = masked ? 0x80 : 0;
  out[0] = (uint8_t)(0x80 | opcode);
  if (length < 126) {
    out[1] = (uint8_t)(mask_bit | length);
    return 2;
  }
  if (length < 65536) {
    out[1] = mask_bit | 126;
    out[2] = (uint8_t)(length >> 8);
    out[3] = (uint8_t)length;
    return 4;
  }
  out[1] = mask_bit | 127;
  for (int i = 0; i < 8; i++) out[2 + i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
  return 10;
}

static inline void apply_mask(uint8_t *data, size_t length, const uint8_t key[4]) {
  for (size_t i = 0; i < length; i++) data[i] ^= key[i & 3];
}

// A client's frame, masked as the RFC demands. One fixed key: nobody is to be protected here.
// `out` has room for FRAME_HEAD_MAX + length bytes. Returns the frame's length.
static inline size_t write_client_frame(uint8_t *out, int opcode, const void *payload,
                                        size_t length) {
  static const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
  size_t at = write_frame_head(out, opcode, true, length);
  memcpy(out + at, key, 4);
  at += 4;
  memcpy(out + at, payload, length);
  apply_mask(out + at, length, key);
  return at + length;
}

static inline size_t write_server_frame(uint8_t *out, int opcode, const void *payload,
                                        size_t length) {
  size_t at = write_frame_head(out, opcode, false, length);
  memcpy(out + at, payload, length);
  return at + length;
}

#endif
