#pragma once
// Mel spectrograms, through FFTW in single precision (component retort::audio).

#include <fftw3.h>

#include <algorithm>
#include <memory>
#include <retort/audio/wav.hpp>
#include <retort/backend/cpu_kernels.hpp>
#include <retort/data/dataset.hpp>
#include <retort/functor/distance.hpp>
#include <span>

namespace retort::audio {

/// Where the frames of a short-time Fourier transform lie.
enum class Padding {
  same,    ///< ceil(samples / hop) frames; zeros on both sides, half each: of TensorFlow and kapre
  centred  ///< 1 + samples / hop frames, frame t around sample t * hop; zeros outside: of librosa with center=True
};

/// A mel spectrogram in decibels below its own maximum. The defaults are the students' of SEA: 64 x 50 for one second.
struct MelOptions {
  int rate = 8000;            ///< Hz
  int window = 1024;          ///< samples of a frame and of its Fourier transform; Hann, periodic
  int hop = 160;              ///< samples from frame to frame
  int bands = 64;             ///< mel filters: triangles, HTK's scale 2595 log10(1 + f / 700)
  double low = 0, high = 0;   ///< Hz, edges of the lowest and the highest filter; high = 0: rate / 2
  bool area_one = true;       ///< filters scaled by 2 / (width in Hz), else with peaks of 1
  bool power = false;         ///< filters see |X|^2, else |X|
  bool squared = false;       ///< decibels of the squared filter output: twice the range before the floor
  double floor_db = 80;       ///< decibels below the maximum where values are cut off
  Padding padding = Padding::same;
  int frames = 0;             ///< keep this many; 0: all

  /// SEA's teacher (OpenL3, 256 bands at 48 kHz): 256 x 199 for one second.
  static MelOptions openl3() { return {.rate = 48000, .window = 2048, .hop = 242, .bands = 256}; }
};

/// Computes mel spectrograms; owns its plan and buffers, so one object per thread. FFTW's planner is not thread-safe: make
/// the objects one after the other. Deterministic: no timing takes part in the plan.
class MelSpectrogram {
 public:
  /// Throws value_error for options out of range. A filter that is narrower than the bins of the transform may see none: its
  /// band is then the lowest value throughout (OpenL3 has such bands).
  explicit MelSpectrogram(const MelOptions& options) : options_(options), bins_(options.window / 2 + 1) {
    const MelOptions& o = options_;
    const double high = o.high > 0 ? o.high : o.rate / 2.;
    require<value_error>(o.rate > 0 && o.window >= 2 && o.hop > 0 && o.bands > 0 && o.low >= 0 && o.low < high && high <= o.rate / 2. && o.floor_db > 0 && o.frames >= 0,
                         "MelSpectrogram: expected positive extents and 0 <= low < high <= rate / 2, got rate ", o.rate, ", window ", o.window, ", hop ", o.hop,
                         ", bands ", o.bands, ", ", o.low, " to ", high, " Hz, floor ", o.floor_db);
    for (int i = 0; i < o.window; ++i) hann_.push_back(static_cast<float>(0.5 - 0.5 * std::cos(2 * 3.14159265358979323846 * i / o.window)));
    const auto mel = [](double f) { return 2595 * std::log10(1 + f / 700); };
    const auto hertz = [](double m) { return 700 * (std::pow(10, m / 2595) - 1); };
    const auto edge = [&](int i) { return hertz(mel(o.low) + (mel(high) - mel(o.low)) * i / (o.bands + 1)); };
    for (int b = 0; b < o.bands; ++b) {
      const double left = edge(b), peak = edge(b + 1), right = edge(b + 2), scale = o.area_one ? 2 / (right - left) : 1;
      Filter filter{0, {}};
      for (index_t k = 0; k < bins_; ++k) {
        const double f = static_cast<double>(k) * o.rate / o.window;
        const double w = std::min((f - left) / (peak - left), (right - f) / (right - peak));
        if (w <= 0) continue;
        if (filter.weights.empty()) filter.first = k;
        filter.weights.push_back(static_cast<float>(w * scale));
      }
      filters_.push_back(std::move(filter));
    }
  }

