/* What the node promises to Nav2's costmap layer for semantic segmentation
 * (https://docs.nav2.org/tutorials/docs/navigation2_with_semantic_segmentation.html): names of
 * topics, contents of messages, parameters. Nothing here depends on ROS: `Image` and `LabelInfo`
 * are any structs with the messages' fields. */

#ifndef FCN_ROS_CONTRACT_HPP
#define FCN_ROS_CONTRACT_HPP

#include <fcn.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace fcn_ros {

/* Topics, relative to the node's namespace. */
constexpr const char *image_topic = "image";
constexpr const char *mask_topic = "segmentation/mask";
constexpr const char *confidence_topic = "segmentation/confidence";
constexpr const char *label_info_topic = "segmentation/label_info";
constexpr const char *overlay_topic = "segmentation/overlay";

/* Quality of service. */
struct Qos {
    std::size_t depth;
    bool reliable;
    /* Transient local: late subscribers get the last message, too. */
    bool latched;
};

/* Of images, as for all sensor data. The layer subscribes best effort, too. */
constexpr Qos published_images = {5, false, false};
/* While an image is being labelled, only the latest one waits. */
constexpr Qos subscribed_images = {1, false, false};
/* The layer requires both. */
constexpr Qos label_info = {1, true, true};

/* The node's parameters. The library checks the ranges of those that it gets. */
struct Parameters {
    std::string model;
    std::string provider = "auto";
    std::string precision = "exact";
    std::int64_t threads = 0;
    std::int64_t width = 0;
    std::int64_t height = 0;
    double threshold = 0;
    double smoothing = 1;
    double alpha = 0.4;
    std::int64_t outline = 2;
};

/* An integer parameter in range. */
inline std::uint32_t checked(const char *name, std::int64_t value, std::int64_t most) {
    if (value < 0 || value > most)
        throw std::invalid_argument("the parameter " + std::string(name) + " is " + std::to_string(value) +
                                    "; it must be from 0 to " + std::to_string(most));
    return static_cast<std::uint32_t>(value);
}

inline fcn_provider provider(const std::string &name) {
    const struct {
        const char *name;
        fcn_provider provider;
    } all[] = {{"auto", FCN_PROVIDER_AUTO},
               {"cpu", FCN_PROVIDER_CPU},
               {"cuda", FCN_PROVIDER_CUDA},
               {"tensorrt", FCN_PROVIDER_TENSORRT},
               {"openvino", FCN_PROVIDER_OPENVINO}};
    for (const auto &it : all)
        if (name == it.name) return it.provider;
    throw std::invalid_argument("the parameter provider is '" + name + "'; it must be auto, cpu, cuda, tensorrt or openvino");
}

inline fcn_precision precision(const std::string &name) {
    if (name == "exact") return FCN_PRECISION_EXACT;
    if (name == "fast") return FCN_PRECISION_FAST;
    throw std::invalid_argument("the parameter precision is '" + name + "'; it must be exact or fast");
}

inline fcn::Segmenter segmenter(const Parameters &parameters) {
    if (parameters.model.empty()) throw std::invalid_argument("the parameter model must name an ONNX file");
    fcn::Options options;
    options.provider(provider(parameters.provider)).precision(precision(parameters.precision));
    options.threads(checked("threads", parameters.threads, 256));
    const std::uint32_t width = checked("width", parameters.width, 32767), height = checked("height", parameters.height, 32767);
    if (width > 0 || height > 0) options.resize(width, height);
    return fcn::Segmenter(parameters.model, options);
}

inline fcn::Mask mask(const Parameters &parameters) {
    fcn::Mask mask(FCN_OUTPUT_CONFIDENCE_U8);
    mask.set_threshold(static_cast<float>(parameters.threshold)).set_smoothing(static_cast<float>(parameters.smoothing));
    return mask;
}

namespace detail {

/* A mono8 message with the header of the camera's image. Reuses the memory of `message`. */
template <typename Image, typename Header>
void mono8(const std::uint8_t *bytes, const fcn::Mask &mask, const Header &header, Image &message) {
    message.header = header;
    message.height = mask.height();
    message.width = mask.width();
    message.encoding = "mono8";
    message.is_bigendian = 0;
    message.step = mask.width();
    message.data.assign(bytes, bytes + static_cast<std::size_t>(mask.width()) * mask.height());
}

}  // namespace detail

/* Class indices; 255 is unknown. */
template <typename Image, typename Header>
void mask_message(const fcn::Mask &mask, const Header &header, Image &message) {
    detail::mono8(mask.labels(), mask, header, message);
}

/* The highest softmax probability of each pixel, 0 to 255. The mask must be of mask(). */
template <typename Image, typename Header>
void confidence_message(const fcn::Mask &mask, const Header &header, Image &message) {
    detail::mono8(mask.confidence_u8(), mask, header, message);
}

/* Names and indices of the classes. */
template <typename LabelInfo>
void label_info_message(const fcn::Segmenter &segmenter, LabelInfo &message) {
    message.class_map.clear();
    message.class_map.resize(segmenter.class_count());
    for (std::uint32_t index = 0; index < segmenter.class_count(); index++) {
        message.class_map[index].class_id = static_cast<std::uint16_t>(index);
        message.class_map[index].class_name = segmenter.class_name(index);
    }
}

}  // namespace fcn_ros

#endif  // FCN_ROS_CONTRACT_HPP
