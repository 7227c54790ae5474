/* segment_node: labels a camera's images for Nav2's costmap layer for semantic segmentation
 * (fcn_ros/contract.hpp). A composable node: in one container with the camera's, images are not
 * copied.
 *
 * Subscribes  image                      sensor_msgs/Image, best effort, the latest one
 * Publishes   segmentation/mask          sensor_msgs/Image, mono8: class indices
 *             segmentation/confidence    sensor_msgs/Image, mono8: 0 to 255
 *             segmentation/overlay       sensor_msgs/Image: the image with class colours, if
 *                                        subscribed
 *             (these have the image's stamp and frame)
 *             segmentation/label_info    vision_msgs/LabelInfo, latched: the names of the classes
 * Parameters  model            the ONNX file (required)
 *             provider         auto (default), cpu, cuda, tensorrt or openvino
 *             precision        exact (default), or fast: layers in a shorter format than float32
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

inline rclcpp::QoS to_ros(const Qos &from) {
    rclcpp::QoS qos(from.depth);
    if (from.reliable)
        qos.reliable();
    else
        qos.best_effort();
    if (from.latched) qos.transient_local();
    return qos;
}

class SegmentNode : public rclcpp::Node {
public:
    explicit SegmentNode(const rclcpp::NodeOptions &options = rclcpp::NodeOptions())
        : Node("segment", options), parameters_(declare()), segmenter_(segmenter(parameters_)), labels_(mask(parameters_)) {
        const rclcpp::QoS images = to_ros(published_images);
        mask_ = create_publisher<Image>(mask_topic, images);
        confidence_ = create_publisher<Image>(confidence_topic, images);
        overlay_ = create_publisher<Image>(overlay_topic, images);
        /* Humble refuses latched topics within a process. */
        rclcpp::PublisherOptions between_processes;
        between_processes.use_intra_process_comm = rclcpp::IntraProcessSetting::Disable;
        info_ = create_publisher<LabelInfo>(label_info_topic, to_ros(label_info), between_processes);
        auto info = std::make_unique<LabelInfo>();
        label_info_message(segmenter_, *info);
        info->header.stamp = now();
        info_->publish(std::move(info));
        images_ = image_transport::create_subscription(
            this, image_topic, [this](const Image::ConstSharedPtr &image) { segment(*image); },
            declare_parameter("image_transport", "raw"), to_ros(subscribed_images).get_rmw_qos_profile());
    }

private:
    Parameters declare() {
        Parameters parameters;
        parameters.model = declare_parameter("model", parameters.model);
        parameters.provider = declare_parameter("provider", parameters.provider);
        parameters.precision = declare_parameter("precision", parameters.precision);
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
