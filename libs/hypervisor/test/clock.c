// What a guest's clocks say, ten lines a second: monotonic and real time in microseconds, the real-time clock's seconds (-1: none), how often
// monotonic time went back since the boot, and the kernel's clock source.
#include <fcntl.h>
#include <linux/rtc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static int64_t now_us(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static long rtc_s(void) {
  const int device = open("/dev/rtc0", O_RDONLY | O_CLOEXEC);
  struct rtc_time date;
  if (device < 0) return -1;
  const int failed = ioctl(device, RTC_RD_TIME, &date);
  close(device);
  if (failed) return -1;
  struct tm parts = {.tm_sec = date.tm_sec, .tm_min = date.tm_min, .tm_hour = date.tm_hour, .tm_mday = date.tm_mday, .tm_mon = date.tm_mon, .tm_year = date.tm_year};
  return (long)timegm(&parts);
}

int main(void) {
  int64_t last_us = 0, told_us = 0;
  long back = 0;
  for (;;) {
    const int64_t mono_us = now_us(CLOCK_MONOTONIC);
    if (mono_us < last_us) back++;
    last_us = mono_us;
    if (mono_us - told_us >= 100000) {
      char source[32] = "none";
      FILE* file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
      if (file) {
        if (fscanf(file, "%31s", source) != 1) strcpy(source, "none");
        fclose(file);
      }
      printf("clock %lld %lld %ld %ld %s\n", (long long)mono_us, (long long)now_us(CLOCK_REALTIME), rtc_s(), back, source);
      fflush(stdout);
      told_us = mono_us;
    }
    usleep(2000);
  }
}
