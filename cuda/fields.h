// Structs of the kernels from what Python gives by name.
//
// A field's name is its member's, once for both sides: `{SPLAT_FIELD(image), SPLAT_FIELD(width)}`
// makes a struct of the items `image` and `width` of a dictionary, which costs a quarter of what
// keywords do. One that is missing, that the struct does not have, or that is of another type is an
// error that names it; so is, for the compiler, a member that no field is given for, or one in
// another place. Addresses are integers:
// `splat/kernels/crossing.py`, where they come from, has checked what lies there.
#pragma once

#include <nanobind/nanobind.h>

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

#include "splat/view.h"

#if defined(__GNUC__)
#pragma GCC diagnostic error "-Wmissing-field-initializers"
#endif

// A Python string that is made once: its hash is known, and dictionaries compare its address.
#define SPLAT_NAME(name)                                             \
  ([]() -> PyObject* {                                               \
    static PyObject* const interned = PyUnicode_InternFromString(#name); \
    return interned;                                                 \
  }())
#define SPLAT_FIELD(member) .member = fields[SPLAT_NAME(member)]

namespace splat {

class Fields {
 public:
  Fields(const char* kernel, const nanobind::dict& given) : kernel_(kernel), given_(given.ptr()) {}

  // What is given for a field, as what its member is.
  class Value {
   public:
    Value(const Fields& fields, PyObject* name, PyObject* value) : fields_(fields), name_(name), value_(value) {}

    template <class T>
    operator T() const {
      if constexpr (std::is_pointer_v<T>)
        return reinterpret_cast<T>(whole<std::uintptr_t>("an address"));
      else if constexpr (std::is_same_v<T, bool>)
        return truth();
      else if constexpr (std::is_integral_v<T>)
        return whole<T>("a whole number");
      else
        return T(real());
    }

   private:
    bool truth() const {
      if (!PyBool_Check(value_)) fields_.refuse(name_, "True or False");
      return value_ == Py_True;
    }
    double real() const {
      const double found = PyBool_Check(value_) ? -1 : PyFloat_AsDouble(value_);
      if (found == -1 && (PyBool_Check(value_) || PyErr_Occurred())) fields_.refuse(name_, "a number");
      return found;
    }
    template <class T>
    T whole(const char* what) const {
      PyObject* index = PyBool_Check(value_) ? nullptr : PyNumber_Index(value_);
      if (!index) fields_.refuse(name_, what);
      bool fits = true;
      T found{};
      if constexpr (std::is_unsigned_v<T>) {
        const unsigned long long wide = PyLong_AsUnsignedLongLong(index);
        found = T(wide), fits = wide <= std::numeric_limits<T>::max();
      } else {
        const long long wide = PyLong_AsLongLong(index);
        found = T(wide), fits = wide >= std::numeric_limits<T>::min() && wide <= std::numeric_limits<T>::max();
      }
      Py_DECREF(index);
      if (!fits || PyErr_Occurred()) fields_.refuse(name_, what);
      return found;
    }

    const Fields& fields_;
    PyObject *name_, *value_;
  };

  Value operator[](PyObject* name) { return {*this, name, take(name)}; }

  // A sequence of exactly so many numbers, into a member that is an array.
  template <std::size_t count>
  void read(PyObject* name, double (&out)[count]) {
    PyObject* values = take(name);
    const bool fits = PySequence_Check(values) && PySequence_Size(values) == Py_ssize_t(count);
    if (!fits) refuse(name, (std::to_string(count) + " numbers").c_str());
    for (std::size_t i = 0; i < count; ++i) {
      const auto item = nanobind::steal<nanobind::object>(PySequence_GetItem(values, Py_ssize_t(i)));
      if (!item.is_valid()) refuse(name, "numbers");
      out[i] = Value(*this, name, item.ptr());
    }
  }

  // After the last one: nothing that was given may be left.
  void done() const {
    if (PyDict_Size(given_) != count_) unknown();
  }

 private:
  PyObject* take(PyObject* name) {
    PyObject* value = PyDict_GetItemWithError(given_, name);
    if (!value) missing(name);
    if (count_ < kMost) taken_[count_] = name;
    ++count_;
    return value;
  }

  static std::string text(PyObject* value) {
    const auto words = nanobind::steal<nanobind::object>(PyObject_Str(value));
    const char* found = words.is_valid() ? PyUnicode_AsUTF8AndSize(words.ptr(), nullptr) : nullptr;
    PyErr_Clear();
    return found ? found : "?";
  }

  [[noreturn]] void missing(PyObject* name) const {
    PyErr_Clear();
    const std::string words = std::string(kernel_) + " was given no field '" + text(name) + "'; it was given " + all();
    throw nanobind::type_error(words.c_str());
  }
  [[noreturn]] void unknown() const {
    std::string others;
    each([&](PyObject* name) {
      bool known = false;
      for (Py_ssize_t i = 0; i < count_ && i < kMost; ++i) known |= PyUnicode_Compare(taken_[i], name) == 0;
      if (!known) others += (others.empty() ? "'" : ", '") + text(name) + "'";
    });
    const std::string words = std::string(kernel_) + " has no field " + others + "; it was given " + all();
    throw nanobind::type_error(words.c_str());
  }
  [[noreturn]] void refuse(PyObject* name, const char* expected) const {
    PyErr_Clear();
    PyObject* value = PyDict_GetItemWithError(given_, name);
    const std::string found = value ? text(value) : "";
    const std::string words =
        std::string(kernel_) + ": the field '" + text(name) + "' is " + found.substr(0, 200) + "; expected " + expected;
    throw nanobind::type_error(words.c_str());
  }
  template <class Fn>
  void each(Fn&& fn) const {
    PyObject* name;
    Py_ssize_t place = 0;
    while (PyDict_Next(given_, &place, &name, nullptr)) fn(name);
  }
  std::string all() const {
    std::string found;
    each([&](PyObject* name) { found += (found.empty() ? "" : ", ") + text(name); });
    return found.empty() ? "none" : found;
  }

  static constexpr Py_ssize_t kMost = 64;  // fields that any kernel has

  const char* kernel_;
  PyObject* given_;  // a dictionary that the caller keeps
  PyObject* taken_[kMost];
  Py_ssize_t count_ = 0;
};

inline View view_of(Fields& fields) {
  View view{.world_to_camera = {}, SPLAT_FIELD(fx),    SPLAT_FIELD(fy),    SPLAT_FIELD(cx),
            SPLAT_FIELD(cy),       SPLAT_FIELD(width), SPLAT_FIELD(height)};
  fields.read(SPLAT_NAME(world_to_camera), view.world_to_camera);
  return view;
}

inline Settings settings_of(Fields& fields) {
  return {SPLAT_FIELD(antialiased), SPLAT_FIELD(absolute), SPLAT_FIELD(depth), SPLAT_FIELD(beside),
          SPLAT_FIELD(eps2d),       SPLAT_FIELD(near),     SPLAT_FIELD(far),   SPLAT_FIELD(radius_clip)};
}

}  // namespace splat
