// Connections: TCP, upgrade, join, frames in and out, all on one epoll.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "wsload.h"

enum { READ_BYTES = 1 << 18, EVENTS_PER_TURN = 512, STALLED_RECEIVE_BYTES = 4096 };

// Ids in epoll of what is no connection.
static const uint32_t TIMER = UINT32_MAX, STDIN = UINT32_MAX - 1;

static int poller, timer;
static bool stdin_closed;
static uint8_t read_buffer[READ_BYTES];

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void watch(int fd, int operation, uint32_t events, uint32_t id) {
  struct epoll_event event = {.events = events, .data.u32 = id};
  epoll_ctl(poller, operation, fd, &event);
}

void prepare_polling(void) {
  poller = epoll_create1(0);
  timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  if (poller < 0 || timer < 0) die("epoll");
  watch(timer, EPOLL_CTL_ADD, EPOLLIN, TIMER);
}

void wake_at_ns(uint64_t monotonic) {
  struct itimerspec when = {.it_value = {(time_t)(monotonic / 1000000000u),
                                         (long)(monotonic % 1000000000u)}};
  timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

void watch_stdin(void) { watch(STDIN_FILENO, EPOLL_CTL_ADD, EPOLLIN, STDIN); }

bool stdin_ended(void) { return stdin_closed; }

void open_connection(struct connection *connection) {
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)options.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int one = 1, small = STALLED_RECEIVE_BYTES;
  connection->id = (uint32_t)(connection - connections);
  connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (connection->fd < 0) die("socket");
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (stops_reading(connection))
    setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  connection->asked_ns = now_ns();
  if (connect(connection->fd, (void *)&address, sizeof address) < 0 && errno != EINPROGRESS)
    die("connect");
  connection->state = STATE_CONNECTING;
  counters.in_flight++;
  watch(connection->fd, EPOLL_CTL_ADD, EPOLLOUT, connection->id);
}

void close_connection(struct connection *connection) {
  struct linger reset = {1, 0};
  if (connection->state == STATE_CLOSED) return;
  setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(connection->fd);
  if (connection->state == STATE_JOINED) counters.joined_now--;
  else counters.in_flight--;
  connection->state = STATE_CLOSED;
  connection->partial_length = connection->unsent_length = 0;
}

static void fail(struct connection *connection, const char *what, const uint8_t *shown,
                 size_t length) {
  if (counters.errors++ < 3)
    fprintf(stderr, "connection %u: %s %.*s\n", connection->id, what,
            (int)(length > 300 ? 300 : length), (const char *)shown);
  close_connection(connection);
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
  watch(connection->fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT, connection->id);
}

static void send_bytes(struct connection *connection, const uint8_t *data, size_t length) {
  ssize_t sent = 0;
  if (!connection->unsent_length) {
    sent = send(connection->fd, data, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
      fail(connection, "send failed", NULL, 0);
      return;
    }
    if (sent < 0) sent = 0;
  }
  if (sent < (ssize_t)length) keep_unsent(connection, data + sent, length - (size_t)sent);
}

static void send_unsent(struct connection *connection) {
  ssize_t sent =
      send(connection->fd, connection->unsent, connection->unsent_length, MSG_NOSIGNAL);
  if (sent > 0) {
    connection->unsent_length -= (size_t)sent;
    memmove(connection->unsent, connection->unsent + sent, connection->unsent_length);
  }
  if (!connection->unsent_length) watch(connection->fd, EPOLL_CTL_MOD, EPOLLIN, connection->id);
}

void send_message(struct connection *connection, int opcode, const void *payload, size_t length) {
  static uint8_t frame[MESSAGE_MAX + FRAME_HEAD_MAX];
  send_bytes(connection, frame, write_client_frame(frame, opcode, payload, length));
}

static void send_upgrade(struct connection *connection) {
  char request[4096];
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) {
    errno = error;
    die("connect");
  }
  int length = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                        "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                        "Sec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1:%d\r\n\r\n",
                        options.path, options.port, options.port);
  watch(connection->fd, EPOLL_CTL_MOD, EPOLLIN, connection->id);
  connection->state = STATE_UPGRADING;
  send_bytes(connection, (const uint8_t *)request, (size_t)length);
}

