#pragma once
// Reports as JSON, through nlohmann/json. Optional: link retort::json.

#include <fstream>
#include <nlohmann/json.hpp>
#include <retort/core/error.hpp>
#include <retort/train/report.hpp>

namespace retort {

/// Found by argument-dependent look-up: `nlohmann::json j = record;`.
inline void to_json(nlohmann::json& j, const EpochRecord& r) {
  j = {{"epoch", r.epoch}, {"loss", r.loss}, {"learning_rate", r.learning_rate}, {"seconds", r.seconds}};
  for (const auto& [name, value] : r.metrics) j["metrics"][name] = value;
}
inline void to_json(nlohmann::json& j, const Report& r) {
  j = {{"method", r.method},       {"optimizer", r.optimizer}, {"seed", r.seed},
       {"epochs_planned", r.epochs_planned}, {"threads", r.threads}, {"batch_size", r.batch_size},
       {"samples", r.samples},     {"stopped_early", r.stopped_early}, {"epochs", r.epochs}};
}

namespace io {
/// Writes a document, indented. Throws data_error when the file cannot be written.
inline void save_json(const std::string& path, const nlohmann::json& document) {
  std::ofstream out(path);
  out << document.dump(2) << '\n';
  out.flush();
  require<data_error>(out.good(), "save_json: cannot write '", path, "'");
}
}  // namespace io

namespace callbacks {
/// One JSON object per epoch and line, appended as training goes. Throws data_error when the file cannot be written.
class JsonlLog {
 public:
  explicit JsonlLog(std::string path) : path_(std::move(path)) {}
  /// The epochs that a resumed run continues from; nothing else, should the interrupted run have written more.
  template <class S>
  void on_train_begin(S& session) {
    write(std::ios::trunc, session.report().epochs);
  }
  template <class S>
  void on_epoch_end(S& session) {
    write(std::ios::app, {session.record()});
  }

 private:
  void write(std::ios::openmode mode, const std::vector<EpochRecord>& epochs) {
    std::ofstream out(path_, mode);
    for (const EpochRecord& record : epochs) out << nlohmann::json(record).dump() << '\n';
    out.flush();
    require<data_error>(out.good(), "JsonlLog: cannot write '", path_, "'");
  }
  std::string path_;
};
}  // namespace callbacks

}  // namespace retort
