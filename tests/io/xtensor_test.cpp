#include <doctest/doctest.h>

#include <retort/io/xtensor.hpp>

#include "scratch_folder.hpp"
#include "support.hpp"

using namespace retort;
using test::message_of;

TEST_CASE("to_xtensor sees the same memory") {
  auto t = test::randn<float>(Shape{2, 3, 4}, 1);
  auto x = io::to_xtensor(t);
  CHECK(x.data() == t.data());
  CHECK(x.shape()[2] == 4);
  CHECK(x(1, 2, 3) == t(1, 2, 3));
  x(0, 1, 2) = 42;
  CHECK(t(0, 1, 2) == 42);
  const auto& fixed = t;
  CHECK(io::to_xtensor(fixed)(0, 1, 2) == 42);
  static_assert(std::is_same_v<decltype(*io::to_xtensor(fixed).data()), const float&>);
}

TEST_CASE("from_xtensor sees the same memory, and refuses what is not row-major and dense") {
  xt::xtensor<double, 2> m = {{1, 2, 3}, {4, 5, 6}};
  View<double, 2> v = io::from_xtensor<2>(m);
  CHECK(v.data == m.data());
  CHECK(v.shape == Shape{2, 3});
  CHECK(v(1, 0) == 4);
  v(1, 0) = 7;
  CHECK(m(1, 0) == 7);
  const xt::xarray<float> a = xt::xarray<float>::from_shape({3, 1, 2});
  View<const float, 3> dynamic = io::from_xtensor<3>(a);
  CHECK(dynamic.shape == Shape{3, 1, 2});
  CHECK(io::from_xtensor<3>(a).data == a.data());

  CHECK(message_of<shape_error>([&] { io::from_xtensor<3>(m); }) == "from_xtensor: expected rank 3, got the shape (2, 3)");
  const xt::xtensor<double, 2, xt::layout_type::column_major> by_column = m;
  CHECK(message_of<shape_error>([&] { io::from_xtensor<2>(by_column); }) ==
        "from_xtensor: the array of shape (2, 3) is not row-major and dense: axis 1 has stride 2, expected 1");
  // There and back.
  auto round = io::to_xtensor(v);
  CHECK(io::from_xtensor<2>(round).data == m.data());
}

TEST_CASE_TEMPLATE("npy round trip", T, float, double, std::int32_t) {
  const test::ScratchFolder folder;
  Tensor<T, 3> t(Shape{2, 3, 5});
  for (index_t i = 0; i < t.size(); ++i) t.data()[i] = static_cast<T>(i * i - 50);
  io::save_npy(folder.file("t.npy"), t.view());
  const auto back = io::load_npy<T, 3>(folder.file("t.npy"));
  CHECK(back.shape() == t.shape());
  CHECK(std::equal(t.begin(), t.end(), back.begin()));
}

TEST_CASE("npy: column-major files, and every malformed one") {
  const test::ScratchFolder folder;
  // Written by hand: version 1.0, header padded to 64 bytes in all.
  const auto npy = [&](std::string header, const std::string& body) {
    header.resize(53, ' ');
    return folder.write("a.npy", std::string("\x93NUMPY\x01\x00\x36\x00", 10) + header + "\n" + body);
  };
  const float numbers[] = {1, 4, 2, 5, 3, 6};
  const std::string body(reinterpret_cast<const char*>(numbers), sizeof numbers);
  const std::string tight = "{'descr':'<f4','fortran_order':True,'shape':(2,3)}";
  const auto by_column = io::load_npy<float, 2>(npy(tight, body));
  CHECK(by_column(0, 1) == 2);
  CHECK(by_column(1, 0) == 4);
  CHECK(by_column(1, 2) == 6);

  const auto fails = [](const std::string& path) { return message_of<data_error>([&] { io::load_npy<float, 2>(path); }); };
  CHECK(fails(npy(tight, body.substr(0, 20))).find("truncated: the shape in its header needs 24 bytes") != std::string::npos);
  CHECK(fails(npy(tight, body + "x")).find("oversized") != std::string::npos);
  CHECK(fails(folder.file("none.npy")).find("cannot open") == 0);
  CHECK(fails(folder.write("text.npy", "this is not an array, and long enough")).find("no .npy file") != std::string::npos);
  CHECK(!fails(folder.write("empty.npy", "")).empty());
  CHECK(message_of<data_error>([&] { io::load_npy<double, 2>(npy(tight, body)); }).find("element type") != std::string::npos);
  CHECK_THROWS_AS((io::load_npy<float, 3>(npy(tight, body))), shape_error);
  CHECK_THROWS_AS(io::save_npy(folder.path() + "/no/such/folder.npy", by_column.view()), data_error);
}
