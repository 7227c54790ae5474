/* Invalid input through the C API: each case returns its status and a message with the value, and
 * does not change outputs. Argument: the folder with the models that c_api.rs wrote. */

#include "check.h"

#include <math.h>
#include <stdint.h>

/* A pointer that no function may dereference or change. */
static char sentinel;
#define UNTOUCHED ((void *)&sentinel)

static void null_arguments(const char *folder) {
    fcn_segmenter *segmenter = UNTOUCHED;
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, &sentinel, 1, 1, 0);
    fcn_mask *mask = fcn_mask_new();
    fcn_options *options = fcn_options_new();
    const char *names[2] = {"a", NULL};
    uint8_t color[3] = {7, 7, 7};
    const fcn_status null = FCN_ERROR_NULL_ARGUMENT;

    FAILS(fcn_create(NULL, NULL, &segmenter), null, "path is NULL");
    FAILS(fcn_create(path_in(folder, "good.onnx"), NULL, NULL), null, "segmenter is NULL");
    FAILS(fcn_create_from_memory(NULL, 5, NULL, &segmenter), null, "model is NULL");
    FAILS(fcn_create_from_memory("x", 1, NULL, NULL), null, "segmenter is NULL");
    CHECK(segmenter == UNTOUCHED);
    FAILS(fcn_segment(NULL, &frame, mask), null, "segmenter is NULL");
    FAILS(fcn_options_set_provider(NULL, FCN_PROVIDER_CPU), null, "options is NULL");
    FAILS(fcn_options_set_device(NULL, 0), null, "options is NULL");
    FAILS(fcn_options_set_openvino_device(NULL, "CPU"), null, "options is NULL");
    FAILS(fcn_options_set_precision(NULL, FCN_PRECISION_EXACT), null, "options is NULL");
    FAILS(fcn_options_set_threads(NULL, 1), null, "options is NULL");
    FAILS(fcn_options_set_sessions(NULL, 1), null, "options is NULL");
    FAILS(fcn_options_set_gpu_memory_limit(NULL, 1), null, "options is NULL");
    FAILS(fcn_options_set_runtime_library(NULL, "x"), null, "options is NULL");
    FAILS(fcn_options_set_auto_size(NULL), null, "options is NULL");
    FAILS(fcn_options_set_native_side(NULL, 416), null, "options is NULL");
    FAILS(fcn_options_set_short_side(NULL, 416), null, "options is NULL");
    FAILS(fcn_options_set_pad(NULL), null, "options is NULL");
    FAILS(fcn_options_set_resize(NULL, 1, 1), null, "options is NULL");
    FAILS(fcn_options_set_tile(NULL, 1, 1, 0), null, "options is NULL");
    FAILS(fcn_options_set_mean_std(NULL, NULL, NULL), null, "options is NULL");
    FAILS(fcn_options_set_scale(NULL, 1.0f), null, "options is NULL");
    FAILS(fcn_options_set_channel_order(NULL, FCN_CHANNELS_BGR), null, "options is NULL");
    FAILS(fcn_options_set_input_layout(NULL, FCN_LAYOUT_NHWC), null, "options is NULL");
    FAILS(fcn_options_set_output(NULL, "out"), null, "options is NULL");
    FAILS(fcn_options_set_output_layout(NULL, FCN_LAYOUT_NHWC), null, "options is NULL");
    FAILS(fcn_options_set_output_values(NULL, FCN_VALUES_LOGITS), null, "options is NULL");
    FAILS(fcn_options_set_multilabel(NULL, 0.5f), null, "options is NULL");
    FAILS(fcn_options_set_class_names(NULL, names, 1), null, "options is NULL");
    FAILS(fcn_options_set_class_names(options, NULL, 2), null, "names is NULL");
    FAILS(fcn_options_set_class_names(options, names, 2), null, "names[1] is NULL");
    FAILS(fcn_options_set_log(NULL, NULL, NULL), null, "options is NULL");
    FAILS(fcn_mask_set_outputs(NULL, 0), null, "mask is NULL");
    FAILS(fcn_mask_set_size(NULL, 0, 0), null, "mask is NULL");
    FAILS(fcn_mask_set_buffer(NULL, color, 3, 0), null, "mask is NULL");
    FAILS(fcn_mask_set_threshold(NULL, 0.5f), null, "mask is NULL");
    FAILS(fcn_mask_set_classes(NULL, NULL, 0), null, "mask is NULL");
    FAILS(fcn_mask_set_classes(mask, NULL, 1), null, "classes is NULL");
    FAILS(fcn_mask_set_remap(NULL, NULL, 0), null, "mask is NULL");
    FAILS(fcn_mask_set_remap(mask, NULL, 1), null, "labels is NULL");
    FAILS(fcn_mask_set_smoothing(NULL, 0.5f), null, "mask is NULL");
    FAILS(fcn_mask_reset(NULL), null, "mask is NULL");
    FAILS(fcn_mask_working_size(NULL, UNTOUCHED, UNTOUCHED), null, "mask is NULL");
    FAILS(fcn_mask_regions(NULL, UNTOUCHED, 1), null, "mask is NULL");
    FAILS(fcn_mask_regions(mask, NULL, 1), null, "regions is NULL");
    FAILS(fcn_mask_contours(NULL, 0, UNTOUCHED), null, "mask is NULL");
    FAILS(fcn_mask_contours(mask, 0, NULL), null, "contours is NULL");
    FAILS(fcn_mask_set_min_region(NULL, 9), null, "mask is NULL");
    FAILS(fcn_mask_regions_filtered(NULL, 9, UNTOUCHED, 1), null, "mask is NULL");
    FAILS(fcn_mask_regions_filtered(mask, 9, NULL, 1), null, "regions is NULL");
    FAILS(fcn_mask_contours_filtered(NULL, 0, 9, UNTOUCHED), null, "mask is NULL");
    FAILS(fcn_mask_contours_filtered(mask, 0, 9, NULL), null, "contours is NULL");
    FAILS(fcn_options_set_palette(NULL, "voc"), null, "options is NULL");
    FAILS(fcn_overlay_styled(NULL, mask, NULL, FCN_FORMAT_RGB8, color, 1, 1, 0), null, "style is NULL");
    CHECK(fcn_segmenter_background(NULL) == -1);
    FAILS(fcn_segmenter_class_color(NULL, 0, color), null, "segmenter is NULL");
    FAILS(fcn_segmenter_class_display_color(NULL, 0, color), null, "segmenter is NULL");
    FAILS(fcn_overlay(NULL, mask, 0.5f, FCN_FORMAT_RGB8, color, 1, 1, 0), null, "segmenter is NULL");
    FAILS(fcn_image_read(NULL, UNTOUCHED), null, "path is NULL");
    FAILS(fcn_image_read("photo.png", NULL), null, "image is NULL");
    FAILS(fcn_image_write_png(NULL, "out.png"), null, "image is NULL");
    FAILS(fcn_mask_write_png(NULL, mask, "out.png"), null, "segmenter is NULL");
    CHECK(color[0] == 7 && color[1] == 7 && color[2] == 7);

    CHECK(fcn_mask_width(NULL) == 0 && fcn_mask_height(NULL) == 0 && fcn_mask_classes(NULL) == 0);
    CHECK(fcn_mask_labels(NULL) == NULL && fcn_mask_confidence(NULL) == NULL && fcn_mask_scores(NULL) == NULL);
    CHECK(fcn_mask_pixels(NULL) == NULL && fcn_mask_stride(NULL) == 0);
    CHECK(fcn_mask_confidence_u8(NULL) == NULL && fcn_mask_margin(NULL) == NULL && fcn_mask_not_finite(NULL) == 0);
    CHECK(fcn_contours_count(NULL) == 0 && fcn_contours_points(NULL, 0, UNTOUCHED) == NULL);
    CHECK(fcn_contours_is_hole(NULL, 0) == -1 && fcn_contours_parent(NULL, 0) == -1);
    CHECK(fcn_segmenter_class_count(NULL) == 0 && fcn_segmenter_class_name(NULL, 0) == NULL && fcn_segmenter_model_stride(NULL) == 0);
    CHECK(fcn_segmenter_provider_name(NULL) == NULL && fcn_segmenter_provider_reason(NULL) == NULL);
    CHECK(fcn_segmenter_precision_name(NULL) == NULL);
    CHECK(fcn_segmenter_runtime_version(NULL) == NULL && fcn_segmenter_model_card_json(NULL) == NULL);
    CHECK(fcn_image_width(NULL) == 0 && fcn_image_height(NULL) == 0 && fcn_image_pixels(NULL) == NULL);
    /* A mask without a result. */
    CHECK(fcn_mask_width(mask) == 0 && fcn_mask_labels(mask) == NULL && fcn_mask_pixels(mask) == NULL);
    WORKS(fcn_mask_working_size(mask, NULL, NULL));
    CHECK(fcn_mask_classes(mask) == 0 && fcn_mask_stride(mask) == 0);
    fcn_free(NULL);
    fcn_mask_free(NULL);
    fcn_options_free(NULL);
    fcn_image_free(NULL);
    fcn_contours_free(NULL);
    fcn_mask_free(mask);
    fcn_options_free(options);
}

