/* sensor_msgs/Image for fcn. Nothing here depends on ROS: `Image` is any struct with the message's
 * fields height, width, encoding, is_bigendian, step and data, such as sensor_msgs::msg::Image or
 * ROS 1's sensor_msgs::Image. */

#ifndef FCN_ROS_IMAGE_HPP
#define FCN_ROS_IMAGE_HPP

#include <fcn.hpp>

#include <cstddef>
#include <cstdint>
#include <string>

namespace fcn_ros {

/* The frame borrows the message's data. Supports the encodings of sensor_msgs/image_encodings.hpp
 * that fcn_format_from_name() accepts: "bgr8", "mono16", "yuv422_yuy2", "nv21" and others; the
 * second plane of "nv21" follows the first one. */
template <typename Image>
fcn_frame frame(const Image &image) {
    const fcn_format format = fcn::format_from_name(image.encoding);
    if (format == FCN_FORMAT_GRAY16 && image.is_bigendian)
        throw fcn::Error(FCN_ERROR_UNSUPPORTED_FORMAT, "mono16 with is_bigendian set is not taken: swap its bytes");
    const fcn_frame frame = fcn::contiguous(format, image.data.data(), image.width, image.height, image.step);
    /* The data must reach to the end of the last plane; all but the first have half as many
     * rows. */
    const std::size_t last = frame.planes[2] ? 2 : frame.planes[1] ? 1 : 0;
    const std::size_t before = static_cast<std::size_t>(static_cast<const std::uint8_t *>(frame.planes[last]) -
                                                        static_cast<const std::uint8_t *>(frame.planes[0]));
    const std::size_t rows = last == 0 ? image.height : (std::size_t{image.height} + 1) / 2;
    const std::size_t needed = before + rows * frame.strides[last];
    if (image.step == 0 || image.data.size() < needed)
        throw fcn::Error(FCN_ERROR_INVALID_ARGUMENT, "the image's data has " + std::to_string(image.data.size()) +
                                                         " bytes, where " + image.encoding + " with " +
                                                         std::to_string(image.height) + " rows and step " +
                                                         std::to_string(image.step) + " takes " + std::to_string(needed));
    return frame;
}

/* Blends class colours into a message of the mask's size in "rgb8", "bgr8", "rgba8" or "bgra8",
 * with outlines of `outline` pixels, 0 to 64. */
template <typename Image>
void overlay(const fcn::Segmenter &segmenter, const fcn::Mask &mask, float alpha, std::uint32_t outline, Image &image) {
    const fcn_frame checked = frame(image);
    fcn_overlay_style style{};
    style.alpha = alpha;
    style.outline = outline;
    segmenter.overlay(mask, style, static_cast<fcn_format>(checked.format), image.data.data(), image.width, image.height,
                      image.step);
}

}  // namespace fcn_ros

#endif  // FCN_ROS_IMAGE_HPP
