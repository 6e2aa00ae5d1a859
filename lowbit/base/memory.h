// SPDX-License-Identifier: Apache-2.0
// How much memory this process has, may have and had.
#pragma once

#include <cstdint>
#include <string>

namespace lowbit {

uint64_t ResidentMemoryBytes();  // held now, mapped files included
uint64_t PeakMemoryBytes();      // most held so far (VmHWM)

// Resets the mark behind PeakMemoryBytes() where the kernel allows it; returns whether it did.
bool ResetPeakMemory();

// What this process may still take: the least that the machine, its control group and its resource limits
// leave.
uint64_t AvailableMemoryBytes();

// One heap for all threads, and mappings of their own for large pieces: called first thing in main. What
// several threads allocate and free in turn, layer after layer, would otherwise leave holes in each one's heap.
void UseOneHeap();

// Gives memory that was freed back to the system, so that it does not count any more.
void TrimMemory();

// What a job may use.
struct MemoryBudget {
  uint64_t bytes = 0;        // of this process, all told; 0 = four fifths of what the system has left
  bool least = false;        // as little as can be, whatever there is: "--ram min"
  uint64_t program = 0;      // held by this process before the job; 0 = what it holds now
  std::string scratch = {};  // folder for activations that do not fit; empty = $TMPDIR, else /var/tmp

  uint64_t Bytes() const;
  uint64_t ProgramBytes() const;  // what a plan starts from; gives back first what the heap keeps
  std::string ScratchFolder() const;
};

}  // namespace lowbit