static void option_values(const char *folder) {
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    const float good[3] = {0.5f, 0.5f, 0.5f}, not_finite[3] = {0.5f, NAN, 0.5f}, zero[3] = {0.5f, 0.5f, 0.0f};
    const char *names[300], *not_utf8[2] = {"a", "\xff"}, *empty[2] = {"a", ""}, *three[3] = {"a", "b", "c"};
    static const char *const devices[] = {"", "cpu", "GPU.", "AUTO", "HETERO:GPU,CPU"};
    const fcn_status invalid = FCN_ERROR_INVALID_ARGUMENT;
    size_t i;
    for (i = 0; i < 300; i++) names[i] = "a";

    FAILS(fcn_options_set_provider(options, 5), invalid, "unknown provider 5; supported are FCN_PROVIDER_AUTO (0)");
    FAILS(fcn_options_set_provider(options, -1), invalid, "provider -1");
    FAILS(fcn_options_set_device(options, 1024), invalid, "1024");
    FAILS(fcn_options_set_precision(options, 2), invalid, "unknown precision 2; supported are FCN_PRECISION_EXACT (0)");
    FAILS(fcn_options_set_precision(options, -1), invalid, "precision -1");
    WORKS(fcn_options_set_openvino_device(options, "GPU.1"));
    WORKS(fcn_options_set_openvino_device(options, NULL));
    for (i = 0; i < sizeof devices / sizeof devices[0]; i++)
        FAILS(fcn_options_set_openvino_device(options, devices[i]), invalid, "'CPU', 'GPU' and 'NPU' are possible");
    FAILS(fcn_options_set_threads(options, 257), invalid, "257");
    FAILS(fcn_options_set_threads(options, UINT32_MAX), invalid, "4294967295");
    FAILS(fcn_options_set_sessions(options, 65), invalid, "65");
    FAILS(fcn_options_set_runtime_library(options, ""), invalid, "empty");
    FAILS(fcn_options_set_resize(options, 32768, 1), invalid, "32768");
    FAILS(fcn_options_set_native_side(options, 15), invalid, "15");
    FAILS(fcn_options_set_native_side(options, 32768), invalid, "32768");
    FAILS(fcn_options_set_short_side(options, 0), invalid, "0 pixels");
    FAILS(fcn_options_set_short_side(options, 32768), invalid, "32768");
    FAILS(fcn_options_set_tile(options, 1, UINT32_MAX, 0), invalid, "4294967295");
    FAILS(fcn_options_set_tile(options, 320, 240, 240), invalid, "240");
    FAILS(fcn_options_set_mean_std(options, not_finite, good), invalid, "NaN");
    FAILS(fcn_options_set_mean_std(options, good, zero), invalid, "0.0");
    FAILS(fcn_options_set_scale(options, -0.5f), invalid, "-0.5");
    FAILS(fcn_options_set_scale(options, NAN), invalid, "NaN");
    FAILS(fcn_options_set_channel_order(options, 3), invalid, "unknown channel order 3; supported are FCN_CHANNELS_AUTO");
    FAILS(fcn_options_set_input_layout(options, -1), invalid, "unknown layout -1; supported are FCN_LAYOUT_AUTO (0)");
    FAILS(fcn_options_set_output_layout(options, INT32_MAX), invalid, "layout 2147483647");
    FAILS(fcn_options_set_multilabel(options, 1), invalid, "1.0 for multilabel is not between 0 and 1");
    FAILS(fcn_options_set_multilabel(options, -0.5f), invalid, "-0.5 for multilabel");
    FAILS(fcn_options_set_output_values(options, 3), invalid, "unknown kind of values 3; supported are FCN_VALUES_AUTO (0)");
    FAILS(fcn_options_set_output(options, ""), invalid, "name is an empty string");
    FAILS(fcn_options_set_output(options, "\xff"), invalid, "name, \"\\xff\", is not UTF-8");
    FAILS(fcn_options_set_palette(options, ""), invalid, "palette '' does not exist; there are 'voc' and 'cityscapes'");
    FAILS(fcn_options_set_palette(options, "VOC\xff"), invalid, "palette 'VOC");
    FAILS(fcn_options_set_class_names(options, names, 0), invalid, "0 class names");
    FAILS(fcn_options_set_class_names(options, names, 1), invalid, "1 class names");
    FAILS(fcn_options_set_class_names(options, names, 256), invalid, "256 class names");
    FAILS(fcn_options_set_class_names(options, names, SIZE_MAX), invalid, "18446744073709551615 class names");
    FAILS(fcn_options_set_class_names(options, not_utf8, 2), invalid, "names[1], \"\\xff\", is not UTF-8");
    FAILS(fcn_options_set_class_names(options, empty, 2), invalid, "names[1] is an empty string");

    /* None of these calls changed the options: they still create a segmenter. */
    WORKS(fcn_create(path_in(folder, "good.onnx"), options, &segmenter));
    fcn_free(segmenter);
    segmenter = UNTOUCHED;
    WORKS(fcn_options_set_class_names(options, three, 3));
    FAILS(fcn_create(path_in(folder, "good.onnx"), options, &segmenter), invalid, "3 class names");
    CHECK(segmenter == UNTOUCHED);
    WORKS(fcn_options_set_class_names(options, NULL, 0));
    WORKS(fcn_create(path_in(folder, "good.onnx"), options, &segmenter));
    fcn_free(segmenter);
    fcn_options_free(options);
}

