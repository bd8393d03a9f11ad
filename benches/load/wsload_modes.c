// What is done with the connections, by mode.
#include <stdio.h>
#include <stdlib.h>

#include "wsload.h"

enum { PUBLISHES_PER_TURN = 64, UNSENT_MAX = 1 << 20, DRAIN_NS = 200000000 };

// Connection 0 of a fan-out publishes and, with broadcast.self false, receives nothing.
static struct connection *publisher(void) { return &connections[0]; }

bool stops_reading(const struct connection *connection) {
  return options.mode == MODE_FANOUT && connection->id > 0 &&
         connection->id <= (uint32_t)options.stalled;
}

struct log_record {
  uint64_t sequence, received_ns, client;
};

static FILE *log_file;
static uint64_t measured_from_ns;
static struct counters at_start;
static struct cpu_time own_at_start, server_at_start;
static double open_s;

static void start_measuring(void) {
  measuring = true;
  latencies = (struct histogram){0};
  at_start = counters;
  own_at_start = own_cpu_time();
  server_at_start = cpu_time_of(options.server_pid);
  measured_from_ns = now_ns();
}

static void report(void) {
  double elapsed_s = (double)(now_ns() - measured_from_ns) / 1e9;
  struct cpu_time own = own_cpu_time(), server = cpu_time_of(options.server_pid);
  double server_user = (server.user_s - server_at_start.user_s) / elapsed_s;
  double server_system = (server.system_s - server_at_start.system_s) / elapsed_s;
  double own_cpu = (own.user_s - own_at_start.user_s + own.system_s - own_at_start.system_s) / elapsed_s;
  measuring = false;
  printf("{\"mode\":\"%s\",\"clients\":%d,\"stalled\":%d,\"window\":%d,\"rate\":%.0f,"
         "\"elapsed_s\":%.3f,\"published_per_s\":%.1f,\"delivered_per_s\":%.1f,"
         "\"replies_per_s\":%.1f,\"joins_per_s\":%.1f,\"received_mb_per_s\":%.2f,"
         "\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f,\"samples\":%llu,"
         "\"server_cpu\":%.4f,\"server_cpu_user\":%.4f,\"generator_cpu\":%.4f,\"open_s\":%.3f,"
         "\"errors\":%d,\"closed_by_server\":%d}\n",
         options.mode_name, options.clients, options.stalled, options.window, options.rate,
         elapsed_s, (double)(counters.published - at_start.published) / elapsed_s,
         (double)(counters.delivered - at_start.delivered) / elapsed_s,
         (double)(counters.replies - at_start.replies) / elapsed_s,
         (double)(counters.joins - at_start.joins) / elapsed_s,
         (double)(counters.bytes_received - at_start.bytes_received) / elapsed_s / 1e6,
         histogram_percentile_us(&latencies, 0.5), histogram_percentile_us(&latencies, 0.99),
         (double)latencies.largest / 1000.0, (unsigned long long)latencies.count,
         server_user + server_system, server_user, own_cpu, open_s, counters.errors,
         counters.closed_by_server);
  fflush(stdout);
}

void on_joined(struct connection *connection, uint64_t now) {
  if (options.mode != MODE_CONNECT) return;
  if (measuring) histogram_add(&latencies, now - connection->asked_ns);
  counters.replies++;
  close_connection(connection);
}

static void on_delivery(const struct connection *connection, int opcode, const uint8_t *payload,
                        size_t length, uint64_t now) {
  uint64_t value;
  if (options.mode == MODE_LISTEN) {
    if (!read_sequence(opcode, payload, length, &value)) return;
    struct log_record record = {value, now, connection->id};
    if (log_file) fwrite(&record, sizeof record, 1, log_file);
  } else if (read_sent_ns(opcode, payload, length, &value)) {
    if (measuring && now > value) histogram_add(&latencies, now - value);
  } else {
    return;
  }
  counters.delivered++;
}

void on_message(struct connection *connection, int opcode, const uint8_t *payload, size_t length,
                uint64_t now) {
  if (options.mode != MODE_HEARTBEAT) {
    on_delivery(connection, opcode, payload, length, now);
    return;
  }
  if (!is_heartbeat_reply(opcode, payload, length)) return;
  counters.replies++;
  if (measuring) histogram_add(&latencies, now - connection->asked_ns);
  connection->asked_ns = now_ns();
  send_heartbeat(connection);
}

