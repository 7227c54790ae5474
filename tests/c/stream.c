/* Streams, fcn_segmenter_cancel() and timeouts: callbacks that wait, push, stop and free; borrowed
 * frames; polling. Arguments: a model whose run never ends for black frames, and one that fails on
 * frames which are not 96 x 64. */

#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <pthread.h>
#include <time.h>

enum { SMALL = 32, BLACK = 64, MOST = 200 };

static uint8_t pixels[96 * 64 * 3];
static const uint8_t nothing[BLACK * BLACK * 3];

/* Shared by callbacks and threads, and guarded by the lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int released[MOST];
static int results, timeouts, cancels, failed, ended, may_return;

struct context {
    fcn_stream *stream;
    enum { LISTEN, WAIT, PUSH, STOP, FREE } does;
};

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_until(double time) {
    double left = time - seconds();
    struct timespec pause;
    if (left <= 0) return;
    pause.tv_sec = (time_t)left;
    pause.tv_nsec = (long)(1e9 * (left - (double)pause.tv_sec));
    nanosleep(&pause, NULL);
}

static fcn_frame small_frame(void) { return fcn_frame_packed(FCN_FORMAT_RGB8, pixels, SMALL, SMALL, 0); }

static fcn_frame black_frame(void) { return fcn_frame_packed(FCN_FORMAT_RGB8, nothing, BLACK, BLACK, 0); }

/* The current `*value`. */
static int read(const int *value) {
    int result;
    pthread_mutex_lock(&lock);
    result = *value;
    pthread_mutex_unlock(&lock);
    return result;
}

/* Waits until `*value` is at least `wanted`. */
static void await(const int *value, int wanted) {
    double end = seconds() + 120;
    while (read(value) < wanted && seconds() < end) sleep_until(seconds() + 1e-3);
    CHECK(read(value) >= wanted);
}

static void forget(void) {
    pthread_mutex_lock(&lock);
    results = timeouts = cancels = failed = may_return = 0;
    memset(released, 0, sizeof released);
    pthread_mutex_unlock(&lock);
}

static void release(void *user) {
    pthread_mutex_lock(&lock);
    ++*(int *)user;
    pthread_mutex_unlock(&lock);
}

/* Each of the first frames was released once, and no other frame was. */
static int all_released(int count) {
    int i, right = 1;
    pthread_mutex_lock(&lock);
    for (i = 0; i < MOST; i++) right = right && released[i] == (i < count);
    pthread_mutex_unlock(&lock);
    return right;
}

static void receive(void *argument, fcn_status status, const fcn_mask *mask, int64_t timestamp, void *user) {
    struct context *context = argument;
    int number;
    (void)user;
    pthread_mutex_lock(&lock);
    number = ++results;
    timeouts += status == FCN_ERROR_TIMEOUT;
    cancels += status == FCN_ERROR_CANCELLED;
    failed += status != FCN_OK && (mask != NULL || fcn_last_error()[0] == 0);
    failed += status == FCN_OK && (fcn_mask_labels(mask) == NULL || fcn_mask_confidence(mask) == NULL);
    pthread_mutex_unlock(&lock);
    if (context->does == WAIT) {
        CHECK(timestamp == (number == 1 ? 0 : MOST - 1));
        await(&may_return, 1);
    } else if (context->does == PUSH && number < 10) {
        fcn_frame frame = small_frame();
        WORKS(fcn_stream_push(context->stream, &frame, timestamp + 1, NULL));
    } else if (context->does == STOP || context->does == FREE) {
        fcn_frame frame = small_frame();
        WORKS(fcn_stream_push_borrowed(context->stream, &frame, 0, &released[1], release));
        CHECK(read(&released[1]) == 0);
        if (context->does == STOP) WORKS(fcn_stream_stop(context->stream));
        if (context->does == FREE) fcn_stream_free(context->stream);
        /* The queued frame has been released, this call's frame has not. */
        CHECK(read(&released[1]) == 1 && read(&released[0]) == 0);
    }
}