// Returns how many bytes the response took; 0 while it is incomplete or was refused.
static size_t receive_upgrade(struct connection *connection, const uint8_t *data, size_t have) {
  const uint8_t *end = memmem(data, have, "\r\n\r\n", 4);
  if (!end) return 0;
  if (memcmp(data, "HTTP/1.1 101", 12) != 0) {
    fail(connection, "was refused:", data, have);
    return 0;
  }
  connection->state = STATE_JOINING;
  send_join(connection);
  counters.joins++;
  return (size_t)(end + 4 - data);
}

static void receive_join_reply(struct connection *connection, const uint8_t *payload,
                               size_t length, uint64_t now) {
  bool accepted = false;
  if (!is_join_reply(payload, length, &accepted)) return;
  if (!accepted) {
    fail(connection, "join was refused:", payload, length);
    return;
  }
  connection->state = STATE_JOINED;
  counters.in_flight--;
  counters.joined_now++;
  on_joined(connection, now);
}

static void receive_frame(struct connection *connection, const struct frame_head *head,
                          const uint8_t *payload, uint64_t now) {
  size_t length = head->payload_length;
  if (head->opcode == OP_PING) {
    send_message(connection, OP_PONG, payload, length);
  } else if (head->opcode == OP_CLOSE) {
    counters.closed_by_server++;
    fail(connection, "was closed:", length > 2 ? payload + 2 : payload, length > 2 ? length - 2 : 0);
  } else if (connection->state == STATE_JOINING) {
    receive_join_reply(connection, payload, length, now);
  } else if (head->opcode != OP_PONG) {
    on_message(connection, head->opcode, payload, length, now);
  }
}

static void keep_partial(struct connection *connection, const uint8_t *data, size_t length) {
  connection->partial_length = length;
  if (!length) return;
  if (connection->partial_capacity < length) {
    connection->partial = realloc(connection->partial, length + 256);
    if (!connection->partial) die("realloc");
    connection->partial_capacity = length + 256;
  }
  memcpy(connection->partial, data, length);
}

static void read_socket(struct connection *connection) {
  size_t have = connection->partial_length, at = 0;
  if (have) memcpy(read_buffer, connection->partial, have);
  ssize_t got = recv(connection->fd, read_buffer + have, READ_BYTES - have, 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    counters.closed_by_server++;
    fail(connection, "ended without a close frame", NULL, 0);
    return;
  }
  counters.bytes_received += (uint64_t)got;
  have += (size_t)got;
  if (connection->state == STATE_UPGRADING) at = receive_upgrade(connection, read_buffer, have);
  uint64_t now = now_ns();
  struct frame_head head;
  while (connection->state >= STATE_JOINING &&
         parse_frame_head(read_buffer + at, have - at, &head) &&
         have - at >= head.length + head.payload_length) {
    receive_frame(connection, &head, read_buffer + at + head.length, now);
    at += head.length + head.payload_length;
  }
  if (connection->state != STATE_CLOSED) keep_partial(connection, read_buffer + at, have - at);
}

static void handle_event(const struct epoll_event *event) {
  if (event->data.u32 == TIMER) {
    uint64_t expirations;
    if (read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timer");
    return;
  }
  if (event->data.u32 == STDIN) {
    char ignored[64];
    if (read(STDIN_FILENO, ignored, sizeof ignored) <= 0) stdin_closed = true;
    return;
  }
  struct connection *connection = &connections[event->data.u32];
  if (connection->state == STATE_CONNECTING) {
    send_upgrade(connection);
  } else if (connection->state == STATE_JOINED && stops_reading(connection)) {
    epoll_ctl(poller, EPOLL_CTL_DEL, connection->fd, NULL);
  } else if (connection->state != STATE_CLOSED) {
    if (event->events & EPOLLOUT) send_unsent(connection);
    if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR) && connection->state != STATE_CLOSED)
      read_socket(connection);
  }
}

int pump(int timeout_ms) {
  static struct epoll_event events[EVENTS_PER_TURN];
  int count = epoll_wait(poller, events, EVENTS_PER_TURN, timeout_ms);
  for (int i = 0; i < count; i++) handle_event(&events[i]);
  return count;
}

// Opens every connection and waits until each has joined; ends the program when that fails.
void open_all(void) {
  uint64_t deadline = now_ns() + OPEN_TIMEOUT_S * 1000000000ull;
  int next = 0;
  while (counters.joined_now < connection_count) {
    while (next < connection_count && counters.in_flight < options.concurrency)
      open_connection(&connections[next++]);
    pump(10);
    if (now_ns() > deadline || counters.errors > 0) {
      fprintf(stderr, "only %d of %d connections joined\n", counters.joined_now, connection_count);
      exit(3);
    }
  }
}
