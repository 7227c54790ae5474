/* segment: labels an image, or a region of it, and writes the image with an overlay on that region.
 *
 *     cmake -S . -B build -DCMAKE_PREFIX_PATH=$HOME/fcn && cmake --build build
 *     build/segment MODEL.onnx PICTURE OVERLAY.png [X Y WIDTH HEIGHT] */

#include "fcn_opencv.hpp"

#include <opencv2/imgcodecs.hpp>

#include <algorithm>
#include <cstdlib>
#include <iostream>

static void run(char **argv, bool part) {
    cv::Mat picture = cv::imread(argv[2]);
    if (picture.empty()) throw std::runtime_error(std::string(argv[2]) + " is no picture that OpenCV reads");
    /* A region shares the image's memory; OpenCV throws if it is not inside. */
    cv::Mat seen = picture;
    if (part) seen = picture(cv::Rect(std::atoi(argv[4]), std::atoi(argv[5]), std::atoi(argv[6]), std::atoi(argv[7])));

    fcn::Segmenter segmenter(argv[1]);
    fcn::Mask mask;
    segmenter.segment(fcn_opencv::frame(seen), mask);

    const cv::Mat labels = fcn_opencv::labels(mask);
    for (std::uint32_t index = 0; index < segmenter.class_count(); index++) {
        const int pixels = cv::countNonZero(labels == static_cast<int>(index));
        if (pixels > 0) std::cout << pixels << " " << segmenter.class_name(index) << "\n";
    }
    fcn_overlay_style style = {};
    style.alpha = 0.4f;
    style.outline = 1 + static_cast<std::uint32_t>(std::min(seen.cols, seen.rows)) / 300; /* visible at any size */
    style.legend = 1;
    fcn_opencv::overlay(segmenter, mask, style, seen);
    if (!cv::imwrite(argv[3], picture)) throw std::runtime_error(std::string(argv[3]) + " could not be written");
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 8) {
        std::cerr << "usage: segment MODEL.onnx PICTURE OVERLAY.png [X Y WIDTH HEIGHT]\n";
        return 2;
    }
    try {
        run(argv, argc == 8);
    } catch (const std::exception &error) {
        std::cerr << "segment: " << error.what() << "\n";
        return 1;
    }
    return 0;
}