  const MelOptions& options() const { return options_; }
  /// Frames of a clip of `samples` samples.
  index_t frames(index_t samples) const {
    const index_t all = options_.padding == Padding::same ? (samples + options_.hop - 1) / options_.hop : 1 + samples / options_.hop;
    return options_.frames ? std::min<index_t>(options_.frames, all) : all;
  }
  /// Bands x frames, decibels in [-floor_db, 0]; a silent clip is 0 throughout. Throws shape_error for an output of other
  /// extents, value_error for a clip without samples or with one that is not finite.
  void operator()(std::span<const float> clip, View<float, 2> out) {
    const auto samples = static_cast<index_t>(clip.size());
    const index_t count = frames(samples);
    require<value_error>(samples > 0, "MelSpectrogram: the clip has no samples");
    require<shape_error>(out.shape == Shape<2>{options_.bands, count}, "MelSpectrogram: expected room for ", to_string(Shape<2>{options_.bands, count}), ", got ",
                         to_string(out.shape));
    plan_for(count);
    const index_t before = options_.padding == Padding::centred
                               ? options_.window / 2
                               : std::max<index_t>(0, ((samples + options_.hop - 1) / options_.hop - 1) * options_.hop + options_.window - samples) / 2;
    for (index_t t = 0; t < count; ++t) {
      const index_t start = t * options_.hop - before, first = std::clamp<index_t>(-start, 0, options_.window),
                    last = std::clamp<index_t>(samples - start, first, options_.window);
      float* frame = buffer_.get() + t * options_.window;
      std::fill_n(frame, first, 0.f);
      for (index_t i = first; i < last; ++i) frame[i] = clip[static_cast<std::size_t>(start + i)] * hann_[static_cast<std::size_t>(i)];
      std::fill(frame + last, frame + options_.window, 0.f);
    }
    fftwf_execute(plan_.get());
    float top = 0;
    for (index_t t = 0; t < count; ++t) {
      const float* x = reinterpret_cast<const float*>(spectrum_.get() + t * bins_);
      if (options_.power)
        for (index_t k = 0; k < bins_; ++k) magnitude_[static_cast<std::size_t>(k)] = x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1];
      else
        for (index_t k = 0; k < bins_; ++k) magnitude_[static_cast<std::size_t>(k)] = std::sqrt(x[2 * k] * x[2 * k] + x[2 * k + 1] * x[2 * k + 1]);
      for (index_t b = 0; b < options_.bands; ++b) {
        const Filter& filter = filters_[static_cast<std::size_t>(b)];
        float sum = 0;
        for (std::size_t i = 0; i < filter.weights.size(); ++i) sum += filter.weights[i] * magnitude_[static_cast<std::size_t>(filter.first) + i];
        const float s = std::max(1e-10f, options_.squared ? sum * sum : sum);
        require<value_error>(std::isfinite(sum), "MelSpectrogram: a sample under frame ", t, " is not finite");
        out(b, t) = s;
        top = std::max(top, s);
      }
    }
    decibels(out, top);
  }
  Tensor<float, 2> operator()(std::span<const float> clip) {
    Tensor<float, 2> out(Shape<2>{options_.bands, frames(static_cast<index_t>(clip.size()))});
    (*this)(clip, out.view());
    return out;
  }
  /// A recording; throws value_error unless it has the front end's sample rate.
  Tensor<float, 2> operator()(const Recording& recording) {
    require<value_error>(recording.rate == options_.rate, "MelSpectrogram: made for ", options_.rate, " Hz, the recording has ", recording.rate,
                         " Hz; bring it there with audio::resampled");
    return (*this)(std::span<const float>(recording.samples));
  }

