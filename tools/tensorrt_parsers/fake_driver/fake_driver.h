/* A fake of the CUDA driver for tests of host code. It has the documented functions that pycuda and
 * engines/tensorrt/driver.py call, with the rules of the driver's documentation for contexts, memory, streams and the
 * capture of graphs. Copies are its only work, and it does not claim to be a genuine driver: NVIDIA's CUDA runtime, and so
 * TensorRT, does not start with it.
 *
 * Work on a stream waits until something synchronizes with it, as it may on a GPU: a missing synchronization shows.
 * Freed memory is unmapped, and copies must stay inside their allocation.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#define API __attribute__((visibility("default"))) int
#define ALIAS(name, target) __attribute__((visibility("default"), alias(#target))) int name()

/* CUresult, as far as it is returned. */
enum Status {
  OK = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_FOUND = 500,
  NOT_READY = 600,
  NOT_SUPPORTED = 801,
  CAPTURE_UNSUPPORTED = 900,
  CAPTURE_INVALIDATED = 901,
  CAPTURE_UNMATCHED = 903,
  CAPTURE_IMPLICIT = 906,
  CAPTURE_WRONG_THREAD = 908,
};

typedef unsigned long long DevicePointer;

typedef struct Copy {
  void *to;
  const void *from;
  size_t size;
  struct Copy *next;
} Copy;

typedef struct Copies {
  Copy *first, *last;
} Copies;

typedef struct Capture {
  int mode; /* 0 global, 1 thread-local, 2 relaxed */
  bool invalidated;
  pthread_t thread;
  Copies copies;
  struct Capture *next; /* of all captures that are under way */
} Capture;

typedef struct Stream {
  bool blocking; /* synchronizes with the legacy default stream */
  Copies waiting;
  Capture *capture;
  struct Stream *next; /* of all streams */
} Stream;

/* One lock for everything. */
extern pthread_mutex_t fake_lock;

/* Numbers of objects that exist, by kind; KINDS in driver_library.py has the same order. */
enum Kind { DEVICE_MEMORY, HOST_MEMORY, STREAMS, GRAPHS, GRAPH_EXECUTABLES, KINDS };
extern int fake_live[KINDS];

/* INVALID_CONTEXT unless the calling thread has a current context. */
int fake_needs_context(void);

/* Whether the bytes are inside of one allocation, or in memory of the host that the driver does not know. */
bool fake_is_inside(const void *at, size_t size);

/* Adds a copy to a stream, or to the graph that it captures. */
int fake_enqueue(Stream *stream, Copy copy);

/* Makes the copies that wait on all streams; the lock must not be held. */
void fake_execute_all(void);

/* CAPTURE_UNSUPPORTED, and the capture invalidated, if the calling thread must not allocate or synchronize now. */
int fake_unsafe_call(void);
