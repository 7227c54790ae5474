// fcn_opencv.hpp: passes a cv::Mat in and out without copies and gives the same results as the
// plain C functions. Argument: a model.

#include "fcn_opencv.hpp"

#include <cstdio>
#include <cstring>
#include <vector>

#include "check.hpp"

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    fcn::Segmenter segmenter(argv[1]);
    fcn::Mask mask(FCN_OUTPUT_CONFIDENCE);
    CHECK(fcn_opencv::labels(mask).empty());

    // An image in OpenCV's layout, and a region of it with the stride of the whole image.
    cv::Mat picture(60, 90, CV_8UC3);
    cv::theRNG().state = 7;
    cv::randu(picture, cv::Scalar::all(0), cv::Scalar::all(256));
    const cv::Rect place(13, 5, 50, 37);
    const cv::Mat part = picture(place);
    CHECK(part.step[0] == 270 && !part.isContinuous());
    CHECK(fcn_opencv::frame(part).planes[0] == picture.ptr(5, 13));

    for (int channels = 1; channels <= 4; channels += channels == 1 ? 2 : 1) {
        // The plain C functions on the region's pixels, packed.
        const std::uint32_t format = channels == 1 ? FCN_FORMAT_GRAY8 : channels == 3 ? FCN_FORMAT_BGR8 : FCN_FORMAT_BGRA8;
        cv::Mat converted(picture.size(), CV_8UC(channels));
        for (int y = 0; y < picture.rows; y++)
            for (int x = 0; x < picture.cols; x++)
                for (int c = 0; c < channels; c++)
                    converted.ptr(y, x)[c] = c < 3 ? picture.ptr(y, x)[c] : static_cast<unsigned char>(x);
        std::vector<unsigned char> packed;
        for (int y = 0; y < place.height; y++) {
            const unsigned char *row = converted.ptr(place.y + y, place.x);
            packed.insert(packed.end(), row, row + place.width * channels);
        }
        const fcn_frame frame = fcn_frame_packed(format, packed.data(), 50, 37, 0);
        fcn_mask *plain = fcn_mask_new();
        CHECK(fcn_segment(segmenter.get(), &frame, plain) == FCN_OK);

        segmenter.segment(fcn_opencv::frame(converted(place)), mask);
        CHECK(mask.width() == 50 && mask.height() == 37);
        CHECK(std::memcmp(mask.labels(), fcn_mask_labels(plain), 50 * 37) == 0);

        const cv::Mat labels = fcn_opencv::labels(mask), confidence = fcn_opencv::confidence(mask);
        CHECK(labels.data == mask.labels() && labels.size() == place.size() && labels.type() == CV_8UC1);
        CHECK(confidence.ptr<float>() == mask.confidence() && confidence.type() == CV_32FC1);
        CHECK(static_cast<std::uint64_t>(cv::countNonZero(labels == 1)) == fcn_mask_pixels(plain)[1]);

        // The overlay changes the region, like the plain function, and nothing around it.
        if (channels > 1) {
            cv::Mat drawn = converted.clone(), inside = drawn(place);
            fcn_opencv::overlay(segmenter, mask, 0.5f, inside);
            CHECK(fcn_overlay(segmenter.get(), plain, 0.5f, format, packed.data(), 50, 37, 0) == FCN_OK);
            cv::Mat expected = converted.clone();
            cv::Mat(place.size(), CV_8UC(channels), packed.data()).copyTo(expected(place));
            CHECK(cv::norm(drawn, expected, cv::NORM_INF) == 0 && cv::norm(drawn, converted, cv::NORM_INF) > 0);
        }
        fcn_mask_free(plain);
    }

    // Of 16-bit grey, the high byte is used.
    cv::Mat grey(37, 50, CV_8UC1), deep(37, 50, CV_16UC1);
    cv::randu(grey, cv::Scalar::all(0), cv::Scalar::all(256));
    grey.convertTo(deep, CV_16U, 256, 255);
    segmenter.segment(fcn_opencv::frame(grey), mask);
    const cv::Mat expected = fcn_opencv::labels(mask).clone();
    segmenter.segment(fcn_opencv::frame(deep), mask);
    CHECK(cv::norm(fcn_opencv::labels(mask), expected, cv::NORM_INF) == 0);

    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "CV_32FC3", [] { fcn_opencv::frame(cv::Mat(4, 4, CV_32FC3)); }));
    const int sizes[] = {4, 4, 4};
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "3 dimensions", [&] { fcn_opencv::frame(cv::Mat(3, sizes, CV_8UC1)); }));
    CHECK(throws(FCN_ERROR_UNSUPPORTED_FORMAT, "0 dimensions", [] { fcn_opencv::frame(cv::Mat()); }));
    std::printf("%d failures\n", failures);
    return failures == 0 ? 0 : 1;
}
