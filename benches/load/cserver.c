// cserver: the reference the benches measure against. One epoll loop that speaks just enough of
// the wire (upgrade, join, heartbeat, broadcast on one topic) to be driven by the same generator
// as the product, with nothing else to do. Its rate is what one core of this machine gives.
//
//   --mode send       one send() per subscriber and message: the plain limit
//   --mode coalesce   messages of one turn of the loop are joined: one send() per subscriber
//
// Prints {"port":N} once it listens. It trusts its peer: loopback and benches only.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "frames.h"
#include "handshake.h"

enum {
  CONNECTIONS_MAX = 1 << 16,
  READ_BYTES = 1 << 18,
  TURN_BYTES = 1 << 20,
  MESSAGE_MAX = 70000,
  EVENTS_PER_TURN = 512,
  ENVELOPE_BYTES = 96,  // the event's name stands within these first bytes of a frame
};

struct connection {
  int fd;
  bool upgraded, subscribed, wants_writable;
  uint8_t *partial;  // an incomplete frame, kept until the rest arrives
  size_t partial_length;
  uint8_t *unsent;  // what the socket did not take
  size_t unsent_length, unsent_capacity;
};

static struct connection *connections[CONNECTIONS_MAX];  // by file descriptor
static struct connection *subscribers[CONNECTIONS_MAX];
static int subscriber_count;
static int poller;
static bool coalesces;

static uint8_t read_buffer[READ_BYTES];
static uint8_t turn_buffer[TURN_BYTES];  // frames of this turn, when coalescing
static size_t turn_length;
static struct connection *turn_sender;

static const char JOIN_REPLY[] =
    "[\"1\",\"1\",\"realtime:room\",\"phx_reply\","
    "{\"status\":\"ok\",\"response\":{\"postgres_changes\":[]}}]";
static const char HEARTBEAT_REPLY[] =
    "[null,\"5\",\"phoenix\",\"phx_reply\",{\"status\":\"ok\",\"response\":{}}]";

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch_writable(struct connection *connection, bool on) {
  if (connection->wants_writable == on) return;
  connection->wants_writable = on;
  struct epoll_event event = {.events = EPOLLIN | (on ? (uint32_t)EPOLLOUT : 0),
                              .data.fd = connection->fd};
  epoll_ctl(poller, EPOLL_CTL_MOD, connection->fd, &event);
}

static void keep_unsent(struct connection *connection, const uint8_t *data, size_t length) {
  size_t needed = connection->unsent_length + length;
  if (needed > connection->unsent_capacity) {
    connection->unsent = realloc(connection->unsent, needed * 2);
    if (!connection->unsent) die("realloc");
    connection->unsent_capacity = needed * 2;
  }
  memcpy(connection->unsent + connection->unsent_length, data, length);
  connection->unsent_length = needed;
  watch_writable(connection, true);
}

static inline void write_bytes(struct connection *connection, const uint8_t *data, size_t length) {
  if (connection->unsent_length) {
    keep_unsent(connection, data, length);
    return;
  }
  ssize_t sent = send(connection->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent == (ssize_t)length) return;
  if (sent < 0) {
    if (errno != EAGAIN) return;  // the next read finds the end of this connection
    sent = 0;
  }
  keep_unsent(connection, data + sent, length - (size_t)sent);
}

static void send_unsent(struct connection *connection) {
  ssize_t sent = send(connection->fd, connection->unsent, connection->unsent_length,
                      MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) {
    connection->unsent_length -= (size_t)sent;
    memmove(connection->unsent, connection->unsent + sent, connection->unsent_length);
  }
  if (!connection->unsent_length) watch_writable(connection, false);
}

// A sender does not hear itself: broadcast.self is false in the joins of the benches.
static void fan_out(const struct connection *sender, const uint8_t *data, size_t length) {
  for (int i = 0; i < subscriber_count; i++)
    if (subscribers[i] != sender) write_bytes(subscribers[i], data, length);
}

static void flush_turn(void) {
  if (turn_length) fan_out(turn_sender, turn_buffer, turn_length);
  turn_length = 0;
}

static void publish(struct connection *sender, int opcode, const uint8_t *payload, size_t length) {
  if (!coalesces) {
    uint8_t frame[MESSAGE_MAX];
    fan_out(sender, frame, write_server_frame(frame, opcode, payload, length));
    return;
  }
  if (sender != turn_sender || turn_length + FRAME_HEAD_MAX + length > TURN_BYTES) flush_turn();
  turn_sender = sender;
  turn_length += write_server_frame(turn_buffer + turn_length, opcode, payload, length);
}

static void reply(struct connection *connection, const char *payload, size_t length) {
  uint8_t frame[256];
  write_bytes(connection, frame, write_server_frame(frame, OP_TEXT, payload, length));
}

static bool names_event(const uint8_t *payload, size_t length, const char *event) {
  return memmem(payload, length < ENVELOPE_BYTES ? length : ENVELOPE_BYTES, event, strlen(event));
}

static void subscribe(struct connection *connection) {
  if (connection->subscribed) return;
  connection->subscribed = true;
  subscribers[subscriber_count++] = connection;
}

