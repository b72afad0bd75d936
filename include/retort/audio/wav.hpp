#pragma once
// Recordings from WAV files, through libsndfile, and their sample rates, through libsamplerate (component retort::audio).

#include <samplerate.h>
#include <sndfile.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <retort/core/tensor.hpp>
#include <retort/backend/cpu.hpp>
#include <string>
#include <vector>

namespace retort::audio {

/// Samples of one channel, full scale -1..1, and how many come in a second.
struct Recording {
  std::vector<float> samples;
  int rate = 0;  ///< Hz
  double seconds() const { return rate ? static_cast<double>(samples.size()) / rate : 0; }
};

namespace detail {
/// libsndfile reads a torn file up to where it ends; this says that it is torn. Throws data_error.
inline void check_riff(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  require<data_error>(in.good(), "read_wav: cannot open '", path, "'");
  in.seekg(0, std::ios::end);
  const auto bytes = static_cast<std::uint64_t>(in.tellg());
  in.seekg(0);
  char id[4], form[4];
  const auto size = [&] {
    unsigned char b[4] = {};
    in.read(reinterpret_cast<char*>(b), 4);
    return std::uint64_t{b[0]} | std::uint64_t{b[1]} << 8 | std::uint64_t{b[2]} << 16 | std::uint64_t{b[3]} << 24;
  };
  require<data_error>(bytes > 0, "read_wav: '", path, "' is empty");
  in.read(id, 4);
  size();
  in.read(form, 4);
  require<data_error>(in.good() && std::memcmp(id, "RIFF", 4) == 0 && std::memcmp(form, "WAVE", 4) == 0, "read_wav: '", path,
                      "' is no WAV file: no RIFF/WAVE header at byte 0");
  for (std::uint64_t at = 12;;) {
    require<data_error>(bytes >= at + 8, "read_wav: '", path, "': expected a chunk at byte ", at, ", the file ends at byte ", bytes);
    in.seekg(static_cast<std::streamoff>(at));
    in.read(id, 4);
    const std::uint64_t length = size();
    if (std::memcmp(id, "data", 4) == 0) {
      require<data_error>(bytes >= at + 8 + length, "read_wav: '", path, "' is truncated: its data chunk at byte ", at, " promises ", length,
                          " bytes, the file ends at byte ", bytes);
      return;
    }
    at += 8 + length + (length & 1);
  }
}
}  // namespace detail

/// Reads a WAV file of any sample format, rate and number of channels; channels are averaged. Throws data_error for a file that
/// is missing, empty, truncated or no WAV, and for one without samples.
inline Recording read_wav(const std::string& path) {
  detail::check_riff(path);
  SF_INFO info{};
  SNDFILE* file = sf_open(path.c_str(), SFM_READ, &info);
  require<data_error>(file != nullptr, "read_wav: '", path, "': ", sf_strerror(nullptr));
  std::vector<float> interleaved(static_cast<std::size_t>(info.frames * info.channels));
  const sf_count_t frames = sf_readf_float(file, interleaved.data(), info.frames);
  sf_close(file);
  require<data_error>(frames == info.frames, "read_wav: '", path, "': expected ", info.frames, " samples, read ", frames);
  require<data_error>(frames > 0, "read_wav: '", path, "' holds no samples");
  Recording out{std::vector<float>(static_cast<std::size_t>(frames)), info.samplerate};
  const auto channels = static_cast<std::size_t>(info.channels);
  for (std::size_t i = 0; i < out.samples.size(); ++i) {
    float sum = 0;
    for (std::size_t c = 0; c < channels; ++c) sum += interleaved[i * channels + c];
    out.samples[i] = sum / static_cast<float>(channels);
  }
  return out;
}

/// Writes a recording as 16-bit PCM. Throws data_error when the file cannot be written.
inline void write_wav(const std::string& path, const Recording& recording) {
  SF_INFO info{};
  info.samplerate = recording.rate;
  info.channels = 1;
  info.format = SF_FORMAT_WAV | SF_FORMAT_PCM_16;
  SNDFILE* file = sf_open(path.c_str(), SFM_WRITE, &info);
  require<data_error>(file != nullptr, "write_wav: '", path, "': ", sf_strerror(nullptr));
  const auto count = static_cast<sf_count_t>(recording.samples.size());
  const bool complete = sf_write_float(file, recording.samples.data(), count) == count;
  require<data_error>((sf_close(file) == 0) && complete, "write_wav: cannot write '", path, "'");
}

/// The same sound at another rate, band-limited (libsamplerate's best sinc converter): round(samples * rate / old rate)
/// samples, deterministic. Throws value_error for a rate that is not positive or a ratio above 256.
inline Recording resampled(const Recording& recording, int rate) {
  require<value_error>(rate > 0 && recording.rate > 0, "resampled: expected positive rates, got ", recording.rate, " to ", rate);
  if (rate == recording.rate) return recording;
  const double ratio = static_cast<double>(rate) / recording.rate;
  Recording out{std::vector<float>(static_cast<std::size_t>(std::llround(static_cast<double>(recording.samples.size()) * ratio))), rate};
  SRC_DATA job{};
  job.data_in = recording.samples.data();
  job.input_frames = static_cast<long>(recording.samples.size());
  job.data_out = out.samples.data();
  job.output_frames = static_cast<long>(out.samples.size());
  job.src_ratio = ratio;
  const int problem = src_simple(&job, SRC_SINC_BEST_QUALITY, 1);
  require<value_error>(problem == 0, "resampled: ", recording.rate, " to ", rate, " Hz: ", src_strerror(problem));
  return out;
}

/// Reads a file and brings it to `rate`.
inline Recording load(const std::string& path, int rate) { return resampled(read_wav(path), rate); }

}  // namespace retort::audio
