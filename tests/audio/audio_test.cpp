#include <doctest/doctest.h>

#include <map>
#include <numbers>
#include <retort/audio/mel.hpp>
#include <retort/audio/spoken_digits.hpp>
#include <sstream>

#include "real_data.hpp"
#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using namespace retort::audio;

namespace {
/// The clip of tests/golden/mel.py.
std::vector<float> clip(int rate) {
  std::vector<float> x;
  for (int i = 0; i < rate; ++i) {
    const double t = static_cast<double>(i) / rate, noise = static_cast<double>(std::int64_t{i} * 7919 % 1000) / 1000 - 0.5;
    x.push_back(static_cast<float>(0.5 * std::sin(2 * std::numbers::pi * (200 * t + 0.2 * rate * t * t)) + 0.1 * noise));
  }
  return x;
}
/// A WAV file made by hand: header fields, then `bytes` of data though the header promises `promised`.
std::string wav_bytes(int channels, int rate, int bits, const std::string& data, std::uint32_t promised) {
  std::string out = "RIFF";
  const auto put = [&](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 255);
  };
  put(36 + promised, 4);
  out += "WAVEfmt ";
  put(16, 4), put(1, 2), put(static_cast<std::uint32_t>(channels), 2), put(static_cast<std::uint32_t>(rate), 4);
  put(static_cast<std::uint32_t>(rate * channels * bits / 8), 4), put(static_cast<std::uint32_t>(channels * bits / 8), 2), put(static_cast<std::uint32_t>(bits), 2);
  out += "data";
  put(promised, 4);
  return out + data;
}
}  // namespace

TEST_CASE("mel features agree with librosa's, value by value") {
  std::ifstream in(RETORT_SOURCE_DIR "/tests/golden/mel.tsv");
  REQUIRE(in.good());
  std::map<std::string, MelOptions> cases{{"student", {}},
                                          {"teacher", MelOptions::openl3()},
                                          {"centred", {.hop = 320, .bands = 32, .squared = true, .padding = Padding::centred}},
                                          {"power", {.low = 50, .high = 3500, .area_one = false, .power = true, .padding = Padding::centred}}};
  std::map<std::string, Tensor<float, 2>> images;
  for (const auto& [name, options] : cases) images.emplace(name, MelSpectrogram(options)(clip(options.rate)));
  CHECK(images.at("student").shape() == Shape<2>{64, 50});
  CHECK(images.at("teacher").shape() == Shape<2>{256, 199});
  CHECK(images.at("centred").shape() == Shape<2>{32, 26});
  CHECK(images.at("power").shape() == Shape<2>{64, 51});
  int compared = 0;
  for (std::string line; std::getline(in, line);) {
    if (line[0] == '#') continue;
    std::istringstream fields(line);
    std::string name;
    index_t band = 0, frame = 0;
    double db = 0;
    fields >> name >> band >> frame >> db;
    CAPTURE(line);
    CHECK(static_cast<double>(images.at(name).view()(band, frame)) == doctest::Approx(db).epsilon(1e-4).scale(10));
    ++compared;
  }
  CHECK(compared > 350);
}

TEST_CASE("mel features: range, silence, kept frames, one object for clips of several lengths") {
  MelSpectrogram mel(MelOptions{.padding = Padding::centred, .frames = 50});
  const auto long_clip = mel(clip(8000)), short_clip = mel(std::span<const float>(clip(8000)).first(3000)), again = mel(clip(8000));
  CHECK(long_clip.shape() == Shape<2>{64, 50});
  CHECK(short_clip.shape() == Shape<2>{64, 19});
  CHECK(std::equal(long_clip.begin(), long_clip.end(), again.begin()));
  CHECK(*std::max_element(long_clip.begin(), long_clip.end()) == 0.0f);
  CHECK(*std::min_element(long_clip.begin(), long_clip.end()) >= -80.0f);
  for (const float x : mel(std::vector<float>(8000))) CHECK(x == 0.0f);
  CHECK_THROWS_WITH_AS(mel(std::vector<float>{}), "MelSpectrogram: the clip has no samples", value_error);
  CHECK_THROWS_AS(mel(std::vector<float>(100, std::nanf(""))), value_error);
  CHECK_THROWS_WITH_AS(mel(Recording{clip(8000), 44100}),
                       "MelSpectrogram: made for 8000 Hz, the recording has 44100 Hz; bring it there with audio::resampled", value_error);
  CHECK_THROWS_AS(MelSpectrogram(MelOptions{.high = 5000}), value_error);
}

TEST_CASE("window starts: ten seconds in windows of one second every half second are twenty, the first centred on the start") {
  const auto starts = window_starts(80000, 8000, 4000);
  REQUIRE(starts.size() == 20);
  CHECK(starts[0] == -4000);
  CHECK(starts[19] == 72000);
}

