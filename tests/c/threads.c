/* Many threads on one handle: each gets the same labels as a single thread, and its own messages.
 * Arguments: a model, the number of sessions. */

#include "check.h"

#include <pthread.h>

enum { THREADS = 8, FRAMES = 12, SIZES = 3 };

static const uint32_t SIDES[SIZES][2] = {{64, 48}, {33, 70}, {96, 17}};
static uint8_t pixels[96 * 70 * 3];

struct work {
    const fcn_segmenter *segmenter;
    uint8_t *expected[SIZES];
    int number;
    int wrong;
};

static fcn_frame frame_of(int size) {
    return fcn_frame_packed(FCN_FORMAT_BGR8, pixels, SIDES[size][0], SIDES[size][1], 0);
}

static void *run(void *argument) {
    struct work *work = argument;
    fcn_mask *mask = fcn_mask_new();
    char message[64];
    int i;
    /* This thread does not see the messages of other threads. */
    if (strcmp(fcn_last_error(), "") != 0) work->wrong++;
    snprintf(message, sizeof message, "format %d", 100 + work->number);
    for (i = 0; i < FRAMES; i++) {
        int size = (i + work->number) % SIZES;
        fcn_frame frame = frame_of(size);
        if (fcn_segment(work->segmenter, &frame, mask) != FCN_OK) {
            work->wrong++;
            continue;
        }
        if (memcmp(fcn_mask_labels(mask), work->expected[size], (size_t)SIDES[size][0] * SIDES[size][1]) != 0)
            work->wrong++;
        frame.format = (uint32_t)(100 + work->number);
        if (fcn_segment(work->segmenter, &frame, mask) != FCN_ERROR_UNSUPPORTED_FORMAT) work->wrong++;
        if (strstr(fcn_last_error(), message) == NULL) work->wrong++;
    }
    fcn_mask_free(mask);
    return NULL;
}

int main(int argc, char **argv) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    pthread_t threads[THREADS];
    struct work work[THREADS];
    uint8_t *expected[SIZES];
    size_t i;
    if (argc != 3) return 2;
    for (i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 13 + i / 29);

    WORKS(fcn_options_set_sessions(options, (uint32_t)atoi(argv[2])));
    WORKS(fcn_options_set_threads(options, 2));
    WORKS(fcn_create(argv[1], options, &segmenter));
    fcn_options_free(options);
    if (segmenter == NULL) return 1;
    for (i = 0; i < SIZES; i++) {
        fcn_frame frame = frame_of((int)i);
        size_t area = (size_t)SIDES[i][0] * SIDES[i][1];
        expected[i] = malloc(area);
        WORKS(fcn_segment(segmenter, &frame, mask));
        memcpy(expected[i], fcn_mask_labels(mask), area);
    }
    for (i = 0; i < THREADS; i++) {
        work[i].segmenter = segmenter;
        memcpy(work[i].expected, expected, sizeof expected);
        work[i].number = (int)i;
        work[i].wrong = 0;
        CHECK(pthread_create(&threads[i], NULL, run, &work[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK(work[i].wrong == 0);
    }
    CHECK(strcmp(fcn_last_error(), "") == 0);
    for (i = 0; i < SIZES; i++) free(expected[i]);
    fcn_mask_free(mask);
    fcn_free(segmenter);
    return report();
}