static void models(const char *folder) {
    static const struct {
        const char *file;
        fcn_status status;
        const char *words;
    } cases[] = {
        {"", FCN_ERROR_IO, "it is not a regular file"},
        {"missing.onnx", FCN_ERROR_IO, "missing.onnx"},
        {"\xff-missing.onnx", FCN_ERROR_IO, "-missing.onnx"},
        {"good.onnx/below", FCN_ERROR_IO, "good.onnx/below"},
        {"empty.onnx", FCN_ERROR_MODEL, "0 bytes"},
        {"truncated.onnx", FCN_ERROR_MODEL, "truncated.onnx"},
        {"text.onnx", FCN_ERROR_MODEL, "text.onnx"},
        {"external.onnx", FCN_ERROR_IO, "tensor 'score.weight' cannot be read from 'weights.bin'"},
        {"four_channels.onnx", FCN_ERROR_MODEL, "1 x 4 x ? x ?"},
        {"vector.onnx", FCN_ERROR_MODEL, "? x 10"},
        {"unknown_operator.onnx", FCN_ERROR_MODEL, "NoSuchOperator"},
        {"card.onnx", FCN_ERROR_MODEL, "version 7"},
    };
    fcn_segmenter *segmenter = UNTOUCHED;
    size_t i;

    FAILS(fcn_create("", NULL, &segmenter), FCN_ERROR_INVALID_ARGUMENT, "path is an empty string");
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        FAILS(fcn_create(path_in(folder, cases[i].file), NULL, &segmenter), cases[i].status, cases[i].words);
        CHECK(segmenter == UNTOUCHED);
    }
    FAILS(fcn_create_from_memory("x", 0, NULL, &segmenter), FCN_ERROR_MODEL, "0 bytes");
    FAILS(fcn_create_from_memory("x", SIZE_MAX, NULL, &segmenter), FCN_ERROR_INVALID_ARGUMENT, "18446744073709551615");
    CHECK(segmenter == UNTOUCHED);

    /* A path need not be UTF-8. */
    WORKS(fcn_create(path_in(folder, "\xff.onnx"), NULL, &segmenter));
    CHECK(fcn_segmenter_class_count(segmenter) == 5);
    fcn_free(segmenter);
}

