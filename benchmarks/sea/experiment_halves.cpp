// SEA on spoken digits: students specialised on half of the digits (or on one speaker) against students of other data, equal
// data, steps and starts. Usage: sea_experiment_halves [name=value ...]
// seeds=5 first_seed=0 split=digit|speaker hidden=8 components=8 steps=1500. Needs RETORT_DATA_DIR with the set fsdd.

#include <cstdlib>
#include <functional>
#include <iomanip>
#include <retort.hpp>
#include <retort/audio/mel.hpp>
#include <retort/audio/spoken_digits.hpp>
#include <retort/method/sea.hpp>
#include <retort/probe/probe.hpp>

#include "trial.hpp"

using namespace experiment;

namespace {
struct embedding;
using TeacherNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear, nn::Tap<embedding>, nn::Linear>;
using StudentNet = nn::Sequential<nn::Linear, nn::Relu, nn::Linear>;
using Method = Sea<TeacherNet, StudentNet, projection::StandardizedPca, sample::Uniform, embedding>;

/// All clips as mel vectors of 800 entries.
struct Corpus {
  std::vector<audio::SpokenDigit> clips;
  Tensor<float, 2> inputs;
  std::vector<std::string> speakers;

  explicit Corpus(const std::string& folder) : clips(audio::load_spoken_digits(folder)) {
    for (const auto& c : clips)
      if (std::find(speakers.begin(), speakers.end(), c.speaker) == speakers.end()) speakers.push_back(c.speaker);
    audio::MelSpectrogram mel({.hop = 320, .bands = 32, .squared = true, .padding = audio::Padding::centred, .frames = 25});
    const auto images = audio::mel_images(mel, audio::recordings_of(clips), 1, 1 / 40.f, 1);
    inputs = Tensor<float, 2>(Shape{images.size(), images.inputs.shape().row_size()});
    std::copy(images.inputs.begin(), images.inputs.end(), inputs.begin());
  }
  using Filter = std::function<bool(const audio::SpokenDigit&)>;
  std::vector<index_t> rows(int first_take, int last_take, const Filter& keep = [](const auto&) { return true; }) const {
    return audio::clips_of(clips, first_take, last_take, keep);
  }
  /// The labels are positions in `digits`; without any the set is unlabelled.
  Dataset<2> set(const Tensor<float, 2>& vectors, const std::vector<index_t>& rows, const std::vector<int>& digits = {}) const {
    Dataset<2> out{Tensor<float, 2>(Shape{static_cast<index_t>(rows.size()), vectors.extent(1)}), {}, static_cast<int>(digits.size()), "spoken digits"};
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(vectors.view().row(rows[i]), vectors.extent(1), out.inputs.view().row(static_cast<index_t>(i)));
      if (!digits.empty()) out.labels.push_back(static_cast<std::int32_t>(std::find(digits.begin(), digits.end(), clips[static_cast<std::size_t>(rows[i])].digit) - digits.begin()));
    }
    return out;
  }
};

/// A target domain: what belongs to it, to the rest of the pool, to the off-domain probe, and the probe's classes.
struct Domain {
  Corpus::Filter target, general, off;
  std::vector<int> digits, off_digits;
};

std::vector<index_t> drawn(std::vector<index_t> from, std::size_t n, Rng rng) {
  rng.shuffle(from);
  from.resize(std::min(n, from.size()));
  return from;
}
}  // namespace