// Closed loop: a publish is in flight until every reading subscriber has it; at most --window.
static void publish_window(void) {
  uint64_t receivers = (uint64_t)(options.clients - options.stalled);
  uint64_t allowed = (uint64_t)(options.window - 1) * receivers;
  while (counters.published * receivers - counters.delivered <= allowed)
    send_broadcast(publisher(), now_ns());
}

// Open loop: publishes at their scheduled times and stamped with them, so that a server that
// falls behind shows it in the latencies. `sender` goes round in rooms.
static void publish_due(uint64_t *next_ns, uint64_t gap_ns, uint64_t *turn) {
  uint64_t now = now_ns();
  for (int i = 0; i < PUBLISHES_PER_TURN && *next_ns <= now; i++) {
    struct connection *sender = publisher();
    if (options.mode == MODE_ROOMS) sender = &connections[*turn % (uint64_t)connection_count];
    if (sender->unsent_length > UNSENT_MAX) break;
    send_broadcast(sender, *next_ns);
    (*turn)++;
    *next_ns += gap_ns;
  }
  wake_at_ns(*next_ns > now ? *next_ns : now + 1);
}

static void run_for(double seconds) {
  static uint64_t next_ns, turn;
  uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
  double per_s = options.mode == MODE_ROOMS ? options.rate * connection_count : options.rate;
  if (!next_ns) next_ns = now_ns();
  while (now_ns() < end && counters.errors <= ERRORS_MAX) {
    bool publishes = options.mode == MODE_FANOUT || options.mode == MODE_ROOMS;
    if (publishes && per_s > 0) publish_due(&next_ns, (uint64_t)(1e9 / per_s), &turn);
    else if (publishes) publish_window();
    // A closed loop does not sleep: waking a sleeping reader is work that its sender pays for, at
    // each send, and that no server with clients elsewhere has.
    pump(publishes && per_s == 0 ? 0 : 10);
  }
}

static void drain_and_close(void) {
  uint64_t end = now_ns() + DRAIN_NS;
  while (now_ns() < end) pump(5);
  for (int i = 0; i < connection_count; i++) close_connection(&connections[i]);
}

static void run_measured(void) {
  for (int i = 0; options.mode == MODE_HEARTBEAT && i < connection_count; i++) {
    connections[i].asked_ns = now_ns();
    send_heartbeat(&connections[i]);
  }
  run_for(options.warm_up_s);
  start_measuring();
  run_for(options.seconds);
  report();
  drain_and_close();
}

static void reopen_until(uint64_t end) {
  while (now_ns() < end && counters.errors <= ERRORS_MAX) {
    for (int i = 0; i < connection_count; i++)
      if (connections[i].state == STATE_CLOSED) open_connection(&connections[i]);
    pump(10);
  }
}

// Connect, join, reset, again: --concurrency at a time.
static void run_connect(void) {
  uint64_t start = now_ns(), warm = start + (uint64_t)(options.warm_up_s * 1e9);
  reopen_until(warm);
  start_measuring();
  reopen_until(warm + (uint64_t)(options.seconds * 1e9));
  report();
}

// Holds the joined connections, with heartbeats as stock clients send them, until stdin ends.
static void run_until_told(void) {
  uint64_t gap_ns = (uint64_t)(options.heartbeat_every_s * 1e9) / (uint64_t)connection_count;
  uint64_t next_ns = now_ns() + gap_ns, turn = 0;
  watch_stdin();
  start_measuring();
  printf("{\"opened\":%d,\"open_s\":%.3f}\n", connection_count, open_s);
  fflush(stdout);
  while (!stdin_ended()) {
    if (now_ns() >= next_ns) {
      struct connection *connection = &connections[turn++ % (uint64_t)connection_count];
      if (connection->state == STATE_JOINED) send_heartbeat(connection);
      next_ns += gap_ns;
    }
    wake_at_ns(next_ns);
    pump(1000);
  }
  report();
}

void run_mode(void) {
  if (options.log_path && !(log_file = fopen(options.log_path, "wb"))) {
    perror(options.log_path);
    exit(1);
  }
  if (options.mode == MODE_CONNECT) {
    run_connect();
  } else {
    uint64_t start = now_ns();
    open_all();
    open_s = (double)(now_ns() - start) / 1e9;
    if (options.mode == MODE_IDLE || options.mode == MODE_LISTEN) run_until_told();
    else run_measured();
  }
  if (log_file) fclose(log_file);
}