 private:
  struct Filter {
    index_t first;
    std::vector<float> weights;
  };
  struct Free {
    void operator()(void* p) const { fftwf_free(p); }
  };
  struct Destroy {
    void operator()(fftwf_plan p) const { fftwf_destroy_plan(p); }
  };
  /// Buffers and a plan for `count` frames at once; made when the count changes.
  void plan_for(index_t count) {
    if (count == planned_) return;
    buffer_.reset(static_cast<float*>(fftwf_malloc(sizeof(float) * static_cast<std::size_t>(count * options_.window))));
    spectrum_.reset(static_cast<fftwf_complex*>(fftwf_malloc(sizeof(fftwf_complex) * static_cast<std::size_t>(count * bins_))));
    magnitude_.resize(static_cast<std::size_t>(bins_));
    plan_.reset(fftwf_plan_many_dft_r2c(1, &options_.window, static_cast<int>(count), buffer_.get(), nullptr, 1, options_.window, spectrum_.get(), nullptr, 1,
                                        static_cast<int>(bins_), FFTW_ESTIMATE | FFTW_DESTROY_INPUT));
    require<error>(plan_ != nullptr, "MelSpectrogram: FFTW has no plan for a window of ", options_.window);
    planned_ = count;
  }
  /// out = max(10 log10(out / top), -floor_db).
  void decibels(View<float, 2> out, float top) {
    const float ten_over_ln10 = 4.342944819f, cut = static_cast<float>(-options_.floor_db);
    for (float& x : out) x /= top;
    Kernels<Cpu>::activation_forward(cpu_, functor::Log{}, View<const float, 1>(out.flat()), out.flat());
    for (float& x : out) x = std::min(0.f, std::max(cut, x * ten_over_ln10));
  }

  Cpu cpu_;
  MelOptions options_;
  index_t bins_, planned_ = -1;
  std::vector<float> hann_, magnitude_;
  std::vector<Filter> filters_;
  std::unique_ptr<float, Free> buffer_;
  std::unique_ptr<fftwf_complex, Free> spectrum_;
  std::unique_ptr<std::remove_pointer_t<fftwf_plan>, Destroy> plan_;
};

/// The first `samples` samples of a clip, zeros behind a shorter one.
inline std::vector<float> fixed_length(std::span<const float> clip, index_t samples) {
  std::vector<float> out(static_cast<std::size_t>(samples), 0.f);
  std::copy_n(clip.begin(), std::min(clip.size(), out.size()), out.begin());
  return out;
}

/// Starts of the windows of a long clip, SEA's way: one every `hop` samples, the first half a window before the clip (zeros
/// there), ceil(samples / hop) in all: 10 s in windows of 1 s every 0.5 s are 20.
inline std::vector<index_t> window_starts(index_t samples, index_t window, index_t hop) {
  require<value_error>(samples > 0 && window > 0 && hop > 0, "window_starts: expected positive lengths, got ", samples, ", ", window, " and ", hop);
  std::vector<index_t> out;
  for (index_t i = 0; i * hop < samples; ++i) out.push_back(i * hop - window / 2);
  return out;
}

/// Mel images of clips cut or padded to `seconds`, as an unlabelled set N x bands x frames x 1 of values db * factor + offset.
inline Dataset<4> mel_images(MelSpectrogram& mel, std::span<const Recording> recordings, double seconds = 1, float factor = 1, float offset = 0) {
  const auto samples = static_cast<index_t>(std::llround(seconds * mel.options().rate));
  const index_t bands = mel.options().bands, frames = mel.frames(samples);
  Dataset<4> out{Tensor<float, 4>(Shape<4>{static_cast<index_t>(recordings.size()), bands, frames, 1}), {}, 0, "mel images"};
  for (std::size_t i = 0; i < recordings.size(); ++i) {
    require<value_error>(recordings[i].rate == mel.options().rate, "mel_images: recording ", i, " has ", recordings[i].rate, " Hz, the front end is made for ",
                         mel.options().rate, " Hz; bring it there with audio::resampled");
    float* row = out.inputs.view().row(static_cast<index_t>(i));
    mel(fixed_length(recordings[i].samples, samples), View<float, 2>{row, {bands, frames}});
    for (index_t k = 0; k < bands * frames; ++k) row[k] = row[k] * factor + offset;
  }
  return out;
}

}  // namespace retort::audio
