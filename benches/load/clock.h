// Time, processor time and a histogram of durations.
#ifndef TIDEWIRE_BENCH_CLOCK_H
#define TIDEWIRE_BENCH_CLOCK_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

// CLOCK_MONOTONIC, which is what Python's time.monotonic_ns() reads too.
static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct cpu_time {
  double user_s, system_s;
};

static inline struct cpu_time own_cpu_time(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (struct cpu_time){(double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
                           (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6};
}

// Processor time of another process since it began; zeros when it is not there.
static inline struct cpu_time cpu_time_of(int pid) {
  char path[64], text[1024];
  snprintf(path, sizeof path, "/proc/%d/stat", pid);
  FILE *file = pid ? fopen(path, "r") : NULL;
  if (!file) return (struct cpu_time){0, 0};
  size_t length = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[length] = 0;
  unsigned long user = 0, system = 0;
  const char *after_name = strrchr(text, ')');
  if (after_name)
    sscanf(after_name + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
  double ticks = (double)sysconf(_SC_CLK_TCK);
  return (struct cpu_time){(double)user / ticks, (double)system / ticks};
}

// Durations in buckets about 3 % wide: five bits of mantissa above 32 ns.
enum { HISTOGRAM_BUCKETS = 2048 };

struct histogram {
  uint64_t buckets[HISTOGRAM_BUCKETS], count, largest;
};

static inline void histogram_add(struct histogram *histogram, uint64_t duration_ns) {
  int exponent = duration_ns < 32 ? 4 : 63 - __builtin_clzll(duration_ns);
  uint64_t index = duration_ns < 32 ? duration_ns
                                    : (uint64_t)(exponent - 4) << 5 |
                                          (duration_ns >> (exponent - 5) & 31);
  histogram->buckets[index]++;
  histogram->count++;
  if (duration_ns > histogram->largest) histogram->largest = duration_ns;
}

static inline uint64_t bucket_start_ns(int index) {
  if (index < 32) return (uint64_t)index;
  int exponent = (index >> 5) + 4;
  return 1ull << exponent | (uint64_t)(index & 31) << (exponent - 5);
}

// `share` between 0 and 1; 0 when nothing was added.
static inline double histogram_percentile_us(const struct histogram *histogram, double share) {
  uint64_t wanted = (uint64_t)((double)histogram->count * share), seen = 0;
  for (int i = 0; i < HISTOGRAM_BUCKETS; i++) {
    seen += histogram->buckets[i];
    if (seen > wanted) return (double)bucket_start_ns(i) / 1000.0;
  }
  return (double)histogram->largest / 1000.0;
}

#endif
