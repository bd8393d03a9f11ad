// What is said on the wire: joins, heartbeats and broadcasts as supabase-js 2 sends them
// (serializer 2.0.0), and how the answers are told apart.
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wsload.h"

enum { DIGITS = 20, USER_BROADCAST_PUSH = 3, ENCODING_JSON = 1 };

static const char EVENT[] = "cursor";
static char *padding;
static char (*room_topics)[TOPIC_MAX];

static int room_of(const struct connection *connection) {
  return options.mode == MODE_ROOMS ? (int)connection->id / options.room_size : 0;
}

const char *topic_of(const struct connection *connection) {
  return room_topics[room_of(connection)];
}

// The padding that brings a broadcast to --payload-bytes, and the topics of all rooms.
void prepare_messages(void) {
  int rooms = options.mode == MODE_ROOMS ? connection_count / options.room_size + 1 : 1;
  room_topics = calloc((size_t)rooms, sizeof *room_topics);
  for (int i = 0; i < rooms; i++) {
    if (options.mode == MODE_ROOMS)
      snprintf(room_topics[i], TOPIC_MAX, "realtime:%s-%d", options.topic, i);
    else
      snprintf(room_topics[i], TOPIC_MAX, "realtime:%s", options.topic);
  }
  int bare = 80 + (int)strlen(room_topics[0]) + (options.text ? 50 : 0);
  int length = options.payload_bytes > bare ? options.payload_bytes - bare : 0;
  padding = malloc((size_t)length + 1);
  for (int i = 0; i < length; i++) padding[i] = (char)('a' + i % 26);
  padding[length] = 0;
}

void send_join(struct connection *connection) {
  static char message[MESSAGE_MAX];
  const char *token = options.token_count
                          ? options.tokens[counters.joins % (uint64_t)options.token_count]
                          : NULL;
  int length = snprintf(message, sizeof message,
                        "[\"1\",\"1\",\"%s\",\"phx_join\",{\"config\":%s%s%s%s}]",
                        topic_of(connection), options.join_config, token ? ",\"access_token\":\"" : "",
                        token ? token : "", token ? "\"" : "");
  send_message(connection, OP_TEXT, message, (size_t)length);
}

void send_heartbeat(struct connection *connection) {
  static const char message[] = "[null,\"5\",\"phoenix\",\"heartbeat\",{}]";
  send_message(connection, OP_TEXT, message, sizeof message - 1);
}

// {"x":…,"p":"<padding>","t":"<nanoseconds, 20 digits>"}; the time stands last, so that it is
// found from the message's end whatever head the server gives it.
static int write_payload(char *out, size_t room, uint64_t sent_ns) {
  return snprintf(out, room, "{\"x\":12.5,\"y\":99.25,\"p\":\"%s\",\"t\":\"%020llu\"}", padding,
                  (unsigned long long)sent_ns);
}

static size_t write_text_broadcast(char *out, const char *topic, uint64_t sent_ns) {
  int at = snprintf(out, MESSAGE_MAX,
                    "[\"1\",\"7\",\"%s\",\"broadcast\",{\"type\":\"broadcast\",\"event\":\"%s\","
                    "\"payload\":",
                    topic, EVENT);
  at += write_payload(out + at, MESSAGE_MAX - (size_t)at - 2, sent_ns);
  memcpy(out + at, "}]", 2);
  return (size_t)at + 2;
}

// Kind 3: sizes of join_ref, ref, topic, event and metadata, the encoding, then those fields.
static size_t write_binary_broadcast(char *out, const char *topic, uint64_t sent_ns) {
  size_t topic_length = strlen(topic), at = 7;
  const char head[] = {USER_BROADCAST_PUSH, 1, 1, (char)topic_length, sizeof EVENT - 1, 0,
                       ENCODING_JSON};
  memcpy(out, head, sizeof head);
  out[at++] = '1';
  out[at++] = '7';
  memcpy(out + at, topic, topic_length);
  at += topic_length;
  memcpy(out + at, EVENT, sizeof EVENT - 1);
  at += sizeof EVENT - 1;
  return at + (size_t)write_payload(out + at, MESSAGE_MAX - at, sent_ns);
}

void send_broadcast(struct connection *connection, uint64_t sent_ns) {
  static char message[MESSAGE_MAX];
  const char *topic = topic_of(connection);
  size_t length = options.text ? write_text_broadcast(message, topic, sent_ns)
                               : write_binary_broadcast(message, topic, sent_ns);
  send_message(connection, options.text ? OP_TEXT : OP_BINARY, message, length);
  counters.published++;
}

static bool holds(const uint8_t *payload, size_t length, const char *text) {
  return memmem(payload, length, text, strlen(text)) != NULL;
}

bool is_join_reply(const uint8_t *payload, size_t length, bool *accepted) {
  if (!holds(payload, length, "\"phx_reply\"")) return false;
  *accepted = holds(payload, length, "\"status\":\"ok\"");
  return true;
}

bool is_heartbeat_reply(int opcode, const uint8_t *payload, size_t length) {
  return opcode == OP_TEXT && length < 256 && holds(payload, length, "\"phoenix\"");
}

bool read_sent_ns(int opcode, const uint8_t *payload, size_t length, uint64_t *sent_ns) {
  static const char key[] = "\"t\":\"";
  size_t key_length = sizeof key - 1;
  size_t tail = opcode == OP_BINARY ? 2 : 4;  // `"}` or `"}}]`
  if (length < tail + DIGITS + key_length) return false;
  const uint8_t *digits = payload + length - tail - DIGITS;
  if (memcmp(digits - key_length, key, key_length) != 0) return false;
  uint64_t value = 0;
  for (int i = 0; i < DIGITS; i++) value = value * 10 + (uint64_t)(digits[i] - '0');
  *sent_ns = value;
  return true;
}

// The number behind the first --sequence-key of a change; it may stand in quotes.
bool read_sequence(int opcode, const uint8_t *payload, size_t length, uint64_t *sequence) {
  static char key[80];
  static size_t key_length;
  if (!key_length)
    key_length = (size_t)snprintf(key, sizeof key, "\"%s\":", options.sequence_key);
  if (opcode != OP_TEXT || !holds(payload, length, "\"postgres_changes\"")) return false;
  const uint8_t *found = memmem(payload, length, key, key_length), *end = payload + length;
  if (!found) return false;
  found += key_length;
  while (found < end && (*found == '"' || *found == ' ')) found++;
  uint64_t value = 0;
  while (found < end && *found >= '0' && *found <= '9') value = value * 10 + (uint64_t)(*found++ - '0');
  *sequence = value;
  return true;
}
