// SPDX-License-Identifier: Apache-2.0
// Runs the lowbit program, passes on how it ended, and adds what it took as a last line of stderr:
//   measured PEAK_KIB CPU_MS
// A program of its own, because the peak that the system reports of a child counts the memory of the process
// that made it, and a test program has a lot.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

int main(int, char** argv) {
  const pid_t child = fork();
  if (child == 0) {
    constexpr rlimit kEnough = {.rlim_cur = 30, .rlim_max = 30};  // seconds: no test waits for ever
    setrlimit(RLIMIT_CPU, &kEnough);
    execv(LOWBIT_MEASURED_PROGRAM, argv);
    _exit(127);
  }
  int status = 0;
  struct rusage usage {};
  if (child < 0 || wait4(child, &status, 0, &usage) != child) return 126;
  const auto ms = [](const timeval& t) { return t.tv_sec * 1000 + t.tv_usec / 1000; };
  std::fprintf(stderr, "measured %ld %ld\n", usage.ru_maxrss, ms(usage.ru_utime) + ms(usage.ru_stime));
  std::fflush(stderr);
  if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
  std::signal(WTERMSIG(status), SIG_DFL);
  return std::raise(WTERMSIG(status));
}
