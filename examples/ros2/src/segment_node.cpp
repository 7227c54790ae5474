/* segment_node: labels a camera's images.
 *
 * Subscribes  image            sensor_msgs/Image, best effort, the latest one
 * Publishes   labels           sensor_msgs/Image, mono8: class indices, with the image's header
 *             overlay          sensor_msgs/Image: the image with class colours, if subscribed
 *             label_info       vision_msgs/LabelInfo, latched: the names of the classes
 * Parameters  model            the ONNX file (required)
 *             width, height    the size at which images are labelled; 0 (default): their own
 *             threads          threads per image; 0 (default): one per CPU
 *             alpha            opacity of the overlay's colours, 0 to 1 (0.4)
 *             outline          width of the overlay's outlines in pixels, 0 to 64 (2) */

#include "fcn_ros/image.hpp"

#include <rclcpp/rclcpp.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <vision_msgs/msg/label_info.hpp>

#include <memory>
#include <stdexcept>
#include <utility>

using sensor_msgs::msg::Image;
using vision_msgs::msg::LabelInfo;

class SegmentNode : public rclcpp::Node {
public:
    SegmentNode() : Node("segment"), segmenter_(load()) {
        alpha_ = static_cast<float>(declare_parameter("alpha", 0.4));
        outline_ = parameter("outline", 2);
        labels_ = create_publisher<Image>("labels", rclcpp::SensorDataQoS());
        overlay_ = create_publisher<Image>("overlay", rclcpp::SensorDataQoS());
        info_ = create_publisher<LabelInfo>("label_info", rclcpp::QoS(1).transient_local());
        publish_info();
        /* A queue of one: while an image is being labelled, only the latest is kept. */
        images_ = create_subscription<Image>("image", rclcpp::SensorDataQoS().keep_last(1),
                                             [this](Image::UniquePtr image) { segment(std::move(image)); });
    }

private:
    fcn::Segmenter load() {
        const std::string model = declare_parameter("model", "");
        if (model.empty()) throw std::invalid_argument("the parameter model must name an ONNX file");
        fcn::Options options;
        options.threads(parameter("threads"));
        const std::uint32_t width = parameter("width"), height = parameter("height");
        if (width > 0 || height > 0) options.resize(width, height);
        return fcn::Segmenter(model, options);
    }

    /* A non-negative integer; the library checks the upper bounds. */
    std::uint32_t parameter(const char *name, std::int64_t otherwise = 0) {
        const std::int64_t value = declare_parameter<std::int64_t>(name, otherwise);
        if (value < 0 || value > UINT32_MAX)
            throw std::invalid_argument("the parameter " + std::string(name) + " is " + std::to_string(value) +
                                        "; it must be 0 or more");
        return static_cast<std::uint32_t>(value);
    }

    void publish_info() {
        LabelInfo info;
        info.header.stamp = now();
        for (std::uint32_t index = 0; index < segmenter_.class_count(); index++) {
            vision_msgs::msg::VisionClass name;
            name.class_id = static_cast<std::uint16_t>(index);
            name.class_name = segmenter_.class_name(index);
            info.class_map.push_back(name);
        }
        info_->publish(info);
    }

    void segment(Image::UniquePtr image) {
        try {
            segmenter_.segment(fcn_ros::frame(*image), mask_);
            auto labels = std::make_unique<Image>();
            labels->header = image->header;
            fcn_ros::labels(mask_, *labels);
            labels_->publish(std::move(labels));
            if (overlay_->get_subscription_count() > 0) {
                fcn_ros::overlay(segmenter_, mask_, alpha_, outline_, *image);
                overlay_->publish(std::move(image));
            }
        } catch (const fcn::Error &error) {
            RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
        }
    }

    fcn::Segmenter segmenter_;
    fcn::Mask mask_;
    float alpha_ = 0.4f;
    std::uint32_t outline_ = 2;
    rclcpp::Publisher<Image>::SharedPtr labels_, overlay_;
    rclcpp::Publisher<LabelInfo>::SharedPtr info_;
    rclcpp::Subscription<Image>::SharedPtr images_;
};

int main(int argc, char **argv) {
    rclcpp::init(argc, argv);
    int code = 0;
    try {
        rclcpp::spin(std::make_shared<SegmentNode>());
    } catch (const std::exception &error) {
        RCLCPP_FATAL(rclcpp::get_logger("segment"), "%s", error.what());
        code = 1;
    }
    rclcpp::shutdown();
    return code;
}