static void on_message(struct connection *connection, int opcode, const uint8_t *payload,
                       size_t length) {
  if (opcode == OP_TEXT && names_event(payload, length, "\"heartbeat\"")) {
    reply(connection, HEARTBEAT_REPLY, sizeof HEARTBEAT_REPLY - 1);
  } else if (opcode == OP_TEXT && names_event(payload, length, "\"phx_join\"")) {
    subscribe(connection);
    reply(connection, JOIN_REPLY, sizeof JOIN_REPLY - 1);
  } else if (opcode == OP_TEXT || opcode == OP_BINARY) {
    publish(connection, opcode, payload, length);
  }
}

static void drop(struct connection *connection) {
  for (int i = 0; connection->subscribed && i < subscriber_count; i++) {
    if (subscribers[i] != connection) continue;
    subscribers[i] = subscribers[--subscriber_count];
    break;
  }
  if (turn_sender == connection) {
    flush_turn();
    turn_sender = NULL;
  }
  connections[connection->fd] = NULL;
  close(connection->fd);
  free(connection->partial);
  free(connection->unsent);
  free(connection);
}

// Returns how many bytes the request took; 0 while it is incomplete, -1 when it is no upgrade.
static ssize_t upgrade(struct connection *connection, const uint8_t *data, size_t have) {
  static const char header[] = "Sec-WebSocket-Key: ";
  const uint8_t *end = memmem(data, have, "\r\n\r\n", 4);
  if (!end) return 0;
  const char *key = memmem(data, have, header, sizeof header - 1);
  if (!key) return -1;
  char accept[ACCEPT_LENGTH + 1], response[256];
  accept_value(key + sizeof header - 1, accept);
  int length = snprintf(response, sizeof response,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
                        accept);
  write_bytes(connection, (const uint8_t *)response, (size_t)length);
  connection->upgraded = true;
  return end + 4 - data;
}

static size_t handle_frames(struct connection *connection, uint8_t *data, size_t have) {
  size_t at = 0;
  struct frame_head head;
  while (parse_frame_head(data + at, have - at, &head) &&
         have - at >= head.length + head.payload_length) {
    uint8_t *payload = data + at + head.length;
    apply_mask(payload, head.payload_length, payload - 4);
    on_message(connection, head.opcode, payload, head.payload_length);
    at += head.length + head.payload_length;
  }
  return at;
}

static void keep_partial(struct connection *connection, const uint8_t *data, size_t length) {
  connection->partial_length = length;
  if (!length) return;
  connection->partial = realloc(connection->partial, length);
  if (!connection->partial) die("realloc");
  memcpy(connection->partial, data, length);
}

static void on_readable(struct connection *connection) {
  size_t have = connection->partial_length;
  if (have) memcpy(read_buffer, connection->partial, have);
  ssize_t got = recv(connection->fd, read_buffer + have, READ_BYTES - have, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    drop(connection);
    return;
  }
  have += (size_t)got;
  size_t at = 0;
  if (!connection->upgraded) {
    ssize_t taken = upgrade(connection, read_buffer, have);
    if (taken < 0) {
      drop(connection);
      return;
    }
    at = (size_t)taken;
  }
  if (connection->upgraded) at += handle_frames(connection, read_buffer + at, have - at);
  keep_partial(connection, read_buffer + at, have - at);
}

static void accept_all(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
    if (fd < 0) return;
    if (fd >= CONNECTIONS_MAX) {
      close(fd);
      return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) die("calloc");
    connection->fd = fd;
    connections[fd] = connection;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
  }
}

static int listen_on_loopback(int port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  if (bind(listener, (void *)&address, size) || listen(listener, 4096)) die("bind");
  getsockname(listener, (void *)&address, &size);
  printf("{\"port\":%d}\n", ntohs(address.sin_port));
  fflush(stdout);
  return listener;
}

static void usage(FILE *out) {
  fprintf(out, "usage: cserver [--port N] [--mode send|coalesce]\n"
               "  --port N   TCP port on loopback; 0 (default) takes a free one\n"
               "  --mode M   send: one send() per subscriber and message (default)\n"
               "             coalesce: messages of one turn of the loop share a send()\n");
}

static int parse_options(int argc, char **argv) {
  static const struct option options[] = {{"port", required_argument, 0, 'p'},
                                          {"mode", required_argument, 0, 'm'},
                                          {"help", no_argument, 0, 'h'},
                                          {0}};
  int port = 0, option;
  while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
    if (option == 'h') usage(stdout), exit(0);
    else if (option == 'p') port = atoi(optarg);
    else if (option == 'm' && !strcmp(optarg, "coalesce")) coalesces = true;
    else if (option != 'm' || strcmp(optarg, "send")) usage(stderr), exit(2);
  }
  return port;
}

int main(int argc, char **argv) {
  int port = parse_options(argc, argv);
  signal(SIGPIPE, SIG_IGN);
  int listener = listen_on_loopback(port);
  poller = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  static struct epoll_event events[EVENTS_PER_TURN];
  for (;;) {
    int count = epoll_wait(poller, events, EVENTS_PER_TURN, -1);
    for (int i = 0; i < count; i++) {
      if (events[i].data.fd == listener) {
        accept_all(listener);
        continue;
      }
      struct connection *connection = connections[events[i].data.fd];
      if (!connection) continue;
      if (events[i].events & EPOLLOUT) send_unsent(connection);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(connection);
    }
    flush_turn();
  }
}
