// The same as foreign.c through fcn.hpp.

#include <fcn.hpp>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    const std::string folder = argv[1];
    std::ifstream file(folder + "/labels", std::ios::binary);
    const std::string labels((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    std::vector<std::uint8_t> pixels(24 * 40 * 3);
    for (std::size_t i = 0; i < pixels.size(); i++) pixels[i] = static_cast<std::uint8_t>(i * 7 + i / 50);

    fcn::Options options;
    options.input_layout(FCN_LAYOUT_NHWC).output("other").output_layout(FCN_LAYOUT_NCHW);
    options.output_values(FCN_VALUES_PROBABILITIES).channel_order(FCN_CHANNELS_BGR).scale(0.01f);
    options.mean_std({{1.0f, 1.5f, 0.5f}}, {{0.5f, 1.0f, 2.0f}});
    const fcn::Segmenter segmenter(folder + "/foreign.onnx", options);
    const fcn::Mask mask = segmenter.segment(fcn::frame(FCN_FORMAT_RGB8, pixels.data(), 40, 24));
    const bool same = labels.size() == 24 * 40 && std::memcmp(mask.labels(), labels.data(), labels.size()) == 0;
    fcn::Options independent;
    independent.multilabel(0.7f);
    const bool four = fcn::Segmenter(folder + "/multilabel.onnx", independent).class_count() == 4;
    std::printf("%d failures\n", same && four ? 0 : 1);
    return same && four ? 0 : 1;
}
