/* segment_node: labels a camera's images for Nav2's costmap layer for semantic segmentation
 * (fcn_ros/contract.hpp). A composable node: in one container with the camera's, images are not
 * copied.
 *
 * Subscribes  image                      sensor_msgs/Image, best effort, the latest one
 * Publishes   segmentation/mask          sensor_msgs/Image, mono8: class indices
 *             segmentation/confidence    sensor_msgs/Image, mono8: 0 to 255
 *             segmentation/overlay       sensor_msgs/Image: the image with class colours, if
 *                                        subscribed
 *             segmentation/label_info    vision_msgs/LabelInfo, latched: the names of the classes
 *             (all with the image's stamp and frame)
 * Parameters  model            the ONNX file (required)
 *             provider         auto (default), cpu, cuda or tensorrt
 *             threads          threads per image; 0 (default): one per CPU
 *             width, height    the size at which images are labelled; 0 (default): the model's own
 *             threshold        pixels of a lower confidence are unknown, 255 (0)
 *             smoothing        share of the newest image in the average, above 0 to 1 (1)
 *             alpha            opacity of the overlay's colours, 0 to 1 (0.4)
 *             outline          width of the overlay's outlines in pixels, 0 to 64 (2)
 *             image_transport  raw (default), compressed or another transport of the images */

#include "fcn_ros/contract.hpp"
#include "fcn_ros/image.hpp"

#include <image_transport/image_transport.hpp>
#include <rclcpp/rclcpp.hpp>
#include <rclcpp_components/register_node_macro.hpp>
#include <sensor_msgs/msg/image.hpp>
#include <vision_msgs/msg/label_info.hpp>

#include <memory>
#include <utility>

namespace fcn_ros {

using sensor_msgs::msg::Image;
using vision_msgs::msg::LabelInfo;

class SegmentNode : public rclcpp::Node {
public:
    explicit SegmentNode(const rclcpp::NodeOptions &options = rclcpp::NodeOptions())
        : Node("segment", options), parameters_(declare()), segmenter_(segmenter(parameters_)), labels_(mask(parameters_)) {
        const rclcpp::QoS sensor = rclcpp::SensorDataQoS();
        mask_ = create_publisher<Image>(mask_topic, sensor);
        confidence_ = create_publisher<Image>(confidence_topic, sensor);
        overlay_ = create_publisher<Image>(overlay_topic, sensor);
        info_ = create_publisher<LabelInfo>(label_info_topic, rclcpp::QoS(1).reliable().transient_local());
        auto info = std::make_unique<LabelInfo>();
        label_info_message(segmenter_, *info);
        info->header.stamp = now();
        info_->publish(std::move(info));
        /* A queue of one: while an image is being labelled, only the latest is kept. */
        rmw_qos_profile_t latest = rmw_qos_profile_sensor_data;
        latest.depth = 1;
        images_ = image_transport::create_subscription(
            this, image_topic, [this](const Image::ConstSharedPtr &image) { segment(*image); },
            declare_parameter("image_transport", "raw"), latest);
    }

private:
    Parameters declare() {
        Parameters parameters;
        parameters.model = declare_parameter("model", parameters.model);
        parameters.provider = declare_parameter("provider", parameters.provider);
        parameters.threads = declare_parameter("threads", parameters.threads);
        parameters.width = declare_parameter("width", parameters.width);
        parameters.height = declare_parameter("height", parameters.height);
        parameters.threshold = declare_parameter("threshold", parameters.threshold);
        parameters.smoothing = declare_parameter("smoothing", parameters.smoothing);
        parameters.alpha = declare_parameter("alpha", parameters.alpha);
        parameters.outline = declare_parameter("outline", parameters.outline);
        return parameters;
    }

    void segment(const Image &image) {
        try {
            segmenter_.segment(frame(image), labels_);
            auto classes = std::make_unique<Image>(), confidence = std::make_unique<Image>();
            mask_message(labels_, image.header, *classes);
            confidence_message(labels_, image.header, *confidence);
            mask_->publish(std::move(classes));
            confidence_->publish(std::move(confidence));
            if (overlay_->get_subscription_count() > 0) {
                auto drawn = std::make_unique<Image>(image);
                overlay(segmenter_, labels_, static_cast<float>(parameters_.alpha), checked("outline", parameters_.outline, 64),
                        *drawn);
                overlay_->publish(std::move(drawn));
            }
        } catch (const std::exception &error) {
            RCLCPP_ERROR_THROTTLE(get_logger(), *get_clock(), 5000, "%s", error.what());
        }
    }

    Parameters parameters_;
    fcn::Segmenter segmenter_;
    fcn::Mask labels_;
    rclcpp::Publisher<Image>::SharedPtr mask_, confidence_, overlay_;
    rclcpp::Publisher<LabelInfo>::SharedPtr info_;
    image_transport::Subscriber images_;
};

}  // namespace fcn_ros

RCLCPP_COMPONENTS_REGISTER_NODE(fcn_ros::SegmentNode)