/* A valid frame with one change. */
struct frame_case {
    fcn_frame frame;
    fcn_status status;
    const char *words;
};

static void formats(void) {
    uint32_t format = 77;
    char endless[1 << 12];
    memset(endless, 'b', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    FAILS(fcn_format_from_name(NULL, &format), FCN_ERROR_NULL_ARGUMENT, "name is NULL");
    FAILS(fcn_format_from_name("NV12", NULL), FCN_ERROR_NULL_ARGUMENT, "format is NULL");
    FAILS(fcn_format_from_name("bayer_rggb8", &format), FCN_ERROR_UNSUPPORTED_FORMAT, "'bayer_rggb8'");
    FAILS(fcn_format_from_name("\xff\xfe", &format), FCN_ERROR_UNSUPPORTED_FORMAT, "is not supported");
    FAILS(fcn_format_from_name("", &format), FCN_ERROR_UNSUPPORTED_FORMAT, "''");
    FAILS(fcn_format_from_name(endless, &format), FCN_ERROR_UNSUPPORTED_FORMAT, "bbb'");
    CHECK(format == 77);
    WORKS(fcn_format_from_name("yuv422_yuy2", &format));
    CHECK(format == FCN_FORMAT_YUYV && strcmp(fcn_format_name(format), "YUYV") == 0);
    CHECK(strcmp(fcn_format_name(0), "unknown format") == 0);
    /* No pixel is read, and no arithmetic overflows. */
    CHECK(fcn_frame_contiguous(FCN_FORMAT_I420, NULL, 0, UINT32_MAX, SIZE_MAX).planes[2] == NULL);
    CHECK(fcn_frame_contiguous(99, endless, 1, 1, 1).planes[0] == endless);
}

static void frames(const fcn_segmenter *segmenter) {
    enum { WIDTH = 40, HEIGHT = 24, COUNT = 31 };
    static uint8_t pixels[HEIGHT * WIDTH * 4];
    uint8_t before[HEIGHT * WIDTH];
    struct frame_case cases[COUNT];
    fcn_mask *mask = fcn_mask_new();
    const fcn_frame good = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0);
    const fcn_status invalid = FCN_ERROR_INVALID_ARGUMENT;
    int i;
    for (i = 0; i < (int)sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7 + i / 50);

    FAILS(fcn_segment(segmenter, NULL, mask), FCN_ERROR_NULL_ARGUMENT, "frame is NULL");
    FAILS(fcn_segment(segmenter, &good, NULL), FCN_ERROR_NULL_ARGUMENT, "mask is NULL");
    WORKS(fcn_segment(segmenter, &good, mask));
    CHECK(fcn_mask_width(mask) == WIDTH && fcn_mask_height(mask) == HEIGHT);
    memcpy(before, fcn_mask_labels(mask), sizeof before);

    for (i = 0; i < COUNT; i++) {
        cases[i].frame = good;
        cases[i].status = invalid;
    }
    i = 0;
#define CASE(change, text) cases[i].frame.change, cases[i].words = text, i++
    cases[i].status = FCN_ERROR_NULL_ARGUMENT;
    CASE(planes[0] = NULL, "frame.planes[0] is NULL");
    cases[i].status = FCN_ERROR_UNSUPPORTED_FORMAT;
    CASE(format = 0, "unknown pixel format 0; supported are FCN_FORMAT_RGB8 (1)");
    cases[i].status = FCN_ERROR_UNSUPPORTED_FORMAT;
    CASE(format = 21, "format 21");
    cases[i].status = FCN_ERROR_UNSUPPORTED_FORMAT;
    CASE(format = UINT32_MAX, "format 4294967295");
    CASE(width = 0, "width is 0");
    CASE(height = 0, "height is 0");
    CASE(width = 32768, "width is 32768");
    CASE(height = UINT32_MAX, "height is 4294967295");
    CASE(strides[0] = WIDTH * 3 - 1, "stride 119 is less than the 120 bytes");
    CASE(strides[0] = 1, "stride 1 is less than the 120 bytes");
    CASE(strides[0] = SIZE_MAX, "stride 1 is less than the 120 bytes of a row; the given stride is -1");
    CASE(strides[0] = (size_t)PTRDIFF_MIN, "the given stride is -9223372036854775808");
    CASE(strides[0] = (size_t)-(PTRDIFF_MAX / 32), "reach below address 0");
    CASE(strides[0] = SIZE_MAX / 32, "stride 576460752303423487 times 24 rows");
    CASE(planes[1] = pixels, "frame.planes[1]");
    CASE(strides[2] = 120, "frame.strides[2] (120)");
    cases[i].status = FCN_ERROR_NULL_ARGUMENT;
    CASE(format = FCN_FORMAT_NV12, "frame.planes[1] is NULL");
    cases[i].frame = fcn_frame_contiguous(FCN_FORMAT_I420, pixels, WIDTH, HEIGHT, 0);
    CASE(strides[2] = 19, "stride 19 of plane 2 is less than the 20 bytes");
    cases[i].frame = fcn_frame_planar(FCN_FORMAT_NV12, WIDTH, HEIGHT, pixels, 0, pixels, 0, pixels, 0);
    CASE(mirror = 0, "NV12 has 2 plane(s)");
    cases[i].frame = fcn_frame_planar(FCN_FORMAT_YUYV, WIDTH, HEIGHT, pixels, 79, NULL, 0, NULL, 0);
    CASE(mirror = 0, "stride 79 is less than the 80 bytes");
    CASE(matrix = 2, "frame.matrix is 2");
    CASE(range = UINT32_MAX, "frame.range is 4294967295");
    CASE(reserved[0] = 1, "frame.reserved contains 1");
    CASE(reserved[3] = 77, "frame.reserved contains 77");
    CASE(rotation = 45, "frame.rotation is 45");
    CASE(rotation = 360, "frame.rotation is 360");
    CASE(mirror = 2, "frame.mirror is 2");
    CASE(crop.width = 8, "crop of 8 x 0");
    CASE(crop = ((fcn_rect){33, 0, 8, 8}), "crop of 8 x 8 pixels at (33, 0)");
    CASE(crop = ((fcn_rect){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}), "4294967295");
    CASE(crop = ((fcn_rect){0, 24, 1, 1}), "at (0, 24)");
#undef CASE
    CHECK(i == COUNT);

    for (i = 0; i < COUNT; i++) {
        FAILS(fcn_segment(segmenter, &cases[i].frame, mask), cases[i].status, cases[i].words);
        CHECK(fcn_mask_width(mask) == WIDTH && fcn_mask_height(mask) == HEIGHT);
        CHECK(memcmp(before, fcn_mask_labels(mask), sizeof before) == 0);
    }

    FAILS(fcn_mask_set_outputs(mask, 16), invalid, "0x10");
    FAILS(fcn_mask_set_outputs(mask, UINT32_MAX), invalid, "0xffffffff");
    WORKS(fcn_segment(segmenter, &good, mask));
    CHECK(fcn_mask_confidence(mask) == NULL && fcn_mask_scores(mask) == NULL);
    fcn_mask_free(mask);
}

