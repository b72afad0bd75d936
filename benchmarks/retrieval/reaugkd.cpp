// ReAugKD-1: does a small student answer better when it may look up what its teacher knew of the training items? All arms from one
// start and equal passes, on TREC or SST-2. Usage: reaugkd_experiment [name=value ...]
//   set=trec|sst2 seeds=5 first_seed=0 part=1 (share of the training set that everyone sees) teacher=cnn|bag|given given=FOLDER
//   student=bag|cnn split=test|validation epochs=30 teacher_epochs=15 alpha=1 tau=0.1 tau_r=0 (0: tau) width=16 hard=0
//   criterion=likelihood|accuracy standard_errors=1 (of the calibrator)
//   sweep=0 (1: alpha and tau of a grid, measured on one half of the validation split, k and lambda chosen on the other, by each rule)

#include <iomanip>
#include <numeric>
#include <retort/data/text.hpp>
#include <retort/nn/zoo/text.hpp>

#include "trial.hpp"
#if __has_include(<xtensor/xarray.hpp>) || __has_include(<xtensor/containers/xarray.hpp>)
#include <retort/io/xtensor.hpp>
#define HAS_NPY 1
#endif

using namespace experiment;

namespace {

struct embedding;
using TeacherBag = nn::Sequential<nn::EmbeddingBag, nn::Relu, nn::Dropout, nn::Linear, nn::Relu, nn::Tap<embedding>, nn::Dropout, nn::Linear>;
using TeacherCnn = nn::Sequential<nn::TokenEmbedding, nn::Positionwise<nn::Dropout>, nn::ConvolutionBank, nn::Tap<embedding>, nn::Dropout, nn::Linear>;
struct BagStudent {
  using Net = nn::Sequential<nn::EmbeddingBag, nn::Tap<embedding>, nn::Relu, nn::Linear>;
  static Net make(index_t tokens, index_t width, index_t classes) { return Net(nn::EmbeddingBag{tokens, width}, {}, nn::Relu{}, nn::Linear{width, classes}); }
};
/// Sees the order of up to three words; half the teacher's convolutions and half its word vectors.
struct CnnStudent {
  using Net = nn::Sequential<nn::TokenEmbedding, nn::ConvolutionBank, nn::Linear, nn::Tap<embedding>, nn::Relu, nn::Linear>;
  static Net make(index_t tokens, index_t width, index_t classes) {
    return Net(nn::TokenEmbedding{tokens, 32}, nn::ConvolutionBank{32, 16, {1, 2, 3}}, nn::Linear{48, width}, {}, nn::Relu{}, nn::Linear{width, classes});
  }
};

using TeacherHead = nn::Sequential<nn::Tap<embedding>, nn::Linear>;  // over a sentence encoder's embeddings

struct Parts {
  Dataset<2> train, validation, test;
};
struct World : Parts {
  index_t tokens = 0;
  Parts encoded;  // the sentences as an encoder's embeddings, where those are given
};
/// Rows of what scripts/sentence_teacher.py wrote, with their labels.
Dataset<2> encoded(const Arguments& a, const char* part, const std::vector<index_t>& rows, const Dataset<2>& like) {
#ifdef HAS_NPY
  const auto all = io::load_npy<float, 2>(a.text("given", "") + "/" + a.text("set", "trec") + "/" + part + ".embeddings.npy");
  Dataset<2> out{Tensor<float, 2>(Shape{like.size(), all.extent(1)}), like.labels, like.classes, like.name};
  for (index_t i = 0; i < like.size(); ++i) std::copy_n(all.view().row(rows.empty() ? i : rows[static_cast<std::size_t>(i)]), all.extent(1), out.inputs.view().row(i));
  return out;
#else
  throw error("reading .npy files needs xtensor");
#endif
}
/// Everything of a seed: the split of TREC (SST-2 has a published one), the part of the training set, words of it alone.
World load(const Arguments& a, std::uint64_t seed) {
  const std::string folder = std::string(RETORT_DATA_DIR) + "/text";
  const bool trec = a.text("set", "trec") == "trec";
  const data::TextSplit all = trec ? data::load_trec(folder) : data::load_sst2(folder);
  std::vector<std::vector<index_t>> members(static_cast<std::size_t>(all.train.classes));
  for (std::size_t i = 0; i < all.train.labels.size(); ++i) members[static_cast<std::size_t>(all.train.labels[i])].push_back(static_cast<index_t>(i));
  const auto pick = [](const data::Text& from, const std::vector<index_t>& at) {
    data::Text out{{}, {}, from.classes, from.name};
    for (const index_t i : at) out.sentences.push_back(from.sentences[static_cast<std::size_t>(i)]), out.labels.push_back(from.labels[static_cast<std::size_t>(i)]);
    return out;
  };
  std::vector<index_t> learn, choose;  // a sixth of TREC's training set, class by class, is its validation split
  for (std::size_t c = 0; c < members.size(); ++c) {
    auto& own = members[c];
    Rng rng = Rng(seed).fork(c);
    rng.shuffle(own);
    const std::size_t held = trec ? own.size() / 6 : 0;
    choose.insert(choose.end(), own.begin(), own.begin() + static_cast<std::ptrdiff_t>(held));
    const auto rest = static_cast<std::size_t>(std::llround(a.number("part", 1) * static_cast<double>(own.size() - held)));
    learn.insert(learn.end(), own.begin() + static_cast<std::ptrdiff_t>(held), own.begin() + static_cast<std::ptrdiff_t>(held + rest));
  }
  std::sort(learn.begin(), learn.end());
  const data::Text train = pick(all.train, learn), validation = trec ? pick(all.train, choose) : all.validation;
  const auto words = data::Words::from(train.sentences, {.least = a.count("least", 2)});
  World w{{data::tokens(train, words, 60), data::tokens(validation, words, 60), data::tokens(all.test, words, 60)}, words.size(), {}};
  if (a.text("teacher", "cnn") == "given")
    w.encoded = {encoded(a, "train", learn, w.train), trec ? encoded(a, "train", choose, w.validation) : encoded(a, "validation", {}, w.validation),
                 encoded(a, "test", {}, w.test)};
  return w;
}

/// Soft labels and embeddings of a set.
struct Known {
  Tensor<float, 2> soft, embeddings;
};
template <class Net>
Known know(Network<Net>& teacher, const Dataset<2>& data) {
  Cpu cpu;
  Known out{predict_logits<float>(cpu, data, [&](auto& pass, const auto& b) { return softmax(pass.tape, result_of(teacher.forward(pass, b.input))); }),
            predict_logits<float>(cpu, data, [&](auto& pass, const auto& b) { return tap<embedding>(teacher.forward(pass, b.input)); })};
  return out;
}
struct Teacher {
  Known train, validation, test;
};
template <class Net>
Teacher train_teacher(Net net, const Parts& w, const Arguments& a, std::uint64_t seed) {
  Network<Net> teacher(std::move(net), seed);
  LabelsOnly<Net> method{teacher::None{}, teacher, {.label_smoothing = a.number("smoothing", 0)}};
  fit(method, w.train, optim::Adam{.lr = static_cast<float>(a.number("teacher_lr", 3e-3)), .schedule = {.rule = optim::Cosine{}}},
      {.epochs = a.count("teacher_epochs", 15), .batch_size = 50, .seed = seed});
  return {know(teacher, w.train), know(teacher, w.validation), know(teacher, w.test)};
}
Teacher make_teacher(const World& w, const Arguments& a, std::uint64_t seed) {
  const index_t classes = w.train.classes;
  if (a.text("teacher", "cnn") == "given") return train_teacher(TeacherHead({}, nn::Linear{w.encoded.train.inputs.extent(1), classes}), w.encoded, a, seed);
  if (a.text("teacher", "cnn") == "bag")
    return train_teacher(TeacherBag(nn::EmbeddingBag{w.tokens, 128}, nn::Relu{}, nn::Dropout{0.3f}, nn::Linear{128, 64}, nn::Relu{}, {}, nn::Dropout{0.3f},
                                    nn::Linear{64, classes}), w, a, seed);
  return train_teacher(TeacherCnn(nn::TokenEmbedding{w.tokens, 64}, {nn::Dropout{0.3f}}, nn::ConvolutionBank{64, 32, {1, 2, 3}}, {}, nn::Dropout{0.5f},
                                  nn::Linear{96, classes}), w, a, seed);
}

double accuracy_of(View<const float, 2> scores, const Dataset<2>& data) { return 100 * metrics::accuracy(scores, data.label_view()); }

/// A student's probabilities and its queries (norm 1) on a set.
template <class Net>
Known ask(Network<Net>& student, const Dataset<2>& data) {
  Known out = know(student, data);
  retrieval::scale_to_unit(out.embeddings.view());
  return out;
}
double mixed_accuracy(const retrieval::KnowledgeBase<>& base, const retrieval::Neighbours& found, const Known& own, const retrieval::Setting& s, const Dataset<2>& data) {
  const auto retrieved = retrieval::retrieved_labels(base, found, s.temperature, s.k);
  Tensor<float, 2> out(own.soft.shape());
  for (index_t i = 0; i < out.size(); ++i) out.data()[i] = retrieval::mixed(s.lambda, own.soft.data()[i], retrieved.data()[i]);
  return accuracy_of(out.view(), data);
}
/// Share of the student's first k neighbours that the teacher's own query finds among its first k.
double recall(const retrieval::Neighbours& a, const retrieval::Neighbours& b, index_t k) {
  index_t hits = 0;
  for (index_t q = 0; q < a.queries(); ++q)
    for (index_t j = 0; j < k; ++j) hits += std::count(b.ids.view().row(q), b.ids.view().row(q) + k, a.ids(q, j)) > 0;
  return 100 * static_cast<double>(hits) / static_cast<double>(k * a.queries());
}

template <class Student>
struct Trained {
  using Method = ReAugKd<teacher::Given<embedding>, typename Student::Net, embedding>;
  Network<typename Student::Net> student;
  std::unique_ptr<Method> method;
};
template <class Student>
Trained<Student> train(const World& w, const Teacher& t, const Arguments& a, double alpha, double tau, std::uint64_t seed) {
  const index_t width = a.count("width", 16);
  using Method = typename Trained<Student>::Method;
  Trained<Student> out{Network<typename Student::Net>(Student::make(w.tokens, width, w.train.classes), seed + 100), nullptr};
  teacher::HeadOptions head{.width = width, .loss = {.temperature = a.number("tau_c", 0.1)}, .epochs = a.count("head_epochs", 20)};
  out.method = std::make_unique<Method>(typename Method::teacher{teacher::Given<embedding>(t.train.soft.clone(), t.train.embeddings.clone()), head}, out.student,
                                        typename Method::loss{.hard = {.weight = a.number("hard", 0)}, .relation = {.loss = {.temperature = tau}, .weight = alpha}});
  fit(*out.method, w.train, optim::Adam{.lr = static_cast<float>(a.number("lr", 5e-3)), .schedule = {.rule = optim::Cosine{}}},
      {.epochs = a.count("epochs", 30), .batch_size = a.count("batch", 64), .seed = seed});
  return out;
}
/// How k and lambda are chosen.
struct Rule {
  bool likelihood;
  double standard_errors;
  std::vector<double> lambda = retrieval::Calibrator<>{}.lambda;
  retrieval::Calibration choose(const retrieval::KnowledgeBase<>& base, const retrieval::Neighbours& found, const Known& own, const Dataset<2>& data, double temperature) const {
    const auto by = [&](auto criterion) {
      return retrieval::Calibrator<decltype(criterion)>{.lambda = lambda, .temperature = {temperature}, .standard_errors = standard_errors}(base, found, own.soft.view(), data.label_view());
    };
    return likelihood ? by(retrieval::ByLikelihood{}) : by(retrieval::ByAccuracy{});
  }
};
const std::pair<const char*, Rule> rules[] = {{"accuracy", {false, 0}}, {"accuracy, 1 s.e.", {false, 1}}, {"likelihood", {true, 0}}, {"likelihood, 1 s.e.", {true, 1}}};
double retrieval_temperature(const Arguments& a, double tau) { return a.number("tau_r", 0) > 0 ? a.number("tau_r", 0) : tau; }

/// alpha and tau on the validation split: k and lambda are chosen on one half of it, the other is measured, and the other way round.
template <class Student>
void sweep(const Arguments& a) {
  Cpu cpu;
  constexpr std::size_t columns = std::size(rules) + 2;
  std::map<std::pair<double, double>, std::array<double, columns>> sums;
  const int seeds = a.count("seeds", 2), first = a.count("first_seed", 100);
  double taught = 0;
  for (int seed = first; seed < first + seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    const World w = load(a, s);
    const Teacher teacher = make_teacher(w, a, s);
    taught += accuracy_of(teacher.validation.soft.view(), w.validation) / seeds;
    std::clog << "seed " << seed << ": teacher " << accuracy_of(teacher.validation.soft.view(), w.validation) << '\n';
    const auto halves = w.validation.split(0.5, 1);
    for (const double alpha : {0.1, 1., 10.})
      for (const double tau : {0.05, 0.1, 0.5, 1.}) {
        auto t = train<Student>(w, teacher, a, alpha, tau, s);
        const auto& base = t.method->predictor_policy().base;
        auto& sum = sums[{alpha, tau}];
        for (const bool turned : {false, true}) {
          const Dataset<2>&one = turned ? halves.test : halves.train, &other = turned ? halves.train : halves.test;
          const Known on = ask(t.student, one), off = ask(t.student, other);
          const auto near = base.nearest(cpu, on.embeddings.view(), 32), found = base.nearest(cpu, off.embeddings.view(), 32);
          const double temperature = retrieval_temperature(a, tau);
          std::size_t at = 0;
          sum[at++] += accuracy_of(off.soft.view(), other) / (2 * seeds);
          for (const auto& [name, rule] : rules) sum[at++] += mixed_accuracy(base, found, off, rule.choose(base, near, on, one, temperature).best, other) / (2 * seeds);
          sum[at++] += mixed_accuracy(base, found, off, {8, 0, temperature}, other) / (2 * seeds);
        }
      }
  }
  std::cout << std::fixed << std::setprecision(2) << "The teacher: " << taught << ".\n\n|alpha|tau|student alone|";
  for (const auto& [name, rule] : rules) std::cout << "by " << name << '|';
  std::cout << "retrieval alone, k 8|\n";
  for (std::size_t i = 0; i < columns + 2; ++i) std::cout << "|---";
  std::cout << "|\n";
  std::array<double, columns> mean{};
  for (const auto& [at, sum] : sums) {
    std::cout << '|' << at.first << '|' << at.second << '|';
    for (std::size_t i = 0; i < columns; ++i) std::cout << sum[i] << '|', mean[i] += sum[i] / static_cast<double>(sums.size());
    std::cout << '\n';
  }
  std::cout << "|mean||";
  for (const double m : mean) std::cout << m << '|';
  std::cout << "\n\n";
}

template <class Student>
void run(const Arguments& a) {
  Cpu cpu;
  const int seeds = a.count("seeds", 5), first = a.count("first_seed", 0);
  const double alpha = a.number("alpha", 1), tau = a.number("tau", 0.1);
  Table table, aligned;
  std::map<std::pair<index_t, double>, double> by_setting;
  for (int seed = first; seed < first + seeds; ++seed) {
    const auto s = static_cast<std::uint64_t>(seed);
    const World w = load(a, s);
    const Teacher teacher = make_teacher(w, a, s);
    const bool on_test = a.text("split", "test") == "test";
    const Dataset<2>& held_out = on_test ? w.test : w.validation;
    table.add("teacher", accuracy_of((on_test ? teacher.test : teacher.validation).soft.view(), held_out));

    const Rule rule{a.text("criterion", "likelihood") == "likelihood", a.number("standard_errors", 1)};
    const auto measure = [&](Trained<Student>& t, const char* alone, const char* with, const char* only, bool full) {
      const auto& base = t.method->predictor_policy().base;
      const Known chosen_on = ask(t.student, w.validation), own = ask(t.student, held_out);
      const double temperature = retrieval_temperature(a, tau);
      const auto near = base.nearest(cpu, chosen_on.embeddings.view(), 32), found = base.nearest(cpu, own.embeddings.view(), 32);
      const auto calibration = rule.choose(base, near, chosen_on, w.validation, temperature);
      auto knn = rule;
      knn.lambda = {0};
      const auto knn_best = knn.choose(base, near, chosen_on, w.validation, temperature).best;
      table.add(alone, accuracy_of(own.soft.view(), held_out));
      table.add(with, mixed_accuracy(base, found, own, calibration.best, held_out));
      table.add(only, mixed_accuracy(base, found, own, knn_best, held_out));
      if (!full) return;
      for (const auto& [name, other] : rules)
        table.add(std::string("full, k and lambda by ") + name, mixed_accuracy(base, found, own, other.choose(base, near, chosen_on, w.validation, temperature).best, held_out));
      std::clog << "seed " << seed << ": k " << calibration.best.k << ", lambda " << calibration.best.lambda << '\n';
      aligned.add("k chosen", static_cast<double>(calibration.best.k)), aligned.add("lambda chosen", calibration.best.lambda);
      for (const auto& tried : calibration.tried) by_setting[{tried.k, tried.lambda}] += mixed_accuracy(base, found, own, tried, held_out) / seeds;
      std::vector<index_t> order(static_cast<std::size_t>(base.size()));
      std::iota(order.begin(), order.end(), index_t{0});
      Rng rng = Rng(s).fork(7);
      rng.shuffle(order);
      Tensor<float, 2> labels(base.soft_labels().shape);
      for (index_t i = 0; i < base.size(); ++i) std::copy_n(base.soft_labels().row(order[static_cast<std::size_t>(i)]), base.classes(), labels.view().row(i));
      retrieval::KnowledgeBase<> shuffled;
      shuffled.add(base.keys(), labels.view());
      table.add("full, shuffled base labels", mixed_accuracy(shuffled, found, own, calibration.best, held_out));
      auto half = calibration.best;
      half.lambda = 0.5;
      table.add("full, lambda 0.5", mixed_accuracy(base, found, own, half, held_out));
      table.add("full, lambda 0.5, shuffled base labels", mixed_accuracy(shuffled, found, own, half, held_out));
      retrieval::KnowledgeBase<std::int8_t> small;
      small.add(base.keys(), base.soft_labels());
      const auto rounded = small.nearest(cpu, own.embeddings.view(), 32);
      Tensor<float, 2> out(own.soft.shape());
      const auto retrieved = retrieval::retrieved_labels(small, rounded, calibration.best.temperature, calibration.best.k);
      for (index_t i = 0; i < out.size(); ++i) out.data()[i] = retrieval::mixed(calibration.best.lambda, own.soft.data()[i], retrieved.data()[i]);
      table.add("full, int8 keys", accuracy_of(out.view(), held_out));
      const auto z = t.method->teacher_policy().project((on_test ? teacher.test : teacher.validation).embeddings.view());
      table.add("retrieval by the teacher's query (ceiling)", mixed_accuracy(base, base.nearest(cpu, z.view(), 32), own, knn_best, held_out));
    };
    const auto recall_of = [&](Trained<Student>& t, const char* name) {
      const auto& base = t.method->predictor_policy().base;
      const auto z = t.method->teacher_policy().project((on_test ? teacher.test : teacher.validation).embeddings.view());
      aligned.add(name, recall(base.nearest(cpu, ask(t.student, held_out).embeddings.view(), 8), base.nearest(cpu, z.view(), 8), 8));
    };
    auto kd = train<Student>(w, teacher, a, 0, tau, s), full = train<Student>(w, teacher, a, alpha, tau, s);
    measure(kd, "KD", "KD, unaligned retrieval", "KD, retrieval alone", false);
    measure(full, "KD + relational, no retrieval", "full: KD + relational + retrieval", "full, retrieval alone (lambda 0)", true);
    recall_of(kd, "recall@8, alpha 0");
    for (const double other : {0.1, 1., 10.}) {
      if (other == alpha) {
        recall_of(full, other == 0.1 ? "recall@8, alpha 0.1" : other == 1 ? "recall@8, alpha 1" : "recall@8, alpha 10");
      } else if (a.count("recalls", 1)) {
        auto t = train<Student>(w, teacher, a, other, tau, s);
        recall_of(t, other == 0.1 ? "recall@8, alpha 0.1" : other == 1 ? "recall@8, alpha 1" : "recall@8, alpha 10");
      }
    }
    std::clog << "seed " << seed << " done\n";
  }
  table.print("KD + relational, no retrieval");
  aligned.print("");
  std::cout << "Mean accuracy by k (down) and lambda (across):\n\n|k|";
  for (int l = 0; l <= 10; ++l) std::cout << std::fixed << std::setprecision(1) << 0.1 * l << '|';
  std::cout << "\n|---|---|---|---|---|---|---|---|---|---|---|---|";
  index_t row = 0;
  for (const auto& [at, value] : by_setting) {
    if (at.first != row) std::cout << "\n|" << (row = at.first) << '|';
    std::cout << std::setprecision(2) << value << '|';
  }
  std::cout << "\n\n";
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments a(argc, argv);
  print_header("reaugkd_experiment", a);
  const auto with = [&]<class Student>(Student) { a.count("sweep", 0) ? sweep<Student>(a) : run<Student>(a); };
  a.text("student", "bag") == "cnn" ? with(CnnStudent{}) : with(BagStudent{});
}
