#include <doctest/doctest.h>

#include <retort/data/text.hpp>

#include "real_data.hpp"
#include "scratch_folder.hpp"

using namespace retort;
using data::WordPiece;
using data::Words;
using Ids = std::vector<std::int32_t>;
using Strings = std::vector<std::string>;

TEST_CASE("words: lower case, punctuation apart, bytes above 127 inside words, controls are spaces") {
  CHECK(data::split_words("What's  the\tU.S.-led \"B-52\"?") == Strings{"what", "'", "s", "the", "u", ".", "s", ".", "-", "led", "\"", "b", "-", "52", "\"", "?"});
  CHECK(data::split_words("Caf\xc3\xa9 na\xefve\r") == Strings{"caf\xc3\xa9", "na\xefve"});
  CHECK(data::split_words(" \n").empty());
}

TEST_CASE("Words: ids by falling count, ties by bytes; rare and unseen words are 1; limits") {
  const Strings texts{"b a a c", "a b d c", "e"};
  const Words all = Words::from(texts);
  CHECK(all.words() == Strings{"a", "b", "c", "d", "e"});
  CHECK(all.size() == 7);
  CHECK(all.encode("A b, zebra e") == Ids{2, 3, 1, 1, 6});
  const Words frequent = Words::from(texts, {.least = 2}), two = Words::from(texts, {.most = 2});
  CHECK(frequent.words() == Strings{"a", "b", "c"});
  CHECK(two.words() == Strings{"a", "b"});
  CHECK(frequent.encode("d a") == Ids{1, 2});
  CHECK(all.encode("").empty());
  CHECK(::test::message_of<value_error>([] { Words({"x", "y", "x"}); }).find("'x' comes twice") != std::string::npos);
}

TEST_CASE("WordPiece: the longest pieces from the left, unknown words whole, a frame on demand") {
  const ::test::ScratchFolder folder;
  const std::string path = folder.write("vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\nun\n##aff\n##able\n##a\nrun\n##ning\n,\nrunn\n##b\n##le\r\n");
  const WordPiece pieces(path);
  CHECK(pieces.size() == 14);
  CHECK(pieces.encode("unaffable") == Ids{4, 5, 6});
  CHECK(pieces.encode("UNABLE") == Ids{4, 6});
  CHECK(pieces.encode("unable, run") == Ids{4, 6, 10, 8});
  CHECK(pieces.encode("running") == Ids{1});  // greedy: runn, then nothing fits
  CHECK(pieces.encode("unzz run") == Ids{1, 8});
  CHECK(pieces.encode(std::string(101, 'u') + " un") == Ids{1, 4});
  CHECK(pieces.encode("") == Ids{});
  CHECK(WordPiece(path, {.frame = true}).encode("run") == Ids{2, 8, 3});

  const auto loading = [&](const char* content) {
    const std::string bad = folder.write("bad.txt", content);
    return ::test::message_of<data_error>([&] { WordPiece(bad, {.frame = true}); });
  };
  CHECK(loading("a\n[PAD]\n").find("line 1: expected [PAD], found 'a'") != std::string::npos);
  CHECK(loading("[PAD]\na\na\n").find("line 3: the piece 'a' comes twice") != std::string::npos);
  CHECK(loading("[PAD]\na\n").find("no [UNK]") != std::string::npos);
  CHECK(loading("[PAD]\n[UNK]\n").find("no [CLS]") != std::string::npos);
  CHECK(loading("").find("expected [PAD]") != std::string::npos);
  CHECK_THROWS_AS(WordPiece(folder.file("none.txt")), data_error);
}

TEST_CASE("labelled lines: read as written; errors name file and line") {
  const ::test::ScratchFolder folder;
  const data::Text text = data::load_text(folder.write("a.txt", "1 good film\r\n0 bad\n2 so so .\n"));
  CHECK(text.sentences == Strings{"good film", "bad", "so so ."});
  CHECK(text.labels == Ids{1, 0, 2});
  CHECK(text.classes == 3);
  const auto loading = [&](const char* content, int classes = 2) {
    const std::string bad = folder.write("bad.txt", content);
    return ::test::message_of<data_error>([&] { data::load_text(bad, classes); });
  };
  CHECK(loading("1 a\nx b\n").find("bad.txt, line 2: expected a label from 0 to 1, found 'x b'") != std::string::npos);
  CHECK(loading("2 a\n").find("line 1: expected a label") != std::string::npos);
  CHECK(loading("1\n").find("line 1: expected a space and a sentence") != std::string::npos);
  CHECK(loading("1 \n").find("line 1: expected a space and a sentence") != std::string::npos);
  CHECK(loading("").find("no sentences") != std::string::npos);
}

TEST_CASE("tokens: cut and padded to one length, a data set that validates") {
  const data::Text text{{"a b c d", "b", "zzz"}, {0, 1, 0}, 2, "toy"};
  const Words words = Words::from({"a b c d", "b"});  // b 2, a 3, c 4, d 5
  const Dataset<2> set = data::tokens(text, words, 3);
  CHECK(set.inputs.shape() == Shape<2>{3, 3});
  CHECK(std::vector<float>(set.inputs.begin(), set.inputs.end()) == std::vector<float>{3, 2, 4, 2, 0, 0, 1, 0, 0});
  set.validate();
  CHECK_THROWS_AS(data::tokens(text, words, 0), value_error);
  CHECK_THROWS_AS(data::tokens(data::Text{}, words, 3), value_error);
}

TEST_SUITE("needs-text") {
  TEST_CASE("TREC and SST-2 have the published sizes and classes") {
    const auto folder = ::test::real_data("text", "TREC.train.all", "cogcomp.seas.upenn.edu/Data/QA/QC and gluebenchmark.com/tasks");
    if (folder.empty()) return;
    const auto trec = data::load_trec(folder), sst2 = data::load_sst2(folder);
    CHECK(trec.train.size() == 5452);
    CHECK(trec.test.size() == 500);
    CHECK(trec.train.classes == 6);
    CHECK(sst2.train.size() == 6920);
    CHECK(sst2.validation.size() == 872);
    CHECK(sst2.test.size() == 1821);
    const Words words = Words::from(trec.train.sentences, {.least = 2});
    CHECK(data::tokens(trec.train, words, 40).size() == 5452);
  }
}
