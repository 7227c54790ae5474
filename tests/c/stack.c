/* Everything works on a thread with the minimum stack that fcn.h documents. Arguments: the stack in
 * KiB, models. */

#include "check.h"

#include <pthread.h>
#include <unistd.h>

static char **models;

static void *uses(void *unused) {
    static uint8_t pixels[64 * 48 * 3];
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 64, 48, 0);
    char **model;
    for (model = models; *model != NULL; model++) {
        fcn_segmenter *segmenter = NULL;
        fcn_stream *stream = NULL;
        fcn_mask *mask = fcn_mask_new();
        WORKS(fcn_create(*model, NULL, &segmenter));
        WORKS(fcn_segmenter_warm_up(segmenter, 64, 48));
        WORKS(fcn_segment(segmenter, &frame, mask));
        WORKS(fcn_stream_create(segmenter, NULL, NULL, NULL, &stream));
        WORKS(fcn_stream_push(stream, &frame, 0, NULL));
        WORKS(fcn_stream_wait(stream, 600000, mask, NULL, NULL));
        fcn_stream_free(stream);
        fcn_mask_free(mask);
        fcn_free(segmenter);
    }
    return unused;
}

int main(int argc, char **argv) {
    pthread_attr_t attributes;
    pthread_t thread;
    if (argc < 3) return 2;
    alarm(600);
    models = argv + 2;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, (size_t)atoi(argv[1]) * 1024) == 0);
    CHECK(pthread_create(&thread, &attributes, uses, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
    return report();
}
