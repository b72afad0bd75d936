#include <retort/io/idx_gzip.hpp>

bool refuses_missing_file() {
  try {
    retort::data::load_idx_gzip("no-such-images.gz", "no-such-labels.gz");
  } catch (const retort::data_error&) {
    return true;
  }
  return false;
}
