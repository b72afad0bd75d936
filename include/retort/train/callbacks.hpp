#pragma once
// Callbacks of fit. Each is an aggregate of options; see Session for what a callback of one's own may define.

#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <retort/core/finite.hpp>
#include <retort/core/state.hpp>
#include <retort/predict/logits.hpp>
#include <retort/train/metrics.hpp>
#include <retort/train/report.hpp>

namespace retort::callbacks {

/// A progress bar on a terminal; plain lines, at most `lines` of them, when the output is none.
class ProgressBar {
 public:
  explicit ProgressBar(std::ostream& out = std::clog, int lines = 10) : out_(&out), lines_(lines) {
    terminal_ = (&out == &std::clog || &out == &std::cerr) ? isatty(2) : &out == &std::cout ? isatty(1) : false;
  }
  template <class S>
  void on_step(S& session) {
    if (!terminal_) return;
    const int percent = static_cast<int>(100 * session.steps_done() / session.steps_in_epoch());
    if (percent == shown_) return;
    shown_ = percent;
    *out_ << "\repoch " << session.progress().epoch + 1 << '/' << session.options().epochs << " [" << std::string(static_cast<std::size_t>(percent / 5), '#')
          << std::string(static_cast<std::size_t>(20 - percent / 5), '.') << "] loss " << number("%.4g", session.last_loss()) << "   " << std::flush;
  }
  template <class S>
  void on_epoch_end(S& session) {
    const int epoch = session.progress().epoch + 1, epochs = session.options().epochs;
    const int every = std::max(1, (epochs + lines_ - 1) / std::max(1, lines_));
    if (!terminal_ && epoch % every && epoch != epochs) return;
    std::string line = detail::concat("epoch ", number("%3.0f", epoch), "/", epochs, "  loss ", number("%.4f", session.record().loss));
    for (const auto& [name, value] : session.record().metrics) line += detail::concat("  ", name, " ", number("%.4f", value));
    line += detail::concat("  ", number("%.2f", session.record().seconds), " s");
    *out_ << (terminal_ ? "\r" : "") << line << (terminal_ ? "                    \n" : "\n") << std::flush;
  }

 private:
  /// Not by manipulators: the stream's own format stays as its owner left it.
  static std::string number(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
  }
  std::ostream* out_;
  int lines_, shown_ = -1;
  bool terminal_ = false;
};

/// Records the student's accuracy on held-out data after each `every` epochs (and the last): metric `name`.
template <class Data>
class Accuracy {
 public:
  explicit Accuracy(const Data& data, std::string name = "accuracy", int every = 1) : data_(&data), name_(std::move(name)), every_(every) {
    require<value_error>(every >= 1, "callbacks::Accuracy: expected every >= 1, got ", every);
  }
  template <class S>
  void on_epoch_end(S& session) {
    const int epoch = session.progress().epoch + 1;
    if (epoch % every_ && epoch != session.options().epochs) return;
    auto& method = session.method();
    using T = typename S::scalar;
    const auto logits = predict_logits<T>(session.backend(), *data_, [&](auto& pass, const auto& batch) {
      return result_of(method.predictor_policy().answer(pass, method.student_policy().result(), batch));
    });
    session.record().metrics.emplace_back(name_, metrics::accuracy(View<const T, 2>(logits.view()), data::base(*data_).label_view()));
  }

 private:
  const Data* data_;
  std::string name_;
  int every_;
};

/// Stops when a recorded metric (or "loss") has not improved by `min_change` for `patience` of the epochs that recorded it. Put
/// it behind the callback that records the metric. Its memory is part of checkpoints: a run that it stopped, resumed, is over at once.
class EarlyStopping {
 public:
  struct Options {
    std::string metric = "loss";
    int patience = 5;
    double min_change = 0;
    bool larger_is_better = metric != "loss";
  };
  explicit EarlyStopping(Options options) : options_(std::move(options)) {}
  template <class S>
  bool on_train_begin(S& session) {
    if (!session.resumed()) best_ = bad_ = started_ = 0;
    return exhausted();
  }
  template <class S>
  bool on_epoch_end(S& session) {
    const double value = options_.metric == "loss" ? session.record().loss : session.record().metric(options_.metric);
    if (!is_finite(value)) return false;  // not recorded in this epoch
    const double score = options_.larger_is_better ? -value : value;
    if (started_ == 0 || score < best_ - options_.min_change) {
      best_ = score;
      bad_ = 0;
      started_ = 1;
      return false;
    }
    ++bad_;
    return exhausted();
  }
  /// Throws value_error when no epoch recorded the metric.
  template <class S>
  void on_train_end(S& session) {
    require<value_error>(started_ != 0 || session.options().epochs == 0, "EarlyStopping: no callback before it recorded a metric '", options_.metric, "'");
  }
  void visit_state(const StateVisitor& visit) {
    visit("best", best_);
    visit("bad", bad_);
    visit("started", started_);
  }

 private:
  bool exhausted() const { return started_ != 0 && bad_ >= options_.patience; }
  Options options_;
  double best_ = 0, bad_ = 0, started_ = 0;
};

/// One line per epoch: epoch,loss,learning_rate,seconds and the metrics. Throws data_error when the file cannot be written.
class CsvLog {
 public:
  explicit CsvLog(std::string path) : path_(std::move(path)) {}
  template <class S>
  void on_epoch_end(S& session) {
    write(path_, session.report(), [](std::ostream& out, const Report& report) {
      out << "epoch,loss,learning_rate,seconds";
      for (const auto& [name, value] : report.epochs.back().metrics) out << ',' << name;
      out << '\n';
      for (const auto& r : report.epochs) {
        out << r.epoch << ',' << r.loss << ',' << r.learning_rate << ',' << r.seconds;
        for (const auto& [name, value] : report.epochs.back().metrics) out << ',' << r.metric(name);
        out << '\n';
      }
    });
  }

 private:
  template <class F>
  static void write(const std::string& path, const Report& report, F&& f) {
    std::ofstream out(path);
    out.precision(17);
    f(out, report);
    out.flush();
    require<data_error>(out.good(), "CsvLog: cannot write '", path, "'");
  }
  std::string path_;
};

/// Saves a checkpoint after every `every` epochs and after the last, with what all callbacks, also those behind it, made of
/// the epoch. `fit` with `.resume = path` continues from it.
class Checkpoint {
 public:
  explicit Checkpoint(std::string path, int every = 1) : path_(std::move(path)), every_(every) {
    require<value_error>(every >= 1, "callbacks::Checkpoint: expected every >= 1, got ", every);
  }
  template <class S>
  void on_epoch_end(S& session) {
    session.save(path_, (session.progress().epoch + 1) % every_ != 0);
  }

 private:
  std::string path_;
  int every_;
};

}  // namespace retort::callbacks