TEST_CASE("WAV: stereo is averaged, 24 bits and other rates are read, a written file comes back") {
  const test::ScratchFolder folder;
  const auto write = [&](const std::string& bytes) {
    std::ofstream(folder.file("a.wav"), std::ios::binary) << bytes;
    return folder.file("a.wav");
  };
  const std::string stereo{"\x00\x40\x00\x20\x00\xC0\x00\x00", 8};  // (0.5, 0.25), (-0.5, 0)
  const Recording a = read_wav(write(wav_bytes(2, 44100, 16, stereo, 8)));
  CHECK(a.rate == 44100);
  CHECK(a.samples == std::vector<float>{0.375f, -0.25f});
  const std::string deep{"\x00\x00\x40\x00\x00\xE0", 6};  // 24 bits: 0.5, -0.25
  CHECK(read_wav(write(wav_bytes(1, 8000, 24, deep, 6))).samples == std::vector<float>{0.5f, -0.25f});
  write_wav(folder.file("b.wav"), {{0.5f, -0.25f, 0.125f}, 16000});
  const Recording back = read_wav(folder.file("b.wav"));
  CHECK(back.rate == 16000);
  REQUIRE(back.samples.size() == 3);
  CHECK(back.samples[1] == doctest::Approx(-0.25).epsilon(1e-4));
}

TEST_CASE("WAV: what is missing, empty, truncated, without samples or something else is told apart") {
  const test::ScratchFolder folder;
  const auto problem = [&](const std::string& bytes) {
    std::ofstream(folder.file("x.wav"), std::ios::binary) << bytes;
    try {
      read_wav(folder.file("x.wav"));
    } catch (const data_error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  const std::string whole = wav_bytes(1, 8000, 16, std::string(100, '\0'), 100);
  CHECK(problem(whole) == "accepted");
  CHECK(problem("").find("is empty") != std::string::npos);
  CHECK(problem(whole.substr(0, 90)).find("is truncated: its data chunk at byte 36 promises 100 bytes, the file ends at byte 90") != std::string::npos);
  CHECK(problem(whole.substr(0, 30)).find("expected a chunk at byte 36, the file ends at byte 30") != std::string::npos);
  CHECK(problem(wav_bytes(1, 8000, 16, "", 0)).find("holds no samples") != std::string::npos);
  CHECK(problem("ID3\x03 this is another kind of file").find("is no WAV file: no RIFF/WAVE header at byte 0") != std::string::npos);
  CHECK_THROWS_AS(read_wav(folder.file("none.wav")), data_error);
  CHECK_THROWS_AS(load_spoken_digits(folder.file("none")), data_error);
  CHECK_THROWS_WITH_AS(load_spoken_digits(folder.path()), doctest::Contains("expected DIGIT_SPEAKER_TAKE.wav, found"), data_error);
}

TEST_CASE("resampling keeps a tone's level and frequency and halves the number of samples") {
  Recording tone{{}, 16000};
  for (int i = 0; i < 16000; ++i) tone.samples.push_back(0.5f * static_cast<float>(std::sin(2 * std::numbers::pi * 440 * i / 16000)));
  const Recording half = resampled(tone, 8000);
  REQUIRE(half.samples.size() == 8000);
  double error = 0;
  for (int i = 500; i < 7500; ++i)
    error = std::max(error, std::abs(static_cast<double>(half.samples[static_cast<std::size_t>(i)]) - 0.5 * std::sin(2 * std::numbers::pi * 440 * i / 8000)));
  CHECK(error < 1e-3);
  CHECK(resampled(tone, 16000).samples == tone.samples);
  CHECK_THROWS_AS(resampled(tone, 0), value_error);
}

TEST_SUITE("needs-fsdd") {
  TEST_CASE("spoken digits: 2100 clips of six speakers, as mel images of one second") {
    const auto folder = test::real_data("fsdd", "recordings", "github.com/Jakobovski/free-spoken-digit-dataset");
    if (folder.empty()) return;
    const auto digits = load_spoken_digits(folder + "/recordings");
    REQUIRE(digits.size() == 2100);
    std::map<std::string, int> speakers;
    std::vector<Recording> first;
    for (const auto& d : digits) {
      ++speakers[d.speaker];
      CHECK(d.recording.rate == 8000);
      if (first.size() < 5) first.push_back(d.recording);
    }
    CHECK(speakers.size() == 6);
    MelSpectrogram mel(MelOptions{});
    const auto images = mel_images(mel, first);
    CHECK(images.inputs.shape() == Shape<4>{5, 64, 50, 1});
    CHECK_FALSE(images.labelled());
  }
}
