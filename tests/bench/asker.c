/*
 * Asks a server on a unix socket over HTTP/1.1 and says how long that took: from before the connection is made
 * until the whole answer is there. In C, because a client in JavaScript takes a part of a millisecond itself,
 * which would be measured as the server's.
 *
 * Reads lines "SOCKET ROUTE BODY" and answers each with "MICROSECONDS STATUS BODY"; bodies hold no line end, those
 * of an answer become spaces. Answers have a content-length.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ROOM (4 << 20)

static char line[ROOM], request[ROOM + 1024], answer[ROOM];

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void fail(const char *what) {
  perror(what);
  exit(2);
}

/* The body of the answer once it is whole, NULL before. */
static char *body_of(size_t length) {
  answer[length] = 0;
  char *end = strstr(answer, "\r\n\r\n");
  char *field = strcasestr(answer, "\r\ncontent-length:");
  if (end == NULL || field == NULL || field > end) return NULL;
  char *body = end + 4;
  size_t announced = (size_t)atol(field + strlen("\r\ncontent-length:"));
  return (size_t)(answer + length - body) < announced ? NULL : body;
}

static char *ask(const char *path, size_t length) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  int conn = socket(AF_UNIX, SOCK_STREAM, 0);
  if (conn < 0 || connect(conn, (struct sockaddr *)&address, sizeof address) < 0) fail(path);
  for (size_t at = 0; at < length;) {
    ssize_t count = write(conn, request + at, length - at);
    if (count < 0) fail("write");
    at += (size_t)count;
  }
  char *body = NULL;
  for (size_t at = 0; body == NULL;) {
    ssize_t count = read(conn, answer + at, sizeof answer - 1 - at);
    if (count <= 0) fail("the answer ended early");
    at += (size_t)count;
    body = body_of(at);
  }
  close(conn);
  return body;
}

int main(void) {
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *rest = line;
    char *path = strsep(&rest, " "), *route = strsep(&rest, " ");
    char *body = strsep(&rest, "\n");
    if (body == NULL) fail("line");
    int length = snprintf(request, sizeof request,
                          "POST %s HTTP/1.1\r\nHost: multus\r\nConnection: close\r\nUser-Agent: multus-shim/bench\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          route, strlen(body), body);
    double begin = now();
    char *said = ask(path, (size_t)length);
    double took = now() - begin;
    for (char *at = said; *at != 0; at++) {
      if (*at == '\n') *at = ' ';
    }
    printf("%.1f %.3s %s\n", took, answer + strlen("HTTP/1.1 "), said);
    fflush(stdout);
  }
  return 0;
}
