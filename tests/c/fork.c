/* A forked child can neither use nor free its parent's handle. Trying to harms neither the child
 * nor the parent. Arguments: a model, and possibly the parent's provider. */

#include "check.h"
#include "provider.h"

#include <pthread.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static uint8_t pixels[64 * 48 * 3];
static int uses_openvino;

/* Replaces the C library's function, also for libfcn: in another PID namespace a child can have its
 * parent's id. */
pid_t getpid(void) { return 42; }

static void *writes(void *text) {
    char big[65536];
    memset(big, 1, sizeof big);
    memcpy(text, big, 1);
    return text;
}

/* The child's threads reuse the memory of its parent's threads. */
static void starts_threads(void) {
    pthread_t threads[16];
    char text[16];
    int i;
    for (i = 0; i < 16; i++) CHECK(pthread_create(&threads[i], NULL, writes, &text[i]) == 0);
    for (i = 0; i < 16; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

enum { CHILD_ONLY_EXITS, CHILD_MAKES_ITS_OWN, CHILD_FREES_ITS_OWN };

/* A child that calls exit(), which runs the destructors of all libraries. Those of OpenVINO may
 * abort a child, so _exit() if its parent has used OpenVINO. */
static void exits(const char *model, int how) {
    int status = -1;
    pid_t child = fork();
    if (child == 0) {
        alarm(600);
        failures = 0;
        if (uses_openvino) {
            fcn_options *options = options_for("openvino");
            fcn_segmenter *segmenter = NULL;
            FAILS(fcn_create(model, options, &segmenter), FCN_ERROR_PROVIDER, "child");
            fcn_options_free(options);
        }
        if (how != CHILD_ONLY_EXITS) {
            fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
            fcn_segmenter *segmenter = NULL;
            fcn_mask *mask = fcn_mask_new();
            WORKS(fcn_create(model, NULL, &segmenter));
            WORKS(fcn_segment(segmenter, &frame, mask));
            fcn_mask_free(mask);
            if (how == CHILD_FREES_ITS_OWN) fcn_free(segmenter);
        }
        if (uses_openvino) _exit(failures == 0 ? 0 : 1);
        exit(failures == 0 ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    fcn_options *options = options_for(argc == 3 ? argv[2] : "auto");
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    fcn_stream *stream = NULL;
    fcn_stream_counters counters;
    int round;
    if (argc < 2) return 2;
    uses_openvino = argc == 3 && strcmp(argv[2], "openvino") == 0;
    WORKS(fcn_options_set_threads(options, 3));
    WORKS(fcn_options_set_sessions(options, 2));
    WORKS(fcn_create(argv[1], options, &segmenter));
    fcn_options_free(options);
    WORKS(fcn_stream_create(segmenter, NULL, NULL, NULL, &stream));
    /* Starts another thread that does not exist in the child. */
    WORKS(fcn_stream_set_deadline(stream, 60000));
    for (round = 0; round < 5; round++) {
        int status = -1;
        pid_t child;
        WORKS(fcn_segment(segmenter, &frame, mask));
        WORKS(fcn_stream_push(stream, &frame, round, NULL));
        child = fork();
        if (child == 0) {
            /* Ends a child that waits for threads which do not exist. */
            alarm(600);
            if (round % 2 == 1) starts_threads();
            FAILS(fcn_segment(segmenter, &frame, mask), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_segmenter_warm_up(segmenter, 64, 48), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_segmenter_cancel(segmenter), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_stream_push(stream, &frame, 0, NULL), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_stream_poll(stream, mask, NULL, NULL), FCN_ERROR_RUNTIME, "child");
            FAILS(fcn_stream_get_counters(stream, &counters), FCN_ERROR_RUNTIME, "child");
            WORKS(fcn_stream_stop(stream));
            fcn_stream_free(stream);
            fcn_mask_free(mask);
            fcn_free(segmenter);
            starts_threads();
            _exit(failures == 0 ? 0 : 1);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    WORKS(fcn_segment(segmenter, &frame, mask));
    WORKS(fcn_stream_wait(stream, 60000, mask, NULL, NULL));
    exits(argv[1], CHILD_ONLY_EXITS);
    exits(argv[1], CHILD_MAKES_ITS_OWN);
    fcn_stream_free(stream);
    fcn_free(segmenter);
    exits(argv[1], CHILD_ONLY_EXITS);
    exits(argv[1], CHILD_MAKES_ITS_OWN);
    exits(argv[1], CHILD_FREES_ITS_OWN);
    fcn_mask_free(mask);
    return report();
}
