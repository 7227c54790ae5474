/* A model from another exporter, with the options of the C API. Argument: the folder with the model
 * and the labels that c_api.rs computed. */

#include "check.h"

int main(int argc, char **argv) {
    enum { WIDTH = 40, HEIGHT = 24 };
    static uint8_t pixels[HEIGHT * WIDTH * 3], labels[HEIGHT * WIDTH];
    const float mean[3] = {1.0f, 1.5f, 0.5f}, std[3] = {0.5f, 1.0f, 2.0f};
    fcn_options *options = fcn_options_new();
    fcn_segmenter *segmenter = NULL;
    fcn_mask *mask = fcn_mask_new();
    fcn_frame frame;
    FILE *file;
    uint32_t i;
    if (argc != 2) return 2;
    for (i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7 + i / 50);
    file = fopen(path_in(argv[1], "labels"), "rb");
    CHECK(file && fread(labels, 1, sizeof labels, file) == sizeof labels);
    if (file) fclose(file);

    FAILS(fcn_create(path_in(argv[1], "foreign.onnx"), options, &segmenter), FCN_ERROR_MODEL, "input_layout");
    WORKS(fcn_options_set_input_layout(options, FCN_LAYOUT_NHWC));
    WORKS(fcn_options_set_output(options, "fourth"));
    FAILS(fcn_create(path_in(argv[1], "foreign.onnx"), options, &segmenter), FCN_ERROR_INVALID_ARGUMENT, "'fourth'");
    WORKS(fcn_options_set_output(options, "other"));
    WORKS(fcn_options_set_output_layout(options, FCN_LAYOUT_NCHW));
    WORKS(fcn_options_set_output_values(options, FCN_VALUES_PROBABILITIES));
    WORKS(fcn_options_set_channel_order(options, FCN_CHANNELS_BGR));
    WORKS(fcn_options_set_scale(options, 0.01f));
    WORKS(fcn_options_set_mean_std(options, mean, std));
    WORKS(fcn_create(path_in(argv[1], "foreign.onnx"), options, &segmenter));
    CHECK(fcn_segmenter_class_count(segmenter) == 2);
    CHECK(strcmp(fcn_segmenter_class_name(segmenter, 0), "background") == 0);
    CHECK(strcmp(fcn_segmenter_class_name(segmenter, 1), "foreground") == 0);
    frame = fcn_frame_packed(FCN_FORMAT_RGB8, pixels, WIDTH, HEIGHT, 0);
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(fcn_mask_labels(mask) && memcmp(fcn_mask_labels(mask), labels, sizeof labels) == 0);
    fcn_free(segmenter);
    fcn_options_free(options);

    /* Independent classes, and background if none of them is likely enough. */
    file = fopen(path_in(argv[1], "multilabel"), "rb");
    CHECK(file && fread(labels, 1, sizeof labels, file) == sizeof labels);
    if (file) fclose(file);
    options = fcn_options_new();
    WORKS(fcn_options_set_multilabel(options, 0.7f));
    WORKS(fcn_create(path_in(argv[1], "multilabel.onnx"), options, &segmenter));
    CHECK(fcn_segmenter_class_count(segmenter) == 4 && fcn_segmenter_background(segmenter) == 0);
    CHECK(strcmp(fcn_segmenter_class_name(segmenter, 0), "background") == 0 && strcmp(fcn_segmenter_class_name(segmenter, 3), "class 3") == 0);
    WORKS(fcn_segment(segmenter, &frame, mask));
    CHECK(fcn_mask_labels(mask) && memcmp(fcn_mask_labels(mask), labels, sizeof labels) == 0);
    fcn_free(segmenter);
    WORKS(fcn_options_set_multilabel(options, 0));
    WORKS(fcn_create(path_in(argv[1], "multilabel.onnx"), options, &segmenter));
    CHECK(fcn_segmenter_class_count(segmenter) == 3);
    fcn_mask_free(mask);
    fcn_free(segmenter);
    fcn_options_free(options);
    printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
