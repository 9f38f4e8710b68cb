/* Streams, and the capture of graphs. */
#include <string.h>

#include "fake_driver.h"

typedef struct Graph {
  Copies copies;
} Graph;

static Stream *streams;
static Capture *captures;
static Stream legacy = {.blocking = true};

static Stream *stream_of(Stream *handle) { return (uintptr_t)handle < 2 ? &legacy : handle; }

static void append(Copies *list, Copy copy) {
  Copy *made = malloc(sizeof *made);
  *made = copy;
  made->next = NULL;
  if (list->last) list->last->next = made;
  else list->first = made;
  list->last = made;
}

static void clear(Copies *list) {
  for (Copy *each = list->first, *next; each; each = next) {
    next = each->next;
    free(each);
  }
  *list = (Copies){NULL, NULL};
}

/* Makes the copies that wait on a stream, in order, one thread at a time. */
static void execute(Stream *stream) {
  static pthread_mutex_t executing = PTHREAD_MUTEX_INITIALIZER;
  pthread_mutex_lock(&executing);
  for (;;) {
    pthread_mutex_lock(&fake_lock);
    Copy *next = stream->waiting.first;
    if (next) {
      stream->waiting.first = next->next;
      if (!next->next) stream->waiting.last = NULL;
    }
    pthread_mutex_unlock(&fake_lock);
    if (!next) break;
    memmove(next->to, next->from, next->size);
    free(next);
  }
  pthread_mutex_unlock(&executing);
}

void fake_execute_all(void) {
  for (;;) {
    pthread_mutex_lock(&fake_lock);
    Stream *busy = legacy.waiting.first ? &legacy : streams;
    while (busy && !busy->waiting.first) busy = busy->next;
    pthread_mutex_unlock(&fake_lock);
    if (!busy) return;
    execute(busy);
  }
}

int fake_unsafe_call(void) {
  int status = OK;
  pthread_mutex_lock(&fake_lock);
  for (Capture *each = captures; each; each = each->next)
    if (each->mode == 0 || (each->mode == 1 && pthread_equal(each->thread, pthread_self()))) {
      each->invalidated = true;
      status = CAPTURE_UNSUPPORTED;
    }
  pthread_mutex_unlock(&fake_lock);
  return status;
}

/* Work on the legacy stream waits for all blocking streams, which is not possible while one of them captures. */
static int legacy_conflict(void) {
  int status = OK;
  for (Stream *each = streams; each; each = each->next)
    if (each->blocking && each->capture) {
      each->capture->invalidated = true;
      status = CAPTURE_IMPLICIT;
    }
  return status;
}

int fake_enqueue(Stream *handle, Copy copy) {
  int status = fake_needs_context();
  if (status) return status;
  if (!fake_is_inside(copy.to, copy.size) || !fake_is_inside(copy.from, copy.size)) return INVALID_VALUE;
  Stream *stream = stream_of(handle);
  pthread_mutex_lock(&fake_lock);
  if (stream == &legacy) status = legacy_conflict();
  if (!status) append(stream->capture ? &stream->capture->copies : &stream->waiting, copy);
  pthread_mutex_unlock(&fake_lock);
  return status;
}

API cuStreamCreate(Stream **stream, unsigned flags) {
  int status = fake_needs_context();
  if (status) return status;
  *stream = calloc(1, sizeof **stream);
  pthread_mutex_lock(&fake_lock);
  **stream = (Stream){.blocking = !(flags & 1), .next = streams};
  streams = *stream;
  ++fake_live[STREAMS];
  pthread_mutex_unlock(&fake_lock);
  return OK;
}
API cuStreamDestroy_v2(Stream *stream) {
  int status = fake_needs_context();
  if (status) return status;
  execute(stream);
  pthread_mutex_lock(&fake_lock);
  Stream **link = &streams;
  while (*link && *link != stream) link = &(*link)->next;
  if (*link) {
    *link = stream->next;
    --fake_live[STREAMS];
    free(stream);
  } else {
    status = INVALID_HANDLE;
  }
  pthread_mutex_unlock(&fake_lock);
  return status;
}

/* Neither is allowed on a stream that captures. */
static int not_capturing(Stream *stream) {
  int status = fake_needs_context();
  pthread_mutex_lock(&fake_lock);
  if (stream->capture) {
    stream->capture->invalidated = true;
    status = CAPTURE_UNSUPPORTED;
  }
  pthread_mutex_unlock(&fake_lock);
  return status;
}
API cuStreamSynchronize(Stream *handle) {
  Stream *stream = stream_of(handle);
  int status = not_capturing(stream);
  if (!status) execute(stream);
  return status;
}
API cuStreamQuery(Stream *handle) {
  Stream *stream = stream_of(handle);
  int status = not_capturing(stream);
  return status ? status : stream->waiting.first ? NOT_READY : OK;
}
API cuStreamBeginCapture_v2(Stream *stream, int mode) {
  int status = fake_needs_context();
  if (status) return status;
  if (stream_of(stream) == &legacy) return CAPTURE_UNSUPPORTED;
  pthread_mutex_lock(&fake_lock);
  if (stream->capture) {
    status = INVALID_VALUE;
  } else {
    stream->capture = calloc(1, sizeof *stream->capture);
    *stream->capture = (Capture){.mode = mode, .thread = pthread_self(), .next = captures};
    captures = stream->capture;
  }
  pthread_mutex_unlock(&fake_lock);
  return status;
}
API cuStreamEndCapture(Stream *stream, Graph **graph) {
  *graph = NULL;
  int status = OK;
  pthread_mutex_lock(&fake_lock);
  Capture *capture = stream->capture;
  if (!capture) {
    status = CAPTURE_UNMATCHED;
  } else if (capture->mode != 2 && !pthread_equal(capture->thread, pthread_self())) {
    status = CAPTURE_WRONG_THREAD;
  } else {
    Capture **link = &captures;
    while (*link != capture) link = &(*link)->next;
    *link = capture->next;
    stream->capture = NULL;
    if (capture->invalidated) {
      clear(&capture->copies);
      status = CAPTURE_INVALIDATED;
    } else {
      *graph = malloc(sizeof **graph);
      (*graph)->copies = capture->copies;
      ++fake_live[GRAPHS];
    }
    free(capture);
  }
  pthread_mutex_unlock(&fake_lock);
  return status;
}

API cuGraphInstantiateWithFlags(Graph **executable, const Graph *graph, unsigned long long flags) {
  (void)flags;
  *executable = NULL;
  if (!graph) return INVALID_VALUE;
  *executable = calloc(1, sizeof **executable);
  pthread_mutex_lock(&fake_lock);
  for (Copy *each = graph->copies.first; each; each = each->next) append(&(*executable)->copies, *each);
  ++fake_live[GRAPH_EXECUTABLES];
  pthread_mutex_unlock(&fake_lock);
  return OK;
}
API cuGraphLaunch(const Graph *executable, Stream *stream) {
  if (!executable) return INVALID_HANDLE;
  int status = OK;
  for (Copy *each = executable->copies.first; each && !status; each = each->next)
    status = fake_enqueue(stream, *each);
  return status;
}

static int destroy(Graph *graph, enum Kind kind) {
  if (!graph) return INVALID_VALUE;
  pthread_mutex_lock(&fake_lock);
  clear(&graph->copies);
  --fake_live[kind];
  pthread_mutex_unlock(&fake_lock);
  free(graph);
  return OK;
}
API cuGraphDestroy(Graph *graph) { return destroy(graph, GRAPHS); }
API cuGraphExecDestroy(Graph *executable) { return destroy(executable, GRAPH_EXECUTABLES); }
