// Python front of the CPU kernels. It takes addresses as integers: `splat/kernels`, its only
// caller, checks types, shapes and contiguity first. That serves float and double with one
// binding, and a call costs half a microsecond. The interpreter lock is released throughout.
#include <nanobind/nanobind.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "clock.h"
#include "kernels.h"
#include "pool.h"

namespace nb = nanobind;
using namespace splat;
using Address = std::uintptr_t;

namespace {

const Table& named(const std::string& isa) {
  const Table* found = table(isa.c_str());
  if (!found) throw std::invalid_argument("instruction set '" + isa + "' is not available on this machine");
  return *found;
}

template <class T = void>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

// What one forward pass leaves for its backward.
class Frame {
 public:
  explicit Frame(const std::string& isa) : table_(named(isa)), frame_(table_.frame_new()) {}
  ~Frame() { table_.frame_delete(frame_); }
  Frame(const Frame&) = delete;
  Frame& operator=(const Frame&) = delete;

  void forward(const std::array<Address, 6>& scene, int64_t n, int sh_degree, int coefficients,
               int features, const std::array<double, 16>& view, int width, int height,
               bool antialiased, bool absolute, bool depth, const std::array<double, 4>& numbers,
               const std::array<Address, 5>& out, bool half_colors) {
    settings_ = {antialiased, absolute, depth, numbers[0], numbers[1], numbers[2], numbers[3]};
    scene_ = {at(scene[0]), at(scene[1]), at(scene[2]), at(scene[3]), at(scene[4]), at(scene[5]),
              n, sh_degree, coefficients, features, half_colors};
    Forward f{scene_, {}, settings_, at(out[0]), at(out[1]), at(out[2]), at(out[3]), at(out[4])};
    for (int i = 0; i < 12; ++i) f.view.world_to_camera[i] = view[i];
    f.view.fx = view[12], f.view.fy = view[13], f.view.cx = view[14], f.view.cy = view[15];
    f.view.width = width, f.view.height = height;
    table_.forward(frame_, f);
  }

  void backward(const std::array<Address, 6>& read, const std::array<Address, 11>& write, Address maps, int map_count,
                Address sums) {
    Backward b{scene_, at(read[0]), at(read[1]), at(read[2]), at(read[3]), at(read[4]), at(read[5]),
               at(write[0]), at(write[1]), at(write[2]), at(write[3]), at(write[4]), at(write[5]),
               at(write[6]), at(write[7]), at(write[8]), at(write[9]), at(write[10]), at(maps), map_count, at(sums)};
    table_.backward(frame_, b);
  }

  void survey(Address image, Address maps, int map_count, Address scores, Address strongest) {
    table_.survey(frame_, {at(image), at(maps), map_count, at(scores), at<int32_t>(strongest)});
  }

  int64_t bytes() const { return table_.frame_bytes(frame_); }

 private:
  const Table& table_;
  void* frame_;
  Scene scene_{};
  Settings settings_{};
};

// Anchors as Gaussians: what the forward passes leave for a backward.
class Decoding {
 public:
  explicit Decoding(const std::string& isa) : table_(named(isa)), decoding_(table_.decoding_new()) {}
  ~Decoding() { table_.decoding_delete(decoding_); }
  Decoding(const Decoding&) = delete;
  Decoding& operator=(const Decoding&) = delete;

  int64_t count(const std::array<Address, 6>& arrays, const std::array<Address, 6>& weights, const std::array<int64_t, 2>& sizes,
                const std::array<int, 3>& widths, const std::array<double, 3>& centre, bool distance, bool keep) {
    return table_.decode_count(
        decoding_, {at(arrays[0]), at(arrays[1]), at(arrays[2]), at(arrays[3]), at(arrays[4]), at<const int64_t>(arrays[5]),
                    sizes[0], sizes[1], widths[0], widths[1], widths[2],
                    {at(weights[0]), at(weights[1]), at(weights[2]), at(weights[3]), at(weights[4]), at(weights[5])},
                    {centre[0], centre[1], centre[2]}, distance, keep});
  }