/* Images stored from the bottom row up, as by FFmpeg's vflip. */
static void bottom_up(const fcn_segmenter *segmenter) {
    enum { WIDTH = 41, HEIGHT = 23, ROW = WIDTH * 3, HALF = (WIDTH + 1) / 2, HALF_ROWS = (HEIGHT + 1) / 2 };
    enum { LUMA = WIDTH * HEIGHT, CHROMA = HALF * HALF_ROWS };
    static uint8_t pixels[HEIGHT * ROW], over[HEIGHT * ROW], planes[LUMA + 2 * CHROMA], turned[LUMA + 2 * CHROMA];
    static uint8_t before[HEIGHT * WIDTH];
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0);
    int i, y;
    for (i = 0; i < (int)sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7 + i / 50);
    for (y = 0; y < HEIGHT; y++) memcpy(over + (HEIGHT - 1 - y) * ROW, pixels + y * ROW, ROW);
    WORKS(fcn_segment(segmenter, &frame, mask));
    memcpy(before, fcn_mask_labels(mask), sizeof before);
    frame = fcn_frame_packed(FCN_FORMAT_RGB8, over + (HEIGHT - 1) * ROW, WIDTH, HEIGHT, (size_t)-ROW);
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(memcmp(before, fcn_mask_labels(mask), sizeof before) == 0);
    /* Overlays, too. */
    WORKS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0));
    WORKS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, over + (HEIGHT - 1) * ROW, WIDTH, HEIGHT, (size_t)-ROW));
    for (y = 0; y < HEIGHT; y++) CHECK(memcmp(over + (HEIGHT - 1 - y) * ROW, pixels + y * ROW, ROW) == 0);
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, over, WIDTH, HEIGHT, (size_t)-5), FCN_ERROR_INVALID_ARGUMENT,
          "the given stride is -5");

    for (i = 0; i < (int)sizeof planes; i++) planes[i] = (uint8_t)(i * 5 + i / 33);
    for (y = 0; y < HEIGHT; y++) memcpy(turned + (HEIGHT - 1 - y) * WIDTH, planes + y * WIDTH, WIDTH);
    for (y = 0; y < 2 * HALF_ROWS; y++) {
        const int plane = y / HALF_ROWS, row = y % HALF_ROWS;
        uint8_t *to = turned + LUMA + plane * CHROMA + (HALF_ROWS - 1 - row) * HALF;
        memcpy(to, planes + LUMA + y * HALF, HALF);
    }
    frame = fcn_frame_contiguous(FCN_FORMAT_J420, planes, WIDTH, HEIGHT, 0);
    WORKS(fcn_segment(segmenter, &frame, mask));
    memcpy(before, fcn_mask_labels(mask), sizeof before);
    frame = fcn_frame_contiguous(FCN_FORMAT_J420, turned + LUMA - WIDTH, WIDTH, HEIGHT, (size_t)-WIDTH);
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(memcmp(before, fcn_mask_labels(mask), sizeof before) == 0);
    /* Each plane has its own direction, and the name keeps the range. */
    frame = fcn_frame_planar(FCN_FORMAT_I420, WIDTH, HEIGHT, turned + LUMA - WIDTH, (size_t)-WIDTH, planes + LUMA, HALF,
                             turned + LUMA + 2 * CHROMA - HALF, (size_t)-HALF);
    frame.range = FCN_RANGE_FULL;
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(memcmp(before, fcn_mask_labels(mask), sizeof before) == 0);
    WORKS(fcn_format_from_name("yuvj420p", &frame.format));
    frame.range = FCN_RANGE_LIMITED;
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(memcmp(before, fcn_mask_labels(mask), sizeof before) == 0);
    fcn_mask_free(mask);
}

