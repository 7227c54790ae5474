/* The end of a program: the exit code is 0 whatever is still alive, even if a GPU is busy.
 *
 *     ./exit MODEL.onnx free      everything is freed
 *     ./exit MODEL.onnx leak      main returns with a segmenter and a mask
 *     ./exit MODEL.onnx stream    main returns while a stream labels frames
 *     ./exit MODEL.onnx busy      exit() while another thread labels frames
 *     ./exit MODEL.onnx atexit    a handler of atexit frees the segmenter
 *
 * A third argument is the provider, auto (default) or openvino.
 */

#define _POSIX_C_SOURCE 200112L

#include <fcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "provider.h"

enum { WIDTH = 480, HEIGHT = 320 };

static uint8_t pixels[WIDTH * HEIGHT * 3];
static fcn_segmenter *segmenter = NULL;

static fcn_frame frame(void) { return fcn_frame_packed(FCN_FORMAT_BGR8, pixels, WIDTH, HEIGHT, 0); }

static void *label(void *unused) {
    fcn_mask *mask = fcn_mask_new();
    fcn_frame one = frame();
    while (fcn_segment(segmenter, &one, mask) == FCN_OK) {
    }
    return unused;
}

static void labelled(void *context, fcn_status status, const fcn_mask *mask, int64_t timestamp, void *user) {
    (void)context, (void)status, (void)mask, (void)timestamp, (void)user;
}

static void free_segmenter(void) { fcn_free(segmenter); }

static void sleep_for(long milliseconds) {
    struct timespec time = {0, milliseconds * 1000000L};
    nanosleep(&time, NULL);
}

int main(int argc, char **argv) {
    const char *how = argc >= 3 ? argv[2] : "";
    fcn_options *options = options_for(argc == 4 ? argv[3] : "auto");
    fcn_frame one = frame();
    fcn_mask *mask = fcn_mask_new();
    pthread_t thread;
    size_t i;

    for (i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    if (argc < 3 || fcn_create(argv[1], options, &segmenter) != FCN_OK || fcn_segment(segmenter, &one, mask) != FCN_OK) {
        fprintf(stderr, "exit: %s\n", argc >= 3 ? fcn_last_error() : "usage: exit MODEL.onnx HOW");
        return 2;
    }
    fcn_options_free(options);
    printf("%s: ran on %s\n", how, fcn_segmenter_provider_name(segmenter));
    fflush(stdout);
    if (strcmp(how, "free") == 0) {
        fcn_mask_free(mask);
        fcn_free(segmenter);
    } else if (strcmp(how, "stream") == 0) {
        fcn_stream *stream = NULL;
        if (fcn_stream_create(segmenter, NULL, labelled, NULL, &stream) != FCN_OK) return 3;
        for (i = 0; i < 20; i++) {
            if (fcn_stream_push(stream, &one, (int64_t)i, NULL) != FCN_OK) return 4;
            sleep_for(2);
        }
    } else if (strcmp(how, "busy") == 0) {
        if (pthread_create(&thread, NULL, label, NULL) != 0) return 5;
        sleep_for(50);
        exit(0);
    } else if (strcmp(how, "atexit") == 0) {
        if (atexit(free_segmenter) != 0) return 6;
    } else if (strcmp(how, "leak") != 0) {
        return 7;
    }
    return 0;
}