  void write(const std::array<Address, 6>& out) {
    table_.decode(decoding_, {at(out[0]), at(out[1]), at(out[2]), at(out[3]), at(out[4]), at<int64_t>(out[5])});
  }

  void backward(const std::array<Address, 8>& read, const std::array<Address, 10>& write) {
    table_.decode_backward(
        decoding_, {at(read[0]), at(read[1]), at(read[2]), at(read[3]), at(read[4]), at(read[5]), at(read[6]), at(read[7]),
                    at(write[0]), at(write[1]), at(write[2]), at(write[3]),
                    {at(write[4]), at(write[5]), at(write[6]), at(write[7]), at(write[8]), at(write[9])}});
  }

  int64_t bytes() const { return table_.decoding_bytes(decoding_); }

 private:
  const Table& table_;
  void* decoding_;
};

// A field of planes and lines: what its forward pass leaves for a backward.
class Field {
 public:
  explicit Field(const std::string& isa) : table_(named(isa)), field_(table_.field_new()) {}
  ~Field() { table_.field_delete(field_); }
  Field(const Field&) = delete;
  Field& operator=(const Field&) = delete;

  void forward(const std::array<Address, 7>& arrays, const std::array<int64_t, 4>& sizes, double beta) {
    table_.field(field_, {at(arrays[0]), at(arrays[1]), at(arrays[2]), at(arrays[3]), at(arrays[4]), sizes[0], int(sizes[1]),
                          int(sizes[2]), int(sizes[3]), beta, at(arrays[5]), at(arrays[6])});
  }

  void backward(const std::array<Address, 2>& read, const std::array<Address, 4>& write) {
    table_.field_backward(field_, {at(read[0]), at(read[1]), at(write[0]), at(write[1]), at(write[2]), at(write[3])});
  }

  int64_t bytes() const { return table_.field_bytes(field_); }

 private:
  const Table& table_;
  void* field_;
};

}  // namespace