/* Mask setters: invalid values do not change the mask, and failed calls do not change the caller's
 * memory. */
static void masks(const fcn_segmenter *segmenter) {
    enum { WIDTH = 40, HEIGHT = 24, STRIDE = 48, BYTES = STRIDE * HEIGHT };
    static uint8_t pixels[HEIGHT * WIDTH * 3], labels[BYTES], before[BYTES];
    const fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0);
    const fcn_status invalid = FCN_ERROR_INVALID_ARGUMENT;
    const uint32_t none[1] = {5}, far[2] = {0, 300}, void_class[1] = {255}, first[1] = {0};
    static const uint32_t many[257];
    static const uint8_t zeros[257];
    fcn_region regions[3];
    fcn_contours *contours = UNTOUCHED;
    fcn_mask *mask = fcn_mask_new();
    const fcn_point *points;
    size_t i, count = 7;
    for (i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 13 + i / 71);
    memset(labels, 99, sizeof labels);
    memset(before, 99, sizeof before);

    FAILS(fcn_mask_set_size(mask, 32768, 1), invalid, "32768 x 1");
    FAILS(fcn_mask_set_size(mask, 1, UINT32_MAX), invalid, "4294967295");
    FAILS(fcn_mask_set_threshold(mask, -0.5f), invalid, "-0.5");
    FAILS(fcn_mask_set_threshold(mask, NAN), invalid, "NaN");
    FAILS(fcn_mask_set_smoothing(mask, 0.0f), invalid, "share is 0");
    FAILS(fcn_mask_set_smoothing(mask, NAN), invalid, "NaN");
    FAILS(fcn_mask_set_classes(mask, far, 2), invalid, "class 300");
    FAILS(fcn_mask_set_classes(mask, void_class, 1), invalid, "class 255");
    FAILS(fcn_mask_set_classes(mask, many, 257), invalid, "257 values");
    FAILS(fcn_mask_set_classes(mask, first, SIZE_MAX), invalid, "18446744073709551615 values");
    FAILS(fcn_mask_set_remap(mask, zeros, 0), invalid, "0 labels");
    FAILS(fcn_mask_set_remap(mask, zeros, 257), invalid, "257 values");
    FAILS(fcn_mask_set_buffer(mask, labels, SIZE_MAX, 0), invalid, "18446744073709551615 bytes");
    FAILS(fcn_mask_contours(mask, 0, &contours), invalid, "no labels");
    FAILS(fcn_mask_regions(mask, regions, 3), invalid, "no labels");
    FAILS(fcn_mask_contours_filtered(mask, 0, 9, &contours), invalid, "no labels");
    FAILS(fcn_mask_regions_filtered(mask, 9, regions, 3), invalid, "no labels");
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(fcn_mask_stride(mask) == WIDTH);

    /* Settings that do not match the model, and memory that does not match the frame. */
    WORKS(fcn_mask_set_buffer(mask, labels, BYTES, STRIDE));
    CHECK(fcn_mask_labels(mask) != NULL && fcn_mask_labels(mask) != labels);
    WORKS(fcn_mask_set_classes(mask, none, 1));
    FAILS(fcn_segment(segmenter, &frame, mask), invalid, "class 5");
    WORKS(fcn_mask_set_classes(mask, NULL, 0));
    WORKS(fcn_mask_set_remap(mask, zeros, 4));
    FAILS(fcn_segment(segmenter, &frame, mask), invalid, "4 labels");
    WORKS(fcn_mask_set_remap(mask, NULL, 0));
    WORKS(fcn_mask_set_size(mask, WIDTH, HEIGHT + 1));
    FAILS(fcn_segment(segmenter, &frame, mask), invalid, "1152 bytes are fewer");
    WORKS(fcn_mask_set_size(mask, STRIDE + 1, 0));
    FAILS(fcn_segment(segmenter, &frame, mask), invalid, "stride 48 is less than the 49");
    WORKS(fcn_mask_set_size(mask, 0, 0));
    CHECK(memcmp(labels, before, sizeof labels) == 0);
    CHECK(fcn_mask_labels(mask) != NULL && fcn_mask_labels(mask) != labels && fcn_mask_stride(mask) == WIDTH);

    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(fcn_mask_labels(mask) == labels && fcn_mask_stride(mask) == STRIDE);
    for (i = 0; i < BYTES; i++) CHECK(i % STRIDE < WIDTH ? labels[i] < 5 : labels[i] == 99);
    FAILS(fcn_mask_regions(mask, regions, 0), invalid, "0 regions");
    FAILS(fcn_mask_regions(mask, regions, 257), invalid, "257 regions");
    WORKS(fcn_mask_regions(mask, regions, 3));
    for (i = 0; i < 3; i++) CHECK(regions[i].pixels == fcn_mask_pixels(mask)[i]);
    FAILS(fcn_mask_regions_filtered(mask, 9, regions, 0), invalid, "0 regions");
    WORKS(fcn_mask_regions_filtered(mask, UINT32_MAX, regions, 3));
    for (i = 0; i < 3; i++) CHECK(regions[i].pixels == 0 && regions[i].bounds.width == 0);
    FAILS(fcn_mask_contours_filtered(mask, 256, 9, &contours), invalid, "label 256");
    FAILS(fcn_mask_contours(mask, 256, &contours), invalid, "label 256");
    CHECK(contours == UNTOUCHED);
    WORKS(fcn_mask_contours(mask, labels[0], &contours));
    CHECK(fcn_contours_count(contours) > 0 && fcn_contours_is_hole(contours, 0) == 0);
    CHECK(fcn_contours_parent(contours, 0) == -1);
    points = fcn_contours_points(contours, 0, &count);
    CHECK(points != NULL && count > 0 && points[0].x == 0 && points[0].y == 0);
    count = 7;
    CHECK(fcn_contours_points(contours, SIZE_MAX, &count) == NULL && count == 7);
    CHECK(fcn_contours_points(contours, 0, NULL) == NULL);
    CHECK(fcn_contours_is_hole(contours, SIZE_MAX) == -1 && fcn_contours_parent(contours, SIZE_MAX) == -1);
    fcn_contours_free(contours);
    WORKS(fcn_mask_contours_filtered(mask, labels[0], UINT32_MAX, &contours));
    CHECK(fcn_contours_count(contours) == 0 && fcn_contours_points(contours, 0, &count) == NULL);
    fcn_contours_free(contours);

    /* Padding between rows does not change when specks are removed, either. */
    WORKS(fcn_mask_set_min_region(mask, UINT32_MAX));
    WORKS(fcn_segment(segmenter, &frame, mask));
    for (i = 0; i < BYTES; i++) CHECK(labels[i] == (i % STRIDE < WIDTH ? labels[0] : 99));
    CHECK(fcn_mask_pixels(mask)[labels[0]] == WIDTH * HEIGHT);
    WORKS(fcn_mask_set_min_region(mask, 0));

    /* Without the buffer the mask has no labels; everything else stays. */
    WORKS(fcn_mask_set_buffer(mask, NULL, 0, 0));
    CHECK(fcn_mask_labels(mask) == NULL && fcn_mask_stride(mask) == 0 && fcn_mask_width(mask) == WIDTH);
    FAILS(fcn_mask_regions(mask, regions, 3), invalid, "no labels");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0), invalid, "no labels");
    FAILS(fcn_mask_write_png(segmenter, mask, "x.png"), invalid, "no labels");
    fcn_mask_free(mask);
}