static fcn_stream *new_stream(const fcn_segmenter *segmenter, struct context *context) {
    fcn_mask *like = fcn_mask_new();
    fcn_stream *stream = NULL;
    WORKS(fcn_mask_set_outputs(like, FCN_OUTPUT_CONFIDENCE));
    WORKS(fcn_stream_create(segmenter, like, context ? receive : NULL, context, &stream));
    fcn_mask_free(like);
    return stream;
}

static fcn_stream_counters counters_of(const fcn_stream *stream) {
    fcn_stream_counters counters = {0, 0, 0, 0, 0};
    WORKS(fcn_stream_get_counters(stream, &counters));
    return counters;
}

static int adds_up(fcn_stream_counters c) { return c.pushed == c.dropped + c.done + c.late + c.failed; }

/* The newest frame is labelled next, however many are pushed during a callback. */
static void newest_frame(const fcn_segmenter *segmenter) {
    struct context context = {NULL, WAIT};
    fcn_frame frame = small_frame();
    fcn_stream_counters counters;
    int i;
    forget();
    context.stream = new_stream(segmenter, &context);
    WORKS(fcn_stream_push(context.stream, &frame, 0, NULL));
    await(&results, 1);
    for (i = 1; i < MOST; i++) WORKS(fcn_stream_push(context.stream, &frame, i, NULL));
    release(&may_return);
    await(&results, 2);
    WORKS(fcn_stream_stop(context.stream));
    counters = counters_of(context.stream);
    CHECK(counters.pushed == MOST && counters.dropped == MOST - 2 && counters.done == 2 && adds_up(counters));
    CHECK(results == 2 && failed == 0);
    fcn_stream_free(context.stream);
}

static void *push_and_wait(void *argument) {
    fcn_stream *stream = argument;
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = small_frame();
    fcn_status status = FCN_OK;
    while (status != FCN_ERROR_CANCELLED) {
        status = fcn_stream_push(stream, &frame, 0, NULL);
        if (status == FCN_OK) status = fcn_stream_wait(stream, 1, mask, NULL, NULL);
        if (status != FCN_OK && status != FCN_ERROR_TIMEOUT && status != FCN_ERROR_CANCELLED) return argument;
    }
    fcn_mask_free(mask);
    return NULL;
}

static void polling(const fcn_segmenter *segmenter, const fcn_segmenter *picky) {
    fcn_stream *stream = new_stream(segmenter, NULL);
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = small_frame();
    fcn_stream_counters counters;
    int64_t timestamp = 5;
    void *user = NULL, *wrong;
    pthread_t threads[8];
    int i;
    FAILS(fcn_stream_poll(stream, mask, &timestamp, &user), FCN_ERROR_TIMEOUT, "0 ms");
    FAILS(fcn_stream_wait(stream, 5, mask, &timestamp, &user), FCN_ERROR_TIMEOUT, "5 ms");
    CHECK(timestamp == 5 && user == NULL && fcn_mask_width(mask) == 0);
    WORKS(fcn_stream_push(stream, &frame, 123, &frame));
    WORKS(fcn_stream_wait(stream, 60000, mask, &timestamp, &user));
    CHECK(timestamp == 123 && user == &frame && fcn_mask_width(mask) == SMALL && fcn_mask_confidence(mask) != NULL);
    FAILS(fcn_stream_push(stream, NULL, 0, NULL), FCN_ERROR_NULL_ARGUMENT, "frame");
    FAILS(fcn_stream_push_borrowed(stream, &frame, 0, NULL, NULL), FCN_ERROR_NULL_ARGUMENT, "release");
    frame.width = 0;
    FAILS(fcn_stream_push(stream, &frame, 0, NULL), FCN_ERROR_INVALID_ARGUMENT, "width is 0");
    FAILS(fcn_stream_push_borrowed(stream, &frame, 0, released, release), FCN_ERROR_INVALID_ARGUMENT, "width is 0");
    for (i = 0; i < 8; i++) CHECK(pthread_create(&threads[i], NULL, push_and_wait, stream) == 0);
    sleep_until(seconds() + 0.05);
    WORKS(fcn_stream_stop(stream));
    WORKS(fcn_stream_stop(stream));
    for (i = 0; i < 8; i++) CHECK(pthread_join(threads[i], &wrong) == 0 && wrong == NULL);
    counters = counters_of(stream);
    CHECK(counters.pushed > 1 && counters.failed == 0 && adds_up(counters));
    fcn_stream_free(stream);

    stream = new_stream(picky, NULL);
    for (i = 0; i < 3; i++) {
        frame = fcn_frame_packed(FCN_FORMAT_GRAY8, pixels, 80, 64, 0);
        WORKS(fcn_stream_push(stream, &frame, i, NULL));
        FAILS(fcn_stream_wait(stream, 60000, mask, &timestamp, NULL), FCN_ERROR_RUNTIME, "80");
        CHECK(timestamp == i);
        frame.width = 96;
        WORKS(fcn_stream_push(stream, &frame, i, NULL));
        WORKS(fcn_stream_wait(stream, 60000, mask, NULL, NULL));
        CHECK(fcn_mask_width(mask) == 96);
    }
    fcn_stream_free(stream);
    fcn_mask_free(mask);
}

