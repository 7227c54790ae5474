/* segment: labels a photo, prints each class's share of it, and writes the photo with an overlay.
 *
 *     cc -std=c99 segment.c -o segment $(pkg-config --cflags --libs fcn) \
 *         -Wl,-rpath,$(pkg-config --variable=libdir fcn)
 *     ./segment MODEL.onnx PHOTO.jpg OVERLAY.png [RUNS [PROVIDER]]
 *
 * RUNS (default 5) is the number of frames that are timed. PROVIDER is auto (default), cpu, cuda,
 * tensorrt or openvino. */

#define _POSIX_C_SOURCE 199309L /* clock_gettime */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fcn.h"

/* Milliseconds of a monotonic clock. */
static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

/* Prints the error and returns the exit code. */
static int failed(const char *what) {
    fprintf(stderr, "segment: %s: %s\n", what, fcn_last_error());
    return 1;
}

static int run(const fcn_segmenter *segmenter, fcn_image *photo, fcn_mask *mask, const char *overlay, int runs) {
    uint32_t width = fcn_image_width(photo), height = fcn_image_height(photo);
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, fcn_image_pixels(photo), width, height, 0);
    fcn_overlay_style style = {0.4f, 0, 1, {0}};
    const uint64_t *pixels;
    double *times;
    uint32_t class;
    int i;

    /* Without specks. The first frame of a size is slower because it allocates buffers. */
    if (fcn_mask_set_min_region(mask, width * height / 2000) != FCN_OK) return failed("setting up the mask");
    if (fcn_segment(segmenter, &frame, mask) != FCN_OK) return failed("segmenting the photo");

    printf("photo    %" PRIu32 " x %" PRIu32 " pixels\n", width, height);
    printf("running  ONNX Runtime %s on %s\n", fcn_segmenter_runtime_version(segmenter), fcn_segmenter_provider_name(segmenter));
    pixels = fcn_mask_pixels(mask);
    for (class = 0; class < fcn_segmenter_class_count(segmenter); class++) {
        double share = 100.0 * (double)pixels[class] / ((double)width * (double)height);
        /* Skip what would be printed as 0.00. */
        if (share >= 0.005) printf("%7.2f %%  %s\n", share, fcn_segmenter_class_name(segmenter, class));
    }

    times = malloc((size_t)runs * sizeof *times);
    if (times == NULL) return fprintf(stderr, "segment: no memory for %d runs\n", runs), 1;
    for (i = 0; i < runs; i++) {
        double start = now();
        if (fcn_segment(segmenter, &frame, mask) != FCN_OK) break;
        times[i] = now() - start;
    }
    if (i == runs) {
        qsort(times, (size_t)runs, sizeof *times, ascending);
        printf("time     %.1f ms per frame (median of %d)\n", times[runs / 2], runs);
    }
    free(times);
    if (i < runs) return failed("segmenting the photo again");

    /* Outlines that are visible at any image size. */
    style.outline = 1 + (width < height ? width : height) / 300;
    if (fcn_overlay_styled(segmenter, mask, &style, FCN_FORMAT_RGB8, fcn_image_pixels(photo), width, height, 0) != FCN_OK)
        return failed("drawing the overlay");
    if (fcn_image_write_png(photo, overlay) != FCN_OK) return failed("writing the overlay");
    printf("overlay  %s\n", overlay);
    return 0;
}

/* The number of a provider; unknown ones are rejected by fcn_options_set_provider(). */
static int32_t provider(const char *name) {
    static const char *const names[] = {"auto", "cpu", "cuda", "tensorrt", "openvino"};
    int32_t number = 0;
    while (number < 5 && strcmp(names[number], name) != 0) number++;
    return number;
}

int main(int argc, char **argv) {
    fcn_segmenter *segmenter = NULL;
    fcn_options *options = fcn_options_new();
    fcn_image *photo = NULL;
    fcn_mask *mask = fcn_mask_new();
    int runs = argc >= 5 ? atoi(argv[4]) : 5;
    int code;

    if (argc < 4 || argc > 6 || runs < 1 || runs > 100000) {
        fprintf(stderr, "usage: segment MODEL.onnx PHOTO OVERLAY.png [RUNS, 1 to 100000 [PROVIDER]]\n");
        code = 2;
    } else if (argc == 6 && fcn_options_set_provider(options, provider(argv[5])) != FCN_OK) {
        code = failed("choosing the provider");
    } else if (fcn_create(argv[1], options, &segmenter) != FCN_OK) {
        code = failed("loading the model");
    } else if (fcn_image_read(argv[2], &photo) != FCN_OK) {
        code = failed("reading the photo");
    } else {
        code = run(segmenter, photo, mask, argv[3], runs);
    }
    fcn_image_free(photo);
    fcn_mask_free(mask);
    fcn_free(segmenter);
    fcn_options_free(options);
    return code;
}