NB_MODULE(_cpu, m) {
  nb::set_leak_warnings(false);  // idle frames live until the process ends
  m.def("threads", &threads, "Threads that the kernels use.");
  m.def("set_threads", &set_threads, nb::arg("count"));
  m.def("forget_threads", &forget_threads);
  m.def(
      "finish",
      [](uint64_t number) {
        StageClock clock;
        finish(number);
        clock.done(kAdam);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def("finish_all", &finish_all, nb::call_guard<nb::gil_scoped_release>());
  m.def("stage_seconds", [] {
    book_aside(nanoseconds_now());
    std::vector<std::pair<std::string, double>> found;
    for (int k = 0; k < kStages; ++k) found.emplace_back(kStageNames[k], 1e-9 * double(stage_nanoseconds(Stage(k))));
    return found;
  });
  m.def("seconds", [] {
    book_aside(nanoseconds_now());
    int64_t sum = 0;
    for (int k = 0; k < kStages; ++k) sum += stage_nanoseconds(Stage(k));
    return 1e-9 * double(sum);
  });
  m.def("best_isa", [] { return std::string(best_table()->name); });
  m.def("has_isa", [](const std::string& isa) { return table(isa.c_str()) != nullptr; });
  nb::class_<Frame>(m, "Frame")
      .def(nb::init<const std::string&>())
      .def("forward", &Frame::forward, nb::call_guard<nb::gil_scoped_release>())
      .def("backward", &Frame::backward, nb::call_guard<nb::gil_scoped_release>())
      .def("survey", &Frame::survey, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("bytes", &Frame::bytes);
  m.def(
      "photometric",
      [](const std::string& isa, Address image, Address target, Address bytes, Address v_image,
         int width, int height, double ssim_weight) {
        return named(isa).photometric({at(image), at(target), at<const uint8_t>(bytes), at(v_image),
                                       width, height, ssim_weight});
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "adam",
      [](const std::string& isa, const std::array<Address, 6>& arrays, int64_t rows, int columns, int head,
         const std::array<int, 2>& active, const std::array<double, 7>& numbers, int degree, bool half, uint32_t seed,
         bool half_values, bool aside) {
        const Adam step{at(arrays[0]), at(arrays[1]), at(arrays[2]), at(arrays[3]), rows, columns, head, active[0], active[1],
                        numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5], numbers[6],
                        at(arrays[4]), degree, at<const uint8_t>(arrays[5]), half, seed, half_values};
        if (aside) return named(isa).adam_aside(step);
        named(isa).adam(step);
        return uint64_t(0);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "activate",
      [](const std::string& isa, Address log_scales, Address logits, Address scales, Address opacities, int64_t n) {
        std::array<double, 2> means;
        named(isa).activate({at(log_scales), at(logits), at(scales), at(opacities), n, means.data()});
        return means;
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "activate_backward",
      [](const std::string& isa, const std::array<Address, 6>& arrays, int64_t n, const std::array<double, 2>& v_means) {
        named(isa).activate_backward({at(arrays[0]), at(arrays[1]), at(arrays[2]), at(arrays[3]), at(arrays[4]),
                                      at(arrays[5]), n, v_means[0], v_means[1]});
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "tone",
      [](const std::string& isa, Address image, int64_t pixels, const std::array<double, 12>& map, Address out) {
        Tone t{at(image), pixels, {}, at(out)};
        std::copy(map.begin(), map.end(), t.map);
        named(isa).tone(t);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "tone_backward",
      [](const std::string& isa, const std::array<Address, 3>& arrays, int64_t pixels, const std::array<double, 12>& map) {
        std::array<double, 12> v_map;
        ToneGradients t{at(arrays[0]), at(arrays[1]), pixels, {}, at(arrays[2]), v_map.data()};
        std::copy(map.begin(), map.end(), t.map);
        named(isa).tone_backward(t);
        return v_map;
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "errors",
      [](const std::string& isa, Address image, Address target, Address bytes, int64_t pixels, Address out) {
        named(isa).errors({at(image), at(target), at<const uint8_t>(bytes), pixels, at(out)});
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "walk",
      [](const std::string& isa, const std::array<Address, 4>& arrays, int64_t n, int64_t every, int64_t phase,
         const std::array<double, 4>& numbers, uint64_t seed) {
        named(isa).walk({at(arrays[0]), at(arrays[1]), at(arrays[2]), at(arrays[3]), n, every, phase, numbers[0],
                         numbers[1], numbers[2], numbers[3], seed});
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "add",
      [](const std::string& isa, Address values, Address delta, int64_t n) { named(isa).add(at(values), at(delta), n); },
      nb::call_guard<nb::gil_scoped_release>());
  nb::class_<Decoding>(m, "Decoding")
      .def(nb::init<const std::string&>())
      .def("count", &Decoding::count, nb::call_guard<nb::gil_scoped_release>())
      .def("write", &Decoding::write, nb::call_guard<nb::gil_scoped_release>())
      .def("backward", &Decoding::backward, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("bytes", &Decoding::bytes);
  m.def(
      "sight",
      [](const std::string& isa, Address positions, Address reach, int64_t n, const std::array<double, 16>& view, int width,
         int height, double near, Address seen) {
        Sight s{at(positions), at(reach), n, {}, near, at<uint64_t>(seen)};
        for (int i = 0; i < 12; ++i) s.view.world_to_camera[i] = view[i];
        s.view.fx = view[12], s.view.fy = view[13], s.view.cx = view[14], s.view.cy = view[15];
        s.view.width = width, s.view.height = height;
        return named(isa).sight(s);
      },
      nb::call_guard<nb::gil_scoped_release>());
  m.def(
      "sight_rows",
      [](const std::string& isa, Address seen, int64_t n, Address rows) {
        named(isa).sight_rows(at<const uint64_t>(seen), n, at<int64_t>(rows));
      },
      nb::call_guard<nb::gil_scoped_release>());
  nb::class_<Field>(m, "Field")
      .def(nb::init<const std::string&>())
      .def("forward", &Field::forward, nb::call_guard<nb::gil_scoped_release>())
      .def("backward", &Field::backward, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("bytes", &Field::bytes);
}