/* One mask for frames of several sizes: it always has the size of the last one. */
static void sizes(const fcn_segmenter *segmenter) {
    static const uint32_t sides[][2] = {{40, 24}, {1, 1}, {96, 64}, {33, 7}, {7, 33}, {40, 24}};
    static uint8_t pixels[96 * 64 * 3];
    fcn_mask *mask = fcn_mask_new(), *fresh;
    size_t i, j;
    for (i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 11 + i / 31);

    for (i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        size_t area = (size_t)sides[i][0] * sides[i][1];
        uint64_t sum = 0;
        fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, sides[i][0], sides[i][1], 0);
        /* Every other frame has all outputs. */
        uint32_t outputs = i % 2 ? FCN_OUTPUT_CONFIDENCE | FCN_OUTPUT_SCORES : 0;
        WORKS(fcn_mask_set_outputs(mask, outputs));
        WORKS(fcn_segment(segmenter, &frame, mask));
        CHECK(fcn_mask_width(mask) == sides[i][0] && fcn_mask_height(mask) == sides[i][1]);
        CHECK(fcn_mask_classes(mask) == fcn_segmenter_class_count(segmenter));
        CHECK((fcn_mask_confidence(mask) != NULL) == (outputs != 0));
        CHECK((fcn_mask_scores(mask) != NULL) == (outputs != 0));
        for (j = 0; j < fcn_mask_classes(mask); j++) sum += fcn_mask_pixels(mask)[j];
        CHECK(sum == area);
        fresh = fcn_mask_new();
        WORKS(fcn_segment(segmenter, &frame, fresh));
        CHECK(memcmp(fcn_mask_labels(fresh), fcn_mask_labels(mask), area) == 0);
        fcn_mask_free(fresh);
    }
    fcn_mask_free(mask);
}

