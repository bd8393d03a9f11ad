// wsload: a load generator for Tidewire's WebSocket wire. One thread on one epoll, so that one
// core drives what one core serves. Prints one JSON object on stdout when a run is over (idle
// and listen print a first one once every connection has joined).
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wsload.h"

struct options options = {
    .mode_name = "fanout",
    .path = "/realtime/v1/websocket?vsn=2.0.0",
    .topic = "room",
    .join_config = "{\"broadcast\":{\"ack\":false,\"self\":false},\"presence\":{\"key\":\"\","
                   "\"enabled\":false},\"postgres_changes\":[],\"private\":false}",
    .sequence_key = "seq",
    .clients = 100,
    .window = 4,
    .payload_bytes = 150,
    .concurrency = 128,
    .room_size = 10,
    .seconds = 3,
    .warm_up_s = 1,
    .heartbeat_every_s = 25,
};
struct counters counters;
struct connection *connections;
int connection_count;
bool measuring;
struct histogram latencies;

static const char *const MODE_NAMES[] = {"fanout", "rooms", "heartbeat", "connect", "idle", "listen"};

static const char HELP[] =
    "usage: wsload --port N [options]\n"
    "modes (--mode M)\n"
    "  fanout     one more client publishes to --clients subscribers of one topic: in a closed\n"
    "             loop with --window publishes in flight, or --rate publishes a second\n"
    "  rooms      --clients in rooms of --room-size, each publishing --rate times a second\n"
    "  heartbeat  each client has one heartbeat in flight\n"
    "  connect    connect, join, reset, again: --concurrency at a time\n"
    "  idle       hold joined connections until stdin ends\n"
    "  listen     log the changes that arrive until stdin ends\n"
    "options\n"
    "  --path P               path and query of the upgrade, API key included\n"
    "  --topic T              sub-topic, without \"realtime:\" (room)\n"
    "  --join-config JSON     the join's config object\n"
    "  --tokens FILE          access tokens, one a line, given to the joins in turn\n"
    "  --clients N            joined clients (100)\n"
    "  --stalled N            how many of a fan-out's clients stop reading once joined (0)\n"
    "  --window N             publishes in flight (4)\n"
    "  --rate R               publishes a second; 0 (default) for a closed loop\n"
    "  --payload-bytes N      size of a published message, about (150)\n"
    "  --text                 publish text frames instead of supabase-js's binary ones\n"
    "  --room-size N          clients in one room (10)\n"
    "  --concurrency N        connects in flight (128)\n"
    "  --seconds S            measured time (3); --warm-up S  time before it (1)\n"
    "  --heartbeat-every S    of an idle or listening client (25)\n"
    "  --log FILE             listen: records of (sequence, received ns, client), 3 x uint64\n"
    "  --sequence-key K       the row's column that numbers its change (seq)\n"
    "  --server-pid PID       process whose CPU time is reported\n";

static void fail_usage(const char *what, const char *value) {
  fprintf(stderr, "wsload: %s: %s (see --help)\n", what, value);
  exit(2);
}

static enum mode parse_mode(const char *name) {
  for (size_t i = 0; i < sizeof MODE_NAMES / sizeof *MODE_NAMES; i++)
    if (!strcmp(name, MODE_NAMES[i])) return (enum mode)i;
  fail_usage("unknown mode", name);
  return MODE_FANOUT;
}

static void read_tokens(const char *path) {
  char *line = NULL;
  size_t capacity = 0;
  ssize_t length;
  FILE *file = fopen(path, "r");
  if (!file) fail_usage("cannot read", path);
  while ((length = getline(&line, &capacity, file)) > 1) {
    line[length - 1] = 0;
    options.tokens = realloc(options.tokens, (size_t)(options.token_count + 1) * sizeof(char *));
    options.tokens[options.token_count++] = strdup(line);
  }
  free(line);
  fclose(file);
}

static void apply_option(const char *name, const char *value) {
  const struct {
    const char *name;
    int *integer;
    double *real;
    const char **text;
  } settings[] = {
      {"port", &options.port, NULL, NULL},
      {"clients", &options.clients, NULL, NULL},
      {"stalled", &options.stalled, NULL, NULL},
      {"window", &options.window, NULL, NULL},
      {"payload-bytes", &options.payload_bytes, NULL, NULL},
      {"concurrency", &options.concurrency, NULL, NULL},
      {"room-size", &options.room_size, NULL, NULL},
      {"server-pid", &options.server_pid, NULL, NULL},
      {"rate", NULL, &options.rate, NULL},
      {"seconds", NULL, &options.seconds, NULL},
      {"warm-up", NULL, &options.warm_up_s, NULL},
      {"heartbeat-every", NULL, &options.heartbeat_every_s, NULL},
      {"path", NULL, NULL, &options.path},
      {"topic", NULL, NULL, &options.topic},
      {"join-config", NULL, NULL, &options.join_config},
      {"log", NULL, NULL, &options.log_path},
      {"sequence-key", NULL, NULL, &options.sequence_key},
      {"mode", NULL, NULL, &options.mode_name},
  };
  for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
    if (strcmp(name, settings[i].name) != 0) continue;
    if (settings[i].integer) *settings[i].integer = atoi(value);
    if (settings[i].real) *settings[i].real = atof(value);
    if (settings[i].text) *settings[i].text = value;
    return;
  }
  if (!strcmp(name, "tokens")) read_tokens(value);
  else fail_usage("unknown option", name);
}

static void parse_options(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--help")) {
      fputs(HELP, stdout);
      exit(0);
    }
    if (!strcmp(argv[i], "--text")) {
      options.text = true;
      continue;
    }
    if (strncmp(argv[i], "--", 2) != 0 || i + 1 == argc) fail_usage("not understood", argv[i]);
    apply_option(argv[i] + 2, argv[i + 1]);
    i++;
  }
  options.mode = parse_mode(options.mode_name);
  if (!options.port) fail_usage("--port", "is missing");
  if (options.clients < 1 || options.window < 1 || options.concurrency < 1 || options.room_size < 1 ||
      options.stalled >= options.clients || options.payload_bytes > MESSAGE_MAX - 1024)
    fail_usage("a number", "is out of bounds");
  if (strlen(options.topic) > TOPIC_MAX - 24) fail_usage("--topic is too long", options.topic);
}

int main(int argc, char **argv) {
  parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  connection_count = options.clients;
  if (options.mode == MODE_FANOUT) connection_count++;
  if (options.mode == MODE_CONNECT) connection_count = options.concurrency;
  connections = calloc((size_t)connection_count, sizeof *connections);
  prepare_messages();
  prepare_polling();
  run_mode();
  return 0;
}
