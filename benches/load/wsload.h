// The load generator's parts: connections (wsload_connection.c) that speak the product's wire
// through messages (wsload_messages.c), driven by one mode (wsload_modes.c).
#ifndef TIDEWIRE_BENCH_WSLOAD_H
#define TIDEWIRE_BENCH_WSLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "frames.h"

enum { MESSAGE_MAX = 70000, TOPIC_MAX = 120, ERRORS_MAX = 50, OPEN_TIMEOUT_S = 120 };

enum mode { MODE_FANOUT, MODE_ROOMS, MODE_HEARTBEAT, MODE_CONNECT, MODE_IDLE, MODE_LISTEN };

struct options {
  enum mode mode;
  const char *mode_name, *path, *topic, *join_config, *log_path, *sequence_key;
  char **tokens;  // access tokens, one to each join in turn; none when token_count is 0
  int token_count;
  int port, clients, stalled, window, payload_bytes, concurrency, room_size, server_pid;
  double rate, seconds, warm_up_s, heartbeat_every_s;
  bool text;  // broadcasts as text frames instead of the binary ones that supabase-js sends
};

enum state { STATE_CLOSED, STATE_CONNECTING, STATE_UPGRADING, STATE_JOINING, STATE_JOINED };

struct connection {
  int fd;
  uint32_t id;
  enum state state;
  uint64_t asked_ns;  // when the thing being timed began: the connect, or the last heartbeat
  uint8_t *partial;   // an incomplete frame, kept until the rest arrives
  size_t partial_length, partial_capacity;
  uint8_t *unsent;  // what the socket did not take
  size_t unsent_length, unsent_capacity;
};

struct counters {
  uint64_t published, delivered, replies, joins, bytes_received;
  int joined_now, in_flight, errors, closed_by_server;
};

extern struct options options;
extern struct counters counters;
extern struct connection *connections;
extern int connection_count;
extern bool measuring;
extern struct histogram latencies;

// wsload_connection.c
void prepare_polling(void);
void open_connection(struct connection *connection);
void close_connection(struct connection *connection);  // at once, by RST: leaves no TIME_WAIT
void send_message(struct connection *connection, int opcode, const void *payload, size_t length);
void open_all(void);
int pump(int timeout_ms);             // handles what is ready; returns how many events there were
void wake_at_ns(uint64_t monotonic);  // the next pump returns then at the latest
bool stdin_ended(void);
void watch_stdin(void);

// wsload_messages.c
void prepare_messages(void);
const char *topic_of(const struct connection *connection);
void send_join(struct connection *connection);
void send_heartbeat(struct connection *connection);
void send_broadcast(struct connection *connection, uint64_t sent_ns);
bool is_join_reply(const uint8_t *payload, size_t length, bool *accepted);
bool is_heartbeat_reply(int opcode, const uint8_t *payload, size_t length);
bool read_sent_ns(int opcode, const uint8_t *payload, size_t length, uint64_t *sent_ns);
bool read_sequence(int opcode, const uint8_t *payload, size_t length, uint64_t *sequence);

// wsload_modes.c
void run_mode(void);
void on_joined(struct connection *connection, uint64_t now);
void on_message(struct connection *connection, int opcode, const uint8_t *payload, size_t length,
                uint64_t now);
bool stops_reading(const struct connection *connection);

#endif
