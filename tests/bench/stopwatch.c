/*
 * Runs programs and says how long each took: wall time from just before it was started until it had ended, and
 * the processor time of it and all that it waited for (wait4). In C, because a runtime that starts processes in
 * JavaScript would be measured along with them.
 *
 *   stopwatch PARALLEL < JOBS
 *
 * JOBS: words that end with a zero byte; for each program
 *   STDIN-FILE STDOUT-FILE ENV-COUNT NAME=VALUE... ARG-COUNT PROGRAM ARG...
 * Prints, for each program in its order, "WALL-US CPU-US STATUS", and at last "WALL-US" of all together.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct job {
  char *input, *output, **env, **args;
  pid_t pid;
  double begin, wall, cpu;
  int status;
};

static void fail(const char *what) {
  perror(what);
  exit(2);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double micros(struct timeval time) { return (double)time.tv_sec * 1e6 + (double)time.tv_usec; }

static char *read_all(size_t *length) {
  size_t room = 1 << 20;
  char *text = malloc(room);
  *length = 0;
  for (;;) {
    ssize_t count = read(0, text + *length, room - *length);
    if (count < 0) fail("read");
    if (count == 0) return text;
    *length += (size_t)count;
    if (*length == room) text = realloc(text, room *= 2);
  }
}

static char *next_word(char **at) {
  char *word = *at;
  *at += strlen(word) + 1;
  return word;
}

static char **next_words(char **at) {
  size_t count = (size_t)atoi(next_word(at));
  char **words = calloc(count + 1, sizeof *words);
  for (size_t index = 0; index < count; index++) words[index] = next_word(at);
  return words;
}

static void start(struct job *job) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, job->input, O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, job->output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  job->begin = now();
  errno = posix_spawn(&job->pid, job->args[0], &actions, NULL, job->args, job->env);
  if (errno != 0) fail(job->args[0]);
  posix_spawn_file_actions_destroy(&actions);
}

static void finish(struct job *jobs, size_t count) {
  int status;
  struct rusage usage;
  pid_t pid = wait4(-1, &status, 0, &usage);
  if (pid < 0) fail("wait4");
  double end = now();
  for (size_t index = 0; index < count; index++) {
    if (jobs[index].pid != pid) continue;
    jobs[index].wall = end - jobs[index].begin;
    jobs[index].cpu = micros(usage.ru_utime) + micros(usage.ru_stime);
    jobs[index].status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }
}

int main(int argc, char **argv) {
  size_t parallel = argc > 1 ? (size_t)atoi(argv[1]) : 1, length, count = 0, room = 1024, running = 0;
  char *text = read_all(&length);
  struct job *jobs = calloc(room, sizeof *jobs);
  for (char *at = text; at < text + length; count++) {
    if (count == room) jobs = realloc(jobs, (room *= 2) * sizeof *jobs);
    jobs[count] = (struct job){.input = next_word(&at), .output = next_word(&at)};
    jobs[count].env = next_words(&at);
    jobs[count].args = next_words(&at);
  }
  double begin = now();
  for (size_t index = 0; index < count; index++) {
    if (running == parallel) finish(jobs, count), running--;
    start(&jobs[index]), running++;
  }
  for (; running > 0; running--) finish(jobs, count);
  double wall = now() - begin;
  for (size_t index = 0; index < count; index++) {
    printf("%.0f %.0f %d\n", jobs[index].wall, jobs[index].cpu, jobs[index].status);
  }
  printf("%.0f\n", wall);
  return 0;
}
