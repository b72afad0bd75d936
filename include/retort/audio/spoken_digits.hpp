#pragma once

#include <algorithm>
#include <filesystem>
#include <retort/audio/wav.hpp>

namespace retort::audio {

/// One clip of the Free Spoken Digit Dataset (Jackson et al., CC BY-SA 4.0).
struct SpokenDigit {
  Recording recording;
  int digit = 0;
  std::string speaker;
  int take = 0;
};

/// Reads `FOLDER/DIGIT_SPEAKER_TAKE.wav`, in the order of the names. Throws data_error for a folder that is missing or holds no
/// such file, and for a name that does not fit.
inline std::vector<SpokenDigit> load_spoken_digits(const std::string& folder) {
  std::error_code problem;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem))
    if (entry.path().extension() == ".wav") files.push_back(entry.path());
  require<data_error>(!problem && !files.empty(), "load_spoken_digits: no WAV files in '", folder, "'");
  std::sort(files.begin(), files.end());
  std::vector<SpokenDigit> out;
  for (const auto& file : files) {
    const std::string name = file.stem().string();
    const auto first = name.find('_'), last = name.rfind('_');
    const bool fits = first == 1 && last > first + 1 && last + 1 < name.size() && name[0] >= '0' && name[0] <= '9' &&
                      name.find_first_not_of("0123456789", last + 1) == std::string::npos;
    require<data_error>(fits, "load_spoken_digits: expected DIGIT_SPEAKER_TAKE.wav, found '", file.string(), "'");
    out.push_back({read_wav(file.string()), name[0] - '0', name.substr(first + 1, last - first - 1), std::stoi(name.substr(last + 1))});
  }
  return out;
}

/// Positions of the clips of takes `first_take` to `last_take` that `keep(clip)` accepts.
template <class F>
std::vector<index_t> clips_of(const std::vector<SpokenDigit>& clips, int first_take, int last_take, F&& keep) {
  std::vector<index_t> out;
  for (std::size_t i = 0; i < clips.size(); ++i)
    if (clips[i].take >= first_take && clips[i].take <= last_take && keep(clips[i])) out.push_back(static_cast<index_t>(i));
  return out;
}

/// The recordings of clips, in their order.
inline std::vector<Recording> recordings_of(const std::vector<SpokenDigit>& clips) {
  std::vector<Recording> out;
  for (const auto& c : clips) out.push_back(c.recording);
  return out;
}

}  // namespace retort::audio