static void information_and_overlay(const fcn_segmenter *segmenter, const char *folder) {
    uint8_t color[3] = {7, 7, 7}, pixels[8 * 4 * 3], before[8 * 4 * 3];
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, 8, 4, 0);
    fcn_segmenter *other = NULL;
    fcn_image *image = UNTOUCHED;
    fcn_overlay_style style = {0.5f, 65, 0, {0}};
    const fcn_status invalid = FCN_ERROR_INVALID_ARGUMENT;
    memset(pixels, 100, sizeof pixels);
    memset(before, 100, sizeof before);

    CHECK(fcn_segmenter_class_name(segmenter, 5) == NULL);
    FAILS(fcn_segmenter_class_color(segmenter, 5, color), invalid, "class 5 does not exist; the model has 5 classes");
    FAILS(fcn_segmenter_class_color(segmenter, UINT32_MAX, color), invalid, "class 4294967295");
    FAILS(fcn_segmenter_class_color(segmenter, 0, NULL), FCN_ERROR_NULL_ARGUMENT, "rgb is NULL");
    FAILS(fcn_segmenter_class_display_color(segmenter, 5, color), invalid, "class 5 does not exist; the model has 5 classes");
    FAILS(fcn_segmenter_class_display_color(segmenter, 0, NULL), FCN_ERROR_NULL_ARGUMENT, "rgb is NULL");
    CHECK(color[0] == 7 && color[1] == 7 && color[2] == 7);

    FAILS(fcn_overlay(segmenter, NULL, 0.5f, FCN_FORMAT_RGB8, pixels, 8, 4, 0), FCN_ERROR_NULL_ARGUMENT, "mask");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "the mask 0 x 0");
    WORKS(fcn_segment(segmenter, &frame, mask));
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, NULL, 8, 4, 0), FCN_ERROR_NULL_ARGUMENT, "pixels");
    FAILS(fcn_overlay(segmenter, mask, 1.5f, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "alpha is 1.5");
    FAILS(fcn_overlay(segmenter, mask, NAN, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "alpha is NaN");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, 99, pixels, 8, 4, 0), FCN_ERROR_UNSUPPORTED_FORMAT, "format 99");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_NV12, pixels, 8, 2, 0), invalid, "8 x 2");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_NV12, pixels, 8, 4, 0), FCN_ERROR_UNSUPPORTED_FORMAT, "NV12");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_GRAY8, pixels, 8, 4, 0), FCN_ERROR_UNSUPPORTED_FORMAT, "GRAY8");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, 4, 8, 0), invalid, "4 x 8 pixels, but the mask 8 x 4");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, 8, 4, 23), invalid, "stride 23");
    FAILS(fcn_overlay(segmenter, mask, 0.5f, FCN_FORMAT_RGB8, pixels, 8, 4, SIZE_MAX), invalid, "the given stride is -1");
    FAILS(fcn_overlay_styled(segmenter, mask, &style, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "outline of 65");
    style.outline = 0;
    style.legend = 2;
    FAILS(fcn_overlay_styled(segmenter, mask, &style, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "style.legend is 2");
    style.legend = 1;
    style.reserved[4] = 9;
    FAILS(fcn_overlay_styled(segmenter, mask, &style, FCN_FORMAT_RGB8, pixels, 8, 4, 0), invalid, "style.reserved contains 9");
    CHECK(memcmp(pixels, before, sizeof pixels) == 0);
    WORKS(fcn_overlay(segmenter, mask, 0.0f, FCN_FORMAT_RGB8, pixels, 8, 4, 0));
    CHECK(memcmp(pixels, before, sizeof pixels) == 0);

    FAILS(fcn_image_read(path_in(folder, "missing.png"), &image), FCN_ERROR_IO, "missing.png");
    FAILS(fcn_image_read(folder, &image), FCN_ERROR_IO, folder);
    FAILS(fcn_image_read(path_in(folder, "text.onnx"), &image), FCN_ERROR_UNSUPPORTED_FORMAT, "text.onnx");
    FAILS(fcn_image_read(path_in(folder, "truncated.png"), &image), FCN_ERROR_IO, "truncated.png");
    FAILS(fcn_image_read(path_in(folder, "huge.png"), &image), FCN_ERROR_OUT_OF_MEMORY, "1073741824");
    FAILS(fcn_image_read(path_in(folder, "long.png"), &image), invalid, "40000 x 1");
    CHECK(image == UNTOUCHED);
    FAILS(fcn_mask_write_png(segmenter, NULL, "x.png"), FCN_ERROR_NULL_ARGUMENT, "mask is NULL");
    FAILS(fcn_mask_write_png(segmenter, mask, NULL), FCN_ERROR_NULL_ARGUMENT, "path is NULL");
    FAILS(fcn_mask_write_png(segmenter, mask, path_in(folder, "missing/x.png")), FCN_ERROR_IO, "missing/x.png");
    FAILS(fcn_mask_write_png(segmenter, mask, folder), FCN_ERROR_IO, folder);
    WORKS(fcn_mask_write_png(segmenter, mask, path_in(folder, "\xff.png")));
    WORKS(fcn_image_read(path_in(folder, "\xff.png"), &image));
    CHECK(fcn_image_width(image) == 8 && fcn_image_height(image) == 4);
    FAILS(fcn_image_write_png(image, path_in(folder, "missing/x.png")), FCN_ERROR_IO, "missing/x.png");
    fcn_image_free(image);

    /* A model that outputs class indices has no scores; the mask does not change. */
    WORKS(fcn_create(path_in(folder, "labels.onnx"), NULL, &other));
    WORKS(fcn_mask_set_outputs(mask, FCN_OUTPUT_SCORES));
    FAILS(fcn_segment(other, &frame, mask), invalid, "neither confidence nor scores");
    CHECK(fcn_mask_width(mask) == 8 && fcn_mask_height(mask) == 4 && fcn_mask_classes(mask) == 5);
    fcn_free(other);
    fcn_mask_free(mask);
}

static void statuses(void) {
    fcn_status status;
    CHECK(strcmp(fcn_version(), FCN_VERSION) == 0);
    CHECK(strcmp(fcn_status_name(FCN_OK), "FCN_OK") == 0);
    for (status = FCN_OK; status <= FCN_ERROR_TIMEOUT; status++) CHECK(strncmp(fcn_status_name(status), "FCN_", 4) == 0);
    CHECK(strcmp(fcn_status_name(12), "unknown status") == 0);
    CHECK(strcmp(fcn_status_name(-1), "unknown status") == 0);
}

int main(int argc, char **argv) {
    fcn_segmenter *segmenter = NULL;
    if (argc != 2) return 2;
    CHECK(strcmp(fcn_last_error(), "") == 0);
    statuses();
    null_arguments(argv[1]);
    option_values(argv[1]);
    models(argv[1]);
    WORKS(fcn_create(path_in(argv[1], "good.onnx"), NULL, &segmenter));
    if (segmenter != NULL) {
        formats();
        frames(segmenter);
    bottom_up(segmenter);
        masks(segmenter);
        sizes(segmenter);
        information_and_overlay(segmenter, argv[1]);
    }
    fcn_free(segmenter);
    return report();
}
