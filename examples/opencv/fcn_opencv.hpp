/* cv::Mat for fcn, without copies of images or results. Copy this file into your program. */

#ifndef FCN_OPENCV_HPP
#define FCN_OPENCV_HPP

#include <fcn.hpp>

#include <opencv2/core.hpp>

#include <string>

namespace fcn_opencv {

/* FCN_FORMAT_* of an image as OpenCV reads and captures it: BGR, BGRA or grey with 8 bits per
 * channel, or grey with 16 bits. */
inline fcn_format format(const cv::Mat &image) {
    if (image.dims == 2) {
        switch (image.type()) {
        case CV_8UC1: return FCN_FORMAT_GRAY8;
        case CV_16UC1: return FCN_FORMAT_GRAY16;
        case CV_8UC3: return FCN_FORMAT_BGR8;
        case CV_8UC4: return FCN_FORMAT_BGRA8;
        }
    }
    throw fcn::Error(FCN_ERROR_UNSUPPORTED_FORMAT,
                     "a cv::Mat of type " + cv::typeToString(image.type()) + " with " + std::to_string(image.dims) +
                         " dimensions is no frame: CV_8UC1, CV_16UC1, CV_8UC3 and CV_8UC4 with 2 dimensions are");
}

/* The frame borrows the image's memory. A region, image(cv::Rect(...)), works as well: its step is
 * the stride. */
inline fcn_frame frame(const cv::Mat &image) {
    return fcn::frame(format(image), image.data, static_cast<std::uint32_t>(image.cols),
                      static_cast<std::uint32_t>(image.rows), image.step[0]);
}

namespace detail {

/* A cv::Mat header over the mask's memory, with rows `step` bytes apart; empty if `memory` is
 * NULL. */
template <typename T>
cv::Mat header(const fcn::Mask &mask, int type, const T *memory, std::size_t step = cv::Mat::AUTO_STEP) {
    if (memory == nullptr) return cv::Mat();
    return cv::Mat(static_cast<int>(mask.height()), static_cast<int>(mask.width()), type, const_cast<T *>(memory), step);
}

}  // namespace detail

/* Class indices, CV_8UC1. Read-only, and valid until the next segment() into this mask: clone() to
 * keep. */
inline cv::Mat labels(const fcn::Mask &mask) { return detail::header(mask, CV_8UC1, mask.labels(), mask.stride()); }

/* The highest softmax probabilities, CV_32FC1; empty without FCN_OUTPUT_CONFIDENCE. Valid as long
 * as the labels. */
inline cv::Mat confidence(const fcn::Mask &mask) { return detail::header(mask, CV_32FC1, mask.confidence()); }

/* Blends class colours into an image of the mask's size, CV_8UC3 or CV_8UC4, or a region of one. */
inline void overlay(const fcn::Segmenter &segmenter, const fcn::Mask &mask, float alpha, cv::Mat &image) {
    segmenter.overlay(mask, alpha, format(image), image.data, static_cast<std::uint32_t>(image.cols),
                      static_cast<std::uint32_t>(image.rows), image.step[0]);
}

/* The same with outlines and a legend. */
inline void overlay(const fcn::Segmenter &segmenter, const fcn::Mask &mask, const fcn_overlay_style &style, cv::Mat &image) {
    segmenter.overlay(mask, style, format(image), image.data, static_cast<std::uint32_t>(image.cols),
                      static_cast<std::uint32_t>(image.rows), image.step[0]);
}

}  // namespace fcn_opencv

#endif  // FCN_OPENCV_HPP
