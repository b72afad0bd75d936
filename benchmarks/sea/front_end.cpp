// Microseconds that a mel image of one second takes, on one thread, for the students' and the teacher's front end of SEA.
// benchmarks/sea/front_end.sh compares it with librosa and torchaudio in one run. Prints `name microseconds` per line.

#include <iostream>
#include <numbers>
#include <retort/audio/mel.hpp>

#include "machine.hpp"

int main() {
  using namespace retort;
  for (const auto& [name, options] : {std::pair{"student", audio::MelOptions{}}, std::pair{"teacher", audio::MelOptions::openl3()}}) {
    audio::MelSpectrogram mel(options);
    std::vector<float> clip;
    for (int i = 0; i < options.rate; ++i) clip.push_back(0.5f * static_cast<float>(std::sin(2 * std::numbers::pi * (200 + 0.1 * i) * i / options.rate)));
    Tensor<float, 2> image(Shape<2>{options.bands, mel.frames(options.rate)});
    mel(clip, image.view());
    std::vector<double> times;
    for (int round = 0; round < 15; ++round) {
      constexpr int repeats = 40;
      const double start = bench::thread_seconds();
      for (int i = 0; i < repeats; ++i) mel(clip, image.view());
      times.push_back((bench::thread_seconds() - start) / repeats * 1e6);
    }
    std::nth_element(times.begin(), times.begin() + 7, times.end());
    std::cout << name << ' ' << times[7] << '\n';
  }
}
