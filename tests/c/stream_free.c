/* Threads call a stream's functions while and after another thread frees it: each call returns a
 * status. Argument: a model. */

#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

enum { THREADS = 3, STREAMS = 200 };

static uint8_t pixels[64 * 48 * 3];
static _Atomic(fcn_stream *) current;
static atomic_int done;
static atomic_int wrong;
static atomic_int ended;

static void *uses(void *unused) {
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_mask *mask = fcn_mask_new();
    while (!atomic_load(&done)) {
        fcn_stream *stream = atomic_load(&current);
        fcn_stream_counters counters;
        fcn_status statuses[3];
        int i;
        statuses[0] = fcn_stream_push(stream, &frame, 0, NULL);
        statuses[1] = fcn_stream_poll(stream, mask, NULL, NULL);
        statuses[2] = fcn_stream_get_counters(stream, &counters);
        for (i = 0; i < 3; i++) {
            if (statuses[i] == FCN_ERROR_CANCELLED) atomic_fetch_add(&ended, 1);
            else if (statuses[i] != FCN_OK && statuses[i] != FCN_ERROR_TIMEOUT) atomic_fetch_add(&wrong, 1);
        }
    }
    fcn_mask_free(mask);
    return unused;
}

int main(int argc, char **argv) {
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_segmenter *segmenter = NULL;
    fcn_stream *stream = NULL;
    fcn_mask *mask = fcn_mask_new();
    pthread_t threads[THREADS];
    int i, before;
    if (argc != 2) return 2;
    alarm(600);
    WORKS(fcn_create(argv[1], NULL, &segmenter));
    WORKS(fcn_stream_create(segmenter, NULL, NULL, NULL, &stream));
    atomic_store(&current, stream);
    for (i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], NULL, uses, NULL) == 0);
    for (i = 0; i < STREAMS; i++) {
        fcn_stream *next = NULL;
        WORKS(fcn_stream_create(segmenter, NULL, NULL, NULL, &next));
        /* The threads use the freed stream for a while. */
        fcn_stream_free(stream);
        before = atomic_load(&ended);
        while (atomic_load(&ended) == before) sched_yield();
        atomic_store(&current, next);
        stream = next;
    }
    atomic_store(&done, 1);
    for (i = 0; i < THREADS; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(atomic_load(&wrong) == 0);
    WORKS(fcn_stream_push(stream, &frame, 0, NULL));
    fcn_stream_free(stream);
    FAILS(fcn_stream_push(stream, &frame, 0, NULL), FCN_ERROR_CANCELLED, "the stream was freed");
    FAILS(fcn_stream_wait(stream, 600000, mask, NULL, NULL), FCN_ERROR_CANCELLED, "the stream was freed");
    FAILS(fcn_stream_stop(stream), FCN_ERROR_CANCELLED, "the stream was freed");
    fcn_mask_free(mask);
    fcn_free(segmenter);
    return report();
}
