/* Memory of the device, which is memory of the host, and copies. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "fake_driver.h"

typedef struct Allocation {
  char *begin;
  size_t size;
  enum Kind kind;
  struct Allocation *next;
} Allocation;

static Allocation *allocations;

static size_t pages(size_t size) { return (size + 4095) / 4096 * 4096; }

static int allocate(void **at, size_t size, enum Kind kind) {
  int status = fake_needs_context();
  if (!status) status = fake_unsafe_call();
  if (status) return status;
  if (!size) return INVALID_VALUE;
  void *memory = mmap(NULL, pages(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return OUT_OF_MEMORY;
  Allocation *made = malloc(sizeof *made);
  pthread_mutex_lock(&fake_lock);
  *made = (Allocation){memory, size, kind, allocations};
  allocations = made;
  ++fake_live[kind];
  pthread_mutex_unlock(&fake_lock);
  *at = memory;
  return OK;
}

/* Waits for all work, as the driver does, then unmaps: touching freed memory ends the process. */
static int release(void *at, enum Kind kind) {
  int status = fake_needs_context();
  if (!status) status = fake_unsafe_call();
  if (status) return status;
  fake_execute_all();
  pthread_mutex_lock(&fake_lock);
  Allocation **link = &allocations;
  while (*link && ((*link)->begin != at || (*link)->kind != kind)) link = &(*link)->next;
  Allocation *found = *link;
  if (found) {
    *link = found->next;
    --fake_live[kind];
  }
  pthread_mutex_unlock(&fake_lock);
  if (!found) return INVALID_VALUE;
  munmap(found->begin, pages(found->size));
  free(found);
  return OK;
}

bool fake_is_inside(const void *at, size_t size) {
  const char *begin = at;
  bool inside = true;
  pthread_mutex_lock(&fake_lock);
  for (Allocation *each = allocations; each; each = each->next)
    if (begin >= each->begin && begin < each->begin + each->size) inside = begin + size <= each->begin + each->size;
  pthread_mutex_unlock(&fake_lock);
  return inside;
}

API cuMemAlloc_v2(DevicePointer *at, size_t size) {
  void *memory = NULL;
  int status = allocate(&memory, size, DEVICE_MEMORY);
  *at = (DevicePointer)memory;
  return status;
}
API cuMemFree_v2(DevicePointer at) { return release((void *)at, DEVICE_MEMORY); }
API cuMemHostAlloc(void **at, size_t size, unsigned flags) {
  (void)flags;
  return allocate(at, size, HOST_MEMORY);
}
API cuMemFreeHost(void *at) { return release(at, HOST_MEMORY); }

static int copy_async(void *to, const void *from, size_t size, Stream *stream) {
  return fake_enqueue(stream, (Copy){to, from, size, NULL});
}
API cuMemcpyHtoDAsync_v2(DevicePointer to, const void *from, size_t size, Stream *stream) {
  return copy_async((void *)to, from, size, stream);
}
API cuMemcpyDtoHAsync_v2(void *to, DevicePointer from, size_t size, Stream *stream) {
  return copy_async(to, (const void *)from, size, stream);
}
API cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, size_t size, Stream *stream) {
  return copy_async((void *)to, (const void *)from, size, stream);
}

/* On the legacy default stream, and finished when they return. */
static int copy(void *to, const void *from, size_t size) {
  int status = copy_async(to, from, size, NULL);
  if (!status) fake_execute_all();
  return status;
}
API cuMemcpyHtoD_v2(DevicePointer to, const void *from, size_t size) { return copy((void *)to, from, size); }
API cuMemcpyDtoH_v2(void *to, DevicePointer from, size_t size) { return copy(to, (const void *)from, size); }
API cuMemcpyDtoD_v2(DevicePointer to, DevicePointer from, size_t size) {
  return copy((void *)to, (const void *)from, size);
}