/* Segments until it is cancelled. */
static void *segment_black(void *argument) {
    fcn_frame frame = black_frame();
    fcn_mask *mask = fcn_mask_new();
    fcn_status status = FCN_OK;
    while (status == FCN_OK) status = fcn_segment(argument, &frame, mask);
    fcn_mask_free(mask);
    pthread_mutex_lock(&lock);
    ended += status == FCN_ERROR_CANCELLED;
    pthread_mutex_unlock(&lock);
    return NULL;
}

int main(int argc, char **argv) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL, *picky = NULL;
    struct context context = {NULL, LISTEN};
    fcn_frame black = black_frame(), small = small_frame();
    fcn_mask *mask = fcn_mask_new();
    fcn_stream *other;
    pthread_t threads[3];
    int i;
    if (argc != 3) return 2;
    for (i = 0; i < (int)sizeof pixels; i++) pixels[i] = (uint8_t)(i * 13 + i / 29);

    WORKS(fcn_options_set_provider(options, FCN_PROVIDER_CPU));
    WORKS(fcn_options_set_threads(options, 1));
    WORKS(fcn_create(argv[1], options, &segmenter));
    WORKS(fcn_create(argv[2], options, &picky));
    if (segmenter == NULL || picky == NULL) return 1;

    FAILS(fcn_stream_create(NULL, NULL, NULL, NULL, &other), FCN_ERROR_NULL_ARGUMENT, "segmenter");
    FAILS(fcn_stream_create(segmenter, NULL, NULL, NULL, NULL), FCN_ERROR_NULL_ARGUMENT, "stream");
    FAILS(fcn_stream_push(NULL, &small, 0, NULL), FCN_ERROR_NULL_ARGUMENT, "stream");
    FAILS(fcn_stream_stop(NULL), FCN_ERROR_NULL_ARGUMENT, "stream");
    FAILS(fcn_segmenter_cancel(NULL), FCN_ERROR_NULL_ARGUMENT, "segmenter");
    fcn_stream_free(NULL);

    newest_frame(segmenter);

    /* A callback that pushes the next frame. */
    forget();
    context.does = PUSH;
    context.stream = new_stream(segmenter, &context);
    WORKS(fcn_stream_push(context.stream, &small, 0, NULL));
    await(&results, 10);
    FAILS(fcn_stream_poll(context.stream, mask, NULL, NULL), FCN_ERROR_INVALID_ARGUMENT, "callback");
    fcn_stream_free(context.stream);
    CHECK(results == 10 && failed == 0);

    /* Callbacks that stop or free their stream. */
    for (i = STOP; i <= FREE; i++) {
        forget();
        context.does = i == STOP ? STOP : FREE;
        context.stream = new_stream(segmenter, &context);
        WORKS(fcn_stream_push_borrowed(context.stream, &small, 0, &released[0], release));
        await(&released[0], 1);
        CHECK(results == 1 && failed == 0 && all_released(2));
        if (i == STOP) {
            FAILS(fcn_stream_push(context.stream, &small, 0, NULL), FCN_ERROR_CANCELLED, "stopped");
            fcn_stream_free(context.stream);
        }
    }

    /* Borrowed frames are released once: done, dropped, late, and in progress or queued when the
     * stream is freed. */
    forget();
    context.does = LISTEN;
    context.stream = new_stream(segmenter, &context);
    for (i = 0; i < 40; i++) {
        if (i == 20) WORKS(fcn_stream_set_deadline(context.stream, 1));
        WORKS(fcn_stream_push_borrowed(context.stream, i < 20 ? &small : &black, 0, &released[i], release));
        sleep_until(seconds() + (i == 19 ? 0.02 : 1e-3 * (i % 4)));
    }
    await(&timeouts, 1);
    WORKS(fcn_stream_set_deadline(context.stream, 0));
    WORKS(fcn_stream_push_borrowed(context.stream, &black, 0, &released[40], release));
    sleep_until(seconds() + 5e-3);
    WORKS(fcn_stream_push_borrowed(context.stream, &black, 0, &released[41], release));
    WORKS(fcn_stream_stop(context.stream));
    CHECK(all_released(42) && adds_up(counters_of(context.stream)) && counters_of(context.stream).late > 0);
    FAILS(fcn_stream_push_borrowed(context.stream, &black, 0, &released[42], release), FCN_ERROR_CANCELLED, "stopped");
    fcn_stream_free(context.stream);
    CHECK(all_released(42) && failed == 0);

    polling(segmenter, picky);

    /* fcn_segmenter_cancel() ends running and waiting calls, and a stream's frame; later calls
     * work. */
    forget();
    context.stream = new_stream(segmenter, &context);
    for (i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, segment_black, segmenter) == 0);
    sleep_until(seconds() + 0.01);
    WORKS(fcn_stream_push(context.stream, &black, 0, NULL));
    while (read(&cancels) == 0 || read(&ended) < 3) {
        WORKS(fcn_segmenter_cancel(segmenter));
        sleep_until(seconds() + 3e-3);
    }
    for (i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    WORKS(fcn_segment(segmenter, &small, mask));
    WORKS(fcn_stream_push(context.stream, &small, 0, NULL));
    await(&results, 2);
    CHECK(failed == 0 && counters_of(context.stream).failed == 1 && counters_of(context.stream).done == 1);
    fcn_stream_free(context.stream);

    /* A stream outlives the segmenter's handle. */
    other = new_stream(segmenter, NULL);
    fcn_free(segmenter);
    WORKS(fcn_stream_push(other, &small, 7, NULL));
    WORKS(fcn_stream_wait(other, 60000, mask, NULL, NULL));
    fcn_stream_free(other);

    WORKS(fcn_options_set_timeout(options, 1));
    WORKS(fcn_create(argv[1], options, &segmenter));
    FAILS(fcn_segment(segmenter, &black, mask), FCN_ERROR_TIMEOUT, "1ms");
    fcn_free(segmenter);
    WORKS(fcn_options_set_timeout(options, 60000));
    WORKS(fcn_create(argv[1], options, &segmenter));
    WORKS(fcn_segment(segmenter, &small, mask));

    fcn_options_free(options);
    fcn_mask_free(mask);
    fcn_free(segmenter);
    fcn_free(picky);
    return report();
}
