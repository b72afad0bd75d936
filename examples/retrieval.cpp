// ReAugKD on TREC's questions: a student of 16 numbers a word learns to query its teacher's embeddings, then answers together with what
// it finds among the training questions. Prints the arms, and for some test questions the neighbours with their weights beside the
// student's and the mixed prediction. Usage: retrieval [--short] [--questions N]

#include <cstdlib>
#include <filesystem>
#include <retort.hpp>
#include <retort/data/text.hpp>
#include <retort/nn/zoo/text.hpp>

using namespace retort;

struct embedding;
using TeacherNet = nn::Sequential<nn::TokenEmbedding, nn::Positionwise<nn::Dropout>, nn::ConvolutionBank, nn::Tap<embedding>, nn::Dropout, nn::Linear>;
using StudentNet = nn::Sequential<nn::EmbeddingBag, nn::Tap<embedding>, nn::Relu, nn::Linear>;
using Method = ReAugKd<TeacherNet, StudentNet, embedding>;

int main(int argc, char** argv) {
  bool brief = false;
  int questions = 4;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--short") brief = true;
    if (std::string(argv[i]) == "--questions" && i + 1 < argc) questions = std::stoi(argv[++i]);
  }
  const char* environment = std::getenv("RETORT_DATA_DIR");
  const std::string folder = std::string(environment ? environment : RETORT_DATA_DIR) + "/text";
  if (!std::filesystem::exists(folder + "/TREC.train.all")) {
    std::cout << "SKIPPED: no " << folder << "/TREC.train.all; the data is at cogcomp.seas.upenn.edu/Data/QA/QC\n";
    return 0;
  }
  const data::TextSplit trec = data::load_trec(folder);
  const auto words = data::Words::from(trec.train.sentences, {.least = 2});
  const auto labelled = data::tokens(trec.train, words, 40), test = data::tokens(trec.test, words, 40);
  const auto parts = labelled.split(brief ? 0.3 : 0.85, 1);  // the rest chooses k and lambda
  const Dataset<2>&train = parts.train, &validation = parts.test;
  const char* classes[] = {"description", "entity", "abbreviation", "human", "place", "number"};

  Network<TeacherNet> teacher(TeacherNet(nn::TokenEmbedding{words.size(), 64}, {nn::Dropout{0.3f}}, nn::ConvolutionBank{64, 32, {1, 2, 3}}, {}, nn::Dropout{0.5f},
                                         nn::Linear{96, 6}), 1);
  LabelsOnly<TeacherNet> supervised{teacher::None{}, teacher};
  std::clog << "the teacher\n";
  fit(supervised, train, optim::Adam{.lr = 3e-3f, .schedule = {.rule = optim::Cosine{}}}, {.epochs = brief ? 8 : 15, .batch_size = 50, .seed = 1},
      callbacks::ProgressBar{std::clog, 3});

  Network<StudentNet> student(StudentNet(nn::EmbeddingBag{words.size(), 16}, {}, nn::Relu{}, nn::Linear{16, 6}), 2);
  Method method{{teacher, {.width = 16}}, student, {.relation = {.loss = {.temperature = 0.1}, .weight = 1}}, {}, {}, {.temperature = 0.1}};
  std::clog << "the projection, the knowledge base, the student\n";
  fit(method, train, optim::Adam{.lr = 5e-3f, .schedule = {.rule = optim::Cosine{}}}, {.epochs = brief ? 20 : 30, .seed = 3}, callbacks::ProgressBar{std::clog, 3});

  Cpu cpu;
  auto& predictor = method.predictor_policy();
  const auto& base = predictor.base;
  const auto ask = [&](const Dataset<2>& data, auto&& what) { return predict_logits<float>(cpu, data, [&](auto& pass, const auto& q) { return what(pass, q); }); };
  const auto probabilities = [&](auto& pass, const auto& q) { return softmax(pass.tape, result_of(student.forward(pass, q.input))); };
  const auto queries = [&](const Dataset<2>& data) {
    auto x = ask(data, [&](auto& pass, const auto& q) { return tap<embedding>(student.forward(pass, q.input)); });
    retrieval::scale_to_unit(x.view());
    return base.nearest(cpu, x.view(), 32);
  };
  const auto chosen = retrieval::Calibrator<>{}(base, queries(validation), ask(validation, probabilities).view(), validation.label_view()).best;
  predictor.k = chosen.k;
  const auto accuracy = [&](double lambda) {
    predictor.lambda = lambda;
    return 100 * metrics::accuracy(ask(test, [&](auto& pass, const auto& q) { return predictor.answer(pass, student, q); }), test.label_view());
  };
  const double teaching = 100 * metrics::accuracy(predict_logits(teacher, test, cpu), test.label_view());
  const double alone = accuracy(1), retrieved = accuracy(0), mixture = accuracy(chosen.lambda);
  std::printf("\n%lld keys of 16 numbers, %zu bytes; k = %lld and lambda = %.1f chosen on %lld validation questions\n\n  answer by            accuracy %%\n"
              "  teacher              %9.1f\n  student alone        %9.1f\n  retrieval alone      %9.1f\n  both                 %9.1f\n",
              static_cast<long long>(base.size()), base.bytes(), static_cast<long long>(chosen.k), chosen.lambda, static_cast<long long>(validation.size()), teaching, alone,
              retrieved, mixture);

  const auto own = ask(test, probabilities), both = ask(test, [&](auto& pass, const auto& q) { return predictor.answer(pass, student, q); });
  const auto found = queries(test);
  std::vector<double> weights(static_cast<std::size_t>(chosen.k));
  // Every training question by its row in the base: the split kept the order of the file.
  const auto text_of = [&](index_t id) {
    index_t at = 0;
    while (!std::equal(train.inputs.view().row(id), train.inputs.view().row(id) + 40, labelled.inputs.view().row(at))) ++at;
    return trec.train.sentences[static_cast<std::size_t>(at)];
  };
  for (int shown = 0, i = 0; shown < questions && i < test.size(); i += 7, ++shown) {
    const auto best = [&](const Tensor<float, 2>& t) { return std::max_element(t.view().row(i), t.view().row(i) + 6) - t.view().row(i); };
    std::printf("\n\"%s\" (%s)\n  student: %s %.2f   mixed: %s %.2f\n", trec.test.sentences[static_cast<std::size_t>(i)].c_str(),
                classes[test.labels[static_cast<std::size_t>(i)]], classes[best(own)], static_cast<double>(own(i, best(own))), classes[best(both)],
                std::exp(static_cast<double>(both(i, best(both)))));
    retrieval::neighbour_weights(found.ids.view().row(i), found.scores.view().row(i), chosen.k, predictor.temperature, weights.data());
    for (index_t j = 0; j < std::min<index_t>(3, chosen.k); ++j)
      std::printf("  %.3f  %-12s %s\n", weights[static_cast<std::size_t>(j)], classes[train.labels[static_cast<std::size_t>(found.ids(i, j))]],
                  text_of(found.ids(i, j)).c_str());
  }
  return alone > 60 && retrieved > 60 && mixture > 60 ? 0 : 1;  // chance is 28 %, a class's share of the questions
}
