// The server's half of the WebSocket handshake (RFC 6455 section 4.2.2): SHA-1 and base64.
#ifndef TIDEWIRE_BENCH_HANDSHAKE_H
#define TIDEWIRE_BENCH_HANDSHAKE_H

#include <stdint.h>
#include <string.h>

enum { WEBSOCKET_KEY_LENGTH = 24, ACCEPT_LENGTH = 28 };

static inline uint32_t rotate_left(uint32_t value, int bits) {
  return value << bits | value >> (32 - bits);
}

static inline void sha1_block(uint32_t state[5], const uint8_t *block) {
  uint32_t words[80];
  for (int i = 0; i < 16; i++)
    words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 80; i++)
    words[i] = rotate_left(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
  uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int i = 0; i < 80; i++) {
    uint32_t mix, constant;
    if (i < 20) mix = (b & c) | (~b & d), constant = 0x5A827999;
    else if (i < 40) mix = b ^ c ^ d, constant = 0x6ED9EBA1;
    else if (i < 60) mix = (b & c) | (b & d) | (c & d), constant = 0x8F1BBCDC;
    else mix = b ^ c ^ d, constant = 0xCA62C1D6;
    uint32_t next = rotate_left(a, 5) + mix + e + constant + words[i];
    e = d, d = c, c = rotate_left(b, 30), b = a, a = next;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

// `length` is at most 119, so that the padding fits into two blocks.
static inline void sha1(const uint8_t *data, size_t length, uint8_t digest[20]) {
  uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
  uint8_t padded[128] = {0};
  memcpy(padded, data, length);
  padded[length] = 0x80;
  size_t total = ((length + 8) / 64 + 1) * 64;
  uint64_t bits = (uint64_t)length * 8;
  for (int i = 0; i < 8; i++) padded[total - 1 - i] = (uint8_t)(bits >> (8 * i));
  for (size_t at = 0; at < total; at += 64) sha1_block(state, padded + at);
  for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static inline void base64(const uint8_t *data, size_t length, char *out) {
  static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < length; i += 3) {
    uint32_t second = i + 1 < length ? data[i + 1] : 0, third = i + 2 < length ? data[i + 2] : 0;
    uint32_t group = (uint32_t)data[i] << 16 | second << 8 | third;
    *out++ = alphabet[group >> 18];
    *out++ = alphabet[group >> 12 & 63];
    *out++ = i + 1 < length ? alphabet[group >> 6 & 63] : '=';
    *out++ = i + 2 < length ? alphabet[group & 63] : '=';
  }
  *out = 0;
}

// `key` is the Sec-WebSocket-Key header's value; writes the Sec-WebSocket-Accept value.
static inline void accept_value(const char *key, char accept[ACCEPT_LENGTH + 1]) {
  static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  uint8_t joined[WEBSOCKET_KEY_LENGTH + sizeof guid], digest[20];
  memcpy(joined, key, WEBSOCKET_KEY_LENGTH);
  memcpy(joined + WEBSOCKET_KEY_LENGTH, guid, sizeof guid - 1);
  sha1(joined, WEBSOCKET_KEY_LENGTH + sizeof guid - 1, digest);
  base64(digest, sizeof digest, accept);
}

#endif