int main(int argc, char** argv) {
  const Arguments a(argc, argv);
  const char* root = std::getenv("RETORT_DATA_DIR");
  const std::string folder = std::string(root ? root : RETORT_DATA_DIR) + "/fsdd/recordings";
  print_header("sea_experiment_halves", a);
  const Corpus corpus(folder);
  const bool by_speaker = a.text("split", "digit") == "speaker";
  const int seeds = a.count("seeds", 5), first = a.count("first_seed", 0), steps = a.count("steps", 1500);
  const index_t hidden = a.count("hidden", 8), components = a.count("components", 8);
  Table ap, ap_global, accuracy, off, r2;  // all in percent
  Cpu cpu;
  for (int seed = first; seed < first + seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    Network<TeacherNet> teacher(TeacherNet(nn::Linear{800, 256}, nn::Relu{}, nn::Linear{256, 64}, {}, nn::Linear{64, 10}), s);
    LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
    fit(supervised, corpus.set(corpus.inputs, corpus.rows(5, 14), {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}), optim::Adam{.lr = 1e-3f}, {.epochs = 25, .batch_size = 32, .seed = s});
    const Tensor<float, 2> z = embeddings_of<embedding>(teacher, corpus.set(corpus.inputs, corpus.rows(0, 99)), cpu);
    for (int number = 0; number < 6; ++number) {
      const Rng rng = Rng(s).fork(0x73656100u + static_cast<std::uint64_t>(number));
      Domain domain;
      if (by_speaker) {
        const std::string own = corpus.speakers[static_cast<std::size_t>(number)], other = corpus.speakers[static_cast<std::size_t>((number + 1) % 6)];
        domain = {[=](const auto& c) { return c.speaker == own; }, [=](const auto& c) { return c.speaker != own; }, [=](const auto& c) { return c.speaker == other; },
                  {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}};
      } else {
        std::vector<int> digits{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
        Rng order = rng.fork(0);
        order.shuffle(digits);
        domain.digits.assign(digits.begin(), digits.begin() + 5);
        domain.off_digits.assign(digits.begin() + 5, digits.end());
        const auto in = [](std::vector<int> which) { return [which](const auto& c) { return std::find(which.begin(), which.end(), c.digit) != which.end(); }; };
        domain.target = in(domain.digits);
        domain.general = domain.off = in(domain.off_digits);
      }
      const auto target = corpus.rows(15, 29, domain.target);
      const auto general = drawn(corpus.rows(15, 29, domain.general), target.size(), rng.fork(1));
      const auto mixed = drawn(corpus.rows(15, 29), target.size(), rng.fork(2));
      const auto phi = projection::standardized_pca(components);
      const auto fit_phi = [&](const std::vector<index_t>& rows) { return phi.fit(projection::moments_of(corpus.set(z, rows).inputs)); };
      const projection::Affine of_target = fit_phi(target);

      // Every arm's vectors of all clips, judged by the same probes.
      const auto judge = [&](const std::string& arm, const Tensor<float, 2>& vectors, bool off_domain) {
        const probe::Options options{.seed = s};
        const auto known = corpus.set(vectors, corpus.rows(30, 34, domain.target), domain.digits), asked = corpus.set(vectors, corpus.rows(0, 4, domain.target), domain.digits);
        const auto each = probe::linear(known, asked, options), global = probe::linear<projection::StandardizeGlobally>(known, asked, options);
        ap.add(arm, 100 * each.average_precision.macro);
        ap_global.add(arm, 100 * global.average_precision.macro);
        accuracy.add(arm, 100 * each.accuracy);
        if (off_domain)
          off.add(arm, probe::linear(corpus.set(vectors, corpus.rows(30, 34, domain.off), domain.off_digits),
                                     corpus.set(vectors, corpus.rows(0, 4, domain.off), domain.off_digits), options).accuracy * 100);
      };
      const auto held_out = corpus.rows(0, 4, domain.target);
      const auto train = [&](const std::string& arm, const std::vector<index_t>* rows, const projection::Affine* fitted, bool measured) {
        Network<StudentNet> student(StudentNet(nn::Linear{800, hidden}, nn::Relu{}, nn::Linear{hidden, components, true, nn::Init::glorot}), s + 1000);
        if (rows) {
          student.decay_matrices_only();
          Method method{{teacher, phi, {.fitted = fitted}}, student};
          const int batches = static_cast<int>((rows->size() + 31) / 32), epochs = steps / batches;
          fit(method, corpus.set(corpus.inputs, *rows), optim::Adam{.lr = 1e-3f, .weight_decay = 2e-5f, .schedule = optim::Schedule{optim::MultiStep{{epochs * 2 / 3.}, 0.1}}},
              {.epochs = epochs, .batch_size = 32, .seed = s});
        }
        const Tensor<float, 2> vectors = predict_logits(student, corpus.set(corpus.inputs, corpus.rows(0, 99)), cpu);
        judge(arm, vectors, arm == "T" || arm == "G" || arm == "M");
        if (measured) r2.add(arm, 100 * metrics::r_squared(of_target.transform(corpus.set(z, held_out).inputs), corpus.set(vectors, held_out).inputs).total);
      };
      train("T", &target, nullptr, true);
      train("G", &general, nullptr, false);
      train("G phi", &general, &of_target, true);
      train("M", &mixed, nullptr, false);
      train("M phi", &mixed, &of_target, true);
      train("U", nullptr, nullptr, false);
      judge("teacher", z, false);
      judge("phi(teacher)", of_target.transform(z), false);
      judge("phi of a third", fit_phi(drawn(target, target.size() / 3, rng.fork(3))).transform(z), false);
      judge("random projection", projection::Random{components, s}.fit(projection::moments_of(corpus.set(z, target).inputs)).transform(z), false);
    }
    std::clog << "seed " << seed << '\n';
  }
  const auto show = [](const char* what, const Table& table, const std::string& base) {
    std::cout << what << "\n\n";
    table.print(base);
  };
  show("Macro average precision, probe scaled per dimension:", ap, "T");
  show("Macro average precision, probe scaled globally:", ap_global, "T");
  show("Accuracy on the target domain:", accuracy, "T");
  show("Accuracy off the target domain:", off, "T");
  show("R^2 on held-out target clips under the target's projection:", r2, "T");

  const auto wins = [](const std::vector<double>& x, const std::vector<double>& y) {
    int n = 0;
    for (std::size_t i = 0; i < x.size(); ++i) n += x[i] > y[i];
    return n;
  };
  const auto line = [&](const char* claim, const std::vector<double>& x, const std::vector<double>& y) {
    const auto test = statistics::sign_test(x, y);
    std::cout << "|" << claim << "|" << wins(x, y) << " of " << x.size() << "|" << std::showpos << std::setprecision(3) << statistics::mean(x) - statistics::mean(y) << std::noshowpos << "|"
              << std::setprecision(4) << (wins(x, y) * 2 > static_cast<int>(x.size()) ? test.p_two_sided / 2 : 1 - test.p_two_sided / 2) << "|\n";
  };
  std::cout << "|claim|pairs|mean difference|one-sided sign test p|\n|---|---|---|---|\n";
  line("R^2: T over G phi", r2["T"], r2["G phi"]);
  line("R^2: T over M phi", r2["T"], r2["M phi"]);
  for (const char* other : {"G", "G phi", "M", "M phi"}) {
    line((std::string("AP per dimension: T over ") + other).c_str(), ap["T"], ap[other]);
    line((std::string("AP global: T over ") + other).c_str(), ap_global["T"], ap_global[other]);
  }
  line("off-domain accuracy: G over T", off["G"], off["T"]);
  line("AP: T over untrained", ap["T"], ap["U"]);
  line("AP: teacher over T", ap["teacher"], ap["T"]);
  line("AP per dimension: phi(teacher) over random projection", ap["phi(teacher)"], ap["random projection"]);
  line("AP global: phi(teacher) over random projection", ap_global["phi(teacher)"], ap_global["random projection"]);
  line("AP: phi(teacher) over phi of a third", ap["phi(teacher)"], ap["phi of a third"]);
}
