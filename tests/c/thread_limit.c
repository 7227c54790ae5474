/* A limit on the number of threads, as with `ulimit -u` or in a container: fcn_create() works or
 * fails, and never waits for threads that could not be started. Argument: a model.
 *
 * This program's pthread_create() also replaces the C library's for libfcn and ONNX Runtime. */

#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int running = 0;
static atomic_int limit = 1000;

typedef struct {
    void *(*work)(void *);
    void *argument;
} job;

static void *counted(void *pointer) {
    const job work = *(job *)pointer;
    void *result;
    free(pointer);
    result = work.work(work.argument);
    atomic_fetch_sub(&running, 1);
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*work)(void *), void *argument) {
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    void *symbol = dlsym(RTLD_NEXT, "pthread_create");
    job *own = malloc(sizeof *own);
    int status;
    memcpy(&real, &symbol, sizeof real);
    if (own == NULL) return EAGAIN;
    own->work = work;
    own->argument = argument;
    status = EAGAIN;
    if (atomic_fetch_add(&running, 1) < atomic_load(&limit)) status = real(thread, attributes, counted, own);
    if (status != 0) {
        atomic_fetch_sub(&running, 1);
        free(own);
    }
    return status;
}

/* Threads of freed segmenters are joined, but may end slightly later than fcn_free(). */
static void wait_for_end(int others) {
    while (atomic_load(&running) > others) usleep(1000);
}

int main(int argc, char **argv) {
    static uint8_t pixels[64 * 48 * 3];
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_options *options = fcn_options_new();
    fcn_mask *mask = fcn_mask_new();
    int others, allowed, failed = 0;
    if (argc != 2) return 2;
    /* Ends a program that hangs. */
    alarm(600);
    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_CPU));
    WORKS(fcn_options_set_threads(options, 4));
    WORKS(fcn_options_set_sessions(options, 2));
    others = atomic_load(&running);
    /* 3 threads in addition to the caller's for each of two sessions and the head. */
    for (allowed = 0; allowed <= 12; allowed++) {
        fcn_segmenter *segmenter = NULL;
        fcn_status status;
        atomic_store(&limit, others + allowed);
        status = fcn_create(argv[1], options, &segmenter);
        if (allowed < 9) {
            char words[64];
            snprintf(words, sizeof words, "9 threads are needed, but only %d more can be started", allowed);
            FAILS(status, FCN_ERROR_RUNTIME, words);
            CHECK(segmenter == NULL);
            failed++;
        } else {
            WORKS(status);
            WORKS(fcn_segment(segmenter, &frame, mask));
            fcn_free(segmenter);
        }
        wait_for_end(others);
    }
    CHECK(failed == 9);
    fcn_mask_free(mask);
    fcn_options_free(options);
    return report();
}
