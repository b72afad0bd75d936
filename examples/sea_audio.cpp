// SEA on real sound: a keyword spotter for five spoken digits that fits into a few kilobytes. A teacher that knows all digits
// gives embeddings of unlabelled clips of the target domain; small students regress them, and a probe on few labelled clips
// says what they are worth, beside the same students of clips from elsewhere. Writes sea_spectrogram.png and sea_embedding.svg.
// Needs RETORT_DATA_DIR with the Free Spoken Digit Dataset. Usage: sea_audio [--short]

#include <filesystem>
#include <iomanip>
#include <retort.hpp>
#include <retort/audio/mel.hpp>
#include <retort/audio/spoken_digits.hpp>
#include <retort/io/png.hpp>
#include <retort/io/svg.hpp>
#include <retort/method/sea.hpp>
#include <retort/nn/footprint.hpp>
#include <retort/nn/zoo/l3.hpp>
#include <retort/probe/probe.hpp>

using namespace retort;

struct embedding;
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear, nn::Tap<embedding>, nn::Linear>;
using SmallNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
template <class Student>
using Method = Sea<TeacherNet, Student, projection::StandardizedPca, sample::Uniform, embedding>;

int main(int argc, char** argv) {
  const bool brief = argc > 1 && std::string(argv[1]) == "--short";
  const char* root = std::getenv("RETORT_DATA_DIR");
  const std::string folder = std::string(root ? root : RETORT_DATA_DIR) + "/fsdd/recordings";
  if (!std::filesystem::exists(folder)) {
    std::cout << "SKIPPED: no " << folder << "; the data is at github.com/Jakobovski/free-spoken-digit-dataset\n";
    return 0;
  }
  // From WAV files to images of 32 mel bands x 25 frames, decibels scaled to -1..1.
  const auto clips = audio::load_spoken_digits(folder);
  audio::MelSpectrogram mel({.hop = 320, .bands = 32, .squared = true, .padding = audio::Padding::centred, .frames = 25});
  const Dataset<4> all = audio::mel_images(mel, audio::recordings_of(clips), 1, 1 / 40.f, 1);
  const auto unlabelled = [&](int first_take, int last_take, int first_digit, int last_digit) {
    return all.subset(audio::clips_of(clips, first_take, last_take, [=](const auto& c) { return c.digit >= first_digit && c.digit <= last_digit; }));
  };
  const auto labelled = [&](int first_take, int last_take, int digits) {
    Dataset<4> set = unlabelled(first_take, last_take, 0, digits - 1);
    set.classes = digits;
    for (const index_t i : audio::clips_of(clips, first_take, last_take, [=](const auto& c) { return c.digit < digits; })) set.labels.push_back(clips[static_cast<std::size_t>(i)].digit);
    return set;
  };
  const Dataset<4> known = labelled(30, 34, 5), asked = labelled(0, 4, 5);  // 150 clips of the target's digits each
  Cpu cpu;
  Network<TeacherNet> teacher(TeacherNet(nn::Linear{800, 256}, nn::Relu{}, nn::Linear{256, 64}, {}, nn::Linear{64, 10}), 1);
  LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
  fit(supervised, labelled(5, 14, 10), optim::Adam{}, {.epochs = 25, .batch_size = 32, .seed = 1}, callbacks::ProgressBar{std::clog, 1});

  const auto score = [&](const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
    Dataset<2> train{Tensor<float, 2>(a.shape()), known.labels, 5, "probe"}, test{Tensor<float, 2>(b.shape()), asked.labels, 5, "probe"};
    std::copy(a.begin(), a.end(), train.inputs.begin());
    std::copy(b.begin(), b.end(), test.inputs.begin());
    return 100 * probe::linear<projection::StandardizeGlobally>(train, test).average_precision.macro;
  };
  std::cout << "\n|network|parameters|kB float|peak kB|1000 multiply-adds|probe AP, target's clips|other clips|\n|---|---|---|---|---|---|---|\n" << std::fixed << std::setprecision(1);
  const auto print = [&](const char* name, const Footprint& f, double own, double other) {
    std::cout << '|' << name << '|' << f.parameters << '|' << 4e-3 * static_cast<double>(f.stored()) << '|' << 4e-3 * static_cast<double>(f.two_buffers) << '|'
              << static_cast<double>(f.multiply_adds) / 1e3 << '|' << own << '|' << other << "|\n" << std::flush;
  };
  print("teacher", footprint(teacher.architecture(), Shape<4>{1, 32, 25, 1}), score(embeddings_of<embedding>(teacher, known, cpu), embeddings_of<embedding>(teacher, asked, cpu)), 0);
  std::vector<double> gains;
  Tensor<float, 2> shown;
  const auto run = [&](const char* name, const auto& architecture, index_t components, int steps) {
    using Student = std::remove_cvref_t<decltype(architecture)>;
    double result[2];
    for (const bool elsewhere : {false, true}) {
      Network<Student> student(architecture, 2);
      const Dataset<4> pool = elsewhere ? unlabelled(15, 29, 5, 9) : unlabelled(15, 29, 0, 4);  // 450 clips that nobody labelled
      Method<Student> method{{teacher, projection::standardized_pca(components)}, student};
      fit(method, pool, optim::Adam{}, {.epochs = steps / 15, .batch_size = 32, .seed = 3}, callbacks::ProgressBar{std::clog, 1});
      Tensor<float, 2> answers = predict_logits(student, asked, cpu);
      result[elsewhere] = score(predict_logits(student, known, cpu), answers);
      if (!elsewhere) shown = std::move(answers);
    }
    print(name, footprint(architecture, Shape<4>{1, 32, 25, 1}), result[0], result[1]);
    gains.push_back(result[0] - result[1]);
  };
  run("800-8-8", SmallNet(nn::Linear{800, 8}, nn::Relu{}, nn::Linear{8, 8}), 8, 1500);
  run("800-64-32", SmallNet(nn::Linear{800, 64}, nn::Relu{}, nn::Linear{64, 32}), 32, 1500);
  if (!brief) run("convolutions 8-16-16-16", nn::zoo::l3({8, 16, 16, 16}), 16, 1500);

  io::save_png("sea_spectrogram.png", io::contact_sheet(asked.inputs.view().rows(0, 8), 4, -1, 1, 4).view());
  io::Chart chart{.title = "The last student's first two components, test clips", .x_label = "component 1", .y_label = "component 2"};
  for (int digit = 0; digit < 5; ++digit) {
    io::Series points{.name = std::to_string(digit), .x = {}, .y = {}, .line = false};
    for (index_t i = 0; i < asked.size(); ++i)
      if (asked.labels[static_cast<std::size_t>(i)] == digit) points.x.push_back(shown.view()(i, 0)), points.y.push_back(shown.view()(i, 1));
    chart.series.push_back(std::move(points));
  }
  io::save_svg("sea_embedding.svg", chart);
  std::cout << "\nwrote sea_spectrogram.png and sea_embedding.svg\n";
  return gains[0] > 2 ? 0 : 1;  // one domain: the narrow student of the target's own clips is well ahead
}
