/* sensor_msgs/Image for fcn. Nothing here depends on ROS: `Image` is any struct with the message's fields height, width,
 * encoding, is_bigendian, step and data, so sensor_msgs::msg::Image as well as sensor_msgs::Image of ROS 1. */

#ifndef FCN_ROS_IMAGE_HPP
#define FCN_ROS_IMAGE_HPP

#include <fcn.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace fcn_ros {

/* FCN_FORMAT_* of an encoding (sensor_msgs/image_encodings.hpp). "8UC1", "8UC3" and "8UC4" name no colours; OpenCV's order
 * is meant, as cv_bridge does. */
inline fcn_format format(const std::string &encoding) {
    static const std::pair<const char *, fcn_format> known[] = {
        {"rgb8", FCN_FORMAT_RGB8},   {"bgr8", FCN_FORMAT_BGR8},   {"rgba8", FCN_FORMAT_RGBA8}, {"bgra8", FCN_FORMAT_BGRA8},
        {"mono8", FCN_FORMAT_GRAY8}, {"8UC1", FCN_FORMAT_GRAY8}, {"8UC3", FCN_FORMAT_BGR8},   {"8UC4", FCN_FORMAT_BGRA8},
    };
    for (const auto &pair : known)
        if (encoding == pair.first) return pair.second;
    throw fcn::Error(FCN_ERROR_UNSUPPORTED_FORMAT,
                     "the encoding '" + encoding + "' is not taken: rgb8, bgr8, rgba8, bgra8 and mono8 are");
}

/* The frame borrows the message's data, which must be as long as `step` and `height` say. */
template <typename Image>
fcn_frame frame(const Image &image) {
    const std::size_t needed = static_cast<std::size_t>(image.step) * image.height;
    if (image.step == 0 || image.data.size() < needed)
        throw fcn::Error(FCN_ERROR_INVALID_ARGUMENT, "the image's data has " + std::to_string(image.data.size()) +
                                                         " bytes, where " + std::to_string(image.height) +
                                                         " rows with step " + std::to_string(image.step) +
                                                         " take " + std::to_string(needed));
    return fcn::frame(format(image.encoding), image.data.data(), image.width, image.height, image.step);
}

/* Fills a message with the mask's class indices, "mono8". Its header is the caller's matter: the camera's, so that the labels
 * keep time and place of the picture. The memory of `image` is used again. */
template <typename Image>
void labels(const fcn::Mask &mask, Image &image) {
    image.height = mask.height();
    image.width = mask.width();
    image.encoding = "mono8";
    image.is_bigendian = 0;
    image.step = mask.width();
    const std::uint8_t *first = mask.labels();
    image.data.assign(first, first + static_cast<std::size_t>(mask.width()) * mask.height());
}

/* Blends the colours of the classes into a message in a colour encoding, which has the mask's size. */
template <typename Image>
void overlay(const fcn::Segmenter &segmenter, const fcn::Mask &mask, float alpha, Image &image) {
    frame(image);  // Checks the length of the data.
    segmenter.overlay(mask, alpha, format(image.encoding), image.data.data(), image.width, image.height, image.step);
}

}  // namespace fcn_ros

#endif  // FCN_ROS_IMAGE_HPP
